"""Bag of Tricks C and D (B is `ResNet50`)."""

from keras_resnets.models.public_functions import OURS
from keras_resnets.models.public_functions import door

C = """He et al. 2019, "Bag of Tricks for Image Classification with Convolutional Neural
Networks" (arXiv:1812.01187), Fig. 2b: three 3x3 convolutions for the 7x7."""
D = """He et al. 2019, "Bag of Tricks for Image Classification with Convolutional Neural
Networks" (arXiv:1812.01187), Fig. 2b and 2c. Equals timm's of the same name."""
VD = """PaddleClas' networks of these names, which KerasHub has as `resnet_vd_18`, ...;
those of 50, 101 and 152 layers are `ResNet50D`, `ResNet101D` and `ResNet152D`."""

ResNet18C = door("ResNet18C", "resnet18c", "ResNet-18-C: deep stem.", C)
ResNet18D = door(
    "ResNet18D",
    "resnet18d",
    "ResNet-18-D: deep stem and average-pool shortcuts.",
    D,
)
ResNet34C = door("ResNet34C", "resnet34c", "ResNet-34-C: deep stem.", C)
ResNet34D = door(
    "ResNet34D",
    "resnet34d",
    "ResNet-34-D: deep stem and average-pool shortcuts.",
    D,
)
ResNet50C = door("ResNet50C", "resnet50c", "ResNet-50-C: deep stem.", C)
ResNet50D = door(
    "ResNet50D",
    "resnet50d",
    "ResNet-50-D: deep stem and average-pool shortcuts.",
    D,
)
ResNet101C = door("ResNet101C", "resnet101c", "ResNet-101-C: deep stem.", C)
ResNet101D = door(
    "ResNet101D",
    "resnet101d",
    "ResNet-101-D: deep stem and average-pool shortcuts.",
    D,
)
ResNet152C = door("ResNet152C", "resnet152c", "ResNet-152-C: deep stem.", C)
ResNet152D = door(
    "ResNet152D",
    "resnet152d",
    "ResNet-152-D: deep stem and average-pool shortcuts.",
    D,
)
ResNet200D = door(
    "ResNet200D",
    "resnet200d",
    "ResNet-200-D: deep stem and average-pool shortcuts.",
    D,
)
ResNet18_vd = door(
    "ResNet18_vd",
    "resnet18_vd",
    "ResNet-18-vd of PaddleClas: ResNet-18-D with a projection in stage 1.",
    VD,
)
ResNet34_vd = door(
    "ResNet34_vd",
    "resnet34_vd",
    "ResNet-34-vd of PaddleClas: ResNet-34-D with a projection in stage 1.",
    VD,
)
ResNet200_vd = door(
    "ResNet200_vd",
    "resnet200_vd",
    "ResNet-200-vd of PaddleClas: D with 3, 12, 48, 3 units, not those of ResNet-200.",
    VD,
)
ResNeXt50D_32x4d = door(
    "ResNeXt50D_32x4d",
    "resnext50d_32x4d",
    "ResNeXt-50-D 32x4d: deep stem and average-pool shortcuts.",
    D,
)
ResNet14D = door(
    "ResNet14D",
    "resnet14d",
    "ResNet-14-D for CIFAR: average-pool shortcuts, stem of one 3x3.",
    OURS,
)
