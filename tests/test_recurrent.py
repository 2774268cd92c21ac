"""Recurrent heads, whose files contain a loop with a graph of its own; attention."""

import contextlib
import functools

import keras
import pytest
import zoo
from helpers import noise
from helpers import randomize
from helpers import refusal

from keras_resnets import ExportError
from keras_resnets.export import to_onnx
from keras_resnets.export import to_saved_model
from keras_resnets.export import to_tflite
from keras_resnets.export.tflite.refusal import WrongInTensorFlow

IMAGES = noise(12, *zoo.SHAPE)


def recurrent(kind):
    """A convolution whose rows are read by a recurrent layer."""
    image = keras.Input(zoo.SHAPE)
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", name="conv")(image)
    x = kind(5, name="reads")(keras.layers.Reshape((8, 32))(x))
    return randomize(keras.Model(image, keras.layers.Dense(3)(x)))


def twofold(units, name):
    return keras.layers.Bidirectional(keras.layers.GRU(units), name=name)


@pytest.mark.costly_but("LSTM-a.tflite-float32", "LSTM-a.onnx-float32")
@pytest.mark.parametrize("recipe", ["float32", "float16"])
@pytest.mark.parametrize(
    "write, file",
    [(to_tflite, "a.tflite"), (to_onnx, "a.onnx"), (to_saved_model, "a")],
    ids=["a.tflite", "a.onnx", "a"],
)
@pytest.mark.parametrize("kind", [keras.layers.LSTM, twofold], ids=["LSTM", "both"])
def test_files_compute_what_the_model_does(kind, write, file, recipe, tmp_path):
    if write is to_saved_model:
        if recipe == "float16":
            pytest.skip("a SavedModel is float32")
        report = write(recurrent(kind), tmp_path / file, images=IMAGES)
    else:
        report = write(recurrent(kind), tmp_path / file, recipe, images=IMAGES)
    assert report.outputs.relative_error < (1e-4 if recipe == "float32" else 1e-2)


@pytest.mark.costly_but("static_wi8_ai8")
@pytest.mark.parametrize("recipe", ["static_wi8_ai8", "static_wi8_ai16"])
def test_a_loop_that_crashes_the_converter_is_refused(recipe, tmp_path):
    """The whole process would end."""
    write = functools.partial(
        to_tflite,
        recurrent(keras.layers.LSTM),
        tmp_path / "a.tflite",
        recipe,
        calibration=IMAGES,
    )
    with (
        pytest.warns(UserWarning)
        if recipe == "static_wi8_ai8"
        else contextlib.nullcontext()
    ):
        refusal(write, "(layer reads)", "export float32, float16 or dynamic")
    assert not list(tmp_path.iterdir())


@pytest.mark.costly
def test_a_loop_that_crashes_the_runtime_is_refused(tmp_path):
    model = recurrent(keras.layers.LSTM)
    with pytest.raises(ExportError, match=r"int8 file with the Loop \(layer reads\)"):
        to_onnx(model, tmp_path / "a.onnx", "static_wi8_ai8", calibration=IMAGES)
    assert not list(tmp_path.iterdir())


@pytest.mark.costly
def test_attention_in_int8_names_the_interpreter_that_gets_it_wrong(tmp_path):
    image = keras.Input(zoo.SHAPE)
    x = keras.layers.Conv2D(8, 3, strides=4, padding="same")(image)
    x = keras.layers.Reshape((16, 8))(x)
    x = keras.layers.MultiHeadAttention(2, 4)(x, x)
    model = randomize(keras.Model(image, keras.layers.GlobalAveragePooling1D()(x)))
    with pytest.warns(WrongInTensorFlow, match="right in LiteRT"):
        to_tflite(model, tmp_path / "a.tflite", "static_wi8_ai8", calibration=IMAGES)
