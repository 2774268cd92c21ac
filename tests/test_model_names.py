"""Names of models and layers that TensorFlow refuses and other backends take."""

import functools

import keras
import pytest
import zoo
from helpers import noise
from helpers import randomize
from helpers import refusal

from keras_resnets import quantization
from keras_resnets.export import to_keras
from keras_resnets.export import to_onnx
from keras_resnets.export import to_saved_model
from keras_resnets.export import to_tflite

IMAGES = noise(12, *zoo.SHAPE)


def called(model, layer="conv"):
    image = keras.Input(zoo.SHAPE, name="the image")
    x = keras.layers.Conv2D(8, 3, activation="relu", name=layer)(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return randomize(keras.Model(image, keras.layers.Dense(5)(x), name=model))


@pytest.mark.costly
@pytest.mark.parametrize("name", ["my model", "réseau 网络", "_mine"])
def test_a_model_of_any_name_is_exported(name, tmp_path):
    model = called(name)
    exports = (to_tflite, "a.tflite"), (to_saved_model, "a"), (to_keras, "a.keras")
    for write, file in (*exports, (to_onnx, "a.onnx")):
        assert write(model, tmp_path / file, images=IMAGES).path.exists()
    path = tmp_path / "b.tflite"
    assert quantization.quantize(model, path, calibration=IMAGES).logits.sqnr > 25
    assert quantization.quantize_aware(model, calibration=IMAGES).name


@pytest.mark.parametrize("name", ["conv 1", "conv:0", "réseau"])
def test_a_layer_with_a_name_that_tensorflow_refuses_is_named(name, tmp_path):
    model = called("mine", name)
    exports = (to_tflite, "a.tflite"), (to_saved_model, "a"), (to_keras, "a.keras")
    for write, file in (*exports, (to_onnx, "a.onnx")):
        refusal(functools.partial(write, model, tmp_path / file), repr(name))
    path = tmp_path / "b.tflite"
    refusal(lambda: quantization.quantize(model, path, calibration=IMAGES), repr(name))
    refusal(lambda: quantization.quantize_aware(model), repr(name))
    assert not list(tmp_path.iterdir())
    model.get_layer(name).name = "conv_1"
    assert to_tflite(model, tmp_path / "a.tflite").logits.relative_error < 1e-4
