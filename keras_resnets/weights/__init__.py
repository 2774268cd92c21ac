"""Weights: what the `weights` argument takes.

None (random values), a file that this package wrote (`.weights.h5`, `.keras`), or a
checkpoint of torchvision, timm, `keras.applications`, fyu/drn, akamaster, MLPerf Tiny or
darknet (`.safetensors`, `.pth`, `.pt`, `.th`, `.h5`, `.weights`). Loading is strict:
every variable is set and every stored value used, or a `WeightsError` says what does
not fit. Only a `.keras` file tells how its layers are joined: two variants whose
weights have the same shapes in the same order (`resnet20` and `resnet20v2`) take each
other's `.weights.h5`, as everywhere in Keras.
"""

import os
import pathlib

from keras_resnets.errors import WeightsError
from keras_resnets.weights import own

FOREIGN_SUFFIXES = (".safetensors", ".pth", ".pt", ".th", ".h5", ".weights")


def open_source(weights):
    """The opened `weights` argument, or None for None, before anything is built.

    Raises:
        WeightsError: an argument that cannot work, or a file that cannot be read.
    """
    if weights is None:
        return None
    if not isinstance(weights, (str, os.PathLike)):
        raise WeightsError(
            f"weights must be None or a path; got {type(weights).__name__}"
        )
    path = pathlib.Path(weights)
    suffixes = (*own.SUFFIXES, *FOREIGN_SUFFIXES)
    if not path.name.endswith(suffixes):
        raise WeightsError(
            f"weights must be None or a file ending in {', '.join(suffixes)}; "
            f"got {str(weights)!r}"
        )
    if not path.is_file():
        raise WeightsError(f"weights: there is no file {str(weights)!r}")
    if path.name.endswith(own.SUFFIXES):
        return OwnSource(path)
    from keras_resnets.weights.foreign import ForeignSource

    return ForeignSource(path)


def load_weights(model, path):
    """Sets every variable of `model` from the file at `path`.

    Args:
        model: a `keras.Model` of this package.
        path: see `create_model`'s `weights`.

    Raises:
        WeightsError: a file that cannot be read, or of another network.
    """
    open_source(path).load(model)


class OwnSource:
    """A file of this package."""

    axes = {}
    preprocessing = None

    def __init__(self, path):
        self.path = path

    def load(self, model):
        own.load(model, self.path)
