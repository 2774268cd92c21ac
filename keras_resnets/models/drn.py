"""Dilated residual networks."""

from keras_resnets.models.public_functions import OURS
from keras_resnets.models.public_functions import door

DRN = """Yu et al. 2017, "Dilated Residual Networks" (arXiv:1705.09914). Output
stride 8; equals fyu/drn's of the same name where that has it."""
DEAD = f"""{DRN} The published weights hold a 2048-to-512
projection (1,049,600 parameters) in level 7 that the forward pass computes and throws
away; `dead_projection=False` leaves it out, the function is the same."""

DRN_A_18 = door(
    "DRN_A_18",
    "drn_a_18",
    "DRN-A-18: ResNet-18 with dilation for the last two strides.",
    DRN,
)
DRN_A_34 = door(
    "DRN_A_34",
    "drn_a_34",
    "DRN-A-34: ResNet-34 with dilation for the last two strides.",
    DRN,
)
DRN_A_50 = door(
    "DRN_A_50",
    "drn_a_50",
    "DRN-A-50: ResNet-50 with dilation for the last two strides.",
    DRN,
)
DRN_B_26 = door(
    "DRN_B_26",
    "drn_b_26",
    "DRN-B-26: DRN-C-26 with residuals in the last two levels.",
    DRN,
)
DRN_C_26 = door(
    "DRN_C_26",
    "drn_c_26",
    "DRN-C-26: no pooling, two levels without residuals at the end.",
    DRN,
)
DRN_C_42 = door(
    "DRN_C_42",
    "drn_c_42",
    "DRN-C-42: no pooling, two levels without residuals at the end.",
    DRN,
)
DRN_C_58 = door(
    "DRN_C_58",
    "drn_c_58",
    "DRN-C-58, with the unused projection of its published file.",
    DEAD,
)
DRN_D_22 = door(
    "DRN_D_22",
    "drn_d_22",
    "DRN-D-22: plain convolutions in the first and last two levels.",
    DRN,
)
DRN_D_24 = door(
    "DRN_D_24",
    "drn_d_24",
    "DRN-D-24: plain convolutions in the first and last two levels.",
    DRN,
)
DRN_D_38 = door(
    "DRN_D_38",
    "drn_d_38",
    "DRN-D-38: plain convolutions in the first and last two levels.",
    DRN,
)
DRN_D_40 = door(
    "DRN_D_40",
    "drn_d_40",
    "DRN-D-40: plain convolutions in the first and last two levels.",
    DRN,
)
DRN_D_54 = door(
    "DRN_D_54",
    "drn_d_54",
    "DRN-D-54: plain convolutions in the first and last two levels.",
    DRN,
)
DRN_D_56 = door(
    "DRN_D_56",
    "drn_d_56",
    "DRN-D-56: plain convolutions in the first and last two levels.",
    DRN,
)
DRN_D_105 = door(
    "DRN_D_105",
    "drn_d_105",
    "DRN-D-105: plain convolutions in the first and last two levels.",
    DRN,
)
DRN_D_107 = door(
    "DRN_D_107",
    "drn_d_107",
    "DRN-D-107: plain convolutions in the first and last two levels.",
    DRN,
)
DRN_A_14 = door(
    "DRN_A_14",
    "drn_a_14",
    "DRN-A-14 for CIFAR: three stages of two units, the last dilated.",
    OURS,
)
