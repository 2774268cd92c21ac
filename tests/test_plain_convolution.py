"""Convolutions trained as matrix products against Keras' own, where sums are exact."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_resnets.networks import layers
from keras_resnets.networks import tensorflow_ops

# Kernel, stride, padding, height, width, inputs, outputs: those that become products.
PRODUCTS = {
    "1x1": (1, 1, "same", 5, 6, 64, 96),
    "1x1-stride": (1, 2, "valid", 6, 4, 96, 64),
    "1x1-stride-same": (1, 2, "same", 4, 6, 64, 64),
    "3x3": (3, 1, "same", 4, 5, 256, 256),
    "3x3-stride": (3, 2, "valid", 8, 6, 128, 160),
}
# Those that stay convolutions.
OTHERS = {
    "few-channels": (1, 1, "same", 6, 6, 32, 64),
    "many-pixels": (1, 1, "same", 29, 28, 64, 64),
    "odd-side": (1, 2, "same", 5, 6, 64, 64),
    "5x5": (5, 1, "same", 6, 6, 256, 256),
    "3x3-valid": (3, 1, "valid", 6, 6, 256, 256),
    "3x3-many-pixels": (3, 1, "same", 7, 8, 256, 256),
    "3x3-stride-same": (3, 2, "same", 8, 8, 128, 128),
    "3x3-stride-many-pixels": (3, 2, "valid", 32, 32, 128, 128),
}
GEOMETRIES = PRODUCTS | OTHERS


def layer_of(kind, geometry, policy="float32", **options):
    """A layer whose kernel and bias are small whole numbers."""
    size, stride, padding, *_, channels, filters = geometry
    layer = kind(
        filters, size, strides=stride, padding=padding, dtype=policy, **options
    )
    layer.build((None, None, None, channels))
    rng = np.random.default_rng(0)
    layer.set_weights([rng.integers(-2, 3, each.shape) for each in layer.weights])
    return layer


def images_of(geometry, dtype="float32"):
    _, _, _, height, width, channels, _ = geometry
    images = np.random.default_rng(1).integers(-2, 3, (3, height, width, channels))
    return tf.constant(images, dtype)


def with_gradients(layer, images):
    """The output in training; its gradients by the image and by every weight."""
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = layer(images, training=True)
        chosen = tf.random.stateless_uniform(outputs.shape, [1, 2]) > 0.5
        loss = tf.reduce_sum(outputs * tf.cast(chosen, outputs.dtype))
    sources = [images, *(weight.value for weight in layer.trainable_weights)]
    return [outputs, *tape.gradient(loss, sources)]


def operations(layer, geometry, training):
    """The kinds of operators of a graph of `layer` and its gradients."""
    images = images_of(geometry)
    call = with_gradients if training else lambda layer, x: layer(x, training=False)
    signature = tf.TensorSpec((None, *images.shape[1:]), images.dtype)
    graph = tf.function(lambda x: call(layer, x)).get_concrete_function(
        signature if not training else images
    )
    return {operation.type for operation in graph.graph.get_operations()}


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_outputs_and_gradients_equal_keras(name, policy):
    geometry = PRODUCTS[name]
    dtype = keras.DTypePolicy(policy).compute_dtype
    images = images_of(geometry, dtype)
    ours, own = (
        with_gradients(layer_of(kind, geometry, policy, activation="relu"), images)
        for kind in (layers.PlainConv2D, keras.layers.Conv2D)
    )
    for one, other in zip(ours, own, strict=True):
        assert one.dtype == other.dtype
        pair = (tf.cast(value, "float32").numpy() for value in (one, other))
        np.testing.assert_array_equal(*pair)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_only_listed_geometries_are_products_and_only_in_training(name):
    layer = layer_of(layers.PlainConv2D, GEOMETRIES[name])
    products = "BatchMatMulV2" in operations(layer, GEOMETRIES[name], training=True)
    assert products == (name in PRODUCTS)
    kinds = operations(layer, GEOMETRIES[name], training=False)
    assert "Conv2D" in kinds
    assert "BatchMatMulV2" not in kinds


@pytest.mark.parametrize("name", ["1x1", "3x3"])
def test_a_gpu_keeps_the_convolution(name, monkeypatch):
    devices = [tf.config.PhysicalDevice(f"/{kind}:0", kind) for kind in ("CPU", "GPU")]
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda: devices)
    tensorflow_ops.is_faster_as_product.cache_clear()
    try:
        layer = layer_of(layers.PlainConv2D, PRODUCTS[name])
        kinds = operations(layer, PRODUCTS[name], training=True)
    finally:
        tensorflow_ops.is_faster_as_product.cache_clear()
    assert "Conv2DBackpropFilter" in kinds
    assert "BatchMatMulV2" not in kinds


@pytest.mark.parametrize("name", ["1x1-stride", "3x3", "3x3-stride"])
def test_a_second_derivative_equals_keras(name):
    geometry = PRODUCTS[name]
    images = images_of(geometry)
    results = []
    for kind in (layers.PlainConv2D, keras.layers.Conv2D):
        layer = layer_of(kind, geometry)
        kernel = layer.kernel.value
        with tf.GradientTape() as outer:
            outer.watch(images)
            with tf.GradientTape() as inner:
                loss = tf.reduce_sum(layer(images, training=True) ** 2)
            slopes = inner.gradient(loss, kernel)
            total = tf.reduce_sum(slopes[:, :, :2, :2])
        results.append(outer.gradient(total, [images, kernel]))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_a_side_that_is_not_known_keeps_the_convolution():
    layer = layer_of(layers.PlainConv2D, PRODUCTS["1x1"])
    signature = tf.TensorSpec((None, None, None, 64))
    call = tf.function(lambda x: layer(x, training=True))
    graph = call.get_concrete_function(signature).graph
    assert "Conv2D" in {operation.type for operation in graph.get_operations()}
