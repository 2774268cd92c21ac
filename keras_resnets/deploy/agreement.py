"""Whether a target answers as Python does: a step of rounding is no other answer."""

import dataclasses
from typing import Any

import numpy as np

from keras_resnets.errors import ExportError

# A float's rounding, in the probabilities of a file's output; `export.parity` allows
# as much between a float32 file and its network.
FLOAT_STEP = 1e-5


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How the answers of a target compare.

    Attributes:
        compared: number of images.
        top1: share of them whose likeliest class is that of `predict`.
        against: what the outputs themselves were compared with.
        equal: number of images whose outputs are the same, bit for bit.
        step: of those that differ by one step of rounding at most, of the outputs or of
            what their softmax gets.
        other: of those that differ by more.
        largest: the largest difference, in steps of the outputs.
    """

    compared: int
    top1: float
    against: str
    equal: int
    step: int
    other: int
    largest: float

    def record(self) -> dict[str, Any]:
        """What a report says of it."""
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
    """`Agreement` of outputs (images, classes).

    Args:
        predicted: probabilities of the network itself, as `predict` shows them.
        expected: outputs of the same file, or of the network, that `actual` must equal.
        actual: outputs of the target's own runtime.
        step: what one step of rounding is worth in the outputs.
        against: what `expected` comes from, in words.
        logit_step: the same of what a softmax at the end gets; 0 where there is none.

    Raises:
        ExportError: outputs of another shape, or that are not finite.

    Example:
        >>> import numpy as np
        >>> a = np.array([[0.25, 0.75], [0.5, 0.5]])
        >>> compare(a, a, a + [[0, 0.25], [0, 0]], 0.25, "itself").step
        1
    """
    if actual.shape != expected.shape:
        raise ExportError(
            f"the output of the target has the shape {actual.shape}; that of {against} has "
            f"{expected.shape}; nothing was written"
        )
    if not np.isfinite(actual).all():
        raise ExportError(
            "the output of the target has NaN or infinity; nothing was written"
        )
    wide = expected.astype("float64")
    difference = np.abs(actual - wide).max(axis=1) / step
    equal = (actual == expected).all(axis=1)
    # Scales are float32: a step is not a whole number to the last bit.
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
    """What probabilities become at most where each logit moves by a step.

    That of the class by one upwards, those of the others by one downwards: the odds p to
    1 - p grow by the factor e^(2 step). A step of logits is ten of a softmax's where two
    classes are about as likely.

    Args:
        probabilities: of any shape.
        logit_step: how far a logit moves; negative for the least.

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
    """Raises `ExportError` where a target answers otherwise than Python.

    Args:
        name: of the target.
        result: how its answers compare.
        least: share of images whose likeliest class must be that of `predict`.
    """
    if result.other:
        raise ExportError(
            f"{name} answers otherwise than {result.against}: {result.other} of "
            f"{result.compared} images differ by more than a step of rounding, by "
            f"{result.largest:g} steps at most; nothing was written"
        )
    if result.top1 < least:
        wrong = round((1 - result.top1) * result.compared)
        raise ExportError(
            f"the file for {name} has another likeliest class than predict on {wrong} of "
            f"{result.compared} images, {result.top1:.1%} agree (at least {least:.0%}, see "
            "--min-agreement): take a recipe of more bits, or train with quantization "
            "(keras-resnets qat); nothing was written"
        )
