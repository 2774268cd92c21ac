"""DarkNet classifiers."""

from keras_resnets.models.public_functions import OURS
from keras_resnets.models.public_functions import door

DARKNET = """Redmon and Farhadi 2018, "YOLOv3: An Incremental Improvement"
(arXiv:1804.02767); equals darknet's cfg of the same name. BN's epsilon is that of its
GPU code, 1e-5."""

DarkNet19 = door(
    "DarkNet19",
    "darknet19",
    "DarkNet-19: plain 3x3 and 1x1 convolutions in turn, 1x1 classifier.",
    DARKNET,
)
DarkNet53 = door(
    "DarkNet53",
    "darknet53",
    "DarkNet-53: residual units of a 1x1 and a 3x3 convolution, linear shortcuts.",
    DARKNET,
)
DarkNet15 = door(
    "DarkNet15",
    "darknet15",
    "DarkNet-15 for CIFAR: three stages of 1, 2 and 2 units.",
    OURS,
)
