"""TFRecord files and features by the names that tutorials and Kaggle give them."""

import gzip
import shutil

import data_sources as sources
import pytest

from keras_resnets.errors import InvalidArgument
from keras_resnets.images.datasets.sources import open_dataset
from keras_resnets.images.datasets.sources import open_part


def written(tmp_path, names, keys=("image", "label")):
    """A folder with the 22 images of the first shards again in each file."""
    source = sources.write_folder(tmp_path / "source")
    shards = sources.write_records(tmp_path / "shards", source, keys, first=0)
    content = b"".join(path.read_bytes() for path in sorted(shards.iterdir()))
    folder = tmp_path / "records"
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ("train.tfrecord", "val.tfrecord", "test.tfrecord"),
        ("my_train.tfrecords", "my_valid.tfrecords", "my_test.tfrecords"),
        ("train00-192x192-7.tfrec", "val00-192x192-7.tfrec", "test00-192x192-7.tfrec"),
        ("train-00000-of-00001", "validation-00000-of-00001", "test-00000-of-00001"),
    ],
    ids=["plain", "words", "kaggle", "shards"],
)
def test_names_tell_the_splits(names, tmp_path):
    folder = written(tmp_path, names)
    (folder / "notes.txt").write_text("")
    (folder / "._train.tfrecord").write_bytes(b"x")
    data = open_dataset(folder)
    assert [part.count for part in (data.train, data.validation, data.test)] == [22] * 3


def test_test_records_without_labels_are_left_out(tmp_path):
    """Those of a competition have an id in place of the class."""
    folder = written(tmp_path, ("train.tfrec", "val.tfrec", "test.tfrec"))
    test = folder / "test.tfrec"
    test.write_bytes(test.read_bytes().replace(b"label", b"other"))
    data = open_dataset(folder)
    assert (data.train.count, data.validation.count, data.test) == (22, 22, None)
    note = "the test split of records is ignored: it has no labels"
    assert note in data.notes
    split, notes = open_part(folder, "test")
    assert split.count == 22 and note in notes
    (folder / "val.tfrec").unlink()
    assert open_dataset(folder).test is None
    with pytest.raises(InvalidArgument, match="one integer in label; one of .*test"):
        open_part(folder, "test")


def test_names_without_a_split_are_any_part(tmp_path):
    folder = written(tmp_path, ("file_00-100.tfrec", "file_01-100.tfrec"))
    data = open_dataset(folder, validation=0.25)
    assert data.train.count + data.validation.count == 44 and data.test is None
    assert open_part(folder, "test")[0].count == 44


def test_records_beside_class_folders_are_not_read(tmp_path):
    folder = written(tmp_path, ("cache.tfrecord",))
    for entry in (tmp_path / "source").iterdir():
        shutil.move(entry, folder / entry.name)
    assert open_dataset(folder, validation=0).train.kind == "files"


@pytest.mark.parametrize(
    "keys", [("image_raw", "label"), ("image", "class"), ("image/encoded", "target")]
)
def test_usual_features_are_read_from_zero(keys, tmp_path):
    data = open_dataset(written(tmp_path, ("train.tfrecord",), keys), validation=0)
    assert sorted(set(data.train.labels.tolist())) == [0, 1, 2]


def test_other_features_are_refused_with_the_usual_ones(tmp_path):
    folder = written(tmp_path, ("train.tfrecord",), ("picture", "label"))
    with pytest.raises(
        InvalidArgument, match=r"image_raw.* has image/height, label, pic"
    ):
        open_dataset(folder)


def test_compressed_records_and_single_files_are_told_what_to_do(tmp_path):
    folder = written(tmp_path, ("train.tfrecord",))
    path = folder / "train.tfrecord"
    with pytest.raises(InvalidArgument, match="give its folder"):
        open_dataset(path)
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(InvalidArgument, match="not compressed: unpack it with gzip"):
        open_dataset(folder)
