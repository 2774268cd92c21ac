"""Compares the outputs of a new file with its model's: probabilities and logits."""

from typing import Any

import keras
import numpy as np

from keras_resnets.export import number_formats
from keras_resnets.export import parity
from keras_resnets.export.keras.runner import KerasRunner
from keras_resnets.export.number_formats import NumberFormat
from keras_resnets.export.runner import Outputs
from keras_resnets.export.runner import joined


def probabilities(tapped: tuple[str, ...], outputs: Outputs) -> tuple[str, ...]:
    """Returns the names of the outputs that are probabilities.

    These are `tapped`, and outputs that sum to 1 without a known softmax. The name of a
    single output is `""` if it is not tapped.
    """
    if not isinstance(outputs, dict):
        return tapped or ("",) * parity.is_distribution(outputs)
    return tuple(
        n for n, x in outputs.items() if n in tapped or parity.is_distribution(x)
    )


def shaped_as(expected: Any, outputs: Any) -> Any:
    """Reshapes `outputs` like `expected`: a file may flatten after its softmax."""
    if isinstance(outputs, dict):
        return {n: shaped_as(expected.get(n, x), x) for n, x in outputs.items()}
    fits = isinstance(expected, np.ndarray) and outputs.size == expected.size
    return outputs.reshape(expected.shape) if fits else outputs


def judge(model: keras.Model, images: np.ndarray, actual: Outputs) -> None:
    """Raises `ExportError` if a float32 file's outputs are not those of `model`."""
    reference = KerasRunner(model)
    expected, expected_logits = run_one_by_one(reference, images)
    outputs = parity.compare(expected, actual)
    probable = probabilities(reference.tapped, expected)
    float32 = number_formats.find("none")
    logits = None if probable else outputs
    largest_logit = parity.largest(expected_logits, reference.tapped)
    judge_by(float32, expected, actual, probable, logits, largest_logit)


def judge_by(
    number_format: NumberFormat,
    expected: Outputs,
    actual: Outputs,
    probable: tuple[str, ...],
    logits: parity.Parity | None,
    largest_logit: float,
) -> None:
    """Raises `ExportError` if a file differs from its model by more than is allowed."""
    compared = parity.compare_some(expected, actual, probable)
    parity.check(number_format, compared, logits, largest_logit)
    if logits is None and isinstance(expected, dict):
        rest = [name for name in expected if name not in probable]
        parity.check(number_format, None, parity.compare_some(expected, actual, rest))


def run_one_by_one(reference: KerasRunner, images: np.ndarray) -> tuple[Any, Any]:
    """Returns (outputs, logits) of a `KerasRunner`, image by image to bound memory."""
    results = [reference(image[None]) for image in images]
    outputs, logits = zip(*results, strict=True)
    return joined(outputs), joined(logits) if reference.has_logits else None
