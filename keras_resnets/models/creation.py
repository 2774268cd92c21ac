"""Makes models from names and architectures: `create_model`."""

import dataclasses
import os
import typing
from collections.abc import Mapping
from collections.abc import Sequence

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import WeightsError
from keras_resnets.errors import shown
from keras_resnets.models.registry import canonical_name
from keras_resnets.models.registry import get_architecture
from keras_resnets.networks import extent
from keras_resnets.networks import variants
from keras_resnets.networks.architecture import Architecture

if typing.TYPE_CHECKING:
    import keras

    from keras_resnets.graph.provenance import Provenance

# The name of an architecture that no variant has, in messages about its weights.
_UNNAMED = "an Architecture that is not a variant's"


def create_model(
    model_name: str | Architecture,
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = None,
    input_tensor: "keras.KerasTensor | None" = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int | None = None,
    classifier_activation: typing.Any = "softmax",
    name: str | None = None,
    *,
    dtype: typing.Any = None,
    data_format: str | None = None,
    kernel_initializer: typing.Any = None,
    **axes: typing.Any,
) -> "keras.Model":
    """Builds a variant by name, or the network that an `Architecture` describes.

    Args:
        model_name: see `get_architecture`; or an `Architecture`. If a variant has this
            architecture, it is that variant, with its public weights; otherwise there
            are no public weights, and the model is named after its family.
        include_top: whether the network ends in its classifier.
        weights: None for random values; `"imagenet"`, `"cifar10"` or `"cifar100"` for
            the weights in this package, else the most accurate public ones whose
            licence permits any use; a tag of `list_weights(model_name)`; or a
            file: `.weights.h5`, `.keras`,
            `.safetensors`, `.pth`, `.th`, `.pt`, `.h5` or darknet's `.weights`.
        input_tensor: symbolic tensor to use as the image instead of a new input;
            layers before it become part of the model.
        input_shape: (height, width, channels) without the batch, by default the size
            that `weights` were trained or published for, else the variant's default,
            with 3 channels; (None, None, 3) without the top. Height and width may be
            None; otherwise they must be at least the network's output stride (32 for
            most ImageNet variants).
        pooling: without the top: None for the feature map, `"avg"` or `"max"`.
        classes: number of classes; by default that of the classifier in `weights`,
            else the variant's default. A number that differs from the checkpoint's makes
            a new classifier with random values, with a `NewHead` warning.
        classifier_activation: activation of the classifier; None returns logits.
            `"sigmoid"` is for several labels per image (`model.task` is `"multi-label"`
            then); weights that were trained so get it in place of a softmax.
        name: name of the model and prefix of every layer's name. By default the
            model has the variant's name and the layers have no prefix.
        dtype: dtype policy of the layers; None for Keras' global policy. The classifier
            computes in float32 at least: in float64 under `"float64"` only.
        data_format: `"channels_last"` or `"channels_first"`; None for Keras' default.
        kernel_initializer: initializer of the convolutions; None for He's normal,
            fan-out.
        **axes: any attribute of `keras_resnets.networks.architecture.Architecture`:
            `output_stride=16`, `shortcut_type="A"`, `drop_path_rate=0.1`, ...

    Returns:
        A functional `keras.Model`. `model.preprocessing` is the `Preprocessing` that
        its weights expect, `model.labels` the order of its classes as
        `decode_predictions` takes it (None if unknown); `model.architecture` and
        `model.weights_origin` record its origin, `model.axes` the axes in which it
        computes unlike the variant: files of its weights record them.

    Raises:
        InvalidArgument: (a ValueError) with the rule, the value and what is allowed.
        WeightsError: (a ValueError) weights that cannot be downloaded or read, or do
            not fit.

    Example:
        >>> create_model("resnet20", classes=100).output_shape
        (None, 100)
        >>> wide = get_architecture("resnet20").replace(filters=(32, 64, 128))
        >>> create_model(wide).count_params()
        1071610
    """
    model, _, _ = create_described(
        model_name,
        weights,
        axes,
        include_top=include_top,
        input_tensor=input_tensor,
        input_shape=input_shape,
        pooling=pooling,
        classes=classes,
        classifier_activation=classifier_activation,
        name=name,
        dtype=dtype,
        data_format=data_format,
        kernel_initializer=kernel_initializer,
    )
    return model


def create_described(
    model_name: str | Architecture,
    weights: str | os.PathLike[str] | None,
    axes: Mapping[str, typing.Any],
    kernel_initializer: typing.Any = None,
    new_head: bool = True,
    head_needed: bool = True,
    image: tuple[tuple[int, int] | None, int | None] = (None, None),
    **options: typing.Any,
) -> "tuple[keras.Model, Architecture, typing.Any]":
    """Returns (model, its `Architecture`, the opened weights or None).

    Args:
        model_name: see `create_model`.
        weights: see `create_model`.
        axes: the axes of the architecture that the caller set.
        kernel_initializer: see `create_model`.
        new_head: whether `classes` that differ from the checkpoint's make a classifier
            with random values and a `NewHead` warning, or a `WeightsError`.
        head_needed: whether the classifier is used; if not, weights without one are
            accepted, and it has random values.
        image: (height, width) and channels of the input, channels last; None for those
            of the weights or, without, the variant's own and 3.
        **options: the other arguments of `create_model`.
    """
    from keras_resnets.graph import provenance
    from keras_resnets.networks import builder
    from keras_resnets.weights import open_source

    _check_top(options.get("include_top", True))
    variant, relative = _variant_of(model_name)
    if isinstance(model_name, Architecture):
        architecture = model_name.replace(**axes)
        extent.check_extent(architecture)
    else:
        architecture = get_architecture(model_name, **axes)
    source = open_source(weights, variant or _UNNAMED)
    options["default_name"] = variant or architecture.family
    if image != (None, None):
        stored = source.preprocessing if source else None
        own = stored.size if stored else (architecture.input_size,) * 2
        depth = image[1] or (stored.channels if stored else 3)
        options["input_shape"] = (*(image[0] or own), depth)
    if source is None:
        options["kernel_initializer"] = kernel_initializer
        model, own_classes = builder.build(architecture, **options), False
    else:
        architecture = _as_trained(architecture, axes, source)
        requested_classes = options.get("classes")
        options = _as_stored(options, axes, source)
        may_be_new = not head_needed or (new_head and requested_classes is not None)
        model, own_classes = _load(
            architecture, source, options, requested_classes, may_be_new
        )
    record = _provenance(
        model, architecture, source, own_classes, options.get("data_format")
    )
    axes = architecture.changes(relative)
    provenance.give(model, dataclasses.replace(record, axes=axes))
    return model, architecture, source


def _variant_of(model_name: object) -> tuple[str | None, Architecture]:
    """(registry's name or None, the variant's `Architecture`) of the requested model.

    An `Architecture` that no variant has is compared with the closest variant: files of
    its weights record the differing axes, and load into both.

    Raises:
        InvalidArgument: neither a name nor an `Architecture`.
    """
    if isinstance(model_name, str):
        return canonical_name(model_name), get_architecture(model_name)
    if not isinstance(model_name, Architecture):
        raise InvalidArgument(
            "model_name must be a string of list_models() or an Architecture; got "
            f"{shown(model_name)}"
        )
    rows = variants.VARIANTS
    name = next((name for name, row in rows.items() if row == model_name), None)
    nearest = min(rows.values(), key=lambda row: len(model_name.changes(row)))
    return name, rows[name] if name else nearest


def _check_top(include_top: object) -> None:
    """Raises `InvalidArgument` for anything but a bool, such as a misplaced argument."""
    if isinstance(include_top, (bool, int)) and include_top in (0, 1):
        return
    hint = f": write weights={include_top!r}" if isinstance(include_top, str) else ""
    raise InvalidArgument(
        f"include_top must be True or False; got {include_top!r}{hint}"
    )


def _as_stored(
    options: dict[str, typing.Any], axes: Mapping[str, typing.Any], source: typing.Any
) -> dict[str, typing.Any]:
    """Fills in the number of classes and the size that `source` records.

    Values that the caller set are kept. A network without its top has no default size.
    """
    options = dict(options)
    if source.task and options.get("classifier_activation", "softmax") == "softmax":
        # Each label has a probability of its own.
        options["classifier_activation"] = "sigmoid"
    if options.get("classes") is None:
        options["classes"] = source.classes
        if source.classes is None and isinstance(source.labels, tuple):
            options["classes"] = len(source.labels)
    inputs = options.get("input_shape"), options.get("input_tensor")
    sized = options.get("include_top", True) and "input_size" not in axes
    if sized and inputs == (None, None) and source.preprocessing is not None:
        size = source.preprocessing.size
        last = _is_last(options.get("data_format"))
        channels = source.preprocessing.channels
        options["input_shape"] = (*size, channels) if last else (channels, *size)
    return options


def _load(
    architecture: Architecture,
    source: typing.Any,
    options: dict[str, typing.Any],
    requested_classes: int | None,
    may_be_new: bool,
) -> tuple[typing.Any, bool]:
    """Builds and loads: (model, whether its classifier is the checkpoint's).

    Args:
        architecture: the network's architecture.
        source: its weights.
        options: options of `builder.build`.
        requested_classes: the caller's number of classes; None for the checkpoint's.
        may_be_new: whether the classifier may have random values.
    """
    from keras_resnets.networks import builder
    from keras_resnets.weights.assign import NewHead
    from keras_resnets.weights.assign import new_heads_refused

    def build_and_load(options: dict[str, typing.Any]) -> tuple[typing.Any, bool]:
        # The weights are set next; random ones would take longer than all else.
        model = builder.build(architecture, kernel_initializer="zeros", **options)
        return model, source.load(model)

    if may_be_new:
        return build_and_load(options)
    try:
        with new_heads_refused.on():
            return build_and_load(options)
    except NewHead as head:
        if requested_classes is None and head.classes is not None:
            # The classes of this file cannot be counted without a network.
            return build_and_load({**options, "classes": head.classes})
        raise WeightsError(_no_head(source, head.classes, requested_classes)) from None


def _no_head(
    source: typing.Any, classes: int | None, requested_classes: int | None
) -> str:
    """Says why a network would have a classifier with random values."""
    if classes is not None:
        return (
            f"the classifier in {source.path} is for {classes} classes; got "
            f"{requested_classes}: another one would have random values. Leave the number "
            "of classes out, or train a new classifier (keras-resnets train)"
        )
    return (
        f"{source.path} contains no classifier, and a new one has random values: train it "
        "(keras-resnets train; create_model takes classes=N for it), or leave the top "
        "out (include_top=False)"
    )


def _provenance(
    model: typing.Any,
    architecture: Architecture,
    source: typing.Any,
    own_classes: bool,
    data_format: str | None,
) -> "Provenance":
    """The provenance of `model`, without its axes."""
    from keras_resnets.graph.provenance import Provenance
    from keras_resnets.images import labels
    from keras_resnets.images import preprocessing

    expected = source.preprocessing if source else None
    if expected is None:
        mode = source.mode if source else None
        expected = preprocessing.for_architecture(architecture, mode=mode)
    last = _is_last(data_format)
    size = tuple(model.inputs[0].shape)[slice(1, 3) if last else slice(2, 4)]
    if len(size) == 2 and None not in size:
        expected = dataclasses.replace(expected, size=size)
    channels = model.inputs[0].shape[-1 if last else 1]
    class_labels = source.labels if own_classes else None
    fits = class_labels and labels.count(class_labels) == model.output_shape[-1]
    return Provenance(
        architecture=architecture,
        preprocessing=expected
        if channels is None
        else expected.with_channels(channels),
        labels=class_labels if fits else None,
        weights_origin=source.origin if source else None,
        random_weights=source is None,
        confidence=source.confidence if source and own_classes else None,
        task=_task(model, source.task if source and own_classes else None),
    )


def _task(model: typing.Any, known: str | None) -> str | None:
    """`"multi-label"` of weights that were trained so, or of a sigmoid a label."""
    from keras_resnets.graph import outputs
    from keras_resnets.images.labels import MULTI_LABEL

    return MULTI_LABEL if known or outputs.are_sigmoids(model) else None


def _is_last(data_format: str | None) -> bool:
    import keras

    return (data_format or keras.config.image_data_format()) == "channels_last"


def _as_trained(
    architecture: Architecture, axes: Mapping[str, typing.Any], source: typing.Any
) -> Architecture:
    """Returns `architecture` with the axes that the weights were trained with."""
    try:
        trained = architecture.replace(**source.axes)
        before, after = (
            extent.check_extent(each, classes=0).parameters
            for each in (architecture, trained)
        )
    except InvalidArgument as error:
        raise WeightsError(
            f"{source.path} records axes that no network has: {error}"
        ) from None
    for axis, value in source.axes.items():
        # Read from the architecture, where "A" is "identity_pad".
        if axis in axes and getattr(architecture, axis) != value:
            raise WeightsError(
                f"{source.path} was trained with {axis}={shown(value)}; got "
                f"{shown(axes[axis])}"
            )
    # A described network is built only if the file's values could fill it.
    if source.count is not None and after > max(before, 2 * source.count + 1_000_000):
        raise WeightsError(
            f"{source.path} records axes of a network of about {after:,} parameters; it "
            f"contains {source.count:,}"
        )
    return trained
