"""Run by test_learned_rounding.py under each backend: learning lowers blocks' errors."""

import keras
from rounding_parts import ranged
from rounding_parts import smooth_images

from keras_resnets.quantization.rounding import learned


def block():
    """A residual block of two convolutions between a stem and a classifier."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    y = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    y = keras.layers.Conv2D(8, 3, padding="same")(y)
    x = keras.layers.ReLU()(keras.layers.Add()([x, y]))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(10)(x))


def main(steps=800, largest=0.92):
    given, found = smooth_images(200, 8), []
    improve = learned._improve

    def told(streams, unit, *rest):
        before = streams.errors(unit.outputs).sum()
        improve(streams, unit, *rest)
        found.append(streams.errors(unit.outputs).sum() / before)

    learned._improve = told
    learned.round_learned(ranged(block(), given), given, steps=steps)

    if len(found) != 3 or max(found) > 1.0 or found[1] > largest:
        raise SystemExit(
            f"errors of the blocks over those of the second order: {found}"
        )


if __name__ == "__main__":
    main()
