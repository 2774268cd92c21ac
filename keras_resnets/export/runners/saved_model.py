"""Runs a SavedModel in TensorFlow."""

import numpy as np

from keras_resnets.export.runners.timing import median_seconds


class SavedModelRunner:
    """The `serving_default` signature of a SavedModel.

    Args:
        path: its folder.
        threads: not used: TensorFlow sets them for the whole process.
        logits: not to be had: a signature puts out what it was given.
    """

    has_logits = False

    def __init__(self, path, threads=2, logits=False):
        import tensorflow as tf

        # Kept, since the signature does not hold on to its variables.
        self._loaded = tf.saved_model.load(str(path))
        self._serve = self._loaded.signatures["serving_default"]
        (self._input,) = self._serve.structured_input_signature[1].values()
        self.input_shape = tuple(self._input.shape)

    def __call__(self, images):
        """float32 outputs for float32 `images`."""
        batch = self.input_shape[0] or len(images)
        outputs = [
            self._run(images[start : start + batch])
            for start in range(0, len(images), batch)
        ]
        return np.concatenate(outputs)

    def _run(self, images):
        import tensorflow as tf

        given = tf.constant(images, self._input.dtype)
        (outputs,) = self._serve(**{self._input.name: given}).values()
        return outputs.numpy()

    def latency(self, image, runs=10, warmup=2):
        """Median seconds of one inference."""
        return median_seconds(lambda: self._run(image), runs, warmup)
