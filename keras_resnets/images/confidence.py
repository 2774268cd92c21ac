"""Calibrates a classifier's probabilities; pure functions of arrays.

The logits of a network that was trained for long are too large: it is overconfident.
Dividing them by one number, the temperature, calibrates the probabilities and changes no
answer (Guo et al. 2017, https://arxiv.org/abs/1706.04599).
"""

import dataclasses
import typing

from keras_resnets.errors import InvalidArgument

if typing.TYPE_CHECKING:
    import numpy as np

# Of the figures: as in the paper.
BINS = 15
# Temperatures that are tried: a network is not further from the truth than that.
_LEAST, _MOST = 0.05, 20.0
# Of the golden section: an interval of log(400) shrinks to 1e-7.
_STEPS = 40


@dataclasses.dataclass(frozen=True)
class Confidence:
    """The calibration of a network's probabilities.

    Attributes:
        temperature: the divisor of its logits.
        threshold: an answer of a smaller probability is "none of these".
        false_rejections: share of images of the known classes that this rejects.
        ece_before, ece: expected calibration error without and with the temperature, on
            images that it was not fitted on.
        count: number of images that it was fitted on.
    """

    temperature: float
    threshold: float
    false_rejections: float
    ece_before: float
    ece: float
    count: int


def of_record(facts: object) -> dict[str, float] | None:
    """The fields of a `Confidence` that a file's metadata tell; None where they are none.

    Example:
        >>> of_record({"temperature": 2.0}) is None
        True
    """
    names = {field.name for field in dataclasses.fields(Confidence)}
    if not isinstance(facts, dict) or set(facts) != names:
        return None
    fine = all(
        isinstance(value, (int, float)) and not isinstance(value, bool)
        for value in facts.values()
    )
    return facts if fine else None


class Reliability:
    """Sums for a reliability diagram over any number of batches.

    Args:
        bins: of confidence, of the same width, >= 1.

    Attributes:
        counts: images of each bin.
        confidences, rights: sums of the confidences, and of the correct answers.
    """

    def __init__(self, bins: int = BINS) -> None:
        import numpy as np

        self.counts = np.zeros(bins, "int64")
        self.confidences, self.rights = np.zeros(bins), np.zeros(bins)

    def add(self, probabilities: "np.ndarray", labels: "np.ndarray") -> None:
        """Adds a batch.

        Args:
            probabilities: float array (count, classes).
            labels: int array (count,).
        """
        import numpy as np

        confidence = probabilities.max(axis=-1)
        right = probabilities.argmax(axis=-1) == labels
        bins = len(self.counts)
        # A bin has its upper edge, as in the paper.
        places = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
        self.counts += np.bincount(places, minlength=bins)
        self.confidences += np.bincount(places, confidence, minlength=bins)
        self.rights += np.bincount(places, right, minlength=bins)

    @property
    def ece(self) -> float:
        """Expected calibration error: |accuracy - confidence|, weighted by images."""
        import numpy as np

        gaps = np.abs(self.rights - self.confidences).sum()
        return float(gaps / max(self.counts.sum(), 1))

    def rows(self) -> list[tuple[float, float, int]]:
        """(mean confidence, accuracy, images) of each bin that has any."""
        return [
            (float(sure / count), float(right / count), int(count))
            for sure, right, count in zip(
                self.confidences, self.rights, self.counts, strict=True
            )
            if count
        ]


def expected_calibration_error(
    probabilities: "np.ndarray", labels: "np.ndarray", bins: int = BINS
) -> float:
    """Expected calibration error of probabilities, in [0, 1].

    Args:
        probabilities: float array (count, classes).
        labels: int array (count,).
        bins: of confidence.

    Example:
        >>> import numpy as np
        >>> answers = np.array([[0.9, 0.1]] * 10)
        >>> round(expected_calibration_error(answers, np.array([0] * 8 + [1] * 2)), 4)
        0.1
    """
    reliability = Reliability(bins)
    reliability.add(probabilities, labels)
    return reliability.ece


def softmax(logits: "np.ndarray", temperature: float = 1.0) -> "np.ndarray":
    """float64 probabilities of logits (count, classes) divided by a temperature."""
    import numpy as np

    scaled = np.asarray(logits, "float64") / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def negative_log_likelihood(
    logits: "np.ndarray", labels: "np.ndarray", temperature: float = 1.0
) -> float:
    """Mean cross-entropy of logits divided by a temperature."""
    import numpy as np

    scaled = np.asarray(logits, "float64") / temperature
    scaled -= scaled.max(axis=-1, keepdims=True)
    own = scaled[np.arange(len(labels)), labels]
    return float((np.log(np.exp(scaled).sum(axis=-1)) - own).mean())


def fit_temperature(logits: "np.ndarray", labels: "np.ndarray") -> float:
    """The temperature with the lowest cross-entropy, which has a single minimum.

    Args:
        logits: float array (count, classes) of images that the network was *not* trained
            on: on its training images it is nearly always correct, so that they would
            confirm its overconfidence.
        labels: int array (count,).

    Raises:
        InvalidArgument: arrays that do not go together, or a class alone.

    Example:
        >>> import numpy as np
        >>> logits = np.log([[0.8, 0.2]] * 10) * 3
        >>> round(fit_temperature(logits, np.array([0] * 8 + [1] * 2)), 4)
        3.0
    """
    import numpy as np

    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 2 or logits.shape[1] < 2 or len(logits) != len(labels):
        raise InvalidArgument(
            "logits must be (count, classes) of at least two classes, with one label per "
            f"row; got {logits.shape} and {labels.shape}"
        )
    low, high = np.log(_LEAST), np.log(_MOST)
    share = (np.sqrt(5) - 1) / 2

    def loss(place: float) -> float:
        return negative_log_likelihood(logits, labels, float(np.exp(place)))

    left, right = high - share * (high - low), low + share * (high - low)
    of_left, of_right = loss(left), loss(right)
    for _ in range(_STEPS):
        if of_left < of_right:
            high, right, of_right = right, left, of_left
            left = high - share * (high - low)
            of_left = loss(left)
        else:
            low, left, of_left = left, right, of_right
            right = low + share * (high - low)
            of_right = loss(right)
    return float(np.exp((low + high) / 2))


def rejection_threshold(probabilities: "np.ndarray", share: float) -> float:
    """The probability below which an answer is "none of these".

    Args:
        probabilities: float array (count, classes) of images of the known classes that
            the network was not trained on.
        share: of these images that may be rejected, in [0, 1).

    Returns:
        The largest threshold that rejects no more than that share.
    """
    import numpy as np

    if not 0 <= share < 1:
        raise InvalidArgument(
            f"the share of false rejections is in [0, 1); got {share}"
        )
    ordered = np.sort(probabilities.max(axis=-1))
    return float(ordered[int(share * len(ordered) + 1e-9)])


def cross_fitted(
    logits: "np.ndarray", labels: "np.ndarray", folds: int = 2, seed: int = 0
) -> "np.ndarray":
    """Probabilities of each image with a temperature that was fitted without it.

    Args:
        logits: float array (count, classes).
        labels: int array (count,).
        folds: number of random parts; the temperature of each part is fitted on the
            others.
        seed: of the parts.
    """
    import numpy as np

    parts = np.random.default_rng(seed).permutation(len(labels)) % folds
    probabilities = np.empty(logits.shape)
    for part in range(folds):
        mine = parts == part
        temperature = fit_temperature(logits[~mine], labels[~mine])
        probabilities[mine] = softmax(logits[mine], temperature)
    return probabilities


def calibrate(
    logits: "np.ndarray",
    labels: "np.ndarray",
    false_rejections: float = 0.05,
    seed: int = 0,
) -> Confidence:
    """The `Confidence` measured on held-out images.

    Args:
        logits: float array (count, classes) of images that the network was not trained
            on, nor anything of it chosen by.
        labels: int array (count,).
        false_rejections: see `rejection_threshold`.
        seed: of the halves by which the error is estimated: the temperature of each half
            is fitted on the other. That of the result is fitted on all.
    """
    fair = cross_fitted(logits, labels, seed=seed)
    temperature = fit_temperature(logits, labels)
    return Confidence(
        temperature=temperature,
        threshold=rejection_threshold(softmax(logits, temperature), false_rejections),
        false_rejections=false_rejections,
        ece_before=expected_calibration_error(softmax(logits), labels),
        ece=expected_calibration_error(fair, labels),
        count=len(labels),
    )
