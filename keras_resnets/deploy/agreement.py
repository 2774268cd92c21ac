"""Comparison of a target's outputs with expected outputs, up to one rounding step."""

import dataclasses
from typing import Any

import numpy as np

from keras_resnets.errors import ExportError

# Rounding error in float32 of probabilities of logits up to 10; `export.parity` allows the
# same between a float32 file and its network.
FLOAT_STEP = 1e-5


@dataclasses.dataclass(frozen=True)
class Agreement:
    """The result of comparing a target's outputs.

    Attributes:
        compared: number of images.
        same: share of images whose predicted class, or all of whose labels, are those of
            `predict`, in [0, 1].
        against: name of the runtime whose outputs are expected.
        equal: number of images whose outputs are equal bit for bit.
        step: number of images whose outputs differ by at most one rounding step, of
            the outputs or of the logits.
        other: number of images whose outputs differ by more.
        largest: largest difference, in rounding steps of the outputs.
        labels: share of equal labels, in [0, 1]; None for one class per image.
        at_threshold: share of images with different labels all of which are within one
            rounding step of their threshold, in [0, 1].
    """

    compared: int
    same: float
    against: str
    equal: int
    step: int
    other: int
    largest: float
    labels: float | None = None
    at_threshold: float = 0.0

    def record(self) -> dict[str, Any]:
        """Returns the entries of the report."""
        several = {
            "label_agreement": self.labels,
            "at_threshold": self.at_threshold,
        }
        return {
            "compared": self.compared,
            "agreement": self.same,
            **(several if self.labels is not None else {}),
            "outputs": {
                "against": self.against,
                "equal": self.equal,
                "one_step": self.step,
                "other": self.other,
                "largest_steps": self.largest,
            },
        }


def compare(
    predicted: np.ndarray,
    expected: np.ndarray,
    actual: np.ndarray,
    step: float,
    against: str,
    odds_step: float = 0.0,
    cuts: np.ndarray | None = None,
) -> Agreement:
    """Compares outputs of shape (images, classes).

    Args:
        predicted: probabilities of the network, as `predict` shows them.
        expected: outputs of the file in another runtime, or of the network.
        actual: outputs of the file in the target's runtime.
        step: size of one rounding step of the outputs.
        against: name of the runtime that computed `expected`.
        odds_step: change of the log odds of a probability by one rounding step of the
            logits; 0 without a final softmax or sigmoid.
        cuts: output from which on each label is predicted, of shape (labels,); None for
            one class per image.

    Raises:
        ExportError: the shapes differ, or `actual` is not finite.

    Example:
        >>> import numpy as np
        >>> a = np.array([[0.25, 0.75], [0.5, 0.5]])
        >>> compare(a, a, a + [[0, 0.25], [0, 0]], 0.25, "itself").step
        1
    """
    if actual.shape != expected.shape:
        raise ExportError(
            f"the target's output must have the shape {expected.shape} of {against}; got "
            f"{actual.shape}; nothing was written"
        )
    if not np.isfinite(actual).all():
        raise ExportError(
            "the target's output contains NaN or infinity; nothing was written"
        )
    wide = expected.astype("float64")
    difference = np.abs(actual - wide).max(axis=1) / step
    equal = (actual == expected).all(axis=1)
    # Scales are float32, so that a step is not exact: hence 1.5 steps.
    low, high = _bounds(wide, step, odds_step)
    within_step = ((actual > low) & (actual < high)).all(axis=1)
    if cuts is None:
        same = predicted.argmax(axis=1) == actual.argmax(axis=1)
        labels, at_threshold = None, 0.0
    else:
        differ = (predicted >= cuts) != (actual >= cuts)
        low, high = _bounds(actual.astype("float64"), step, odds_step)
        undecided = (low < cuts) & (cuts < high)
        same = ~differ.any(axis=1)
        labels = float(1 - differ.mean())
        at_threshold = float((~same & (~differ | undecided).all(axis=1)).mean())
    return Agreement(
        compared=len(actual),
        same=float(same.mean()),
        against=against,
        equal=int(equal.sum()),
        step=int((within_step & ~equal).sum()),
        other=int((~within_step).sum()),
        largest=round(float(difference.max()), 3),
        labels=labels,
        at_threshold=at_threshold,
    )


def _bounds(
    outputs: np.ndarray, step: float, odds_step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the lower and the upper bound of outputs that change by one rounding step."""
    low, high = (within(outputs, sign * odds_step) for sign in (-1, 1))
    return low - 1.5 * step, high + 1.5 * step


def within(probabilities: np.ndarray, odds_step: float) -> np.ndarray:
    """Returns the probabilities whose log odds are larger by a step.

    It is an upper bound if the logits change by one rounding step. The log odds of a
    sigmoid change by that step, those of a softmax by two, if the logit of the class grows
    and all others shrink. If two classes are about equally likely, a step of the logits
    is ten steps of the softmax.

    Args:
        probabilities: array of any shape, in [0, 1].
        odds_step: change of the log odds log(p / (1 - p)); negative for the lower bound.

    Example:
        >>> import numpy as np
        >>> within(np.array([0.0, 0.5, 1.0]), 0.2).round(3).tolist()
        [0.0, 0.55, 1.0]
    """
    if not odds_step:
        return probabilities
    return probabilities / (probabilities + (1 - probabilities) * np.exp(-odds_step))


def judge(name: str, result: Agreement, least: float, advice: str) -> None:
    """Raises `ExportError` if a target's outputs differ too much.

    Args:
        name: name of the target.
        result: result of the comparison.
        least: required share of images whose predicted class, or all of whose labels, are
            those of `predict`. Labels that differ by one rounding step at their threshold
            count as equal.
        advice: what to do if the share is too small.
    """
    if result.other:
        raise ExportError(
            f"the outputs of {name} must equal those of {result.against} within one "
            f"rounding step; {result.other} of {result.compared} images differ by more, "
            f"by up to {result.largest:g} steps; nothing was written"
        )
    share = result.same + result.at_threshold
    if share < least:
        wrong = round((1 - share) * result.compared)
        what = "another class" if result.labels is None else "other labels"
        raise ExportError(
            f"the file for {name} predicts {what} than predict on {wrong} of "
            f"{result.compared} images: {share:.1%} agree, and --min-agreement "
            f"requires {least:.0%}: {advice}; nothing was written"
        )
