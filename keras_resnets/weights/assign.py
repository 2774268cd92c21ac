"""Sets the variables of a model, all of them or none."""

import pathlib
import re
import typing
import warnings
from collections.abc import Callable

import keras
import numpy as np

from keras_resnets.errors import WeightsError
from keras_resnets.errors import some
from keras_resnets.system import shared
from keras_resnets.weights.values import HEADS
from keras_resnets.weights.values import in_front
from keras_resnets.weights.values import variable_name
from keras_resnets.weights.values import weighted

# Layers that no axis of the stem changes; the first unit takes the stem's channels.
_UNIT = re.compile(r"stage(?!1_block1_)\d+_block\d")
_FOREIGN_HEADS = {"fc", "linear", "head", "classifier", *HEADS, "dense"}


class NewHead(UserWarning):
    """The classifier is new: the checkpoint's has another size, or it has none.

    Attributes:
        classes: the classes of the checkpoint's classifier; None where it has none.
    """

    def __init__(self, message: str, classes: int | None = None) -> None:
        super().__init__(message)
        self.classes = classes


# On where `NewHead` is raised; elsewhere it is a warning.
new_heads_refused = shared.Switch("new heads refused")


class Chosen(UserWarning):
    """A file holds more than was taken from it."""


class NewChannels(UserWarning):
    """The first convolution was fitted to another number of input channels."""


def assign(
    model: keras.Model,
    values: dict[str, dict[str, np.ndarray]],
    unused: list[str],
    source: pathlib.Path,
    check: Callable[..., typing.Any] | None = None,
) -> bool:
    """Sets every variable of `model`, or raises and sets none.

    A classifier that the checkpoint lacks, or has in another size, is initialized anew,
    with a `NewHead` warning, and a first convolution is fitted to another number of input
    channels (`NewChannels`).

    Args:
        model: a model of this package.
        values: a dict from layer name to a dict from variable name to array.
        unused: names of tensors that no layer uses.
        source: what messages call the checkpoint.
        check: called once all names and shapes fit, before anything is set.

    Returns:
        Whether the classifier was loaded from the checkpoint.

    Raises:
        WeightsError: variables without values, values without variables, or shapes
            that differ.
    """
    layers = weighted(model)
    heads = [layer for layer in layers if layer.name.endswith(HEADS)]
    if not heads:
        unused = [n for n in unused if not _FOREIGN_HEADS.intersection(n.split("."))]
    new_heads = [layer for layer in heads if _is_other_head(layer, values)]
    channels = _fit_channels(layers[0], values)
    front = [layer for layer in in_front(model) if layer.name in values]
    taken = [layer for layer in (*front, *layers) if layer not in new_heads]
    pairs, missing, misshapen = _pairs(taken, values)
    hint = _hint(layers[0], values, [*missing, *unused, *misshapen])
    _refuse(model, source, missing, unused, misshapen, hint)
    if check is not None:
        check()
    for variable, value in pairs:
        # One after the other: half-precision files are not held in float32 as a whole.
        _set(variable, value)
    for layer in new_heads:
        _renew(layer, values, source)
    if channels:
        warnings.warn(f"{source}: {channels}", NewChannels, stacklevel=2)
    return bool(heads) and not new_heads


def _pairs(
    layers: list[keras.layers.Layer], values: dict[str, dict[str, np.ndarray]]
) -> tuple[typing.Any, ...]:
    """(variable, value) pairs of all `layers`; what is missing; what has a wrong shape."""
    pairs, missing, misshapen = [], [], []
    for layer in layers:
        for variable in layer.weights:
            name = variable_name(variable)
            value = values[layer.name].get(name)
            if value is None:
                missing.append(f"{layer.name}/{name}")
            elif tuple(value.shape) != tuple(variable.shape):
                shapes = f"{tuple(value.shape)} for {tuple(variable.shape)}"
                misshapen.append(f"{layer.name}/{name} {shapes}")
            else:
                pairs.append((variable, value))
    return pairs, missing, misshapen


def _set(variable: keras.Variable, value: np.ndarray) -> None:
    """Assigns an array, which the backend transposes: it has all cores, NumPy one."""
    stored_order = sorted(range(value.ndim), key=lambda axis: -value.strides[axis])
    stored = np.ascontiguousarray(value.transpose(stored_order), "float32")
    order = [stored_order.index(axis) for axis in range(value.ndim)]
    if order != sorted(order):
        stored = keras.ops.transpose(stored, order)
    variable.assign(stored)


def _is_other_head(
    layer: keras.layers.Layer, values: dict[str, dict[str, np.ndarray]]
) -> bool:
    kernel = values[layer.name].get("kernel")
    if not values[layer.name]:
        return True
    if kernel is None or len(kernel.shape) != len(layer.kernel.shape):
        return False
    ours, theirs = tuple(layer.kernel.shape), tuple(kernel.shape)
    return ours[:-1] == theirs[:-1] and ours[-1] != theirs[-1]


def _renew(
    layer: keras.layers.Layer,
    values: dict[str, dict[str, np.ndarray]],
    source: pathlib.Path,
) -> None:
    """Random values for a classifier: the model was built without any."""
    make = keras.initializers.GlorotUniform()
    layer.kernel.assign(make(layer.kernel.shape))
    kernel = values[layer.name].get("kernel")
    theirs = None if kernel is None else kernel.shape[-1]
    had = "it has no classifier"
    if theirs is not None:
        had = f"its classifier has {theirs} classes"
    note = (
        f"{source}: {had}; the model's, with {layer.kernel.shape[-1]}, has new random "
        "values"
    )
    new = NewHead(note, theirs)
    if new_heads_refused.is_on():
        raise new
    warnings.warn(new, stacklevel=3)


def _fit_channels(
    layer: keras.layers.Layer, values: dict[str, dict[str, np.ndarray]]
) -> str | None:
    """Fits the first kernel to the model's input channels, as timm does; returns a note."""
    kernel = values[layer.name].get("kernel")
    target_shape = tuple(layer.kernel.shape)
    if kernel is None or kernel.ndim != 4 or kernel.shape[2] not in (1, 3):
        return None
    same = kernel.shape[:2] == target_shape[:2] and kernel.shape[3] == target_shape[3]
    theirs, channels = kernel.shape[2], target_shape[2]
    if not same or channels == theirs:
        return None
    kernel = np.asarray(kernel, "float32")
    if channels == 1:
        fitted = kernel.sum(axis=2, keepdims=True)
    else:
        repeats = -(-channels // theirs)
        fitted = np.tile(kernel, (1, 1, repeats, 1))[:, :, :channels]
        fitted = fitted * (theirs / channels)
    values[layer.name]["kernel"] = fitted.astype("float32")
    how = "summed into 1" if channels == 1 else f"repeated and scaled to {channels}"
    what = "channels" if theirs > 1 else "channel"
    was = "were" if theirs > 1 else "was"
    return f"the {theirs} input {what} of its first convolution {was} {how}"


def _hint(
    stem: keras.layers.Layer,
    values: dict[str, dict[str, np.ndarray]],
    wrong: list[str],
) -> str:
    """What to do with values that do not fit; "" where nothing is known.

    Args:
        stem: the network's first convolution.
        values: a dict from layer name to a dict from variable name to array.
        wrong: what is missing, left over or misshapen.
    """
    kernel = values[stem.name].get("kernel")
    if kernel is not None and kernel.ndim == 4:
        theirs, ours = kernel.shape[2], stem.kernel.shape[2]
        if theirs != ours and kernel.shape[:2] == tuple(stem.kernel.shape[:2]):
            return (
                f"; its images have {theirs} channels: pass input_shape=(height, width, "
                f"{theirs}), or --channels {theirs}"
            )
        # Where the units differ too, another stem would not help.
        if not any(_UNIT.search(name) for name in wrong):
            return _stem_hint(stem, values)
    if wrong and all(
        name.endswith(("/moving_mean", "/moving_variance")) for name in wrong
    ):
        return (
            "; the statistics of its BN layers are missing: save model.state_dict(), "
            "which has them, instead of the parameters (layers of group normalization "
            "have none, and no network of this package has such layers)"
        )
    return ""


def _stem_hint(
    stem: keras.layers.Layer, values: dict[str, dict[str, np.ndarray]]
) -> str:
    """The axes of another stem, if its convolutions say which."""
    kernel, ours = values[stem.name]["kernel"].shape, tuple(stem.kernel.shape)
    if kernel[:2] == (3, 3) and ours[:2] == (7, 7):
        return (
            "; its first convolution is 3x3, as for CIFAR: pass stem_type='cifar' and "
            f"stem_filters={kernel[3]}, and stem_pool=None unless a max pooling "
            "follows it (in a command --set stem_type=cifar ...)"
        )
    if not stem.name.endswith("stem_conv1"):
        return ""
    named = (values.get(stem.name[:-1] + number, {}).get("kernel") for number in "123")
    widths = [array.shape[-1] for array in named if array is not None]
    for kind, first in (("deep", 1), ("deep_tiered", 3 / 4)):
        if len(widths) == 3 and widths == [first * widths[1], widths[1], 2 * widths[1]]:
            return (
                f"; the convolutions of its stem have {', '.join(map(str, widths))} "
                f"filters: pass stem_type={kind!r} and stem_filters={widths[2]} "
                f"(in a command --set stem_type={kind} ...)"
            )
    return ""


def _refuse(
    model: keras.Model,
    source: pathlib.Path,
    missing: list[typing.Any],
    unused: list[str],
    misshapen: list[typing.Any],
    hint: str,
) -> None:
    wrong = []
    for what, names in (
        ("missing", missing),
        ("left over", unused),
        ("misshapen", misshapen),
    ):
        if names:
            wrong.append(f"{len(names)} {what} ({some(names)})")
    if wrong:
        raise WeightsError(
            f"{source} does not fit {model.name}: {'; '.join(wrong)}{hint}"
        )
