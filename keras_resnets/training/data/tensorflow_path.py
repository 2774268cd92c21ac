"""Batches for `fit` on the TensorFlow backend: a `tf.data.Dataset`."""

import numpy as np

from keras_resnets.training.data.epochs import Ahead


def dataset_of(loader, epochs, workers):
    """A `tf.data.Dataset` of batches that NumPy and Pillow make.

    It is not made by `from_generator`: with Python 3.11 the mere use of that tells the
    C library (TensorFlow 2.21, `ApplyPython311MemoryPatch`) to fetch every array of
    128 KB or more from the system and to give it back, which costs a third of the time
    that a photo takes.

    Args:
        loader: a `Loader`.
        epochs: an `Epochs`.
        workers: threads.
    """
    import tensorflow as tf

    ahead, specs = Ahead(loader.start, workers), loader.signature()

    def begin():
        epoch, steps = epochs.begin()
        return np.array([epoch, steps.start, steps.stop], "int64")

    def one_epoch(_):
        epoch, start, stop = tf.unstack(
            tf.ensure_shape(tf.numpy_function(begin, [], "int64"), [3])
        )
        return tf.data.Dataset.range(start, stop).map(lambda step: (epoch, step, stop))

    def batch(epoch, step, stop):
        found = tf.numpy_function(
            lambda *words: ahead.get(*map(int, words)),
            [epoch, step, stop],
            [spec.dtype for spec in specs],
        )
        for tensor, spec in zip(found, specs, strict=True):
            tensor.set_shape(spec.shape)
        return epoch, step, *found

    dataset = tf.data.Dataset.from_tensors(0).flat_map(one_epoch).map(batch)
    return _handed_over(dataset.prefetch(2), epochs)


def _handed_over(dataset, epochs):
    """Notes each batch when it is taken, and says how many there are."""
    import tensorflow as tf

    def note(epoch, step):
        epochs.hand_over(int(epoch), int(step))
        return step

    def hand_over(epoch, step, pictures, targets):
        with tf.control_dependencies([tf.numpy_function(note, [epoch, step], "int64")]):
            return tf.identity(pictures), targets

    options = tf.data.Options()
    # Nothing may read on behind the last step.
    options.experimental_optimization.inject_prefetch = False
    dataset = dataset.map(hand_over).with_options(options)
    dataset.set_epoch = epochs.set_epoch
    # The first epoch may be shorter than those after it, which TensorFlow cannot say.
    dataset.cardinality = lambda: tf.constant(len(epochs.steps()), "int64")
    return dataset
