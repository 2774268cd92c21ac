"""Kernels with zeros, which sparse files do not store and training keeps."""

import typing

import numpy as np
from keras import ops

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice

# Weights along the inputs that share an index in a TFLite file.
BLOCK = 4
# The zeros that training keeps: single weights of a pruned float network, or blocks of a
# plan's sparsity, in which single weights may round to zero and become others again.
KEPT = ("weights", "blocks")
# What a weight that rounds to zero is in training, in steps.
_TINY = 2.0**-10


class KeepsZeros:
    """Part of a layer whose kernel may have zeros that training keeps.

    They are read from the kernel at every call, so that a file, a checkpoint or
    `set_weights` restores them with the kernel: their gradient is zero.

    Attributes:
        sparsity: share of blocks that a rounding sets to zero.
        keeps_zeros: one of `KEPT`; None if zeros are weights as others are.
    """

    sparsity: float = 0.0
    keeps_zeros: str | None = None

    def masked(self, kernel: typing.Any) -> typing.Any:
        """Returns the kernel, without gradient where it stays zero."""
        if self.keeps_zeros is None:
            return kernel
        nonzero = ops.not_equal(kernel, 0.0)
        if self.keeps_zeros == "blocks":
            *outer, inputs, outputs = kernel.shape
            blocks = ops.reshape(nonzero, (*outer, inputs // BLOCK, BLOCK, outputs))
            kept = ops.any(blocks, axis=-2, keepdims=True)
            kept = ops.broadcast_to(kept, blocks.shape)
            nonzero = ops.reshape(kept, kernel.shape)
        return kernel * ops.cast(nonzero, kernel.dtype)

    def movable(
        self, rounded: np.ndarray, kernel: np.ndarray, steps: np.ndarray
    ) -> np.ndarray:
        """Returns a rounded kernel whose only zeros are those that training keeps.

        Args:
            rounded: integers times steps.
            kernel: the kernel before rounding.
            steps: scale of each output channel, or a single one.

        Returns:
            The rounded kernel; with single zeros, other weights that round to zero are
            a small share of a step, which rounds to the same.
        """
        if self.keeps_zeros != "weights":
            return rounded
        return np.where((rounded == 0) & (kernel != 0), _TINY * steps, rounded)

    def get_config(self) -> dict[str, typing.Any]:
        own = {"keeps_zeros": self.keeps_zeros} if self.keeps_zeros else {}
        return {**super().get_config(), **own}  # type: ignore[misc]


def checked(keeps_zeros: str | None) -> str | None:
    """Returns `keeps_zeros`; raises `InvalidArgument` unless it is allowed."""
    if keeps_zeros is not None:
        check_choice("keeps_zeros", keeps_zeros, KEPT)
    return keeps_zeros


def of_pruned(kernel: np.ndarray) -> str | None:
    """Returns the `keeps_zeros` of a layer made from a float kernel."""
    return "weights" if kernel.any() and not kernel.all() else None


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
            "the number of inputs of a layer with a sparsity must be a multiple of "
            f"{BLOCK}; {layer.replaces[0]} has {layer.kernel.shape[-2]}"
        )
    layer.sparsity = sparsity
    if sparsity:
        layer.keeps_zeros = "blocks"
