"""Compares a file with its float model on labelled images."""

import dataclasses
import math
import typing
from collections.abc import Callable
from collections.abc import Iterator

import numpy as np

from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.export.keras.runner import KerasRunner
from keras_resnets.export.prepare import Ready
from keras_resnets.images import evaluation
from keras_resnets.images.calibration import CalibrationSet
from keras_resnets.images.collecting import check_images

# A mix this many standard errors beyond the drop is given up before all images.
_HOPELESS = 4
# Images of the one set that may be in the other by chance: sets repeat some.
_SHARED = 0.01


@dataclasses.dataclass(frozen=True)
class Trial:
    """Accuracy of a mix on labelled images, compared with the float model.

    Attributes:
        count: images that it was run on.
        top1: share of correct answers.
        drop: the float model's top-1 minus this one, in percentage points; negative if
            this one is higher.
        error: standard error of `drop`: with randomly chosen images, one set in six
            has a drop that is larger by more than this.
        agreement: share of equal answers.
        rmse: root mean square difference of the logits over the standard deviation of
            the float model's.
    """

    count: int
    top1: float
    drop: float
    error: float
    agreement: float
    rmse: float


def check_drop(max_drop: typing.Any) -> None:
    """Raises `InvalidArgument` unless a drop is a number of points above 0."""
    number = isinstance(max_drop, (int, float)) and not isinstance(max_drop, bool)
    if not number or not 0 < max_drop < 100:
        raise InvalidArgument(
            "max_drop must be points of top-1 above 0 and below 100 (0.2: from 91.7 to "
            f"91.5); got {max_drop!r}"
        )


def fewest_for(max_drop: float) -> int:
    """Returns the number of images of which one is at most the drop."""
    return math.ceil(100 / max_drop - 1e-9)


def check_data(data: typing.Any, max_drop: float) -> evaluation.Labelled:
    """Returns an `evaluation.Labelled` that is large enough to measure a drop.

    Raises:
        InvalidArgument: see `find_mix`.
    """
    check_drop(max_drop)
    data = evaluation.labelled(data)
    fewest = fewest_for(max_drop)
    if len(data.labels) < fewest:
        raise InvalidArgument(
            f"a drop of {max_drop:g} points requires at least {fewest:,} labelled images "
            f"besides the calibration images; got {len(data.labels):,}"
        )
    return data


class Judge:
    """The labelled images, and the float model's answers to them.

    Attributes:
        top1: its share of right answers.
        count: of the images.
    """

    def __init__(
        self,
        ready: Ready,
        data: evaluation.Labelled,
        max_drop: float,
        chosen: CalibrationSet,
        progress: Callable[..., object],
    ) -> None:
        self._data, self._max_drop, self._progress = data, max_drop, progress
        runner = KerasRunner(ready.reference)
        self._has_logits = runner.has_logits
        calibration_images = {image.tobytes() for image in chosen.images}
        shared, logits = 0, []
        for images in data.batches(50):
            images = check_images("data", images, ready.shape)
            shared += sum(image.tobytes() in calibration_images for image in images)
            outputs, scores = runner(images)
            logits.append(outputs if scores is None else scores)
            progress("float model", sum(map(len, logits)), len(data.labels))
        if shared > max(1, _SHARED * len(data.labels)):
            raise InvalidArgument(
                "data must not contain calibration images; "
                f"{shared:,} of the {len(data.labels):,} images are in the calibration set"
            )
        self._logits = np.concatenate(logits)
        classes = self._logits.shape[-1]
        if data.labels.min() < 0 or data.labels.max() >= classes:
            raise InvalidArgument(
                f"labels must lie in 0..{classes - 1}; got {data.labels.min()}.."
                f"{data.labels.max()}"
            )
        self._answers = self._logits.argmax(axis=1)
        self.top1 = float((self._answers == data.labels).mean())
        self.count = len(data.labels)

    def __call__(self, run: Callable[[np.ndarray], typing.Any], stage: str) -> Trial:
        """The `Trial` of `run`, a function of a batch of images.

        After a hopeless beginning the remaining images are skipped.
        """
        answers, done = [], 0
        for images in self._data.batches(100):
            answers.append(run(images))
            done += len(images)
            self._progress(stage, done, len(self._data.labels))
            trial = self._trial(np.concatenate(answers)) if done >= 500 else None
            if trial and trial.drop - _HOPELESS * trial.error > self._max_drop:
                break
        return self._trial(np.concatenate(answers))

    def some(self, count: int) -> Iterator[np.ndarray]:
        """Yields the first `count` images in batches."""
        remaining = count
        for images in self._data.batches(100):
            yield images[:remaining]
            remaining -= len(images[:remaining])
            if not remaining:
                return

    def check_logits(self, runner: typing.Any) -> None:
        """Raises `ExportError` if a file outputs probabilities instead of logits."""
        if self._has_logits and not runner.has_logits:
            raise ExportError(
                "layers are ranked by the logits, which cannot be read from this file: "
                "the model must end in keras.layers.Softmax; nothing was written"
            )

    def accepts(self, trial: Trial) -> bool:
        """Whether the drop of a mix is at most the allowed one, by a standard error."""
        return trial.drop + trial.error <= self._max_drop

    def refusal(self, trial: Trial, raised: int) -> str:
        """See `refusal`."""
        return refusal(trial, raised, self._max_drop, self.top1)

    def _trial(self, logits: np.ndarray) -> Trial:
        count = len(logits)
        labels, reference = self._data.labels[:count], self._logits[:count]
        answers, before = logits.argmax(axis=1), self._answers[:count]
        lost = float(((before == labels) & (answers != labels)).mean())
        won = float(((before != labels) & (answers == labels)).mean())
        error = math.sqrt((lost + won - (lost - won) ** 2) / count)
        noise = np.square(logits.astype("float64") - reference).mean()
        return Trial(
            count=count,
            top1=float((answers == labels).mean()),
            drop=100 * (lost - won),
            error=100 * error,
            agreement=float((answers == before).mean()),
            rmse=float(np.sqrt(noise) / max(reference.std(dtype="float64"), 1e-30)),
        )


def refusal(trial: Trial, raised: int, max_drop: float, top1: float) -> str:
    """Returns the message for a finest mix that loses too much, with advice.

    Args:
        trial: the `Trial` of that mix.
        raised: number of its layers that are not int8.
        max_drop: allowed drop of top-1 in points.
        top1: top-1 accuracy of the float model.
    """
    room = max_drop - trial.drop
    advice = f"allow more than {max_drop:g}"
    if room > 0:
        # The error goes with the root of the number.
        enough = trial.count * (trial.error / room) ** 2
        advice += f", or give at least {enough:,.0f} images"
    return (
        f"no mix has a drop of at most {max_drop:g} points by one standard error: with "
        f"{raised} layers raised it is {trial.drop:.2f} points (standard error "
        f"{trial.error:.2f}) on {trial.count:,} images, where the float model has "
        f"{top1:.2%}; {advice}; nothing was written"
    )
