"""What the tests of rounding share: a small network, smooth images, what is lost."""

import keras
import numpy as np

from keras_resnets.export.recipes import RECIPES
from keras_resnets.quantization import ranges
from keras_resnets.quantization.qat import freeze
from keras_resnets.quantization.qat.rewrite import rewrite

RECIPE = RECIPES["static_wi4_ai8"]


def ranged(model, images, recipe=RECIPE):
    """`model` as one that rounds, with its ranges set."""
    made = rewrite(model, recipe)
    ranges.set_ranges(made, images)
    return made


def smooth_images(count=40, size=32):
    """Neighbouring pixels are alike, as in photographs."""
    coarse = np.random.default_rng(0).standard_normal((count, size // 4, size // 4, 3))
    return np.repeat(np.repeat(coarse, 4, 1), 4, 2).astype("float32")


def tiny():
    """Convolutions with a stride and with groups, a shortcut, and a classifier."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    y = keras.layers.Conv2D(8, 3, padding="same", groups=2)(x)
    x = keras.layers.Add()([keras.layers.BatchNormalization()(y), x])
    x = keras.layers.Conv2D(16, 3, 2, padding="same", activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(10)(x))


def off(model, made, given):
    """RMSE of the logits over the standard deviation of the model's."""
    expected = model.predict(given, verbose=0)
    found = freeze.freeze(made).predict(given, verbose=0)
    return np.sqrt(np.mean(np.square(found - expected))) / expected.std()
