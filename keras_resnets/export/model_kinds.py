"""Kinds of models other than float networks, with their own converters.

`session.begin` looks up the kind of a model here. The packages that create such models
register their converters, since export does not depend on them.
"""

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import keras

from keras_resnets.export import prepare
from keras_resnets.export.formats import Format
from keras_resnets.export.number_formats import NumberFormat

# Package of a model's layers -> module that registers the converters. A model loaded from
# a file only has the layers.
_MAKERS = {
    "keras_resnets.quantization.qat": "keras_resnets.quantization.backends.aware_files"
}

# Who makes a quantized TFLite file of a float model.
_QUANTIZER = "keras_resnets.quantization.ptq"


def quantizer() -> Callable[..., Any]:
    """Returns the function that quantizes for `to_tflite`; export must not import it."""
    function: Callable[..., Any]
    function = importlib.import_module(_QUANTIZER).write_as_exporters
    return function


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of model with its own converters.

    Attributes:
        recognizes: function of a `keras.Model`: whether it is of this kind.
        name: its name.
        numbers: the number format of its files.
        check: function of a model of this kind that raises `InvalidArgument` if it
            cannot be written yet.
        check_asked: function of the model, the `Format`, `quantize` and other options
            by name that raises `InvalidArgument` for options that the model determines.
        at_rest: function of the model, images to compare on (or None) and (height,
            width) (or None): returns the model that the file must equal, and the images.
        converters: functions by name of the format, which take the `Ready` and the
            arguments of the format's converter, and replace it.
    """

    recognizes: Callable[[keras.Model], bool]
    name: str
    numbers: NumberFormat
    check: Callable[[keras.Model], None]
    check_asked: Callable[[keras.Model, Format, str, dict[str, Any]], None]
    at_rest: Callable[[keras.Model, Any, Any], tuple[keras.Model, Any]]
    converters: dict[str, Callable[..., Any]]


_KINDS: list[Kind] = []


def register(kind: Kind) -> None:
    """Registers a `Kind` with the exporters."""
    _KINDS.append(kind)


def kind_of(model: Any) -> Kind | None:
    """Returns the `Kind` of a model; None for a float network, or for anything else."""
    if not isinstance(model, keras.Model):
        return None
    for layer in prepare.all_layers(model):
        maker = _MAKERS.get(type(layer).__module__.rpartition(".")[0])
        if maker is not None:
            importlib.import_module(maker)
    return next((kind for kind in _KINDS if kind.recognizes(model)), None)


def check(model: Any) -> None:
    """Raises `InvalidArgument` if a model of some `Kind` cannot be written yet."""
    kind = kind_of(model)
    if kind:
        kind.check(model)
