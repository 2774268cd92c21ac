"""Layouts of repositories that train networks for CIFAR."""

import dataclasses

from keras_resnets.weights.layout import Layout
from keras_resnets.weights.layout import torchvision

_SMALL_IMAGES = {"stem_type": "cifar", "stem_pool": None, "input_size": 32}
_RESNEXT = "stage_{stage}.stage_{stage}_bottleneck_{block0}."
# akamaster's CIFAR nets: option A pads the new channels on both sides, and the
# images were normalized with ImageNet's statistics.
AKAMASTER = dataclasses.replace(
    torchvision(predictions="linear"),
    name="akamaster",
    axes={"shortcut_type": "identity_pad", "identity_pad_position": "both"},
    preprocessing="torch",
    labels="cifar10",
)
# chenyaofo's CIFAR nets, and others made by cutting down torchvision's code: three
# stages, projection shortcuts.
CIFAR_TORCHVISION = dataclasses.replace(
    torchvision(),
    name="chenyaofo",
    axes={"shortcut_type": "projection"},
    preprocessing="cifar_image_std",
    labels="cifar10",
    by_classes={100: {"preprocessing": "cifar100", "labels": "cifar100"}},
)
# kuangliu's ResNet-18 to -152 for CIFAR, and akamaster's networks with projections.
KUANGLIU = dataclasses.replace(
    torchvision(
        shortcut_conv="layer{stage}.{block0}.shortcut.0",
        shortcut_bn="layer{stage}.{block0}.shortcut.1",
        predictions="linear",
    ),
    name="kuangliu",
    axes={"shortcut_type": "projection", **_SMALL_IMAGES},
    preprocessing="cifar_image_std",
    labels="cifar10",
)
# weiaicunzai's ResNet-18 to -152. Its program takes CIFAR-100 alone.
WEIAICUNZAI = Layout(
    "weiaicunzai",
    {
        "stem_conv": "conv1.0",
        "stem_bn": "conv1.1",
        "conv": "conv{stage2}_x.{block0}.residual_function.{inner3}",
        "bn": "conv{stage2}_x.{block0}.residual_function.{inner_bn3}",
        "shortcut_conv": "conv{stage2}_x.{block0}.shortcut.0",
        "shortcut_bn": "conv{stage2}_x.{block0}.shortcut.1",
        "predictions": "fc",
    },
    axes={"shortcut_type": "projection", **_SMALL_IMAGES},
    preprocessing="cifar100",
    labels=None,
    by_classes={100: {"labels": "cifar100"}},
)
# Wide ResNets of xternalz and bearpaw, and of TRADES and RobustBench, which derive from
# them; the last two take pixels from 0 to 1, and have a block that nothing calls.
WIDE_RESNET = Layout(
    "WideResNet-pytorch",
    {
        "stem_conv": "conv1",
        "conv": "block{stage}.layer.{block0}.conv{number}",
        "bn": "block{stage}.layer.{block0}.bn{number}",
        "shortcut_conv": "block{stage}.layer.{block0}.convShortcut",
        "post_bn": "bn1",
        "predictions": "fc",
    },
    axes={"shortcut_type": "projection", "share_preact": "projection"},
    preprocessing="cifar",
    labels="cifar10",
    by_classes={100: {"labels": "cifar100"}},
    unused="sub_block1",
)
# ResNeXt-29 of prlz77 and bearpaw.
CIFAR_RESNEXT = Layout(
    "ResNeXt.pytorch",
    {
        "stem_conv": "conv_1_3x3",
        "stem_bn": "bn_1",
        "conv1": _RESNEXT + "conv_reduce",
        "bn1": _RESNEXT + "bn_reduce",
        "conv2": _RESNEXT + "conv_conv",
        "bn2": _RESNEXT + "bn",
        "conv3": _RESNEXT + "conv_expand",
        "bn3": _RESNEXT + "bn_expand",
        "shortcut_conv": _RESNEXT + "shortcut.shortcut_conv",
        "shortcut_bn": _RESNEXT + "shortcut.shortcut_bn",
        "predictions": "classifier",
    },
    axes={"shortcut_type": "projection"},
    preprocessing="cifar",
    labels="cifar10",
    by_classes={100: {"labels": "cifar100"}},
)
# RobustBench's, whose units have torchvision's names around those.
ROBUSTBENCH_RESNEXT = dataclasses.replace(
    CIFAR_RESNEXT,
    name="RobustBench",
    names={
        key: name.replace("stage_{stage}_bottleneck_{block0}", "{block0}")
        .replace("shortcut.shortcut_conv", "downsample.0")
        .replace("shortcut.shortcut_bn", "downsample.1")
        for key, name in CIFAR_RESNEXT.names.items()
    },
)
