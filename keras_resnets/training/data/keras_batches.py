"""Batches for `fit` on any backend: a `keras.utils.PyDataset`."""

import keras

from keras_resnets.errors import InvalidArgument


class KerasBatches(keras.utils.PyDataset):
    """Batches of one epoch after the other, by position within the epoch.

    Args:
        ahead: an `Ahead`; it has its own threads, so that Keras uses none.
        epochs: an `Epochs`.
    """

    def __init__(self, ahead, epochs):
        super().__init__(workers=1)
        self._ahead, self._epochs = ahead, epochs
        self._last, self._inside = -1, False

    def set_epoch(self, epoch):
        """Makes the next iteration go through `epoch`."""
        self._epochs.set_epoch(epoch)

    @property
    def num_batches(self):
        """Steps of the epoch that an iteration would go through now."""
        return len(self._epochs.steps())

    def __len__(self):
        return self.num_batches

    def on_epoch_begin(self):
        self._inside, self._last = True, -1

    def on_epoch_end(self):
        self._inside = False

    def __getitem__(self, index):
        if index == 0:
            self._epochs.begin()
        elif self._inside and index != self._last + 1:
            raise InvalidArgument(
                "pass shuffle=False to fit: these batches have an order of their own"
            )
        self._last = index
        epoch, steps = self._epochs.epoch, self._epochs.steps()
        batch = self._ahead.get(epoch, steps[index], steps.stop)
        self._epochs.hand_over(epoch, steps[index])
        return batch
