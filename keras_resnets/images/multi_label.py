"""Figures of multi-label classification: an image has none, one or several labels."""

import dataclasses
import typing

import numpy as np

# Of a probability, where nothing else is said.
THRESHOLD = 0.5


def strata(labels: np.ndarray) -> np.ndarray:
    """A class for each image, so that shares of images can have all labels in them.

    Args:
        labels: int array (count,) of classes, or (count, labels) of 0 and 1.

    Returns:
        int64 array (count,): classes as they are; of several labels that which fewest
        images have, and the number of labels for an image without any.

    Example:
        >>> strata(np.array([[1, 0], [1, 1], [0, 0]])).tolist()
        [0, 1, 2]
    """
    if labels.ndim == 1:
        return labels
    counts = labels.sum(axis=0, dtype="int64")
    rank = np.empty(len(counts), "int64")
    order = np.argsort(counts, kind="stable")
    rank[order] = np.arange(len(counts))
    rarest = np.where(labels != 0, rank, len(counts)).min(axis=1, initial=len(counts))
    return np.append(order, len(counts))[rarest]


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """The area under precision over recall of one label, without interpolation.

    The sum of (R_n - R_n-1) P_n over all thresholds (Zhu 2004; scikit-learn's
    `average_precision_score`): images of equal scores come together.

    Args:
        labels: array (count,) of 0 and 1.
        scores: array (count,): higher where the label is likelier.

    Returns:
        In (0, 1]; None where all images or none have the label, for then there is
        nothing to tell apart.

    Example:
        >>> average_precision(np.array([1, 0, 1, 0]), np.array([4.0, 3.0, 2.0, 1.0]))
        0.8333333333333333
    """
    is_positive = np.asarray(labels) != 0
    positive = int(is_positive.sum())
    if positive in (0, len(is_positive)):
        return None
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    right = is_positive[order].cumsum()[ends]
    precision = right / (ends + 1)
    recall = right / positive
    return float((np.diff(recall, prepend=0.0) * precision).sum())


@dataclasses.dataclass(frozen=True)
class LabelFigures:
    """Figures of one label.

    Attributes:
        count: images that have it.
        average_precision: None where all images or none have it.
        precision: share of right ones among those that were said to have it; 0 where
            none were.
        recall: share of those that have it which were said to; 0 where none have it.
        f1: harmonic mean of both; None where no image has the label or was said to.
    """

    count: int
    average_precision: float | None
    precision: float
    recall: float
    f1: float | None


@dataclasses.dataclass(frozen=True)
class MultiLabelFigures:
    """Figures of all labels.

    Attributes:
        count: images.
        mean_average_precision: over the labels that some images have and some do not;
            None where there is no such label.
        micro_f1: of all labels of all images together; 0 where nothing is right.
        macro_f1: the mean of the labels' own, of those that have one; None without.
        exact_match: share of images all of whose labels are right.
        labels: a `LabelFigures` for each.
        threshold: probability from which on a label is said.
    """

    count: int
    mean_average_precision: float | None
    micro_f1: float
    macro_f1: float | None
    exact_match: float
    labels: tuple[LabelFigures, ...]
    threshold: float = THRESHOLD


def measure(
    labels: np.ndarray,
    scores: np.ndarray,
    threshold: float = THRESHOLD,
    said: np.ndarray | None = None,
) -> MultiLabelFigures:
    """`MultiLabelFigures` of probabilities.

    Args:
        labels: array (count, labels) of 0 and 1.
        scores: float array (count, labels) of probabilities.
        threshold: from which on a label is said, in [0, 1].
        said: bool array (count, labels) of what is said; None for `threshold`.

    Example:
        >>> found = measure(np.eye(2), np.array([[0.9, 0.2], [0.4, 0.3]]))
        >>> found.mean_average_precision, found.micro_f1, found.exact_match
        (1.0, 0.6666666666666666, 0.5)
    """
    expected = np.asarray(labels) != 0
    predicted = scores >= threshold if said is None else said
    right = (expected & predicted).sum(axis=0)
    rows = []
    for index, hits in enumerate(right.tolist()):
        has, says = int(expected[:, index].sum()), int(predicted[:, index].sum())
        rows.append(
            LabelFigures(
                has,
                average_precision(expected[:, index], scores[:, index]),
                hits / says if says else 0.0,
                hits / has if has else 0.0,
                2 * hits / (has + says) if has + says else None,
            )
        )
    precisions = [
        row.average_precision for row in rows if row.average_precision is not None
    ]
    scored = [row.f1 for row in rows if row.f1 is not None]
    among = int(expected.sum() + predicted.sum())
    return MultiLabelFigures(
        count=len(expected),
        mean_average_precision=float(np.mean(precisions)) if precisions else None,
        micro_f1=2 * int(right.sum()) / among if among else 0.0,
        macro_f1=float(np.mean(scored)) if scored else None,
        exact_match=float((expected == predicted).all(axis=1).mean()),
        labels=tuple(rows),
        threshold=threshold,
    )


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) in float64, of whatever size.

    Example:
        >>> sigmoid(np.array([0.0, -1000.0])).tolist()
        [0.5, 0.0]
    """
    half = np.tanh(0.5 * np.asarray(logits, "float64"))
    return 0.5 * (1.0 + half)


def said(probabilities: typing.Any, threshold: float = THRESHOLD) -> list[int]:
    """The places of the labels that an image has, the likeliest first.

    Args:
        probabilities: array (labels,).
        threshold: in [0, 1].

    Example:
        >>> said(np.array([0.6, 0.2, 0.9]))
        [2, 0]
    """
    order = np.argsort(-probabilities, kind="stable")
    return [int(index) for index in order if probabilities[index] >= threshold]
