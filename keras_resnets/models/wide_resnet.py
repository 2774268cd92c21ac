"""Wide ResNets, for ImageNet (bottlenecks) and CIFAR (WRN-d-k)."""

from keras_resnets.models.public_functions import OURS
from keras_resnets.models.public_functions import door

WRN = """Zagoruyko and Komodakis 2016, "Wide Residual Networks" (arXiv:1605.07146).
Pre-activation basic units; the paper's dropout is `block_dropout_rate=0.3`. Any other
WRN-d-k: `create_model("wrn_d_k")`."""
TORCH = """Zagoruyko and Komodakis 2016, "Wide Residual Networks" (arXiv:1605.07146).
Equals torchvision's of the same name."""

WideResNet50_2 = door(
    "WideResNet50_2",
    "wide_resnet50_2",
    "Wide ResNet-50-2: bottlenecks twice as wide inside.",
    TORCH,
)
WideResNet101_2 = door(
    "WideResNet101_2",
    "wide_resnet101_2",
    "Wide ResNet-101-2: bottlenecks twice as wide inside.",
    TORCH,
)
WRN16_4 = door(
    "WRN16_4",
    "wrn_16_4",
    "WRN-16-4 for CIFAR: 16 layers, 4 times as wide.",
    WRN,
)
WRN16_8 = door(
    "WRN16_8",
    "wrn_16_8",
    "WRN-16-8 for CIFAR: 16 layers, 8 times as wide.",
    WRN,
)
WRN22_8 = door(
    "WRN22_8",
    "wrn_22_8",
    "WRN-22-8 for CIFAR: 22 layers, 8 times as wide.",
    WRN,
)
WRN28_10 = door(
    "WRN28_10",
    "wrn_28_10",
    "WRN-28-10 for CIFAR: 28 layers, 10 times as wide.",
    WRN,
)
WRN40_4 = door(
    "WRN40_4",
    "wrn_40_4",
    "WRN-40-4 for CIFAR: 40 layers, 4 times as wide.",
    WRN,
)
WRN40_10 = door(
    "WRN40_10",
    "wrn_40_10",
    "WRN-40-10 for CIFAR: 40 layers, 10 times as wide.",
    WRN,
)
WRN10_3_W8 = door(
    "WRN10_3_W8",
    "wrn_10_3_w8",
    "WRN-10-3 for CIFAR on 8 filters instead of 16: stages of 24, 48, 96.",
    OURS,
)
