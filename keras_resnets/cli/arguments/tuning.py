"""The options and output of commands that fine-tune a network while compressing it."""

import argparse
import dataclasses
import typing

from keras_resnets.cli.arguments import network
from keras_resnets.cli.arguments import options
from keras_resnets.cli.arguments import parsing
from keras_resnets.cli.arguments.network import say
from keras_resnets.cli.printing import output

if typing.TYPE_CHECKING:
    import keras

    from keras_resnets import tfmot
    from keras_resnets.images.evaluation import Labelled


# Keys of --json.
FACTS = {
    "path": "the file that was written",
    "before": "parameters, MACs, bytes, zeros of the input network",
    "after": "the same for the written network",
    "measured": "with --evaluate: images, and top-1 of both as shares; else null",
}
# The values of --data of the commands that train.
DATA = ".npz file with x_train and y_train, or folder with a sub-folder per class"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuning:
    """The options of a fine-tuning; see `add_options`."""

    data: str | None
    epochs: int | None
    learning_rate: float | None
    batch_size: int
    crop: int
    no_mirror: bool
    seed: int

    def for_tfmot(self) -> "tfmot.Tuning":
        """Returns the settings for tensorflow-model-optimization."""
        from keras_resnets import tfmot

        return tfmot.Tuning(
            epochs=self.epochs or 1,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            mirror=not self.no_mirror,
            crop=self.crop,
            seed=self.seed,
        )


class Evaluated(typing.Protocol):
    """The record of a command with `--evaluate`."""

    @property
    def evaluate(self) -> str | None:
        """The labelled images to score on, or None."""


def add_options(
    parser: argparse.ArgumentParser,
    required: bool = True,
    epochs: str = "1",
    note: str = "",
) -> parsing.Group:
    """Adds the options of the fine-tuning; returns their group.

    Args:
        parser: parser of the command.
        required: whether `--data` is required.
        epochs: description of the default number of epochs.
        note: a condition of the options, for the title of their group.
    """
    group = parser.add_argument_group("fine-tuning" + note)
    group.add_argument("--data", required=required, help=DATA)
    group.add_argument(
        "--epochs", type=options.EPOCHS, help=f"usually 1 to 3 (default: {epochs})"
    )
    group.add_argument(
        "--learning-rate",
        type=options.number(0, 10),
        help="initial learning rate; default: the tool's",
    )
    group.add_argument(
        "--batch-size",
        type=options.BATCH_SIZE,
        default=128,
        help="images per step (128)",
    )
    group.add_argument(
        "--crop",
        type=options.whole(0, 65_535),
        default=0,
        help="most pixels to shift images by (0)",
    )
    group.add_argument("--no-mirror", action="store_true", help="never mirror images")
    options.add_seed(group, "seed of the order of images (0)")
    return group


def add_evaluation(parser: argparse.ArgumentParser) -> None:
    """Adds `--evaluate`, the data to score the network on, before and after."""
    parser.add_argument_group("comparison").add_argument(
        "--evaluate", metavar="DATA", help="evaluate on .npz (x_test) or folder"
    )


def training_data(asked: Tuning, model: "keras.Model") -> "Labelled":
    """Opens the training images of `--data`; refuses a multi-label network."""
    from keras_resnets.graph import outputs

    outputs.check_one_class(model, "training by tensorflow-model-optimization")
    # Commands check before that there are training images.
    source = typing.cast(str, asked.data)
    data = network.open_labelled(source, model, part="train")
    output.note(f"training     {len(data.labels):,} images of {asked.data}")
    return data


class Bar:
    """A progress bar over all training steps, with lines about epochs above it."""

    def __init__(self, data: "Labelled", tuning: "tfmot.Tuning") -> None:
        from keras_resnets.system.progress import ProgressBar

        steps = -(-len(data.labels) // tuning.batch_size)
        self.progress = ProgressBar(tuning.epochs * steps, "steps")

    def tell(self, line: str) -> None:
        """Prints a line about an epoch."""
        self.progress.close()
        say(line)

    def __enter__(self) -> typing.Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.close()


def say_accuracy(asked: Evaluated, before: "keras.Model", after: "keras.Model") -> None:
    """Prints the accuracy of two networks on the data of `--evaluate`."""
    if not asked.evaluate:
        return
    from keras_resnets.images import evaluation

    data = network.open_labelled(asked.evaluate, before)
    tops = [evaluation.evaluate(model, data, 250).top1 for model in (before, after)]
    output.keep(
        measured={
            "count": len(data.labels),
            "before_top1": tops[0],
            "after_top1": tops[1],
        }
    )
    say(
        f"measured     {len(data.labels):,} images: top-1 {tops[1]:.2%} of "
        f"{tops[0]:.2%}"
    )
