"""Sets the variables of a model from a checkpoint of another library.

Each way of storing ends in the same thing: values by our layer's name and our
variable's name, in Keras' order of axes. `assign` takes them, or says what is missing,
left over or misshapen.
"""

import warnings

import keras
import numpy as np

from keras_resnets.errors import WeightsError
from keras_resnets.layers import IdentityPadShortcut
from keras_resnets.weights import layouts
from keras_resnets.weights.readers import read

# Our variable -> torch's name of it, by kind of layer.
_TORCH = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_HEADS = ("predictions", "predictions_conv")
_FOREIGN_HEADS = {"fc", "linear", "head", "predictions", "dense"}


class ForeignSource:
    """A checkpoint of another library, opened and recognized.

    Attributes:
        axes: what the architecture must be like for these weights.
        preprocessing: mode of `preprocess_input` that they expect; None: the
            variant's own.
    """

    def __init__(self, path):
        self.path = path
        checkpoint = read(path)
        self._layout, self._floats, self._tensors = None, None, {}
        self.axes, self.preprocessing = {}, None
        if checkpoint.format == "darknet":
            self._floats = checkpoint["floats"]
            return
        self._tensors = {_module_and_field(n): checkpoint[n] for n in checkpoint}
        modules = [module for module, _ in self._tensors]
        if "conv2d_1" in modules:
            self.preprocessing = "raw"
            return
        try:
            self._layout = layouts.find(modules)
        except WeightsError as error:
            raise WeightsError(f"{path}: {error}") from None
        self.axes, self.preprocessing = self._layout.axes, self._layout.preprocessing

    def load(self, model):
        """Sets every variable of `model`; see `assign`."""
        if self._floats is not None:
            values, rest = stream_values(model, self._floats, self.path)
            unused = [f"{rest:,} numbers"] if rest else []
        elif self._layout is None:
            values, unused = numbered_values(model, self._tensors)
        else:
            _check_padding(model, self._layout, self.path)
            values, unused = named_values(model, self._tensors, self._layout)
        assign(model, values, unused, self.path)


def _module_and_field(name):
    """("layer1.0.bn1", "weight"), ("conv1_conv", "kernel"): whose tensor, and which."""
    if "/" in name:
        module, _, field = name.rpartition("/")
        return module.rpartition("/")[2], field.removesuffix(":0")
    module, _, field = name.rpartition(".")
    return module, field


def _check_padding(model, layout, path):
    wanted = layout.axes.get("identity_pad_position")
    for layer in model.layers:
        if wanted and isinstance(layer, IdentityPadShortcut):
            if layer.position != wanted:
                raise WeightsError(
                    f"{path} needs identity_pad_position={wanted!r}; {model.name} has "
                    f"{layer.position!r}"
                )


def named_values(model, tensors, layout):
    """Values by layer for a checkpoint whose tensors have names.

    Args:
        model: a model of this package.
        tensors: mapping from (module, field) to array.
        layout: `layouts.Layout` of the checkpoint.

    Returns:
        (values, unused): a dict from layer name to a dict from variable name to array,
        and the names of the tensors that no layer of the model asked for.
    """
    values, used = {}, set()
    for layer in weighted(model):
        module = layout.module(layer.name)
        found = {}
        for variable in (*_fields(layer), *_EXTRA.get(type(layer).__name__, ())):
            key = (module, _TORCH[variable] if layout.torch else variable)
            if key in tensors:
                used.add(key)
                array = np.asarray(tensors[key])
                found[variable] = _keras_axes(layer, variable, array, layout.torch)
        values[layer.name] = found
    _fold(model, values, layout.epsilon)
    return values, [".".join(key) for key in tensors if key not in used]


# A convolution's bias is taken even where ours has none: the BN behind it takes it up.
_EXTRA = {"Conv2D": ("bias",)}


def numbered_values(model, tensors):
    """Values by layer for Keras 2's automatic names: `conv2d`, `conv2d_1`, ...

    The order of creation is ours, block by block, projections last.
    """
    names = {
        keras.layers.Conv2D: "conv2d",
        keras.layers.BatchNormalization: "batch_normalization",
        keras.layers.Dense: "dense",
    }
    counts, values, used = dict.fromkeys(names.values(), 0), {}, set()
    for layer in weighted(model):
        stem = next(name for kind, name in names.items() if isinstance(layer, kind))
        module = f"{stem}_{counts[stem]}" if counts[stem] else stem
        counts[stem] += 1
        keys = {variable: (module, variable) for variable in _fields(layer)}
        values[layer.name] = {v: tensors[k] for v, k in keys.items() if k in tensors}
        used.update(keys.values())
    return values, [".".join(key) for key in tensors if key not in used]


def stream_values(model, floats, path):
    """Values by layer for darknet's stream: biases, BN, then weights of each layer.

    Args:
        model: a DarkNet of this package.
        floats: all numbers of the file.
        path: what messages call it.

    Returns:
        (values, left over): see `named_values`; the number of floats left over.
    """
    layers = weighted(model)
    values, position = {}, 0

    def take(*shape):
        nonlocal position
        count = int(np.prod(shape))
        if position + count > len(floats):
            raise WeightsError(
                f"{path} holds {len(floats):,} numbers, too few for {model.name} "
                f"({model.count_params():,})"
            )
        position += count
        return np.array(floats[position - count : position]).reshape(shape)

    for index, layer in enumerate(layers):
        if isinstance(layer, keras.layers.BatchNormalization):
            continue
        *kernel, inputs, outputs = layer.kernel.shape
        following = layers[index + 1] if index + 1 < len(layers) else None
        if isinstance(following, keras.layers.BatchNormalization):
            fields = ("beta", "gamma", "moving_mean", "moving_variance")
            values[following.name] = {field: take(outputs) for field in fields}
            values[layer.name] = {}
        else:
            values[layer.name] = {"bias": take(outputs)}
        weight = take(outputs, inputs, *kernel)
        values[layer.name]["kernel"] = _keras_axes(layer, "kernel", weight, True)
    return values, len(floats) - position


def assign(model, values, unused, source):
    """Sets every variable of `model`, or raises and sets none.

    A classifier of another size stays as it is, with a warning, and a first
    convolution is fitted to another number of input channels.

    Args:
        model: a model of this package.
        values: from `named_values` or its like.
        unused: names of tensors that no layer asked for.
        source: what messages call the checkpoint.

    Raises:
        WeightsError: variables without values, values without variables, or shapes
            that differ.
    """
    layers = weighted(model)
    new_head = _drop_other_head(layers, values)
    has_head = any(_is_head(layer) for layer in layers)
    if not has_head:
        unused = [n for n in unused if not _FOREIGN_HEADS.intersection(n.split("."))]
    changed = _fit_channels(layers[0], values)
    missing, misshapen, pairs = [], [], []
    for layer in layers:
        if layer.name in new_head:
            continue
        for variable in layer.weights:
            name = variable.path.split("/")[-1]
            value = values[layer.name].get(name)
            if value is None:
                missing.append(f"{layer.name}/{name}")
            elif tuple(value.shape) != tuple(variable.shape):
                shapes = f"{tuple(value.shape)} for {tuple(variable.shape)}"
                misshapen.append(f"{layer.name}/{name} {shapes}")
            else:
                pairs.append((variable, value))
    _refuse(model, source, missing, unused, misshapen)
    for variable, value in pairs:
        variable.assign(value)
    for note in filter(None, (changed, *new_head.values())):
        warnings.warn(f"{source}: {note}", stacklevel=2)


def weighted(model):
    """The layers of `model` that have weights, in the graph's order."""
    return [layer for layer in model.layers if layer.weights]


def _fields(layer):
    return [variable.path.split("/")[-1] for variable in layer.weights]


def _is_head(layer):
    return layer.name.endswith(_HEADS)


def _keras_axes(layer, variable, array, torch):
    """`array` in the order of axes of our variable."""
    if variable != "kernel" or not torch:
        return array
    if isinstance(layer, keras.layers.Dense):
        # Some store the classifier as a 1x1 convolution.
        return array.reshape(array.shape[:2]).T if _is_pointwise(array) else array
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


def _is_pointwise(array):
    return array.ndim == 2 or (array.ndim == 4 and array.shape[2:] == (1, 1))


def _fold(model, values, epsilon):
    """Moves biases of convolutions and another epsilon into the BN behind them."""
    for layer in weighted(model):
        found = values[layer.name]
        if isinstance(layer, keras.layers.BatchNormalization):
            if epsilon is not None and "moving_variance" in found:
                shift = np.float32(epsilon - layer.epsilon)
                found["moving_variance"] = found["moving_variance"] + shift
        elif "bias" in found and "bias" not in _fields(layer):
            bias = found.pop("bias")
            norm = _norm_behind(layer)
            if norm is None or "moving_mean" not in values[norm.name]:
                raise WeightsError(
                    f"the bias of {layer.name} has no BN behind it that could take it up"
                )
            behind = values[norm.name]
            behind["moving_mean"] = behind["moving_mean"] - bias


def _norm_behind(layer):
    consumers = [node.operation for node in layer._outbound_nodes]
    norms = [c for c in consumers if isinstance(c, keras.layers.BatchNormalization)]
    return norms[0] if len(norms) == 1 else None


def _drop_other_head(layers, values):
    """Classifiers for which `values` has one of another size, with a note each."""
    notes = {}
    for layer in layers:
        kernel = values[layer.name].get("kernel")
        if not _is_head(layer) or kernel is None:
            continue
        ours, theirs = tuple(layer.kernel.shape), tuple(kernel.shape)
        if ours[:-1] == theirs[:-1] and ours[-1] != theirs[-1]:
            notes[layer.name] = (
                f"its classifier has {theirs[-1]} classes; the model's, with "
                f"{ours[-1]}, keeps its random values"
            )
    return notes


def _fit_channels(layer, values):
    """Fits the first kernel to the model's input channels, in timm's way; a note."""
    kernel = values[layer.name].get("kernel")
    wanted = tuple(layer.kernel.shape)
    if kernel is None or kernel.ndim != 4 or kernel.shape[2] != 3:
        return None
    same = kernel.shape[:2] == wanted[:2] and kernel.shape[3] == wanted[3]
    if not same or wanted[2] == 3:
        return None
    channels = wanted[2]
    if channels == 1:
        fitted = kernel.sum(axis=2, keepdims=True)
    else:
        repeats = -(-channels // 3)
        fitted = np.tile(kernel, (1, 1, repeats, 1))[:, :, :channels] * (3 / channels)
    values[layer.name]["kernel"] = fitted.astype("float32")
    how = "summed into 1" if channels == 1 else f"repeated and scaled to {channels}"
    return f"the 3 input channels of its first convolution were {how}"


def _refuse(model, source, missing, unused, misshapen):
    wrong = []
    for what, names in (
        ("missing", missing),
        ("left over", unused),
        ("misshapen", misshapen),
    ):
        if names:
            more = ", ..." if len(names) > 3 else ""
            wrong.append(f"{len(names)} {what} ({', '.join(names[:3])}{more})")
    if wrong:
        raise WeightsError(f"{source} does not fit {model.name}: {'; '.join(wrong)}")
