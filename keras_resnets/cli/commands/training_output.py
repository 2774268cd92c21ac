"""Output of the commands that train: `train` and `qat`."""

import os
import sys
import typing

from keras_resnets.cli.pages import page_training
from keras_resnets.cli.printing import output
from keras_resnets.cli.printing.output import say
from keras_resnets.system import streams

if typing.TYPE_CHECKING:
    from keras_resnets.images.datasets.split import Dataset
    from keras_resnets.training.recipes import Recipe
    from keras_resnets.training.session import Run

# Character of Keras' progress bar.
_BAR = "\u2501"


def verbosity() -> int:
    """Returns Keras' `verbose`: 0 for nothing, 1 for a bar, 2 for a line per epoch."""
    if output.is_json():
        return 0
    return 1 if not output.is_quiet() and _shows_bars(sys.stdout) else 2


def _shows_bars(stream: typing.TextIO) -> bool:
    """Whether a stream can show Keras' progress bar, with its colours and redrawing."""
    # https://no-color.org: any value but an empty one.
    if os.environ.get("NO_COLOR") or not streams.can_redraw(stream):
        return False
    try:
        _BAR.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def conclude(
    run: "Run", recipe: "Recipe", opened: "Dataset", has_teacher: bool = False
) -> None:
    """Prints the results of a `Run`, and adds them to the page."""
    from keras_resnets.training import best_weights

    figures = run.figures
    output.keep(run=run.folder.path, figures=figures, history=run.history)
    if "kept" in figures:
        count = opened.validation.count if opened.validation else 0
        say(best_weights.sentence(recipe, figures, count, opened.is_multi_label))
    key, words = "accuracy", "accuracy"
    if opened.is_multi_label:
        key, words = "mean_average_precision", "mAP"
    if "best_epoch" in figures and "kept" not in figures:
        say(
            f"best validation {words} {figures[f'best_val_{key}']:.2%}, epoch "
            f"{figures['best_epoch']}"
        )
    if f"test_{key}" in figures:
        say(
            f"test {words} of the {figures['test_weights']} weights "
            f"{figures[f'test_{key}']:.2%}"
        )
    say(f"wrote {run.folder.path} in {figures['seconds']:,.0f} s")
    page_training.trained(run, recipe, opened, has_teacher)
