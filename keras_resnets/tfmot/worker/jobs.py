"""tensorflow-model-optimization's three tools on a rebuilt network."""

import typing
from collections.abc import Mapping

import numpy as np

from keras_resnets.tfmot.worker import rebuild
from keras_resnets.tfmot.worker import training

# Weights by name, and the bytes of a file or None.
Answer = tuple[dict[str, np.ndarray], bytes | None]

# Steps between updates of the pruning mask.
_PRUNING_STEPS = 100
# The default there is the sum: the gradients of a thousand weights would move their
# centroid a thousand times as far as any of them.
_AVERAGE = "GradientAggregation.AVG"
# Gradients are clipped to this share of a variable's norm: with 0.1, ResNet-14-V2 lost 3
# points in an epoch of 1,920 images, with 0.02 0.3. New zeros need larger steps.
_CLIP, _PRUNING_CLIP = 0.02, 0.1
# Most steps of Lloyd's algorithm; most kernels converge after fewer.
_LLOYD_STEPS = 100
# tensorflow-model-optimization refuses a network with errors of these kinds.
_REFUSALS = (ValueError, RuntimeError, TypeError, AttributeError, NotImplementedError)


class Refused(Exception):
    """tensorflow-model-optimization does not take the network."""


def quantize(
    job: dict[str, typing.Any],
    arrays: Mapping[str, np.ndarray],
    data: training.LabelledImages,
    fit: typing.Any,
) -> Answer:
    """Trains quantization-aware.

    Args:
        job: a job of `tfmot.bridge`.
        arrays: weights of the network, by name.
        data: the `training.LabelledImages`.
        fit: function of a model, callbacks and a clip that trains the model.

    Returns:
        (weights by name, bytes of the int8 TFLite file).
    """
    aware = _refusing(_quantized, job["description"], arrays)
    _keep_statistics(aware)
    _calibrate(aware, data.sample(job["calibration"], job["seed"])[0])
    fit(aware, [], _CLIP)
    values = {name: v.numpy() for name, v in rebuild.variables(aware).items()}
    return values, _convert(aware, job)


def _quantized(
    description: dict[str, typing.Any], arrays: Mapping[str, np.ndarray]
) -> typing.Any:
    import tensorflow_model_optimization as tfmot
    import tf_keras

    tool = tfmot.quantization.keras
    custom_objects = {"Nothing": _nothing(), "IdentityPad": rebuild.identity_pad()}

    def wrap(layer: typing.Any) -> typing.Any:
        if isinstance(layer, custom_objects["IdentityPad"]):
            return tool.quantize_annotate_layer(layer, custom_objects["Nothing"]())
        return layer

    model = rebuild.build(description, arrays, wrap)
    with tf_keras.utils.custom_object_scope(custom_objects), tool.quantize_scope():
        aware = tool.quantize_apply(tool.quantize_annotate_model(model))
    rebuild.set_values(aware, arrays)
    return aware


def _keep_statistics(model: typing.Any) -> None:
    """Freezes the statistics of BN.

    An average over the last few batches is noisier, for which a short training does not
    compensate.
    """
    import tf_keras

    for layer in model.layers:
        if isinstance(rebuild.inner(layer), tf_keras.layers.BatchNormalization):
            layer.trainable = False


def _nothing() -> typing.Any:
    """The configuration of a layer that keeps the scale and zero point of its input."""
    import tensorflow_model_optimization as tfmot

    class Nothing(tfmot.quantization.keras.QuantizeConfig):
        def get_weights_and_quantizers(self, layer: typing.Any) -> typing.Any:
            return []

        def get_activations_and_quantizers(self, layer: typing.Any) -> typing.Any:
            return []

        def set_quantize_weights(
            self, layer: typing.Any, quantize_weights: typing.Any
        ) -> None:
            pass

        def set_quantize_activations(
            self, layer: typing.Any, quantize_activations: typing.Any
        ) -> None:
            pass

        def get_output_quantizers(self, layer: typing.Any) -> typing.Any:
            return []

        def get_config(self) -> dict[str, typing.Any]:
            return {}

    return Nothing


def _calibrate(aware: typing.Any, images: np.ndarray, batch: int = 50) -> None:
    """Sets the activation ranges to the batches' average in the float network.

    By default they begin at -6 to 6 and move by a thousandth per step.
    """
    import tensorflow as tf
    import tensorflow_model_optimization as tfmot

    quantizer = tfmot.quantization.keras.quantizers.MovingAverageQuantizer
    stock = quantizer.__call__
    seen: dict[int, typing.Any] = {}

    def watch(
        self: typing.Any,
        inputs: typing.Any,
        training: typing.Any,
        weights: np.ndarray,
        **kwargs: typing.Any,
    ) -> typing.Any:
        low, high = weights["min_var"], weights["max_var"]
        ranges = seen.setdefault(id(low), (low, high, []))[2]
        ends = tf.reduce_min(inputs), tf.reduce_max(inputs)
        ranges.append([min(float(ends[0]), 0.0), max(float(ends[1]), 0.0)])
        return inputs

    quantizer.__call__ = watch
    try:
        for start in range(0, len(images), batch):
            aware(tf.constant(images[start : start + batch]), training=True)
    finally:
        quantizer.__call__ = stock
    for low, high, ranges in seen.values():
        least, most = np.mean(ranges, axis=0)
        low.assign(least)
        high.assign(most)


def _convert(aware: typing.Any, job: dict[str, typing.Any]) -> bytes:
    import tensorflow as tf

    softmax = job["description"]["softmax"] and not job["logits"]
    size = None if job["batch"] == "dynamic" else job["batch"]
    shape = [size, *job["description"]["input_shape"]]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="image")])
    def serve(image: typing.Any) -> typing.Any:
        logits = aware(image, training=False)
        if softmax:
            return {"predictions": tf.nn.softmax(logits)}
        return {"logits": logits}

    concrete = serve.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], aware)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.exclude_conversion_metadata = True
    dtype = tf.dtypes.as_dtype(job["io_dtype"])
    converter.inference_input_type = converter.inference_output_type = dtype
    return converter.convert()


def prune(
    job: dict[str, typing.Any],
    arrays: Mapping[str, np.ndarray],
    data: training.LabelledImages,
    fit: typing.Any,
) -> Answer:
    """Prunes by magnitude; see `quantize`; the file is None."""
    import tensorflow_model_optimization as tfmot
    import tf_keras

    tool = tfmot.sparsity.keras
    end = max(job["steps"] * 2 // 3, 1)
    schedule = tool.PolynomialDecay(
        initial_sparsity=0.0,
        final_sparsity=job["sparsity"],
        begin_step=0,
        end_step=end,
        frequency=max(min(_PRUNING_STEPS, end // 4), 1),
    )

    def wrap(layer: typing.Any) -> typing.Any:
        if layer.name in job["layers"]:
            return tool.prune_low_magnitude(layer, pruning_schedule=schedule)
        return layer

    model = rebuild.build(job["description"], arrays)
    sparse = _refusing(tf_keras.models.clone_model, model, clone_function=wrap)
    fit(sparse, [tool.UpdatePruningStep()], _PRUNING_CLIP)
    return _values(tool.strip_pruning(sparse)), None


def cluster(
    job: dict[str, typing.Any],
    arrays: Mapping[str, np.ndarray],
    data: training.LabelledImages,
    fit: typing.Any,
) -> Answer:
    """Clusters weights; see `prune`."""
    import tensorflow_model_optimization as tfmot
    import tf_keras

    tool = tfmot.clustering.keras

    def wrap(layer: typing.Any) -> typing.Any:
        if layer.name not in job["layers"]:
            return layer
        return tool.cluster_weights(
            layer,
            number_of_clusters=job["clusters"],
            cluster_gradient_aggregation=_AVERAGE,
            cluster_centroids_init=tool.CentroidInitialization.KMEANS_PLUS_PLUS,
        )

    # The layers have their weights, from which the centroids are initialized.
    model = rebuild.build(job["description"], arrays)
    few = _refusing(tf_keras.models.clone_model, model, clone_function=wrap)
    _settle_centroids(few)
    _keep_statistics(few)
    fit(few, [], _CLIP)
    return _values(tool.strip_clustering(few)), None


def _settle_centroids(model: typing.Any) -> None:
    """Moves the centroids to the solution of k-means.

    tensorflow-model-optimization itself begins with weights drawn by k-means++, which
    alone costs ResNet-20 19 points.
    """
    for layer in model.layers:
        for name, centroids in getattr(layer, "cluster_centroids", {}).items():
            weights = layer.original_clusterable_weights[name].numpy()
            centroids.assign(settled(weights, centroids.numpy()))


def settled(weights: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Moves centroids by Lloyd's algorithm, each to the mean of the weights nearest to it.

    Args:
        weights: array of any shape.
        centroids: float (count,). One that is nearest to no weight does not move.

    Returns:
        float32 (count,), ascending.
    """
    weights = np.sort(weights, axis=None).astype("float64")
    sums = np.concatenate([[0.0], np.cumsum(weights)])
    centroids = np.sort(centroids).astype("float64")
    for _ in range(_LLOYD_STEPS):
        between = (centroids[1:] + centroids[:-1]) / 2
        ends = np.searchsorted(weights, between)
        ends = np.concatenate([[0], ends, [len(weights)]])
        counts = np.diff(ends)
        means = np.diff(sums[ends]) / np.maximum(counts, 1)
        moved = np.where(counts > 0, means, centroids)
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    return centroids.astype("float32")


def _values(model: typing.Any) -> dict[str, np.ndarray]:
    return {name: v.numpy() for name, v in rebuild.variables(model).items()}


def _refusing(
    make: typing.Any, *arguments: typing.Any, **options: typing.Any
) -> typing.Any:
    """Returns the result of `make`; its errors are refusals."""
    try:
        return make(*arguments, **options)
    except _REFUSALS as error:
        raise Refused(str(error)) from error


JOBS = {"quantize": quantize, "prune": prune, "cluster": cluster}
