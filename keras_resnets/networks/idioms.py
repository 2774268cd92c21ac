"""Translates the names of other libraries, for error messages.

timm, torchvision, Hugging Face and KerasHub have their own names for networks, weights
and arguments. Nothing is translated silently: the error gives the name in this package.
"""

import collections.abc
import re
import typing
from collections.abc import Sequence

_NO_AXES = (
    "include_top weights input_tensor input_shape pooling classifier_activation name "
    "dtype data_format kernel_initializer"
).split()
_CLASSES = "num_classes nb_classes n_classes num_class n_class num_labels".split()
_CHANNELS = "in_chans in_channels num_channels input_channels channels".split()
_SIZES = "img_size image_size".split()
_FILES = "checkpoint_path weights_path pretrained_path load_weights".split()
_FEATURES = "features_only out_indices return_nodes return_layers".split()
_NOT_NEEDED = "progress scriptable exportable no_jit cache_dir".split()
# Arguments whose value stays the same.
_RENAMED = {
    "drop_rate": "dropout_rate",
    "dropout": "dropout_rate",
    "drop_path": "drop_path_rate",
    "drop_connect_rate": "drop_path_rate",
    "stochastic_depth_prob": "drop_path_rate",
    "zero_init_last": "zero_init_residual",
    "groups": "cardinality",
    "width_per_group": "base_width",
    "width_factor": "widen_factor",
    "stem_width": "stem_filters",
    "bn_eps": "bn_epsilon",
    "norm_eps": "bn_epsilon",
    "epsilon": "bn_epsilon",
    "momentum": "bn_momentum",
    "top": "include_top",
}
_SENTENCES = {
    "drop_block_rate": "there is no DropBlock; block_dropout_rate is plain dropout "
    "between the convolutions of a unit",
    "act_layer": 'write activation="silu" or another name',
    "activation_layer": 'write activation="silu" or another name',
    "norm_layer": "every normalization is a BN: see bn_momentum and bn_epsilon",
    "include_rescaling": "images go through model.preprocessing; an export includes it "
    "by preprocessing=model.preprocessing",
    "include_preprocessing": "images go through model.preprocessing; an export includes "
    "it by preprocessing=model.preprocessing",
    "trainable": "set model.trainable once it is built",
    "weight_decay": "it belongs to the optimizer, or to the recipe of a training",
    "kernel_regularizer": "weight decay belongs to the optimizer, or to the recipe of a "
    "training",
}
# (pattern of another library's name, our name, our tag or None).
_SPELLINGS = (
    (r"resnetv2_(\d+)(d?)", r"resnet\1v2\2", None),
    (r"tv_(.+)", r"\1", "tv_in1k"),
    (r"ssl_(.+)", r"\1", "fb_ssl_yfcc100m_ft_in1k"),
    (r"swsl_(.+)", r"\1", "fb_swsl_ig1b_ft_in1k"),
    (r"ig_(.+)", r"\1", "fb_wsl_ig1b_ft_in1k"),
    (r"gluon_(resnet\d+)_v1b", r"\1", "gluon_in1k"),
    (r"gluon_(resnet\d+)_v1([cd])", r"\1\2", "gluon_in1k"),
    (r"gluon_(.+)", r"\1", "gluon_in1k"),
    (r"(cifar100?)_(resnet\d+)", r"\2", r"chenyaofo_\1"),
    (r"resnet_vd_(18|34|200)_imagenet", r"resnet\1_vd", r"hub_vd_\1"),
    (r"resnet_vd_(\d+)(\w*)_imagenet", r"resnet\1d", r"hub_vd_\1\2"),
    (r"resnet_?vd_?(18|34|200)|resnet(18|34|200)_?vd", r"resnet\1\2_vd", None),
    (r"resnet_?vd_?(\d+)|resnet(\d+)_?vd", r"resnet\1\2d", None),
    (r"resnet_v2_(\d+)(?:_imagenet)?", r"resnet\1v2_keras", None),
    (r"resnet_(\d+)(?:_imagenet)?", r"resnet\1", None),
    (r"(resnet\d+)_v2", r"\1v2", None),
    (r"wide_?resnet_?(\d+)_(\d+)", r"wrn_\1_\2", None),
)
_HUBS = re.compile(r"(?:(?:hf[-_]hub:|hf://|timm:|kaggle://)|.*/(?=[^/]+$))+")
_DEFAULTS = (
    "default true pretrained in1k imagenet1k imagenet_1k imagenet2012 ilsvrc2012"
).split()


def for_argument(name: str, value: typing.Any, architecture: typing.Any) -> str | None:
    """Returns what to write instead of `name=value`, or None for an unknown name.

    Args:
        name: a keyword that `create_model` does not have.
        value: its value.
        architecture: the `Architecture` of the requested network.

    Example:
        >>> from keras_resnets.models.registry import get_architecture
        >>> for_argument("num_classes", 5, get_architecture("resnet50"))
        'write classes=5'
    """
    if name in _NO_AXES:
        return "it is an argument of create_model and of the commands"
    if name in _RENAMED:
        return f"write {_RENAMED[name]}={value!r}"
    if name in _SENTENCES:
        return _SENTENCES[name]
    if name in _NOT_NEEDED:
        return "there is no need for it here: leave it out"
    if name in _FILES:
        return f"write weights={str(value)!r}"
    if name in _FEATURES:
        return 'write feature_extractor(model, ["stage2", "stage4"]), or --features'
    describe = {
        **dict.fromkeys(_CLASSES, _classes),
        **dict.fromkeys(_CHANNELS, _channels),
        **dict.fromkeys(_SIZES, _size),
        "pretrained": _pretrained,
        "global_pool": _global_pool,
        "replace_stride_with_dilation": _output_stride,
    }.get(name)
    return describe and describe(value, architecture)


def _pretrained(value: typing.Any, architecture: typing.Any) -> str:
    if not value:
        return "leave it out: weights=None, random values, is the default"
    if isinstance(value, str):
        return f"write weights={value!r}"
    dataset = "cifar10" if architecture.classes == 10 else "imagenet"
    return f'write weights="{dataset}", or a tag that list_weights names'


def _classes(value: typing.Any, architecture: typing.Any) -> str:
    if value == 0:
        return 'write include_top=False, pooling="avg"'
    return f"write classes={value!r}"


def _channels(value: typing.Any, architecture: typing.Any) -> str:
    size = architecture.input_size
    return f"write input_shape=({size}, {size}, {value!r})"


def _size(value: typing.Any, architecture: typing.Any) -> str:
    sides = value if isinstance(value, (tuple, list)) else (value, value)
    return f"write input_shape={(*sides[-2:], 3)!r}, or --input-size"


def _global_pool(value: typing.Any, architecture: typing.Any) -> str:
    if not value:
        return "write include_top=False"
    kind = value if value in ("avg", "max") else "avg"
    return (
        "the classifier pools by average, and without it write include_top=False, "
        f'pooling="{kind}"'
    )


def _output_stride(value: typing.Any, architecture: typing.Any) -> str:
    held = sum(map(bool, value)) if isinstance(value, (tuple, list)) else 0
    return f"write output_stride={architecture.natural_stride >> held}"


def readings(name: str) -> list[tuple[str, str | None]]:
    """Returns what another library's name of a network may mean, the simplest first.

    Args:
        name: such as `"resnet50.a1_in1k"`, `"hf_hub:timm/resnetv2_50.a1h_in1k"`,
            `"gluon_resnet50_v1d"` or `"cifar100_resnet20"`.

    Returns:
        A list of (name of the network in this package's spelling, tag or None). Neither
        need exist.

    Example:
        >>> readings("hf_hub:timm/resnetv2_50.a1h_in1k")
        [('resnetv2_50', 'a1h_in1k'), ('resnet50v2', 'a1h_in1k')]
    """
    bare = _HUBS.sub("", name).strip().lower()
    network, _, suffix = bare.partition(".")
    network, tag = network.replace("-", "_"), suffix or None
    candidates = [(network, tag)]
    for pattern, ours, weights in _SPELLINGS:
        match = re.fullmatch(pattern, network)
        if match:
            candidates.append(
                (match.expand(ours), tag or weights and match.expand(weights))
            )
    return candidates


def for_weights(value: object, names: Sequence[str]) -> str | None:
    """Returns what to write for weights that do not exist, or None if it is unknown.

    Args:
        value: the value of `weights`.
        names: the names that `weights=` takes for the network, the default first.

    Example:
        >>> for_weights("resnet50.a1_in1k", ["imagenet", "imagenet1k_v2", "a1_in1k"])
        "write weights='a1_in1k'"
    """
    if isinstance(value, collections.abc.Mapping):
        return "save it (torch.save, or safetensors.torch.save_file) and give the file"
    if hasattr(value, "get_weights") or hasattr(value, "state_dict"):
        return "save its weights and give the file, or set them: model.set_weights(...)"
    # torchvision's are members of an Enum.
    text = str(value)
    if value is False or text.lower() in ("none", "random", "false", ""):
        return "leave weights out, or write None, for random values"
    if re.match(r"(?:https?|ftp|s3|gs)://", text):
        return "weights are not taken from addresses: download it and give the file"
    last = re.split(r"[./]", text)[-1].lower()
    if last in names:
        return f"write weights={last!r}"
    if last in _DEFAULTS and names:
        return f"write weights={names[0]!r}"
    return None
