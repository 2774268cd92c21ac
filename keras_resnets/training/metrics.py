"""The metric that Keras shows while it trains a multi-label network."""

import typing

import keras
from keras import ops

# Name in figures and columns; sentences say mAP.
NAME = "mean_average_precision"
# Logits are binned in steps of 0.02 up to +-12, where a sigmoid is within 1e-5 of 0 or 1.
_MOST, _BINS = 12.0, 1200


@keras.saving.register_keras_serializable(package="keras_resnets")
class MeanAveragePrecision(keras.metrics.Metric):
    """The mean of `images.multi_label.average_precision` over labels, from histograms.

    Logits are binned in steps of 0.02, so that the memory does not grow with the number of
    images. Labels that all images have, or none, are left out.

    Args:
        labels: number of labels.
        from_logits: whether outputs are logits, not probabilities.
        name: name of the metric.

    Example:
        >>> metric = MeanAveragePrecision(2)
        >>> metric.update_state([[1, 0], [0, 1]], [[0.9, 0.2], [0.3, 0.1]])
        >>> float(metric.result())
        0.75
    """

    def __init__(
        self, labels: int, from_logits: bool = False, name: str = NAME
    ) -> None:
        super().__init__(name=name)
        self.labels, self.from_logits = labels, from_logits
        shape = (labels, _BINS)
        self._having = self.add_variable(shape, "zeros", name="having")
        self._seen = self.add_variable(shape, "zeros", name="seen")

    def update_state(
        self, y_true: typing.Any, y_pred: typing.Any, sample_weight: typing.Any = None
    ) -> None:
        """Adds images: targets (batch, labels), outputs (batch, labels)."""
        scores = ops.cast(y_pred, "float32")
        if not self.from_logits:
            inside = ops.clip(scores, 1e-6, 1 - 1e-6)
            scores = ops.log(inside) - ops.log1p(-inside)
        steps = ops.floor((scores + _MOST) * (_BINS / (2 * _MOST)))
        places = ops.cast(ops.clip(steps, 0, _BINS - 1), "int32")
        places = ops.reshape(places + ops.arange(self.labels) * _BINS, (-1,))
        # Mixed targets count as positive from 0.5.
        having = ops.cast(ops.cast(y_true, "float32") >= 0.5, "float32")
        having = ops.reshape(having, (-1,))
        for variable, values in (
            (self._having, having),
            (self._seen, ops.ones_like(having)),
        ):
            counted = ops.segment_sum(values, places, self.labels * _BINS)
            variable.assign(variable + ops.reshape(counted, (self.labels, _BINS)))

    def result(self) -> typing.Any:
        """Returns the mean in [0, 1]; 0 if it is undefined for every label."""
        having, seen = (ops.flip(x.value, axis=1) for x in (self._having, self._seen))
        right, predicted = ops.cumsum(having, axis=1), ops.cumsum(seen, axis=1)
        total = right[:, -1]
        sums = ops.sum(having * right / ops.maximum(predicted, 1.0), axis=1)
        is_defined = ops.cast((total > 0) & (total < predicted[:, -1]), "float32")
        precision = sums / ops.maximum(total, 1.0)
        return ops.sum(precision * is_defined) / ops.maximum(ops.sum(is_defined), 1.0)

    def get_config(self) -> dict[str, typing.Any]:
        config = {"labels": self.labels, "from_logits": self.from_logits}
        return {"name": self.name, **config}
