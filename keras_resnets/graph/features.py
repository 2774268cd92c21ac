"""Named endpoints, and models that return them."""

import re
import typing
from collections.abc import Iterable

import keras

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_type
from keras_resnets.errors import nearest
from keras_resnets.graph import anatomy
from keras_resnets.graph import provenance

# The output of a unit, a stem or a tail is the last layer of that name in the graph's
# order.
_STAGE = re.compile(r"(?:^|_)(stage\d+)_(?:block\d+|downsample)_")
_STEM = re.compile(r"(?:^|_)stem_(?!pool)")
_POST = re.compile(r"(?:^|_)post_(?:bn|act)$")
_TOP = re.compile(r"(?:^|_)(?:avg_pool|max_pool|dropout|predictions|predictions_conv)$")


def endpoints(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """Returns the feature maps of a model of this package, by name.

    Args:
        model: a model of this package, also after saving and loading, or a model
            built on one through `input_tensor`.

    Returns:
        A dict: `"stem"` (before the stem's pooling), `"stage1"`, ... (the output of
        the stage's last unit; in a pre-activation network before the next BN), and
        `"features"` (the last map before the global pooling), each with its symbolic
        tensor of shape (batch, height, width, channels).

    Raises:
        InvalidArgument: a model without such layers.

    Example:
        >>> import keras_resnets
        >>> list(endpoints(keras_resnets.create_model("resnet20")))
        ['stem', 'stage1', 'stage2', 'stage3', 'features']
    """
    if not anatomy.has_graph(model):
        raise InvalidArgument(
            "model must be a functional or Sequential keras.Model; got "
            f"{anatomy.type_and_remedy(model)}"
        )
    layers, features = {}, None
    for layer in model.layers:
        stage = _STAGE.search(layer.name)
        if stage:
            layers[stage.group(1)] = layer
        elif _STEM.search(layer.name):
            layers["stem"] = layer
        elif not _POST.search(layer.name):
            continue
        if not _TOP.search(layer.name):
            features = layer
    if not any(name.startswith("stage") for name in layers):
        raise InvalidArgument(
            f"{model.name} has no layers named stage1_block1_...: endpoints are known "
            "for models of keras_resnets only (use its backbone, not a wrapper)"
        )
    layers["features"] = features
    order = sorted(layers, key=_endpoint_rank)
    return {name: layers[name].output for name in order}


def _endpoint_rank(name: str) -> int:
    if name == "stem":
        return 0
    return int(name[5:]) if name.startswith("stage") else 10**6


def feature_extractor(
    model: keras.Model, names: Iterable[str] | None = None
) -> keras.Model:
    """Returns a model from the same input to the named endpoints, sharing all weights.

    Args:
        model: a model of this package.
        names: endpoint names such as `["stage2", "stage4"]`; None for all stages.

    Returns:
        A `keras.Model` whose outputs are a dict from name to feature map. It keeps the
        provenance of `model` except `labels`.

    Raises:
        InvalidArgument: a name that is no endpoint of `model`, or no names.

    Example:
        >>> import keras_resnets
        >>> model = keras_resnets.create_model("resnet20")
        >>> maps = feature_extractor(model, ["stage2"])(keras.ops.ones((1, 32, 32, 3)))
        >>> tuple(maps["stage2"].shape)
        (1, 16, 16, 32)
    """
    available = endpoints(model)
    if isinstance(names, str):
        names = [names]
    if names is None:
        names = [name for name in available if name.startswith("stage")]
    check_type("names", names, Iterable, "a list of endpoints")
    names = list(names)
    if not names:
        raise InvalidArgument(
            f"names must contain at least one of {', '.join(available)}"
        )
    for name in names:
        if name not in available:
            near = nearest(name, list(available), count=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InvalidArgument(
                f"endpoint must be one of {', '.join(available)}; got {name!r}{hint}"
            )
    outputs = {name: available[name] for name in names}
    extractor = keras.Model(model.input, outputs, name=f"{model.name}_features")
    provenance.inherit(extractor, model, labels=None, confidence=None)
    return extractor


def replace_head(
    model: keras.Model,
    classes: int,
    classifier_activation: typing.Any = "softmax",
    dropout_rate: float = 0.0,
) -> keras.Model:
    """Returns the same network and weights with a new classifier, for fine-tuning.

    Args:
        model: a model of this package, with or without its own classifier.
        classes: number of classes, >= 1.
        classifier_activation: `"softmax"`, or None for logits.
        dropout_rate: rate of the dropout before the classifier, in [0, 1).

    Returns:
        A flat functional `keras.Model` that shares the layers of the trunk with
        `model`; the classifier is new and float32. It keeps the provenance of `model`
        except `labels`.

    Raises:
        InvalidArgument: a model of another package, or an argument out of its range.

    Example:
        >>> import keras_resnets
        >>> replace_head(keras_resnets.create_model("resnet20"), 5).output_shape
        (None, 5)
    """
    from keras_resnets.errors import check_positive_int
    from keras_resnets.errors import check_range

    classes = check_positive_int("classes", classes)
    check_range("dropout_rate", dropout_rate, 0, 1, inclusive=False)
    x = endpoints(model)["features"]
    convs = (layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    data_format = next(convs).data_format
    dtype = keras.backend.result_type(x.dtype, "float32")
    x = keras.layers.GlobalAveragePooling2D(
        data_format=data_format, dtype=dtype, name="new_avg_pool"
    )(x)
    if dropout_rate:
        x = keras.layers.Dropout(dropout_rate, dtype=dtype, name="new_dropout")(x)
    x = keras.layers.Dense(
        classes,
        activation=classifier_activation,
        dtype=dtype,
        name="new_predictions",
    )(x)
    new_model = keras.Model(model.input, x, name=model.name)
    provenance.inherit(new_model, model, labels=None, confidence=None)
    return new_model
