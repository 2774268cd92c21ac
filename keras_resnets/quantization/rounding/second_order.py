"""Second-order rounding in NumPy: minimizes the squared error of a layer's output.

For integers Q with scales s, that error over inputs x is
trace((Q s - W)' H (Q s - W)), where H is the mean of x x'. Weights are rounded input by
input, and each rounding error is compensated by the weights that remain (Frantar et al.
2022, GPTQ, arXiv:2210.17323). The scales minimize the same error, and finally integers
and scales are refined in turns by coordinate descent.
"""

import dataclasses
import typing

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.quantization.qat import fake_quant
from keras_resnets.quantization.rounding.sparsity import pruned

# Damping of the diagonal of H, as a share of its mean: the value of the paper.
DAMPING = 0.01
# Inputs per block, between two matrix products.
_BLOCK = 64
# Shares of the largest weight that are tried as amax: with few integers, clipping large
# weights allows a smaller scale.
_CUTS = {True: np.linspace(1.0, 0.45, 12), False: np.linspace(1.0, 0.85, 4)}
# Rounds of refinement: after the third, errors fall by less than 1 %.
_ROUNDS = 3
# Largest number of 4-byte values that the sweeps of all cuts hold together.
_ALIVE = 60_000_000


@dataclasses.dataclass(frozen=True)
class Problem:
    """The rounding problem of one layer.

    Attributes:
        weights: float64 (groups, inputs, outputs), the float weights.
        gram: float64 (groups, inputs, inputs), mean of x x', positive semi-definite.
        missing: float64 (groups, inputs, outputs), mean of x d', where d is the error
            of the outputs that comes from rounded inputs; None for no error.
        bits: bits per weight, 2 to 8.
        per_channel: whether each output has its own scale.
        least: the smallest scale, per output (groups, outputs) or a single one.
        sparsity: share of blocks of weights to set to zero, see `sparsity.pruned`.
        kept: bool (groups, inputs, outputs), False for weights that stay zero, as those of
            a pruned network do; None if none does.
    """

    weights: np.ndarray
    gram: np.ndarray
    missing: np.ndarray | None = None
    bits: int = 8
    per_channel: bool = True
    least: typing.Any = 1e-10
    sparsity: float = 0.0
    kept: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Solution:
    """Integers and their scales.

    Attributes:
        integers: float32 (groups, inputs, outputs).
        steps: float32 (groups, outputs), the scales; all equal if there is only one.
        loss: float32 (groups, outputs), squared error with the damped matrix, before
            the refinement.
    """

    integers: np.ndarray
    steps: np.ndarray
    loss: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """Returns integers times scales, float32 (groups, inputs, outputs)."""
        return self.integers * self.steps[:, None]


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Multiplies float32 matrices, or stacks of them, with the backend's kernels."""
    return keras.ops.convert_to_numpy(
        keras.ops.matmul(a.astype("float32"), b.astype("float32"))
    )


def damped(gram: np.ndarray, share: float = DAMPING) -> np.ndarray:
    """Adds a share of the mean diagonal to the diagonal of `gram`.

    Args:
        gram: float64 (groups, inputs, inputs).
        share: the share.

    Returns:
        Positive definite array of the same shape; the identity for a group whose
        inputs are all 0, which means rounding to nearest.
    """
    mean = np.trace(gram, axis1=1, axis2=2) / gram.shape[1]
    extra = np.where(mean > 0, share * mean, 1.0)
    return gram + extra[:, None, None] * np.eye(gram.shape[1])


def _factored(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Factorizes the matrix of a group, damped until it is positive definite.

    The matrix of constant inputs, as behind a ReLU that is never active, consists of
    rounding errors.

    Args:
        gram: float64 (inputs, inputs).

    Returns:
        (damped matrix, order of the inputs, root of the inverse in that order).
    """
    for power in range(16):
        whole = damped(gram[None], DAMPING * 10.0**power)[0]
        order = np.argsort(-np.diag(whole), kind="stable")
        try:
            return whole, order, _root_of_inverse(whole[np.ix_(order, order)])
        except np.linalg.LinAlgError:
            continue
    raise InvalidArgument("second-order rounding requires a positive definite matrix")


def solve(problem: Problem) -> Solution:
    """Solves a `Problem`.

    Raises:
        InvalidArgument: shapes do not match, or values are not finite.

    Example:
        >>> w, h = np.array([[[0.6], [0.6]]]), np.array([[[1.0, 0.9], [0.9, 1.0]]])
        >>> sorted(solve(Problem(w, h, bits=2)).integers.ravel().tolist())
        [1.0, 1.0]
    """
    _check(problem)
    factored = [_factored(gram) for gram in problem.gram]
    orders, roots = [x[1] for x in factored], [x[2] for x in factored]
    problem = dataclasses.replace(problem, gram=np.stack([x[0] for x in factored]))
    problem = _made_up_for(problem, roots, orders)
    if problem.sparsity:
        left, kept = pruned(problem.weights, problem.gram, problem.sparsity)
        kept = kept if problem.kept is None else kept & problem.kept
        problem = dataclasses.replace(problem, weights=left, kept=kept)
    best: Solution | None = None
    for cuts in _cuts(problem):
        for candidate in _swept(problem, roots, orders, _steps(problem, cuts)):
            best = _better(problem, best, candidate)
    if best is None:
        raise InvalidArgument("second-order rounding found no scale for the weights")
    return _refined(problem, best)


def _made_up_for(
    problem: Problem, roots: list[np.ndarray], orders: list[np.ndarray]
) -> Problem:
    """Returns the problem with weights that compensate `missing`."""
    if problem.missing is None:
        return problem
    weights = problem.weights.copy()
    for group, (root, order) in enumerate(zip(roots, orders, strict=True)):
        weights[group][order] += root.T @ (root @ problem.missing[group][order])
    return dataclasses.replace(problem, weights=weights, missing=None)


def _check(problem: Problem) -> None:
    groups, inputs, _ = problem.weights.shape
    if problem.gram.shape != (groups, inputs, inputs):
        raise InvalidArgument(
            "second-order rounding requires a matrix (groups, inputs, inputs) for weights "
            f"(groups, inputs, outputs); got {problem.gram.shape} for "
            f"{problem.weights.shape}"
        )
    if not (np.isfinite(problem.gram).all() and np.isfinite(problem.weights).all()):
        raise InvalidArgument(
            "second-order rounding requires finite numbers; got NaN or infinity"
        )


def _root_of_inverse(matrix: np.ndarray) -> np.ndarray:
    """Returns the upper triangular U with U' U = inverse of a positive definite matrix."""
    # With both axes reversed, the lower triangular factor becomes upper.
    lower = np.linalg.cholesky(matrix[::-1, ::-1])
    turned = lower[::-1, ::-1]
    return _inverse_of_upper(turned)


def _inverse_of_upper(upper: np.ndarray) -> np.ndarray:
    """Inverts an upper triangular matrix recursively, by halves."""
    size = len(upper)
    if size <= _BLOCK:
        return np.triu(np.linalg.inv(upper))
    half = size // 2
    first = _inverse_of_upper(upper[:half, :half])
    last = _inverse_of_upper(upper[half:, half:])
    inverse = np.zeros_like(upper)
    inverse[:half, :half], inverse[half:, half:] = first, last
    inverse[:half, half:] = -first @ upper[:half, half:] @ last
    return inverse


def _cuts(problem: Problem) -> list[np.ndarray]:
    """Returns the cuts to try, in parts that fit into memory."""
    cuts = _CUTS[problem.bits < 8]
    at_once = max(1, _ALIVE // problem.weights[0].size)
    return [cuts[start : start + at_once] for start in range(0, len(cuts), at_once)]


def _steps(problem: Problem, cuts: np.ndarray) -> np.ndarray:
    """Returns the scales for cuts, float64 (cuts, groups, outputs)."""
    _, largest = fake_quant.levels(problem.bits, narrow=True)
    full = np.abs(problem.weights).max(axis=1)
    if not problem.per_channel:
        full = np.full_like(full, full.max())
    steps = np.maximum(cuts[:, None, None] * full / largest, problem.least)
    return steps.astype("float32")


def _swept(
    problem: Problem,
    roots: list[np.ndarray],
    orders: list[np.ndarray],
    steps: np.ndarray,
) -> list[Solution]:
    """Returns a `Solution` for each of `steps` (cuts, groups, outputs), in one sweep."""
    cuts, groups, outputs = steps.shape
    _, largest = fake_quant.levels(problem.bits, narrow=True)
    integers = np.empty((cuts, *problem.weights.shape), "float32")
    losses = np.empty(steps.shape, "float32")
    for group in range(groups):
        order = orders[group]
        columns = np.tile(problem.weights[group][order].astype("float32"), (1, cuts))
        kept = None
        if problem.kept is not None:
            kept = np.tile(problem.kept[group][order], (1, cuts))
        swept, loss = _sweep(
            columns,
            roots[group].astype("float32"),
            steps[:, group].ravel(),
            largest,
            kept,
        )
        integers[:, group, order] = swept.reshape(-1, cuts, outputs).swapaxes(0, 1)
        losses[:, group] = loss.reshape(cuts, outputs)
    solutions = zip(integers, steps, losses, strict=True)
    return [Solution(*parts) for parts in solutions]


def _sweep(
    columns: np.ndarray,
    root: np.ndarray,
    steps: np.ndarray,
    largest: int,
    kept: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Rounds `columns` (inputs, outputs) row by row, in place.

    Args:
        columns: float32 weights, with the compensation so far.
        root: float32 upper triangular matrix, see `_root_of_inverse`.
        steps: float32 (outputs,), the scales.
        largest: largest integer.
        kept: bool, of the shape of `columns`, False for zeros; None for all.

    Returns:
        (integers, loss of each output).
    """
    integers = np.empty_like(columns)
    loss = np.zeros_like(steps)
    for start in range(0, len(columns), _BLOCK):
        end = min(start + _BLOCK, len(columns))
        errors = np.empty((end - start, columns.shape[1]), "float32")
        for row in range(start, end):
            integers[row] = np.clip(np.rint(columns[row] / steps), -largest, largest)
            if kept is not None:
                integers[row] *= kept[row]
            off = (columns[row] - integers[row] * steps) / root[row, row]
            columns[row + 1 : end] -= np.outer(root[row, row + 1 : end], off)
            errors[row - start] = off
        loss += np.square(errors).sum(axis=0)
        if end < len(columns):
            columns[end:] -= product(root[start:end, end:].T, errors)
    return integers, loss


def _better(problem: Problem, best: Solution | None, candidate: Solution) -> Solution:
    """Returns the better solution, per output or overall."""
    loss = candidate.loss
    if not problem.per_channel:
        loss = np.full_like(loss, np.sum(loss))
    candidate = dataclasses.replace(candidate, loss=loss)
    if best is None:
        return candidate
    wins = np.less(loss, best.loss)
    integers = np.where(wins[:, None], candidate.integers, best.integers)
    steps = np.where(wins, candidate.steps, best.steps)
    return Solution(integers, steps, np.minimum(loss, best.loss))


def _refined(problem: Problem, solution: Solution) -> Solution:
    """Refines scales by least squares and integers one at a time, in turns."""
    for _ in range(_ROUNDS):
        steps = _fitted_steps(problem, solution)
        integers = _descended(problem, solution.integers, steps)
        solution = dataclasses.replace(solution, integers=integers, steps=steps)
    return solution


def _fitted_steps(problem: Problem, solution: Solution) -> np.ndarray:
    """Returns the least-squares scales for given integers."""
    products = product(problem.gram, solution.integers)
    above = np.einsum("gio,gio->go", products, problem.weights)
    below = np.einsum("gio,gio->go", products, solution.integers)
    if not problem.per_channel:
        above = np.full_like(above, above.sum())
        below = np.full_like(below, below.sum())
    steps = np.where(below > 0, above / np.where(below > 0, below, 1.0), solution.steps)
    # Never below the smallest scale; with all integers 0 the fit is undefined.
    return np.where(steps >= problem.least, steps, solution.steps).astype("float32")


def _descended(
    problem: Problem, integers: np.ndarray, all_steps: np.ndarray
) -> np.ndarray:
    """Returns integers after one pass of coordinate descent."""
    _, largest = fake_quant.levels(problem.bits, narrow=True)
    integers = integers.copy()
    for group, gram in enumerate(problem.gram.astype("float32")):
        steps, rows = all_steps[group], integers[group]
        slopes = product(gram, rows * steps - problem.weights[group])
        curves = np.diag(gram)
        for start in range(0, len(rows), _BLOCK):
            end = min(start + _BLOCK, len(rows))
            moved = np.empty((end - start, rows.shape[1]), "float32")
            for row in range(start, end):
                best = np.rint(rows[row] - slopes[row] / (curves[row] * steps))
                best = np.clip(best, -largest, largest)
                if problem.kept is not None:
                    best *= problem.kept[group, row]
                moved[row - start] = move = (best - rows[row]) * steps
                rows[row] = best
                slopes[row:end] += np.outer(gram[row:end, row], move)
            if end < len(rows):
                slopes[end:] += product(gram[end:, start:end], moved)
    return integers
