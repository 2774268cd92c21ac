"""The layouts of all libraries, and which one a checkpoint or a network has.

`match` recognizes a checkpoint's layout by its names; those of repositories for CIFAR
stand in `cifar_layouts`.
"""

import dataclasses
import re
import typing

from keras_resnets.errors import WeightsError
from keras_resnets.errors import some
from keras_resnets.weights import cifar_layouts
from keras_resnets.weights.layout import NUMBERED as NUMBERED_NAME
from keras_resnets.weights.layout import Layout
from keras_resnets.weights.layout import torchvision

if typing.TYPE_CHECKING:
    from keras_resnets.networks.architecture import Architecture


# Its stem ends without BN, and the shortcut is activated only where it projects.
TIMM_V2 = Layout(
    "timm resnetv2",
    {
        "stem_conv": "stem.conv",
        "stem_conv1": "stem.conv1",
        "stem_bn1": "stem.norm1",
        "stem_conv2": "stem.conv2",
        "stem_bn2": "stem.norm2",
        "stem_conv3": "stem.conv3",
        "conv": "stages.{stage0}.blocks.{block0}.conv{number}",
        "bn": "stages.{stage0}.blocks.{block0}.norm{number}",
        "shortcut_conv": "stages.{stage0}.blocks.{block0}.downsample.conv",
        "post_bn": "norm",
        "predictions": "head.fc",
    },
    axes={"stem_bn": False, "share_preact": "projection"},
    # All public ones were trained so.
    preprocessing="tf",
)
TIMM_DARKNET = Layout(
    "timm darknet",
    {
        "stem_conv": "stem.conv1.conv",
        "stem_bn": "stem.conv1.bn",
        "downsample_conv": "stages.{stage0}.conv_down.conv",
        "downsample_bn": "stages.{stage0}.conv_down.bn",
        "conv": "stages.{stage0}.blocks.{block0}.conv{number}.conv",
        "bn": "stages.{stage0}.blocks.{block0}.conv{number}.bn",
        "predictions": "head.fc",
    },
    # torch's default, where darknet has 0.1.
    axes={"negative_slope": 0.01},
    preprocessing="torch",
)
# Hugging Face's transformers: its backbone is `resnet.`, with the classifier beside it.
TRANSFORMERS = Layout(
    "transformers",
    {
        "stem_conv": "embedder.embedder.convolution",
        "stem_bn": "embedder.embedder.normalization",
        "conv": "encoder.stages.{stage0}.layers.{block0}.layer.{number0}.convolution",
        "bn": "encoder.stages.{stage0}.layers.{block0}.layer.{number0}.normalization",
        "shortcut_conv": "encoder.stages.{stage0}.layers.{block0}.shortcut.convolution",
        "shortcut_bn": "encoder.stages.{stage0}.layers.{block0}.shortcut.normalization",
        "predictions": "classifier.1",
    },
    preprocessing="torch",
)
# This package's names, for networks that no other library has.
NATIVE = Layout("keras_resnets", {}, labels=None)
_KERAS_NAMES = {
    "stem_conv": "conv1_conv",
    "stem_bn": "conv1_bn",
    "conv": "conv{stage2}_block{block}_{number}_conv",
    "bn": "conv{stage2}_block{block}_{number}_bn",
    "shortcut_conv": "conv{stage2}_block{block}_0_conv",
    "shortcut_bn": "conv{stage2}_block{block}_0_bn",
    "predictions": "predictions",
}
KERAS = Layout(
    "keras.applications",
    _KERAS_NAMES,
    torch=False,
    epsilon=1.001e-5,
    # resnet50, which its files fit as well, has the stride in the 3x3.
    axes={"downsample_in": "1x1"},
    preprocessing="caffe",
)
KERAS_V2 = dataclasses.replace(
    KERAS,
    name="keras.applications V2",
    axes={},
    names={
        **_KERAS_NAMES,
        "bn1": "conv{stage2}_block{block}_preact_bn",
        "bn": "conv{stage2}_block{block}_{number0}_bn",
        "post_bn": "post_bn",
    },
    preprocessing="tf",
)
# KerasHub's `ResNetBackbone`; the stem of its vd networks is conv1 to conv3.
_HUB = "stack{stage0}_block{block0}_"
_HUB_NAMES = {
    "stem_conv": "conv{number}_conv",
    "stem_bn": "conv{number}_bn",
    "conv": _HUB + "{number}_conv",
    "bn": _HUB + "{number}_bn",
    "shortcut_conv": _HUB + "0_conv",
    "shortcut_bn": _HUB + "0_bn",
    "predictions": "predictions",
}
KERAS_HUB = Layout("KerasHub", _HUB_NAMES, torch=False, preprocessing="torch")
# From timm's networks of the same names.
KERAS_HUB_V2 = dataclasses.replace(
    KERAS_HUB,
    name="KerasHub V2",
    names={
        **_HUB_NAMES,
        "bn1": _HUB + "pre_activation_bn",
        "bn": _HUB + "{number0}_bn",
        "post_bn": "post_bn",
    },
    axes=TIMM_V2.axes,
    preprocessing=TIMM_V2.preprocessing,
)
# Keras' own numbers, as MLPerf Tiny's network has them: `conv2d`, `conv2d_1`, ...
NUMBERED = Layout(NUMBERED_NAME, {}, torch=False, preprocessing="raw", labels="cifar10")
# A module that every network of a layout has, for each layout; then torchvision's.
_STEMS = (
    "conv1_conv",
    "stem_conv",
    "stem_conv1",
    "stem.conv1.conv",
    "stem.conv",
    "stem.conv1",
    "embedder.embedder.convolution",
    "layer0.0",
    "conv2d_1",
    "conv2_x.0.residual_function.0",
    "block1.layer.0.conv1",
    "conv_1_3x3",
)
_TORCH_STEMS = ("conv1", "conv1.0")


def prefixes(modules: dict[str, None]) -> list[str]:
    """Returns the name prefix of each network that `modules` may hold.

    Args:
        modules: set of names such as `module.encoder_q.conv1`.

    Returns:
        A list of prefixes with their dot (`module.encoder_q.`), in the file's order;
        `""` for names without. Names of ours may have an underscore (`teacher_`).
    """
    found_prefixes: dict[str, typing.Any] = {}
    for module in modules:
        for stem in _STEMS:
            before = module.removesuffix(stem)
            ours = stem.startswith("stem_") and before.endswith("_")
            if before != module and (not before or before.endswith(".") or ours):
                found_prefixes[before] = None
        for stem in _TORCH_STEMS:
            before = module.removesuffix(stem)
            blocks = (f"{before}layer1.0.{part}" for part in ("conv1", "conv2"))
            if before != module and any(block in modules for block in blocks):
                found_prefixes[before] = None
    return list(found_prefixes)


# Module that only one layout has -> that layout; the first match wins.
_TELLING = (
    ("stem_conv", NATIVE),
    ("stem_conv1", NATIVE),
    ("conv2d_1", NUMBERED),
    ("stem.conv1.conv", TIMM_DARKNET),
    ("stem.conv", TIMM_V2),
    ("stem.conv1", TIMM_V2),
    ("embedder.embedder.convolution", TRANSFORMERS),
    ("conv2_x.0.residual_function.0", cifar_layouts.WEIAICUNZAI),
    ("block1.layer.0.conv1", cifar_layouts.WIDE_RESNET),
    ("stage_1.0.conv_reduce", cifar_layouts.ROBUSTBENCH_RESNEXT),
    ("conv_1_3x3", cifar_layouts.CIFAR_RESNEXT),
)


def match(modules: set[str]) -> Layout | None:
    """Returns the `Layout` of a checkpoint whose tensors belong to `modules`, or None."""
    modules = set(modules)
    if "conv1_conv" in modules:
        second = "post_bn" in modules
        if any(module.startswith("stack0_") for module in modules):
            return KERAS_HUB_V2 if second else KERAS_HUB
        return KERAS_V2 if second else KERAS
    for telling, layout in _TELLING:
        if telling in modules:
            return layout
    if "layer0.0" in modules:
        stages = (re.fullmatch(r"layer([1-9]\d*)\.0", module) for module in modules)
        return _drn_d([int(match[1]) for match in stages if match])
    if any(module.startswith("layer1.0.") for module in modules):
        return _like_torchvision(modules)
    return None


def _like_torchvision(modules: typing.Any) -> typing.Any:
    heads = {module.partition(".")[0] for module in modules} & {"fc", "linear"}
    projections = {
        module.rpartition(".")[2] for module in modules if ".downsample." in module
    }
    if any(module.endswith(".shortcut.0") for module in modules):
        return cifar_layouts.KUANGLIU
    padded = not heads and not projections and "layer2.0.conv1" in modules
    if "linear" in heads or padded:
        # Its shortcuts have no weights; those of all other layouts do.
        return cifar_layouts.AKAMASTER
    # Behind a pooling (ResNet-D) the projection is downsample.1, the BN downsample.2.
    if (
        "conv1" in modules
        and projections == {"0", "1"}
        and ("layer4.0.conv1" not in modules)
    ):
        return cifar_layouts.CIFAR_TORCHVISION
    if modules & {"conv1", "conv1.0"}:
        return torchvision("2" in projections)
    return None


def unknown(modules: typing.Any) -> WeightsError:
    """The `WeightsError` for names of no layout."""
    return WeightsError(
        "its tensors must have the names of a known library (torchvision, timm, "
        "transformers, keras.applications, KerasHub, fyu/drn, akamaster, kuangliu, "
        "weiaicunzai, WideResNet-pytorch, ResNeXt.pytorch); got "
        f"{some(sorted(modules))}"
    )


# What the other library's classes compute, whatever their arguments are.
_TORCH_RESNET = {
    "activation_order": "original",
    "shortcut_bn": True,
    "downsample_in": "3x3",
    "padding": "symmetric",
    "conv_bias": "none",
    "activation": "relu",
    "head": "dense",
    "bn_epsilon": 1e-5,
}
_CIFAR = {"stem_type": "cifar", "stem_pool": None}
_DARKNET = {
    "activation_order": "relu_before_add",
    "activation": "leaky_relu",
    "transition": "conv",
}


def for_architecture(architecture: "Architecture") -> Layout:
    """Returns the `Layout` of a library that computes what `architecture` computes.

    `NATIVE` if there is none: a file with torchvision's names that torchvision would
    load, but compute differently, would be a trap.
    """
    stages = typing.cast(tuple[bool, ...], architecture.residual)
    family, residual = architecture.family, all(stages)
    layout, computed = NATIVE, {}
    if family in ("resnet", "resnext", "wide_resnet", "resnet_d") and residual:
        pooled = architecture.shortcut_type == "avg_projection"
        layout, computed = torchvision(pooled), _TORCH_RESNET
    elif family == "resnet_v2":
        layout = TIMM_V2
        computed = {**_TORCH_RESNET, "activation_order": "full_preact"}
    elif family == "darknet":
        layout, computed = TIMM_DARKNET, {**_TORCH_RESNET, **_DARKNET}
    elif family == "cifar_resnet" and set(architecture.block) == {"basic"}:
        padded = architecture.shortcut_type == "identity_pad"
        layout = cifar_layouts.AKAMASTER if padded else cifar_layouts.CIFAR_TORCHVISION
        computed = {**_TORCH_RESNET, **_CIFAR}
    elif family == "drn":
        layout, computed = _drn(architecture), _TORCH_RESNET
    required_axes = {**computed, **layout.axes}
    same = all(
        getattr(architecture, axis) == value for axis, value in required_axes.items()
    )
    return layout if same else NATIVE


def _drn(architecture: "Architecture") -> typing.Any:
    """DRN-A has torchvision's names; C and D have a 1x1 convolution as classifier."""
    if all(typing.cast(tuple[bool, ...], architecture.residual)):
        # B is in the paper alone.
        return torchvision() if architecture.stem_type == "conv7" else NATIVE
    plain = [n for n, block in enumerate(architecture.block, 1) if block == "conv"]
    layout = _drn_d(plain) if plain else torchvision()
    return dataclasses.replace(layout, conv_head=True)


def _drn_d(plain: typing.Any) -> typing.Any:
    """fyu/drn's D: stages of plain convolutions are Sequentials of conv, BN, ReLU.

    Args:
        plain: the numbers of those stages.
    """
    names: dict[str, typing.Any] = {"stem_conv": "layer0.0", "stem_bn": "layer0.1"}
    for stage in plain:
        names[f"stage{stage}_conv"] = "layer{stage}.{conv3}"
        names[f"stage{stage}_bn"] = "layer{stage}.{bn3}"
    return dataclasses.replace(torchvision(**names), name="fyu/drn D")
