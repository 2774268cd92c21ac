"""What a file of weights tells of its network: the number of classes, the size."""

import dataclasses
import json
import warnings

import numpy as np
import pytest
from commands import refused
from commands import run
from helpers import randomize

import keras_resnets
from keras_resnets import WeightsError
from keras_resnets.graph.provenance import Provenance
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.models.creation import create_model
from keras_resnets.weights import layouts
from keras_resnets.weights import metadata
from keras_resnets.weights import records
from keras_resnets.weights import saving
from keras_resnets.weights import store
from keras_resnets.weights.assign import NewHead
from keras_resnets.weights.readers.safetensors import write_safetensors
from keras_resnets.weights.values import torch_tensors

NET = "cifar_resnet8"
FIVE = "tulip rose daisy poppy orchid".split()


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def checkpoint(path, classes=5, size=None, labels=None, name=NET):
    """Writes a checkpoint in akamaster's names; `classes=None` without a classifier."""
    model = randomize(create_model(name, classes=classes or 10))
    tensors = torch_tensors(model, layouts.for_architecture(model.architecture))
    if classes is None:
        tensors = {n: v for n, v in tensors.items() if not n.startswith("predictions")}
    known = Provenance()
    if size is not None:
        known = Provenance(preprocessing=Preprocessing("tf", size, 1.0), labels=labels)
    with open(path, "wb") as file:
        write_safetensors(file, tensors, metadata.of_safetensors(known))
    return model


def data(path, classes=5, count=40, side=64):
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (count, side, side, 3)).astype("uint8")
    np.savez(path, x_test=pixels, y_test=np.arange(count) % classes)
    return pixels, np.arange(count) % classes


def test_the_classes_are_the_files(work):
    theirs = checkpoint("five.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = create_model(NET, weights="five.safetensors")
    assert model.output_shape == (None, 5) and model.labels is None
    x = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(model(x), theirs(x), atol=1e-6)
    with pytest.warns(NewHead, match="has 5 classes; the model's, with 7"):
        other = create_model(NET, weights="five.safetensors", classes=7)
    assert other.output_shape == (None, 7)
    bare = create_model(NET, weights="five.safetensors", include_top=False)
    assert bare.output_shape[-1] == 64


def test_a_file_whose_head_only_the_network_tells(work):
    """Darknet's stream of numbers: the rest behind the last convolution."""
    floats = np.random.default_rng(0).normal(size=200_000).astype("float32")
    net = create_model("darknet15", classes=7)
    count = net.count_params()
    header = np.array([0, 2, 0, 0, 0], "<i4").tobytes()
    numbers = np.resize(np.abs(floats) * 0.1, count).astype("<f4")
    (work / "seven.weights").write_bytes(header + numbers.tobytes())
    assert create_model("darknet15", weights="seven.weights").output_shape == (None, 7)


@pytest.mark.parametrize("name", ["five.weights.h5", "five.keras"])
def test_the_classes_are_those_of_our_own_files(name, work):
    theirs = randomize(create_model(NET, classes=5))
    (theirs.save if name.endswith(".keras") else theirs.save_weights)(name)
    model = create_model(NET, weights=name)
    x = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(model(x), theirs(x), atol=1e-6)


def test_no_head_is_not_made_up(work, capsys):
    checkpoint("bare.safetensors", classes=None)
    with pytest.raises(WeightsError, match="contains no classifier.*classes=N"):
        create_model(NET, weights="bare.safetensors")
    with pytest.warns(NewHead, match="it has no classifier"):
        create_model(NET, weights="bare.safetensors", classes=4)
    bare = create_model(NET, weights="bare.safetensors", include_top=False)
    assert bare.output_shape[-1] == 64
    words = ["convert", NET, "bare.safetensors", "a.keras"]
    for more in ((), ("--classes", 4)):
        assert "contains no classifier" in refused(*words, *more, capsys=capsys)


@pytest.mark.parametrize(
    "words",
    [
        ["predict", NET, "a.png"],
        ["evaluate", NET, "--data", "a.npz"],
        ["export", "tflite", "--model", NET],
        ["export", "keras", "--model", NET],
        ["quantize", NET, "--recipe", "float16"],
        ["prune", NET, "--sparsity", "0.5"],
        ["convert", NET, "five.safetensors", "b.safetensors"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_commands_refuse_a_random_head(words, work, capsys):
    from PIL import Image

    Image.fromarray(np.zeros((32, 32, 3), "uint8")).save("a.png")
    data("a.npz", side=32)
    checkpoint("five.safetensors")
    weights = [] if words[0] == "convert" else ["--weights", "five.safetensors"]
    line = refused(*words, *weights, "--classes", 7, capsys=capsys)
    assert "five.safetensors is for 5 classes; got 7" in line
    assert "random values" in line


def test_commands_take_the_files_classes(work, capsys):
    checkpoint("five.safetensors")
    data("a.npz", side=32)
    words = [NET, "--weights", "five.safetensors"]
    code, out, err = run("evaluate", *words, "--data", "a.npz", capsys=capsys)
    assert code == 0 and "40 images, top-1" in out and "random" not in out, err
    code, out, err = run(
        *["export", "tflite", "--model", *words, "--output", "five.tflite"],
        capsys=capsys,
    )
    assert code == 0 and "-> 5 classes" in out, err


@pytest.mark.costly
def test_training_makes_a_new_head(work, capsys):
    checkpoint("five.safetensors")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (32, 32, 32, 3)).astype("uint8")
    np.savez("b.npz", x_train=pixels, y_train=np.arange(32) % 3)
    words = [NET, "--weights", "five.safetensors", "--data", "b.npz"]
    words += ["--recipe", "he2015_cifar", "--epochs", 1, "--batch-size", 8]
    code, out, err = run("train", *words, "--output", "run", capsys=capsys)
    assert code == 0, err
    assert "has 5 classes; the model's, with 3, has new random values" in out
    teacher = ["--teacher", NET, "--teacher-weights", "five.safetensors"]
    line = refused("train", *words, *teacher, "--output", "b", capsys=capsys)
    assert "5 classes" in line and "teacher" in line


def test_the_size_is_the_files(work, capsys):
    checkpoint("big.safetensors", size=(64, 48), labels=FIVE)
    model = create_model(NET, weights="big.safetensors")
    assert model.input_shape == (None, 64, 48, 3)
    assert model.preprocessing.size == (64, 48) and model.preprocessing.mode == "tf"
    assert model.labels == tuple(FIVE)
    # What is given wins.
    for options, shape in (
        ({"input_shape": (32, 32, 3)}, (None, 32, 32, 3)),
        ({"input_size": 40}, (None, 40, 40, 3)),
        ({"include_top": False}, (None, None, None, 3)),
    ):
        found = create_model(NET, weights="big.safetensors", **options)
        assert found.input_shape == shape
        kept = shape[1:3] if None not in shape[1:3] else (64, 48)
        assert found.preprocessing.size == kept
    first = create_model(NET, weights="big.safetensors", data_format="channels_first")
    assert first.input_shape == (None, 3, 64, 48)


@pytest.mark.costly
def test_the_commands_take_the_size_and_say_it(work, capsys):
    theirs = checkpoint("big.safetensors", size=(64, 64), labels=FIVE)
    pixels, labels = data("a.npz")
    words = ["evaluate", NET, "--weights", "big.safetensors", "--data", "a.npz"]
    code, out, err = run(*words, capsys=capsys)
    assert code == 0, err
    assert "note: big.safetensors were trained on images of 64 x 64" in out
    whole = create_model(NET, classes=5, input_shape=(64, 64, 3))
    whole.set_weights(theirs.get_weights())
    right = np.argmax(whole.predict(pixels / 127.5 - 1.0, verbose=0), 1) == labels
    assert f"top-1 {right.mean():.2%}" in out
    code, out, _ = run(*words, "--input-size", 32, capsys=capsys)
    assert code == 0 and "note" not in out
    code, out, err = run(
        *["export", "keras", "--model", NET, "--weights", "big.safetensors"],
        capsys=capsys,
    )
    assert code == 0 and "64 x 64 x 3 -> 5 classes" in out, err


def test_the_size_of_a_record(work, monkeypatch):
    """`a3_in1k` was published for 160: so is what is built."""
    theirs = records.find("resnet18", "a3_in1k")
    assert theirs.size == 160
    record = dataclasses.replace(theirs, variant=NET, size=48, labels="imagenet")
    monkeypatch.setattr(records, "all_records", lambda: (record,))
    checkpoint("record.safetensors", classes=1000)
    monkeypatch.setattr(store, "fetch", lambda record: work / "record.safetensors")
    model = keras_resnets.create_model(NET, weights="a3_in1k")
    assert model.input_shape == (None, 48, 48, 3)
    assert model.output_shape == (None, 1000) and model.labels == "imagenet"
    assert model.preprocessing == record.preprocessing()
    assert model.preprocessing.crop_fraction == 0.95


TIMM = {
    "architecture": NET,
    "num_classes": 5,
    "label_names": FIVE,
    "pretrained_cfg": {
        "input_size": [3, 48, 40],
        "mean": [0.5, 0.4, 0.3],
        "std": [0.5, 0.25, 0.2],
        "crop_pct": 0.9,
        "interpolation": "bicubic",
    },
}


def test_the_configuration_beside_timms_files(work):
    """What `save_for_hf` writes beside the weights counts, and beside no other file."""
    checkpoint("model.safetensors")
    checkpoint("other.safetensors")
    (work / "config.json").write_text(json.dumps(TIMM))
    model = create_model(NET, weights="model.safetensors")
    assert model.preprocessing == Preprocessing(
        "torch",
        (48, 40),
        0.9,
        interpolation="bicubic",
        mean=(0.5, 0.4, 0.3),
        std=(0.5, 0.25, 0.2),
    )
    assert model.labels == tuple(FIVE) and model.input_shape == (None, 48, 40, 3)
    other = create_model(NET, weights="other.safetensors")
    assert other.preprocessing.size == (32, 32) and other.labels is None


def test_what_timm_itself_writes_beside_its_files(foreign_files):
    model = create_model(
        "resnet18",
        weights=foreign_files / "timm_hub" / "model.safetensors",
        filters=(8, 16, 24, 32),
    )
    wanted = model.preprocessing
    assert (wanted.size, wanted.crop_fraction) == ((224, 224), 0.95)
    assert wanted.interpolation == "bicubic" and model.output_shape[-1] == 6


@pytest.mark.costly
def test_the_passport_beside_a_keras_file(work, capsys):
    """What others wrote into a file says nothing; what is written beside it counts."""
    checkpoint("big.safetensors", size=(64, 64), labels=FIVE, name="resnet8")
    words = [
        "--model",
        "resnet8",
        "--weights",
        "big.safetensors",
        "--output",
        "a.keras",
    ]
    assert run("export", "keras", *words, capsys=capsys)[0] == 0
    model = create_model("resnet8", weights="a.keras")
    assert model.preprocessing == Preprocessing("tf", (64, 64), 1.0)
    assert model.labels == tuple(FIVE)
    create_model("resnet8", classes=5).save("a.keras")
    with pytest.raises(WeightsError, match="passport of another file"):
        create_model("resnet8", weights="a.keras")


@pytest.mark.parametrize(
    ("text", "is_left"), [('{"sha256": "0"}', False), ('{"mine": 1}', True)]
)
@pytest.mark.parametrize("name", ["a.weights.h5", "a.safetensors", "a.keras"])
def test_the_passport_of_a_replaced_file_goes(name, text, is_left, work):
    """Its checksum would refuse the new weights."""
    beside = work / f"{name}.json"
    beside.write_text(text)
    model = create_model(NET)
    saving.save(model, name, None, model.architecture)
    assert beside.exists() is is_left
    create_model(NET, weights=name)


@pytest.mark.costly
def test_axes_that_weights_do_not_show_are_written_on(work, capsys):
    """Where the new channels of option A lie, whoever asked for it, and after training."""
    both = "identity_pad_position=both"
    model = randomize(create_model(NET, classes=5, identity_pad_position="both"))
    model.save_weights("values.weights.h5")
    words = [NET, "values.weights.h5", "both.weights.h5", "--set", both]
    code, _, err = run("convert", *words, capsys=capsys)
    assert code == 0, err
    pixels, labels = data("few.npz", side=32)
    np.savez("train.npz", x_train=pixels, y_train=labels)
    words = [NET, "--weights", "both.weights.h5", "--data", "train.npz", "--quiet"]
    words += ["--recipe", "cifar_cosine", "--epochs", 1, "--batch-size", 8]
    code, _, err = run("train", *words, "--output", "run", capsys=capsys)
    assert code == 0, err
    for path in ("both.weights.h5", "run/last.weights.h5"):
        loaded = create_model(NET, weights=path)
        assert loaded.axes == {"identity_pad_position": "both"}, path
