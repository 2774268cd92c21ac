"""Kernels with blocks of zeros, which files do not store and training keeps."""

import typing

import numpy as np
from keras import ops

from keras_resnets.errors import InvalidArgument

# Weights along the inputs that share an index in a TFLite file.
BLOCK = 4


class KeepsZeros:
    """Part of a layer whose kernel may have blocks of zeros.

    Attributes:
        sparsity: share of blocks that a rounding sets to zero.
        kept: float32 mask of the kernel, 0 where it stays zero; None if nothing does.
    """

    sparsity: float = 0.0
    kept: typing.Any = None

    def masked(self, kernel: typing.Any) -> typing.Any:
        """Returns the kernel times its mask."""
        return kernel if self.kept is None else kernel * self.kept


def can_be_sparse(layer: typing.Any) -> bool:
    """Whether a file can omit zero blocks of a layer's kernel."""
    return layer.kernel.shape[-2] % BLOCK == 0


def set_sparsity(layer: typing.Any, sparsity: float) -> None:
    """Sets the share of blocks of a layer's kernel that rounding sets to zero.

    Raises:
        InvalidArgument: the inputs of the kernel are not a multiple of four.
    """
    if sparsity and not can_be_sparse(layer):
        raise InvalidArgument(
            f"a layer with a sparsity must have inputs in multiples of {BLOCK}; "
            f"{layer.replaces[0]} has {layer.kernel.shape[-2]}"
        )
    layer.sparsity = sparsity


def keep_zeros(layer: typing.Any) -> None:
    """Masks the blocks of a layer's kernel that are all zeros, so that they stay zero."""
    kernel = ops.convert_to_numpy(layer.kernel)
    blocks = kernel.reshape(*kernel.shape[:-2], -1, BLOCK, kernel.shape[-1]) != 0
    kept = np.broadcast_to(blocks.any(axis=-2, keepdims=True), blocks.shape)
    layer.kept = kept.reshape(kernel.shape).astype("float32")
