"""Whether a new file puts out what its model does, each output as what it is."""

from typing import Any

import keras
import numpy as np

from keras_resnets.export import number_formats
from keras_resnets.export import parity
from keras_resnets.export.keras.runner import KerasRunner
from keras_resnets.export.number_formats import NumberFormat
from keras_resnets.export.runner import Outputs
from keras_resnets.export.runner import joined


def probabilities(known: tuple[str, ...], outputs: Outputs) -> tuple[str, ...]:
    """Names of the outputs that are probabilities; one output has no name.

    Also of those that a layer makes which is not `known` to be a softmax or sigmoid.
    """
    if not isinstance(outputs, dict):
        return known or ("",) * parity.is_distribution(outputs)
    return tuple(
        n for n, x in outputs.items() if n in known or parity.is_distribution(x)
    )


def shaped_as(expected: Any, found: Any) -> Any:
    """`found` in the shapes of `expected`: a file may flatten behind its softmax."""
    if isinstance(found, dict):
        return {n: shaped_as(expected.get(n, x), x) for n, x in found.items()}
    fits = isinstance(expected, np.ndarray) and found.size == expected.size
    return found.reshape(expected.shape) if fits else found


def judge(model: keras.Model, images: np.ndarray, found: Outputs) -> None:
    """Raises `ExportError` where a float32 file's outputs are not those of `model`."""
    reference = KerasRunner(model)
    expected, _ = run_one_by_one(reference, images)
    outputs = parity.compare(expected, found)
    probable = probabilities(reference.tapped, expected)
    float32 = number_formats.find("none")
    judge_by(float32, expected, found, probable, None if probable else outputs)


def judge_by(
    number_format: NumberFormat,
    expected: Outputs,
    found: Outputs,
    probable: tuple[str, ...],
    logits: parity.Parity | None,
) -> None:
    """Raises `ExportError` where a file is further from its model than it may be."""
    parity.check(number_format, parity.compare_some(expected, found, probable), logits)
    if logits is None and isinstance(expected, dict):
        rest = [name for name in expected if name not in probable]
        parity.check(number_format, None, parity.compare_some(expected, found, rest))


def run_one_by_one(reference: KerasRunner, images: np.ndarray) -> tuple[Any, Any]:
    """(outputs, logits) of a `KerasRunner`, whose memory one image bounds."""
    found = [reference(image[None]) for image in images]
    outputs, logits = zip(*found, strict=True)
    return joined(outputs), joined(logits) if reference.has_logits else None
