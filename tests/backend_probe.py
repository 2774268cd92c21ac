"""Run by test_backends.py under another backend: python backend_probe.py OUTPUT.npz"""

import sys

import keras
import numpy as np
from helpers import noise
from helpers import outputs
from helpers import small_model

import keras_resnets

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


def main(path):
    results = predictions()
    train_step("dilated_grouped")
    model = keras_resnets.ResNeXt50(weights=None, input_shape=(64, 64, 3))
    assert keras_resnets.analyze(model).trainable_params == 25_028_904
    other = {"jax": "torch", "torch": "jax"}[keras.backend.backend()]
    for name in ("tensorflow", other):
        assert name not in sys.modules, f"{name} was imported"
    np.savez(path, **results)


if __name__ == "__main__":
    main(sys.argv[1])
