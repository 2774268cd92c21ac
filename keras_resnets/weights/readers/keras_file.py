"""Keras 2's .h5: a group a layer, with the names of its weights.

Read in pure Python: the HDF5 library itself hangs on some damaged files, where nothing
can stop it.
"""

import contextlib
import functools
import math
import mmap
import struct

import numpy as np

from keras_resnets.errors import WeightsError
from keras_resnets.weights.readers.checkpoint import Checkpoint

# Compressed data may be this many times as long as the file.
_MOST_COMPRESSION = 20
# A nested model's weights lie some groups down; a loop of links has no bottom.
_DEEPEST = 8


def read_keras(path):
    """The `Checkpoint` of weights, or of a whole model; names are `layer/weight:0`."""
    import pyfive

    with open(path, "rb") as file:
        # A map, since a file allocates what a damaged length asks it to read.
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    _check_whole(mapped)
    with _told():
        return Checkpoint(path, "keras", _makers(pyfive.File(mapped), len(mapped)))


def _check_whole(mapped):
    """HDF5 says at its start where it ends."""
    place = 40 if mapped[8] < 2 else 28
    (end,) = struct.unpack_from("<Q", mapped, place)
    if end > len(mapped):
        raise WeightsError(f"it was cut off: {len(mapped):,} of {end:,} bytes")


def _makers(file, size):
    """A function for each array of a layer's group.

    By the groups alone: the attributes that list them are where damage asks for most.
    """
    root = file["model_weights"] if "model_weights" in file else file
    makers = {}
    for layer in root:
        for name, data in _datasets(root[layer]):
            name = f"{layer}/{name}"
            if name in makers:
                raise WeightsError(f"it holds {name} twice")
            if math.prod(data.shape) * data.dtype.itemsize > _MOST_COMPRESSION * size:
                raise WeightsError(f"{name} of shape {data.shape} is not in the file")
            makers[name] = functools.partial(_values, data)
    if not makers:
        raise WeightsError("it is HDF5, but holds no layers of Keras 2")
    return makers


def _datasets(item, depth=0):
    """(last part of its name, dataset) of every dataset in a layer's group."""
    from pyfive import Group

    if not isinstance(item, Group):
        return
    if depth == _DEEPEST:
        raise WeightsError(f"its groups are more than {_DEEPEST} deep")
    for name in item:
        if isinstance(item[name], Group):
            yield from _datasets(item[name], depth + 1)
        else:
            yield name, item[name]


def _values(data):
    with _told():
        return np.asarray(data[()])


@contextlib.contextmanager
def _told():
    from pyfive.core import InvalidHDF5File

    try:
        yield
    except InvalidHDF5File as error:
        raise WeightsError(f"it is damaged HDF5: {error}") from None
