"""What a model puts out, told by its graph: probabilities, logits, feature maps."""

from typing import Any

import keras

from keras_resnets.graph import anatomy

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
    """The symbolic outputs of `model` by name.

    A single one is `predictions` behind a softmax or sigmoid, `logits` of a bare
    classifier, and `features` otherwise (a feature map, or one that was pooled); a
    dict has its own names, in its own order, and a list those of the layers.
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
    """What the softmax or sigmoid at the end of `model` gets; None where there is none.

    It is symbolic and belongs to the model's own graph, also where the classifier is
    in a model inside it.
    """
    if list(outputs(model)) != ["predictions"]:
        return None
    return _in_front(model.outputs[0])


def logits_by_output(model: keras.Model) -> Tensors:
    """What the softmax or sigmoid behind each output gets, by the output's name.

    Outputs that are no probabilities are left out. See `logits_of`.
    """
    return {
        name: _in_front(tensor)
        for name, tensor in outputs(model).items()
        if _ends_in_probability(tensor)
    }


def _in_front(tensor: Any) -> Any:
    """What the softmax or sigmoid gets that makes a symbolic tensor."""
    operation, given = maker(tensor)
    if isinstance(operation, keras.Model):
        inner = _in_front(operation.outputs[tensor._keras_history.tensor_index])
        return keras.Model(operation.inputs, inner)(given)
    if moves(operation):
        return _renamed(operation, "logits")(_in_front(given))
    if not isinstance(operation, _KERNELS):
        return given
    linear = _renamed(operation, "linear", activation=None)
    made = linear(given)
    linear.set_weights(operation.get_weights())
    return made


def _renamed(layer: Any, ending: str, **changes: Any) -> Any:
    """A new layer like `layer`; the old one, called twice, would have two inputs."""
    config = {**layer.get_config(), **changes, "name": f"{layer.name}_{ending}"}
    return type(layer).from_config(config)


def _kind(model: Any) -> str:
    """What the one output of `model` is called."""
    operation, _ = maker(model.outputs[0])
    if isinstance(operation, keras.Model) and len(operation.outputs) == 1:
        return _kind(operation)
    if len(model.outputs[0].shape) != 2 or isinstance(operation, _POOLS):
        return "features"
    return "predictions" if _ends_in_probability(model.outputs[0]) else "logits"


def _ends_in_probability(tensor: Any) -> bool:
    """Whether a softmax or sigmoid makes a symbolic tensor, here or in a model inside."""
    operation, given = maker(tensor)
    if isinstance(operation, keras.Model):
        inner = operation.outputs[tensor._keras_history.tensor_index]
        return _ends_in_probability(inner)
    if moves(operation):
        return _ends_in_probability(given)
    return is_probability(operation)


def is_probability(operation: Any) -> bool:
    """Whether it is a softmax or sigmoid, or a layer with a kernel that ends in one."""
    known = (*_KERNELS, keras.layers.Activation)
    is_known = isinstance(operation, known) or not hasattr(operation, "activation")
    function = anatomy.function_of(operation)
    return is_known and function in (anatomy.SOFTMAX, anatomy.SIGMOID)


def moves(operation: Any) -> bool:
    """Whether a layer changes no value of a finished network, only where it stands."""
    if isinstance(operation, keras.layers.Activation):
        return anatomy.function_of(operation) == "linear"
    return isinstance(operation, _MOVING)


def _name(operation: Any) -> str:
    """Of the layer, or of that which one of a quantization-aware model stands for."""
    return (getattr(operation, "replaces", None) or [operation.name])[-1]


def maker(tensor: Any) -> tuple[Any, Any]:
    """The layer or operation that puts out a symbolic tensor, and what it gets."""
    operation, index, _ = tensor._keras_history
    given = operation._inbound_nodes[index].input_tensors
    return operation, given[0] if len(given) == 1 else given
