"""Run by test_learned_rounding.py under each backend: learning lowers blocks' errors."""

import keras
import numpy as np
from rounding_parts import ranged
from rounding_parts import smooth_images

from keras_resnets.quantization.rounding import learned


def block():
    """A residual block of two convolutions between a stem and a classifier."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    y = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    y = keras.layers.Conv2D(8, 3, padding="same")(y)
    x = keras.layers.ReLU()(keras.layers.Add()([x, y]))
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(10)(x))
    # Not drawn by Keras, so that all backends have the same.
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) > 1:
            spread = np.sqrt(1 / np.prod(weight.shape[:-1]))
            weight.assign(rng.normal(0, spread, weight.shape))
    return model


def main():
    given, found = smooth_images(200, 8), []
    improve = learned._improve

    def told(streams, unit, *rest):
        before = streams.errors(unit.outputs).sum()
        improve(streams, unit, *rest)
        found.append(streams.errors(unit.outputs).sum() / before)

    learned._improve = told
    learned.round_learned(ranged(block(), given), given, steps=800)

    if len(found) != 3 or max(found) > 1.0 or found[1] > 0.95:
        raise SystemExit(
            f"errors of the blocks over those of the second order: {found}"
        )


if __name__ == "__main__":
    main()
