"""Runs a Keras model."""

import keras

from keras_resnets.export.prepare import classifier
from keras_resnets.export.runners.timing import median_seconds


class KerasRunner:
    """A Keras model, compiled; returns its outputs and, where it has them, its logits.

    Args:
        model: a `keras.Model` with one input and one output.
    """

    def __init__(self, model):
        self._classifier = classifier(model)
        outputs = [model.outputs[0]]
        if self._classifier is not None:
            outputs.append(self._classifier.input)
        self._model = keras.Model(model.inputs, outputs)
        self.has_logits = self._classifier is not None

    def __call__(self, images):
        """(outputs, logits) for a float32 batch; logits is None without a softmax."""
        results = self._model.predict_on_batch(images)
        if not self.has_logits:
            return results[0] if isinstance(results, list) else results, None
        outputs, features = results
        if isinstance(self._classifier, keras.layers.Dense):
            kernel, *bias = self._classifier.get_weights()
            features = features @ kernel + (bias[0] if bias else 0.0)
        return outputs, features

    def latency(self, image, runs=10, warmup=2):
        """Median seconds of one inference."""
        return median_seconds(lambda: self._model.predict_on_batch(image), runs, warmup)


class KerasFileRunner:
    """A `.keras` file, as the other runners of files.

    Args:
        path: the file.
        threads: not used: the backend sets them for the whole process.
        logits: return what the final softmax gets instead of what it puts out.
    """

    def __init__(self, path, threads=2, logits=False):
        # Registers the layers that such a file may hold.
        from keras_resnets import layers  # noqa: F401

        model = keras.saving.load_model(path, compile=False)
        self._runner = KerasRunner(model)
        self.has_logits = logits and self._runner.has_logits
        self.input_shape = tuple(model.inputs[0].shape)

    def __call__(self, images):
        """float32 outputs for float32 `images`."""
        outputs, logits = self._runner(images)
        return logits if self.has_logits else outputs

    def latency(self, image, runs=10, warmup=2):
        """Median seconds of one inference."""
        return self._runner.latency(image, runs, warmup)
