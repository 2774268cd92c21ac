"""Run by test_qat.py under another backend: trains a quantization-aware network."""

import keras
import numpy as np
from helpers import noise
from helpers import small_model

from keras_resnets.export.recipes import Recipe
from keras_resnets.quantization.qat import aware


def main():
    axes = {"depths": (1,), "filters": (8,), "strides": (1,)}
    model = small_model("grouped", input_shape=(8, 8, 3), axes=axes)
    x = noise(16, 8, 8, 3)
    recipe = Recipe(name="both", weight_bits=4, weight_ranges="learned")
    made = aware.quantize_aware(model, recipe, calibration=x)
    made.compile(keras.optimizers.SGD(0.02), "sparse_categorical_crossentropy")
    labels = np.arange(16) % 10
    before = float(made.get_layer("image_range").high)
    history = made.fit(4 * x, labels, batch_size=16, epochs=5, verbose=0)
    losses = history.history["loss"]
    assert losses[-1] < losses[0], losses
    assert float(made.get_layer("image_range").high) > before


if __name__ == "__main__":
    main()
