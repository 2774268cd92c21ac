"""Comparison of a target's outputs with expected outputs, up to one rounding step."""

import dataclasses
from typing import Any

import numpy as np

from keras_resnets.errors import ExportError

# Rounding error of probabilities in float32; `export.parity` allows the same between a
# float32 file and its network.
FLOAT_STEP = 1e-5


@dataclasses.dataclass(frozen=True)
class Agreement:
    """The result of comparing a target's outputs.

    Attributes:
        compared: number of images.
        top1: share of images whose predicted class is that of `predict`, in [0, 1].
        against: name of the runtime whose outputs are expected.
        equal: number of images whose outputs are equal bit for bit.
        step: number of images whose outputs differ by at most one rounding step, of
            the outputs or of the logits.
        other: number of images whose outputs differ by more.
        largest: largest difference, in rounding steps of the outputs.
    """

    compared: int
    top1: float
    against: str
    equal: int
    step: int
    other: int
    largest: float

    def record(self) -> dict[str, Any]:
        """Returns the entries of the report."""
        return {
            "compared": self.compared,
            "agreement": self.top1,
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
    logit_step: float = 0.0,
) -> Agreement:
    """Compares outputs of shape (images, classes).

    Args:
        predicted: probabilities of the network, as `predict` shows them.
        expected: outputs of the file in another runtime, or of the network.
        actual: outputs of the file in the target's runtime.
        step: size of one rounding step of the outputs.
        against: name of the runtime that computed `expected`.
        logit_step: size of one rounding step of the logits; 0 without a final softmax.

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
    low, high = (within(wide, sign * logit_step) for sign in (-1, 1))
    within_step = ((actual > low - 1.5 * step) & (actual < high + 1.5 * step)).all(
        axis=1
    )
    return Agreement(
        compared=len(actual),
        top1=float((predicted.argmax(axis=1) == actual.argmax(axis=1)).mean()),
        against=against,
        equal=int(equal.sum()),
        step=int((within_step & ~equal).sum()),
        other=int((~within_step).sum()),
        largest=round(float(difference.max()), 3),
    )


def within(probabilities: np.ndarray, logit_step: float) -> np.ndarray:
    """Returns an upper bound of probabilities whose logits change by one step.

    The bound is reached if the logit of the class grows by a step and all others shrink by
    one: the odds p / (1 - p) grow by the factor e^(2 step). If two classes are about
    equally likely, a step of the logits is ten steps of the softmax.

    Args:
        probabilities: array of any shape, in [0, 1].
        logit_step: change of the logits; negative for the lower bound.

    Example:
        >>> import numpy as np
        >>> within(np.array([0.0, 0.5, 1.0]), 0.1).round(3).tolist()
        [0.0, 0.55, 1.0]
    """
    if not logit_step:
        return probabilities
    return probabilities / (
        probabilities + (1 - probabilities) * np.exp(-2 * logit_step)
    )


def judge(name: str, result: Agreement, least: float) -> None:
    """Raises `ExportError` if a target's outputs differ too much.

    Args:
        name: name of the target.
        result: result of the comparison.
        least: required share of images whose predicted class is that of `predict`.
    """
    if result.other:
        raise ExportError(
            f"the outputs of {name} must equal those of {result.against} within one "
            f"rounding step; {result.other} of {result.compared} images differ by more, "
            f"by up to {result.largest:g} steps; nothing was written"
        )
    if result.top1 < least:
        wrong = round((1 - result.top1) * result.compared)
        raise ExportError(
            f"the file for {name} predicts another class than predict on {wrong} of "
            f"{result.compared} images: {result.top1:.1%} agree, and --min-agreement "
            f"requires {least:.0%}: choose a recipe of more bits, or use "
            "quantization-aware training (keras-resnets qat); nothing was written"
        )
