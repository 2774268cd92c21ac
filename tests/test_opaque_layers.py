"""Layers whose inside no exporter can read: subclassed models, SavedModels, Keras' int8."""

import functools

import keras
import pytest
import zoo
from helpers import noise
from helpers import randomize
from helpers import refusal

from keras_resnets import ExportError
from keras_resnets import quantization
from keras_resnets.export import to_keras
from keras_resnets.export import to_onnx
from keras_resnets.export import to_tflite
from keras_resnets.quantization import ptq

IMAGES = noise(12, *zoo.SHAPE)


class Own(keras.Model):
    """A model of code, with a model of layers inside."""

    def __init__(self, groups=1):
        super().__init__()
        image = keras.Input(zoo.SHAPE)
        x = keras.layers.Conv2D(8, 3)(image)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.Conv2D(8, 3, activation="relu", groups=groups)(x)
        self.body = keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))
        self.head = keras.layers.Dense(5)

    def call(self, images):
        return self.head(self.body(images))


def around(inner):
    """What the refusal of a subclassed model advises."""
    image = keras.Input(zoo.SHAPE)
    return randomize(keras.Model(image, inner(image)))


def test_a_subclassed_model_inside_is_exported(tmp_path):
    model = around(Own())
    report = to_tflite(model, tmp_path / "a.tflite", images=IMAGES)
    assert report.outputs.relative_error < 1e-4
    quantize = functools.partial(quantization.quantize, calibration=IMAGES)
    with pytest.warns(ptq.OtherEngine, match="layer own"):
        assert quantize(model, tmp_path / "b.tflite").outputs.sqnr > 25
    refusal(lambda: quantization.quantize_aware(model), "(Own)")
    with pytest.raises(ExportError, match="cannot contain the code of layer own"):
        to_keras(model, tmp_path / "a.keras", images=IMAGES)


@pytest.mark.parametrize("policy, groups", [("mixed_float16", 1), ("float32", 2)])
def test_a_subclassed_model_that_must_be_changed_is_named(policy, groups, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        model = around(Own(groups))
    finally:
        keras.config.set_dtype_policy("float32")
    for write, file in ((to_tflite, "a.tflite"), (to_onnx, "a.onnx")):
        export = functools.partial(write, model, tmp_path / file)
        refusal(export, "own", "(Own) is not: build it as a functional model")


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_a_model_that_keras_has_quantized_is_refused(mode, tmp_path):
    image = keras.Input(zoo.SHAPE)
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, name="conv")(image))
    model = keras.Model(image, keras.layers.Dense(5, name="head")(x))
    model.get_layer("head").quantize(mode)
    words = "head", f"into {mode}: give the model as it was before"
    for write, file in ((to_tflite, "a.tflite"), (to_keras, "a.keras")):
        refusal(functools.partial(write, model, tmp_path / file), *words)
    refusal(lambda: quantization.quantize_aware(model), *words)


@pytest.mark.costly
def test_a_saved_model_inside_is_exported_but_not_as_keras(tmp_path):
    around(Own()).export(tmp_path / "saved", verbose=False)
    saved = keras.layers.TFSMLayer(tmp_path / "saved", call_endpoint="serve")
    image = keras.Input(zoo.SHAPE)
    model = keras.Model(image, saved(image))
    report = to_tflite(model, tmp_path / "a.tflite", images=IMAGES)
    assert report.outputs.relative_error < 1e-4
    with pytest.raises(ExportError, match="TFSMLayer"):
        to_keras(model, tmp_path / "a.keras", images=IMAGES)
