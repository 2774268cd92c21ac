"""Batches for `fit` on the TensorFlow backend: a `tf.data.Dataset`."""

from keras_resnets.training.data.epochs import Ahead


def dataset_of(loader, epochs, workers):
    """A `tf.data.Dataset` of batches that NumPy and Pillow make.

    Args:
        loader: a `Loader`.
        epochs: an `Epochs`.
        workers: threads.
    """
    import tensorflow as tf

    ahead = Ahead(loader.start, workers)

    def one_epoch():
        epoch, steps = epochs.begin()
        for step in steps:
            yield (epoch, step, *ahead.get(epoch, step, steps.stop))

    whole = tf.TensorSpec((), "int64")
    dataset = tf.data.Dataset.from_generator(
        one_epoch, output_signature=(whole, whole, *loader.signature())
    )
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
