"""Models that are more than float networks, and who writes their files.

`to_tflite` and its like look here at what they are given. Who makes such models
registers how they are written, since export knows nothing of what stands on it.
"""

import dataclasses
import importlib
from collections.abc import Callable

import keras

from keras_resnets.export import prepare

# Whose layers a model has -> what registers how it is written. A model that was loaded
# from a file has the layers alone.
_MAKERS = {"keras_resnets.quantization.qat": "keras_resnets.quantization.ptq"}


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of model with files of its own.

    Attributes:
        recognizes: function of a `keras.Model`: whether it is of this kind.
        name: what it is called.
        check: function of a model of this kind that raises `InvalidArgument` where it
            cannot be written yet.
        writers: functions by format, which take what the exporter of the format takes.
    """

    recognizes: Callable
    name: str
    check: Callable
    writers: dict


_KINDS: list = []


def register(kind):
    """Lets the exporters know a `Kind`."""
    _KINDS.append(kind)


def writer_of(model, format_name):
    """Who writes `model` in a format instead of the exporter; None for nobody.

    Args:
        model: what was given, whatever it is.
        format_name: `"tflite"`, `"onnx"`, `"saved_model"` or `"keras"`.
    """
    kind = kind_of(model)
    return kind and kind.writers.get(format_name)


def kind_of(model):
    """The `Kind` of a model; None for a float network, or for anything else."""
    if not isinstance(model, keras.Model):
        return None
    for layer in prepare.all_layers(model):
        maker = _MAKERS.get(type(layer).__module__.rpartition(".")[0])
        if maker is not None:
            importlib.import_module(maker)
    return next((kind for kind in _KINDS if kind.recognizes(model)), None)


def check(model):
    """Raises `InvalidArgument` where a model of some `Kind` cannot be written yet."""
    kind = kind_of(model)
    if kind:
        kind.check(model)
