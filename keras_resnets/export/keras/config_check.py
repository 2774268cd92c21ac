"""Checks the `config.json` of an untrusted `.keras` file before a model is built.

Keras builds any class that the configuration names. Allowed are layers and operations for
images that only compute, and classes that this process registered; not allowed is anything
that reads files, runs code from the file, or repeats by a number in the file.
`safe_loading` limits the size of the model.
"""

import inspect
import math
import re
import sys
import typing

import keras

from keras_resnets.errors import WeightsError
from keras_resnets.errors import printable
from keras_resnets.weights.readers.keras_file import is_layer

# Without recurrent layers, whose number of steps is a number in the file, those that look
# words up in files, and those that run code: Lambda, TFSMLayer, TorchModuleWrapper, ...
_LAYERS = frozenset(
    """
    Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D
    AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D
    AdaptiveMaxPooling3D Add AdditiveAttention AlphaDropout Attention AutoContrast
    Average AveragePooling1D AveragePooling2D AveragePooling3D BatchNormalization
    CategoryEncoding CenterCrop Concatenate Conv1D Conv1DTranspose Conv2D
    Conv2DTranspose Conv3D Conv3DTranspose Cropping1D Cropping2D Cropping3D Dense
    DepthwiseConv1D DepthwiseConv2D Discretization Dot Dropout ELU EinsumDense Embedding
    Equalization Flatten GaussianDropout GaussianNoise GlobalAveragePooling1D
    GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D
    GlobalMaxPooling3D GroupNormalization GroupQueryAttention Identity InputLayer
    LayerNormalization LeakyReLU Masking MaxPooling1D MaxPooling2D MaxPooling3D Maximum
    Minimum MultiHeadAttention Multiply Normalization PReLU Permute RMSNormalization
    RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop
    RandomErasing RandomFlip RandomGrayscale RandomHue RandomInvert RandomPerspective
    RandomPosterization RandomRotation RandomSaturation RandomSharpness RandomShear
    RandomTranslation RandomZoom ReLU RepeatVector Rescaling Reshape Resizing
    SeparableConv1D SeparableConv2D Softmax Solarization SpatialDropout1D
    SpatialDropout2D SpatialDropout3D Subtract UnitNormalization UpSampling1D
    UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
    """.split()
)
_MODELS = ("Functional", "Sequential")
_OPERATIONS = ("keras.src.ops.nn", "keras.src.ops.numpy", "keras.src.ops.image")
# Operations whose number of values or parts is a number in the file.
_NO_OPERATIONS = frozenset(
    "Arange ArraySplit Bincount BroadcastTo Dsplit Full Geomspace Histogram Hsplit Kron "
    "Linspace Logspace Meshgrid Repeat Split Tile Unfold Vander Vsplit".split()
)
# Modules whose classes are arguments of layers: dtype policies, regularizers, ...
_VALUES = (
    "keras",
    "keras.constraints",
    "keras.dtype_policies",
    "keras.quantizers",
    "keras.random",
    "keras.regularizers",
)
_TENSOR = "__keras_tensor__"
_ARRAYS = ("__numpy__", "__tensor__")
_NUMBERS = re.compile(r"(u?int|float|bfloat)(8|16|32|64)|bool")
_PLAIN = (*_ARRAYS, _TENSOR, "__bytes__", "__ellipsis__", "__slice__")
# Nesting of three models in each other; the inputs of a layer are eight levels down.
_DEEPEST, _DEEPEST_MODEL = 80, 8
_LONGEST_TEXT = 1000
# ResNet-1202 has 5,000 layers. Other networks have up to ten per layer with weights.
_MOST_CALLS = 10_000
_CALLS_FOR_EACH, _CALLS_TO_SPARE = 10, 200
# Keras iterates over all layers once more for each that precedes its input.
_MOST_BACKWARD = 50


def check(config: typing.Any, weighted: typing.Any) -> None:
    """Checks a model's description, and prepares it for building.

    The training configuration is removed, and initializers become zeros: the file's
    values are set afterwards.

    Args:
        config: the content of `config.json`; it is modified.
        weighted: the number of layers with weights in the file.

    Raises:
        WeightsError: a class that is not allowed, numbers or names that no model has,
            or far more layers than weights.
    """
    if not is_layer(config) or config["class_name"] not in _MODELS:
        if is_layer(config):
            _check_class(config)
        else:
            raise WeightsError("its config.json describes no model")
    calls = _calls(config, 1)
    most = min(_CALLS_TO_SPARE + _CALLS_FOR_EACH * weighted, _MOST_CALLS)
    if calls > most:
        raise WeightsError(
            f"it has {calls:,} layers, and weights for {weighted:,}: at most {most:,} are "
            "built"
        )
    items = [(config, 0)]
    while items:
        item, depth = items.pop()
        if depth > _DEEPEST:
            raise WeightsError(f"its config.json is more than {_DEEPEST} deep")
        if isinstance(item, dict):
            _prepare(item)
            items += [(value, depth + 1) for value in item.values()]
            if not all(map(str.isprintable, item)):
                raise WeightsError("a name in its config.json is not printable")
        elif isinstance(item, list):
            items += [(value, depth + 1) for value in item]
        else:
            _check_value(item)


def _prepare(item: typing.Any) -> None:
    """Checks a dict of a description; removes what is not needed."""
    if item.get("compile_config") is not None:
        item["compile_config"] = None
    for key, value in item.items():
        if key.endswith("initializer") and value is not None:
            item[key] = "zeros"
    if "class_name" in item and item["class_name"] not in _PLAIN:
        _check_class(item)
    elif item.get("class_name") in _ARRAYS:
        inner = item.get("config")
        dtype = inner.get("dtype") if isinstance(inner, dict) else None
        if not isinstance(dtype, str) or not _NUMBERS.fullmatch(dtype):
            raise WeightsError(
                f"its config.json contains an array of {printable(repr(dtype))}"
            )


def _check_value(value: typing.Any) -> None:
    if isinstance(value, str):
        if len(value) > _LONGEST_TEXT or not value.isprintable():
            raise WeightsError(
                f"its config.json contains a string of {len(value):,} characters that is "
                f"not a name: {printable(value, 60)}"
            )
    elif isinstance(value, float):
        if not math.isfinite(value) or abs(value) > 3.4e38:
            raise WeightsError(f"its config.json contains the number {value}")
    elif isinstance(value, int) and abs(value) > 2**63:
        raise WeightsError("its config.json contains a number of more than 64 bits")


def _check_class(item: typing.Any) -> None:
    """Raises `WeightsError` for a class or function that must not be built."""
    name, module = item["class_name"], item.get("module")
    registered = item.get("registered_name") or name
    if not isinstance(name, str) or not isinstance(registered, str):
        raise WeightsError("its config.json names a class that is not text")
    if name == "function":
        registered = name = item.get("config")
        is_allowed = isinstance(name, str) and _is_function(name, module)
    else:
        is_allowed = _is_class(name, module)
    if is_allowed or _is_registered(registered):
        return
    shown, of = printable(str(name)), printable(str(module))
    if not of.startswith("keras."):
        where = "" if module is None else f" (of {of})"
        raise WeightsError(f"it has layers that are registered nowhere: {shown}{where}")
    raise WeightsError(
        f"it has {of}.{shown}, which is not a layer that computes images from numbers "
        "alone: it is not built from a file"
    )


def _is_registered(name: str) -> bool:
    return keras.saving.get_registered_object(name) is not None


def _is_function(name: str, module: str) -> bool:
    if module not in ("builtins", "keras.activations"):
        return False
    function = getattr(keras.activations, name, None)
    return inspect.isfunction(function) and name not in (
        "deserialize",
        "get",
        "serialize",
    )


def _is_class(name: str, module: str) -> bool:
    if not isinstance(module, str):
        return False
    if module == "keras.layers":
        return name in _LAYERS
    if name in _MODELS:
        return module in ("keras", "keras.models", f"keras.src.models.{name.lower()}")
    if module in _VALUES:
        member = getattr(sys.modules.get(module), name, None)
        return inspect.isclass(member) and not issubclass(member, keras.Operation)
    if name in _NO_OPERATIONS or (module, name) == ("keras.src.ops.core", "Cast"):
        return name == "Cast"
    member = module in _OPERATIONS and getattr(sys.modules.get(module), name, None)
    return inspect.isclass(member) and issubclass(member, keras.Operation)


def _calls(config: typing.Any, depth: int) -> int:
    """Returns the number of layer calls of a model, including nested models."""
    if depth > _DEEPEST_MODEL:
        raise WeightsError(f"it has models in models, more than {_DEEPEST_MODEL} deep")
    inner = config.get("config")
    layers = inner.get("layers") if isinstance(inner, dict) else None
    if not isinstance(layers, list):
        return 0
    if len(layers) > _MOST_CALLS:
        raise WeightsError(f"it has {len(layers):,} layers: at most {_MOST_CALLS:,}")
    total, backward = 0, 0
    seen: set[typing.Any] = set()
    for layer in layers:
        if not is_layer(layer):
            raise WeightsError("its config.json has a layer without class or config")
        nodes = layer.get("inbound_nodes") or []
        if not isinstance(nodes, list):
            raise WeightsError("its config.json has a layer without a list of inputs")
        inputs = [_inputs(node) for node in nodes]
        if not all(inputs):
            # Keras would compute immediately, on whatever numbers are given.
            raise WeightsError("its config.json has a layer whose input is not a layer")
        backward += any(not names <= seen for names in inputs)
        seen.add(layer.get("name"))
        total += max(len(nodes), 1) * (1 + _calls(layer, depth + 1))
    if backward > _MOST_BACKWARD:
        raise WeightsError(
            f"{backward} of its layers precede their inputs: at most {_MOST_BACKWARD}"
        )
    return total


def _inputs(node: typing.Any) -> typing.Any:
    """Returns the names of the layers that are the inputs of a node."""
    names, items = set(), [node]
    while items:
        item = items.pop()
        if isinstance(item, dict):
            history = item.get("keras_history")
            if isinstance(history, list) and history and isinstance(history[0], str):
                names.add(history[0])
            items += item.values()
        elif isinstance(item, list):
            items += item
    return names
