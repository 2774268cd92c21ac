"""Builds the described network as a `tf_keras` model."""

import typing
from collections.abc import Mapping

import numpy as np


def build(
    description: dict[str, typing.Any],
    arrays: Mapping[str, np.ndarray],
    wrap: typing.Any = None,
    dtype: str = "float32",
) -> typing.Any:
    """Builds the described network, with its weights.

    Args:
        description: the result of `tfmot.description.describe`.
        arrays: values by `layer/variable`.
        wrap: function of a `tf_keras` layer that returns its replacement in the graph;
            None for the layer itself.
        dtype: number type of all layers.

    Returns:
        A functional `tf_keras.Model`.
    """
    import tf_keras

    use_native_convolution()
    image = tf_keras.Input(
        description["input_shape"], dtype=dtype, name=description["input"]
    )
    tensors, layers = {description["input"]: image}, {}
    for step in description["steps"]:
        if step["layer"] not in layers:
            layer = make(step, dtype)
            layers[step["layer"]] = wrap(layer) if wrap else layer
        inputs = [tensors[name] for name in step["inputs"]]
        outputs = layers[step["layer"]](inputs if len(inputs) > 1 else inputs[0])
        tensors[step["output"]] = outputs
    model = tf_keras.Model(image, tensors[description["output"]])
    set_values(model, arrays)
    return model


def make(step: typing.Any, dtype: str = "float32") -> typing.Any:
    """Returns the `tf_keras` layer of a step."""
    import tf_keras

    config = {**step["config"], "name": step["layer"], "dtype": dtype}
    if dtype == "float64" and step["kind"] == "BatchNormalization":
        # TensorFlow's fused kernel has no float64.
        config["fused"] = False
    if step["kind"] == "IdentityPad":
        return identity_pad()(**config)
    return getattr(tf_keras.layers, step["kind"])(**config)


def inner(layer: typing.Any) -> typing.Any:
    """Returns the layer inside tensorflow-model-optimization's wrapper, or the layer."""
    return getattr(layer, "layer", layer)


def variables(model: typing.Any) -> dict[str, typing.Any]:
    """Returns every described variable of `model` by `layer/variable`.

    Wrappers add variables; those of the layers keep their names.
    """
    variables_by_name = {}
    for layer in model.layers:
        for variable in layer.weights:
            name = variable.name.split(":")[0].split("/")[-1]
            if name in _VARIABLES:
                variables_by_name[f"{inner(layer).name}/{name}"] = variable
    return variables_by_name


_VARIABLES = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")


def set_values(model: typing.Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Sets every variable of `model`."""
    for name, variable in variables(model).items():
        variable.assign(arrays[name])


def use_native_convolution() -> None:
    """Makes grouped and dilated convolutions of `tf_keras` a single operator.

    `tf_keras` compiles the grouped ones with XLA, which is slow to train on a CPU, and
    lowers the dilated ones to SpaceToBatch, whose int8 form is partly float.
    """
    import tensorflow as tf
    import tf_keras

    from keras_resnets.networks import tensorflow_ops

    kind = tf_keras.layers.Conv2D
    if hasattr(kind, "keras_resnets_native"):
        return
    stock = kind.convolution_op
    compiled = tf.function(stock, jit_compile=True)

    def convolution(
        layer: typing.Any, inputs: typing.Any, kernel: typing.Any
    ) -> typing.Any:
        grouped, dilated = layer.groups > 1, max(layer.dilation_rate) > 1
        # A stride with a dilation has no native gradient.
        special = (grouped or dilated) and not (dilated and max(layer.strides) > 1)
        if special and tensorflow_ops.has_kernel(grouped, dilated, inputs.dtype):
            return tensorflow_ops.conv2d(
                inputs, kernel, layer.strides, layer.padding, layer.dilation_rate
            )
        otherwise = compiled if grouped else stock
        return otherwise(layer, inputs, tf.convert_to_tensor(kernel))

    kind.convolution_op = kind._jit_compiled_convolution_op = convolution
    kind.keras_resnets_native = True


def identity_pad() -> typing.Any:
    """Returns the class of the option-A shortcut for `tf_keras`."""
    import tensorflow as tf
    import tf_keras

    class IdentityPad(tf_keras.layers.Layer):
        """Takes every `strides`-th pixel and pads the channels with zeros on both sides."""

        def __init__(
            self, strides: int, before: int, behind: int, **kwargs: typing.Any
        ) -> None:
            super().__init__(**kwargs)
            self.strides, self.before, self.behind = strides, before, behind

        def call(self, inputs: typing.Any) -> typing.Any:
            kept = inputs[:, :: self.strides, :: self.strides, :]
            return tf.pad(kept, ((0, 0), (0, 0), (0, 0), (self.before, self.behind)))

        def get_config(self) -> dict[str, typing.Any]:
            own = {"strides": self.strides, "before": self.before}
            return {**super().get_config(), **own, "behind": self.behind}

    return _once("IdentityPad", IdentityPad)


_CLASSES: dict[str, typing.Any] = {}


def _once(name: str, kind: type) -> type:
    """The first class of a name: all its instances must be of the same class."""
    return _CLASSES.setdefault(name, kind)
