"""Models that are more than float networks, and who converts them.

`session.begin` looks here at what an exporter is given. Who makes such models registers
how they are converted, since export knows nothing of what stands on it.
"""

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import keras

from keras_resnets.export import prepare
from keras_resnets.export.formats import Format
from keras_resnets.export.number_formats import NumberFormat

# Whose layers a model has -> what registers how it is converted. A model that was loaded
# from a file has the layers alone.
_MAKERS = {
    "keras_resnets.quantization.qat": "keras_resnets.quantization.backends.aware_files"
}


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of model with files of its own.

    Attributes:
        recognizes: function of a `keras.Model`: whether it is of this kind.
        name: what it is called.
        numbers: what its files compute in.
        check: function of a model of this kind that raises `InvalidArgument` where it
            cannot be written yet.
        check_asked: function of the model, the `Format`, `quantize` and other options
            by name that raises `InvalidArgument` where the model has answered them.
        at_rest: function of the model, images to compare on (or None) and (height,
            width) (or None): the model whose numbers the file has, and the images.
        converters: functions by name of the format, which take the `Ready` and what the
            converter of the format takes, in its stead.
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
    """Lets the exporters know a `Kind`."""
    _KINDS.append(kind)


def kind_of(model: Any) -> Kind | None:
    """The `Kind` of a model; None for a float network, or for anything else."""
    if not isinstance(model, keras.Model):
        return None
    for layer in prepare.all_layers(model):
        maker = _MAKERS.get(type(layer).__module__.rpartition(".")[0])
        if maker is not None:
            importlib.import_module(maker)
    return next((kind for kind in _KINDS if kind.recognizes(model)), None)


def check(model: Any) -> None:
    """Raises `InvalidArgument` where a model of some `Kind` cannot be written yet."""
    kind = kind_of(model)
    if kind:
        kind.check(model)
