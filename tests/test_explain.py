"""Heat maps: exact where a network ends in a mean, drawn where the network looked."""

import keras
import numpy as np
import pytest
from commands import refused
from commands import run
from conftest import ROOT
from helpers import KINDS
from helpers import noise
from helpers import randomize
from helpers import small_model
from PIL import Image

import keras_resnets
from keras_resnets import InvalidArgument
from keras_resnets import Preprocessing
from keras_resnets.export import onnx
from keras_resnets.export import saved_model
from keras_resnets.export import tflite
from keras_resnets.export.compare.classifier import open_classifier
from keras_resnets.graph import heatmaps
from keras_resnets.graph import outputs
from keras_resnets.images import overlay

PHOTO = ROOT / "examples" / "dog.jpg"


def logits_of(model, images):
    return keras.Model(model.input, outputs.logits_of(model)).predict_on_batch(images)


@pytest.mark.costly_but("shortcut_a", "darknet_plain")
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_mean_of_a_heat_map_is_the_logit(kind):
    model, images = small_model(kind), noise(2, 16, 16, 3)
    found = keras_resnets.heatmap_model(model).predict_on_batch(images)
    assert list(found) == ["predictions", "heatmap"]
    wanted = logits_of(model, images)
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(
        found["heatmap"].mean((1, 2)) / scale, wanted / scale, atol=1e-5
    )
    wanted = model.predict_on_batch(images)
    np.testing.assert_allclose(found["predictions"], wanted, atol=1e-6)


def test_heads_of_somebodys_own():
    backbone = keras_resnets.create_model("resnet20", include_top=False)
    image = keras.Input((32, 32, 3))
    x = keras.layers.GlobalAveragePooling2D(keepdims=True)(backbone(image))
    x = keras.layers.Dropout(0.5)(keras.layers.Flatten()(x))
    inner = keras.Model(image, keras.layers.Dense(3)(x))
    outside = keras.Input((32, 32, 3))
    model = randomize(keras.Model(outside, keras.layers.Softmax()(inner(outside))))
    images = noise(2, 32, 32, 3)
    found = keras_resnets.heatmap_model(model).predict_on_batch(images)
    np.testing.assert_allclose(
        found["heatmap"].mean((1, 2)), logits_of(model, images), rtol=1e-4, atol=1e-4
    )
    without = keras_resnets.heatmap_model(inner)
    assert list(without.output) == ["logits", "heatmap"]


def test_what_has_no_class_activation_map_is_refused():
    flat = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(5, activation="softmax"),
        ]
    )
    with pytest.raises(InvalidArgument, match="global mean"):
        keras_resnets.heatmap_model(flat)
    backbone = keras_resnets.create_model("resnet20", include_top=False)
    with pytest.raises(InvalidArgument, match="classifier with one output.*features"):
        keras_resnets.heatmap_model(backbone)
    with pytest.raises(InvalidArgument, match="functional or Sequential"):
        keras_resnets.heatmap_model("resnet20")


def test_grad_cam_of_a_mean_is_the_class_activation_map_of_positive_evidence():
    """There the gradient by the map is the kernel over the number of places."""
    model = small_model("shortcut_a", input_shape=(16, 16, 3))
    model.preprocessing = Preprocessing("tf", size=(16, 16))
    photo = Image.open(PHOTO)
    kernel, bias = model.layers[-1].get_weights()
    cam = keras_resnets.explain(model, photo, 4)
    grad = keras_resnets.explain(model, photo, 4, "grad-cam")
    assert (cam.method, grad.method) == ("cam", "grad-cam")
    wanted = np.maximum(cam.heatmap - bias[4], 0) / cam.heatmap.size
    np.testing.assert_allclose(grad.heatmap, wanted, atol=1e-4 * wanted.max())


def test_grad_cam_is_for_any_network():
    flat = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(5, activation="softmax"),
        ]
    )
    with pytest.raises(InvalidArgument, match="preprocessing"):
        keras_resnets.explain(flat, PHOTO)
    flat.preprocessing = Preprocessing("tf", size=(8, 8))
    found = keras_resnets.explain(flat, PHOTO)
    assert found.method == "grad-cam" and found.heatmap.shape == (6, 6)
    assert found.heatmap.min() >= 0
    with pytest.raises(InvalidArgument, match="global mean"):
        keras_resnets.explain(flat, PHOTO, method="cam")
    with pytest.raises(InvalidArgument, match=r"0\.\.4; got 5"):
        keras_resnets.explain(flat, PHOTO, 5)
    with pytest.raises(InvalidArgument, match="grad-cam"):
        keras_resnets.explain(flat, PHOTO, method="gradcam")


EXPORTERS = {
    "a.tflite": tflite.to_tflite,
    "a.onnx": onnx.to_onnx,
    "a_saved_model": saved_model.to_saved_model,
}


@pytest.mark.costly
@pytest.mark.parametrize("name", list(EXPORTERS))
def test_the_heat_map_in_a_file_is_the_networks(name, tmp_path):
    model = keras_resnets.create_model("resnet20", weights="cifar10")
    made = keras_resnets.heatmap_model(model)
    EXPORTERS[name](made, tmp_path / name)
    opened = open_classifier(tmp_path / name)
    image = model.preprocessing(Image.open(PHOTO))[None]
    wanted, found = made.predict_on_batch(image), opened.outputs_by_name(image)
    np.testing.assert_allclose(found["heatmap"], wanted["heatmap"], atol=1e-4)
    assert opened.has_heatmap and opened.labels == "cifar10"
    np.testing.assert_allclose(
        opened.predict_on_batch(image), wanted["predictions"], atol=1e-5
    )


@pytest.mark.parametrize("size", [(400, 300), (300, 401), (640, 64)])
@pytest.mark.parametrize("letterbox", [False, True])
def test_the_box_is_what_the_network_is_shown(size, letterbox):
    """A white spot in the photo is at the same place of the box in the input."""
    wanted = Preprocessing(
        "darknet", size=(64, 96), letterbox=letterbox, crop_fraction=0.9
    )
    left, top, right, bottom = overlay.seen_box(size, wanted)
    pixels = np.zeros((size[1], size[0], 3), "uint8")
    x, y = round(left + 0.4 * (right - left)), round(top + 0.55 * (bottom - top))
    radius = max(4, round((right - left) / 30))
    pixels[max(0, y - radius) : y + radius, max(0, x - radius) : x + radius] = 255
    seen = wanted.normalize(wanted.pixels(wanted(Image.fromarray(pixels))))
    if letterbox:
        seen = np.where(np.abs(seen - 0.5) < 0.01, 0, seen)
    rows, columns = np.nonzero(seen[..., 0] > 0.3)
    assert abs(columns.mean() + 0.5 - 0.4 * 96) < 1.5
    assert abs(rows.mean() + 0.5 - 0.55 * 64) < 1.5


def test_heat_is_drawn_where_it_is():
    photo = Image.new("RGB", (200, 100), (90, 90, 90))
    wanted = Preprocessing("tf", size=(100, 100), crop_fraction=1.0)
    heatmap = np.zeros((4, 4), "float32")
    heatmap[1, 3] = 5
    drawn = np.asarray(overlay.draw(photo, heatmap, wanted), "float32")
    brightest = np.unravel_index(drawn.sum(-1).argmax(), drawn.shape[:2])
    # The crop is the columns 50 to 150; a cell is 25 pixels.
    assert 25 <= brightest[0] < 50 and 125 <= brightest[1] < 150
    assert (drawn[:, :50] < 40).all() and (drawn[:, 150:] < 40).all()
    assert (drawn[90:, 55:75] == 90).all()
    whole = overlay.side_by_side([photo] * 5, ["a very long title " * 9] * 5)
    assert whole.size == (4 * 460 + 12, 2 * (34 + 224) + 12)


def test_correlation():
    one = np.arange(6.0).reshape(2, 3)
    assert overlay.correlation(one, 3 * one + 1) == pytest.approx(1)
    assert overlay.correlation(one, -one) == pytest.approx(-1)
    assert overlay.correlation(one, np.ones((2, 3))) == 0


def test_outputs_of_another_kind_are_refused():
    with pytest.raises(InvalidArgument, match="got logits"):
        heatmaps.of_outputs({"logits": np.zeros((1, 3))})


@pytest.mark.costly
def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["explain", "resnet20", PHOTO, "--weights", "cifar10"]
    code, out, err = run(*words, "--class", "dog", capsys=capsys)
    assert code == 0, err
    assert "dog" in out and "cam of 8 x 8" in out and "drew dog_explained.png" in out
    assert Image.open("dog_explained.png").size[0] == 2 * 460 + 12
    assert "exists" in refused(*words, capsys=capsys)
    more = [*words, "--overwrite"]
    err = refused(*more, "--class", "dgo", capsys=capsys)
    assert "did you mean 'dog'" in err
    assert "0..9; got '10'" in refused(*more, "--class", "10", capsys=capsys)


@pytest.mark.costly
def test_the_command_with_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    export = ["export", "tflite", "--model", "resnet20", "--weights", "cifar10"]
    assert run(*export, "--heatmap", capsys=capsys)[0] == 0
    words = ["explain", "resnet20", PHOTO, "--weights", "cifar10"]
    code, out, err = run(*words, "--file", "resnet20.tflite", capsys=capsys)
    assert code == 0, err
    assert "correlation with resnet20's 1.0000" in out
    assert Image.open("dog_explained.png").size[0] == 3 * 460 + 12
    assert run(*export, "--overwrite", capsys=capsys)[0] == 0
    words += ["--file", "resnet20.tflite", "--overwrite"]
    assert "--heatmap" in refused(*words, capsys=capsys)
    assert "--logits" in refused(*export, "--heatmap", "--logits", capsys=capsys)
