"""Batches for `fit` on any backend: a `keras.utils.PyDataset`."""

import typing

import keras

from keras_resnets.errors import InvalidArgument

if typing.TYPE_CHECKING:
    import numpy as np

    from keras_resnets.training.data.epochs import Ahead
    from keras_resnets.training.data.epochs import Epochs


class KerasBatches(keras.utils.PyDataset):
    """Batches of consecutive epochs, by position within the epoch.

    Args:
        ahead: an `Ahead`, which has its own threads: Keras uses none.
        epochs: an `Epochs`.
    """

    def __init__(self, ahead: "Ahead", epochs: "Epochs") -> None:
        super().__init__(workers=1)
        self._ahead, self._epochs = ahead, epochs
        self._last, self._inside = -1, False

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next iteration."""
        self._epochs.set_epoch(epoch)

    @property
    def num_batches(self) -> int:
        """Steps of the epoch of an iteration that begins now."""
        return len(self._epochs.steps())

    def __len__(self) -> int:
        return self.num_batches

    def on_epoch_begin(self) -> None:
        self._inside, self._last = True, -1

    def on_epoch_end(self) -> None:
        self._inside = False

    def __getitem__(self, index: int) -> "tuple[np.ndarray, np.ndarray]":
        if index == 0:
            self._epochs.begin()
        elif self._inside and index != self._last + 1:
            raise InvalidArgument(
                "pass shuffle=False to fit: these batches are already in random order"
            )
        self._last = index
        epoch, steps = self._epochs.epoch, self._epochs.steps()
        batch = self._ahead.get(epoch, steps[index], steps.stop)
        self._epochs.hand_over(epoch, steps[index])
        return batch
