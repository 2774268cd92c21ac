"""Folds the temperature of a classifier into the weights of its last layer."""

import dataclasses
import typing

import keras

from keras_resnets.errors import InvalidArgument
from keras_resnets.graph import anatomy
from keras_resnets.graph import outputs
from keras_resnets.images.confidence import Confidence


def scale_logits(model: keras.Model, temperature: float) -> None:
    """Divides the logits of `model` by a temperature, in place.

    Kernel and bias of the classifier are divided, so that no layer is added, and no
    operator in any exported file. Predicted classes do not change, only their confidence.

    Args:
        model: a classifier that ends in a `Dense` layer or a convolution, followed at
            most by a softmax, a global mean and layers that change no values.
        temperature: > 0, see `images.confidence.fit_temperature`.

    Raises:
        InvalidArgument: an invalid temperature, or a model that does not end
            in a softmax after a dense layer or a convolution.

    Example:
        >>> import keras_resnets
        >>> model = keras_resnets.create_model("resnet8")
        >>> scale_logits(model, 2.0)
    """
    if not 0 < temperature < float("inf"):
        raise InvalidArgument(f"temperature must be above 0; got {temperature!r}")
    layer = _classifier(model)
    if layer is None or anatomy.kind_of_outputs(model) == anatomy.SIGMOID:
        raise InvalidArgument(
            "a temperature requires a classifier that ends in a dense layer or a "
            f"convolution and a softmax; {model.name} does not"
        )
    layer.set_weights([value / temperature for value in layer.get_weights()])


def calibrated(model: keras.Model, confidence: Confidence) -> None:
    """Applies a `Confidence` to `model`: its temperature, and the record of it.

    `model.confidence` is written into files of weights and passports.
    """
    scale_logits(model, confidence.temperature)
    model.confidence = dataclasses.asdict(confidence)


def _classifier(model: keras.Model) -> typing.Any:
    """The classifier's layer with the last kernel, or None."""
    tensor = model.outputs[0]
    while True:
        operation, inputs = outputs.maker(tensor)
        if anatomy.has_graph(operation):
            tensor = operation.outputs[tensor._keras_history.tensor_index]
            continue
        if isinstance(operation, (keras.layers.Dense, keras.layers.Conv2D)):
            function = anatomy.function_of(operation)
            return operation if function in ("linear", anatomy.SOFTMAX) else None
        passes = (
            outputs.moves(operation)
            or outputs.is_probability(operation)
            or isinstance(operation, keras.layers.GlobalAveragePooling2D)
        )
        if not passes or isinstance(inputs, (list, tuple)):
            return None
        tensor = inputs
