"""The options of the calibration images, and the images that they select."""

import argparse
import dataclasses
import pathlib
import typing
import warnings

from keras_resnets.cli.arguments import network
from keras_resnets.cli.arguments import options
from keras_resnets.cli.pages import page
from keras_resnets.cli.printing import output
from keras_resnets.errors import some
from keras_resnets.system import progress

if typing.TYPE_CHECKING:
    import keras

    from keras_resnets.images.calibration import CalibrationSet


_COUNT = 500


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """The options that `add_options` adds.

    Attributes:
        data: .npz file with x_train, folder of images or TFRecords, or name of a data
            set; None without calibration.
        count: number of images; None for the default.
        seed: seed of the random choice of images.
    """

    data: str | None
    count: int | None
    seed: int


def add_options(
    parser: argparse.ArgumentParser, required: bool = True, count: int | None = _COUNT
) -> None:
    """Adds the group of the calibration images.

    Args:
        parser: parser of the command.
        required: whether the command requires calibration images.
        count: default of `--calibration-count`; None to see whether it was given.
    """
    group = parser.add_argument_group("calibration")
    group.add_argument(
        "--calibration",
        "--data",
        dest="data",
        metavar="DATA",
        required=required,
        help="training images: .npz file with x_train, folder of images or TFRecords, "
        "cifar10 or tfds:NAME",
    )
    group.add_argument(
        "--calibration-count",
        "--count",
        dest="count",
        metavar="COUNT",
        type=options.COUNT,
        default=count,
        help=f"number of images ({_COUNT})",
    )
    options.add_seed(group, "seed of their choice (0)")


def choose(
    asked: Calibration, model: "keras.Model", fewest: int = 10
) -> "CalibrationSet":
    """Returns the `CalibrationSet` that the options select, and prints its source.

    Args:
        asked: the options.
        model: the network, with its `preprocessing`.
        fewest: smallest allowed number of images.
    """
    from keras_resnets import quantization
    from keras_resnets.images import calibration_checks
    from keras_resnets.images import folders as image_folders

    # Commands check before that there are calibration images.
    source = typing.cast(str, asked.data)
    with progress.step("reading calibration images"):
        chosen = quantization.choose(
            source, model.preprocessing, asked.count or _COUNT, asked.seed, fewest
        )
    page.add_inputs(
        {"calibration": f"{len(chosen.images):,} images of {chosen.source}"}
    )
    output.note(f"calibration  {len(chosen.images)} images of {chosen.source}")
    few = calibration_checks.words_for_few(len(chosen.images))
    if chosen.skipped:
        names = some(chosen.skipped)
        count = len(chosen.skipped)
        output.note(f"             {count} skipped, unreadable: {names}")
    if few:
        # The note below replaces the warning.
        warnings.simplefilter("ignore", calibration_checks.FewImages)
        output.note(f"             {few}")
    if pathlib.Path(source).is_dir():
        network.say_notes(image_folders.notes_of(pathlib.Path(source)))
    return chosen
