"""Turns a checkpoint's tensors into values by our layer's and variable's name.

Values are in Keras' order of axes, in the stored number type. `torch_tensors` is the
inverse, with the names of other libraries.
"""

import math
import re
import typing

import keras
import numpy as np

from keras_resnets.errors import WeightsError
from keras_resnets.weights.readers.arrays import checked

if typing.TYPE_CHECKING:
    from keras_resnets.weights.layouts import Layout


STEM = re.compile(r"(^|_)stem_conv1?$")
HEADS = ("predictions", "predictions_conv")
# A tensor with more than this many times the variable's numbers fits nowhere, whatever
# its channels or classes are, and is not read.
_OVERSIZED = 16
# Our variable -> torch's name of it, by kind of layer.
_TORCH = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_OF_LORA = ("lora_kernel_a", "lora_kernel_b")


def weighted(model: keras.Model) -> list[keras.layers.Layer]:
    """Returns the layers of the network that have weights, in the graph's order.

    Layers in front of the network, which come with an `input_tensor`, are left out.
    """
    before = {id(layer) for layer in in_front(model)}
    return [
        layer for layer in model.layers if layer.weights and id(layer) not in before
    ]


def in_front(model: keras.Model) -> list[typing.Any]:
    """Returns the layers with weights before the network's first convolution."""
    stems = [layer for layer in model.layers if STEM.search(layer.name)]
    ancestors, ahead = {}, [stems[-1]] if stems else []
    while ahead:
        for node in ahead.pop()._inbound_nodes:
            for parent in node.parent_nodes:
                if id(parent.operation) not in ancestors:
                    ancestors[id(parent.operation)] = parent.operation
                    ahead.append(parent.operation)
    return [layer for layer in model.layers if layer.weights and id(layer) in ancestors]


def variable_name(variable: keras.Variable) -> str:
    """Returns `kernel` for `stem_conv/kernel`."""
    return variable.path.split("/")[-1]


def named_values(
    model: keras.Model, tensors: dict[tuple[str, str], np.ndarray], layout: "Layout"
) -> tuple[typing.Any, ...]:
    """Returns values by layer for a checkpoint whose tensors have names.

    Args:
        model: a model of this package.
        tensors: mapping from (module, field) to array.
        layout: `layouts.Layout` of the checkpoint.

    Returns:
        (values, unused): a dict from layer name to a dict from variable name to array,
        and the names of the tensors that no layer of the model uses.
    """
    values, used = {}, set()
    for layer in weighted(model):
        module = layout.module(layer.name)
        layer_values = {}
        for variable in _taken(layer):
            key = (module, _TORCH[variable] if layout.torch else variable)
            if key in tensors:
                used.add(key)
                array = _checked(".".join(key), tensors[key], layer, variable)
                layer_values[variable] = keras_axes(layer, variable, array, layout)
        values[layer.name] = layer_values
        kernel = layer_values.get("kernel")
        if (
            layer.name.endswith(HEADS)
            and kernel is not None
            and "bias" not in layer_values
        ):
            # A classifier without a bias computes exactly the same with zeros.
            layer_values["bias"] = np.zeros(
                kernel.shape[-1:] if kernel.size else 0, "float32"
            )
    _fold(model, values, layout.epsilon)
    _take_in_front(model, tensors, values, used)
    return values, [".".join(key) for key in tensors if key not in used]


def _take_in_front(
    model: keras.Model,
    tensors: dict[tuple[str, str], np.ndarray],
    values: dict[str, dict[str, np.ndarray]],
    used: set[tuple[str, str]],
) -> None:
    """Takes a native file's values of the layers in front; other files leave them."""
    for layer in in_front(model):
        keys = {}
        for number, variable in enumerate(layer.weights):
            name = variable_name(variable)
            key = next((k for k in _keys(layer, name, number) if k in tensors), None)
            if key is not None and tensors[key].shape == tuple(variable.shape):
                keys[name] = key
        if len(keys) == len(layer.weights):
            used.update(keys.values())
            values[layer.name] = {name: tensors[key] for name, key in keys.items()}


def _keys(
    layer: keras.layers.Layer, name: str, number: int
) -> tuple[tuple[str, str], tuple[str, str]]:
    return (layer.name, name), (layer.name, str(number))


def _taken(layer: keras.layers.Layer) -> list[str]:
    fields = _fields(layer)
    # A convolution's bias is read even if ours has none: the BN after it absorbs it.
    if isinstance(layer, keras.layers.Conv2D) and "bias" not in fields:
        fields.append("bias")
    return fields


def _checked(
    name: str, array: np.ndarray, layer: keras.layers.Layer, variable: str
) -> np.ndarray:
    shapes = {variable_name(weight): weight.shape for weight in layer.weights}
    # A variable that our layer lacks is a convolution's bias.
    shape = shapes.get(variable, layer.weights[0].shape[-1:])
    if array.size > _OVERSIZED * math.prod(shape):
        return array
    return checked(name, array, variable == "moving_variance")


def _fields(layer: keras.layers.Layer) -> list[str]:
    return [variable_name(variable) for variable in layer.weights]


def numbered_values(
    model: keras.Model, tensors: typing.Any
) -> tuple[dict[str, dict[str, np.ndarray]], list[str]]:
    """Returns values by layer for Keras 2's automatic names: `conv2d`, `conv2d_1`, ...

    The order of creation is that of this package: block by block, projections last.
    """
    names = {
        keras.layers.Conv2D: "conv2d",
        keras.layers.BatchNormalization: "batch_normalization",
        keras.layers.Dense: "dense",
    }
    counts, values = dict.fromkeys(names.values(), 0), {}
    used: set[tuple[str, str]] = set()
    for layer in weighted(model):
        stem = next(name for kind, name in names.items() if isinstance(layer, kind))
        module = f"{stem}_{counts[stem]}" if counts[stem] else stem
        counts[stem] += 1
        keys = {variable: (module, variable) for variable in _fields(layer)}
        values[layer.name] = {
            variable: _checked(".".join(key), tensors[key], layer, variable)
            for variable, key in keys.items()
            if key in tensors
        }
        used.update(keys.values())
    return values, [".".join(key) for key in tensors if key not in used]


def torch_tensors(model: keras.Model, layout: typing.Any) -> dict[str, np.ndarray]:
    """Returns the variables of `model` under the names of `layout`, in torch's axes.

    Args:
        model: a model of this package.
        layout: a `layouts.Layout` of torch.

    Returns:
        A dict from name to float32 array, in the graph's order.

    Raises:
        WeightsError: a layer that the layout has no name for.
    """
    tensors = {}
    for layer in (layer for layer in model.layers if layer.weights):
        module = layout.module(layer.name)
        if module is None:
            raise WeightsError(f"{layout.name} has no name for {layer.name}")
        for variable in layer.weights:
            name = variable_name(variable)
            # The kernel of a LoRA adapter's layer is their sum.
            if name in _OF_LORA:
                continue
            if name not in _TORCH:
                raise WeightsError(
                    f"{layout.name} has no name for {variable.path}: give the float model"
                )
            array = keras.ops.convert_to_numpy(
                layer.kernel if name == "kernel" else variable
            )
            if name == "kernel":
                array = _torch_axes(array, layout)
            tensors[f"{module}.{_TORCH[name]}"] = np.ascontiguousarray(array)
    return tensors


def _torch_axes(kernel: typing.Any, layout: typing.Any) -> typing.Any:
    if kernel.ndim == 4:
        return kernel.transpose(3, 2, 0, 1)
    return kernel.T[:, :, None, None] if layout.conv_head else kernel.T


def keras_axes(
    layer: keras.layers.Layer,
    variable: str,
    array: np.ndarray,
    layout: "Layout | None" = None,
) -> np.ndarray:
    """Returns `array` in our variable's order of axes; torch's order if no layout."""
    if variable != "kernel" or (layout and not layout.torch):
        return array
    if isinstance(layer, keras.layers.Dense):
        # Some checkpoints store the classifier as a 1x1 convolution.
        pointwise = array.ndim == 2 or (array.ndim == 4 and array.shape[2:] == (1, 1))
        return array.reshape(array.shape[:2]).T if pointwise else array
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


def _fold(
    model: keras.Model, values: dict[str, dict[str, np.ndarray]], epsilon: typing.Any
) -> None:
    """Moves biases of convolutions and a different epsilon into the BN after them."""
    for layer in weighted(model):
        layer_values = values[layer.name]
        if isinstance(layer, keras.layers.BatchNormalization):
            variance = layer_values.get("moving_variance")
            if epsilon is not None and _fits(variance, layer):
                shift = np.float32(epsilon - layer.epsilon)
                layer_values["moving_variance"] = _float32(variance) + shift
        elif "bias" in layer_values and "bias" not in _fields(layer):
            bias = layer_values.pop("bias")
            norm = _norm_behind(layer)
            if norm is None:
                raise WeightsError(
                    f"the bias of {layer.name} has no BN behind it that could take it up"
                )
            if "moving_mean" not in values[norm.name]:
                raise WeightsError(
                    f"it has a bias of {layer.name} and no values of {norm.name}: its BN "
                    "is folded into its convolutions; save the network before that"
                )
            behind = values[norm.name]
            if not _fits(bias, norm):
                raise WeightsError(
                    f"the bias of {layer.name} has the shape {bias.shape}; its BN has "
                    f"{norm.moving_mean.shape}"
                )
            if _fits(behind["moving_mean"], norm):
                behind["moving_mean"] = _float32(behind["moving_mean"]) - _float32(bias)


def _fits(array: typing.Any, norm: typing.Any) -> bool:
    return array is not None and array.shape == tuple(norm.moving_mean.shape)


def _float32(array: typing.Any) -> np.ndarray:
    return np.asarray(array, "float32")


def _norm_behind(layer: keras.layers.Layer) -> typing.Any:
    consumers = [node.operation for node in layer._outbound_nodes]
    norms = [c for c in consumers if isinstance(c, keras.layers.BatchNormalization)]
    return norms[0] if len(norms) == 1 else None
