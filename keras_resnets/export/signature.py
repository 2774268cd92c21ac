"""What an exported model takes and puts out: the names, logits, features, pixels."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.graph import anatomy
from keras_resnets.graph.features import feature_extractor
from keras_resnets.images.preprocessing import Preprocessing

INPUT_NAME = "image"
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
    names = [_name(_maker(tensor)[0]) for tensor in model.outputs]
    if len(set(names)) < len(names):
        names = [f"{name}_{index}" for index, name in enumerate(names)]
    return dict(zip(names, model.outputs, strict=True))


def select(
    model: keras.Model, logits: bool = False, features: Sequence[str] | None = None
) -> keras.Model:
    """The part of `model` that is wanted, as a functional model that shares its layers.

    Args:
        model: a functional or Sequential model.
        logits: what its softmax or sigmoid gets instead of what that puts out.
        features: names of endpoints, see `feature_extractor`; None for its outputs.

    Returns:
        A `keras.Model` that puts out a dict.

    Raises:
        InvalidArgument: logits of a model without a classifier, endpoints that it has
            not, or both.
    """
    if not features:
        wanted = _logits(model) if logits else outputs(model)
    elif logits:
        raise InvalidArgument("logits and features cannot be exported in one file")
    else:
        wanted = feature_extractor(model, features).output
    return keras.Model(model.inputs, wanted, name=model.name)


def _logits(model: keras.Model) -> Tensors:
    wanted = outputs(model)
    if list(wanted) == ["logits"]:
        return wanted
    found = logits_of(model)
    if found is None:
        raise InvalidArgument(
            "logits are what a softmax or sigmoid at the end gets; "
            f"{model.name} puts out {', '.join(wanted)}"
        )
    return {"logits": found}


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
    operation, given = _maker(tensor)
    if isinstance(operation, keras.Model):
        inner = _in_front(operation.outputs[tensor._keras_history.tensor_index])
        return keras.Model(operation.inputs, inner)(given)
    if _moves(operation):
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


def structured(model: keras.Model, like: keras.Model) -> keras.Model:
    """`model`, which puts out a dict, with its outputs in the structure of `like`.

    A single one is itself, a list a list. `like` puts out the same tensors.
    """
    made = list(outputs(model).values())
    # Not a list of one, of which Keras would warn when it gets the tensor itself.
    given = model.inputs[0] if len(model.inputs) == 1 else model.inputs
    if len(made) == 1:
        return keras.Model(given, made[0], name=model.name)
    if isinstance(like, keras.Sequential) or isinstance(like.output, dict):
        return keras.Model(given, model.output, name=model.name)
    made = keras.tree.pack_sequence_as(like.output, made)
    return keras.Model(given, made, name=model.name)


def with_pixels(
    model: keras.Model, preprocessing: Preprocessing, shape: Sequence[int], dtype: str
) -> keras.Model:
    """`model` behind its pre-processing: RGB pixel values go in.

    Scale, mean, deviation and channel order are one convolution of 1x1, which every
    format has, and which an integer file computes without loss.

    Args:
        model: what `select` returns, of RGB images.
        preprocessing: a `Preprocessing`.
        shape: (height, width, channels) of the images.
        dtype: of the input: `"uint8"` or `"float32"`.
    """
    image = keras.Input(shape, dtype=dtype, name=INPUT_NAME)
    x = image if dtype == "float32" else keras.ops.cast(image, "float32")
    scaling = keras.layers.Conv2D(
        3, 1, data_format="channels_last", dtype="float32", name="normalize"
    )
    found = model(scaling(x))
    scaling.set_weights(_as_convolution(preprocessing))
    return keras.Model(image, found, name=model.name)


def _as_convolution(preprocessing: Preprocessing) -> list[np.ndarray]:
    """Kernel and bias that do to a pixel what `Preprocessing.normalize` does."""
    std = np.asarray(preprocessing.std, "float64")
    order = np.arange(3)[:: -1 if preprocessing.channel_order == "bgr" else 1]
    kernel = np.zeros((1, 1, 3, 3))
    kernel[0, 0, order, np.arange(3)] = preprocessing.scale / std
    return [kernel, -np.asarray(preprocessing.mean, "float64") / std]


def _kind(model: Any) -> str:
    """What the one output of `model` is called."""
    operation, _ = _maker(model.outputs[0])
    if isinstance(operation, keras.Model) and len(operation.outputs) == 1:
        return _kind(operation)
    if len(model.outputs[0].shape) != 2 or isinstance(operation, _POOLS):
        return "features"
    return "predictions" if _ends_in_probability(model.outputs[0]) else "logits"


def _ends_in_probability(tensor: Any) -> bool:
    """Whether a softmax or sigmoid makes a symbolic tensor, here or in a model inside."""
    operation, given = _maker(tensor)
    if isinstance(operation, keras.Model):
        inner = operation.outputs[tensor._keras_history.tensor_index]
        return _ends_in_probability(inner)
    if _moves(operation):
        return _ends_in_probability(given)
    return _is_probability(operation)


def _is_probability(operation: Any) -> bool:
    """Whether it is a softmax or sigmoid, or a layer with a kernel that ends in one."""
    known = (*_KERNELS, keras.layers.Activation)
    is_known = isinstance(operation, known) or not hasattr(operation, "activation")
    function = anatomy.function_of(operation)
    return is_known and function in (anatomy.SOFTMAX, anatomy.SIGMOID)


def _moves(operation: Any) -> bool:
    """Whether a layer changes no value of a finished network, only where it stands."""
    if isinstance(operation, keras.layers.Activation):
        return anatomy.function_of(operation) == "linear"
    return isinstance(operation, _MOVING)


def _name(operation: Any) -> str:
    """Of the layer, or of that which one of a quantization-aware model stands for."""
    return (getattr(operation, "replaces", None) or [operation.name])[-1]


def _maker(tensor: Any) -> tuple[Any, Any]:
    """The layer or operation that puts out a symbolic tensor, and what it gets."""
    operation, index, _ = tensor._keras_history
    given = operation._inbound_nodes[index].input_tensors
    return operation, given[0] if len(given) == 1 else given
