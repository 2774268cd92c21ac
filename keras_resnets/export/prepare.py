"""The model as it is exported: float32, inference, functional, of a fixed size."""

import dataclasses
import re
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.export import signature
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.networks import layers


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What of a model goes into the file, apart from its format.

    Attributes:
        input_size: (height, width) where the model leaves them open.
        preprocessing: a `Preprocessing` to put in front, so that RGB pixels go in.
        logits: without the softmax or sigmoid.
        features: names of endpoints to put out, or None.
        source: (height, width) of the photos that the file is to take, or None.
        metadata: whether TFLite metadata are written.
    """

    input_size: tuple[int, int] | None = None
    preprocessing: Preprocessing | None = None
    logits: bool = False
    features: Sequence[str] | None = None
    source: tuple[int, int] | None = None
    metadata: bool = False

    def recipe(self) -> dict[str, Any]:
        """What a passport says of it."""
        more: dict[str, Any] = {}
        if self.source is not None:
            more["source"] = list(self.source)
        if self.metadata:
            more["metadata"] = True
        return {
            "include_preprocessing": self.preprocessing is not None,
            "logits": self.logits,
            "features": self.features,
            **more,
        }


@dataclasses.dataclass(frozen=True)
class Ready:
    """A model that can be converted, and the images to do it with.

    Attributes:
        wanted: what of the model goes into the file.
        original: the model that was given.
        reference: the same as float32, for inference, putting out what is wanted.
        model: what is converted: the reference, behind its pre-processing if asked.
        shape: (height, width, channels).
        input_dtype: that `model` takes.
        calibration: float32 inputs of `model`, or None where nothing is quantized.
        images: float32 inputs of `reference` to compare on.
        given: the same for the file.
        convert: what makes the file of such a model instead of the exporter, see
            `model_kinds.Kind`; None for a float network.
    """

    wanted: Wanted
    original: keras.Model
    reference: keras.Model
    model: keras.Model
    shape: tuple[int, ...]
    input_dtype: str
    calibration: np.ndarray | None
    images: np.ndarray
    given: np.ndarray
    convert: Callable[..., Any] | None = None

    @property
    def takes_pixels(self) -> bool:
        """Whether the pre-processing is part of `model`."""
        return self.model is not self.reference


def check_functional(model: Any, what: str) -> None:
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


def inference_model(
    model: keras.Model, logits: bool = False, features: Sequence[str] | None = None
) -> keras.Model:
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


def input_shape(
    model: keras.Model, size: tuple[int, int] | None = None
) -> tuple[int, int, int]:
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


def all_layers(model: keras.Model) -> tuple[keras.layers.Layer, ...]:
    """The layers of `model` and of the models inside it, each once."""
    found: dict[int, keras.layers.Layer] = {}
    for layer in model.layers:
        inner = all_layers(layer) if isinstance(layer, keras.Model) else (layer,)
        found.update((id(one), one) for one in inner)
    return tuple(found.values())


def check_finite(model: keras.Model) -> None:
    """Raises `InvalidArgument` that names the layer where a weight is no number."""
    for layer in all_layers(model):
        for variable in layer.weights:
            values = keras.ops.convert_to_numpy(variable)
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise InvalidArgument(
                    f"weights must be finite; {variable.path} of {model.name} holds NaN "
                    "or infinity"
                )


def at_layer(model: keras.Model, operator: str, scope: str) -> str:
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


def _must_change(layer: keras.layers.Layer) -> bool:
    return _is_stock_special_conv(layer) or layer.dtype_policy.name != "float32"


def _is_stock_special_conv(layer: keras.layers.Layer) -> bool:
    return type(layer) is keras.layers.Conv2D and (
        layer.groups > 1 or max(layer.dilation_rate) > 1
    )


def _float32(layer: Any) -> Any:
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
