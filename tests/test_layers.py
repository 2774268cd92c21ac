"""The custom layers against Keras' own, and on machines that lack the kernels."""

import os
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
from helpers import noise

from keras_resnets.errors import InvalidArgument
from keras_resnets.networks import layers
from keras_resnets.networks import tensorflow_ops


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(
    "groups, dilation, strides", [(1, 2, 1), (4, 1, 1), (4, 1, 2), (2, 3, 1)]
)
def test_conv2d_equals_keras(groups, dilation, strides, padding):
    options = {
        "padding": padding,
        "groups": groups,
        "dilation_rate": dilation,
        "strides": strides,
    }
    ours = layers.Conv2D(16, 3, bias_initializer="normal", **options)
    keras_own = keras.layers.Conv2D(16, 3, **options)
    images = noise(2, 13, 14, 8)
    ours.build(images.shape)
    keras_own.build(images.shape)
    keras_own.set_weights(ours.get_weights())
    import tensorflow as tf

    results = []
    for layer in (ours, keras_own):
        source = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch(source)
            y = layer(source)
            loss = tf.reduce_sum(y * y)
        results.append([y, *tape.gradient(loss, [source, layer.kernel.value])])
    for a, b in zip(*results, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert np.abs(a - b).max() <= 2e-6 * np.abs(b).max()


def test_conv2d_is_one_native_operation_in_a_graph():
    import tensorflow as tf

    layer = layers.Conv2D(8, 3, groups=2, dilation_rate=2, padding="same")
    layer.build((None, 8, 8, 8))
    function = tf.function(layer).get_concrete_function(tf.TensorSpec((1, 8, 8, 8)))
    kinds = [operation.type for operation in function.graph.get_operations()]
    assert kinds.count("Conv2D") == 1
    assert not {"SpaceToBatchND", "StatefulPartitionedCall", "PartitionedCall"} & set(
        kinds
    )


@pytest.mark.parametrize("chosen", [None, "0", "1"])
def test_missing_kernels_of_grouped_convolutions_are_told_once(chosen, monkeypatch):
    monkeypatch.setattr(tensorflow_ops, "_probe", lambda *asked: False)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    if chosen is not None:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", chosen)
    tensorflow_ops._warn_without_onednn.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for grouped in (False, True, True):
            assert not tensorflow_ops.has_kernel(grouped, False, "float32")
    tensorflow_ops._warn_without_onednn.cache_clear()
    told = [x for x in caught if x.category is tensorflow_ops.SlowConvolutions]
    assert len(told) == (chosen is None)
    assert all("TF_ENABLE_ONEDNN_OPTS=1" in str(x.message) for x in told)


@pytest.mark.costly
@pytest.mark.parametrize("onednn", ["0", "1"])
def test_grouped_and_dilated_training_with_and_without_onednn(onednn):
    script = """
import keras, numpy as np
from keras_resnets.networks import tensorflow_ops
from helpers import small_model, noise
for kind in ("grouped", "dilated", "dilated_grouped"):
    model = small_model(kind)
    model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
    batch = noise(4, 16, 16, 3), np.arange(4)
    losses = [float(model.train_on_batch(*batch)) for _ in range(2)]
    model.predict(noise(2, 16, 16, 3), verbose=0)
    print("loss", *losses)
print("native", tensorflow_ops.has_kernel(True, False, "float32"))
"""
    environment = {
        **os.environ,
        "TF_ENABLE_ONEDNN_OPTS": onednn,
        "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path]),
    }
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    losses = [
        line.split()[1:] for line in done.stdout.splitlines() if line.startswith("loss")
    ]
    assert len(losses) == 3
    assert all(np.isfinite(float(value)) for pair in losses for value in pair)
    if onednn == "0":
        # Without oneDNN there is no kernel for the gradient, and Keras' way is taken.
        assert "native False" in done.stdout


def test_batch_normalization_equals_keras_while_training_and_after():
    images = noise(4, 6, 5, 8) * 3 + 1
    ours = layers.BatchNormalization(momentum=0.8, epsilon=1e-5, name="bn")
    own = keras.layers.BatchNormalization(momentum=0.8, epsilon=1e-5, name="bn")
    import tensorflow as tf

    results = []
    for layer in (ours, own):
        layer.build(images.shape)
        layer.gamma.assign(np.linspace(0.5, 2, 8))
        layer.beta.assign(np.linspace(-1, 1, 8))
        source = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch(source)
            y = layer(source, training=True)
            loss = tf.reduce_sum(y * y * y)
        gradients = tape.gradient(loss, [source, layer.gamma.value, layer.beta.value])
        results.append(
            [
                y,
                *gradients,
                layer.moving_mean,
                layer.moving_variance,
                layer(source, training=False),
            ]
        )
    for a, b in zip(*results, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert np.abs(a - b).max() <= 1e-5 * max(np.abs(b).max(), 1)


@pytest.mark.parametrize("kernel", ["float32", "bfloat16"])
def test_batch_normalization_of_bfloat16_equals_keras(kernel, monkeypatch):
    import tensorflow as tf

    from keras_resnets.networks import tensorflow_ops

    monkeypatch.setattr(tensorflow_ops, "batch_norm_dtype", lambda dtype: kernel)
    images = tf.cast(noise(4, 6, 5, 8) * 3 + 1, "bfloat16")
    results = []
    for kind in (layers.BatchNormalization, keras.layers.BatchNormalization):
        layer = kind(momentum=0.8, epsilon=1e-5, dtype="mixed_bfloat16")
        layer.build(images.shape)
        layer.gamma.assign(np.linspace(0.5, 2, 8))
        layer.beta.assign(np.linspace(-1, 1, 8))
        with tf.GradientTape() as tape:
            tape.watch(images)
            y = layer(images, training=True)
            loss = tf.reduce_sum(tf.cast(y, "float32") ** 3)
        sources = [images, layer.gamma.value, layer.beta.value]
        of_images, *of_weights = tape.gradient(loss, sources)
        assert y.dtype == of_images.dtype == tf.bfloat16
        moving = [layer.moving_mean, layer.moving_variance]
        results.append([y, of_images, *of_weights, *moving])
    for n, (a, b) in enumerate(zip(*results, strict=True)):
        a, b = np.asarray(a, "float32"), np.asarray(b, "float32")
        # The first two are rounded to bfloat16, and the slopes of a few rounded values
        # differ; statistics are in float32.
        tolerance = 2**-7 if n < 4 else 1e-5
        assert np.abs(a - b).max() <= tolerance * max(np.abs(b).max(), 1)


def test_batch_normalization_casts_no_batch_of_bfloat16_that_its_kernel_takes():
    import tensorflow as tf

    from keras_resnets.networks import tensorflow_ops

    layer = layers.BatchNormalization(dtype="mixed_bfloat16")
    layer.build((None, 4, 4, 8))
    call = tf.function(lambda x: layer(x, training=True))
    graph = call.get_concrete_function(tf.TensorSpec((2, 4, 4, 8), "bfloat16")).graph
    (kernel,) = (o for o in graph.get_operations() if o.type == "FusedBatchNormV3")
    assert kernel.get_attr("T").name == tensorflow_ops.batch_norm_dtype("bfloat16")


@pytest.mark.parametrize(
    "kind, arguments",
    [
        ("BatchNormalization", ()),
        ("PlainConv2D", (4, 1)),
        ("ReLU", ()),
        ("MaxPooling2D", (3, 2)),
    ],
)
def test_layers_save_as_keras_own(kind, arguments, tmp_path):
    ours = getattr(layers, kind)
    kind = kind.removeprefix("Plain")
    own = getattr(keras.layers, kind)
    layer = ours(*arguments, name="layer")
    saved, expected = (
        keras.saving.serialize_keras_object(each)
        for each in (layer, own(*arguments, name="layer"))
    )
    # Keras looks this name up first, then the module's class.
    assert saved.pop("registered_name") == kind
    expected.pop("registered_name")
    assert saved == expected
    model = keras.Sequential([keras.Input((4, 4, 3)), layer])
    model.save(tmp_path / "layer.keras")
    loaded = keras.saving.load_model(tmp_path / "layer.keras")
    assert type(loaded.layers[0]) is own


def test_frozen_batch_normalization_does_not_move():
    layer = layers.BatchNormalization()
    layer.build((None, 4, 4, 3))
    layer.trainable = False
    layer(noise(2, 4, 4, 3), training=True)
    assert np.array_equal(np.asarray(layer.moving_mean), np.zeros(3))


def test_identity_pad_refuses_to_drop_channels():
    with pytest.raises(InvalidArgument, match="at least the 8 channels"):
        layers.IdentityPadShortcut(4)(noise(1, 4, 4, 8))


def test_stochastic_depth_keeps_the_mean_and_whole_pictures():
    layer = layers.StochasticDepth(0.25, seed=1)
    images = np.ones((4000, 2, 2, 3), "float32")
    kept = np.asarray(layer(images, training=True))
    assert set(np.unique(kept.round(4))) == {0.0, np.float32(1.3333)}
    assert np.array_equal(kept.max(axis=(1, 2, 3)), kept.min(axis=(1, 2, 3)))
    assert abs(kept.mean() - 1) < 0.03
    assert np.array_equal(np.asarray(layer(images, training=False)), images)
    with pytest.raises(InvalidArgument, match=r"\[0, 1\)"):
        layers.StochasticDepth(1.0)


def test_bad_groups_are_told():
    with pytest.raises(ValueError, match="divisible"):
        layers.Conv2D(30, 3, groups=4)
    with pytest.raises(ValueError, match="divisible"):
        layers.Conv2D(32, 3, groups=4)(noise(1, 4, 4, 6))
