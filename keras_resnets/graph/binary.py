"""Binary classifiers, which have one output for two classes; see `images.binary`."""

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.graph import anatomy
from keras_resnets.graph import outputs
from keras_resnets.graph import provenance
from keras_resnets.images import labels
from keras_resnets.images.binary import CLASSES


def has_one_output(model: keras.Model) -> bool:
    """Whether a model has one number for an image, which is not one of several labels."""
    shapes = [tuple(tensor.shape[1:]) for tensor in model.outputs]
    return shapes == [(1,)] and not outputs.is_multi_label(model)


def is_binary(model: keras.Model) -> bool:
    """Whether the one output of a model tells two classes apart.

    It does after a sigmoid, and if the model has two labels.
    """
    if not has_one_output(model):
        return False
    names = provenance.of(model).labels
    return (
        anatomy.kind_of_outputs(model) == anatomy.SIGMOID
        or labels.count(names or ()) == CLASSES
    )


def classes(model: keras.Model) -> int:
    """Returns the number of classes of a classifier."""
    count: int = model.output_shape[-1]
    return CLASSES if is_binary(model) else count


def check(model: keras.Model, job: str) -> None:
    """Raises `InvalidArgument` for one output that need not belong to two classes."""
    if has_one_output(model) and not is_binary(model):
        raise InvalidArgument(
            f"{job} requires a classifier; {model.name} has one output without a sigmoid: "
            "if it is the logit of the second of two classes, name both (--labels "
            "cat,dog, or model.labels)"
        )


def with_two_outputs(model: keras.Model) -> keras.Model:
    """Returns a binary classifier as one with a softmax of two classes.

    The probabilities are equal: softmax(-z/2, z/2) is 1 - sigmoid(z) and sigmoid(z). Any
    other model is returned as it is.

    Args:
        model: the classifier; its weights are shared, except those of its last layer.

    Example:
        >>> image = keras.Input((8, 8, 3))
        >>> x = keras.layers.GlobalAveragePooling2D()(image)
        >>> model = keras.Model(image, keras.layers.Dense(1, "sigmoid")(x))
        >>> with_two_outputs(model).output_shape
        (None, 2)
    """
    if not is_binary(model):
        return model
    logit = outputs.logits_of(model)
    if logit is None:
        logit = model.outputs[0]
        _check_logit(model)
    layer, inputs = outputs.maker(logit)
    kernel, bias = np.ones((1, 1), "float32"), np.zeros(1, "float32")
    name = f"{model.name}_classes"
    if type(layer) is keras.layers.Dense and len(inputs.shape) == 2:
        # Two outputs of the same layer, not another layer behind it.
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        bias = keras.ops.convert_to_numpy(layer.bias) if layer.use_bias else bias
        logit, name = inputs, layer.name.removesuffix("_linear")
    both = keras.layers.Dense(
        CLASSES,
        activation="softmax",
        name=name,
        dtype=getattr(layer, "dtype_policy", None),
    )
    result = keras.Model(model.inputs, both(logit), name=model.name)
    halves = [np.stack([-x, x], axis=-1) / 2 for x in (kernel[:, 0], bias[0])]
    both.set_weights(halves)
    provenance.inherit(result, model)
    return result


def _check_logit(model: keras.Model) -> None:
    """Raises `InvalidArgument` for probabilities whose logit cannot be read."""
    if anatomy.kind_of_outputs(model) == anatomy.SIGMOID:
        raise InvalidArgument(
            f"the input of the sigmoid of {model.name} cannot be read: end the model in "
            "keras.layers.Dense(1, activation='sigmoid')"
        )
