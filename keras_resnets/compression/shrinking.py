"""Structured pruning: fewer channels inside the units, in a dense and smaller network."""

import dataclasses

import keras
import numpy as np

from keras_resnets.analysis import nodes_in_order
from keras_resnets.compression import folding
from keras_resnets.compression.aware import inherit
from keras_resnets.compression.layers import is_quantized
from keras_resnets.compression.pruning import check_sparsity
from keras_resnets.errors import InvalidArgument

# Between two convolutions of a unit: whatever works on each channel by itself.
_BY_CHANNEL = (
    keras.layers.BatchNormalization,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.Activation,
    keras.layers.ZeroPadding2D,
    keras.layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
    keras.layers.Dropout,
    keras.layers.SpatialDropout2D,
)


@dataclasses.dataclass(frozen=True)
class Link:
    """Channels that one convolution makes for one other alone.

    Attributes:
        maker, reader: the convolutions.
        between: the layers between them, in order.
    """

    maker: keras.layers.Layer
    reader: keras.layers.Layer
    between: tuple


def links(model):
    """The `Link`s of `model`: the inner channels of its units, in order.

    A convolution whose output is also added somewhere, or is read twice, makes none:
    the width of a unit's output stays. Neither does a grouped one, whose channels
    cannot go one by one.
    """
    readers = {}
    for node in nodes_in_order(model):
        for tensor in node.input_tensors:
            readers.setdefault(id(tensor), []).append(node)
    outputs = {id(tensor) for tensor in model.outputs}
    found = []
    for node in nodes_in_order(model):
        if _is_plain(node.operation):
            link = _follow(node, readers, outputs)
            if link:
                found.append(link)
    return found


def _follow(node, readers, outputs):
    maker, between = node.operation, []
    while True:
        tensor = node.output_tensors[0]
        following = readers.get(id(tensor), [])
        if len(following) != 1 or id(tensor) in outputs:
            return None
        node = following[0]
        if _is_plain(node.operation):
            return Link(maker, node.operation, tuple(between))
        if not isinstance(node.operation, _BY_CHANNEL):
            return None
        between.append(node.operation)


def _is_plain(layer):
    return isinstance(layer, keras.layers.Conv2D) and layer.groups == 1


def shrink(model, fraction, multiple=1):
    """A smaller network: `model` without the weakest inner channels of its units.

    Inner are the channels that one convolution of a unit makes for the next: the first
    of a basic unit, the first two of a bottleneck. What is left is dense, so it is
    faster everywhere; fine-tune it afterwards.

    Args:
        model: a built functional `keras.Model` of channels_last; it is not changed.
        fraction: share of the inner channels to remove in each unit, in (0, 1).
        multiple: channels that are left come in multiples of this, rounded up.

    Returns:
        A `keras.Model` with the weights that are left.

    Raises:
        InvalidArgument: a value that is not allowed, or a network without inner
            channels.

    Example:
        >>> import keras_resnets
        >>> shrink(keras_resnets.create_model("resnet20"), 0.5).count_params()
        136794
    """
    check_sparsity(fraction)
    if is_quantized(model):
        raise InvalidArgument(
            f"{model.name} is quantization-aware: shrink the float model, then "
            "quantize it"
        )
    found = links(model)
    if not found:
        raise InvalidArgument(
            f"{model.name} has no inner channels: no convolution without groups feeds "
            "another one alone"
        )
    kept = {link.maker.name: _stronger(link, fraction, multiple) for link in found}
    clone = keras.models.clone_model(
        model, clone_function=lambda layer: _narrowed(layer, kept)
    )
    inputs = {link.reader.name: kept[link.maker.name] for link in found}
    norms = {
        layer.name: kept[link.maker.name] for link in found for layer in link.between
    }
    for layer in model.layers:
        values = [keras.ops.convert_to_numpy(weight) for weight in layer.weights]
        if isinstance(layer, keras.layers.Conv2D):
            kernel, *bias = values
            if layer.name in inputs:
                kernel = kernel[:, :, inputs[layer.name]]
            if layer.name in kept:
                kernel = kernel[..., kept[layer.name]]
                bias = [one[kept[layer.name]] for one in bias]
            values = [kernel, *bias]
        elif layer.name in norms:
            values = [value[norms[layer.name]] for value in values]
        clone.get_layer(layer.name).set_weights(values)
    inherit(clone, model)
    return clone


def _stronger(link, fraction, multiple):
    """Sorted indices of the channels that stay."""
    kernel = keras.ops.convert_to_numpy(link.maker.kernel).astype("float64")
    strength = np.sqrt(np.square(kernel).sum(axis=(0, 1, 2)))
    for layer in link.between:
        if isinstance(layer, keras.layers.BatchNormalization):
            strength = strength * np.abs(folding.scale_and_offset(layer)[0])
    read = keras.ops.convert_to_numpy(link.reader.kernel).astype("float64")
    strength = strength * np.sqrt(np.square(read).sum(axis=(0, 1, 3)))
    count = len(strength) * (1 - fraction)
    count = int(np.ceil(round(count, 6) / multiple) * multiple)
    count = min(max(count, 1), len(strength))
    return np.sort(np.argsort(-strength, kind="stable")[:count])


def _narrowed(layer, kept):
    config = layer.get_config()
    if layer.name in kept:
        config["filters"] = len(kept[layer.name])
    if "kernel_initializer" in config:
        config["kernel_initializer"] = "zeros"
    return type(layer).from_config(config)
