"""Run by test_backends.py under another backend: python backend_probe.py OUTPUT.npz"""

import pathlib
import sys

import keras
import numpy as np
from helpers import noise
from helpers import outputs
from helpers import small_model

import keras_resnets
from keras_resnets.networks import layers

# Each block, shortcut, stem and custom layer once; JAX compiles every shape anew.
KINDS = (
    "basic_original bottleneck_full_preact shortcut_a shortcut_d stride_in_1x1 "
    "tiered_stem keras_v2 grouped dilated darknet darknet_plain drn_conv "
    "dead_projection mlperf_tiny"
).split()


def predictions():
    """Outputs of networks with the same random values on every backend."""
    images = noise(2, 33, 33, 3)
    return {kind: outputs(small_model(kind), images) for kind in KINDS}


def train_step(kind):
    """Gradients flow: one step of `fit` moves every trainable weight."""
    model = small_model(kind, dtype="mixed_bfloat16", axes={"drop_path_rate": 0.1})
    before = [
        np.array(keras.ops.convert_to_numpy(weight))
        for weight in model.trainable_weights
    ]
    model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    labels = np.arange(8) % 10
    history = model.fit(noise(8, 32, 32, 3), labels, batch_size=8, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    still = [
        weight.path
        for weight, old in zip(model.trainable_weights, before, strict=True)
        if np.array_equal(keras.ops.convert_to_numpy(weight), old)
    ]
    assert not still, still


def normalize_on_jax():
    """Training with BN of one pass equals Keras' of two: outputs, statistics, gradients."""
    import jax

    rng = np.random.default_rng(0)
    x = (rng.standard_normal((8, 6, 5, 16)) * 2 + 3).astype("float32")
    gamma, beta, weights = rng.uniform(0.5, 1.5, (3, 16)).astype("float32")
    found = []
    for kind in (layers.BatchNormalization, keras.layers.BatchNormalization):
        layer = kind(momentum=0.9)
        layer.build(x.shape)
        layer.set_weights([gamma, beta, np.full(16, 2.0), np.ones(16)])
        state = [variable.value for variable in layer.non_trainable_variables]

        def loss(trained, x, layer=layer, state=state):
            outputs, state = layer.stateless_call(trained, state, x, training=True)
            return (outputs**3 * weights).sum(), (outputs, state)

        trained = [variable.value for variable in layer.trainable_variables]
        gradients, others = jax.grad(loss, (0, 1), has_aux=True)(trained, x)
        found.append(jax.tree.leaves((gradients, others)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)


def relu_and_pooling_on_jax():
    """Both layers equal Keras' own, in every setting, and use their own operations."""
    import jax

    both = (layers, keras.layers)
    x = np.random.default_rng(0).integers(-2, 3, (2, 10, 9, 4)).astype("float32")
    for kind, settings, operation in (
        ("ReLU", {}, "custom_jvp_call"),
        ("ReLU", {"max_value": 1.5}, None),
        ("ReLU", {"negative_slope": 0.5, "threshold": 1.0}, None),
        ("MaxPooling2D", {"pool_size": 3, "strides": 2}, "custom_jvp_call"),
        ("MaxPooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, None),
        ("MaxPooling2D", {"pool_size": 3, "strides": 1}, None),
        ("MaxPooling2D", {"pool_size": (3, 2), "strides": 2}, None),
    ):
        found = []
        for source in both:
            layer = getattr(source, kind)(**settings)
            y, back = jax.vjp(layer, x)
            found.append((y, *back(np.asarray(y) + 1)))
            assert layer(keras.KerasTensor(x.shape)).shape == y.shape
        for one, other in zip(*found, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=f"{kind} {settings}")
        own = "optimization_barrier" if kind == "ReLU" else "i8["
        layer = getattr(layers, kind)(**settings)
        slope = jax.make_jaxpr(lambda x, f=layer: jax.vjp(f, x)[1](f(x)))(x)
        assert (own in str(slope)) == (operation is not None), (kind, settings)


def steps_equal_those_of_the_saved_file(folder):
    """A `.keras` file has Keras' layers; training computes the same with both."""
    model = small_model("shortcut_d")
    kinds = [type(layer) for layer in model.layers]
    assert layers.ReLU in kinds and layers.MaxPooling2D in kinds
    model.save(folder / "model.keras")
    loaded = keras.saving.load_model(folder / "model.keras")
    assert not {layers.ReLU, layers.MaxPooling2D} & {type(x) for x in loaded.layers}
    images, labels = noise(8, 32, 32, 3), np.arange(8) % 10
    losses = []
    for each in (model, loaded):
        each.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
        losses.append([float(each.train_on_batch(images, labels)) for _ in range(3)])
    np.testing.assert_allclose(*losses, rtol=1e-5)
    for one, other in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_allclose(
            *map(keras.ops.convert_to_numpy, (one, other)), rtol=1e-3, atol=1e-4
        )


def main(path):
    results = predictions()
    if keras.backend.backend() == "jax":
        normalize_on_jax()
        relu_and_pooling_on_jax()
    train_step("dilated_grouped")
    model = keras_resnets.ResNeXt50(weights=None, input_shape=(64, 64, 3))
    assert keras_resnets.analyze(model).trainable_params == 25_028_904
    other = {"jax": "torch", "torch": "jax"}[keras.backend.backend()]
    for name in ("tensorflow", other):
        assert name not in sys.modules, f"{name} was imported"
    if keras.backend.backend() == "jax":
        # Saving imports TensorFlow where it is installed.
        steps_equal_those_of_the_saved_file(pathlib.Path(path).parent)
    np.savez(path, **results)


if __name__ == "__main__":
    main(sys.argv[1])
