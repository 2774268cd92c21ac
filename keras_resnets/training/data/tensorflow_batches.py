"""Batches for `fit` on the TensorFlow backend: a `tf.data.Dataset`."""

import typing

import numpy as np

from keras_resnets.training.data.epochs import Ahead

if typing.TYPE_CHECKING:
    from keras_resnets.training.data.batch_loader import Loader
    from keras_resnets.training.data.epochs import Epochs


def dataset_of(loader: "Loader", epochs: "Epochs", workers: int) -> typing.Any:
    """Returns a `tf.data.Dataset` of batches that NumPy and Pillow prepare.

    It does not use `from_generator`: under Python 3.11 this makes the C library (TensorFlow
    2.21, `ApplyPython311MemoryPatch`) allocate every array of 128 KB or more from the
    system and return it, which adds a third to the time of a photo. It has only two
    functions and no `prefetch`: TensorFlow sets up each of them again for every epoch, in
    at least 4 ms, and `Ahead` already prepares batches ahead.

    Args:
        loader: a `Loader`.
        epochs: an `Epochs`.
        workers: number of threads.
    """
    import tensorflow as tf

    ahead, specs = Ahead(loader.start, workers), loader.signature()
    count, failures = epochs.steps().stop, []

    def begin() -> typing.Any:
        epoch, steps = epochs.begin()
        # The steps of all epochs are numbered consecutively.
        return np.array([steps.start, steps.stop], "int64") + epoch * count

    def one_epoch(_: typing.Any) -> typing.Any:
        bounds = tf.ensure_shape(tf.numpy_function(begin, [], "int64"), [2])
        return tf.data.Dataset.range(bounds[0], bounds[1])

    def take(number: typing.Any) -> typing.Any:
        epoch, step = divmod(int(number), count)
        try:
            tensors = ahead.get(epoch, step, count)
        # TensorFlow raises an error of its own instead, with a long message.
        except Exception as error:
            failures.append(error)
            raise
        epochs.hand_over(epoch, step)
        return tensors

    def batch(number: typing.Any) -> typing.Any:
        tensors = tf.numpy_function(take, [number], [spec.dtype for spec in specs])
        for tensor, spec in zip(tensors, specs, strict=True):
            tensor.set_shape(spec.shape)
        return tuple(tensors)

    dataset = tf.data.Dataset.from_tensors(0).flat_map(one_epoch).map(batch)
    options = tf.data.Options()
    # No prefetching past the last step.
    options.experimental_optimization.inject_prefetch = False
    # Without parallel functions there is nothing to tune, and the end of an epoch would
    # often wait 200 ms for the tuning thread.
    options.autotune.enabled = False
    dataset = dataset.with_options(options)
    dataset.set_epoch, dataset.failures = epochs.set_epoch, failures
    # The first epoch may be shorter than later ones, which TensorFlow cannot express.
    dataset.cardinality = lambda: tf.constant(len(epochs.steps()), "int64")
    return dataset
