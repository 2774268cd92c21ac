"""Figures of multi-label classification: an image has none, one or several labels."""

import dataclasses
import typing

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_range
from keras_resnets.errors import nearest
from keras_resnets.errors import shown

# Of a probability, where nothing else is said.
THRESHOLD = 0.5
# What is accepted as thresholds; see `thresholds`.
Threshold = float | typing.Mapping[str | None, float] | typing.Sequence[float]


def thresholds(
    threshold: Threshold | None, names: typing.Sequence[str], name: str = "threshold"
) -> tuple[float, ...]:
    """The probability from which on each label is predicted.

    Args:
        threshold: one number for all labels; one for each, in the order of the labels; or
            numbers by the name of the label, where None is the key of those that are not
            named. None for 0.5.
        names: of the labels.
        name: of the argument, for messages.

    Returns:
        A number in [0, 1] for each label.

    Raises:
        InvalidArgument: a label that there is not, or a number outside of [0, 1].

    Example:
        >>> thresholds({"dog": 0.3}, ("cat", "dog"))
        (0.5, 0.3)
    """
    if threshold is None:
        threshold = THRESHOLD
    if isinstance(threshold, typing.Mapping):
        for label in threshold:
            if label is not None and label not in names:
                near = nearest(str(label), names, count=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise InvalidArgument(
                    f"{name} must name labels of the network's {len(names)}; got "
                    f"{shown(label)}{hint}"
                )
        default = threshold.get(None, THRESHOLD)
        values: list[typing.Any] = [threshold.get(label, default) for label in names]
    elif isinstance(threshold, (list, tuple, np.ndarray)):
        values = np.asarray(threshold).tolist()
    else:
        values = [threshold] * len(names)
    if len(values) != len(names):
        raise InvalidArgument(
            f"{name} must be one number, or one for each of {len(names)} labels; got "
            f"{len(values)}"
        )
    for value in values:
        check_range(name, value, 0, 1)
    return tuple(float(value) for value in values)


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
        threshold: probability from which on a label is said, or that of each label.
    """

    count: int
    mean_average_precision: float | None
    micro_f1: float
    macro_f1: float | None
    exact_match: float
    labels: tuple[LabelFigures, ...]
    threshold: float | tuple[float, ...] = THRESHOLD


def measure(
    labels: np.ndarray,
    scores: np.ndarray,
    threshold: float | tuple[float, ...] = THRESHOLD,
    said: np.ndarray | None = None,
) -> MultiLabelFigures:
    """`MultiLabelFigures` of probabilities.

    Args:
        labels: array (count, labels) of 0 and 1.
        scores: float array (count, labels) of probabilities.
        threshold: from which on a label is said, in [0, 1]; or that of each label.
        said: bool array (count, labels) of what is said; None for `threshold`.

    Example:
        >>> found = measure(np.eye(2), np.array([[0.9, 0.2], [0.4, 0.3]]))
        >>> found.mean_average_precision, found.micro_f1, found.exact_match
        (1.0, 0.6666666666666666, 0.5)
    """
    expected = np.asarray(labels) != 0
    predicted = scores >= cut(threshold) if said is None else said
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


def said(
    probabilities: typing.Any, threshold: float | tuple[float, ...] = THRESHOLD
) -> list[int]:
    """The places of the labels that an image has, the likeliest first.

    Args:
        probabilities: array (labels,).
        threshold: in [0, 1]; or that of each label.

    Example:
        >>> said(np.array([0.6, 0.2, 0.9]))
        [2, 0]
    """
    order = np.argsort(-probabilities, kind="stable")
    has = probabilities >= cut(threshold)
    return [int(index) for index in order if has[index]]


def cut(threshold: float | tuple[float, ...], logits: bool = False) -> np.ndarray:
    """Thresholds as float32, which outputs are: 0.7 is not less than its own float32.

    Args:
        threshold: probability, or that of each label.
        logits: whether outputs are logits, and so are the thresholds then.

    Returns:
        float32 array () or (labels,), of finite numbers.

    Example:
        >>> float(cut(0.7)) == 0.7, cut((0.5, 1.0), logits=True).tolist()[0]
        (False, 0.0)
    """
    values = np.asarray(threshold, "float64")
    if logits:
        with np.errstate(divide="ignore"):
            values = np.clip(np.log(values) - np.log1p(-values), -1e30, 1e30)
    return values.astype("float32")
