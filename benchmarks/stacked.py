"""Several networks of one architecture as one network with more channels.

Networks of 16 channels leave a large device idle: ResNet-14-V2 took 2.0 ms for a step of
256 images on an H100, WRN-16-4 with the same number of layers and four times the channels
3.0 ms. `widen` therefore builds one network with `count` times the channels. Channel c of
network k is channel c * count + k, so that padding, strides and groups of channels act on
each network as before. Every kernel is zero between channels of different networks; the
outputs are those of separate networks, up to the order of summation.

The values of a stack are arrays with the networks as their first axis. `spread` makes the
arrays of the wide network of them, `gather` reverses this for statistics of BN.
"""

import math


def widen(model, count):
    """A network with the layers of `model` and `count` times the channels of each.

    Args:
        model: a functional model of (N, H, W, C) inputs and (N, classes) outputs.
        count: number of networks, >= 1.

    Returns:
        A functional model, (N, H, W, C * count) to (N, classes * count).
    """
    import keras

    def wider(layer):
        config = layer.get_config()
        for key in ("filters", "units"):
            if key in config:
                config[key] *= count
        return type(layer).from_config(config)

    *space, channels = model.input_shape[1:]
    inputs = keras.Input((*space, channels * count))
    wide = keras.models.clone_model(model, inputs, clone_function=wider)
    for own, other in zip(model.variables, wide.variables, strict=True):
        factor = count if len(own.shape) == 1 else count**2
        if math.prod(other.shape) != factor * math.prod(own.shape):
            raise SystemExit(f"{own.path}: cannot be stacked, its shape is {own.shape}")
    return wide


def spread(value):
    """Array of the wide network from a stack: vectors (count, C) or kernels.

    Args:
        value: (count, C), (count, inputs, outputs) or (count, h, w, inputs, outputs).

    Returns:
        (C * count,), (inputs * count, outputs * count) or
        (h, w, inputs * count, outputs * count), zero between different networks.
    """
    import jax.numpy as jnp

    count = len(value)
    if value.ndim == 2:
        return value.T.reshape(-1)
    *space, inputs, outputs = value.shape[1:]
    own = jnp.eye(count, dtype=value.dtype)
    wide = jnp.einsum("k...io,kl->...ikol", value, own)
    return wide.reshape(*space, inputs * count, outputs * count)


def gather(value, count):
    """The stack (count, C) of a vector (C * count,) of the wide network."""
    return value.reshape(-1, count).T


def inputs_of(images):
    """Inputs (N, H, W, C * count) of the wide network from (count, N, H, W, C)."""
    import jax.numpy as jnp

    count, number, *space, channels = images.shape
    last = jnp.moveaxis(images, 0, -1)
    return last.reshape(number, *space, channels * count)


def outputs_of(outputs, count):
    """Outputs (count, N, classes) from those (N, classes * count) of the wide network."""
    import jax.numpy as jnp

    return jnp.moveaxis(outputs.reshape(len(outputs), -1, count), -1, 0)
