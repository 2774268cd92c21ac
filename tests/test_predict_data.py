"""`predict` of folders and data sets: what `train --data` and `evaluate --data` take."""

import io
import pathlib
import sys
import types

import data_sources as sources
import keras
import numpy as np
import pytest
from commands import refused
from commands import run
from helpers import randomize
from PIL import Image

from keras_resnets.images.labels import label_set
from keras_resnets.models.creation import create_model

NAMES = [name for _, name in label_set("cifar10")]


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A network, twelve images and its answers to them."""
    monkeypatch.chdir(tmp_path)
    model = randomize(create_model("cifar_resnet8"))
    model.save("net.keras")
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (12, 32, 32, 3)).astype("uint8")
    answers = model.predict(model.preprocessing.batch(pixels), verbose=0).argmax(1)
    return pixels, [NAMES[index] for index in answers]


def best(out):
    """(title, likeliest class) of each image that is shown."""
    lines = out.splitlines()
    return [
        (lines[index - 1].strip(), line.split()[0])
        for index, line in enumerate(lines)
        if line.startswith("  ") and not lines[index - 1].startswith("  ")
    ]


WORDS = ["predict", "net.keras", "--mode", "cifar", "--labels", "cifar10"]


def test_folders(work, capsys):
    pixels, answers = work
    for index, pixel in enumerate(pixels):
        folder = ["a", "b"][index % 2]
        path = f"photos/{folder}/{index:02}.png"
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixel).save(path)
    code, out, err = run(*WORDS, "photos", capsys=capsys)
    assert code == 0, err
    assert best(out) == [
        (f"photos/{folder}/{index:02}.png", answers[index])
        for folder in "ab"
        for index in range("ab".index(folder), 12, 2)
    ]
    # Spread over the folder, not its first.
    code, out, err = run(*WORDS, "photos", "--count", 3, capsys=capsys)
    assert [title for title, _ in best(out)] == [
        "photos/a/00.png",
        "photos/a/10.png",
        "photos/b/11.png",
    ]
    code, out, err = run(*WORDS, "photos/b", "photos/a/04.png", capsys=capsys)
    assert code == 0 and len(best(out)) == 7, err
    # Of a folder with parts, what evaluate takes.
    for part in ("train", "test"):
        for name, pixel in (("cat", pixels[0]), ("dog", pixels[1])):
            pathlib.Path("parts", part, name).mkdir(parents=True)
            Image.fromarray(pixel).save(f"parts/{part}/{name}/0.png")
    code, out, err = run(*WORDS, "parts", capsys=capsys)
    assert code == 0 and "the images of test are used" in out, err
    titles = [title for title, _ in best(out.partition("used\n")[2])]
    assert titles == ["parts/test/cat/0.png", "parts/test/dog/0.png"]
    pathlib.Path("empty").mkdir()
    assert "contains no images" in refused(*WORDS, "empty", capsys=capsys)


@pytest.mark.costly
def test_data_sets(work, capsys):
    pixels, answers = work
    labels = np.arange(12) % 10
    np.savez("a.npz", x_test=pixels, y_test=labels)
    code, out, err = run(*WORDS, "a.npz", "--count", 12, capsys=capsys)
    assert code == 0, err
    assert best(out) == [
        (f"a.npz  {index + 1} of 12: {NAMES[labels[index]]}", answers[index])
        for index in range(12)
    ]
    code, out, err = run(*WORDS, "a.npz", capsys=capsys)
    assert code == 0 and len(best(out)) == 10, err
    line = refused(*WORDS, "a.npz", "--count", 0, capsys=capsys)
    assert "--count" in line
    assert "must" in refused(*WORDS, "missing.npz", capsys=capsys)


def test_data_sets_of_keras(work, capsys, monkeypatch):
    """`cifar10` and `cifar100`, whose classes have their names."""
    pixels, answers = work
    parts = (pixels, np.arange(12) % 10), (pixels, np.arange(12)[:, None] % 10)
    for name in ("cifar10", "cifar100"):
        monkeypatch.setattr(getattr(keras.datasets, name), "load_data", lambda: parts)
    code, out, err = run(*WORDS, "cifar10", "--count", 12, capsys=capsys)
    assert code == 0, err
    assert [answer for _, answer in best(out)] == answers
    right = np.mean([NAMES[i % 10] == answer for i, answer in enumerate(answers)])
    code, out, err = run("evaluate", *WORDS[1:], "--data", "cifar10", capsys=capsys)
    assert code == 0 and f"12 images, top-1 {right:.2%}" in out, err
    from keras_resnets.training.data import open_dataset

    hundred = open_dataset("cifar100", validation=0)
    assert hundred.classes == label_set("cifar100")


def records(folder, pixels, answers, part, keys):
    """A folder with one TFRecord file of PNGs."""
    folder.mkdir(exist_ok=True)
    content = b""
    for pixel, label in zip(pixels, answers, strict=True):
        image = io.BytesIO()
        Image.fromarray(pixel).save(image, "PNG")
        example = sources.example({keys[0]: image.getvalue(), keys[1]: int(label)})
        content += len(example).to_bytes(8, "little") + b"sums" + example + b"sums"
    path = folder / f"{part}-00000-of-00001"
    path.write_bytes(content)
    return path


@pytest.mark.costly
def test_records(work, capsys):
    pixels, answers = work
    labels = np.arange(12) % 10
    path = records(pathlib.Path("shards"), pixels, labels, "test", ("image", "label"))
    code, out, err = run(*WORDS, "shards", "--count", 12, capsys=capsys)
    assert code == 0, err
    assert best(out) == [
        (f"shards  {index + 1} of 12: {NAMES[labels[index]]}", answers[index])
        for index in range(12)
    ]
    # One in a hundred may be broken, of so few two.
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\x89PNG", b"\x89GNP", 2))
    code, out, err = run(*WORDS, "shards", "--count", 12, capsys=capsys)
    assert code == 0 and len(best(out)) == 10, err
    assert "note: 2 images cannot be read and are ignored" in out
    path.write_bytes(content.replace(b"\x89PNG", b"\x89GNP", 3))
    assert "at most 1 %" in refused(*WORDS, "shards", "--count", 12, capsys=capsys)
    path.write_bytes(content[:-9])
    assert "is truncated" in refused(*WORDS, "shards", capsys=capsys)


@pytest.mark.costly
def test_tensorflow_datasets(work, capsys, monkeypatch):
    """Against a stand-in for the library, which the tests do without."""
    pixels, answers = work
    labels, kept = np.arange(12) % 10, pathlib.Path("kept")
    paths = {}
    for part in ("train", "test"):
        path = records(kept, pixels, labels, part, ("photo", "kind"))
        paths[part] = str(path.rename(kept / f"things-{part}.tfrecord-00000-of-00001"))

    def builder(name):
        if name != "things":
            raise ValueError(f"no data set {name}\nand a long story")
        kind = types.SimpleNamespace(names=NAMES)
        info = types.SimpleNamespace(
            name="things",
            features={"photo": None, "kind": kind},
            supervised_keys=("photo", "kind"),
            splits={p: types.SimpleNamespace(filepaths=[f]) for p, f in paths.items()},
        )
        return types.SimpleNamespace(info=info, download_and_prepare=lambda: None)

    library = types.SimpleNamespace(builder=builder)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", library)
    code, out, err = run(*WORDS, "tfds:things", "--count", 12, capsys=capsys)
    assert code == 0, err
    assert [answer for _, answer in best(out)] == answers
    assert best(out)[1][0] == f"tfds:things  2 of 12: {NAMES[1]}"
    right = np.mean([NAMES[labels[i]] == answer for i, answer in enumerate(answers)])
    words = ["evaluate", *WORDS[1:], "--data", "tfds:things"]
    code, out, err = run(*words, capsys=capsys)
    assert code == 0 and f"12 images, top-1 {right:.2%}" in out, err
    for name in ("nothing", "../kept", "https://here.example/things"):
        line = refused(*WORDS, f"tfds:{name}", capsys=capsys)
        assert "tfds" in line or "TensorFlow Datasets" in line
        assert "long story" not in line
