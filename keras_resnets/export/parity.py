"""Measures of the difference between an exported file and its model, and tolerances."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_resnets.errors import ExportError
from keras_resnets.export.number_formats import NumberFormat
from keras_resnets.export.runner import Outputs


@dataclasses.dataclass(frozen=True)
class Parity:
    """Differences between a reference and a candidate output.

    Attributes:
        max_error: largest absolute difference.
        relative_error: largest absolute difference over the largest absolute value
            of the reference.
        rmse: root mean square difference over the standard deviation of the
            reference.
        sqnr: signal to quantization noise ratio in dB.
        cosine: smallest cosine between two outputs for the same input.
        top1: share of inputs whose largest output has the same index.
        top5: share of inputs whose reference winner is among the candidate's five
            largest.
        labels: share of equal predictions over all labels and inputs of a multi-label
            model; None for one class per image.
    """

    max_error: float
    relative_error: float
    rmse: float
    sqnr: float
    cosine: float
    top1: float
    top5: float
    labels: float | None = None


def compare(
    reference: Outputs, candidate: Outputs, threshold: float | None = None
) -> Parity:
    """Returns the `Parity` of two outputs of shape (inputs, ...), or of dicts of them.

    For several outputs each figure is that of the worst one.

    Args:
        reference: outputs of the model.
        candidate: outputs of the file.
        threshold: smallest output of a predicted label of a multi-label model, or of
            the second class of a binary one; None for one class per image.

    Raises:
        ExportError: names or shapes differ, or values are not finite.
    """
    if isinstance(reference, dict) or isinstance(candidate, dict):
        return _worst(reference, candidate, threshold)
    if reference.shape != candidate.shape:
        raise ExportError(
            f"the file's output has shape {candidate.shape}, the model's {reference.shape}"
        )
    for name, values in (("model", reference), ("file", candidate)):
        if not np.isfinite(values).all():
            raise ExportError(f"the {name} outputs NaN or infinity")
    a = reference.reshape(len(reference), -1).astype("float64")
    b = candidate.reshape(len(candidate), -1).astype("float64")
    error = b - a
    noise = np.square(error).sum()
    signal = np.square(a).sum()
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = (a * b).sum(axis=1) / np.maximum(norms, 1e-30)
    # Equal outputs agree also where all are 0.
    cosines[(error == 0).all(axis=1)] = 1.0
    if threshold is not None and reference.shape[1:] == (1,):
        # Two classes by one output, see `images.binary`.
        a, b = (np.concatenate([2 * threshold - x, x], axis=1) for x in (a, b))
        threshold = None
    best = a.argmax(axis=1)
    five = np.argsort(b, axis=1)[:, -5:]
    return Parity(
        max_error=float(np.abs(error).max()),
        relative_error=float(np.abs(error).max() / max(np.abs(a).max(), 1e-30)),
        rmse=float(np.sqrt(np.square(error).mean()) / max(a.std(), 1e-30)),
        sqnr=10 * math.log10(signal / noise) if noise and signal else math.inf,
        cosine=float(cosines.min()),
        top1=float((best == b.argmax(axis=1)).mean()),
        top5=float((five == best[:, None]).any(axis=1).mean()),
        labels=_equal_labels(reference, candidate, threshold),
    )


def _equal_labels(
    reference: np.ndarray, candidate: np.ndarray, threshold: float | None
) -> float | None:
    if threshold is None or reference.ndim != 2:
        return None
    return float(((reference >= threshold) == (candidate >= threshold)).mean())


def _worst(reference: Any, candidate: Any, threshold: float | None) -> Parity:
    names = [
        sorted(outputs) if isinstance(outputs, dict) else ["one output"]
        for outputs in (reference, candidate)
    ]
    if names[0] != names[1]:
        raise ExportError(
            f"the file outputs {', '.join(names[1])}, the model {', '.join(names[0])}"
        )
    parities = [
        compare(reference[name], candidate[name], threshold) for name in names[0]
    ]
    larger_is_worse = ("max_error", "relative_error", "rmse")

    def worst(name: str) -> Any:
        values = [getattr(parity, name) for parity in parities]
        figures = [value for value in values if value is not None]
        return (max if name in larger_is_worse else min)(figures, default=None)

    return Parity(**{f.name: worst(f.name) for f in dataclasses.fields(Parity)})


def compare_some(
    reference: Outputs, candidate: Outputs, names: Sequence[str]
) -> Parity | None:
    """Compares the outputs in `names`; None if it is empty. A single one has no name."""
    if not names:
        return None
    if not isinstance(reference, dict):
        return compare(reference, candidate)
    ours, theirs = ({n: x[n] for n in names} for x in (reference, candidate))
    return compare(ours, theirs)


def largest(outputs: Outputs | None, names: Sequence[str]) -> float:
    """Returns the largest absolute value of the outputs in `names`; 0 if there are none.

    Args:
        outputs: the outputs of a model, or None. A single one has no name.
        names: names of outputs.
    """
    if outputs is None or not names:
        return 0.0
    arrays = [outputs[n] for n in names] if isinstance(outputs, dict) else [outputs]
    return max(float(np.abs(array).max()) for array in arrays)


def is_distribution(values: np.ndarray, tolerance: float = 1e-3) -> bool:
    """Whether the rows of an array are distributions: not negative, with a sum of 1."""
    if values.ndim != 2 or values.shape[1] < 2:
        return False
    sums = values.astype("float64").sum(axis=1)
    return bool(values.min() >= -1e-6 and np.abs(sums - 1).max() < tolerance)


def excesses(
    number_format: NumberFormat,
    probabilities: Parity | None,
    logits: Parity | None,
    largest_logit: float = 0.0,
) -> list[str]:
    """Describes which results differ by more than a format allows.

    Args:
        number_format: a `NumberFormat`.
        probabilities: `Parity` of the outputs of a softmax or sigmoid; None if there
            are none.
        logits: `Parity` of the inputs of these, and of the other outputs; None if it
            was not measured.
        largest_logit: the model's largest absolute logit, >= 0; 0 if unknown.
    """
    allowed = number_format.tolerance
    failures = []
    if allowed.probability is not None and probabilities is not None:
        most = max(allowed.probability, allowed.per_logit * largest_logit)
        if not probabilities.max_error <= most:
            failures.append(
                f"probabilities differ by {probabilities.max_error:.2g} "
                f"(allowed {most:.2g})"
            )
    if logits is None:
        return failures
    if allowed.relative is not None and not logits.relative_error <= allowed.relative:
        failures.append(
            f"relative error {logits.relative_error:.2g} (allowed {allowed.relative:.2g})"
        )
    if allowed.cosine is not None and not logits.cosine >= allowed.cosine:
        failures.append(f"cosine {logits.cosine:.4f} (at least {allowed.cosine})")
    if allowed.sqnr is not None and not logits.sqnr >= allowed.sqnr:
        failures.append(f"SQNR {logits.sqnr:.1f} dB (at least {allowed.sqnr:.0f} dB)")
    return failures


def check(
    number_format: NumberFormat,
    probabilities: Parity | None,
    logits: Parity | None,
    largest_logit: float = 0.0,
) -> None:
    """Raises `ExportError` if a new file differs from its model by more than is allowed.

    Probabilities do not suffice to compare a quantized file: a saturated softmax hides the
    errors of the logits. For the arguments see `excesses`.
    """
    if logits is None and number_format.name != "none":
        raise ExportError(
            f"the {number_format.title} file is judged by the inputs of its softmax or "
            "sigmoid, which cannot be read in this one: end the model in a "
            "softmax over its last axis (keras.layers.Softmax() or "
            "Dense(activation='softmax')), or export it with "
            "--logits (logits=True); nothing was written"
        )
    failures = excesses(number_format, probabilities, logits, largest_logit)
    if failures:
        raise ExportError(
            f"the {number_format.title} file differs from the model: "
            f"{'; '.join(failures)}; nothing was written"
        )
