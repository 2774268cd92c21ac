"""One batch by NumPy and Pillow: read, cut out, mirrored, normalized."""

import numpy as np

from keras_resnets import pictures
from keras_resnets.training import augmentation as augmenting


class Loader:
    """Makes the batch of any step.

    Args:
        split: a `Split`.
        preprocessing: a `Preprocessing`.
        augmentation: an `Augmentation`.
        order: an `Order`.
        classes: how many the network has.
        dtype: of the pictures.
        one_hot: whether targets are (batch, classes).
    """

    def __init__(
        self, split, preprocessing, augmentation, order, classes, dtype, one_hot
    ):
        self._split, self._preprocessing, self._order = split, preprocessing, order
        self._augmentation = augmentation
        self._classes, self._dtype, self._one_hot = classes, dtype, one_hot
        self._fill = preprocessing.pixels(np.zeros(3))

    def signature(self):
        """The `tf.TensorSpec` of pictures and targets."""
        import tensorflow as tf

        shape = (None, *self._preprocessing.size, 3)
        target = (None, self._classes) if self._one_hot else (None,)
        return (
            tf.TensorSpec(shape, self._dtype),
            tf.TensorSpec(target, "float32" if self._one_hot else "int64"),
        )

    def batch(self, epoch, step):
        """(pictures, targets) of a step."""
        places = self._order.indices(epoch, step)
        indices = self._split.indices[places]
        numbers = self._order.numbers(epoch, step, augmenting.NUMBERS)
        source, size = self._split.pictures, self._preprocessing.size
        plan = self._augmentation.plan(numbers, source.sizes(indices), size)
        pixels = self._pixels(indices, plan)
        if plan.shifts is not None:
            pixels = augmenting.shift(pixels, plan.shifts, self._fill)
        pixels[plan.flips] = pixels[plan.flips, :, ::-1]
        x = self._preprocessing.normalize(pixels, "channels_last")
        return x.astype(self._dtype, copy=False), self._targets(places)

    def _targets(self, places):
        labels = self._split.labels[places]
        if not self._one_hot:
            return labels
        targets = np.zeros((len(labels), self._classes), "float32")
        targets[np.arange(len(labels)), labels] = 1
        return targets

    def _pixels(self, indices, plan):
        """uint8 pictures of the input's size."""
        source, wanted = self._split.pictures, self._preprocessing
        if source.size == tuple(wanted.size) and plan.boxes is None:
            return source.pixels[indices]
        return np.stack(
            [
                pictures.resize_and_crop(
                    source.open(index),
                    wanted.size,
                    wanted.crop_fraction,
                    wanted.interpolation,
                )
                for index in indices
            ]
        )
