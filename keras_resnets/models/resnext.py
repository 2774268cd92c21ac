"""ResNeXts, for ImageNet and CIFAR."""

from keras_resnets.models.public_functions import OURS
from keras_resnets.models.public_functions import door

XIE = """Xie et al. 2017, "Aggregated Residual Transformations for Deep Neural
Networks" (arXiv:1611.05431), form C: grouped convolution, stride in the 3x3."""
TORCH = f"{XIE} Equals torchvision's of the\nsame name."

ResNeXt50_1x64d = door(
    "ResNeXt50_1x64d",
    "resnext50_1x64d",
    "ResNeXt-50 1x64d: 1 group of 64 channels at 64 filters.",
    XIE,
)
ResNeXt50_2x40d = door(
    "ResNeXt50_2x40d",
    "resnext50_2x40d",
    "ResNeXt-50 2x40d: 2 groups of 40 channels at 64 filters.",
    XIE,
)
ResNeXt50_4x24d = door(
    "ResNeXt50_4x24d",
    "resnext50_4x24d",
    "ResNeXt-50 4x24d: 4 groups of 24 channels at 64 filters.",
    XIE,
)
ResNeXt50_8x14d = door(
    "ResNeXt50_8x14d",
    "resnext50_8x14d",
    "ResNeXt-50 8x14d: 8 groups of 14 channels at 64 filters.",
    XIE,
)
ResNeXt50_32x4d = door(
    "ResNeXt50_32x4d",
    "resnext50_32x4d",
    "ResNeXt-50 32x4d: 32 groups of 4 channels at 64 filters.",
    TORCH,
)
ResNeXt101_1x64d = door(
    "ResNeXt101_1x64d",
    "resnext101_1x64d",
    "ResNeXt-101 1x64d: 1 group of 64 channels at 64 filters.",
    XIE,
)
ResNeXt101_2x40d = door(
    "ResNeXt101_2x40d",
    "resnext101_2x40d",
    "ResNeXt-101 2x40d: 2 groups of 40 channels at 64 filters.",
    XIE,
)
ResNeXt101_4x24d = door(
    "ResNeXt101_4x24d",
    "resnext101_4x24d",
    "ResNeXt-101 4x24d: 4 groups of 24 channels at 64 filters.",
    XIE,
)
ResNeXt101_8x14d = door(
    "ResNeXt101_8x14d",
    "resnext101_8x14d",
    "ResNeXt-101 8x14d: 8 groups of 14 channels at 64 filters.",
    XIE,
)
ResNeXt101_32x4d = door(
    "ResNeXt101_32x4d",
    "resnext101_32x4d",
    "ResNeXt-101 32x4d: 32 groups of 4 channels at 64 filters.",
    XIE,
)
ResNeXt101_32x8d = door(
    "ResNeXt101_32x8d",
    "resnext101_32x8d",
    "ResNeXt-101 32x8d: 32 groups of 8 channels at 64 filters.",
    TORCH,
)
ResNeXt101_64x4d = door(
    "ResNeXt101_64x4d",
    "resnext101_64x4d",
    "ResNeXt-101 64x4d: 64 groups of 4 channels at 64 filters.",
    TORCH,
)
ResNeXt101_2x64d = door(
    "ResNeXt101_2x64d",
    "resnext101_2x64d",
    "ResNeXt-101 2x64d: 2 groups of 64 channels at 64 filters.",
    XIE,
)
ResNeXt152_32x4d = door(
    "ResNeXt152_32x4d",
    "resnext152_32x4d",
    "ResNeXt-152 32x4d: 32 groups of 4 channels at 64 filters.",
    XIE,
)
ResNet101_1x100d = door(
    "ResNet101_1x100d",
    "resnet101_1x100d",
    "The wider ResNet-101 that ResNeXt is compared with (base width 100).",
    XIE,
)
ResNeXt29_8x64d = door(
    "ResNeXt29_8x64d",
    "resnext29_8x64d",
    "ResNeXt-29 8x64d for CIFAR.",
    XIE,
)
ResNeXt29_16x64d = door(
    "ResNeXt29_16x64d",
    "resnext29_16x64d",
    "ResNeXt-29 16x64d for CIFAR.",
    XIE,
)
ResNeXt29_32x4d = door(
    "ResNeXt29_32x4d",
    "resnext29_32x4d",
    "ResNeXt-29 32x4d for CIFAR.",
    XIE,
)
ResNeXt20_4x16d_W16 = door(
    "ResNeXt20_4x16d_W16",
    "resnext20_4x16d_w16",
    "ResNeXt-20 4x16d for CIFAR: stages of 16, 32 and 64 filters, times 4.",
    OURS,
)
