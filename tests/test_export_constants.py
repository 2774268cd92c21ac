"""Models with arithmetic, normalization and pixels of their own in front."""

import keras
import numpy as np
import pytest

from keras_resnets import InvalidArgument
from keras_resnets.export import to_onnx
from keras_resnets.export import to_saved_model
from keras_resnets.export import to_tflite
from keras_resnets.export.compare.open_runner import open_runner

SHAPE = (24, 24, 3)
ROOTS = np.array([0.2, 0.3, 0.4], "float32")


def adapted():
    layer = keras.layers.Normalization()
    layer.adapt(np.random.default_rng(0).normal(3, 2, (8, *SHAPE)).astype("float32"))
    return layer


def by_pixel():
    """One mean for each value: more than TensorFlow takes for a constant by itself."""
    mean = np.random.default_rng(0).normal(0, 1, SHAPE)
    return keras.layers.Normalization(axis=(1, 2, 3), mean=mean, variance=mean**2 + 1)


FRONTS = {
    "normalization": lambda x: keras.layers.Normalization(
        mean=[0.4, 0.5, 0.6], variance=[0.2, 0.3, 0.4]
    )(x),
    "inverse": lambda x: keras.layers.Normalization(
        mean=[0.4, 0.5, 0.6], variance=[0.2, 0.3, 0.4], invert=True
    )(x),
    "adapted": lambda x: adapted()(x),
    "by pixel": lambda x: by_pixel()(x),
    "constant": lambda x: x * keras.ops.sqrt(keras.ops.convert_to_tensor(ROOTS)),
    "rescaling": lambda x: keras.layers.Rescaling(ROOTS, -ROOTS)(x),
    "arithmetic": lambda x: x / 127.5 - 1,
    "operations": lambda x: keras.ops.clip(keras.ops.sqrt(keras.ops.abs(x)), 0, 1),
}


def model_behind(front, dtype="float32"):
    given = keras.Input(SHAPE, dtype=dtype)
    x = keras.layers.Conv2D(4, 3, strides=2, name="conv")(front(given))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    return keras.Model(given, keras.layers.Dense(5, activation="softmax")(x))


@pytest.mark.costly_but("normalization", "constant", "operations")
@pytest.mark.parametrize("front", FRONTS)
def test_fronts(front, tmp_path):
    model = model_behind(FRONTS[front])
    report = to_onnx(model, tmp_path / "a.onnx")
    assert report.logits.relative_error < 1e-5
    # What follows from constants is computed when the file is written.
    steps = ("Sqrt", "Reciprocal", "Max", "Div")
    found = sum(report.operators.get(name, 0) for name in steps)
    assert found <= (2 if front == "operations" else 0)
    report = to_tflite(model, tmp_path / "a.tflite")
    assert report.logits.relative_error < 1e-5


def test_pixels(tmp_path):
    """A model that takes uint8 takes it in every file, and is compared on pixels."""
    model = model_behind(lambda x: keras.ops.cast(x, "float32") / 255.0, "uint8")
    pixels = np.random.default_rng(1).integers(0, 256, (3, *SHAPE)).astype("uint8")
    expected = model.predict(pixels)
    for write, name in (
        (to_onnx, "a.onnx"),
        (to_tflite, "a.tflite"),
        (to_saved_model, "saved"),
    ):
        write(model, tmp_path / name)
        runner = open_runner(tmp_path / name)
        assert runner.takes_pixels
        np.testing.assert_allclose(runner(pixels), expected, atol=1e-6)
    images = pixels.astype("float32")
    for options, message in (
        (
            {"recipe": "static_wi8_ai8", "calibration": images},
            "int8 requires a model that takes float",
        ),
        ({"images": images - 0.5}, "whole numbers from 0 to 255"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            to_tflite(model, tmp_path / "b.tflite", **options)
    integers = model_behind(lambda x: keras.ops.cast(x, "float32") / 255.0, "int32")
    with pytest.raises(InvalidArgument, match="float32 or uint8 images; .* int32"):
        to_onnx(integers, tmp_path / "b.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["EfficientNetB0", "MobileNetV2", "DenseNet121"])
def test_keras_applications(name, tmp_path):
    make = getattr(keras.applications, name)
    model = make(weights=None, input_shape=(32, 32, 3), classes=5)
    assert to_onnx(model, tmp_path / "a.onnx").logits.relative_error < 1e-4
    assert to_tflite(model, tmp_path / "a.tflite").logits.relative_error < 1e-4
