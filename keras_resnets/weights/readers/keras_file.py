"""Keras 2's .h5: a group a layer, with the names of its weights."""

import math

import numpy as np

from keras_resnets.errors import WeightsError
from keras_resnets.weights.readers.checkpoint import Checkpoint

# Compressed data may be this many times as long as the file.
_MOST_COMPRESSION = 20


def read_keras(path):
    """The `Checkpoint` of weights, or of a whole model; names are `layer/weight:0`."""
    import h5py

    size = path.stat().st_size
    makers = {}
    with h5py.File(path, "r") as file:
        root = file["model_weights"] if "model_weights" in file else file
        if "layer_names" not in root.attrs:
            raise WeightsError("it is HDF5, but holds no layers of Keras 2")
        for layer in map(_text, root.attrs["layer_names"]):
            for weight in map(_text, root[layer].attrs["weight_names"]):
                name = f"{layer}/{weight.rpartition('/')[2]}"
                if name in makers:
                    raise WeightsError(f"it holds {name} twice")
                data = root[layer][weight]
                count = math.prod(data.shape)
                if count * data.dtype.itemsize > _MOST_COMPRESSION * size:
                    raise WeightsError(
                        f"{name} of shape {data.shape} is not in the file"
                    )
                array = np.asarray(data, "float32")
                makers[name] = lambda array=array: array
    return Checkpoint(path, "keras", makers)


def _text(name):
    return name.decode() if isinstance(name, bytes) else str(name)
