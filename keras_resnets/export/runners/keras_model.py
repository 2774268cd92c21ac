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
