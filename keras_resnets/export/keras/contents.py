"""Reads the contents of a `.keras` file, by building its model."""

import collections
import os

import keras

from keras_resnets.export import signature
from keras_resnets.export.contents import Contents
from keras_resnets.export.contents import Port
from keras_resnets.export.keras import runner
from keras_resnets.export.prepare import all_layers
from keras_resnets.graph import anatomy


def read(path: str | os.PathLike[str]) -> Contents:
    """Reads the `Contents` of a `.keras` file.

    Args:
        path: the file.

    Raises:
        InvalidArgument: another kind of file, or an incomplete one.
        WeightsError: a model that must not be built, or whose weights do not fit.
    """
    return of_model(runner.load_keras(path))


def check(path: str | os.PathLike[str]) -> None:
    """Does nothing: `runner.load_keras` checks a file before it builds anything."""


def of_model(model: keras.Model) -> Contents:
    """Returns the `Contents` of a file that a model was written to."""
    counted = collections.Counter(type(layer).__name__ for layer in all_layers(model))
    counted.pop("InputLayer", None)
    inputs, outputs = (
        tuple(Port(name, tuple(x.shape), x.dtype) for name, x in tensors.items())
        for tensors in ({x.name: x for x in model.inputs}, signature.outputs(model))
    )
    return Contents(
        inputs=inputs,
        outputs=outputs,
        operators=dict(counted.most_common()),
        scaling=anatomy.scaling_layer(model),
    )
