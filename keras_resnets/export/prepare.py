"""The model as it is exported: float32, inference, named input and output, fixed shape."""

import keras

from keras_resnets import layers
from keras_resnets.errors import InvalidArgument

INPUT_NAME = "image"
# The formats whose ranges come from pictures.
CALIBRATED = ("int8", "int16x8")


def inference_model(model):
    """A float32 model with native convolutions and the weights of `model`.

    Converters know neither float16 graphs nor Keras' XLA-compiled grouped
    convolutions, and split dilated ones. Where nothing of that occurs, `model` itself
    is returned; it is never changed.

    Raises:
        InvalidArgument: a model that is not functional or Sequential, or is not built.
    """
    if not isinstance(model, keras.Model) or not model.built:
        raise InvalidArgument(
            f"export takes a built keras.Model; got {type(model).__name__}"
        )
    if isinstance(model, keras.Sequential):
        # One that was never called has no operations of its own.
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    if not any(_must_change(layer) for layer in all_layers(model)):
        return model
    if not getattr(model, "operations", None):
        raise InvalidArgument(
            f"{model.name} needs a float32 clone for export, which only a functional or "
            "Sequential model has"
        )
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


def output_name(model):
    """`predictions` behind a softmax or sigmoid, `logits` of a bare classifier.

    `features` otherwise: a feature map, or one that was pooled.
    """
    last = model.layers[-1]
    pools = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)
    if len(model.outputs[0].shape) != 2 or isinstance(last, pools):
        return "features"
    activation = getattr(getattr(last, "activation", None), "__name__", "")
    return "predictions" if activation in ("softmax", "sigmoid") else "logits"


def all_layers(model):
    """The layers of `model` and of the models inside it."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from all_layers(layer)
        else:
            yield layer


def classifier(model):
    """The last layer of `model` where it ends in a softmax or sigmoid, else None."""
    layer = model.layers[-1]
    known = isinstance(layer, (keras.layers.Dense, keras.layers.Activation))
    return layer if known and output_name(model) == "predictions" else None


def _must_change(layer):
    return _is_stock_special_conv(layer) or layer.dtype_policy.name != "float32"


def _is_stock_special_conv(layer):
    return type(layer) is keras.layers.Conv2D and (
        layer.groups > 1 or max(layer.dilation_rate) > 1
    )


def _float32(layer):
    if isinstance(layer, keras.Model):
        return layer
    make = layers.Conv2D if _is_stock_special_conv(layer) else type(layer)
    config = {**layer.get_config(), "dtype": "float32"}
    if "kernel_initializer" in config:
        # The weights follow; drawing random ones would take longer than all the rest.
        config["kernel_initializer"] = "zeros"
    return make.from_config(config)
