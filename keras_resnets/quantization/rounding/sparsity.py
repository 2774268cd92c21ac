"""Which blocks of a kernel become zero, and what the others should be then, in NumPy.

A block of four weights w along the inputs costs w' inv(B) w at the layer's outputs, where
the others make up for it: B is its part of the inverse of H, the mean of x x' over the
weights that are left (optimal brain surgery, Hassibi 1993; by blocks as in Frantar 2022,
Optimal Brain Compression, arXiv:2208.11580). Blocks go in a few stages, the cheapest of all
outputs first, and what is left is fitted by least squares.
"""

import numpy as np

from keras_resnets.quantization.qat.zeros import BLOCK

# Stages in which blocks go, and the multiply-adds of a layer up to which there are more
# than one: seconds of two cores.
_STAGES = 4
_WORK = 2e11


def pruned(
    weights: np.ndarray, gram: np.ndarray, sparsity: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weights without the blocks that cost least.

    Args:
        weights: float64 (groups, inputs, outputs), inputs a multiple of four.
        gram: float64 (groups, inputs, inputs), positive definite.
        sparsity: share of the blocks to drop, above 0 and below 1.

    Returns:
        (the weights of least error with zeros in these blocks, bool of the same shape:
        what is kept).

    Example:
        >>> weights = np.ones((1, 8, 1)) * np.repeat([3.0, 1.0], 4)[None, :, None]
        >>> pruned(weights, np.eye(8)[None], 0.5)[1].ravel().tolist()[3:5]
        [True, False]
    """
    results = [_pruned(w, h, sparsity) for w, h in zip(weights, gram, strict=True)]
    left, kept = (np.stack(parts) for parts in zip(*results, strict=True))
    return left, kept


def _pruned(
    weights: np.ndarray, gram: np.ndarray, sparsity: float
) -> tuple[np.ndarray, np.ndarray]:
    inputs, outputs = weights.shape
    stages = _STAGES if outputs * inputs**3 <= _WORK else 1
    blocks = np.ones((inputs // BLOCK, outputs), bool)
    left = weights
    for stage in range(1, stages + 1):
        share = 1 - (1 - sparsity) ** (stage / stages)
        gone = min(int(round(share * blocks.size)), blocks.size - 1)
        costs = _costs(left, gram, blocks)
        order = np.argsort(costs.ravel(), kind="stable")
        blocks = np.ones(blocks.size, bool)
        blocks[order[:gone]] = False
        blocks = blocks.reshape(costs.shape)
        if stages > 1:
            left = _fitted(weights, gram, np.repeat(blocks, BLOCK, axis=0))
    return left, np.repeat(blocks, BLOCK, axis=0)


def _costs(left: np.ndarray, gram: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """What each block costs by output; those that are gone cost less than nothing."""
    costs = np.full(blocks.shape, -1.0)
    if blocks.all():
        return _costs_of(left, np.linalg.inv(gram))
    for output in range(left.shape[1]):
        kept = np.repeat(blocks[:, output], BLOCK)
        if kept.any():
            inverse = np.linalg.inv(gram[np.ix_(kept, kept)])
            part = _costs_of(left[kept, output : output + 1], inverse)
            costs[blocks[:, output], output] = part[:, 0]
    return costs


def _costs_of(weights: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """(blocks, outputs) of w' inv(B) w."""
    count = len(weights) // BLOCK
    places = np.arange(count)
    parts = inverse.reshape(count, BLOCK, count, BLOCK)[places, :, places]
    rows = weights.reshape(count, BLOCK, -1)
    return np.einsum("bio,bio->bo", rows, np.linalg.solve(parts, rows))


def _fitted(weights: np.ndarray, gram: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The weights of least error that are zero where they are not kept."""
    wanted = gram @ weights
    fitted = np.zeros_like(weights)
    for output in range(weights.shape[1]):
        some = np.nonzero(kept[:, output])[0]
        if len(some):
            part = gram[np.ix_(some, some)]
            fitted[some, output] = np.linalg.solve(part, wanted[some, output])
    return fitted
