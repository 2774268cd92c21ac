"""Class activation maps, as an output of a model and for one image."""

import dataclasses
import numbers
import os
import typing

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.errors import check_type
from keras_resnets.errors import shown
from keras_resnets.graph import anatomy
from keras_resnets.graph import binary
from keras_resnets.graph import features
from keras_resnets.graph import gradients
from keras_resnets.graph import outputs
from keras_resnets.graph import provenance
from keras_resnets.images import loading
from keras_resnets.images.binary import columns
from keras_resnets.images.binary import evidence
from keras_resnets.images.confidence import softmax
from keras_resnets.images.multi_label import sigmoid

if typing.TYPE_CHECKING:
    import PIL.Image

HEATMAP = "heatmap"
METHODS = ("cam", "grad-cam")
_WITHOUT_CAM = (
    "a class activation map requires a network that ends in a global mean and a dense "
    "layer, or in a convolution and a global mean; {name} does not"
)


@dataclasses.dataclass(frozen=True, eq=False)
class Explanation:
    """The evidence for a class at each position of an image.

    Attributes:
        heatmap: float32 array (rows, columns): the evidence for the class at each place
            of the feature map. For `"cam"` its mean is the class' logit.
        index: the index of the class.
        probability: the probability of the class, in [0, 1].
        method: `"cam"` or `"grad-cam"`.
    """

    heatmap: np.ndarray
    index: int
    probability: float
    method: str


def heatmap_model(model: keras.Model) -> keras.Model:
    """Returns `model` with a heat map of every class as a second output.

    In a network that ends in a global mean and a dense layer, the dense layer can be
    applied before the mean (Zhou et al. 2016, https://arxiv.org/abs/1512.04150): its
    outputs at each place of the last feature map are the evidence for each class there,
    and their mean is exactly the logit. The model can be exported to every format.

    Args:
        model: a functional or Sequential classifier: a global mean, layers that change
            no values, a `Dense` layer and a softmax, a sigmoid or nothing; or a
            convolution and then the mean, as in DarkNet-19. Models may be nested.

    Returns:
        A functional `keras.Model` whose outputs are a dict: the output of `model`, as
        `predictions` (batch, classes) or `logits`, and `heatmap` (batch, rows, columns,
        classes), float32. It shares the layers of `model`, but the weights of its
        classifier before the mean are a copy. It keeps the provenance of `model`.

    Raises:
        InvalidArgument: a model of another kind.

    Example:
        >>> import keras_resnets
        >>> outputs = heatmap_model(keras_resnets.create_model("resnet20")).output
        >>> {name: tensor.shape for name, tensor in outputs.items()}
        {'predictions': (None, 10), 'heatmap': (None, 8, 8, 10)}
    """
    check_graph(model)
    model_outputs = outputs.outputs(model)
    if len(model_outputs) != 1 or list(model_outputs)[0] == "features":
        raise InvalidArgument(
            "a heat map requires a classifier with one output; "
            f"{model.name} has the outputs {', '.join(model_outputs)}"
        )
    heatmap = _evidence(model.outputs[0])
    if heatmap is None:
        raise InvalidArgument(_WITHOUT_CAM.format(name=model.name))
    new_model = keras.Model(
        model.inputs, {**model_outputs, HEATMAP: heatmap}, name=model.name
    )
    provenance.inherit(new_model, model)
    return new_model


def explain(
    model: keras.Model,
    photo: "str | os.PathLike[str] | PIL.Image.Image | np.ndarray",
    index: int | None = None,
    method: str | None = None,
    layer: str | None = None,
) -> Explanation:
    """Returns the evidence for a class at each place of a photo.

    Args:
        model: a classifier with `model.preprocessing`.
        photo: a file, a Pillow image of any mode and size, or an array (height, width,
            channels), as `model.preprocessing` takes them.
        index: the index of the class; None for the most probable class. A classifier
            with one output has two classes; the output is that of the second.
        method: `"cam"`, the class activation map (see `heatmap_model`), which is exact;
            `"grad-cam"`, the last feature map weighted by the mean gradient of the
            class' logit (Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391),
            which works for any network, on every backend. None for the first if the
            network has one.
        layer: for `"grad-cam"`, the name of the layer whose feature map is weighted, in
            a nested model also as `base/conv`; or an endpoint such as `"stage2"`, see
            `endpoints`. None for the last map. Earlier maps are finer and of less
            meaning.

    Returns:
        An `Explanation`; `images.overlay.draw` draws it onto the photo.

    Raises:
        InvalidArgument: an argument that is not allowed, a photo that cannot be read,
            or a model without what the method needs.

    Example:
        >>> import keras_resnets, numpy as np, PIL.Image
        >>> photo = PIL.Image.fromarray(np.zeros((48, 64, 3), "uint8"))
        >>> explain(keras_resnets.create_model("resnet20"), photo).heatmap.shape
        (8, 8)
    """
    check_graph(model)
    preprocessing = provenance.of(model).preprocessing
    if preprocessing is None:
        raise InvalidArgument(
            f"the preprocessing of {model.name} is unknown: set model.preprocessing = "
            "keras_resnets.Preprocessing(...)"
        )
    if isinstance(photo, (str, os.PathLike)):
        image = loading.load_image(photo, preprocessing)
    else:
        image = preprocessing(photo)
    return explain_input(model, image, index, method, layer)


def explain_input(
    model: keras.Model,
    image: np.ndarray,
    index: int | None = None,
    method: str | None = None,
    layer: str | None = None,
) -> Explanation:
    """Returns the evidence for a class in an image that is preprocessed already.

    Args:
        model: see `explain`.
        image: float32 array (height, width, channels), as the network takes it.
        index: see `explain`.
        method: see `explain`.
        layer: see `explain`.
    """
    if method is not None:
        check_choice("method", method, METHODS)
    if layer is not None:
        check_type("layer", layer, str, "the name of a layer")
        check_layer(method)
        method = "grad-cam"
    check_classifier(model)
    several, batch = outputs.is_multi_label(model), _batch_of(image, model)
    if method != "grad-cam" and _evidence(model.outputs[0]) is not None:
        arrays = heatmap_model(model).predict_on_batch(batch)
        explanation = of_outputs(arrays, index, several)
    elif method == "cam":
        raise InvalidArgument(_WITHOUT_CAM.format(name=model.name))
    else:
        explanation = _grad_cam(model, batch, index, several, layer)
    if not np.isfinite([explanation.probability, *explanation.heatmap.flat]).all():
        raise InvalidArgument(
            f"{model.name} computes numbers that are not finite for this image, which "
            "have no heat map"
        )
    return explanation


def _grad_cam(
    model: keras.Model,
    batch: np.ndarray,
    index: int | None,
    several: bool,
    layer: str | None,
) -> Explanation:
    """Returns a feature map weighted by the mean gradient of the class' logit."""
    scores = outputs.logits_of(model)
    if scores is None:
        scores = model.outputs[0]
    values = np.asarray(model.predict_on_batch(batch), "float32")
    are_logits = anatomy.kind_of_outputs(model) == anatomy.LOGITS
    probabilities = _probabilities(values, are_logits, several)
    index = chosen(probabilities, index)
    is_binary = values.shape[-1] == 1
    output = 0 if is_binary else index
    maps, slopes = gradients.at_map(
        model, scores, batch, output, _resolved(model, layer)
    )
    if is_binary and index == 0:
        # The one output is evidence for the second class.
        slopes = -slopes
    heatmap = np.maximum((maps * slopes.mean(axis=(0, 1))).sum(axis=-1), 0)
    return Explanation(
        heatmap.astype("float32"), index, float(probabilities[index]), "grad-cam"
    )


def check_layer(method: str | None) -> None:
    """Raises `InvalidArgument` if a method has no choice of the layer."""
    if method == "cam":
        raise InvalidArgument(
            "layer is for the method grad-cam; a class activation map is that of the "
            "last feature map"
        )


def _resolved(model: keras.Model, layer: str | None) -> str | None:
    """Returns the name of the layer that a layer's or an endpoint's name stands for."""
    try:
        points = features.endpoints(model) if layer else {}
    except InvalidArgument:
        points = {}
    if layer not in points:
        return layer
    operation, _ = outputs.maker(points[layer])
    return str(operation.name)


def _probabilities(values: np.ndarray, are_logits: bool, several: bool) -> np.ndarray:
    """Returns the probability of each class in the outputs (1, classes) for an image.

    One output is that of the second of two classes, see `images.binary`.
    """
    if values.shape[-1] == 1:
        values = columns(values, are_logits, "the network")
    elif are_logits:
        values = sigmoid(values) if several else softmax(values)
    return np.asarray(values[0], "float32")


def of_outputs(
    arrays: typing.Mapping[str, np.ndarray],
    index: int | None = None,
    several: bool = False,
) -> Explanation:
    """Returns the `Explanation` in the outputs of a `heatmap_model` or of its file.

    Args:
        arrays: its outputs for one image, by name.
        index: the index of the class; None for the most probable class.
        several: whether an image may have several of the labels.

    Raises:
        InvalidArgument: other outputs, or a class that does not exist.
    """
    kind = next((name for name in ("predictions", "logits") if name in arrays), None)
    if kind is None or HEATMAP not in arrays:
        raise InvalidArgument(
            f"outputs must be predictions or logits, and heatmap; got {', '.join(arrays)}"
        )
    values = np.asarray(arrays[kind], "float32")
    heatmaps = np.asarray(arrays[HEATMAP], "float32")[0]
    if values.shape[-1] == 1:
        heatmaps = evidence(heatmaps)
    probabilities = _probabilities(values, kind == "logits", several)
    index = chosen(probabilities, index)
    return Explanation(heatmaps[..., index], index, float(probabilities[index]), "cam")


def chosen(values: np.ndarray, index: int | None) -> int:
    """Returns the requested class, or the most probable one in `values`.

    Raises:
        InvalidArgument: a class that does not exist.
    """
    if index is None:
        return int(np.argmax(values))
    is_whole = isinstance(index, numbers.Integral) and not isinstance(index, bool)
    if not is_whole or not 0 <= index < len(values):
        raise InvalidArgument(
            f"index must be a class in 0..{len(values) - 1}; got {shown(index)}"
        )
    return int(index)


def check_graph(model: typing.Any) -> None:
    """Raises `InvalidArgument` unless a model has a graph of layers."""
    if not anatomy.has_graph(model):
        raise InvalidArgument(
            "a heat map requires a functional or Sequential keras.Model; got "
            f"{anatomy.type_and_remedy(model)}"
        )


def check_classifier(model: typing.Any) -> None:
    """Raises `InvalidArgument` unless a model classifies the images of its one input."""
    check_graph(model)
    inputs = [tensor.name for tensor in model.inputs]
    for what, names in (("input", inputs), ("output", list(outputs.outputs(model)))):
        if len(names) != 1:
            raise InvalidArgument(
                f"a heat map requires a classifier with one {what}; {model.name} has "
                f"{len(names)}: {', '.join(names)}"
            )
    if len(model.outputs[0].shape) != 2:
        raise InvalidArgument(
            "a heat map requires a classifier, which outputs (batch, classes); "
            f"{model.name} outputs {model.outputs[0].shape}"
        )
    binary.check(model, "a heat map")


def _batch_of(image: np.ndarray, model: keras.Model) -> np.ndarray:
    """One image as a batch, in the order of axes that the model takes."""
    first = model.inputs[0].shape[1] == image.shape[-1] != model.inputs[0].shape[-1]
    return np.transpose(image, (2, 0, 1))[None] if first else image[None]


def _evidence(tensor: typing.Any) -> typing.Any:
    """The classifier's output at each place instead of `tensor`; None if it has none."""
    operation, inputs = outputs.maker(tensor)
    if anatomy.has_graph(operation):
        inner = _evidence(operation.outputs[tensor._keras_history.tensor_index])
        if inner is None:
            return None
        return keras.Model(operation.inputs, inner)(inputs)
    if isinstance(operation, keras.layers.Dense):
        found = _mean_before(inputs)
        return None if found is None else _at_each_place(operation, *found)
    if isinstance(operation, keras.layers.GlobalAveragePooling2D):
        head, _ = outputs.maker(inputs)
        if (
            isinstance(head, keras.layers.Conv2D)
            and anatomy.function_of(head) == "linear"
        ):
            return _last(inputs, operation)
        return None
    changes_nothing = outputs.moves(operation) or outputs.is_probability(operation)
    single = not isinstance(inputs, (list, tuple))
    return _evidence(inputs) if changes_nothing and single else None


def _mean_before(tensor: typing.Any) -> tuple[typing.Any, typing.Any] | None:
    """The global mean that produces a vector, and the map in front of it; None if none.

    Layers between them that change no value do not count. The mean may be the end of a
    nested model; the map is in the graph of `tensor`.
    """
    operation, inputs = outputs.maker(tensor)
    if anatomy.has_graph(operation):
        found = _mean_before(operation.outputs[tensor._keras_history.tensor_index])
        if found is None:
            return None
        pool, before = found
        return pool, keras.Model(operation.inputs, before)(inputs)
    if isinstance(inputs, (list, tuple)):
        return None
    if outputs.moves(operation):
        return _mean_before(inputs)
    is_mean = isinstance(operation, keras.layers.GlobalAveragePooling2D)
    return (operation, inputs) if is_mean else None


def _at_each_place(
    dense: keras.layers.Dense, pool: typing.Any, before: typing.Any
) -> typing.Any:
    """A dense layer after a global mean as an equivalent 1x1 convolution before it."""
    layer = keras.layers.Conv2D(
        dense.units,
        1,
        use_bias=dense.use_bias,
        data_format=pool.data_format,
        dtype="float32",
        name=f"{dense.name}_{HEATMAP}",
    )
    result = layer(before)
    kernel, *bias = dense.get_weights()
    layer.set_weights([kernel[None, None], *bias])
    return _last(result, pool)


def _last(tensor: typing.Any, pool: typing.Any) -> typing.Any:
    """Returns a map with its channels last."""
    if pool.data_format == "channels_last":
        return tensor
    return keras.layers.Permute((2, 3, 1), name=f"{pool.name}_{HEATMAP}")(tensor)
