"""The public model functions. Written by tests/data/make_stub.py."""

from keras_resnets.models.public_functions import ModelFunction

FUNCTIONS: dict[str, ModelFunction]
ResNet18: ModelFunction
"""ResNet-18."""
ResNet34: ModelFunction
"""ResNet-34."""
ResNet50: ModelFunction
"""ResNet-50 with the stride in the 3x3 convolution (v1.5, Bag of Tricks B)."""
ResNet101: ModelFunction
"""ResNet-101 with the stride in the 3x3 convolution (v1.5, Bag of Tricks B)."""
ResNet152: ModelFunction
"""ResNet-152 with the stride in the 3x3 convolution (v1.5, Bag of Tricks B)."""
ResNet200: ModelFunction
"""Post-activation ResNet-200 with the stride in the 3x3 convolution."""
ResNet50V1: ModelFunction
"""ResNet-50 of the 2015 paper: the stride sits in the first 1x1 convolution."""
ResNet101V1: ModelFunction
"""ResNet-101 of the 2015 paper: the stride sits in the first 1x1 convolution."""
ResNet152V1: ModelFunction
"""ResNet-152 of the 2015 paper: the stride sits in the first 1x1 convolution."""
Plain18: ModelFunction
"""The plain 18-layer network that ResNet-18 is compared with: no shortcuts."""
Plain34: ModelFunction
"""The plain 34-layer network that ResNet-34 is compared with: no shortcuts."""
ResNet18V2: ModelFunction
"""Pre-activation ResNet-18 (V2)."""
ResNet34V2: ModelFunction
"""Pre-activation ResNet-34 (V2)."""
ResNet50V2: ModelFunction
"""Pre-activation ResNet-50 (V2)."""
ResNet101V2: ModelFunction
"""Pre-activation ResNet-101 (V2)."""
ResNet152V2: ModelFunction
"""Pre-activation ResNet-152 (V2)."""
ResNet200V2: ModelFunction
"""Pre-activation ResNet-200 (V2)."""
ResNet18V2D: ModelFunction
"""Pre-activation ResNet-18-D."""
ResNet34V2D: ModelFunction
"""Pre-activation ResNet-34-D."""
ResNet50V2D: ModelFunction
"""Pre-activation ResNet-50-D."""
ResNet50V2Keras: ModelFunction
"""Pre-activation ResNet-50 in the layout of `keras.applications.ResNet50V2`."""
ResNet101V2Keras: ModelFunction
"""Pre-activation ResNet-101 in the layout of `keras.applications.ResNet101V2`."""
ResNet152V2Keras: ModelFunction
"""Pre-activation ResNet-152 in the layout of `keras.applications.ResNet152V2`."""
WideResNet50_2: ModelFunction
"""Wide ResNet-50-2: bottlenecks twice as wide inside."""
WideResNet101_2: ModelFunction
"""Wide ResNet-101-2: bottlenecks twice as wide inside."""
ResNeXt50_1x64d: ModelFunction
"""ResNeXt-50 1x64d: 1 group of 64 channels at 64 filters."""
ResNeXt50_2x40d: ModelFunction
"""ResNeXt-50 2x40d: 2 groups of 40 channels at 64 filters."""
ResNeXt50_4x24d: ModelFunction
"""ResNeXt-50 4x24d: 4 groups of 24 channels at 64 filters."""
ResNeXt50_8x14d: ModelFunction
"""ResNeXt-50 8x14d: 8 groups of 14 channels at 64 filters."""
ResNeXt50_32x4d: ModelFunction
"""ResNeXt-50 32x4d: 32 groups of 4 channels at 64 filters."""
ResNeXt101_1x64d: ModelFunction
"""ResNeXt-101 1x64d: 1 group of 64 channels at 64 filters."""
ResNeXt101_2x40d: ModelFunction
"""ResNeXt-101 2x40d: 2 groups of 40 channels at 64 filters."""
ResNeXt101_4x24d: ModelFunction
"""ResNeXt-101 4x24d: 4 groups of 24 channels at 64 filters."""
ResNeXt101_8x14d: ModelFunction
"""ResNeXt-101 8x14d: 8 groups of 14 channels at 64 filters."""
ResNeXt101_32x4d: ModelFunction
"""ResNeXt-101 32x4d: 32 groups of 4 channels at 64 filters."""
ResNeXt101_32x8d: ModelFunction
"""ResNeXt-101 32x8d: 32 groups of 8 channels at 64 filters."""
ResNeXt101_64x4d: ModelFunction
"""ResNeXt-101 64x4d: 64 groups of 4 channels at 64 filters."""
ResNeXt101_2x64d: ModelFunction
"""ResNeXt-101 2x64d: 2 groups of 64 channels at 64 filters."""
ResNeXt152_32x4d: ModelFunction
"""ResNeXt-152 32x4d: 32 groups of 4 channels at 64 filters."""
ResNet101_1x100d: ModelFunction
"""The wider ResNet-101 that ResNeXt is compared with (base width 100)."""
ResNet18C: ModelFunction
"""ResNet-18-C: deep stem."""
ResNet18D: ModelFunction
"""ResNet-18-D: deep stem and average-pool shortcuts."""
ResNet34C: ModelFunction
"""ResNet-34-C: deep stem."""
ResNet34D: ModelFunction
"""ResNet-34-D: deep stem and average-pool shortcuts."""
ResNet50C: ModelFunction
"""ResNet-50-C: deep stem."""
ResNet50D: ModelFunction
"""ResNet-50-D: deep stem and average-pool shortcuts."""
ResNet101C: ModelFunction
"""ResNet-101-C: deep stem."""
ResNet101D: ModelFunction
"""ResNet-101-D: deep stem and average-pool shortcuts."""
ResNet152C: ModelFunction
"""ResNet-152-C: deep stem."""
ResNet152D: ModelFunction
"""ResNet-152-D: deep stem and average-pool shortcuts."""
ResNet200D: ModelFunction
"""ResNet-200-D: deep stem and average-pool shortcuts."""
ResNet18_vd: ModelFunction
"""ResNet-18-vd of PaddleClas: ResNet-18-D with a projection in stage 1."""
ResNet34_vd: ModelFunction
"""ResNet-34-vd of PaddleClas: ResNet-34-D with a projection in stage 1."""
ResNet200_vd: ModelFunction
"""ResNet-200-vd of PaddleClas: D with 3, 12, 48, 3 units, unlike ResNet-200."""
ResNeXt50D_32x4d: ModelFunction
"""ResNeXt-50-D 32x4d: deep stem and average-pool shortcuts."""
DarkNet19: ModelFunction
"""DarkNet-19: plain 3x3 and 1x1 convolutions in turn, 1x1 classifier."""
DarkNet53: ModelFunction
"""DarkNet-53: residual units of a 1x1 and a 3x3 convolution, linear shortcuts."""
DRN_A_18: ModelFunction
"""DRN-A-18: ResNet-18 with dilation for the last two strides."""
DRN_A_34: ModelFunction
"""DRN-A-34: ResNet-34 with dilation for the last two strides."""
DRN_A_50: ModelFunction
"""DRN-A-50: ResNet-50 with dilation for the last two strides."""
DRN_B_26: ModelFunction
"""DRN-B-26: DRN-C-26 with residuals in the last two levels."""
DRN_C_26: ModelFunction
"""DRN-C-26: no pooling, two levels without residuals at the end."""
DRN_C_42: ModelFunction
"""DRN-C-42: no pooling, two levels without residuals at the end."""
DRN_C_58: ModelFunction
"""DRN-C-58, with the unused projection of its published file."""
DRN_D_22: ModelFunction
"""DRN-D-22: plain convolutions in the first and last two levels."""
DRN_D_24: ModelFunction
"""DRN-D-24: plain convolutions in the first and last two levels."""
DRN_D_38: ModelFunction
"""DRN-D-38: plain convolutions in the first and last two levels."""
DRN_D_40: ModelFunction
"""DRN-D-40: plain convolutions in the first and last two levels."""
DRN_D_54: ModelFunction
"""DRN-D-54: plain convolutions in the first and last two levels."""
DRN_D_56: ModelFunction
"""DRN-D-56: plain convolutions in the first and last two levels."""
DRN_D_105: ModelFunction
"""DRN-D-105: plain convolutions in the first and last two levels."""
DRN_D_107: ModelFunction
"""DRN-D-107: plain convolutions in the first and last two levels."""
ResNet8: ModelFunction
"""ResNet-8 of MLPerf Tiny's image classification."""
ResNet20: ModelFunction
"""ResNet-20 for CIFAR, option-A shortcuts."""
ResNet32: ModelFunction
"""ResNet-32 for CIFAR, option-A shortcuts."""
ResNet44: ModelFunction
"""ResNet-44 for CIFAR, option-A shortcuts."""
ResNet56: ModelFunction
"""ResNet-56 for CIFAR, option-A shortcuts."""
ResNet110: ModelFunction
"""ResNet-110 for CIFAR, option-A shortcuts."""
ResNet1202: ModelFunction
"""ResNet-1202 for CIFAR, option-A shortcuts."""
ResNet164: ModelFunction
"""ResNet-164 for CIFAR: bottlenecks in the original order."""
ResNet20V2: ModelFunction
"""Pre-activation ResNet-20 for CIFAR, option-A shortcuts."""
ResNet56V2: ModelFunction
"""Pre-activation ResNet-56 for CIFAR, option-A shortcuts."""
ResNet110V2: ModelFunction
"""Pre-activation ResNet-110 for CIFAR, option-A shortcuts."""
ResNet164V2: ModelFunction
"""Pre-activation ResNet-164 for CIFAR: bottlenecks, stride in the first 1x1."""
ResNet1001V2: ModelFunction
"""Pre-activation ResNet-1001 for CIFAR: bottlenecks, stride in the first 1x1."""
WRN16_4: ModelFunction
"""WRN-16-4 for CIFAR: 16 layers, 4 times as wide."""
WRN16_8: ModelFunction
"""WRN-16-8 for CIFAR: 16 layers, 8 times as wide."""
WRN22_8: ModelFunction
"""WRN-22-8 for CIFAR: 22 layers, 8 times as wide."""
WRN28_10: ModelFunction
"""WRN-28-10 for CIFAR: 28 layers, 10 times as wide."""
WRN40_4: ModelFunction
"""WRN-40-4 for CIFAR: 40 layers, 4 times as wide."""
WRN40_10: ModelFunction
"""WRN-40-10 for CIFAR: 40 layers, 10 times as wide."""
ResNeXt29_8x64d: ModelFunction
"""ResNeXt-29 8x64d for CIFAR."""
ResNeXt29_16x64d: ModelFunction
"""ResNeXt-29 16x64d for CIFAR."""
ResNeXt29_32x4d: ModelFunction
"""ResNeXt-29 32x4d for CIFAR."""
ResNet29_W12: ModelFunction
"""ResNet-29 for CIFAR: bottlenecks of 12, 24 and 48 filters, times 4."""
ResNet14V2: ModelFunction
"""Pre-activation ResNet-14 for CIFAR, option-A shortcuts."""
WRN10_3_W8: ModelFunction
"""WRN-10-3 for CIFAR on 8 filters instead of 16: stages of 24, 48, 96."""
ResNeXt20_4x16d_W16: ModelFunction
"""ResNeXt-20 4x16d for CIFAR: stages of 16, 32 and 64 filters, times 4."""
ResNet14D: ModelFunction
"""ResNet-14-D for CIFAR: average-pool shortcuts, stem of one 3x3."""
DarkNet15: ModelFunction
"""DarkNet-15 for CIFAR: three stages of 1, 2 and 2 units."""
DRN_A_14: ModelFunction
"""DRN-A-14 for CIFAR: three stages of two units, the last dilated."""
ResNeXt50: ModelFunction
"""ResNeXt-50 32x4d: 32 groups of 4 channels at 64 filters."""
ResNeXt101: ModelFunction
"""ResNeXt-101 32x4d: 32 groups of 4 channels at 64 filters."""
ResNeXt152: ModelFunction
"""ResNeXt-152 32x4d: 32 groups of 4 channels at 64 filters."""

__all__ = [
    "ResNet18",
    "ResNet34",
    "ResNet50",
    "ResNet101",
    "ResNet152",
    "ResNet200",
    "ResNet50V1",
    "ResNet101V1",
    "ResNet152V1",
    "Plain18",
    "Plain34",
    "ResNet18V2",
    "ResNet34V2",
    "ResNet50V2",
    "ResNet101V2",
    "ResNet152V2",
    "ResNet200V2",
    "ResNet18V2D",
    "ResNet34V2D",
    "ResNet50V2D",
    "ResNet50V2Keras",
    "ResNet101V2Keras",
    "ResNet152V2Keras",
    "WideResNet50_2",
    "WideResNet101_2",
    "ResNeXt50_1x64d",
    "ResNeXt50_2x40d",
    "ResNeXt50_4x24d",
    "ResNeXt50_8x14d",
    "ResNeXt50_32x4d",
    "ResNeXt101_1x64d",
    "ResNeXt101_2x40d",
    "ResNeXt101_4x24d",
    "ResNeXt101_8x14d",
    "ResNeXt101_32x4d",
    "ResNeXt101_32x8d",
    "ResNeXt101_64x4d",
    "ResNeXt101_2x64d",
    "ResNeXt152_32x4d",
    "ResNet101_1x100d",
    "ResNet18C",
    "ResNet18D",
    "ResNet34C",
    "ResNet34D",
    "ResNet50C",
    "ResNet50D",
    "ResNet101C",
    "ResNet101D",
    "ResNet152C",
    "ResNet152D",
    "ResNet200D",
    "ResNet18_vd",
    "ResNet34_vd",
    "ResNet200_vd",
    "ResNeXt50D_32x4d",
    "DarkNet19",
    "DarkNet53",
    "DRN_A_18",
    "DRN_A_34",
    "DRN_A_50",
    "DRN_B_26",
    "DRN_C_26",
    "DRN_C_42",
    "DRN_C_58",
    "DRN_D_22",
    "DRN_D_24",
    "DRN_D_38",
    "DRN_D_40",
    "DRN_D_54",
    "DRN_D_56",
    "DRN_D_105",
    "DRN_D_107",
    "ResNet8",
    "ResNet20",
    "ResNet32",
    "ResNet44",
    "ResNet56",
    "ResNet110",
    "ResNet1202",
    "ResNet164",
    "ResNet20V2",
    "ResNet56V2",
    "ResNet110V2",
    "ResNet164V2",
    "ResNet1001V2",
    "WRN16_4",
    "WRN16_8",
    "WRN22_8",
    "WRN28_10",
    "WRN40_4",
    "WRN40_10",
    "ResNeXt29_8x64d",
    "ResNeXt29_16x64d",
    "ResNeXt29_32x4d",
    "ResNet29_W12",
    "ResNet14V2",
    "WRN10_3_W8",
    "ResNeXt20_4x16d_W16",
    "ResNet14D",
    "DarkNet15",
    "DRN_A_14",
    "ResNeXt50",
    "ResNeXt101",
    "ResNeXt152",
]
