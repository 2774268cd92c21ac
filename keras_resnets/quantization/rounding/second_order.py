"""Integers of least squared error at a layer's output: the arithmetic, in NumPy.

The squared error that integers Q with steps s make at a layer's output, over inputs x, is
trace((Q s - W)' H (Q s - W)) with H the mean of x x'. Weights are rounded one input after
the other, and those that are left take up what each rounding costs (Frantar 2022, GPTQ,
arXiv:2210.17323). Steps are chosen by that same error, and at last single integers and
steps take turns to lower it (coordinate descent).
"""

import dataclasses
import typing

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.quantization.qat import fake_quant

# Added to the diagonal of H, as a share of its mean: the value of the paper.
DAMPING = 0.01
# Inputs that are rounded between two products of matrices.
_BLOCK = 64
# Shares of the largest weight that are tried as the range: with few integers what is cut
# off buys finer steps.
_CUTS = {True: np.linspace(1.0, 0.45, 12), False: np.linspace(1.0, 0.85, 4)}
# Rounds of single integers and steps: errors fall by less than 1 % after the third.
_ROUNDS = 3
# Numbers that the sweeps of all cuts may hold together: 4 bytes each.
_ALIVE = 60_000_000


@dataclasses.dataclass(frozen=True)
class Problem:
    """What one layer asks.

    Attributes:
        weights: float64 (groups, inputs, outputs): what the products with the inputs
            should be.
        gram: float64 (groups, inputs, inputs): mean of x x', positive semi-definite.
        missing: float64 (groups, inputs, outputs): mean of x d', with d what the outputs
            lack before anything is rounded, as the inputs are not those in float; None
            for nothing.
        bits: of a weight, 2 to 8.
        per_channel: one step an output, or one in all.
        least: the least step, of each output (groups, outputs) or in all.
    """

    weights: np.ndarray
    gram: np.ndarray
    missing: np.ndarray | None = None
    bits: int = 8
    per_channel: bool = True
    least: typing.Any = 1e-10


@dataclasses.dataclass(frozen=True)
class Solution:
    """Integers and their steps.

    Attributes:
        integers: float32 (groups, inputs, outputs).
        steps: float32 (groups, outputs); all the same where there is one.
        loss: float32 (groups, outputs): squared error under the damped matrix, before
            it is refined.
    """

    integers: np.ndarray
    steps: np.ndarray
    loss: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """float32 (groups, inputs, outputs): what the integers stand for."""
        return self.integers * self.steps[:, None]


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float32 product of matrices, or of stacks of them, by the backend's kernels."""
    return keras.ops.convert_to_numpy(
        keras.ops.matmul(a.astype("float32"), b.astype("float32"))
    )


def damped(gram: np.ndarray) -> np.ndarray:
    """`gram` with a share of its mean diagonal added: every input has a cost.

    Args:
        gram: float64 (groups, inputs, inputs).

    Returns:
        The same shape, positive definite. A group whose inputs are all 0 gets the
        identity: there nearest is as good as any.
    """
    mean = np.trace(gram, axis1=1, axis2=2) / gram.shape[1]
    extra = np.where(mean > 0, DAMPING * mean, 1.0)
    return gram + extra[:, None, None] * np.eye(gram.shape[1])


def solve(problem: Problem) -> Solution:
    """The integers and steps found for a `Problem`.

    Raises:
        InvalidArgument: shapes that do not fit, or numbers that are not finite.

    Example:
        >>> w, h = np.array([[[0.6], [0.6]]]), np.array([[[1.0, 0.9], [0.9, 1.0]]])
        >>> sorted(solve(Problem(w, h, bits=2)).integers.ravel().tolist())
        [1.0, 1.0]
    """
    _check(problem)
    problem = dataclasses.replace(problem, gram=damped(problem.gram))
    orders = [np.argsort(-np.diag(gram), kind="stable") for gram in problem.gram]
    roots = [
        _root_of_inverse(gram[np.ix_(order, order)])
        for gram, order in zip(problem.gram, orders, strict=True)
    ]
    problem = _made_up_for(problem, roots, orders)
    best: Solution | None = None
    for cuts in _cuts(problem):
        for candidate in _swept(problem, roots, orders, _steps(problem, cuts)):
            best = _better(problem, best, candidate)
    if best is None:
        raise InvalidArgument("no range of the weights was tried")
    return _refined(problem, best)


def _made_up_for(
    problem: Problem, roots: list[np.ndarray], orders: list[np.ndarray]
) -> Problem:
    """The problem with weights that give what is missing, before they are rounded."""
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
            "second-order rounding takes a matrix (groups, inputs, inputs) for weights "
            f"(groups, inputs, outputs); got {problem.gram.shape} for "
            f"{problem.weights.shape}"
        )
    if not (np.isfinite(problem.gram).all() and np.isfinite(problem.weights).all()):
        raise InvalidArgument(
            "second-order rounding takes finite numbers; got NaN or infinity"
        )


def _root_of_inverse(matrix: np.ndarray) -> np.ndarray:
    """Upper U with U' U the inverse of a positive definite matrix."""
    # Of the matrix with both axes turned round, lower becomes upper.
    lower = np.linalg.cholesky(matrix[::-1, ::-1])
    turned = lower[::-1, ::-1]
    return _inverse_of_upper(turned)


def _inverse_of_upper(upper: np.ndarray) -> np.ndarray:
    """The inverse of an upper triangular matrix, by halves."""
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
    """The cuts to try, in parts that fit into memory together."""
    cuts = _CUTS[problem.bits < 8]
    at_once = max(1, _ALIVE // problem.weights[0].size)
    return [cuts[start : start + at_once] for start in range(0, len(cuts), at_once)]


def _steps(problem: Problem, cuts: np.ndarray) -> np.ndarray:
    """float64 (cuts, groups, outputs)."""
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
    """One `Solution` for each of `steps` (cuts, groups, outputs), all in one sweep."""
    cuts, groups, outputs = steps.shape
    _, largest = fake_quant.levels(problem.bits, narrow=True)
    integers = np.empty((cuts, *problem.weights.shape), "float32")
    losses = np.empty(steps.shape, "float32")
    for group in range(groups):
        order = orders[group]
        columns = np.tile(problem.weights[group][order].astype("float32"), (1, cuts))
        swept, loss = _sweep(
            columns,
            roots[group].astype("float32"),
            steps[:, group].ravel(),
            largest,
        )
        integers[:, group, order] = swept.reshape(-1, cuts, outputs).swapaxes(0, 1)
        losses[:, group] = loss.reshape(cuts, outputs)
    solutions = zip(integers, steps, losses, strict=True)
    return [Solution(*parts) for parts in solutions]


def _sweep(
    columns: np.ndarray, root: np.ndarray, steps: np.ndarray, largest: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rounds `columns` (inputs, outputs) row by row; changes them on the way.

    Args:
        columns: what is left of each weight, float32.
        root: upper, see `_root_of_inverse`, float32.
        steps: (outputs,), float32.
        largest: integer.

    Returns:
        (integers, the loss of each output).
    """
    integers = np.empty_like(columns)
    loss = np.zeros_like(steps)
    for start in range(0, len(columns), _BLOCK):
        end = min(start + _BLOCK, len(columns))
        errors = np.empty((end - start, columns.shape[1]), "float32")
        for row in range(start, end):
            integers[row] = np.clip(np.rint(columns[row] / steps), -largest, largest)
            off = (columns[row] - integers[row] * steps) / root[row, row]
            columns[row + 1 : end] -= np.outer(root[row, row + 1 : end], off)
            errors[row - start] = off
        loss += np.square(errors).sum(axis=0)
        if end < len(columns):
            columns[end:] -= product(root[start:end, end:].T, errors)
    return integers, loss


def _better(problem: Problem, best: Solution | None, candidate: Solution) -> Solution:
    """The better of two by output, or by all of them."""
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
    """Steps by least squares and integers one at a time, in turns."""
    for _ in range(_ROUNDS):
        steps = _fitted_steps(problem, solution)
        integers = _descended(problem, solution.integers, steps)
        solution = dataclasses.replace(solution, integers=integers, steps=steps)
    return solution


def _fitted_steps(problem: Problem, solution: Solution) -> np.ndarray:
    """The steps of least error for given integers."""
    products = product(problem.gram, solution.integers)
    above = np.einsum("gio,gio->go", products, problem.weights)
    below = np.einsum("gio,gio->go", products, solution.integers)
    if not problem.per_channel:
        above = np.full_like(above, above.sum())
        below = np.full_like(below, below.sum())
    steps = np.where(below > 0, above / np.where(below > 0, below, 1.0), solution.steps)
    # No step below the least; one that is fitted to nothing but zeros says nothing.
    return np.where(steps >= problem.least, steps, solution.steps).astype("float32")


def _descended(
    problem: Problem, integers: np.ndarray, all_steps: np.ndarray
) -> np.ndarray:
    """Integers after each was set to its best with all others as they are."""
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
                moved[row - start] = move = (best - rows[row]) * steps
                rows[row] = best
                slopes[row:end] += np.outer(gram[row:end, row], move)
            if end < len(rows):
                slopes[end:] += product(gram[end:, start:end], moved)
    return integers
