"""Determines which held-out images a network predicts correctly.

The target of every image is its index among the held-out ones, so that the assignment of
results to images does not depend on order, batch size, device or machine.
"""

import dataclasses
import typing

import keras
import numpy as np
from keras import ops

from keras_resnets.images.multi_label import THRESHOLD
from keras_resnets.training import best_weights
from keras_resnets.training import compiling
from keras_resnets.training import devices
from keras_resnets.training import state
from keras_resnets.training.data.pipeline import own_errors
from keras_resnets.training.run_folder import without_optimizer


class Correctness:
    """Determines which held-out images a `Job`'s network currently predicts correctly.

    Args:
        job: a `Job` with held-out images.
    """

    def __init__(self, job: typing.Any) -> None:
        self._job, self._split = job, job.held_out
        self._judging: typing.Any = None
        # Threshold of a predicted label: logits or probabilities.
        is_logits = compiling.puts_out_logits(job.model)
        self._threshold = 0.0 if is_logits else THRESHOLD
        self._metric: typing.Any = None

    def __call__(self) -> str:
        """Returns `best_weights.RIGHT` or `WRONG` for each held-out image, as a string.

        With several labels per image the number of correct ones, see
        `best_weights.rights_of`. Every process of a joint training must call it.
        """
        if self._judging is None:
            self._compile()
        places = np.arange(self._split.count)
        split = dataclasses.replace(self._split, labels=places)
        data = self._job.batches(
            split, training=False, one_hot=False, classes=split.count
        )
        with own_errors(data):
            self._judging.evaluate(data, verbose=0)
        return best_weights.rights_of(self._metric.rights())

    def _compile(self) -> None:
        self._judging = without_optimizer(self._job.model)
        self._metric = _RightImages(self._split.labels, self._threshold)
        self._judging.compile(
            loss=_none, metrics=[self._metric], jit_compile=devices.jit_compile()
        )


def _none(places: typing.Any, outputs: typing.Any) -> typing.Any:
    """Returns a loss of zero, since Keras requires a loss."""
    return ops.zeros_like(outputs[:, 0])


class _RightImages(keras.metrics.Metric):
    """Flags correctly predicted images; targets are their indices.

    Args:
        labels: int array (count,), the label of each image; or (count, labels) of 0
            and 1.
        threshold: smallest output of a predicted label, if multi-label.
    """

    def __init__(self, labels: np.ndarray, threshold: float) -> None:
        super().__init__(name="right")
        self._threshold = threshold
        self._labels = np.asarray(labels, "int32")
        self._right = self.add_variable((len(labels),), "zeros", name="right")

    def update_state(
        self, places: typing.Any, outputs: typing.Any, sample_weight: typing.Any = None
    ) -> None:
        places = ops.cast(ops.reshape(places, (-1,)), "int32")
        expected = ops.take(ops.convert_to_tensor(self._labels), places, axis=0)
        if self._labels.ndim == 2:
            predicted = ops.cast(outputs >= self._threshold, "int32")
            right = ops.sum(ops.cast(ops.equal(expected, predicted), "int32"), axis=-1)
        else:
            predicted = ops.cast(ops.argmax(outputs, axis=-1), "int32")
            right = ops.equal(expected, predicted)
        # No scatter, which is not always deterministic; Keras sums over devices.
        rows = ops.one_hot(places, len(self._labels), dtype=self._right.dtype)
        rows = rows * ops.cast(right, rows.dtype)[:, None]
        self._right.assign(ops.maximum(self._right, ops.max(rows, axis=0)))

    def result(self) -> typing.Any:
        return ops.mean(self._right)

    def rights(self) -> np.ndarray:
        """Returns an int array (count,): 1 if right; or the number of correct labels."""
        return np.rint(state.array_of(self._right)).astype("int64")
