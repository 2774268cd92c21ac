"""Networks made hard to quantize on purpose: the same function, with channels apart."""

import keras
import numpy as np

from keras_resnets.pruning import channels as shrinking


def makers(model):
    """Names of the convolutions whose channels one other convolution alone reads."""
    return [link.maker.name for link in shrinking.links(model)]


def harden(model, name, channels, factor=50.0):
    """Scales channels of one layer up, and down again in the next; in place.

    Args:
        model: a `keras.Model` of channels_last with BN and ReLU between convolutions.
        name: of the convolution that makes the channels, one of `makers`.
        channels: their indices.
        factor: by which.

    Returns:
        Name of the convolution that reads them.
    """
    link = next(link for link in shrinking.links(model) if link.maker.name == name)
    (norm,) = (
        layer
        for layer in link.between
        if isinstance(layer, keras.layers.BatchNormalization)
    )
    for variable in (norm.gamma, norm.beta):
        values = np.array(keras.ops.convert_to_numpy(variable))
        values[channels] *= factor
        variable.assign(values)
    kernel = np.array(keras.ops.convert_to_numpy(link.reader.kernel))
    kernel[:, :, channels] /= factor
    link.reader.kernel.assign(kernel)
    return link.reader.name


def harden_by(model, seed):
    """Hardens one to three channels of one layer, by a seed: its name and theirs."""
    rng = np.random.default_rng(seed)
    name = str(rng.choice(makers(model)))
    width = model.get_layer(name).filters
    channels = rng.choice(width, int(rng.integers(1, 4)), replace=False)
    harden(model, name, channels)
    return name, [int(channel) for channel in channels]
