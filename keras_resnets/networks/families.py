"""The families: functions from a member's parameters to its `Architecture`.

Sources: He et al. 2015 (arXiv:1512.03385), He et al. 2016 (1603.05027), Zagoruyko and
Komodakis 2016 (1605.07146), Xie et al. 2017 (1611.05431), Yu et al. 2017 (1705.09914),
Redmon and Farhadi 2018 (1804.02767), He et al. 2019 (1812.01187).
"""

import typing

from keras_resnets.errors import InvalidArgument
from keras_resnets.networks.architecture import Architecture

IMAGENET_DEPTHS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}


def resnet(depth: int, **axes: typing.Any) -> Architecture:
    """ImageNet ResNet of He 2015, Table 1 (200: He 2016), stride in the 3x3."""
    block = "basic" if depth < 50 else "bottleneck"
    depths = IMAGENET_DEPTHS[depth]
    return Architecture(
        **{"family": "resnet", "depths": depths, "block": block, **axes}
    )


def resnet_v2(depth: int, **axes: typing.Any) -> Architecture:
    """Full pre-activation; the stem activates, so the first unit does not."""
    return resnet(depth, family="resnet_v2", activation_order="full_preact", **axes)


def resnet_v2_d(depth: int) -> Architecture:
    """Pre-activation with Bag of Tricks D, a stem without BN: `resnetv2_*d` of timm."""
    return resnet_v2(
        depth,
        stem_type="deep",
        stem_bn=False,
        shortcut_type="avg_projection",
        share_preact="projection",
        preprocessing="tf",
    )


def resnet_v2_keras(depth: int) -> Architecture:
    """`keras.applications` V2: stem without BN, stride in a stage's last unit."""
    return resnet_v2(
        depth,
        strides=(2, 2, 2, 1),
        downsample_in="last_block",
        stem_bn=False,
        stem_pool="max_zero_pad",
        conv_bias="unnormalized",
        bn_momentum=0.99,
        bn_epsilon=1.001e-5,
        preprocessing="tf",
    )


def resnext(
    depth: int, cardinality: int, base_width: int, **axes: typing.Any
) -> Architecture:
    """ImageNet ResNeXt: ResNet with `cardinality` groups in the 3x3."""
    axes = {"cardinality": cardinality, "base_width": base_width, **axes}
    return resnet(depth, **{"family": "resnext", **axes})


def _per_stage_depth(depth: int, per_block: int, extra: int, rule: str) -> int:
    units, rest = divmod(depth - extra, per_block)
    if rest == 0 and units >= 1:
        return units
    low = max(units, 1) * per_block + extra
    high = (max(units, 0) + 1) * per_block + extra
    near = low if abs(low - depth) <= abs(high - depth) else high
    raise InvalidArgument(
        f"depth must be {rule} for this family; got {depth}: the nearest is {near}"
    )


def cifar_resnet(depth: int, block: str = "basic", **axes: typing.Any) -> Architecture:
    """CIFAR ResNet: three stages of (depth-2)/6 basic or (depth-2)/9 bottleneck units."""
    per_block = 9 if block == "bottleneck" else 6
    units = _per_stage_depth(depth, per_block, 2, f"{per_block}n+2")
    row = {
        "family": "cifar_resnet",
        "depths": (units,) * 3,
        "filters": (16, 32, 64),
        "strides": (1, 2, 2),
        "block": block,
        "shortcut_type": "projection" if block == "bottleneck" else "identity_pad",
        "stem_type": "cifar",
        "stem_filters": 16,
        "stem_pool": None,
        "input_size": 32,
        "classes": 10,
        "preprocessing": "cifar",
    }
    return Architecture(**{**row, **axes})


def cifar_resnet_v2(
    depth: int, block: str = "basic", **axes: typing.Any
) -> Architecture:
    """CIFAR pre-activation ResNet: stem without BN; bottlenecks stride in the 1x1."""
    row = {
        "family": "cifar_resnet_v2",
        "activation_order": "full_preact",
        "stem_bn": False,
        "downsample_in": "1x1" if block == "bottleneck" else "3x3",
    }
    return cifar_resnet(depth, block, **{**row, **axes})


def wrn(depth: int, widen_factor: int, **axes: typing.Any) -> Architecture:
    """CIFAR Wide ResNet WRN-depth-widen_factor: basic units, projection shortcuts."""
    units = _per_stage_depth(depth, 6, 4, "6n+4")
    return cifar_resnet_v2(
        6 * units + 2,
        family="cifar_wide_resnet",
        widen_factor=widen_factor,
        shortcut_type="projection",
        share_preact="projection",
        **axes,
    )


def cifar_resnext(
    depth: int, cardinality: int, base_width: int, width: int = 64
) -> Architecture:
    """CIFAR ResNeXt: three stages of (depth-2)/9 bottlenecks at 64, 128, 256 filters."""
    return cifar_resnet(
        depth,
        "bottleneck",
        family="cifar_resnext",
        cardinality=cardinality,
        base_width=base_width,
        **first_width(width),
    )


def first_width(width: int) -> dict[str, typing.Any]:
    """Filters of a CIFAR network's three stages and its stem."""
    return {"filters": (width, 2 * width, 4 * width), "stem_filters": width}


def bag_of_tricks(depth: int, letter: str, **axes: typing.Any) -> Architecture:
    """Bag of Tricks C (deep stem) and D (and average-pool shortcuts)."""
    shortcut = {"c": "projection", "d": "avg_projection"}[letter]
    axes = {
        "family": "resnet_d",
        "stem_type": "deep",
        "shortcut_type": shortcut,
        **axes,
    }
    return resnet(depth, **axes)


def darknet(depths: tuple[int, ...], **axes: typing.Any) -> Architecture:
    """DarkNet: 3x3x32 stem, then five stages that begin by halving the image."""
    row = {
        "family": "darknet",
        "depths": depths,
        "filters": (64, 128, 256, 512, 1024),
        "strides": (2,) * 5,
        "stem_type": "darknet",
        "stem_filters": 32,
        "stem_pool": None,
        "activation": "leaky_relu",
        "bn_momentum": 0.99,
        "input_size": 256,
        "preprocessing": "darknet",
    }
    return Architecture(**{**row, **axes})


def drn_a(depth: int) -> Architecture:
    """DRN-A: ResNet whose last two stages are dilated, except their first units."""
    return resnet(
        depth,
        family="drn",
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        first_dilations=(1, 1, 1, 1),
    )


def drn(
    depths: tuple[int, ...],
    block: str = "basic",
    ends: str = "basic",
    residual_ends: bool = False,
    **axes: typing.Any,
) -> Architecture:
    """DRN-B, C and D: eight levels from a full-resolution stem, no pooling.

    `ends` is the block of levels 1, 2, 7 and 8; B keeps the residuals that C leaves
    out of levels 7 and 8.
    """
    return Architecture(
        family="drn",
        depths=depths,
        filters=(16, 32, 64, 128, 256, 512, 512, 512),
        strides=(1, 2, 2, 2, 1, 1, 1, 1),
        dilations=(1, 1, 1, 1, 2, 4, 2, 1),
        block=(ends, ends, block, block, block, block, ends, ends),
        residual=(True,) * 6 + (residual_ends,) * 2,
        stem_type="drn",
        stem_filters=16,
        stem_pool=None,
        **axes,
    )
