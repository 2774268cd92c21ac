"""The images that quantization takes its ranges from, as a command line names them."""

import dataclasses
import pathlib

from keras_resnets.cli import network
from keras_resnets.cli import options
from keras_resnets.cli import output
from keras_resnets.cli import page


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """What `add_options` adds.

    Attributes:
        data: .npz file with x_train, or folder of images; None for none.
        count: images to take.
        seed: of their choice.
    """

    data: str | None
    count: int
    seed: int


def add_options(parser, required=True):
    """Adds the group of the calibration images."""
    group = parser.add_argument_group("calibration")
    group.add_argument(
        "--calibration",
        "--data",
        dest="data",
        metavar="DATA",
        required=required,
        help="training images: .npz file with x_train, or folder of images",
    )
    group.add_argument(
        "--calibration-count",
        "--count",
        dest="count",
        metavar="COUNT",
        type=options.COUNT,
        default=500,
        help="images to take (500)",
    )
    group.add_argument(
        "--seed", type=options.SEED, default=0, help="of their choice (0)"
    )


def choose(asked, model):
    """The `CalibrationSet` that the options name, which it prints a line about.

    Args:
        asked: a `Calibration`.
        model: the network, which has the `preprocessing`.
    """
    from keras_resnets import quantization
    from keras_resnets.images import folders as image_folders

    chosen = quantization.choose(
        asked.data, model.preprocessing, asked.count, asked.seed
    )
    page.went_in("calibration", f"{len(chosen.images):,} images of {chosen.source}")
    output.note(f"calibration  {len(chosen.images)} images of {chosen.source}")
    if pathlib.Path(asked.data).is_dir():
        network.say_notes(image_folders.notes_of(asked.data, chosen.skipped))
    return chosen
