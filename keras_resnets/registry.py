"""Names to architectures to models: `create_model`, `list_models`, `model_info`."""

import csv
import dataclasses
import fnmatch
import functools
import importlib.resources
import re

from keras_resnets import extent
from keras_resnets import idioms
from keras_resnets import variants
from keras_resnets.architecture import Architecture
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import WeightsError
from keras_resnets.errors import nearest
from keras_resnets.errors import shown

ALIASES = {
    "resnext50": "resnext50_32x4d",
    "resnext101": "resnext101_32x4d",
    "resnext152": "resnext152_32x4d",
    "resnext50d": "resnext50d_32x4d",
    "resnext29": "resnext29_8x64d",
}

# timm's longest name with its tag has 60.
_LONGEST = 200
# Families that go on beyond their named members.
PATTERNS = (
    (
        "wrn_D_K",
        r"wrn_([0-9]{1,9})_([0-9]{1,9})",
        lambda d, k: variants.wrn(int(d), int(k)),
    ),
    (
        "resnext50_CxWd",
        r"resnext(50|101|152)_([0-9]{1,9})x([0-9]{1,9})d",
        lambda d, c, w: variants.resnext(int(d), int(c), int(w)),
    ),
    (
        "resnext29_CxWd",
        r"resnext([0-9]{1,9})_([0-9]{1,9})x([0-9]{1,9})d",
        lambda d, c, w: variants.cifar_resnext(int(d), int(c), int(w)),
    ),
    (
        "cifar_resnetD",
        r"cifar_resnet([0-9]{1,9})",
        lambda d: variants.cifar_resnet(int(d)),
    ),
    (
        "cifar_resnetDv2",
        r"cifar_resnet([0-9]{1,9})v2",
        lambda d: variants.cifar_resnet_v2(int(d)),
    ),
)


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What is known of a variant before it is built.

    Attributes:
        name: the registry's name.
        family: what `list_models(family=...)` selects by.
        architecture: its `Architecture`.
        input_size: height and width in pixels that the figures are for.
        classes: number of classes that the figures are for.
        trainable_params: gammas, betas, kernels and biases (torch's convention), or
            None for a variant without published figures.
        total_params: Keras' `count_params()`: with the BN statistics.
        mega_macs: millions of multiply-adds of convolutions and dense layers.
        convs: convolutions. dense: dense layers.
        source: where the figures come from.
    """

    name: str
    family: str
    architecture: Architecture
    input_size: int
    classes: int
    trainable_params: int | None = None
    total_params: int | None = None
    mega_macs: float | None = None
    convs: int | None = None
    dense: int | None = None
    source: str = ""


def get_architecture(name, /, **axes):
    """The `Architecture` called `name`, with `axes` replaced.

    Args:
        name: a name of `list_models()`, an alias (`"resnext50"`), or a member of an
            open family: `"wrn_34_6"`, `"resnext50_16x8d"`, `"cifar_resnet26"`.
        **axes: attributes of `Architecture` to change.

    Returns:
        An `Architecture`; nothing is built.

    Raises:
        InvalidArgument: an unknown name (the nearest are given), a depth that the
            family does not have, or an axis or value that is not allowed.

    Example:
        >>> get_architecture("wrn_34_6").depths
        (5, 5, 5)
    """
    architecture = _find(name)
    architecture = architecture.replace(**axes) if axes else architecture
    # The tests measure the rows of the table; every import would do it again.
    if not any(architecture is row for row in variants.VARIANTS.values()):
        extent.check_extent(architecture)
    return architecture


def _find(name):
    if not isinstance(name, str):
        raise InvalidArgument(f"a model's name must be a string; got {shown(name)}")
    if len(name) > _LONGEST:
        raise InvalidArgument(
            f"a model's name has at most {_LONGEST} characters; got {shown(name)}"
        )
    key = name.lower().replace("-", "_")
    key = ALIASES.get(key, key)
    if key in variants.VARIANTS:
        return variants.VARIANTS[key]
    for _, pattern, make in PATTERNS:
        match = re.fullmatch(pattern, key)
        if match:
            try:
                return make(*match.groups())
            except InvalidArgument as error:
                raise InvalidArgument(f"{name}: {error}") from None
    raise InvalidArgument(f"unknown model {shown(name)}{_meant(name)}")


def _meant(name):
    """What an unknown name may have meant."""
    for network, tag in idioms.readings(name):
        if network == name.lower().replace("-", "_"):
            continue
        try:
            _find(network)
        except InvalidArgument:
            continue
        return f": {_said_here(network, tag)}"
    near = nearest(idioms.readings(name)[0][0], [*variants.VARIANTS, *ALIASES])
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    return f"{hint} (list_models() names all)"


def _said_here(network, tag):
    if tag is None:
        return f"write {network!r}"
    tags = list_weights(network)
    if tag not in tags:
        known = (
            f"those of {network} are {', '.join(tags)}" if tags else "there are none"
        )
        return (
            f"the network is called {network!r} here, and no public weights of it are "
            f"called {tag!r}: {known}"
        )
    return (
        "here the network and its weights are two arguments: write "
        f"create_model({network!r}, weights={tag!r}), or {network} --weights {tag}"
    )


def canonical_name(name):
    """`name` as the registry spells it: lower case, underscores, aliases resolved."""
    key = name.lower().replace("-", "_")
    return ALIASES.get(key, key)


def list_models(pattern="*", family=None):
    """Names of the variants, in the table's order.

    Args:
        pattern: a shell wildcard such as `"drn_*"` or `"*50*"`.
        family: a family's name such as `"resnext"`, or None for all.

    Returns:
        A list of names; empty where nothing matches.

    Raises:
        InvalidArgument: a family that there is not.

    Example:
        >>> list_models("drn_c_*")
        ['drn_c_26', 'drn_c_42', 'drn_c_58']
    """
    families = list(dict.fromkeys(row.family for row in variants.VARIANTS.values()))
    if family is not None and family not in families:
        raise InvalidArgument(
            f"family must be one of {', '.join(families)}; got {family!r}"
        )
    return [
        name
        for name, row in variants.VARIANTS.items()
        if fnmatch.fnmatchcase(name, pattern.lower()) and family in (None, row.family)
    ]


def model_info(name):
    """What is known of the variant `name`, without building it.

    Returns:
        A `ModelInfo`. Its figures are those of `published.csv`, which the tests
        derive anew from the built network.

    Example:
        >>> model_info("resnet50").trainable_params
        25557032
    """
    architecture = get_architecture(name)
    key = canonical_name(name)
    published = next((r for r in published_rows() if is_default(r, key)), {})
    info = ModelInfo(
        name=key,
        family=architecture.family,
        architecture=architecture,
        input_size=architecture.input_size,
        classes=architecture.classes,
    )
    if not published:
        return info
    return dataclasses.replace(
        info,
        trainable_params=int(published["trainable_params"]),
        total_params=int(published["total_params"]),
        mega_macs=float(published["mega_macs"]),
        convs=int(published["convs"]),
        dense=int(published["dense"]),
        source=published["source"],
    )


def is_default(row, key):
    """Whether a row of `published.csv` is that of `key` as it comes."""
    return (
        row["variant"] == key
        and not row["axes"]
        and int(row["input_size"]) == variants.VARIANTS[key].input_size
    )


@functools.cache
def published_rows():
    """The rows of `published.csv`: exact figures of every variant, each with a source."""
    text = importlib.resources.files("keras_resnets").joinpath("published.csv")
    with text.open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def list_weights(model_name):
    """The public weights of a variant, the default first.

    Args:
        model_name: see `get_architecture`.

    Returns:
        A list of tags, each of which `weights=` takes; empty where there are none.
        `weights_info` tells all about one.

    Raises:
        InvalidArgument: an unknown model.

    Example:
        >>> list_weights("resnet44")
        ['chenyaofo_cifar10', 'akamaster_cifar10', 'chenyaofo_cifar100']
    """
    from keras_resnets.weights import records

    get_architecture(model_name)
    return [record.tag for record in records.records_of(canonical_name(model_name))]


def weights_info(model_name, tag):
    """What is known of public weights, without downloading them.

    Args:
        model_name: see `get_architecture`.
        tag: of `list_weights`, or a dataset for its default record.

    Returns:
        A `keras_resnets.weights.records.Record`: address, hash, licence, accuracy and
        its source, pre-processing, and how their mapping was verified.

    Raises:
        InvalidArgument: an unknown model or tag.

    Example:
        >>> weights_info("resnet20", "cifar10").top1
        93.46
    """
    from keras_resnets.weights import records

    get_architecture(model_name)
    return records.find(canonical_name(model_name), tag)


def create_model(
    model_name,
    include_top=True,
    weights=None,
    input_tensor=None,
    input_shape=None,
    pooling=None,
    classes=None,
    classifier_activation="softmax",
    name=None,
    *,
    dtype=None,
    data_format=None,
    kernel_initializer=None,
    **axes,
):
    """Builds a variant by name.

    Args:
        model_name: see `get_architecture`.
        include_top: whether the network ends in its classifier.
        weights: None for random values; `"imagenet"`, `"cifar10"` or `"cifar100"` for
            the weights in this package, else the most accurate public ones whose
            licence lets anybody use them; a tag of `list_weights(model_name)`; or a
            file: `.weights.h5`, `.keras`,
            `.safetensors`, `.pth`, `.th`, `.pt`, `.h5` or darknet's `.weights`.
        input_tensor: symbolic tensor to use as the image instead of a new input;
            layers before it become part of the model.
        input_shape: (height, width, channels) without the batch, by default the
            size that `weights` were trained or published for, else the variant's own,
            with 3 channels; (None, None, 3) without the top. Height and width may be
            None, and must else be at least the network's output stride (32 for most
            ImageNet variants).
        pooling: without the top: None for the feature map, `"avg"` or `"max"`.
        classes: number of classes; by default that of the classifier in `weights`,
            else the variant's own. Another number than the checkpoint's makes a new
            classifier of random values, with a `NewHead` warning.
        classifier_activation: of the classifier; None returns logits.
        name: name of the model and prefix of every layer's name. By default the
            model has the variant's name and the layers have no prefix.
        dtype: dtype policy of the layers; None for Keras' global one. The classifier
            is float32 under every policy.
        data_format: `"channels_last"` or `"channels_first"`; None for Keras' default.
        kernel_initializer: of the convolutions; None for He's normal, fan-out.
        **axes: any attribute of `keras_resnets.architecture.Architecture`:
            `output_stride=16`, `shortcut_type="A"`, `drop_path_rate=0.1`, ...

    Returns:
        A functional `keras.Model`. `model.preprocessing` is the `Preprocessing` that
        its weights expect, `model.labels` the order of its classes as
        `decode_predictions` takes it (None where that is not known);
        `model.architecture` and `model.weights_origin` say what it is made of,
        `model.axes` by what it computes otherwise than the variant does: files of its
        weights tell that.

    Raises:
        InvalidArgument: (a ValueError) with the rule, the value and what is allowed.
        WeightsError: (a ValueError) weights that cannot be had, read or do not fit.

    Example:
        >>> create_model("resnet20", classes=100).output_shape
        (None, 100)
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
    model_name,
    weights,
    axes,
    kernel_initializer=None,
    new_head=True,
    head_needed=True,
    **options,
):
    """(model, its `Architecture`, the opened weights or None); see `create_model`.

    Args:
        model_name: see `create_model`.
        weights: see `create_model`.
        axes: those of the architecture that were given.
        kernel_initializer: see `create_model`.
        new_head: whether `classes` that are not the checkpoint's make a classifier of
            random values, with a `NewHead` warning, or a `WeightsError`.
        head_needed: whether anybody looks at the classifier; where not, weights without
            one do too, and it has random values.
        **options: the other arguments of `create_model`.
    """
    from keras_resnets import builder
    from keras_resnets.weights import open_source

    _check_top(options.get("include_top", True))
    architecture = get_architecture(model_name, **axes)
    source = open_source(weights, canonical_name(model_name))
    options["default_name"] = canonical_name(model_name)
    if source is None:
        options["kernel_initializer"] = kernel_initializer
        model, own_classes = builder.build(architecture, **options), False
    else:
        architecture = _as_trained(architecture, axes, source)
        given = options.get("classes")
        options = _as_stored(options, axes, source)
        may_be_new = not head_needed or (new_head and given is not None)
        model, own_classes = _load(architecture, source, options, given, may_be_new)
    _describe(model, architecture, source, own_classes, options.get("data_format"))
    model.axes = architecture.changes(get_architecture(model_name))
    return model, architecture, source


def _check_top(include_top):
    """Raises `InvalidArgument` where another argument stands in its place."""
    if isinstance(include_top, bool) or include_top in (0, 1):
        return
    hint = f": write weights={include_top!r}" if isinstance(include_top, str) else ""
    raise InvalidArgument(
        f"include_top must be True or False; got {include_top!r}{hint}"
    )


def _as_stored(options, axes, source):
    """`options` with the number of classes and the size that `source` tells.

    What was given stays. A network without its top has no size of its own.
    """
    options = dict(options)
    if options.get("classes") is None:
        options["classes"] = source.classes
        if source.classes is None and isinstance(source.labels, tuple):
            options["classes"] = len(source.labels)
    given = options.get("input_shape"), options.get("input_tensor")
    sized = options.get("include_top", True) and "input_size" not in axes
    if sized and given == (None, None) and source.preprocessing is not None:
        size = source.preprocessing.size
        last = _is_last(options.get("data_format"))
        options["input_shape"] = (*size, 3) if last else (3, *size)
    return options


def _load(architecture, source, options, given, may_be_new):
    """(model, whether its classifier is the checkpoint's), built and set.

    Args:
        architecture: of the network.
        source: its weights.
        options: of `builder.build`.
        given: how many classes the caller asked for; None for the checkpoint's own.
        may_be_new: whether the classifier may have random values.
    """
    import warnings

    from keras_resnets import builder
    from keras_resnets.weights.assign import NewHead

    def build_and_load(options):
        # The weights follow; drawing random ones would take longer than all the rest.
        model = builder.build(architecture, kernel_initializer="zeros", **options)
        return model, source.load(model)

    if may_be_new:
        return build_and_load(options)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", NewHead)
            return build_and_load(options)
    except NewHead as head:
        if given is None and head.classes is not None:
            # A file whose head cannot be counted before it meets a network.
            return build_and_load({**options, "classes": head.classes})
        raise WeightsError(_no_head(source, head.classes, given)) from None


def _no_head(source, classes, given):
    """Why a network would have a classifier of random values."""
    if classes is not None:
        return (
            f"the classifier in {source.path} is for {classes} classes; got "
            f"{given}: another one would have random values. Leave the number of "
            "classes out, or train a new classifier (keras-resnets train)"
        )
    return (
        f"{source.path} holds no classifier, and a new one has random values: train it "
        "(keras-resnets train; create_model takes classes=N for it), or leave the top "
        "out (include_top=False)"
    )


def _describe(model, architecture, source, own_classes, data_format):
    """Tells `model` what its pictures must look like and what its classes are."""
    from keras_resnets import labels
    from keras_resnets import preprocessing

    wanted = source.preprocessing if source else None
    if wanted is None:
        mode = source.mode if source else None
        wanted = preprocessing.for_architecture(architecture, mode=mode)
    last = _is_last(data_format)
    size = tuple(model.inputs[0].shape)[slice(1, 3) if last else slice(2, 4)]
    if len(size) == 2 and None not in size:
        wanted = dataclasses.replace(wanted, size=size)
    channels = model.inputs[0].shape[-1 if last else 1]
    model.preprocessing = wanted.grey() if channels == 1 else wanted
    model.architecture = architecture
    model.weights_origin = source.origin if source else None
    known = own_classes and source.labels
    fits = known and labels.count(known) == model.output_shape[-1]
    model.labels = known if fits else None


def _is_last(data_format):
    import keras

    return (data_format or keras.config.image_data_format()) == "channels_last"


def _as_trained(architecture, axes, source):
    """`architecture` with the axes that the weights were trained with."""
    try:
        trained = architecture.replace(**source.axes)
        before, after = (
            extent.check_extent(each, classes=0).parameters
            for each in (architecture, trained)
        )
    except InvalidArgument as error:
        raise WeightsError(
            f"{source.path} tells axes that no network has: {error}"
        ) from None
    for axis, value in source.axes.items():
        # Read where it was set: "A" is "identity_pad" there.
        if axis in axes and getattr(architecture, axis) != value:
            raise WeightsError(
                f"{source.path} was trained with {axis}={shown(value)}; got "
                f"{shown(axes[axis])}"
            )
    # What a file describes is built where its own values would fill it, by far.
    if source.count is not None and after > max(before, 2 * source.count + 1_000_000):
        raise WeightsError(
            f"{source.path} tells axes of a network of about {after:,} parameters; it "
            f"holds {source.count:,}"
        )
    return trained
