"""Architectures and information by name: `get_architecture`, `model_info`, ..."""

import dataclasses
import fnmatch
import functools
import re
import typing
from collections.abc import Mapping

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.errors import check_type
from keras_resnets.errors import nearest
from keras_resnets.errors import shown
from keras_resnets.io import package_tables
from keras_resnets.networks import extent
from keras_resnets.networks import families
from keras_resnets.networks import idioms
from keras_resnets.networks import variants
from keras_resnets.networks.architecture import Architecture

if typing.TYPE_CHECKING:
    from keras_resnets.weights import records

ALIASES = {
    **{alias.lower(): name.lower() for alias, name in variants.ALIASES.items()},
    "resnext50d": "resnext50d_32x4d",
    "resnext29": "resnext29_8x64d",
}

# timm's longest name with its tag has 60.
_LONGEST = 200
# Open families, with members beyond the named ones.
PATTERNS = (
    (
        "wrn_D_K",
        r"wrn_([0-9]{1,9})_([0-9]{1,9})",
        lambda d, k: families.wrn(int(d), int(k)),
    ),
    (
        "resnext50_CxWd",
        r"resnext(50|101|152)_([0-9]{1,9})x([0-9]{1,9})d",
        lambda d, c, w: families.resnext(int(d), int(c), int(w)),
    ),
    (
        "resnext29_CxWd",
        r"resnext([0-9]{1,9})_([0-9]{1,9})x([0-9]{1,9})d",
        lambda d, c, w: families.cifar_resnext(int(d), int(c), int(w)),
    ),
    (
        "cifar_resnetD",
        r"cifar_resnet([0-9]{1,9})",
        lambda d: families.cifar_resnet(int(d)),
    ),
    (
        "cifar_resnetDv2",
        r"cifar_resnet([0-9]{1,9})v2",
        lambda d: families.cifar_resnet_v2(int(d)),
    ),
)


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """Information about a variant, without building it.

    Attributes:
        name: the registry's name.
        family: its family, by which `list_models(family=...)` selects.
        architecture: its `Architecture`.
        input_size: height and width in pixels that the figures are for.
        classes: number of classes that the figures are for.
        trainable_params: gammas, betas, kernels and biases (torch's convention), or
            None for a variant without published figures.
        total_params: Keras' `count_params()`: with the BN statistics.
        mega_macs: millions of multiply-adds of convolutions and dense layers.
        convs: convolutions. dense: dense layers.
        source: where the figures come from.
        weights: tag of the public weights of `weights=dataset`; None if it has none.
        dataset: their training dataset: `"imagenet"`, `"cifar10"`, `"cifar100"`.
        top1: their published accuracy in percent; None without weights.
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
    weights: str | None = None
    dataset: str | None = None
    top1: float | None = None


def get_architecture(name: str, /, **axes: typing.Any) -> Architecture:
    """Returns the `Architecture` called `name`, with `axes` replaced.

    Args:
        name: a name of `list_models()`, an alias (`"resnext50"`), or a member of an
            open family: `"wrn_34_6"`, `"resnext50_16x8d"`, `"cifar_resnet26"`.
        **axes: attributes of `Architecture` to change.

    Returns:
        An `Architecture`; nothing is built.

    Raises:
        InvalidArgument: an unknown name (the nearest are listed), a depth that the
            family does not have, or an axis or value that is not allowed.

    Example:
        >>> get_architecture("wrn_34_6").depths
        (5, 5, 5)
    """
    architecture = _find(name)
    architecture = architecture.replace(**axes) if axes else architecture
    # The tests check the rows of the table; checking them at every import is not needed.
    if not any(architecture is row for row in variants.VARIANTS.values()):
        extent.check_extent(architecture)
    return architecture


def _find(name: str) -> Architecture:
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


def _meant(name: str) -> str:
    """A hint at what an unknown name may have meant."""
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
    return f"{hint} (keras-resnets list, or list_models(), names all)"


def _said_here(network: str, tag: str | None) -> str:
    if tag is None:
        return f"write {network!r}"
    tags = list_weights(network)
    if tag not in tags:
        alternatives = (
            f"those of {network} are {', '.join(tags)}" if tags else "there are none"
        )
        return (
            f"the network is called {network!r} here, and no public weights of it are "
            f"called {tag!r}: {alternatives}"
        )
    return (
        "here the network and its weights are two arguments: write "
        f"create_model({network!r}, weights={tag!r}), or {network} --weights {tag}"
    )


def canonical_name(name: str) -> str:
    """Returns `name` as in the registry: lower case, underscores, aliases resolved."""
    key = name.lower().replace("-", "_")
    return ALIASES.get(key, key)


def list_models(pattern: str = "*", family: str | None = None) -> list[str]:
    """Returns the names of the variants, in the table's order.

    Args:
        pattern: a shell wildcard such as `"drn_*"` or `"*50*"`.
        family: a family's name such as `"resnext"`, or None for all.

    Returns:
        A list of names; empty if nothing matches.

    Raises:
        InvalidArgument: an unknown family.

    Example:
        >>> list_models("drn_c_*")
        ['drn_c_26', 'drn_c_42', 'drn_c_58']
    """
    check_type("pattern", pattern, str, "a pattern of names, such as 'wrn_*'")
    families = list(dict.fromkeys(row.family for row in variants.VARIANTS.values()))
    if family is not None:
        check_choice("family", family, families)
    return [
        name
        for name, row in variants.VARIANTS.items()
        if fnmatch.fnmatchcase(name, pattern.lower()) and family in (None, row.family)
    ]


def model_info(name: str) -> ModelInfo:
    """Returns information about the variant `name`, without building it.

    Returns:
        A `ModelInfo`. Its figures come from `published.csv`, which the tests derive
        again from the built network.

    Example:
        >>> model_info("resnet50").trainable_params
        25557032
        >>> model_info("resnet20").top1
        93.46
    """
    from keras_resnets.weights import records

    info = published_info(name)
    public = (record for record in records.records_of(info.name) if record.free)
    default = next(public, None)
    if default is None:
        return info
    return dataclasses.replace(
        info, weights=default.tag, dataset=default.dataset, top1=default.top1
    )


def published_info(name: str) -> ModelInfo:
    """Returns the figures of `model_info` without weights, whose table is another file."""
    architecture = get_architecture(name)
    key = canonical_name(name)
    published = _default_rows().get(key)
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


def is_default(row: Mapping[str, str], key: str) -> bool:
    """Whether a row of `published.csv` is that of `key` with its default settings."""
    return (
        row["variant"] == key
        and not row["axes"]
        and int(row["input_size"]) == variants.VARIANTS[key].input_size
    )


@functools.cache
def published_rows() -> tuple[dict[str, str], ...]:
    """Returns the rows of `published.csv`: every variant's exact figures with sources."""
    return tuple(package_tables.rows_of("keras_resnets.networks", "published.csv"))


@functools.cache
def _default_rows() -> dict[str, dict[str, str]]:
    """Returns the row of each variant with its default settings."""
    rows = published_rows()
    return {row["variant"]: row for row in rows if is_default(row, row["variant"])}


def list_weights(model_name: str) -> list[str]:
    """Returns the public weights of a variant, the default first.

    Args:
        model_name: see `get_architecture`.

    Returns:
        A list of tags for `weights=`; empty if there are none. `weights_info` describes
        each.

    Raises:
        InvalidArgument: an unknown model.

    Example:
        >>> list_weights("resnet44")
        ['chenyaofo_cifar10', 'akamaster_cifar10', 'chenyaofo_cifar100']
    """
    from keras_resnets.weights import records

    get_architecture(model_name)
    return [record.tag for record in records.records_of(canonical_name(model_name))]


def weights_info(model_name: str, tag: str) -> "records.Record":
    """Returns information about public weights, without downloading them.

    Args:
        model_name: see `get_architecture`.
        tag: a tag of `list_weights`, or a dataset for its default record.

    Returns:
        A `keras_resnets.weights.records.Record`: address, hash, licence, accuracy and
        its source, preprocessing, and how their mapping was verified.

    Raises:
        InvalidArgument: an unknown model or tag.

    Example:
        >>> weights_info("resnet20", "cifar10").top1
        93.46
    """
    from keras_resnets.weights import records

    get_architecture(model_name)
    return records.find(canonical_name(model_name), tag)
