"""Choice of the blocks of a kernel that become zero, and refit of the others, in NumPy.

Setting a block of four weights w along the inputs to zero adds the error w' inv(B) w to the
layer's outputs if the other weights compensate for it. B is the block's part of the inverse
of H, the mean of x x' over the remaining weights (optimal brain surgery, Hassibi 1993; by
blocks as in Frantar 2022, Optimal Brain Compression, arXiv:2208.11580). Blocks are removed
in a few stages, those with the least error over all outputs first. The remaining weights
are then fitted by least squares.
"""

import numpy as np

from keras_resnets.quantization.qat.zeros import BLOCK

# The number of stages, and the multiply-adds up to which a layer has more than one: a few
# seconds on two cores.
_STAGES = 4
_WORK = 2e11


def pruned(
    weights: np.ndarray, gram: np.ndarray, sparsity: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns weights whose blocks with the least error are zero.

    Args:
        weights: float64 (groups, inputs, outputs), inputs a multiple of four.
        gram: float64 (groups, inputs, inputs), positive definite.
        sparsity: share of the blocks to set to zero, above 0 and below 1.

    Returns:
        (refitted weights with zeros in these blocks, bool array of the same shape that is
        False there).

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
    """Returns the error of each block by output; -1 for blocks that are zero already."""
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
    """Returns w' inv(B) w, of shape (blocks, outputs)."""
    count = len(weights) // BLOCK
    places = np.arange(count)
    parts = inverse.reshape(count, BLOCK, count, BLOCK)[places, :, places]
    rows = weights.reshape(count, BLOCK, -1)
    return np.einsum("bio,bio->bo", rows, np.linalg.solve(parts, rows))


def _fitted(weights: np.ndarray, gram: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Returns the weights with the least error that are zero where `kept` is False."""
    wanted = gram @ weights
    fitted = np.zeros_like(weights)
    for output in range(weights.shape[1]):
        some = np.nonzero(kept[:, output])[0]
        if len(some):
            part = gram[np.ix_(some, some)]
            fitted[some, output] = np.linalg.solve(part, wanted[some, output])
    return fitted
