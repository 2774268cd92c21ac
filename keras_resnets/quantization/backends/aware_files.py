"""Exports quantization-aware models as the int8 files that they simulate."""

import typing

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.export import model_kinds
from keras_resnets.export import number_formats
from keras_resnets.export import prepare
from keras_resnets.export.prepare import Ready
from keras_resnets.graph import provenance
from keras_resnets.images import samples
from keras_resnets.quantization.backends import engines
from keras_resnets.quantization.backends import onnx_qdq
from keras_resnets.quantization.qat.freeze import check_ranges
from keras_resnets.quantization.qat.freeze import freeze
from keras_resnets.quantization.qat.layers import FakeQuantize
from keras_resnets.quantization.qat.layers import is_quantized


def check_asked(
    model: keras.Model, form: typing.Any, quantize: typing.Any, asked: typing.Any
) -> None:
    """Raises `InvalidArgument` for options that do not apply to the model.

    Args:
        model: a quantization-aware model.
        form: the `formats.Format` of its file.
        quantize: the number format: `"none"` and `"int8"` both mean its int8 file.
        asked: options of the exporter, by name, that the model determines; all must
            have their defaults.
    """
    if quantize not in ("none", "int8"):
        raise InvalidArgument(
            f"{model.name} is quantization-aware: its {form.title.split()[0]} file is "
            f"int8; got {quantize!r}: give the float model that it was made of"
        )
    given_too = [
        name
        for name, value in asked.items()
        if value is not None and value is not False
    ]
    if given_too:
        raise InvalidArgument(
            f"{model.name} is quantization-aware and has its ranges in it: leave "
            f"{', '.join(given_too)} out, or give the float model that it was made of"
        )


def at_rest(
    model: keras.Model, images: np.ndarray | None, input_size: tuple[int, int] | None
) -> tuple[keras.Model, np.ndarray]:
    """Returns (frozen `model`, images to compare on); see `model_kinds.Kind`."""
    frozen = freeze(model)
    provenance.inherit(frozen, model)
    return frozen, _default_images(frozen, input_size) if images is None else images


def _default_images(
    frozen: keras.Model, input_size: tuple[int, int] | None
) -> typing.Any:
    """Returns preprocessed synthetic images, or noise that fills the input's range."""
    first = next(layer for layer in frozen.layers if isinstance(layer, FakeQuantize))
    shape = prepare.input_shape(frozen, input_size)
    preprocessing = provenance.known_preprocessing(frozen)
    if preprocessing is not None and shape[-1] == 3:
        return samples.default_images(shape, None, preprocessing)
    rng = np.random.default_rng(0)
    return rng.uniform(*first.bounds(), (4, *shape))


def _to_tflite(ready: Ready, io_dtype: str) -> bytes:
    """Returns the bytes of its file."""
    return engines.from_fake_quantized(ready.model, ready, io_dtype)


model_kinds.register(
    model_kinds.Kind(
        recognizes=is_quantized,
        name="a quantization-aware model",
        numbers=number_formats.find("int8"),
        check=check_ranges,
        check_asked=check_asked,
        at_rest=at_rest,
        converters={"tflite": _to_tflite, "onnx": onnx_qdq.convert},
    )
)
