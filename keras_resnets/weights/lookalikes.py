"""Networks whose tensors have the same names and shapes, but which compute otherwise.

Strict loading cannot tell them apart by their tensors. What else a file says of them is
compared here: where the projection stands among the modules of a shortcut, the pooling
layers of a KerasHub preset, and the name that a library gives its network.
"""

import re
import typing

from keras_resnets.errors import WeightsError
from keras_resnets.errors import printable
from keras_resnets.weights import layouts

if typing.TYPE_CHECKING:
    import keras


_PROJECTION = re.compile(r"\.downsample\.([01])$")
# timm's networks with a filter before each stride, which has no weights.
_FILTERED = re.compile(r"^(se)?resnex?t(aa|blur)\d")


def check(
    model: "keras.Model", layout: layouts.Layout, kinds: dict[str, str]
) -> list[str]:
    """Compares `model` with what the names of a file say; returns remarks.

    Args:
        model: a network of this package.
        layout: of the file's names.
        kinds: layer's name -> its class in snake case; empty if the file has none.

    Raises:
        WeightsError: one of both has an average pooling before its projections
            (ResNet-D), the other has none (ResNet-C).
    """
    if layout.name == layouts.KERAS_HUB.name and "conv2d" in kinds.values():
        _check_pooling(model, "average_pooling2d" in kinds.values())
        return []
    match = _PROJECTION.search(layout.names.get("shortcut_conv", ""))
    if match:
        _check_pooling(model, match[1] == "1")
    elif layout.name != layouts.TRANSFORMERS.name:
        return []
    if _has_early_stride(model):
        return [
            f"its names are {layout.name}'s, whose bottlenecks have their stride in the "
            "3x3 by default; "
            f"{model.name} has it in the first 1x1, as weights from Caffe need it; for "
            "others pass downsample_in='3x3'"
        ]
    return []


def check_stem(model: "keras.Model", layout: layouts.Layout) -> None:
    """Raises for files of `keras.applications` V2 in networks of other stems.

    Args:
        model: a network of this package.
        layout: of the file's names.

    Raises:
        WeightsError: the network's first convolution has no bias, the file's has one.
    """
    from keras_resnets.weights.values import STEM

    stem = next((la for la in model.layers if STEM.search(la.name)), None)
    if layout.name == layouts.KERAS_V2.name and stem is not None and not stem.use_bias:
        raise WeightsError(
            "its names are those of ResNet50V2, 101V2 and 152V2 of keras.applications; "
            f"build resnet50v2_keras, resnet101v2_keras or resnet152v2_keras instead of "
            f"{model.name}"
        )


def _check_pooling(model: "keras.Model", pooled: bool) -> None:
    """Raises unless both or none have an average pooling before their projections."""
    if pooled != _is_pooled(model, pooled):
        theirs, ours = ("an", "none") if pooled else ("no", "one")
        shortcut = "avg_projection" if pooled else "projection"
        raise WeightsError(
            f"its shortcuts have {theirs} average pooling before the projection; "
            f"{model.name} has {ours} (ResNet-D has one, ResNet-C none): build the other, "
            f"or pass shortcut_type={shortcut!r}"
        )


def check_name(name: object, place: typing.Any) -> None:
    """Raises if timm's `config.json` names a network that only looks like one of ours.

    Args:
        name: its `architecture`.
        place: the file, for the message.

    Raises:
        WeightsError: a network with a filter before each stride.
    """
    if isinstance(name, str) and _FILTERED.match(name):
        raise WeightsError(
            f"{place}: {printable(name, 60)} filters before each stride, which no network "
            "of this package does; its weights would fit, and give other outputs"
        )


def _is_pooled(model: "keras.Model", unknown: bool) -> bool:
    """Whether a pooling precedes the projections; `unknown` where none has a stride."""
    import keras

    average = keras.layers.AveragePooling2D
    if any(
        isinstance(layer, average) and layer.name.endswith("shortcut_pool")
        for layer in model.layers
    ):
        return True
    strided = any(
        layer.name.endswith("shortcut_conv") and max(layer.strides) > 1
        for layer in model.layers
    )
    return False if strided else unknown


def _has_early_stride(model: "keras.Model") -> bool:
    """Whether the first 1x1 of a bottleneck has the stride."""
    return any(
        re.search(r"block\d+_conv1$", layer.name)
        and tuple(layer.kernel_size) == (1, 1)
        and max(layer.strides) > 1
        for layer in model.layers
    )
