"""torch, torchvision and timm, also where torch is a CPU build and torchvision is not.

torchvision's compiled operators want CUDA's libraries then. Its networks need none of
them; but it describes two of them while it is imported, so that they must be known.
"""

import torch

try:
    import torchvision
except RuntimeError:
    _OPERATORS = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _OPERATORS.define(f"{_name}(Tensor dets, Tensor scores, float iou) -> Tensor")
    import torchvision

import timm

__all__ = ["timm", "torch", "torchvision"]
