"""THE TABLE: one row for every named variant.

A new variant takes a row here and its figures in `published.csv`: its public function,
its entry in `list_models` and its documentation follow.
"""

import dataclasses

from keras_resnets.networks.architecture import Architecture
from keras_resnets.networks.families import bag_of_tricks
from keras_resnets.networks.families import cifar_resnet
from keras_resnets.networks.families import cifar_resnet_v2
from keras_resnets.networks.families import cifar_resnext
from keras_resnets.networks.families import darknet
from keras_resnets.networks.families import drn
from keras_resnets.networks.families import drn_a
from keras_resnets.networks.families import first_width
from keras_resnets.networks.families import resnet
from keras_resnets.networks.families import resnet_v2
from keras_resnets.networks.families import resnet_v2_d
from keras_resnets.networks.families import resnet_v2_keras
from keras_resnets.networks.families import resnext
from keras_resnets.networks.families import wrn

# The papers, and which public implementation a variant equals.
HE15 = (
    'He et al. 2015, "Deep Residual Learning for Image Recognition" (arXiv:1512.03385).'
)
HE15_TORCHVISION = f"{HE15} Equals torchvision's and timm's of the same name."
HE15_KERAS = (
    f"{HE15} Equals `keras.applications` once the biases of its convolutions are folded "
    "into BN."
)
HE15_CIFAR = f"{HE15[:-1]}, section 4.2."
HE16 = (
    'He et al. 2016, "Identity Mappings in Deep Residual Networks" (arXiv:1603.05027).'
)
HE16_TABLE_5 = f"{HE16[:-1]}, Table 5."
HE16_TORCH = (
    f"{HE16} Laid out as fb.resnet.torch: the stem activates before its pooling, the "
    "first unit of later stages shares its BN-ReLU with the projection."
)
HE16_KERAS = (
    f"{HE16} The stem is a bare convolution with a bias, the stride sits in the last "
    "unit of a stage, and shortcuts there are subsampled."
)
HE19 = (
    'He et al. 2019, "Bag of Tricks for Image Classification with Convolutional Neural '
    'Networks" (arXiv:1812.01187)'
)
HE19_C = f"{HE19}, Fig. 2b: three 3x3 convolutions for the 7x7."
HE19_D = f"{HE19}, Fig. 2b and 2c. Equals timm's of the same name."
HE16_D = (
    f"{HE16} With the deep stem and the average-pool shortcuts of Bag of Tricks D "
    "(arXiv:1812.01187). Equals timm's `resnetv2_18d`, ..., whose stem ends in a bare "
    "convolution."
)
PADDLE = (
    "PaddleClas' networks of these names, which KerasHub has as `resnet_vd_18`, ...; "
    "those of 50, 101 and 152 layers are `ResNet50D`, `ResNet101D` and `ResNet152D`."
)
XIE17 = (
    'Xie et al. 2017, "Aggregated Residual Transformations for Deep Neural Networks" '
    "(arXiv:1611.05431), form C: grouped convolution, stride in the 3x3."
)
XIE17_TORCHVISION = f"{XIE17} Equals torchvision's of the same name."
ZAGORUYKO16 = (
    'Zagoruyko and Komodakis 2016, "Wide Residual Networks" (arXiv:1605.07146).'
)
ZAGORUYKO16_TORCHVISION = f"{ZAGORUYKO16} Equals torchvision's of the same name."
ZAGORUYKO16_CIFAR = (
    f"{ZAGORUYKO16} Pre-activation basic units; the paper's dropout is "
    '`block_dropout_rate=0.3`. Any other WRN-d-k: `create_model("wrn_d_k")`.'
)
REDMON18 = (
    'Redmon and Farhadi 2018, "YOLOv3: An Incremental Improvement" (arXiv:1804.02767); '
    "equals darknet's cfg of the same name. BN's epsilon is that of its GPU code, 1e-5."
)
YU17 = (
    'Yu et al. 2017, "Dilated Residual Networks" (arXiv:1705.09914). Output stride 8; '
    "equals fyu/drn's of the same name where that has it."
)
YU17_DEAD = (
    f"{YU17} The published weights hold a 2048-to-512 projection (1,049,600 parameters) "
    "in level 7 that the forward pass computes and throws away; "
    "`dead_projection=False` leaves it out, the function is the same."
)
MLPERF_TINY = (
    "mlcommons/tiny, image classification reference model: biases in all convolutions, "
    'TensorFlow\'s "same" padding, projections without BN, pixels 0 to 255 as input.'
)
OURS = "By the family's rules, sized to be trained on CIFAR-10 by a small machine."


@dataclasses.dataclass(frozen=True)
class Variant:
    """A row of the table.

    Attributes:
        function: name of the public function that builds it.
        architecture: its `Architecture`.
        reference: the paper, and which public implementation it equals.
        title: first line of the function's documentation.
        name: the registry's name; by default the function's name in lower case.
    """

    function: str
    architecture: Architecture
    reference: str
    title: str
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.function.lower())


# fmt: off
TABLE = (
    Variant("ResNet18", resnet(18), HE15_TORCHVISION, "ResNet-18."),
    Variant("ResNet34", resnet(34), HE15_TORCHVISION, "ResNet-34."),
    Variant("ResNet50", resnet(50), HE15_TORCHVISION,
            "ResNet-50 with the stride in the 3x3 convolution (v1.5, Bag of Tricks B)."),
    Variant("ResNet101", resnet(101), HE15_TORCHVISION,
            "ResNet-101 with the stride in the 3x3 convolution (v1.5, Bag of Tricks B)."),
    Variant("ResNet152", resnet(152), HE15_TORCHVISION,
            "ResNet-152 with the stride in the 3x3 convolution (v1.5, Bag of Tricks B)."),
    Variant("ResNet200", resnet(200), HE16_TABLE_5,
            "Post-activation ResNet-200 with the stride in the 3x3 convolution."),
    Variant("ResNet50V1",
            resnet(50, downsample_in="1x1", preprocessing="caffe"),
            HE15_KERAS,
            "ResNet-50 of the 2015 paper: the stride sits in the first 1x1 convolution."),
    Variant("ResNet101V1",
            resnet(101, downsample_in="1x1", preprocessing="caffe"),
            HE15_KERAS,
            "ResNet-101 of the 2015 paper: the stride sits in the first 1x1 convolution."),
    Variant("ResNet152V1",
            resnet(152, downsample_in="1x1", preprocessing="caffe"),
            HE15_KERAS,
            "ResNet-152 of the 2015 paper: the stride sits in the first 1x1 convolution."),
    Variant("Plain18", resnet(18, residual=False), HE15,
            "The plain 18-layer network that ResNet-18 is compared with: no shortcuts."),
    Variant("Plain34", resnet(34, residual=False), HE15,
            "The plain 34-layer network that ResNet-34 is compared with: no shortcuts."),
    Variant("ResNet18V2", resnet_v2(18), HE16_TORCH, "Pre-activation ResNet-18 (V2)."),
    Variant("ResNet34V2", resnet_v2(34), HE16_TORCH, "Pre-activation ResNet-34 (V2)."),
    Variant("ResNet50V2", resnet_v2(50), HE16_TORCH, "Pre-activation ResNet-50 (V2)."),
    Variant("ResNet101V2", resnet_v2(101), HE16_TORCH,
            "Pre-activation ResNet-101 (V2)."),
    Variant("ResNet152V2", resnet_v2(152), HE16_TORCH,
            "Pre-activation ResNet-152 (V2)."),
    Variant("ResNet200V2", resnet_v2(200), HE16_TORCH,
            "Pre-activation ResNet-200 (V2)."),
    Variant("ResNet18V2D", resnet_v2_d(18), HE16_D, "Pre-activation ResNet-18-D."),
    Variant("ResNet34V2D", resnet_v2_d(34), HE16_D, "Pre-activation ResNet-34-D."),
    Variant("ResNet50V2D", resnet_v2_d(50), HE16_D, "Pre-activation ResNet-50-D."),
    Variant("ResNet50V2Keras", resnet_v2_keras(50), HE16_KERAS,
            "Pre-activation ResNet-50 in the layout of `keras.applications.ResNet50V2`.",
            name="resnet50v2_keras"),
    Variant("ResNet101V2Keras", resnet_v2_keras(101), HE16_KERAS,
            "Pre-activation ResNet-101 in the layout of `keras.applications.ResNet101V2`.",
            name="resnet101v2_keras"),
    Variant("ResNet152V2Keras", resnet_v2_keras(152), HE16_KERAS,
            "Pre-activation ResNet-152 in the layout of `keras.applications.ResNet152V2`.",
            name="resnet152v2_keras"),
    Variant("WideResNet50_2",
            resnet(50, family="wide_resnet", base_width=128),
            ZAGORUYKO16_TORCHVISION,
            "Wide ResNet-50-2: bottlenecks twice as wide inside.",
            name="wide_resnet50_2"),
    Variant("WideResNet101_2",
            resnet(101, family="wide_resnet", base_width=128),
            ZAGORUYKO16_TORCHVISION,
            "Wide ResNet-101-2: bottlenecks twice as wide inside.",
            name="wide_resnet101_2"),
    Variant("ResNeXt50_1x64d", resnext(50, 1, 64), XIE17,
            "ResNeXt-50 1x64d: 1 group of 64 channels at 64 filters."),
    Variant("ResNeXt50_2x40d", resnext(50, 2, 40), XIE17,
            "ResNeXt-50 2x40d: 2 groups of 40 channels at 64 filters."),
    Variant("ResNeXt50_4x24d", resnext(50, 4, 24), XIE17,
            "ResNeXt-50 4x24d: 4 groups of 24 channels at 64 filters."),
    Variant("ResNeXt50_8x14d", resnext(50, 8, 14), XIE17,
            "ResNeXt-50 8x14d: 8 groups of 14 channels at 64 filters."),
    Variant("ResNeXt50_32x4d", resnext(50, 32, 4), XIE17_TORCHVISION,
            "ResNeXt-50 32x4d: 32 groups of 4 channels at 64 filters."),
    Variant("ResNeXt101_1x64d", resnext(101, 1, 64), XIE17,
            "ResNeXt-101 1x64d: 1 group of 64 channels at 64 filters."),
    Variant("ResNeXt101_2x40d", resnext(101, 2, 40), XIE17,
            "ResNeXt-101 2x40d: 2 groups of 40 channels at 64 filters."),
    Variant("ResNeXt101_4x24d", resnext(101, 4, 24), XIE17,
            "ResNeXt-101 4x24d: 4 groups of 24 channels at 64 filters."),
    Variant("ResNeXt101_8x14d", resnext(101, 8, 14), XIE17,
            "ResNeXt-101 8x14d: 8 groups of 14 channels at 64 filters."),
    Variant("ResNeXt101_32x4d", resnext(101, 32, 4), XIE17,
            "ResNeXt-101 32x4d: 32 groups of 4 channels at 64 filters."),
    Variant("ResNeXt101_32x8d", resnext(101, 32, 8), XIE17_TORCHVISION,
            "ResNeXt-101 32x8d: 32 groups of 8 channels at 64 filters."),
    Variant("ResNeXt101_64x4d", resnext(101, 64, 4), XIE17_TORCHVISION,
            "ResNeXt-101 64x4d: 64 groups of 4 channels at 64 filters."),
    Variant("ResNeXt101_2x64d", resnext(101, 2, 64), XIE17,
            "ResNeXt-101 2x64d: 2 groups of 64 channels at 64 filters."),
    Variant("ResNeXt152_32x4d", resnext(152, 32, 4), XIE17,
            "ResNeXt-152 32x4d: 32 groups of 4 channels at 64 filters."),
    Variant("ResNet101_1x100d", resnext(101, 1, 100), XIE17,
            "The wider ResNet-101 that ResNeXt is compared with (base width 100)."),
    Variant("ResNet18C", bag_of_tricks(18, "c"), HE19_C, "ResNet-18-C: deep stem."),
    Variant("ResNet18D", bag_of_tricks(18, "d"), HE19_D,
            "ResNet-18-D: deep stem and average-pool shortcuts."),
    Variant("ResNet34C", bag_of_tricks(34, "c"), HE19_C, "ResNet-34-C: deep stem."),
    Variant("ResNet34D", bag_of_tricks(34, "d"), HE19_D,
            "ResNet-34-D: deep stem and average-pool shortcuts."),
    Variant("ResNet50C", bag_of_tricks(50, "c"), HE19_C, "ResNet-50-C: deep stem."),
    Variant("ResNet50D", bag_of_tricks(50, "d"), HE19_D,
            "ResNet-50-D: deep stem and average-pool shortcuts."),
    Variant("ResNet101C", bag_of_tricks(101, "c"), HE19_C, "ResNet-101-C: deep stem."),
    Variant("ResNet101D", bag_of_tricks(101, "d"), HE19_D,
            "ResNet-101-D: deep stem and average-pool shortcuts."),
    Variant("ResNet152C", bag_of_tricks(152, "c"), HE19_C, "ResNet-152-C: deep stem."),
    Variant("ResNet152D", bag_of_tricks(152, "d"), HE19_D,
            "ResNet-152-D: deep stem and average-pool shortcuts."),
    Variant("ResNet200D", bag_of_tricks(200, "d"), HE19_D,
            "ResNet-200-D: deep stem and average-pool shortcuts."),
    Variant("ResNet18_vd", bag_of_tricks(18, "d", first_projection=True), PADDLE,
            "ResNet-18-vd of PaddleClas: ResNet-18-D with a projection in stage 1."),
    Variant("ResNet34_vd", bag_of_tricks(34, "d", first_projection=True), PADDLE,
            "ResNet-34-vd of PaddleClas: ResNet-34-D with a projection in stage 1."),
    Variant("ResNet200_vd", bag_of_tricks(200, "d", depths=(3, 12, 48, 3)), PADDLE,
            "ResNet-200-vd of PaddleClas: D with 3, 12, 48, 3 units, unlike ResNet-200."),
    Variant("ResNeXt50D_32x4d",
            bag_of_tricks(50, "d", cardinality=32, base_width=4),
            HE19_D, "ResNeXt-50-D 32x4d: deep stem and average-pool shortcuts."),
    Variant("DarkNet19",
            darknet((1, 3, 3, 5, 5), block="alternating", transition="max", head="conv"),
            REDMON18,
            "DarkNet-19: plain 3x3 and 1x1 convolutions in turn, 1x1 classifier."),
    Variant("DarkNet53",
            darknet((1, 2, 8, 8, 4), block="darknet", transition="conv",
                activation_order="relu_before_add"),
            REDMON18,
            "DarkNet-53: residual units of a 1x1 and a 3x3 convolution, linear shortcuts."),
    Variant("DRN_A_18", drn_a(18), YU17,
            "DRN-A-18: ResNet-18 with dilation for the last two strides."),
    Variant("DRN_A_34", drn_a(34), YU17,
            "DRN-A-34: ResNet-34 with dilation for the last two strides."),
    Variant("DRN_A_50", drn_a(50), YU17,
            "DRN-A-50: ResNet-50 with dilation for the last two strides."),
    Variant("DRN_B_26", drn((1, 1, 2, 2, 2, 2, 1, 1), residual_ends=True), YU17,
            "DRN-B-26: DRN-C-26 with residuals in the last two levels."),
    Variant("DRN_C_26", drn((1, 1, 2, 2, 2, 2, 1, 1)), YU17,
            "DRN-C-26: no pooling, two levels without residuals at the end."),
    Variant("DRN_C_42", drn((1, 1, 3, 4, 6, 3, 1, 1)), YU17,
            "DRN-C-42: no pooling, two levels without residuals at the end."),
    Variant("DRN_C_58",
            drn((1, 1, 3, 4, 6, 3, 1, 1), "bottleneck", dead_projection=True),
            YU17_DEAD, "DRN-C-58, with the unused projection of its published file."),
    Variant("DRN_D_22", drn((1, 1, 2, 2, 2, 2, 1, 1), ends="conv"), YU17,
            "DRN-D-22: plain convolutions in the first and last two levels."),
    Variant("DRN_D_24", drn((1, 1, 2, 2, 2, 2, 2, 2), ends="conv"), YU17,
            "DRN-D-24: plain convolutions in the first and last two levels."),
    Variant("DRN_D_38", drn((1, 1, 3, 4, 6, 3, 1, 1), ends="conv"), YU17,
            "DRN-D-38: plain convolutions in the first and last two levels."),
    Variant("DRN_D_40", drn((1, 1, 3, 4, 6, 3, 2, 2), ends="conv"), YU17,
            "DRN-D-40: plain convolutions in the first and last two levels."),
    Variant("DRN_D_54", drn((1, 1, 3, 4, 6, 3, 1, 1), "bottleneck", ends="conv"), YU17,
            "DRN-D-54: plain convolutions in the first and last two levels."),
    Variant("DRN_D_56", drn((1, 1, 3, 4, 6, 3, 2, 2), "bottleneck", ends="conv"), YU17,
            "DRN-D-56: plain convolutions in the first and last two levels."),
    Variant("DRN_D_105",
            drn((1, 1, 3, 4, 23, 3, 1, 1), "bottleneck", ends="conv"),
            YU17, "DRN-D-105: plain convolutions in the first and last two levels."),
    Variant("DRN_D_107",
            drn((1, 1, 3, 4, 23, 3, 2, 2), "bottleneck", ends="conv"),
            YU17, "DRN-D-107: plain convolutions in the first and last two levels."),
    Variant("ResNet8",
            cifar_resnet(8, shortcut_type="projection", shortcut_bn=False,
                padding="same", conv_bias="all", bn_momentum=0.99, bn_epsilon=1e-3,
                preprocessing="raw"),
            MLPERF_TINY, "ResNet-8 of MLPerf Tiny's image classification."),
    Variant("ResNet20", cifar_resnet(20), HE15_CIFAR,
            "ResNet-20 for CIFAR, option-A shortcuts."),
    Variant("ResNet32", cifar_resnet(32), HE15_CIFAR,
            "ResNet-32 for CIFAR, option-A shortcuts."),
    Variant("ResNet44", cifar_resnet(44), HE15_CIFAR,
            "ResNet-44 for CIFAR, option-A shortcuts."),
    Variant("ResNet56", cifar_resnet(56), HE15_CIFAR,
            "ResNet-56 for CIFAR, option-A shortcuts."),
    Variant("ResNet110", cifar_resnet(110), HE15_CIFAR,
            "ResNet-110 for CIFAR, option-A shortcuts."),
    Variant("ResNet1202", cifar_resnet(1202), HE15_CIFAR,
            "ResNet-1202 for CIFAR, option-A shortcuts."),
    Variant("ResNet164", cifar_resnet(164, "bottleneck"), HE16,
            "ResNet-164 for CIFAR: bottlenecks in the original order."),
    Variant("ResNet20V2", cifar_resnet_v2(20), HE16,
            "Pre-activation ResNet-20 for CIFAR, option-A shortcuts."),
    Variant("ResNet56V2", cifar_resnet_v2(56), HE16,
            "Pre-activation ResNet-56 for CIFAR, option-A shortcuts."),
    Variant("ResNet110V2", cifar_resnet_v2(110), HE16,
            "Pre-activation ResNet-110 for CIFAR, option-A shortcuts."),
    Variant("ResNet164V2", cifar_resnet_v2(164, "bottleneck"), HE16,
            "Pre-activation ResNet-164 for CIFAR: bottlenecks, stride in the first 1x1."),
    Variant("ResNet1001V2", cifar_resnet_v2(1001, "bottleneck"), HE16,
            "Pre-activation ResNet-1001 for CIFAR: bottlenecks, stride in the first 1x1."),
    Variant("WRN16_4", wrn(16, 4), ZAGORUYKO16_CIFAR,
            "WRN-16-4 for CIFAR: 16 layers, 4 times as wide.", name="wrn_16_4"),
    Variant("WRN16_8", wrn(16, 8), ZAGORUYKO16_CIFAR,
            "WRN-16-8 for CIFAR: 16 layers, 8 times as wide.", name="wrn_16_8"),
    Variant("WRN22_8", wrn(22, 8), ZAGORUYKO16_CIFAR,
            "WRN-22-8 for CIFAR: 22 layers, 8 times as wide.", name="wrn_22_8"),
    Variant("WRN28_10", wrn(28, 10), ZAGORUYKO16_CIFAR,
            "WRN-28-10 for CIFAR: 28 layers, 10 times as wide.", name="wrn_28_10"),
    Variant("WRN40_4", wrn(40, 4), ZAGORUYKO16_CIFAR,
            "WRN-40-4 for CIFAR: 40 layers, 4 times as wide.", name="wrn_40_4"),
    Variant("WRN40_10", wrn(40, 10), ZAGORUYKO16_CIFAR,
            "WRN-40-10 for CIFAR: 40 layers, 10 times as wide.", name="wrn_40_10"),
    Variant("ResNeXt29_8x64d", cifar_resnext(29, 8, 64), XIE17,
            "ResNeXt-29 8x64d for CIFAR."),
    Variant("ResNeXt29_16x64d", cifar_resnext(29, 16, 64), XIE17,
            "ResNeXt-29 16x64d for CIFAR."),
    Variant("ResNeXt29_32x4d", cifar_resnext(29, 32, 4), XIE17,
            "ResNeXt-29 32x4d for CIFAR."),
    # This project's small members for CIFAR-10, by the rules of their families: `_WN`
    # has N filters in the first stage.
    Variant("ResNet29_W12", cifar_resnet(29, "bottleneck", **first_width(12)), OURS,
            "ResNet-29 for CIFAR: bottlenecks of 12, 24 and 48 filters, times 4."),
    Variant("ResNet14V2", cifar_resnet_v2(14), OURS,
            "Pre-activation ResNet-14 for CIFAR, option-A shortcuts."),
    Variant("WRN10_3_W8", wrn(10, 3, **first_width(8)), OURS,
            "WRN-10-3 for CIFAR on 8 filters instead of 16: stages of 24, 48, 96.",
            name="wrn_10_3_w8"),
    Variant("ResNeXt20_4x16d_W16", cifar_resnext(20, 4, 16, 16), OURS,
            "ResNeXt-20 4x16d for CIFAR: stages of 16, 32 and 64 filters, times 4."),
    Variant("ResNet14D",
            cifar_resnet(14, family="resnet_d", shortcut_type="avg_projection"),
            OURS, "ResNet-14-D for CIFAR: average-pool shortcuts, stem of one 3x3."),
    Variant("DarkNet15",
            darknet((1, 2, 2), filters=(48, 96, 192), strides=(2, 2, 2),
                stem_filters=24, block="darknet", transition="conv",
                activation_order="relu_before_add", input_size=32, classes=10,
                preprocessing="cifar"),
            OURS, "DarkNet-15 for CIFAR: three stages of 1, 2 and 2 units."),
    Variant("DRN_A_14",
            cifar_resnet(14, family="drn", shortcut_type="projection", strides=(1, 2,
                1), dilations=(1, 1, 2), first_dilations=(1, 1, 1), **first_width(12)),
            OURS, "DRN-A-14 for CIFAR: three stages of two units, the last dilated."),
)
# fmt: on

VARIANTS = {row.name: row.architecture for row in TABLE}

# Public functions with a second name.
ALIASES = {
    "ResNeXt50": "ResNeXt50_32x4d",
    "ResNeXt101": "ResNeXt101_32x4d",
    "ResNeXt152": "ResNeXt152_32x4d",
}
