"""ImageNet pre-activation ResNets of 2016."""

from keras_resnets.models.public_functions import door

HE16 = """He et al. 2016, "Identity Mappings in Deep Residual Networks"
(arXiv:1603.05027). Laid out as fb.resnet.torch: the stem activates before its pooling,
the first unit of later stages shares its BN-ReLU with the projection."""
KERAS = """He et al. 2016 (arXiv:1603.05027). The stem is a bare convolution with a bias,
the stride sits in the last unit of a stage, and shortcuts there are subsampled."""

ResNet18V2 = door("ResNet18V2", "resnet18v2", "Pre-activation ResNet-18 (V2).", HE16)
ResNet34V2 = door("ResNet34V2", "resnet34v2", "Pre-activation ResNet-34 (V2).", HE16)
ResNet50V2 = door("ResNet50V2", "resnet50v2", "Pre-activation ResNet-50 (V2).", HE16)
ResNet101V2 = door(
    "ResNet101V2",
    "resnet101v2",
    "Pre-activation ResNet-101 (V2).",
    HE16,
)
ResNet152V2 = door(
    "ResNet152V2",
    "resnet152v2",
    "Pre-activation ResNet-152 (V2).",
    HE16,
)
ResNet200V2 = door(
    "ResNet200V2",
    "resnet200v2",
    "Pre-activation ResNet-200 (V2).",
    HE16,
)
ResNet50V2Keras = door(
    "ResNet50V2Keras",
    "resnet50v2_keras",
    "Pre-activation ResNet-50 in the layout of `keras.applications.ResNet50V2`.",
    KERAS,
)
ResNet101V2Keras = door(
    "ResNet101V2Keras",
    "resnet101v2_keras",
    "Pre-activation ResNet-101 in the layout of `keras.applications.ResNet101V2`.",
    KERAS,
)
ResNet152V2Keras = door(
    "ResNet152V2Keras",
    "resnet152v2_keras",
    "Pre-activation ResNet-152 in the layout of `keras.applications.ResNet152V2`.",
    KERAS,
)
