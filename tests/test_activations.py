"""Activations that users write otherwise than by a name of Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo
from helpers import noise
from helpers import randomize
from helpers import refusal
from keras import layers

from keras_resnets import ExportError
from keras_resnets import quantization
from keras_resnets.export import to_keras
from keras_resnets.export import to_tflite
from keras_resnets.export.compare.open_runner import open_runner
from keras_resnets.graph import activations
from keras_resnets.graph import anatomy
from keras_resnets.quantization import ptq
from keras_resnets.quantization import ranges

IMAGES = noise(12, *zoo.SHAPE)


def named(name, function):
    function.__name__ = function.__qualname__ = name
    return function


def own_relu():
    return named("relu", lambda x: 2 * keras.ops.relu(x) + 0.5)


def model_of(activation, head="softmax", **options):
    """Convolution with the activation, pooling and classifier."""
    image = keras.Input(zoo.SHAPE)
    x = layers.Conv2D(8, 3, padding="same", name="stem")(image)
    x = layers.Conv2D(8, 3, activation=activation, name="conv", **options)(x)
    x = layers.GlobalAveragePooling2D()(x)
    return randomize(keras.Model(image, layers.Dense(5, activation=head)(x)))


def says(model):
    return keras.ops.convert_to_numpy(model(IMAGES, training=False))


KNOWN = {
    "relu": lambda: tf.nn.relu,
    "relu of operations": lambda: keras.ops.relu,
    "layer of relu": layers.ReLU,
    "layer of relu6": lambda: layers.ReLU(6.0),
    "layer of leaky relu": lambda: layers.LeakyReLU(negative_slope=0.1),
    "relu that leaks": lambda: layers.ReLU(negative_slope=0.3),
    "layer of a layer": lambda: layers.Activation(layers.LeakyReLU(negative_slope=0.1)),
    "leaky relu": lambda: tf.nn.leaky_relu,
    "silu": lambda: tf.nn.silu,
    "silu of operations": lambda: keras.ops.silu,
    "gelu": lambda: tf.nn.gelu,
    "sigmoid": lambda: tf.nn.sigmoid,
    "identity": lambda: tf.identity,
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_functions_have_an_integer_form_by_any_name(name):
    model = model_of(KNOWN[name]())
    model.get_layer("conv").bias.assign(np.linspace(-8, 8, 8))
    made = quantization.quantize_aware(model)
    with ranges.float_arithmetic(made):
        np.testing.assert_allclose(says(made), says(model), atol=1e-5)


def test_a_layer_in_an_activation_layer_is_that_layer():
    image = keras.Input(zoo.SHAPE)
    x = layers.Conv2D(8, 3)(image)
    x = layers.Activation(layers.LeakyReLU(negative_slope=0.1))(x)
    x = layers.ReLU(negative_slope=0.3)(layers.Conv2D(8, 3)(x))
    model = randomize(keras.Model(image, layers.Conv2D(8, 3)(x)))
    made = quantization.quantize_aware(model)
    with ranges.float_arithmetic(made):
        np.testing.assert_allclose(says(made), says(model), atol=1e-4)


@pytest.mark.parametrize(
    "make, word",
    [
        (own_relu, "relu"),
        (lambda: named("linear", lambda x: 2 * x), "linear"),
        (lambda: layers.ReLU(1.0), "ReLU"),
        (lambda: layers.ReLU(threshold=0.5), "ReLU"),
        (lambda: layers.PReLU(shared_axes=[1, 2]), "PReLU"),
        (lambda: keras.ops.gelu, "gelu"),
    ],
)
def test_other_functions_are_refused_by_what_they_compute(make, word):
    words = (f"(Conv2D with {word})", "engine 'converter'")
    refusal(lambda: quantization.quantize_aware(model_of(make())), *words)
    image = keras.Input(zoo.SHAPE)
    x = layers.Activation(make())(layers.Conv2D(8, 3)(image))
    words = (f"(Activation with {word})",)
    refusal(lambda: quantization.quantize_aware(keras.Model(image, x)), *words)


def half(activation):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        return model_of(activation)
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize(
    "make",
    [
        lambda activation: model_of(activation, groups=2),
        lambda activation: model_of(activation, dilation_rate=2),
        half,
    ],
)
@pytest.mark.parametrize("activation", [own_relu, lambda: tf.nn.silu])
def test_models_that_must_change_keep_their_functions(make, activation, tmp_path):
    model = make(activation())
    report = to_tflite(model, tmp_path / "a.tflite", images=IMAGES)
    found = open_runner(report.path)(IMAGES)
    np.testing.assert_allclose(found, says(model), atol=5e-3 if make is half else 1e-5)


def with_lambda():
    image = keras.Input(zoo.SHAPE)
    x = layers.Conv2D(8, 3, groups=1, dilation_rate=2)(image)
    return keras.Model(image, layers.Lambda(lambda x: own_relu()(x), name="mine")(x))


def test_lambda_layers_are_copied(tmp_path):
    model = randomize(with_lambda())
    report = to_tflite(model, tmp_path / "a.tflite", images=IMAGES)
    found = open_runner(report.path)(IMAGES)
    np.testing.assert_allclose(found, says(model), atol=1e-4)


@pytest.mark.parametrize(
    "make, word",
    [
        (lambda: model_of(own_relu()), "layer conv (relu)"),
        (lambda: model_of(lambda x: x * x), "layer conv (<lambda>)"),
        (lambda: model_of(keras.ops.gelu), "layer conv (gelu)"),
        (with_lambda, "layer mine (<lambda>)"),
    ],
)
def test_functions_that_keras_cannot_load_are_named(make, word, tmp_path):
    with pytest.raises(ExportError) as caught:
        to_keras(make(), tmp_path / "a.keras")
    assert word in str(caught.value) and "register_keras" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_known_and_registered_functions_are_stored(tmp_path):
    mine = keras.saving.register_keras_serializable("tests")(own_relu())
    for index, function in enumerate((tf.nn.silu, mine)):
        model = model_of(function)
        path = to_keras(model, tmp_path / f"{index}.keras").path
        np.testing.assert_allclose(
            says(keras.saving.load_model(path)), says(model), atol=1e-6
        )


@pytest.mark.parametrize(
    "head, kind",
    [
        (lambda x: keras.ops.softmax(x), "softmax"),
        (lambda x: keras.ops.sigmoid(x), "sigmoid"),
        (named("softmax", lambda x: 3 * x), "logits"),
        (tf.nn.softmax, "softmax"),
    ],
)
def test_values_tell_the_kind_of_a_function_of_ones_own(head, kind):
    assert anatomy.kind_of_outputs(model_of("relu", head)) == kind


def test_names_of_functions():
    assert activations.name_of(keras.activations.swish) == "silu"
    assert activations.name_of(tf.nn.swish) == "silu"
    assert activations.name_of(tf.nn.softmax) == "softmax"
    assert activations.name_of(None) is None
    assert activations.name_of(layers.ReLU()) is None
    assert activations.name_of(np.tanh) is None


def test_a_norm_over_rows_is_left_to_the_converter(tmp_path):
    image = keras.Input(zoo.SHAPE)
    x = layers.BatchNormalization(axis=1)(layers.Conv2D(8, 3)(image))
    model = randomize(keras.Model(image, layers.Conv2D(4, 3)(x)))
    refusal(lambda: quantization.quantize_aware(model), "axis=1", "'converter'")
    path = tmp_path / "a.tflite"
    with pytest.warns(ptq.OtherEngine, match="axis=1"):
        quantization.quantize(model, path, calibration=IMAGES)
    found = open_runner(path)(IMAGES)
    assert np.corrcoef(found.ravel(), says(model).ravel())[0, 1] > 0.99
