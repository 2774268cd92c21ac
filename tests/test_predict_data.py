"""`predict` of folders and data sets: what `train --data` and `evaluate --data` take."""

import pathlib

import keras
import numpy as np
import pytest
from helpers import randomize
from PIL import Image
from test_cli import refused
from test_cli import run

from keras_resnets.labels import label_set
from keras_resnets.registry import create_model

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
    assert code == 0 and "the images of test are taken" in out, err
    titles = [title for title, _ in best(out.partition("taken\n")[2])]
    assert titles == ["parts/test/cat/0.png", "parts/test/dog/0.png"]
    pathlib.Path("empty").mkdir()
    assert "holds no pictures" in refused(*WORDS, "empty", capsys=capsys)


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
    assert code == 0 and f"12 pictures, top-1 {right:.2%}" in out, err
    from keras_resnets.training.data import open_dataset

    hundred = open_dataset("cifar100", validation=0)
    assert hundred.classes == label_set("cifar100")
