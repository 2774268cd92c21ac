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
from PIL import ImageDraw

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


def test_grad_cam_of_a_layer_or_an_endpoint():
    model = small_model("shortcut_a", input_shape=(16, 16, 3))
    model.preprocessing = Preprocessing("tf", size=(16, 16))
    points = keras_resnets.endpoints(model)
    last = keras_resnets.explain(model, PHOTO, 4, "grad-cam")
    same = keras_resnets.explain(model, PHOTO, 4, layer="features")
    np.testing.assert_array_equal(last.heatmap, same.heatmap)
    for name, tensor in points.items():
        layer = tensor._keras_history.operation.name
        by_layer = keras_resnets.explain(model, PHOTO, 4, layer=layer)
        by_name = keras_resnets.explain(model, PHOTO, 4, layer=name)
        assert by_layer.method == "grad-cam"
        assert by_layer.heatmap.shape == tensor.shape[1:3]
        np.testing.assert_array_equal(by_layer.heatmap, by_name.heatmap)
        # By finite differences of the logit along the map, in the rest of the network.
        image = model.preprocessing(Image.open(PHOTO))[None]
        maps = np.asarray(keras.Model(model.inputs, tensor)(image))
        rest = keras.Model(tensor, outputs.logits_of(model))
        step = 1e-2 * maps.std()
        by_channel = np.eye(maps.shape[-1], dtype="float32")[:, None, None] * step
        up, down = (np.asarray(rest(maps + x))[:, 4] for x in (by_channel, -by_channel))
        slopes = (up - down) / (2 * step) / maps[0, ..., 0].size
        wanted = np.maximum((maps[0] * slopes).sum(-1), 0)
        np.testing.assert_allclose(by_name.heatmap, wanted, atol=2e-2 * wanted.max())
    with pytest.raises(
        InvalidArgument, match="put out a feature.*did you mean 'stage1"
    ):
        keras_resnets.explain(model, PHOTO, layer="stage1_blok1_conv1")
    with pytest.raises(InvalidArgument, match="layer is for the method grad-cam"):
        keras_resnets.explain(model, PHOTO, method="cam", layer="stage1")


def test_layers_of_nested_models_are_named_by_path():
    model = transfer(pooling=False)
    image = np.asarray(Image.open(PHOTO).resize((24, 24)), "float32")
    names = [x.name for x in model.get_layer("base").layers if "conv" in x.name]
    for name in (names[0], f"base/{names[0]}"):
        found = heatmaps.explain_input(model, image, 2, layer=name)
        assert found.method == "grad-cam" and found.heatmap.shape == (11, 11)


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


def transfer(pooling, last=5, hidden=False):
    """The network of Keras' guide to transfer learning: a base in a Sequential."""
    image = keras.Input((24, 24, 3))
    x = keras.layers.Conv2D(6, 3, strides=2, activation="relu")(image)
    x = keras.layers.BatchNormalization()(x)
    if pooling:
        x = keras.layers.GlobalAveragePooling2D()(x)
    base = keras.Model(image, x, name="base")
    layers = [keras.layers.Rescaling(1 / 255), base]
    layers += [] if pooling else [keras.layers.GlobalAveragePooling2D()]
    layers += [keras.layers.Dense(7, activation="relu")] if hidden else []
    activation = "sigmoid" if last == 1 else "softmax"
    layers += [keras.layers.Dropout(0.2), keras.layers.Dense(last, activation)]
    model = keras.Sequential([keras.Input((24, 24, 3)), *layers], name="transfer")
    model.preprocessing = Preprocessing("raw", size=(24, 24))
    return randomize(model)


@pytest.mark.parametrize("pooling", [False, True])
def test_transfer_learning_has_the_map_of_its_base(pooling):
    """Grad-CAM raised "not connected", or drew the gradient by the scaled image."""
    model = transfer(pooling)
    image = np.asarray(Image.open(PHOTO).resize((24, 24)), "float32")
    nodes = [len(layer._inbound_nodes) for layer in model.get_layer("base").layers]
    cam = heatmaps.explain_input(model, image, 2)
    grad = heatmaps.explain_input(model, image, 2, "grad-cam")
    bias = model.layers[-1].get_weights()[1]
    assert cam.method == "cam" and cam.heatmap.shape == grad.heatmap.shape == (11, 11)
    wanted = np.maximum(cam.heatmap - bias[2], 0) / cam.heatmap.size
    np.testing.assert_allclose(grad.heatmap, wanted, atol=1e-4 * wanted.max())
    deep = heatmaps.explain_input(transfer(pooling, hidden=True), image)
    assert deep.method == "grad-cam" and deep.heatmap.shape == (11, 11)
    same = [len(layer._inbound_nodes) for layer in model.get_layer("base").layers]
    assert same == nodes, "the user's layers got new nodes"


def test_one_output_is_evidence_for_and_against_the_second_class():
    model = transfer(True, 1)
    image = np.asarray(Image.open(PHOTO).resize((24, 24)), "float32")
    share = float(model.predict_on_batch(image[None])[0, 0])
    for method in heatmaps.METHODS:
        first, second = (
            heatmaps.explain_input(model, image, index, method) for index in (0, 1)
        )
        assert second.probability == pytest.approx(share, abs=1e-6)
        assert first.probability == pytest.approx(1 - share, abs=1e-6)
        likeliest = heatmaps.explain_input(model, image, None, method)
        assert likeliest.index == int(share > 0.5)
        if method == "cam":
            np.testing.assert_array_equal(first.heatmap, -second.heatmap)
        else:
            assert not (first.heatmap * second.heatmap).any()
    with pytest.raises(InvalidArgument, match=r"0\.\.1; got 2"):
        heatmaps.explain_input(model, image, 2)


@pytest.mark.parametrize("method", heatmaps.METHODS)
def test_probabilities_of_logits(method):
    """Grad-CAM called the logit itself the probability."""
    probable = transfer(False)
    logits = keras.Model(probable.inputs, outputs.logits_of(probable))
    image = np.asarray(Image.open(PHOTO).resize((24, 24)), "float32")
    wanted = heatmaps.explain_input(probable, image, None, method)
    found = heatmaps.explain_input(logits, image, None, method)
    assert found.index == wanted.index
    assert found.probability == pytest.approx(wanted.probability, abs=1e-5)
    logits.task = "multi-label"
    value = float(logits.predict_on_batch(image[None])[0, found.index])
    found = heatmaps.explain_input(logits, image, None, method)
    assert found.probability == pytest.approx(1 / (1 + np.exp(-value)), abs=1e-5)


@pytest.mark.parametrize("method", heatmaps.METHODS)
def test_networks_without_one_input_and_output_are_refused(method):
    image, other = keras.Input((8, 8, 3)), keras.Input((4,), name="meta")
    x = keras.layers.Conv2D(4, 3)(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    both = keras.layers.Concatenate()([x, other])
    head = keras.layers.Dense(3, activation="softmax", name="kind")
    pair = {"kind": head(x), "age": keras.layers.Dense(1)(x)}
    for model, words in (
        (keras.Model([image, other], keras.layers.Dense(3)(both)), "one input; .*meta"),
        (keras.Model(image, pair), "one output; .*2: kind, age"),
        (keras.Model(image, keras.layers.Dense(1)(x)), "without a sigmoid"),
        (keras.Model(image, keras.layers.Conv2D(4, 3)(image)), r"\(batch, classes\)"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            heatmaps.explain_input(model, noise(8, 8, 3), method=method)


def test_numbers_that_are_not_finite_are_refused():
    model = transfer(False)
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel * np.nan, bias])
    for method in heatmaps.METHODS:
        with pytest.raises(InvalidArgument, match="not finite"):
            heatmaps.explain_input(model, noise(24, 24, 3), method=method)


def test_titles(monkeypatch):
    """Pillow's font draws squares for all but ASCII; long names lost their end."""
    assert overlay.can_write("naïve Übung мир") and not overlay.can_write("\U0010fff0")
    monkeypatch.setattr(overlay, "_FONTS", (None,))
    assert overlay.can_write('a "quoted" name') and not overlay.can_write("naïve")
    pen, font = ImageDraw.Draw(Image.new("RGB", (9, 9))), overlay._font_of("a")
    short = overlay._fitted(pen, font, "very " * 30 + "long 12.3% (grad-cam)", 448)
    assert short.startswith("very") and short.endswith("12.3% (grad-cam)")
    assert pen.textlength(short, font) <= 448


@pytest.mark.costly_but("hidden")
@pytest.mark.parametrize("kind", ["hidden", "pooled", "binary", "heatmap"])
def test_the_command_with_a_keras_file_of_ones_own(kind, tmp_path, monkeypatch, capsys):
    """It asked for `--heatmap`, with which one network has no file."""
    monkeypatch.chdir(tmp_path)
    model = transfer(kind == "pooled", 1 if kind == "binary" else 2, kind == "hidden")
    if kind == "heatmap":
        model = keras_resnets.heatmap_model(model)
    model.save("own.keras")
    words = ("explain", "own.keras", PHOTO, "--labels", "no,日本語", "--overwrite")
    code, out, err = run(*words, "--class", "日本語", capsys=capsys)
    assert code == 0, err
    method = "grad-cam" if kind == "hidden" else "cam"
    assert "日本語" in out and f"{method} of 11 x 11" in out
    assert "scales pixels" in out + err
    model = transfer(False, 2)
    model.layers[-1].set_weights([np.zeros((6, 2)), np.zeros(2)])
    model.save("own.keras")
    code, out, err = run(*words, capsys=capsys)
    assert code == 0 and "nothing in the image is evidence for no" in out + err


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
    code, out, _ = run(*more, "--layer", "stage2", capsys=capsys)
    assert code == 0 and "grad-cam of 16 x 16" in out
    err = refused(*more, "--layer", "stage2", "--method", "cam", capsys=capsys)
    assert "layer is for the method grad-cam" in err


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
    for option in (("--layer", "stage1"), ("--method", "grad-cam")):
        own = ["explain", "resnet20.tflite", PHOTO, "--overwrite", *option]
        assert "grad-cam requires a network" in refused(*own, capsys=capsys)
    assert run(*export, "--overwrite", capsys=capsys)[0] == 0
    words += ["--file", "resnet20.tflite", "--overwrite"]
    assert "--heatmap" in refused(*words, capsys=capsys)
    assert "--logits" in refused(*export, "--heatmap", "--logits", capsys=capsys)
