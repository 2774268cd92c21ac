"""One rule for images that break when they are decoded: left out, or replaced, and said."""

import json
import pathlib

import data_sources as sources
import keras
import numpy as np
import pytest
from hostile_images import spoilt
from PIL import Image
from training_helpers import Stopped
from training_helpers import classifier
from training_helpers import short
from training_helpers import stop_at
from training_helpers import without_tensorflow
from training_helpers import without_time

from keras_resnets import InvalidArgument
from keras_resnets.cli import main as cli
from keras_resnets.errors import TrainingError
from keras_resnets.images import calibration
from keras_resnets.images import evaluation
from keras_resnets.images import labels
from keras_resnets.images import loading
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.training.data import batches
from keras_resnets.training.data import open_dataset
from keras_resnets.training.data import pipeline
from keras_resnets.training.session import train

CLASSES = ("a", "b", "c", "d", "e")
WANTED = Preprocessing("cifar", (16, 16), 1.0)
EXACT = sources.Augmentation(crop="inception", area=(1.0, 1.0), aspect=(0.1, 10.0))


def spoil(folder, *names):
    for name in names:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(spoilt(content))


@pytest.fixture
def folder(tmp_path):
    """Forty JPEGs and five PNGs, of which one JPEG breaks when it is decoded."""
    made = sources.write_folder(tmp_path / "data", 45, CLASSES)
    spoil(made, "b/016.jpg")
    return made


@pytest.mark.costly_but("None-batches", "changes2-without_tensorflow")
@pytest.mark.parametrize("make", [batches, without_tensorflow])
@pytest.mark.parametrize("changes", [None, EXACT, sources.EVERYTHING])
def test_the_next_image_of_the_class_stands_in(make, changes, folder):
    split = open_dataset(folder, 0).train
    place = [split.images.name(index) for index in split.indices].index("b/016.jpg")
    assert list(split.stand_ins(place))[:3] == [place, place + 1, place + 2]
    assert sorted(split.stand_ins(place)) == list(range(45))
    assert set(split.labels[list(split.stand_ins(place))[:9]]) == {1}
    last = np.flatnonzero(split.labels == 1)[-1]
    assert list(split.stand_ins(last))[1] == np.flatnonzero(split.labels == 1)[0]
    options = {"augmentation": changes, "classes": 5, "training": changes is not None}
    first, again = (
        [np.asarray(x) for x, _ in make(split, WANTED, 9, **options)] for _ in range(2)
    )
    assert all((one == two).all() for one, two in zip(first, again, strict=True))
    assert split.images.broken == ("b/016.jpg",)
    if changes is None:
        assert (first[place // 9][place % 9] == np.concatenate(first)[place + 1]).all()
        labelled = [
            np.asarray(y).argmax(1) for _, y in make(split, WANTED, 9, **options)
        ]
        assert np.concatenate(labelled).tolist() == split.labels.tolist()


def run(folder, name, **options):
    told = []
    keras.utils.set_random_seed(5)
    recipe = short("finetune", epochs=2, frozen_epochs=0)
    done = train(
        classifier(),
        open_dataset(folder, 0.2),
        recipe,
        folder.parent / name,
        preprocessing=WANTED,
        verbose=0,
        tell=told.append,
        **options,
    )
    return done, told


@pytest.mark.costly
def test_a_training_goes_on_and_says_so(folder, monkeypatch):
    done, told = run(folder, "whole")
    assert len(told) == 1 and "1 image cannot be decoded" in told[0]
    assert "b/016.jpg" in told[0]
    record = json.loads(done.folder.record.read_text())
    assert record["replaced"] == ["b/016.jpg"] and record["status"] == "done"
    assert record["data"]["skipped"] == []
    with monkeypatch.context() as patch:
        stop_at(patch, 5)
        with pytest.raises(Stopped):
            run(folder, "stopped", save_seconds=0)
    again, _ = run(folder, "stopped", resume=True)
    assert without_time(again.history) == without_time(done.history)


@pytest.mark.parametrize("make", [batches, without_tensorflow])
def test_too_many_end_it_with_one_line(make, folder):
    spoil(folder, "c/017.jpg", "c/022.jpg")
    split = open_dataset(folder, 0).train
    data = make(split, WANTED, 9, classes=5)
    with pytest.raises(TrainingError, match=r"at most 1 %.*3 of 45.*b/016.jpg, c/017"):
        with pipeline.own_errors(data):
            list(data)
    if make is batches:
        with pytest.raises(TrainingError, match="3 of 45.*: broken data stream") as e:
            run(folder, "whole")
        assert "\n" not in str(e.value)


def test_those_that_are_measured_leave_it_out(folder):
    """And every count agrees: labels, batches, figures."""
    names = labels.class_names(5, CLASSES)
    data = evaluation.open_data(folder, WANTED, names=names)
    assert len(data.labels) == 44 == sum(len(batch) for batch in data.batches(7))
    assert np.bincount(data.labels).tolist() == [9, 8, 9, 9, 9]
    assert data.notes == ("1 image cannot be read and is ignored: b/016.jpg",)
    chosen = calibration.choose(folder, WANTED, 45)
    assert chosen.skipped == ("016.jpg",) and len(chosen.images) == 44
    spoil(folder, "c/017.jpg", "c/022.jpg")
    for look in (
        lambda: evaluation.open_data(folder, WANTED, names=names),
        lambda: calibration.choose(folder, WANTED, 45),
    ):
        with pytest.raises(InvalidArgument, match="at most 1 %.*3 of 45"):
            look()


def test_files_in_parts_are_tolerated_as_one(tmp_path):
    """`predict` reads 300 at a time: three broken ones of 1,000 may be in the last 100."""
    names = [str(tmp_path / f"{n}.png") for n in range(5)]
    for name in names[:2]:
        Image.new("RGB", (8, 8)).save(name)
    for name in names[2:]:
        pathlib.Path(name).write_bytes(b"x")
    images, broken = loading.load_images(names, WANTED, 1000, ["a.png"])
    assert list(images) == names[:2] and broken == names[2:]
    # All of a part may be broken.
    assert loading.load_images(names[2:], WANTED, 1000)[1] == names[2:]
    earlier = [f"{n}.png" for n in range(8)]
    with pytest.raises(InvalidArgument, match="11 of 1000 in those that were named"):
        loading.load_images(names, WANTED, 1000, earlier)


@pytest.mark.costly
def test_the_commands_say_it(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder.parent)
    words = ["train", "resnet8", "--data", "data", "--recipe", "cifar_cosine"]
    words += ["--epochs", "1", "--batch-size", "9", "--input-size", "16"]
    assert cli.main([*words, "--output", "run"]) == 0
    out = capsys.readouterr().out
    assert out.count("note: 1 image cannot be decoded") == 1 and "b/016.jpg" in out
    assert cli.main([*words, "--output", "quiet", "--quiet"]) == 0
    assert "note:" not in capsys.readouterr().out
    words = ["resnet8", "--weights", "run/best.weights.h5", "--classes", "5"]
    words += ["--input-size", "16"]
    assert cli.main(["evaluate", *words, "--data", "data"]) == 0
    out = capsys.readouterr().out
    assert "note: 1 image cannot be read" in out and "44 images" in out
    assert cli.main(["quantize", *words, "--data", "data", "--evaluate", "data"]) == 0
    out = capsys.readouterr().out
    assert "1 skipped, unreadable: " in out
    assert out.count("note: 1 image cannot be read") == 1
    assert cli.main(["predict", *words, "data/a/005.jpg", "data/b/016.jpg"]) == 0
    out = capsys.readouterr().out
    assert "note: 1 image cannot be read" in out and "a/005.jpg" in out
    assert cli.main(["predict", *words, "data/b/016.jpg"]) == 2
    assert "not a readable image" in capsys.readouterr().err
