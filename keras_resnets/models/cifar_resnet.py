"""CIFAR ResNets of 2015 and 2016."""

from keras_resnets.models.public_functions import OURS
from keras_resnets.models.public_functions import door

HE15 = """He et al. 2015, "Deep Residual Learning for Image Recognition"
(arXiv:1512.03385), section 4.2."""
HE16 = """He et al. 2016, "Identity Mappings in Deep Residual Networks"
(arXiv:1603.05027)."""
TINY = """mlcommons/tiny, image classification reference model: biases in all convolutions,
TensorFlow's "same" padding, projections without BN, pixels 0 to 255 as input."""

ResNet8 = door(
    "ResNet8",
    "resnet8",
    "ResNet-8 of MLPerf Tiny's image classification.",
    TINY,
)
ResNet20 = door(
    "ResNet20",
    "resnet20",
    "ResNet-20 for CIFAR, option-A shortcuts.",
    HE15,
)
ResNet32 = door(
    "ResNet32",
    "resnet32",
    "ResNet-32 for CIFAR, option-A shortcuts.",
    HE15,
)
ResNet44 = door(
    "ResNet44",
    "resnet44",
    "ResNet-44 for CIFAR, option-A shortcuts.",
    HE15,
)
ResNet56 = door(
    "ResNet56",
    "resnet56",
    "ResNet-56 for CIFAR, option-A shortcuts.",
    HE15,
)
ResNet110 = door(
    "ResNet110",
    "resnet110",
    "ResNet-110 for CIFAR, option-A shortcuts.",
    HE15,
)
ResNet1202 = door(
    "ResNet1202",
    "resnet1202",
    "ResNet-1202 for CIFAR, option-A shortcuts.",
    HE15,
)
ResNet164 = door(
    "ResNet164",
    "resnet164",
    "ResNet-164 for CIFAR: bottlenecks in the original order.",
    HE16,
)
ResNet20V2 = door(
    "ResNet20V2",
    "resnet20v2",
    "Pre-activation ResNet-20 for CIFAR, option-A shortcuts.",
    HE16,
)
ResNet56V2 = door(
    "ResNet56V2",
    "resnet56v2",
    "Pre-activation ResNet-56 for CIFAR, option-A shortcuts.",
    HE16,
)
ResNet110V2 = door(
    "ResNet110V2",
    "resnet110v2",
    "Pre-activation ResNet-110 for CIFAR, option-A shortcuts.",
    HE16,
)
ResNet164V2 = door(
    "ResNet164V2",
    "resnet164v2",
    "Pre-activation ResNet-164 for CIFAR: bottlenecks, stride in the first 1x1.",
    HE16,
)
ResNet1001V2 = door(
    "ResNet1001V2",
    "resnet1001v2",
    "Pre-activation ResNet-1001 for CIFAR: bottlenecks, stride in the first 1x1.",
    HE16,
)
ResNet14V2 = door(
    "ResNet14V2",
    "resnet14v2",
    "Pre-activation ResNet-14 for CIFAR, option-A shortcuts.",
    OURS,
)
ResNet29_W12 = door(
    "ResNet29_W12",
    "resnet29_w12",
    "ResNet-29 for CIFAR: bottlenecks of 12, 24 and 48 filters, times 4.",
    OURS,
)
