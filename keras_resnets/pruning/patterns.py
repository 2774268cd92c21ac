"""Patterns of the zeros of pruned kernels, and the layers that can have them."""

import math
import typing

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.graph import anatomy
from keras_resnets.graph.nodes import layers_of

# See `mask_of`.
PATTERNS = ("unstructured", "1x4", "2:4", "vw-2:4")
# Patterns that keep two of four weights.
_HALVES = ("2:4", "vw-2:4")
# Consecutive outputs that keep the same inputs in "vw-2:4": eight, or four in layers whose
# outputs are not a multiple of eight.
_VECTOR, _SMALLEST_VECTOR = 8, 4


def check_sparsity(sparsity: float, pattern: str = "unstructured") -> None:
    """Raises `InvalidArgument` unless a pattern can have this share of zeros.

    The share lies above 0 and below 1; for patterns of two of four it is 0.5.
    """
    check_choice("pattern", pattern, PATTERNS)
    number = isinstance(sparsity, (int, float)) and not isinstance(sparsity, bool)
    if not number or not 0 < sparsity < 1:
        raise InvalidArgument(
            f"sparsity must lie above 0 and below 1 (a net of zeros says nothing); got "
            f"{sparsity!r}"
        )
    if pattern in _HALVES and sparsity != 0.5:
        raise InvalidArgument(
            f"the pattern {pattern} requires a sparsity of 0.5; got {sparsity!r}"
        )


def mask_of(
    kernel: np.ndarray, sparsity: float, pattern: str = "unstructured"
) -> np.ndarray:
    """Returns the mask of the weights of a kernel that are kept.

    - `"unstructured"`: the largest weights are kept.
    - `"1x4"`: four adjacent weights along the inputs are kept or removed together.
    - `"2:4"`: of every four weights along the inputs the two largest are kept.
    - `"vw-2:4"`: vector-wise 2:4, VW-N:M of nmSPARSE (Lin 2023, MLSys) with vectors
      along the outputs (Tan 2022, NeurIPS). Eight consecutive outputs keep the same two
      of every four inputs, those of the largest sums of magnitudes. If eight does not
      divide the number of outputs, four share them.

    Args:
        kernel: array (..., inputs, outputs).
        sparsity: share of weights to remove, in [0, 1); `"2:4"` and `"vw-2:4"` remove
            half of them, whatever it is.
        pattern: one of `PATTERNS`.

    Returns:
        float32 of zeros and ones, of the kernel's shape.

    Example:
        >>> mask_of(np.array([[1.0], [-3.0], [2.0], [0.5]]), 0.5).ravel().tolist()
        [0.0, 1.0, 1.0, 0.0]
        >>> kernel = np.array([[1, 4, 1, 1], [4, 1, 4, 4], [0, 5, 0, 0], [3, 0, 3, 3]])
        >>> mask_of(kernel, 0.5, "2:4").T.tolist()[:2]
        [[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]]
        >>> mask_of(kernel, 0.5, "vw-2:4").T.tolist()[:2]
        [[0.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0]]
    """
    check_choice("pattern", pattern, PATTERNS)
    size = np.abs(np.asarray(kernel, "float64"))
    if pattern == "unstructured":
        return _largest(size.ravel(), sparsity).reshape(size.shape)
    # (outputs, ..., inputs), of which four are adjacent along the inputs.
    rows = np.moveaxis(size, -1, 0)
    if pattern == "1x4":
        stays = _largest(rows.reshape(-1, 4).sum(axis=1), sparsity)
        kept = np.repeat(stays[:, None], 4, axis=1)
    elif pattern == "2:4":
        kept = _two_of_four(rows)
    else:
        vector = math.gcd(_VECTOR, len(rows))
        sums = rows.reshape(-1, vector, *rows.shape[1:]).sum(axis=1)
        kept = _two_of_four(sums).reshape(sums.shape)
        kept = np.repeat(kept, vector, axis=0)
    return np.moveaxis(kept.reshape(rows.shape), 0, -1).astype("float32")


def _largest(values: np.ndarray, sparsity: float) -> np.ndarray:
    """Ones at the largest values that are kept, at least one."""
    count = max(len(values) - int(round(sparsity * len(values))), 1)
    mask = np.zeros(len(values), "float32")
    mask[np.argsort(-values, kind="stable")[:count]] = 1.0
    return mask


def _two_of_four(sizes: np.ndarray) -> np.ndarray:
    """Ones at the two largest of every four adjacent values."""
    blocks = sizes.reshape(-1, 4)
    order = np.argsort(-blocks, axis=1, kind="stable")
    kept = np.zeros(blocks.shape, "float32")
    np.put_along_axis(kept, order[:, :2], 1.0, axis=1)
    return kept


def prunable(model: keras.Model, pattern: str = "unstructured") -> list[typing.Any]:
    """Returns the layers of `model` that are pruned, in order, nested ones included.

    All convolutions except the first and those with fewer than 8 weights per output (a
    1x1 on a few channels). All patterns but `"unstructured"` need inputs in multiples of
    four (of a grouped convolution, the inputs of a group); `"vw-2:4"` also needs outputs
    in multiples of four.
    """
    layers = [
        layer
        for layer, _ in layers_of(model)
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense))
    ]
    # The first and the last layer are small and sensitive.
    inner = [x for x in layers[1:] if not isinstance(x, keras.layers.Dense)]
    inputs = 1 if pattern == "unstructured" else 4
    outputs = _SMALLEST_VECTOR if pattern == "vw-2:4" else 1
    return [
        layer
        for layer in inner
        if np.prod(layer.kernel.shape[:-1]) >= 8
        and layer.kernel.shape[-2] % inputs == 0
        and layer.kernel.shape[-1] % outputs == 0
    ]


def check_prunable(model: keras.Model, pattern: str) -> list[typing.Any]:
    """Returns `prunable`; raises `InvalidArgument` if it is empty, or for LoRA."""
    layers = prunable(model, pattern)
    anatomy.check_no_lora(layers, "pruning")
    if not layers:
        needs = {"unstructured": "", "vw-2:4": " with inputs and outputs in fours"}
        raise InvalidArgument(
            f"{model.name} has no layer to prune: the pattern {pattern} requires a "
            f"convolution{needs.get(pattern, ' with inputs in fours')}, other than the "
            "first, with at least 8 weights per output"
        )
    return layers
