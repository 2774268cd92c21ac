"""THE TABLE: every named variant, as the relative of another.

A new variant is a row here, a door in `models/` and its figures in
`published.csv`. Sources: He et al. 2015 (arXiv:1512.03385), He et al. 2016
(1603.05027), Zagoruyko and Komodakis 2016 (1605.07146), Xie et al. 2017
(1611.05431), Yu et al. 2017 (1705.09914), Redmon and Farhadi 2018 (1804.02767),
He et al. 2019 (1812.01187).
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


def resnet_v2_keras(depth: int) -> Architecture:
    """`keras.applications` V2: bare stem with a bias, stride in a stage's last unit."""
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
    """CIFAR pre-activation ResNet: bare stem; bottlenecks have their stride in the 1x1."""
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
    """DarkNet: 3x3x32 stem, then five stages that begin by halving the picture."""
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
    """DRN-A: ResNet whose last two stages dilate, but for their first units."""
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


VARIANTS = {
    "resnet18": resnet(18),
    "resnet34": resnet(34),
    "resnet50": resnet(50),
    "resnet101": resnet(101),
    "resnet152": resnet(152),
    "resnet200": resnet(200),
    "resnet50v1": resnet(50, downsample_in="1x1", preprocessing="caffe"),
    "resnet101v1": resnet(101, downsample_in="1x1", preprocessing="caffe"),
    "resnet152v1": resnet(152, downsample_in="1x1", preprocessing="caffe"),
    "plain18": resnet(18, residual=False),
    "plain34": resnet(34, residual=False),
    "resnet18v2": resnet_v2(18),
    "resnet34v2": resnet_v2(34),
    "resnet50v2": resnet_v2(50),
    "resnet101v2": resnet_v2(101),
    "resnet152v2": resnet_v2(152),
    "resnet200v2": resnet_v2(200),
    "resnet50v2_keras": resnet_v2_keras(50),
    "resnet101v2_keras": resnet_v2_keras(101),
    "resnet152v2_keras": resnet_v2_keras(152),
    "wide_resnet50_2": resnet(50, family="wide_resnet", base_width=128),
    "wide_resnet101_2": resnet(101, family="wide_resnet", base_width=128),
    "resnext50_1x64d": resnext(50, 1, 64),
    "resnext50_2x40d": resnext(50, 2, 40),
    "resnext50_4x24d": resnext(50, 4, 24),
    "resnext50_8x14d": resnext(50, 8, 14),
    "resnext50_32x4d": resnext(50, 32, 4),
    "resnext101_1x64d": resnext(101, 1, 64),
    "resnext101_2x40d": resnext(101, 2, 40),
    "resnext101_4x24d": resnext(101, 4, 24),
    "resnext101_8x14d": resnext(101, 8, 14),
    "resnext101_32x4d": resnext(101, 32, 4),
    "resnext101_32x8d": resnext(101, 32, 8),
    "resnext101_64x4d": resnext(101, 64, 4),
    "resnext101_2x64d": resnext(101, 2, 64),
    "resnext152_32x4d": resnext(152, 32, 4),
    "resnet101_1x100d": resnext(101, 1, 100),
    "resnet18c": bag_of_tricks(18, "c"),
    "resnet18d": bag_of_tricks(18, "d"),
    "resnet34c": bag_of_tricks(34, "c"),
    "resnet34d": bag_of_tricks(34, "d"),
    "resnet50c": bag_of_tricks(50, "c"),
    "resnet50d": bag_of_tricks(50, "d"),
    "resnet101c": bag_of_tricks(101, "c"),
    "resnet101d": bag_of_tricks(101, "d"),
    "resnet152c": bag_of_tricks(152, "c"),
    "resnet152d": bag_of_tricks(152, "d"),
    "resnet200d": bag_of_tricks(200, "d"),
    "resnet18_vd": bag_of_tricks(18, "d", first_projection=True),
    "resnet34_vd": bag_of_tricks(34, "d", first_projection=True),
    "resnet200_vd": bag_of_tricks(200, "d", depths=(3, 12, 48, 3)),
    "resnext50d_32x4d": bag_of_tricks(50, "d", cardinality=32, base_width=4),
    "darknet19": darknet(
        (1, 3, 3, 5, 5), block="alternating", transition="max", head="conv"
    ),
    "darknet53": darknet(
        (1, 2, 8, 8, 4),
        block="darknet",
        transition="conv",
        activation_order="relu_before_add",
    ),
    "drn_a_18": drn_a(18),
    "drn_a_34": drn_a(34),
    "drn_a_50": drn_a(50),
    "drn_b_26": drn((1, 1, 2, 2, 2, 2, 1, 1), residual_ends=True),
    "drn_c_26": drn((1, 1, 2, 2, 2, 2, 1, 1)),
    "drn_c_42": drn((1, 1, 3, 4, 6, 3, 1, 1)),
    "drn_c_58": drn((1, 1, 3, 4, 6, 3, 1, 1), "bottleneck", dead_projection=True),
    "drn_d_22": drn((1, 1, 2, 2, 2, 2, 1, 1), ends="conv"),
    "drn_d_24": drn((1, 1, 2, 2, 2, 2, 2, 2), ends="conv"),
    "drn_d_38": drn((1, 1, 3, 4, 6, 3, 1, 1), ends="conv"),
    "drn_d_40": drn((1, 1, 3, 4, 6, 3, 2, 2), ends="conv"),
    "drn_d_54": drn((1, 1, 3, 4, 6, 3, 1, 1), "bottleneck", ends="conv"),
    "drn_d_56": drn((1, 1, 3, 4, 6, 3, 2, 2), "bottleneck", ends="conv"),
    "drn_d_105": drn((1, 1, 3, 4, 23, 3, 1, 1), "bottleneck", ends="conv"),
    "drn_d_107": drn((1, 1, 3, 4, 23, 3, 2, 2), "bottleneck", ends="conv"),
    "resnet8": cifar_resnet(
        8,
        shortcut_type="projection",
        shortcut_bn=False,
        padding="same",
        conv_bias="all",
        bn_momentum=0.99,
        bn_epsilon=1e-3,
        preprocessing="raw",
    ),
    "resnet20": cifar_resnet(20),
    "resnet32": cifar_resnet(32),
    "resnet44": cifar_resnet(44),
    "resnet56": cifar_resnet(56),
    "resnet110": cifar_resnet(110),
    "resnet1202": cifar_resnet(1202),
    "resnet164": cifar_resnet(164, "bottleneck"),
    "resnet20v2": cifar_resnet_v2(20),
    "resnet56v2": cifar_resnet_v2(56),
    "resnet110v2": cifar_resnet_v2(110),
    "resnet164v2": cifar_resnet_v2(164, "bottleneck"),
    "resnet1001v2": cifar_resnet_v2(1001, "bottleneck"),
    "wrn_16_4": wrn(16, 4),
    "wrn_16_8": wrn(16, 8),
    "wrn_22_8": wrn(22, 8),
    "wrn_28_10": wrn(28, 10),
    "wrn_40_4": wrn(40, 4),
    "wrn_40_10": wrn(40, 10),
    "resnext29_8x64d": cifar_resnext(29, 8, 64),
    "resnext29_16x64d": cifar_resnext(29, 16, 64),
    "resnext29_32x4d": cifar_resnext(29, 32, 4),
    # This project's small members for CIFAR-10, by the rules of their families: `_wN`
    # has N filters in the first stage.
    "resnet29_w12": cifar_resnet(29, "bottleneck", **first_width(12)),
    "resnet14v2": cifar_resnet_v2(14),
    "wrn_10_3_w8": wrn(10, 3, **first_width(8)),
    "resnext20_4x16d_w16": cifar_resnext(20, 4, 16, 16),
    "resnet14d": cifar_resnet(14, family="resnet_d", shortcut_type="avg_projection"),
    "darknet15": darknet(
        (1, 2, 2),
        filters=(48, 96, 192),
        strides=(2, 2, 2),
        stem_filters=24,
        block="darknet",
        transition="conv",
        activation_order="relu_before_add",
        input_size=32,
        classes=10,
        preprocessing="cifar",
    ),
    "drn_a_14": cifar_resnet(
        14,
        family="drn",
        shortcut_type="projection",
        strides=(1, 2, 1),
        dilations=(1, 1, 2),
        first_dilations=(1, 1, 1),
        **first_width(12),
    ),
}
