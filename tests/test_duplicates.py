"""Images that are in two splits of a data set."""

import shutil

import data_sources as sources
import numpy as np
import pytest

from keras_resnets.images.datasets import duplicates
from keras_resnets.training.data import open_dataset


def arrays(path, test, train=None, **others):
    train = np.stack([sources.picture(n, (8, 8)) for n in range(20)])
    labels = np.arange(20) % 2
    np.savez(
        path,
        x_train=train,
        y_train=labels,
        x_test=test(train),
        y_test=labels[:6],
        **others,
    )
    return open_dataset(path, validation=0)


def noted(data):
    return [note for note in data.notes if "training image" in note]


def test_arrays_in_two_splits_are_said(tmp_path):
    path = tmp_path / "a.npz"
    assert not noted(arrays(path, lambda train: train[:6] ^ 1))
    (note,) = noted(arrays(path, lambda train: train[4:10]))
    assert note.startswith("6 of 6 test images are training images too, such as 0 (4)")

    def one(train):
        return np.concatenate([train[:1], train[1:6] ^ 1])

    assert "1 of 6 test images is a training image too" in noted(arrays(path, one))[0]

    def alike(train):
        # The row that is compared first is the same, others are not.
        changed = train[:6].copy()
        changed[:, 0] ^= 1
        return changed

    assert not noted(arrays(path, alike))


@pytest.mark.parametrize("most", [500, 4])
def test_files_in_two_splits_are_said(most, tmp_path, monkeypatch):
    monkeypatch.setattr(duplicates, "_MOST_FILES", most)
    sources.write_folder(tmp_path / "train")
    sources.write_folder(tmp_path / "val", 8, start=50)
    sources.write_folder(tmp_path / "test", 8, start=100)
    assert not noted(open_dataset(tmp_path))
    shutil.rmtree(tmp_path / "test")
    shutil.copytree(tmp_path / "train", tmp_path / "test")
    (note,) = noted(open_dataset(tmp_path))
    count = min(most, 22)
    assert note.startswith(f"{count} of {count} test images are training images too")


def test_copies_within_a_folder_are_said_of_held_out_images(tmp_path):
    sources.write_folder(tmp_path, 6)
    for path in list(tmp_path.rglob("*.*")):
        shutil.copy(path, path.with_stem(f"{path.stem}_copy"))
    (note,) = noted(open_dataset(tmp_path, validation=0.25))
    assert "held-out images are training images too" in note


def test_files_that_vanish_are_no_duplicates(tmp_path):
    sources.write_folder(tmp_path / "train")
    shutil.copytree(tmp_path / "train", tmp_path / "test")
    data = open_dataset(tmp_path, validation=0)
    shutil.rmtree(tmp_path / "test")
    assert duplicates.note(data.train, data.test, "test") is None


def test_records_in_two_splits_are_said(tmp_path):
    source = sources.write_folder(tmp_path / "source")
    records = sources.write_records(tmp_path / "records", source)
    for path in sorted(records.iterdir()):
        shutil.copy(path, path.with_name(path.name.replace("train", "validation")))
    (note,) = noted(open_dataset(records))
    assert "22 of 22 held-out images" in note and "at byte" in note
