"""ImageNet ResNets of 2015 (post-activation), and the plain nets beside them."""

from keras_resnets.models.public_functions import door

HE15 = """He et al. 2015, "Deep Residual Learning for Image Recognition"
(arXiv:1512.03385)."""
TORCH = f"{HE15} Equals torchvision's and timm's of the same name."
KERAS = f"""{HE15} Equals `keras.applications` once its convolution biases are folded
into BN."""
HE16 = """He et al. 2016, "Identity Mappings in Deep Residual Networks"
(arXiv:1603.05027), Table 5."""

ResNet18 = door("ResNet18", "resnet18", "ResNet-18.", TORCH)
ResNet34 = door("ResNet34", "resnet34", "ResNet-34.", TORCH)
ResNet50 = door(
    "ResNet50",
    "resnet50",
    "ResNet-50 with the stride in the 3x3 convolution (v1.5, Bag of Tricks B).",
    TORCH,
)
ResNet101 = door(
    "ResNet101",
    "resnet101",
    "ResNet-101 with the stride in the 3x3 convolution (v1.5, Bag of Tricks B).",
    TORCH,
)
ResNet152 = door(
    "ResNet152",
    "resnet152",
    "ResNet-152 with the stride in the 3x3 convolution (v1.5, Bag of Tricks B).",
    TORCH,
)
ResNet200 = door(
    "ResNet200",
    "resnet200",
    "Post-activation ResNet-200 with the stride in the 3x3 convolution.",
    HE16,
)
ResNet50V1 = door(
    "ResNet50V1",
    "resnet50v1",
    "ResNet-50 of the 2015 paper: the stride sits in the first 1x1 convolution.",
    KERAS,
)
ResNet101V1 = door(
    "ResNet101V1",
    "resnet101v1",
    "ResNet-101 of the 2015 paper: the stride sits in the first 1x1 convolution.",
    KERAS,
)
ResNet152V1 = door(
    "ResNet152V1",
    "resnet152v1",
    "ResNet-152 of the 2015 paper: the stride sits in the first 1x1 convolution.",
    KERAS,
)
Plain18 = door(
    "Plain18",
    "plain18",
    "The plain 18-layer network that ResNet-18 is compared with: no shortcuts.",
    HE15,
)
Plain34 = door(
    "Plain34",
    "plain34",
    "The plain 34-layer network that ResNet-34 is compared with: no shortcuts.",
    HE15,
)
