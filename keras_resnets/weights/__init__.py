"""Weights: what the `weights` argument takes.

None (random values); a dataset (`"imagenet"`, `"cifar10"`) or a tag (`"a1_in1k"`) of the
public checkpoints in `records`, which are downloaded; or a file: one that this package
wrote (`.weights.h5`, `.keras`, `.safetensors`), or a checkpoint of torchvision, timm,
`keras.applications`, fyu/drn, akamaster, MLPerf Tiny or darknet (`.safetensors`, `.pth`,
`.pt`, `.th`, `.h5`, `.weights`). Loading is strict: every variable is set and every
stored value used, or a `WeightsError` says what does not fit. Only a `.keras` file tells
how its layers are joined: two variants whose weights have the same shapes in the same
order (`resnet20` and `resnet20v2`) take each other's `.weights.h5`, as everywhere in
Keras.
"""

import os
import pathlib

from keras_resnets import idioms
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import WeightsError
from keras_resnets.weights import beside
from keras_resnets.weights import notes
from keras_resnets.weights import own
from keras_resnets.weights import records
from keras_resnets.weights.source import Source

FOREIGN_SUFFIXES = (".safetensors", ".pth", ".pt", ".th", ".h5", ".weights")
SUFFIXES = (*own.SUFFIXES, *FOREIGN_SUFFIXES)


def open_source(weights, variant):
    """The opened `weights` argument, or None for None, before anything is built.

    Args:
        weights: see this module.
        variant: the registry's name of the network, for its public checkpoints.

    Raises:
        WeightsError: an argument that cannot work, a file that cannot be read, or one
            that cannot be had.
    """
    if weights is None:
        return None
    if not isinstance(weights, (str, os.PathLike)):
        idiom = idioms.for_weights(weights, records.names_of(variant))
        raise WeightsError(
            f"weights must be None, a name or a path; got {weights!r} of type "
            f"{type(weights).__name__}{f': {idiom}' if idiom else ''}"
        )
    path = pathlib.Path(weights)
    if path.is_file():
        source = _open_file(path)
        beside.apply(source)
        return source
    if path.name.endswith(SUFFIXES) or len(path.parts) > 1:
        idiom = idioms.for_weights(weights, records.names_of(variant))
        raise WeightsError(
            f"weights: there is no file {str(weights)!r}{f': {idiom}' if idiom else ''}"
        )
    return _open_record(weights, variant)


def _open_record(name, variant):
    try:
        record = records.find(variant, str(name))
    except InvalidArgument as error:
        raise WeightsError(f"{error} (or give a file: {', '.join(SUFFIXES)})") from None
    from keras_resnets.weights import store

    source = _open_file(store.fetch(record))
    source.origin = record.location
    source.preprocessing, source.labels = record.preprocessing(), record.labels
    return source


def _open_file(path):
    if path.name.endswith(own.SUFFIXES):
        return OwnSource(path)
    from keras_resnets.weights.foreign import ForeignSource

    return ForeignSource(path)


class OwnSource(Source):
    """A `.weights.h5` or `.keras` file."""

    def __init__(self, path):
        super().__init__(path)
        notes.apply(self, notes.read(path))

    def load(self, model):
        """Sets every variable of `model`; there is no other classifier."""
        own.load(model, self.path)
        return True
