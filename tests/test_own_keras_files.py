"""A `.keras` file that Keras saved, not this package, as MODEL of the commands."""

import json

import keras
import numpy as np
import pytest
from commands import refused
from commands import run
from PIL import Image

SIDE = 24


def saved(path, shape=(SIDE, SIDE, 3), front=(), classes=2, name="mine"):
    """Saves a small classifier whose images go through `front`."""
    keras.utils.set_random_seed(0)
    image = keras.Input(shape)
    x = image
    for layer in front:
        x = layer(x)
    x = keras.layers.Conv2D(4, 3, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(classes, activation="softmax")(x)
    keras.Model(image, outputs, name=name).save(path)
    return str(path)


def rescaling():
    return keras.layers.Rescaling(1 / 127.5, offset=-1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of photos, a sub-folder for each of two classes."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for index in range(12):
        place = folder / ("cat", "dog")[index % 2]
        place.mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (30, 40, 3)).astype("uint8")
        Image.fromarray(pixels).save(place / f"{index}.png")
    return folder


def scores(model, photo, *words, capsys):
    """The probabilities that `predict` prints for a photo, in the classes' order."""
    code, out, err = run("predict", model, photo, *words, "--json", capsys=capsys)
    assert code == 0, err
    (image,) = json.loads(out)["images"]
    classes = sorted(image["classes"], key=lambda row: row["index"])
    return [row["probability"] for row in classes]


def test_a_scaling_layer_tells_that_the_file_takes_pixels(photos, tmp_path, capsys):
    photo = photos / "cat" / "0.png"
    path = saved(tmp_path / "a.keras", front=[rescaling()])
    told = scores(path, photo, "--mode", "raw", capsys=capsys)
    assert scores(path, photo, capsys=capsys) == told
    assert scores(path, photo, "--mode", "tf", capsys=capsys) != told
    bare = saved(tmp_path / "b.keras")
    assert "give --mode torch" in refused("predict", bare, photo, capsys=capsys)


def test_a_grey_network_takes_photos(photos, tmp_path, capsys):
    path = saved(tmp_path / "a.keras", (SIDE, SIDE, 1), [rescaling()])
    assert len(scores(path, photos / "cat" / "0.png", capsys=capsys)) == 2


@pytest.mark.costly
def test_options_tell_what_a_file_does_not_record(photos, tmp_path, capsys):
    """Mode, labels, and the size of a network that leaves it open."""
    path = saved(tmp_path / "a.keras", (None, None, 3), name="mine: v1.0")
    words = ["deploy", path, "--data", photos, "--target", "linux-x86"]
    words += ["--output", tmp_path / "out"]
    assert "give --mode torch" in refused(*words, capsys=capsys)
    words += ["--mode", "tf"]
    assert "give --input-size" in refused(*words, capsys=capsys)
    words += ["--input-size", SIDE]
    error = refused(*words, "--labels", "cat", capsys=capsys)
    assert "one per class; got 1 for 2" in error
    note = "names of the classes are not known"
    code, out, error = run(*words, "--labels", "cat,dog", capsys=capsys)
    assert code == 0 and note not in out, error
    folder = tmp_path / "out" / "linux-x86"
    assert (folder / "labels.txt").read_text() == "cat\ndog\n"
    code, out, error = run(*words, "--overwrite", capsys=capsys)
    assert code == 0 and note in out, error


def test_figures_of_a_network_of_any_size(tmp_path, capsys):
    path = saved(tmp_path / "a.keras", (None, None, 3), [rescaling()])
    for words in (["info", path], ["export", "tflite", path]):
        error = refused(*words, capsys=capsys)
        assert "leaves the size of its images open" in error
        assert "give --input-size" in error
    code, out, error = run("info", path, "--input-size", SIDE, capsys=capsys)
    assert code == 0 and "output stride" in out, error


def test_options_that_do_not_fit_a_file(photos, tmp_path, capsys):
    path = saved(tmp_path / "a.keras", front=[rescaling()])
    words = ["export", "tflite", path, "--input-size", "32"]
    assert "asked for (32, 32, 3)" in refused(*words, capsys=capsys)
    words = ["export", "tflite", "resnet8", "--mode", "tf"]
    assert "resnet8 is a variant" in refused(*words, capsys=capsys)
    whole = tmp_path / "a.h5"
    keras.saving.load_model(path).save(whole)
    words = ["deploy", whole, "--data", photos, "--target", "linux-x86"]
    error = refused(*words, "--output", tmp_path / "out", capsys=capsys)
    assert "once Keras saved it as .keras" in error
