"""Weights and pictures that torch and we can draw alike, from names alone."""

import zlib

import numpy as np

PICTURES = (2, 64, 64, 3)
SAMPLES = 256


def generator(name):
    return np.random.default_rng(zlib.crc32(name.encode()))


def pictures():
    return generator("pictures").standard_normal(PICTURES, dtype="float32")


def tensor(name, shape):
    """A float32 tensor of a torch state dict: nothing zero, one or the identity."""
    rng = generator(name)
    field = name.rpartition(".")[2]
    if field == "running_var" or (field == "weight" and len(shape) == 1):
        return rng.uniform(0.5, 1.5, shape).astype("float32")
    if len(shape) == 1:
        return rng.uniform(-0.2, 0.2, shape).astype("float32")
    # So small that two hundred layers neither blow up nor fade.
    scale = np.float32(np.prod(shape[1:]) ** -0.5)
    return rng.standard_normal(shape, dtype="float32") * scale


def sampled(array):
    """`SAMPLES` values spread over an array (batch, height, width, channels)."""
    flat = np.ravel(array)
    return flat[np.linspace(0, flat.size - 1, SAMPLES).astype(int)].astype("float32")
