"""The model as it is exported: float32, inference, functional, of a fixed size."""

import re

import keras

from keras_resnets.errors import InvalidArgument
from keras_resnets.export import signature
from keras_resnets.networks import layers


def check_functional(model, what):
    """Raises `InvalidArgument` unless `model` is built and has a graph.

    Args:
        model: what was given.
        what: takes it, for the message: `"export"`.
    """
    if not isinstance(model, keras.Model) or not model.built:
        raise InvalidArgument(
            f"{what} takes a built keras.Model; got {type(model).__name__}"
        )
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise InvalidArgument(
            f"{what} takes a functional or Sequential model; got the subclassed "
            f"{type(model).__name__}: give keras.Model(image, model(image)) with image = "
            "keras.Input(...)"
        )


def inference_model(model, logits=False, features=None):
    """A float32 model with native convolutions and the weights of `model`.

    Converters know neither float16 graphs nor Keras' XLA-compiled grouped
    convolutions, and split dilated ones. Where nothing of that occurs, the layers are
    those of `model`; it is never changed.

    Args:
        model: a built functional or Sequential `keras.Model`.
        logits: see `signature.select`.
        features: see there too.

    Returns:
        A functional model that puts out a dict.

    Raises:
        InvalidArgument: another model, or outputs that it has not.
    """
    check_functional(model, "export")
    if any(
        getattr(x, "data_format", "") == "channels_first" for x in all_layers(model)
    ):
        raise InvalidArgument(
            f"export takes a network of channels_last; {model.name} is channels_first: "
            "build it anew with data_format='channels_last' and set_weights"
        )
    model = signature.select(model, logits, features)
    if not any(_must_change(layer) for layer in all_layers(model)):
        return model
    clone = keras.models.clone_model(model, clone_function=_float32, recursive=True)
    clone.set_weights(model.get_weights())
    return clone


def input_shape(model, size=None):
    """(height, width, channels) to export `model` at.

    Args:
        model: a model with one image input.
        size: (height, width) where the model leaves them open.

    Raises:
        InvalidArgument: more than one input, an open size, or a size that is not the
            model's.
    """
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        raise InvalidArgument(
            "export takes a model with one image input (batch, height, width, channels); "
            f"{model.name} has {[tuple(tensor.shape) for tensor in model.inputs]}"
        )
    own = tuple(model.inputs[0].shape[1:])
    shape = (*size, own[2]) if size else own
    fits = all(want in (None, have) for have, want in zip(shape, own, strict=True))
    if None in shape or not fits:
        raise InvalidArgument(
            f"the exported file has a fixed input size: {model.name} takes {own}, "
            f"asked for {shape}"
        )
    return shape


def all_layers(model):
    """The layers of `model` and of the models inside it, each once."""
    found = {}
    for layer in model.layers:
        inner = all_layers(layer) if isinstance(layer, keras.Model) else (layer,)
        found.update((id(one), one) for one in inner)
    return tuple(found.values())


def at_layer(model, operator, scope):
    """`Lgamma (layer my_layer)`: whose operator a converter complains of.

    Args:
        model: that was converted.
        operator: its name.
        scope: where it stands, as `model_1/my_layer_1/Lgamma`.
    """
    names = {layer.name for layer in all_layers(model)}
    for part in scope.split("/"):
        # Keras numbers the calls.
        for name in (part, re.sub(r"_\d+$", "", part)):
            if name in names:
                return f"{operator} (layer {name})"
    return f"{operator} (at {scope})"


def _must_change(layer):
    return _is_stock_special_conv(layer) or layer.dtype_policy.name != "float32"


def _is_stock_special_conv(layer):
    return type(layer) is keras.layers.Conv2D and (
        layer.groups > 1 or max(layer.dilation_rate) > 1
    )


def _float32(layer):
    if isinstance(layer, keras.Model):
        return layer
    if not isinstance(layer, keras.layers.Layer):
        # An operation of keras.ops computes in the dtype that it gets.
        return type(layer).from_config(layer.get_config())
    make = layers.Conv2D if _is_stock_special_conv(layer) else type(layer)
    config = {**layer.get_config(), "dtype": "float32"}
    if "kernel_initializer" in config:
        # The weights follow; drawing random ones would take longer than all the rest.
        config["kernel_initializer"] = "zeros"
    return make.from_config(config)
