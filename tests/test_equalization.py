"""Channels between two kernels are scaled so that 4-bit weights have smaller errors."""

import keras
import numpy as np
import pytest
from helpers import noise
from rounding_parts import RECIPE
from rounding_parts import off

from keras_resnets import quantization
from keras_resnets.export import passport
from keras_resnets.export.recipes import RECIPES
from keras_resnets.quantization import equalization
from keras_resnets.quantization import ranges
from keras_resnets.quantization.equalization import Read
from keras_resnets.quantization.plan import PrecisionPlan
from keras_resnets.quantization.qat.layers import KERNELS
from keras_resnets.quantization.qat.rewrite import rewrite

layers = keras.layers


def chain(*middle, units=4, unequal=True):
    """A convolution, the layers of `middle`, and a convolution or `units` outputs.

    Where `unequal`, every other channel between them is large, and the weights that
    read it are small.
    """
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    first = layers.Conv2D(6, 3, name="first")
    x = first(image)
    for layer in middle:
        x = layer(x)
    last = layers.Dense(units) if len(x.shape) == 2 else layers.Conv2D(units, 1)
    last.name = "last"
    model = keras.Model(image, last(x))
    if unequal:
        factors = np.tile([1.0, 30.0], 3).astype("float32")
        first.kernel.assign(first.kernel * factors)
        last.kernel.assign(last.kernel / factors[:, None])
    return model


def norm():
    return layers.BatchNormalization(
        gamma_initializer="random_uniform", beta_initializer="ones"
    )


def found(model):
    pairs = equalization.pairs(rewrite(model, RECIPE))
    return [(pair.before.name, *(x.name for x in pair.after)) for pair in pairs]


CHAINS = {
    "relu": lambda: [layers.ReLU()],
    "folded BN": lambda: [norm(), layers.ReLU()],
    "padding and pooling": lambda: [
        layers.ReLU(),
        layers.ZeroPadding2D(),
        layers.MaxPooling2D(3),
        layers.AveragePooling2D(2),
    ],
    "mean and dense": lambda: [layers.ReLU(), layers.GlobalAveragePooling2D()],
    "BN alone": lambda: [layers.ReLU(), norm(), layers.ReLU()],
}


@pytest.mark.parametrize("kind", CHAINS)
def test_the_network_computes_the_same(kind):
    made, images = rewrite(chain(*CHAINS[kind]()), RECIPE), noise(20, 8, 8, 3)
    before = [x.numpy() if hasattr(x, "numpy") else np.array(x) for x in made.weights]
    with ranges.float_arithmetic(made):
        expected = keras.ops.convert_to_numpy(made(images))
    equalization.equalize(made, images)
    with ranges.float_arithmetic(made):
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(made(images)), expected, rtol=1e-4, atol=1e-5
        )
    moved = zip(before, made.weights, strict=True)
    assert any(np.abs(a - np.array(b)).max() > 1e-3 for a, b in moved)


@pytest.mark.parametrize(
    ("middle", "expected"),
    [
        (lambda: [layers.ReLU()], [("first", "last")]),
        (lambda: [layers.ReLU(6.0)], []),
        (lambda: [layers.LeakyReLU(0.1)], []),
        (lambda: [], []),
        (lambda: [layers.ReLU(), layers.Conv2D(6, 1, groups=2, name="grouped")], []),
        (lambda: [layers.ReLU(), layers.Flatten()], []),
    ],
)
def test_only_a_relu_lets_factors_pass(middle, expected):
    assert found(chain(*middle(), unequal=False)) == expected


def test_an_output_with_other_readers_keeps_its_channels():
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 1, activation="relu")(image)
    y = layers.Conv2D(4, 1)(x)
    assert found(keras.Model(image, y))
    assert not found(keras.Model(image, layers.Add()([x, y])))
    assert not found(keras.Model(image, [x, y]))
    shared = layers.Conv2D(4, 1, activation="relu")
    assert not found(keras.Model(image, layers.Conv2D(4, 1)(shared(shared(x)))))


@pytest.mark.parametrize("per_channel", [True, False])
def test_the_gradient_of_the_error(per_channel):
    rng = np.random.default_rng(0)
    kernel, logs = rng.standard_normal((9, 6, 4)), 0.3 * rng.standard_normal(6)
    square, top = 0.1 + rng.random(6), 1 + 5 * rng.random(6)
    power = np.square(kernel).sum(axis=0)
    read = Read(np.abs(kernel).max(axis=0), power, 9, square, top, 4, per_channel)
    _, gradient = read.error(logs)
    for index, move in enumerate(1e-6 * np.eye(6)):
        higher, lower = read.error(logs + move)[0], read.error(logs - move)[0]
        assert gradient[index] == pytest.approx((higher - lower) / 2e-6, rel=1e-4)
    scales = equalization.best_scales([read])
    assert read.error(np.log(scales))[0] < read.error(np.zeros(6))[0]
    assert np.log(scales).mean() == pytest.approx(0, abs=1e-9)


def test_equal_channels_stay_as_they_are():
    made = rewrite(chain(layers.ReLU(), unequal=False), RECIPE)
    before = [np.array(x) for x in made.weights]
    equalization.equalize(made, noise(20, 8, 8, 3))
    for old, weight in zip(before, made.weights, strict=True):
        np.testing.assert_array_equal(np.array(weight), old)


@pytest.mark.costly
def test_unequal_channels_are_rounded_better(monkeypatch):
    model, images = chain(layers.ReLU(), units=16), noise(40, 8, 8, 3)
    scaled = off(model, quantization.quantize_aware(model, RECIPE, images), images)
    monkeypatch.setattr(PrecisionPlan, "equalizes", False)
    plain = off(model, quantization.quantize_aware(model, RECIPE, images), images)
    assert scaled < 0.8 * plain, (scaled, plain)


@pytest.mark.costly
def test_ends_have_eight_bits(tmp_path):
    model, images = (
        chain(layers.ReLU(), layers.Conv2D(6, 1, name="middle"), layers.ReLU()),
        noise(40, 8, 8, 3),
    )
    aware = quantization.quantize_aware(model, "static_wi4_ai8_ends_wi8", images)
    bits = [x.weight_bits for x in aware.layers if isinstance(x, KERNELS)]
    assert bits == [8, 4, 8]
    plain = off(model, quantization.quantize_aware(model, RECIPE, images), images)
    assert off(model, aware, images) < 0.8 * plain
    path = tmp_path / "a.tflite"
    quantization.quantize(
        model, path, "static_wi4_ai8_ends_wi8", images, storage="conv_int4"
    )
    recipe = passport.read(path)["recipe"]
    assert (recipe["weight_bits"], recipe["end_bits"]) == (4, 8)
    assert recipe["storage"]["layers"] == {"middle": "CONV_2D int4"}


def test_only_four_bits_by_images_are_equalized():
    four = ("static_wi4_ai8", "static_wi4_ai8_ends_wi8")
    for name, recipe in RECIPES.items():
        assert PrecisionPlan.of(recipe).equalizes == (name in four), name
    assert not PrecisionPlan.of(RECIPE.with_rounding("nearest")).equalizes
