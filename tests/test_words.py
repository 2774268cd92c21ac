"""One set of words for what a file computes in, and one road to each file."""

import json

import numpy as np
import pytest
from commands import refused
from commands import run
from helpers import noise
from helpers import small_model

from keras_resnets import quantization
from keras_resnets.errors import InvalidArgument
from keras_resnets.export import number_formats
from keras_resnets.export import recipes
from keras_resnets.export import to_onnx
from keras_resnets.export import to_tflite
from keras_resnets.export.formats import FORMATS


@pytest.fixture
def model():
    return small_model("basic_original", input_shape=(16, 16, 3))


def test_one_table_of_recipes():
    """What exporters know of a recipe is what the recipe says."""
    for name, recipe in recipes.RECIPES.items():
        assert recipes.format_of(name).name == recipe.quantize
    for form in FORMATS.values():
        named = set(recipes.RECIPES) | {number_formats.FLOAT32}
        assert set(form.recipes) <= named and form.recipes[0] == number_formats.FLOAT32
    assert set(number_formats.OLD_WORDS.values()) <= named
    assert not set(number_formats.OLD_WORDS) & named


@pytest.mark.costly
@pytest.mark.parametrize("old", number_formats.OLD_WORDS)
def test_old_words_of_python_warn_for_one_version(old, model, tmp_path):
    """The file is that of the new word, and the one that `quantize` makes."""
    new, images = number_formats.OLD_WORDS[old], noise(12, 16, 16, 3)
    with pytest.warns(DeprecationWarning, match=rf"recipe '{old}' is '{new}' now"):
        before = to_tflite(model, tmp_path / "old.tflite", old, images).path
    after = to_tflite(model, tmp_path / "new.tflite", new, images).path
    assert before.read_bytes() == after.read_bytes()
    if old == "none":
        return
    made = quantization.quantize(model, tmp_path / "b.tflite", new, images).path
    assert after.read_bytes() == made.read_bytes()
    with pytest.raises(InvalidArgument, match=f"recipe '{old}' is '{new}' now"):
        quantization.quantize(model, tmp_path / "c.tflite", old, images)


@pytest.mark.costly
def test_old_arguments_warn_for_one_version(model, tmp_path):
    with pytest.warns(
        DeprecationWarning, match=r"to_tflite\(quantize=\) is recipe= now"
    ):
        to_tflite(model, tmp_path / "a.tflite", quantize="float16")
    with pytest.warns(DeprecationWarning, match=r"to_onnx\(quantize=\) is recipe= now"):
        to_onnx(model, tmp_path / "a.onnx", quantize="float16")
    images = noise(12, 16, 16, 3)
    name = "static_wi8_ai8_per_tensor"
    with pytest.warns(DeprecationWarning, match=f"per_tensor=True is '{name}' now"):
        path = tmp_path / "b.tflite"
        to_tflite(model, path, "static_wi8_ai8", images, per_tensor=True)
    made = quantization.quantize(model, tmp_path / "c.tflite", name, images).path
    assert path.read_bytes() == made.read_bytes()


def test_layers_without_an_integer_form_take_the_other_engine(tmp_path):
    """As they always had an int8 file by `export`; which engine made it is told."""
    import keras

    image = keras.Input((16, 16, 3))
    x = keras.layers.PReLU(shared_axes=(1, 2))(keras.layers.Conv2D(8, 3)(image))
    x = keras.layers.Dense(4, "softmax")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x, name="mine")
    images = noise(12, 16, 16, 3)
    # It advises nothing that was done already.
    note = r"TensorFlow's converter sets the ranges, .*: no integer form .* \(PReLU\)$"
    with pytest.warns(UserWarning, match=note):
        made = to_tflite(model, tmp_path / "a.tflite", "static_wi8_ai8", images).path
    said = json.loads((tmp_path / "a.tflite.json").read_text())["recipe"]
    # The converter has no other way to find ranges, so that it names none.
    assert said["engine"] == "converter" and said["method"] is None
    assert said["calibration"]["images"] == 12
    with pytest.warns(UserWarning):
        again = quantization.quantize(model, tmp_path / "b.tflite", calibration=images)
    assert again.path.read_bytes() == made.read_bytes()
    with pytest.raises(InvalidArgument, match="no integer form is known for layer"):
        quantization.quantize(
            model, tmp_path / "c.tflite", calibration=images, engine="ranges"
        )


@pytest.mark.costly
def test_the_commands_make_the_same_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(1).integers(0, 256, (20, 32, 32, 3), "uint8")
    np.savez("data.npz", x_train=pixels, y_train=np.arange(20) % 10)
    network = ["resnet20", "--weights", "cifar10", "--calibration", "data.npz"]
    new = ["export", "tflite", *network, "--recipe", "static_wi8_ai8"]
    old = ["export", "tflite", *network, "--quantize", "int8"]
    for words in (new, ["quantize", *network, "--output", "b.tflite"], old):
        code, out, err = run(*words, capsys=capsys)
        assert code == 0, err
    # The name that goes with the old word, too.
    files = ("resnet20_static_wi8_ai8.tflite", "b.tflite", "resnet20_int8.tflite")
    contents = [(tmp_path / name).read_bytes() for name in files]
    assert contents[0] == contents[1] == contents[2]
    assert "note: --quantize int8 is --recipe static_wi8_ai8 now" in out


def test_words_that_are_refused(capsys):
    weights = ["resnet20", "--weights", "cifar10", "--calibration", "photos"]
    for command in ("quantize", "qat", "deploy", "search"):
        words = [command, "resnet20", "--recipe", "int8"]
        if command == "search":
            continue
        error = refused(*words, capsys=capsys)
        assert "--recipe int8 is static_wi8_ai8 here" in error
    words = ["export", "tflite", *weights, "--recipe", "int8"]
    assert "--recipe int8 is static_wi8_ai8 here" in refused(*words, capsys=capsys)
    words = ["export", "tflite", *weights, "--quantize", "int8", "--recipe", "float16"]
    assert "give one of both" in refused(*words, capsys=capsys)
    words = ["export", "tflite", *weights, "--per-tensor", "--recipe", "float16"]
    assert "--per-tensor applies" in refused(*words, capsys=capsys)


@pytest.mark.parametrize(
    "words, what",
    [
        (["info", ""], "an argument is empty"),
        (["evaluate", "resnet8", "--weights", "cifar10", "--data", ""], "--data is"),
        (["export", "tflite", "resnet8", "--output="], "--output is empty"),
        (["export", "tflite", "resnet8", "--output", " "], "--output is empty"),
        (["export", "tflite", "resnet8", "--output", "."], "is a folder"),
        (["inspect", "."], "folder"),
        (["verify", ".", "."], "folder"),
    ],
    ids=str,
)
def test_empty_words_and_folders_are_refused(
    words, what, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert what in refused(*words, capsys=capsys)
    assert not list(tmp_path.iterdir())
