"""What stands in a `.keras` file, which is built for it."""

import collections
import os

import keras

from keras_resnets.export import signature
from keras_resnets.export.contents import Contents
from keras_resnets.export.contents import Port
from keras_resnets.export.keras import runner
from keras_resnets.export.prepare import all_layers


def read(path: str | os.PathLike[str]) -> Contents:
    """The `Contents` of a `.keras` file.

    Args:
        path: of the file.

    Raises:
        InvalidArgument: another file, or a part of one.
        WeightsError: what is not to be built, or does not fit together.
    """
    return of_model(runner.load_keras(path))


def check(path: str | os.PathLike[str]) -> None:
    """Nothing: `runner.load_keras` looks at a file before anything of it is built."""


def of_model(model: keras.Model) -> Contents:
    """The `Contents` of a file that a model was written to."""
    counted = collections.Counter(type(layer).__name__ for layer in all_layers(model))
    counted.pop("InputLayer", None)
    inputs, outputs = (
        tuple(Port(name, tuple(x.shape), x.dtype) for name, x in tensors.items())
        for tensors in ({x.name: x for x in model.inputs}, signature.outputs(model))
    )
    return Contents(
        inputs=inputs, outputs=outputs, operators=dict(counted.most_common())
    )
