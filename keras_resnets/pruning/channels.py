"""Structured pruning: removes channels inside the units; the network stays dense."""

import dataclasses
import typing

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.export import prepare
from keras_resnets.graph import anatomy
from keras_resnets.graph import bn_folding
from keras_resnets.graph import copies
from keras_resnets.graph import provenance
from keras_resnets.graph.nodes import applications
from keras_resnets.graph.nodes import layers_of
from keras_resnets.graph.nodes import read_steps
from keras_resnets.graph.nodes import rebuilt
from keras_resnets.networks import layers
from keras_resnets.pruning.patterns import check_sparsity
from keras_resnets.quantization.qat.layers import is_quantized

if typing.TYPE_CHECKING:
    from keras_resnets.graph.nodes import Step


# Layers between two convolutions of a unit that act on each channel separately.
_BY_CHANNEL = (
    keras.layers.BatchNormalization,
    layers.BatchNormalization,
    keras.layers.ReLU,
    layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.Activation,
    keras.layers.ZeroPadding2D,
    keras.layers.Cropping2D,
    keras.layers.MaxPooling2D,
    layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
    keras.layers.Resizing,
    keras.layers.UpSampling2D,
    keras.layers.Dropout,
    keras.layers.SpatialDropout2D,
)


@dataclasses.dataclass(frozen=True)
class Link:
    """Channels that one convolution produces and only one other consumes.

    Attributes:
        maker, reader: the convolutions.
        between: the layers between them, in order.
    """

    maker: keras.layers.Layer
    reader: keras.layers.Layer
    between: tuple[keras.layers.Layer, ...]


def links(model: keras.Model) -> list[Link]:
    """Returns the `Link`s of `model`: the inner channels of its units, in order.

    A convolution whose output is also added somewhere, or is read twice, has no link:
    the width of a unit's output is kept. Neither has a grouped one, whose channels
    cannot be removed individually, nor one with a layer that is applied more than once.
    """
    steps, outputs = read_steps(model)
    applied = applications(steps)
    readers: dict[int, typing.Any] = {}
    for step in steps:
        for key in step.inputs:
            readers.setdefault(key, []).append(step)
    makers = (s for s in steps if _is_plain(s.layer) and _activates_apart(s.layer))
    candidates = (_follow(step, readers, set(outputs), applied) for step in makers)
    return [link for link in candidates if link]


def _follow(
    step: "Step",
    readers: "dict[int, list[Step]]",
    outputs: set[int],
    applied: "dict[int, list[Step]]",
) -> Link | None:
    maker = step.layer
    between: list[typing.Any] = []
    while True:
        following = readers.get(step.output, [])
        if len(following) != 1 or step.output in outputs:
            return None
        # A shared layer keeps its channels for its other application.
        if len(applied[id(step.layer)]) > 1 and step.layer.weights:
            return None
        (step,) = following
        layer = step.layer
        if _is_plain(layer):
            alone = len(applied[id(layer)]) == 1
            return Link(maker, layer, tuple(between)) if alone else None
        if not _by_channel(layer):
            return None
        between.append(layer)


def _by_channel(layer: keras.layers.Layer) -> bool:
    known = type(layer) in _BY_CHANNEL and getattr(layer, "axis", -1) in (-1, 3)
    return known and _activates_apart(layer)


def _activates_apart(layer: keras.layers.Layer) -> bool:
    """Whether the activation in a layer acts on each channel alone, unlike a softmax."""
    function = getattr(layer, "activation", None)
    if function is None:
        return True
    if isinstance(function, keras.layers.Layer) and function.weights:
        return False
    image = np.random.default_rng(0).normal(size=(1, 1, 1, 4)).astype("float32")
    whole, part = (
        keras.ops.convert_to_numpy(function(keras.ops.convert_to_tensor(x)))
        for x in (image, image[..., :2])
    )
    return whole.shape == image.shape and np.allclose(whole[..., :2], part)


def _is_plain(layer: keras.layers.Layer) -> bool:
    return type(layer) in layers.CONVOLUTIONS and layer.groups == 1


def shrink(model: keras.Model, fraction: float, multiple: int = 1) -> keras.Model:
    """Returns `model` without the weakest inner channels of its units.

    Inner channels are those that one convolution of a unit produces for the next: the
    first of a basic unit, the first two of a bottleneck. The result is dense, so it is
    faster everywhere; fine-tune it afterwards.

    Args:
        model: a built functional or Sequential `keras.Model`, channels_last; it is not
            modified. Nested models are unfolded.
        fraction: share of the inner channels to remove in each unit, in (0, 1).
        multiple: the number of remaining channels is rounded up to a multiple of this.

    Returns:
        A `keras.Model` with the remaining weights.

    Raises:
        InvalidArgument: a value that is not allowed, or a network without inner
            channels.

    Example:
        >>> import keras_resnets
        >>> shrink(keras_resnets.create_model("resnet20"), 0.5).count_params()
        136794
    """
    check_sparsity(fraction)
    prepare.check_functional(model, "shrink")
    if is_quantized(model):
        raise InvalidArgument(
            f"{model.name} is quantization-aware: shrink the float model, then "
            "quantize it"
        )
    anatomy.check_no_lora((layer for layer, _ in layers_of(model)), "shrink")
    for layer, _ in layers_of(model):
        if getattr(layer, "data_format", "") == "channels_first":
            raise InvalidArgument(
                f"shrink takes a network of channels_last; {layer.name} is not"
            )
    inner_links = links(model)
    if not inner_links:
        raise InvalidArgument(
            f"{model.name} has no inner channels: no convolution without groups feeds "
            "another one alone"
        )
    kept = {id(link.maker): _stronger(link, fraction, multiple) for link in inner_links}
    inputs = {id(link.reader): kept[id(link.maker)] for link in inner_links}
    norms = {
        id(layer): kept[id(link.maker)]
        for link in inner_links
        for layer in link.between
    }
    clone, copies = rebuilt(model, lambda layer, name: _narrowed(layer, name, kept))
    for layer, _ in layers_of(model):
        # The weights of a composed layer are set all at once.
        if id(layer) in copies:
            copies[id(layer)].set_weights(_left(layer, kept, inputs, norms))
    # No variant has its widths.
    provenance.inherit(clone, model, architecture=None, axes={}, confidence=None)
    return clone


def _stronger(link: Link, fraction: float, multiple: int) -> np.ndarray:
    """The sorted indices of the channels that are kept."""
    kernel = keras.ops.convert_to_numpy(link.maker.kernel).astype("float64")
    strength = np.sqrt(np.square(kernel).sum(axis=(0, 1, 2)))
    for layer in link.between:
        if isinstance(layer, keras.layers.BatchNormalization):
            strength = strength * np.abs(bn_folding.scale_and_offset(layer)[0])
    read = keras.ops.convert_to_numpy(link.reader.kernel).astype("float64")
    strength = strength * np.sqrt(np.square(read).sum(axis=(0, 1, 3)))
    count = len(strength) * (1 - fraction)
    count = int(np.ceil(round(count, 6) / multiple) * multiple)
    count = min(max(count, 1), len(strength))
    return np.sort(np.argsort(-strength, kind="stable")[:count])


def _left(
    layer: keras.layers.Layer,
    kept: dict[int, np.ndarray],
    inputs: dict[int, np.ndarray],
    norms: dict[int, np.ndarray],
) -> list[np.ndarray]:
    """The weights of a layer without those of removed channels."""
    values = [keras.ops.convert_to_numpy(weight) for weight in layer.weights]
    if id(layer) in norms:
        return [value[norms[id(layer)]] for value in values]
    if id(layer) in inputs:
        values[0] = values[0][:, :, inputs[id(layer)]]
    if id(layer) in kept:
        values = [value[..., kept[id(layer)]] for value in values]
    return values


def _narrowed(
    layer: keras.layers.Layer, name: str, kept: dict[int, np.ndarray]
) -> keras.layers.Layer:
    narrow = {"filters": len(kept[id(layer)])} if id(layer) in kept else {}
    return copies.blank(layer, name=name, **narrow)
