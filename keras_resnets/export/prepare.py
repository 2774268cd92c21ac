"""Prepares a model for export: float32, inference, functional, with a fixed size."""

import dataclasses
import re
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_positive_int
from keras_resnets.export import signature
from keras_resnets.graph import anatomy
from keras_resnets.graph import copies
from keras_resnets.graph import provenance
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.networks import extent
from keras_resnets.networks import layers


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """The options of an export that do not depend on the format.

    Attributes:
        input_size: (height, width) if the model leaves them open.
        preprocessing: a `Preprocessing` to include, so that the file takes RGB pixels.
        logits: whether to leave out the softmax or sigmoid.
        features: names of endpoints to return, or None.
        source: (height, width) of the photos that the file takes, or None.
        metadata: whether TFLite metadata are written.
        batch: images per call, >= 1, or `"dynamic"`.
        overwrite: whether an existing file is replaced.
        threads: threads of the runtime for comparison and latency, >= 1.

    Raises:
        InvalidArgument: `batch` or `threads` is not allowed.
    """

    input_size: tuple[int, int] | None = None
    preprocessing: Preprocessing | None = None
    logits: bool = False
    features: Sequence[str] | None = None
    source: tuple[int, int] | None = None
    metadata: bool = False
    batch: int | str = 1
    overwrite: bool = False
    threads: int = 2

    def __post_init__(self) -> None:
        check_positive_int("threads", self.threads)
        if self.batch != "dynamic":
            check_positive_int('batch, unless it is "dynamic",', self.batch)

    @property
    def batch_size(self) -> int | None:
        """Images per call; None for an open number."""
        return None if isinstance(self.batch, str) else self.batch

    def recipe(self) -> dict[str, Any]:
        """Returns the options for a passport."""
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
    """A model that is ready for conversion, with its images.

    Attributes:
        options: the options of the export.
        original: the user's model.
        reference: the model as float32, for inference, with the selected outputs.
        model: the model to convert: the reference, with its preprocessing if selected.
        shape: (height, width, channels).
        input_dtype: the type that `model` takes.
        calibration: float32 inputs of `model`, or None if nothing is calibrated.
        images: float32 inputs of `reference` to compare on.
        file_inputs: the same images as inputs of the file.
        convert: the converter of such a model that replaces the exporter's, see
            `model_kinds.Kind`; None for a float network.
    """

    options: ExportOptions
    original: keras.Model
    reference: keras.Model
    model: keras.Model
    shape: tuple[int, ...]
    input_dtype: str
    calibration: np.ndarray | None
    images: np.ndarray
    file_inputs: np.ndarray
    convert: Callable[..., Any] | None = None

    @property
    def takes_pixels(self) -> bool:
        """Whether the preprocessing is part of `model`."""
        return self.model is not self.reference


def check_functional(model: Any, what: str) -> None:
    """Raises `InvalidArgument` unless `model` is built and has a graph.

    Args:
        model: the argument to check.
        what: the caller, for the message: `"export"`.
    """
    if not isinstance(model, keras.Model) or not model.built:
        raise InvalidArgument(
            f"{what} takes a built keras.Model; got {anatomy.type_and_remedy(model)}"
        )
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise InvalidArgument(
            f"{what} takes a functional or Sequential model; got the subclassed "
            f"{type(model).__name__}: use keras.Model(image, model(image)) with image = "
            "keras.Input(...)"
        )
    _check_unquantized(model, what)
    if keras.backend.backend() == "tensorflow":
        _check_names(model)


def _check_unquantized(model: keras.Model, what: str) -> None:
    """Raises `InvalidArgument` for a layer that Keras' own `quantize` has changed."""
    for layer in all_layers(model):
        mode = getattr(layer, "quantization_mode", None)
        if mode is not None:
            raise InvalidArgument(
                f"{what} takes a float model; Keras' quantize() has turned the layer "
                f"{layer.name} of {model.name} into {mode}: give the model as it was "
                "before, and have its file quantized"
            )


def check_channels_last(model: keras.Model) -> None:
    """Raises `InvalidArgument` for a model with a layer that is channels_first."""
    if any(
        getattr(x, "data_format", "") == "channels_first" for x in all_layers(model)
    ):
        raise InvalidArgument(
            f"export takes a channels_last network; {model.name} is channels_first: "
            "rebuild it with data_format='channels_last' and copy the weights with "
            "set_weights"
        )


def _check_parts(model: keras.Model) -> None:
    """Raises `InvalidArgument` if a subclassed model inside would have to be changed."""
    for layer in model.layers:
        if not isinstance(layer, keras.Model):
            continue
        if anatomy.has_graph(layer):
            _check_parts(layer)
        elif any(_must_change(part) for part in (layer, *all_layers(layer))):
            raise InvalidArgument(
                f"a subclassed model inside {model.name} must be float32, without groups "
                f"or dilation; {layer.name} ({type(layer).__name__}) is not: build it as "
                "a functional model, keras.Model(inputs, outputs)"
            )


def _check_names(model: keras.Model) -> None:
    """Raises `InvalidArgument` for a layer that TensorFlow cannot call by its name."""
    for layer in all_layers(model):
        is_input = isinstance(layer, keras.layers.InputLayer)
        if not is_input and not re.fullmatch(r"[A-Za-z0-9_./>\\-]*", layer.name):
            raise InvalidArgument(
                "names of layers must consist of the letters A to Z, digits and _.-/>\\, "
                f"which TensorFlow takes; {model.name} has a layer {layer.name!r}: set "
                "its attribute name, and save the model"
            )


def check_one_image(model: keras.Model, what: str) -> None:
    """Raises `InvalidArgument` unless `model` has one image input.

    Args:
        model: a functional or Sequential model.
        what: the caller, for the message: `"export"`.
    """
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        advice = (
            "; cut it where the inputs join, and take the part of the image: "
            "keras.Model(model.inputs[0], model.get_layer(NAME).output)"
        )
        raise InvalidArgument(
            f"{what} takes a model with one image input (batch, height, width, "
            f"channels); {model.name} has {[tuple(x.shape) for x in model.inputs]}"
            f"{advice if len(model.inputs) > 1 else ''}"
        )


def inference_model(
    model: keras.Model, logits: bool = False, features: Sequence[str] | None = None
) -> keras.Model:
    """Returns a float32 model with native convolutions and the weights of `model`.

    Converters support neither float16 graphs nor Keras' XLA-compiled grouped
    convolutions, and split dilated ones. If none of these occurs, the layers are those
    of `model`, which is never modified.

    Args:
        model: a built functional or Sequential `keras.Model`.
        logits: see `signature.select`.
        features: see `signature.select`.

    Returns:
        A functional model whose output is a dict.

    Raises:
        InvalidArgument: another kind of model, or outputs that it lacks.
    """
    check_functional(model, "export")
    check_channels_last(model)
    model = signature.select(model, logits, features)
    if not any(_must_change(layer) for layer in all_layers(model)):
        return model
    _check_parts(model)
    clone = keras.models.clone_model(model, clone_function=_float32, recursive=True)
    clone.set_weights(model.get_weights())
    return clone


def input_shape(
    model: keras.Model, size: tuple[int, int] | None = None
) -> tuple[int, int, int]:
    """Returns the (height, width, channels) to export `model` at.

    Args:
        model: a model with one image input.
        size: (height, width) if the model leaves them open.

    Raises:
        InvalidArgument: more than one input, an open size, or a size that is not the
            model's.
    """
    check_one_image(model, "export")
    check_channels_last(model)
    own = tuple(model.inputs[0].shape[1:])
    shape = own if size is None else (*extent.check_size("input_size", size), own[2])
    if None in shape:
        raise InvalidArgument(
            f"the exported file has a fixed input size, and {model.name} leaves its own "
            f"open: give a size of (height, width), for example 224 x 224; it takes {own}"
        )
    if any(have not in (None, want) for have, want in zip(own, shape, strict=True)):
        raise InvalidArgument(
            f"the exported file has a fixed input size: {model.name} takes {own}, "
            f"asked for {shape}"
        )
    return shape


def of_fixed_size(model: keras.Model, size: tuple[int, int]) -> keras.Model:
    """Returns `model` for images of one size, if it leaves that open; else `model`.

    Args:
        model: a model with one image input.
        size: (height, width) in pixels.
    """
    if len(model.inputs) != 1 or None not in model.inputs[0].shape[1:3]:
        return model
    shape = input_shape(model, size)
    image = keras.Input(shape, dtype=model.inputs[0].dtype, name=model.inputs[0].name)
    fixed = keras.Model(image, model(image), name=model.name)
    provenance.inherit(fixed, model)
    return fixed


def all_layers(model: keras.Model) -> tuple[keras.layers.Layer, ...]:
    """Returns the layers of `model` and of nested models, each once."""
    layers_by_id: dict[int, keras.layers.Layer] = {}
    for layer in model.layers:
        inner = all_layers(layer) if isinstance(layer, keras.Model) else (layer,)
        layers_by_id.update((id(sublayer), sublayer) for sublayer in inner)
    return tuple(layers_by_id.values())


def check_finite(model: keras.Model) -> None:
    """Raises `InvalidArgument` with the layer's name if a weight is not finite."""
    for layer in all_layers(model):
        for variable in layer.weights:
            values = keras.ops.convert_to_numpy(variable)
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise InvalidArgument(
                    f"weights must be finite; {variable.path} of {model.name} contains NaN "
                    "or infinity"
                )


def at_layer(model: keras.Model, operator: str, scope: str) -> str:
    """Names the layer of an operator in a converter's error: `Lgamma (layer my_layer)`.

    Args:
        model: the converted model.
        operator: the operator's name.
        scope: its scope, such as `model_1/my_layer_1/Lgamma`.
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
    # An operation of keras.ops computes in the dtype of its inputs.
    kind = layers.Conv2D if _is_stock_special_conv(layer) else None
    return copies.blank(layer, kind, dtype="float32")
