"""Run by test_backends.py under another backend: python backend_probe.py OUTPUT.npz"""

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


def main(path):
    results = predictions()
    if keras.backend.backend() == "jax":
        normalize_on_jax()
    train_step("dilated_grouped")
    model = keras_resnets.ResNeXt50(weights=None, input_shape=(64, 64, 3))
    assert keras_resnets.analyze(model).trainable_params == 25_028_904
    other = {"jax": "torch", "torch": "jax"}[keras.backend.backend()]
    for name in ("tensorflow", other):
        assert name not in sys.modules, f"{name} was imported"
    np.savez(path, **results)


if __name__ == "__main__":
    main(sys.argv[1])
