"""The kinds of a model's outputs by its graph: probabilities, logits, feature maps."""

from typing import Any

import keras

from keras_resnets.errors import InvalidArgument
from keras_resnets.graph import anatomy
from keras_resnets.graph import copies
from keras_resnets.graph import provenance
from keras_resnets.images.labels import MULTI_LABEL

# Symbolic tensors by the name of the output.
Tensors = dict[str, keras.KerasTensor]
_KERNELS = (keras.layers.Dense, keras.layers.Conv2D)
_MOVING = (
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Dropout,
    keras.layers.Identity,
)
_POOLS = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)


def outputs(model: keras.Model) -> Tensors:
    """Returns the symbolic outputs of `model` by name.

    A single output is called `predictions` after a softmax or sigmoid, `logits` for a
    classifier without one, and `features` otherwise (a feature map or a pooled one). A
    dict keeps its names and order; the outputs in a list get the names of their layers.
    """
    # A Sequential that was never called has no `output`.
    structure = None if isinstance(model, keras.Sequential) else model.output
    if isinstance(structure, dict) and all(
        isinstance(tensor, keras.KerasTensor) for tensor in structure.values()
    ):
        return dict(structure)
    if len(model.outputs) == 1:
        return {_kind(model): model.outputs[0]}
    names = [_name(maker(tensor)[0]) for tensor in model.outputs]
    if len(set(names)) < len(names):
        names = [f"{name}_{index}" for index, name in enumerate(names)]
    return dict(zip(names, model.outputs, strict=True))


def logits_of(model: keras.Model) -> keras.KerasTensor | None:
    """Returns the input of the final softmax or sigmoid of `model`; None if it has none.

    It is symbolic and belongs to the model's own graph, also if the classifier is in a
    nested model.
    """
    if list(outputs(model)) != ["predictions"]:
        return None
    return _in_front(model.outputs[0])


def logits_by_output(model: keras.Model) -> Tensors:
    """Returns the input of the softmax or sigmoid of each output, by the output's name.

    Outputs that are not probabilities are left out. See `logits_of`.
    """
    return {
        name: _in_front(tensor)
        for name, tensor in outputs(model).items()
        if _ends_in_probability(tensor)
    }


def _in_front(tensor: Any) -> Any:
    """The input of the softmax or sigmoid that produces a symbolic tensor."""
    operation, inputs = maker(tensor)
    if anatomy.has_graph(operation):
        inner = _in_front(operation.outputs[tensor._keras_history.tensor_index])
        return keras.Model(operation.inputs, inner)(inputs)
    if moves(operation):
        return _renamed(operation, "logits")(_in_front(inputs))
    if not isinstance(operation, _KERNELS):
        return inputs
    linear = _renamed(operation, "linear", activation=None)
    logits = linear(inputs)
    linear.set_weights(operation.get_weights())
    return logits


def _renamed(layer: Any, ending: str, **changes: Any) -> Any:
    """A new layer like `layer`; the old one, called twice, would have two inputs."""
    return copies.copied(layer, **changes, name=f"{layer.name}_{ending}")


def _kind(model: Any) -> str:
    """The name of the only output of `model`."""
    operation, _ = maker(model.outputs[0])
    if anatomy.has_graph(operation) and len(operation.outputs) == 1:
        return _kind(operation)
    if len(model.outputs[0].shape) != 2 or isinstance(operation, _POOLS):
        return "features"
    return "predictions" if _ends_in_probability(model.outputs[0]) else "logits"


def _ends_in_probability(tensor: Any) -> bool:
    """Whether a softmax or sigmoid produces a tensor, here or in a nested model."""
    operation, inputs = maker(tensor)
    if anatomy.has_graph(operation):
        inner = operation.outputs[tensor._keras_history.tensor_index]
        return _ends_in_probability(inner)
    if moves(operation):
        return _ends_in_probability(inputs)
    return is_probability(operation)


def is_probability(operation: Any) -> bool:
    """Whether it is a softmax or sigmoid, or a layer with a kernel that ends in one."""
    kinds = (*_KERNELS, keras.layers.Activation)
    is_known = isinstance(operation, kinds) or not hasattr(operation, "activation")
    function = anatomy.function_of(operation)
    return is_known and function in (anatomy.SOFTMAX, anatomy.SIGMOID)


def are_sigmoids(model: keras.Model) -> bool:
    """Whether a classifier has a sigmoid for each of two labels or more."""
    if len(model.outputs) != 1 or list(outputs(model)) != ["predictions"]:
        return False
    labels = model.outputs[0].shape[-1]
    return labels != 1 and anatomy.kind_of_outputs(model) == anatomy.SIGMOID


def is_multi_label(model: keras.Model) -> bool:
    """Whether an image may have none, one or several of a model's labels.

    It has a sigmoid for each, or puts out logits and was trained so.
    """
    return are_sigmoids(model) or provenance.of(model).task == MULTI_LABEL


def check_one_class(model: keras.Model, job: str) -> None:
    """Raises `InvalidArgument` for a multi-label classifier, which `job` cannot take."""
    if is_multi_label(model):
        raise InvalidArgument(
            f"{job} requires a classifier with one class per image; {model.name} is "
            "multi-label"
        )


def moves(operation: Any) -> bool:
    """Whether a layer changes the positions of values at inference, but no value."""
    if isinstance(operation, keras.layers.Activation):
        return anatomy.function_of(operation) == "linear"
    return isinstance(operation, _MOVING)


def _name(operation: Any) -> str:
    """The name of the layer, or of the layer that a quantization-aware one replaces."""
    return (getattr(operation, "replaces", None) or [operation.name])[-1]


def maker(tensor: Any) -> tuple[Any, Any]:
    """Returns the layer or operation that produces a symbolic tensor, and its inputs."""
    operation, index, _ = tensor._keras_history
    inputs = operation._inbound_nodes[index].input_tensors
    return operation, inputs[0] if len(inputs) == 1 else inputs
