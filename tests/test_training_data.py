"""Data for training: order and resumption to the bit, every source, bad input."""

import functools
import io
import os
import shutil
import subprocess
import sys
import types

import data_sources as sources
import keras
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from training_helpers import without_tensorflow

from keras_resnets import InvalidArgument
from keras_resnets.images import evaluation
from keras_resnets.images import labels
from keras_resnets.images import loading
from keras_resnets.images.datasets.seeded import held_out
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.training.augmentation import Augmentation
from keras_resnets.training.data import batches
from keras_resnets.training.data import open_dataset
from keras_resnets.training.data import pipeline
from keras_resnets.training.data.buffers import Buffers
from keras_resnets.training.data.sampler import Order


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    return sources.write_all(tmp_path_factory.mktemp("sources"))


def test_order_is_a_function_of_epoch_and_position():
    order = Order(23, 4, 7, shuffled=True, drop_remainder=False)
    assert order.steps == 6 and Order(23, 4, 7, True, True).steps == 5
    epochs = [
        np.concatenate([order.indices(epoch, step) for step in range(6)])
        for epoch in range(3)
    ]
    for epoch in epochs:
        assert sorted(epoch) == list(range(23))
    assert (epochs[0] != epochs[1]).any() and (epochs[1] != epochs[2]).any()
    other = Order(23, 4, 8, shuffled=True, drop_remainder=False)
    assert (other.indices(0, 0) != order.indices(0, 0)).any()
    fresh = Order(23, 4, 7, shuffled=True, drop_remainder=False)
    assert (fresh.indices(2, 5) == epochs[2][20:]).all()
    plain = Order(23, 4, 7, shuffled=False, drop_remainder=False)
    assert plain.indices(5, 5).tolist() == [20, 21, 22]


def test_numbers_of_a_picture_do_not_depend_on_the_batch():
    small, large = (Order(24, size, 7, True, True) for size in (3, 8))
    drawn = [small.numbers(2, step, 37) for step in range(8)]
    assert (
        np.concatenate(drawn)
        == np.concatenate([large.numbers(2, step, 37) for step in range(3)])
    ).all()
    everything = np.concatenate(drawn)
    assert len(np.unique(everything)) == 24 * 37 and everything.min() >= 0
    assert everything.max() < 1 and abs(everything.mean() - 0.5) < 0.03
    assert (small.numbers(3, 0, 37) != drawn[0]).all()
    seeds = {small.batch_seed(epoch, step) for epoch in range(9) for step in range(8)}
    assert len(seeds) == 72 and max(seeds) < 2**31


def test_memory_is_used_again_once_nobody_looks_at_it():
    buffers = Buffers((4, 5))
    first = buffers.take(4)
    place = first.ctypes.data
    assert first.shape == (4, 5) and place % 64 == 0
    part = first[1:, 2]
    del first
    second = buffers.take(3)
    assert second.shape == (3, 5) and second.ctypes.data != place
    del part
    assert buffers.take(4).ctypes.data == place
    kept = [buffers.take(4) for _ in range(20)]
    assert len({array.ctypes.data for array in [second, *kept]}) == 21


def test_memory_is_held_however_python_counts_references(monkeypatch):
    """Python 3.14 counts fewer than earlier ones: borrowed references are none."""
    monkeypatch.setattr(sys, "getrefcount", lambda _: 3)
    buffers = Buffers((4, 5))
    first = buffers.take(4)[1:]
    first[:] = 1
    buffers.take(4)[:] = 2
    assert (first == 1).all()


def test_machines_share_a_step():
    whole = Order(23, 6, 7, shuffled=True, drop_remainder=False)
    parts = [Order(23, 6, 7, True, False, part=(index, 4)) for index in range(4)]
    for step in range(4):
        shares = [part.indices(1, step) for part in parts]
        assert (np.concatenate(shares) == whole.indices(1, step)).all()
        drawn = [part.numbers(1, step, 9) for part in parts]
        assert (np.concatenate(drawn) == whole.numbers(1, step, 9)).all()


def test_validation_pictures_are_drawn_from_every_class():
    classes = np.repeat([0, 1, 2, 3], [100, 40, 2, 1])
    chosen = held_out(classes, 0.1, 0)
    assert np.bincount(classes[chosen], minlength=4).tolist() == [10, 4, 1, 0]
    assert (chosen == held_out(classes, 0.1, 0)).all()
    assert (chosen != held_out(classes, 0.1, 1)).any()


@pytest.mark.costly_but("arrays-batches", "files-without_tensorflow")
@pytest.mark.parametrize("make", [batches, without_tensorflow])
@pytest.mark.parametrize("kind", ["arrays", "files", "records"])
def test_a_run_that_goes_on_sees_what_it_would_have_seen(kind, make, kinds):
    read = functools.partial(sources.stream, kinds[kind], make=make)
    for changes in (sources.EVERYTHING, sources.CIFAR_LIKE):
        whole = read(changes, 2)
        assert len(whole) == 10
        keras.utils.set_random_seed(3)
        again = read(changes, 2, first_step=3, workers=3)
        assert sources.same(whole[3:], again)
        again = read(changes, 1, epoch_of_first=1, first_step=2)
        assert sources.same(whole[7:], again)
    assert not sources.same(whole[:5], whole[5:])
    assert not sources.same(whole[:5], read(changes, 1, seed=6))
    pictures, targets = whole[0]
    assert pictures.shape == (4, 16, 16, 3) and pictures.dtype == np.float32
    assert targets.shape == (4, 3) and (targets.sum(axis=1) == 1).all()


def test_both_paths_make_the_same_batches(kinds):
    for kind, source in kinds.items():
        first, second = (
            sources.stream(source, sources.EVERYTHING, 1, make=make)
            for make in (batches, without_tensorflow)
        )
        assert sources.same(first, second), kind


@pytest.mark.costly
def test_without_tensorflow_in_a_process_of_jax(kinds, tmp_path):
    words = [
        ROOT / "tests" / "data_probe.py",
        kinds["files"].parent,
        tmp_path / "o.npz",
    ]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(tmp_path / "o.npz") as found:
        for kind, source in kinds.items():
            here = sources.stream(source, sources.WITHOUT_MIXING, 1)
            assert found[kind].tobytes() == np.stack([x for x, _ in here]).tobytes()


def test_sources_of_the_same_pictures_agree(kinds):
    files, records = (
        open_dataset(kinds[kind], validation=0) for kind in ("files", "records")
    )
    assert files.classes == (("ant", "ant"), ("bee", "bee"), ("cat", "cat"))
    assert records.classes[1] == ("1", "class 1") and records.train.kind == "records"
    # Two shards, filled in turns.
    order = np.argsort(np.concatenate([np.arange(0, 22, 2), np.arange(1, 22, 2)]))
    assert records.train.labels[order].tolist() == files.train.labels.tolist()
    assert (
        records.train.images.sizes(order) == files.train.images.sizes(np.arange(22))
    ).all()
    for index in range(22):
        one = files.train.images.open(index)
        two = records.train.images.open(order[index])
        assert np.asarray(one).tobytes() == np.asarray(two).tobytes()


@pytest.mark.parametrize("make", [batches, without_tensorflow])
@pytest.mark.parametrize("kind, size", [("arrays", 16), ("arrays", 12), ("files", 16)])
def test_evaluation_sees_what_the_evaluate_command_sees(kind, size, make, kinds):
    wanted = Preprocessing("torch", (size, size))
    opened = open_dataset(kinds[kind], validation=0)
    split = opened.test or opened.train
    data = make(split, wanted, 3, classes=3, training=False)
    expected = evaluation.open_data(kinds[kind], wanted)
    for _ in range(2):
        found = [tuple(map(np.asarray, pair)) for pair in data]
        assert len(found) == -(-split.count // 3)
        targets = np.concatenate([y for _, y in found]).argmax(axis=1)
        assert targets.tolist() == expected.labels.tolist()
        for (pictures, _), batch in zip(found, expected.batches(3), strict=True):
            assert pictures.tobytes() == batch.tobytes()


class Recorder(keras.Model):
    """Notes the labels of each step of training."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def call(self, x):
        return x

    def train_step(self, data):
        self.seen.append(np.asarray(data[1]).tolist())
        return {"loss": keras.ops.zeros(())}

    test_step = train_step


def labels_of(split, epochs, **options):
    data = batches(split, sources.INPUT, 4, classes=22, one_hot=False, **options)
    return [np.asarray(y).tolist() for _ in range(epochs) for _, y in data]


def test_fit_goes_through_one_epoch_after_the_other(kinds):
    split = open_dataset(kinds["arrays"], validation=0).train
    # Each picture a class of its own, to tell them apart.
    split = type(split)(np.arange(22), split.images, split.indices)
    expected = labels_of(split, 3)
    data = batches(split, sources.INPUT, 4, classes=22, one_hot=False)
    model = Recorder()
    model.compile(run_eagerly=True)
    model.fit(data, epochs=3, shuffle=False, verbose=0)
    assert model.seen == expected
    # Killed behind step 2 of epoch 1: the rest of it, then the others.
    data = batches(
        split,
        sources.INPUT,
        4,
        classes=22,
        one_hot=False,
        epoch_of_first=1,
        first_step=2,
    )
    model.seen.clear()
    model.fit(data, initial_epoch=1, epochs=2, shuffle=False, verbose=0)
    model.fit(data, initial_epoch=2, epochs=3, shuffle=False, verbose=0)
    assert model.seen == expected[7:]
    # An epoch of one step, named by a callback.
    data = batches(split, sources.INPUT, 22, classes=22, one_hot=False)
    told = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: data.set_epoch(epoch)
    )
    model.seen.clear()
    model.fit(data, epochs=3, callbacks=[told], shuffle=False, verbose=0)
    order = Order(22, 22, 0, True, True)
    assert model.seen == [order.indices(epoch, 0).tolist() for epoch in range(3)]


def test_several_devices_share_each_batch(kinds):
    import tensorflow as tf

    split = open_dataset(kinds["arrays"], validation=0).train
    strategy = tf.distribute.MirroredStrategy(["cpu:0"])
    with strategy.scope():
        model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
        model.compile("sgd", "mse")
    data = batches(split, sources.INPUT, 4, classes=3)
    seen = model.fit(data, epochs=2, shuffle=False, verbose=0).history["loss"]
    assert np.isfinite(seen).all()


def test_dtypes_and_integer_targets(kinds):
    split = open_dataset(kinds["arrays"], validation=0).train
    for make in (batches, without_tensorflow):
        data = make(split, sources.INPUT, 4, classes=3, dtype="bfloat16", one_hot=False)
        pictures, targets = map(np.asarray, next(iter(data)))
        assert pictures.dtype.name == "bfloat16" and targets.dtype == np.int64
        data = make(split, sources.INPUT, 4, classes=3, drop_remainder=False)
        assert [len(x) for x, _ in data] == [4, 4, 4, 4, 4, 2]


def test_own_validation_and_test_pictures(tmp_path):
    for index, part in enumerate(("train", "val", "test")):
        sources.write_folder(tmp_path / "a" / part, 6 + index, start=100 * index)
    data = open_dataset(tmp_path / "a")
    assert [data.train.count, data.validation.count, data.test.count] == [6, 7, 8]
    assert data.validation.labels.tolist() == [0, 0, 0, 1, 1, 2, 2]
    held = open_dataset(tmp_path / "a", validation=0.5)
    assert [held.train.count, held.validation.count, held.test.count] == [3, 3, 8]
    assert open_dataset(tmp_path / "a", validation=0).validation is None
    (tmp_path / "a" / "val" / "dog").mkdir()
    with pytest.raises(InvalidArgument, match=r"\(validation\) must be among.*dog"):
        open_dataset(tmp_path / "a")


def test_a_tenth_is_held_out_and_the_test_stays_untouched(kinds):
    data = open_dataset(kinds["arrays"])
    assert (data.train.count, data.validation.count, data.test.count) == (19, 3, 4)
    together = np.concatenate([data.train.indices, data.validation.indices])
    assert sorted(together) == list(range(22))
    expected = np.load(kinds["arrays"])["y_train"]
    assert (expected[data.validation.indices] == data.validation.labels).all()


def test_fingerprints(kinds, tmp_path):
    first = {kind: open_dataset(source).fingerprint for kind, source in kinds.items()}
    assert len(set(first.values())) == 3
    for kind, source in kinds.items():
        assert open_dataset(source).fingerprint == first[kind]
        assert open_dataset(source, seed=1).fingerprint != first[kind]
        assert open_dataset(source, validation=0.2).fingerprint != first[kind]
    arrays = dict(np.load(kinds["arrays"]))
    arrays["x_train"][3, 2, 1, 0] ^= 1
    np.savez(tmp_path / "b.npz", **arrays)
    assert open_dataset(tmp_path / "b.npz").fingerprint != first["arrays"]
    moved = shutil.copytree(kinds["files"], tmp_path / "moved")
    assert open_dataset(moved).fingerprint == first["files"]
    with open(moved / "ant" / "003.jpg", "ab") as file:
        file.write(b"\0")
    assert open_dataset(moved).fingerprint != first["files"]


def test_classes_by_wordnet_id_and_by_given_names(tmp_path):
    folder = sources.write_folder(tmp_path / "a", 6, ("n02111889", "n01440764"))
    data = open_dataset(folder, validation=0)
    assert data.classes == (("n01440764", "tench"), ("n02111889", "Samoyed"))
    names = labels.class_names(1000, "imagenet")
    data = open_dataset(folder, validation=0, classes=names)
    assert data.classes == names and set(data.train.labels) == {0, 258}
    given = open_dataset(folder, classes=["n02111889", "n01440764"])
    assert given.train.labels.tolist()[0] == 1
    with pytest.raises(InvalidArgument, match="got n01440764"):
        open_dataset(folder, classes=["a", "b"])
    with pytest.raises(InvalidArgument, match="classes must be 2.*got 3"):
        open_dataset(folder, classes=3)


def test_pictures_of_every_mode_and_turned_by_exif(tmp_path):
    pixels = sources.picture(1, (40, 24))
    for index, name in enumerate("ab"):
        folder = tmp_path / name
        folder.mkdir()
        for mode in ("L", "RGBA", "P", "1"):
            Image.fromarray(pixels).convert(mode).save(folder / f"{mode}.png")
        Image.fromarray(pixels).convert("CMYK").save(folder / "c.jpg", quality=95)
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(pixels).save(folder / "turned.jpg", exif=exif, quality=95)
        Image.fromarray(np.full((9, 9), 40_000 + index, "uint16")).save(
            folder / "16.png"
        )
    split = open_dataset(tmp_path, validation=0).train
    assert split.images.sizes([6]).tolist() == [[24, 40]]
    upright = np.rot90(pixels, -1).astype(int)
    assert np.abs(np.asarray(split.images.open(6), int) - upright).mean() < 6
    for changes in (sources.EVERYTHING, sources.CIFAR_LIKE, None):
        data = batches(split, sources.INPUT, 14, classes=2, augmentation=changes)
        ((pictures, _),) = data
        assert np.isfinite(np.asarray(pictures)).all()


@pytest.mark.parametrize("orientation", [3, 5, 8])
@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
def test_turned_images_of_every_format_are_those_of_predict(
    ending, orientation, tmp_path
):
    """Pillow gives TIFF files their upright size before it turns them."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in "ab":
        (tmp_path / name).mkdir()
        path = tmp_path / name / f"turned.{ending}"
        Image.fromarray(sources.picture(1, (40, 24))).save(
            path, exif=exif, lossless=True
        )
    split = open_dataset(tmp_path, validation=0).train
    image = split.images.open(split.indices[0])
    assert (image.height, image.width) == tuple(split.images.sizes([0])[0])
    assert (image.width > image.height) == (orientation >= 5)
    shown = loading.load_image(path, sources.INPUT)
    np.testing.assert_array_equal(sources.INPUT(image), shown)


@pytest.mark.parametrize("orientation", [1, 6])
def test_large_photos_are_decoded_small(tmp_path, orientation):
    """A crop far larger than the input is decoded at a fraction, and stays in place."""
    pixels = sources.picture(4, (600, 400))
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "0.jpg", exif=exif, quality=98)
    split = open_dataset(tmp_path, validation=0).train
    whole = Augmentation(crop="inception", area=(1.0, 1.0), aspect=(0.1, 10.0))
    changes = Augmentation(crop="inception", area=(0.4, 0.5))
    upright = Image.fromarray(np.rot90(pixels, -1) if orientation == 6 else pixels)
    order = Order(2, 2, 0, True, True)
    for change in (whole, changes):
        ((found, _),) = batches(split, sources.INPUT, 2, classes=2, augmentation=change)
        sizes = split.images.sizes([0, 0])
        boxes = change.plan(order.numbers(0, 0, 36), sizes).boxes
        for row, (top, left, rows, columns) in enumerate(boxes):
            part = (left, top, left + columns, top + rows)
            exact = upright.resize((16, 16), Image.Resampling.BILINEAR, part)
            difference = sources.INPUT.pixels(np.asarray(found)[row]) - np.asarray(
                exact, int
            )
            assert np.abs(difference).mean() < 3
    drafted = split.images.open(0, (20, 20))
    assert max(drafted.size) == 75


def test_broken_pictures_are_left_out_and_counted(tmp_path):
    folder = sources.write_folder(tmp_path / "a", 204)
    whole = (folder / "ant" / "102.jpg").read_bytes()
    (folder / "ant" / "102.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "bee" / "001.png").write_bytes(b"\x89PNG no picture")
    (folder / "bee" / "note.txt").write_text("no picture's name")
    data = open_dataset(folder)
    assert data.train.skipped == ("ant/102.jpg", "bee/001.png")
    assert data.train.count + data.validation.count == 202
    everything = open_dataset(folder, validation=0)
    ((_, _), *_) = batches(everything.train, sources.INPUT, 101, classes=3)
    (folder / "cat" / "104.jpg").write_bytes(b"")
    with pytest.raises(InvalidArgument) as caught:
        open_dataset(folder)
    said = str(caught.value)
    assert "at most 1 %" in said and "3 of 204" in said
    assert "ant/102.jpg, bee/001.png, cat/104.jpg (ant/102.jpg: " in said
    records = sources.write_records(tmp_path / "r", folder)
    with pytest.raises(InvalidArgument, match="4 of 205.*-of-00002 at byte"):
        open_dataset(records)


def test_a_picture_that_goes_away_is_replaced_and_named(kinds, tmp_path):
    folder = shutil.copytree(kinds["files"], tmp_path / "a")
    split = open_dataset(folder, validation=0).train
    (folder / "bee" / "004.jpg").unlink()
    data = without_tensorflow(split, sources.INPUT, 4, classes=3)
    assert len(list(data)) == 5
    assert split.images.broken == ("bee/004.jpg",)
    with pytest.raises(InvalidArgument, match="bee/004.jpg changed since"):
        split.images.open(9)


def test_folders_that_cannot_be_used(kinds, tmp_path):
    folder = shutil.copytree(kinds["files"], tmp_path / "a")
    (folder / "empty").mkdir()
    with pytest.raises(InvalidArgument, match="1 contain none: empty"):
        open_dataset(folder)
    one = sources.write_folder(tmp_path / "one", 4, ("only",))
    with pytest.raises(InvalidArgument, match="all 4 are of class 0, only$"):
        open_dataset(one)
    (tmp_path / "none").mkdir()
    with pytest.raises(InvalidArgument, match="got 0 sub-folders"):
        open_dataset(tmp_path / "none")
    pairs = sources.write_folder(tmp_path / "pairs", 2, ("a", "b"))
    with pytest.raises(InvalidArgument, match="too few images per class"):
        open_dataset(pairs)


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"x_test": np.ones(3)}, "arrays x_train and y_train"),
        ({"x_train": np.ones((4, 8, 8, 3)), "y_train": [0, 1] * 2}, "x_train.* uint8"),
        ({"y_train": [0, 1, 1]}, "one integer per image; got int64 of 3 for 4"),
        ({"y_train": [0.5, 1, 1, 0]}, "one integer per image; got float64"),
        ({"y_train": [1, 1, 1, 1]}, "at least two classes; all 4 are of class 1"),
        (
            {"y_train": [0, -1, 1, 1]},
            r"labels must lie in 0..1.*got -1..1; labels co",
        ),
        (
            {"x_test": np.ones((1, 8, 8, 3), "uint8"), "y_test": [7]},
            r"labels must lie in 0..1.*got 7..7",
        ),
        ({"x_test": np.ones((1, 8, 8, 3), "uint8")}, "arrays x_test and y_test"),
    ],
)
def test_npz_that_cannot_be_used(arrays, message, tmp_path):
    good = {"x_train": np.ones((4, 8, 8, 3), "uint8"), "y_train": [0, 1, 1, 0]}
    alone = "x_test" in arrays and "x_train" in message
    np.savez(tmp_path / "a.npz", **({} if alone else good) | arrays)
    with pytest.raises(InvalidArgument, match=message):
        open_dataset(tmp_path / "a.npz", validation=0)


@pytest.mark.parametrize(
    "source, message",
    [
        ("cifar_10", "did you mean 'cifar10'"),
        ("missing.npz", "must be an .npz file, a folder"),
        ("tfds:mnist", "requires TensorFlow Datasets: pip install"),
    ],
)
def test_sources_that_are_none(source, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(InvalidArgument, match=message):
        open_dataset(source)


def test_arguments_of_batches_that_are_refused(kinds):
    split = open_dataset(kinds["arrays"], validation=0).train
    for options, message in (
        ({"classes": 2}, r"labels must lie in 0..1, the 2 classes; got 0..2"),
        ({"batch_size": 0}, "batch_size must be"),
        (
            {"batch_size": 23},
            "batch_size must be at most the number of images, 22; got 23",
        ),
        ({"first_step": 5}, r"first_step must lie in 0..4"),
        ({"workers": 0}, "workers must be"),
        ({"seed": -1}, "seed must be a whole number >= 0; got -1"),
        ({"dtype": "int8"}, "dtype must be one of"),
        (
            {"augmentation": Augmentation(mixup=0.2), "one_hot": False},
            "need one_hot=True",
        ),
    ):
        arguments = {"batch_size": 4, "classes": 3, **options}
        with pytest.raises(InvalidArgument, match=message):
            pipeline.batches(split, sources.INPUT, **arguments)
    with pytest.raises(InvalidArgument, match="seed must be"):
        open_dataset(kinds["arrays"], seed=0.5)
    with pytest.raises(InvalidArgument, match="validation must lie in"):
        open_dataset(kinds["arrays"], validation=1.0)


def test_records_as_tensorflow_writes_and_reads_them(kinds, tmp_path):
    import tensorflow as tf

    train = tf.train
    folder = tmp_path / "real"
    folder.mkdir()
    contents = [path.read_bytes() for path in sorted(kinds["files"].rglob("*.jpg"))]
    for part, first, last in (("train", 0, 12), ("validation", 12, 19)):
        path = folder / f"{part}-00000-of-00001"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for index in range(first, last):
                features = {
                    "image/encoded": train.Feature(
                        bytes_list=train.BytesList(value=[contents[index]])
                    ),
                    "image/class/label": train.Feature(
                        int64_list=train.Int64List(value=[index % 3 + 1])
                    ),
                    "image/class/text": train.Feature(
                        bytes_list=train.BytesList(value=[b"a name"])
                    ),
                    "image/object/bbox/xmin": train.Feature(
                        float_list=train.FloatList(value=[0.25, 0.5])
                    ),
                }
                writer.write(
                    train.Example(
                        features=train.Features(feature=features)
                    ).SerializeToString()
                )
    data = open_dataset(folder)
    assert data.train.labels.tolist() == [index % 3 for index in range(12)]
    assert data.validation.labels.tolist() == [index % 3 for index in range(12, 19)]
    found = np.asarray(data.validation.images.open(2))
    expected = np.asarray(Image.open(io.BytesIO(contents[14])))
    assert found.tobytes() == expected.tobytes()


def test_labels_of_records_that_count_from_zero(kinds, tmp_path):
    for name, first, keys in (
        ("a", 0, ("image/encoded", "image/class/label")),
        ("b", 0, ("image", "label")),
    ):
        folder = sources.write_records(tmp_path / name, kinds["files"], keys, first)
        assert sorted(set(open_dataset(folder).train.labels)) == [0, 1, 2]


def test_records_that_cannot_be_used(kinds, tmp_path):
    def spoilt(name, change, keys=("image", "label")):
        folder = sources.write_records(tmp_path / name, kinds["files"], keys)
        path = folder / "train-00001-of-00002"
        path.write_bytes(change(path.read_bytes()))
        with pytest.raises(InvalidArgument) as caught:
            open_dataset(folder)
        return str(caught.value)

    assert "is truncated or not a TFRecord file" in spoilt("a", lambda all: all[:-9])
    assert "is truncated or not a TFRecord file" in spoilt("b", lambda all: b"text" * 9)
    said = spoilt(
        "c", lambda all: (4).to_bytes(8, "little") + b"sums\xff\xff\xff\xffsums"
    )
    assert "must be tf.train.Example" in said
    said = spoilt("d", lambda all: all, ("photo", "label"))
    assert "must contain image/encoded and image/class/label, or one of image" in said
    assert "has image/height, label, photo" in said
    other = sources.example({"image": 3, "label": 1})
    content = len(other).to_bytes(8, "little") + b"sums" + other + b"sums"
    assert "one image in image and one integer" in spoilt("e", lambda all: content)
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "validation-00000-of-00001").write_bytes(content)
    with pytest.raises(InvalidArgument, match="must contain train-00000-of"):
        open_dataset(tmp_path / "f")


def test_tensorflow_datasets(kinds, tmp_path, monkeypatch):
    """Against a stand-in for the library, which the tests do without."""
    folder = sources.write_records(
        tmp_path / "r", kinds["files"], ("photo", "species"), 0
    )
    paths = []
    for index, path in enumerate(sorted(folder.iterdir())):
        paths.append(str(folder / f"bugs-train.tfrecord-{index:05}-of-00002"))
        path.rename(paths[-1])

    class Info:
        name = "bugs"
        features = {
            "photo": None,
            "species": types.SimpleNamespace(names=["ant", "bee", "cat"]),
        }
        supervised_keys = ("photo", "species")
        splits = {"train": types.SimpleNamespace(filepaths=paths)}

    class Builder:
        info = Info()

        def __init__(self, name):
            if name != "bugs":
                raise ValueError(f"no dataset {name}\nand a long story")

        def download_and_prepare(self):
            pass

    library = types.SimpleNamespace(builder=Builder)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", library)
    data = open_dataset("tfds:bugs")
    assert data.classes == (("ant", "ant"), ("bee", "bee"), ("cat", "cat"))
    assert data.train.count + data.validation.count == 22 and data.test is None
    with pytest.raises(
        InvalidArgument, match="cannot open 'beetles': .*no dataset"
    ) as e:
        open_dataset("tfds:beetles")
    assert "long story" not in str(e.value)
    monkeypatch.setattr(Info, "supervised_keys", None)
    with pytest.raises(InvalidArgument, match="one image and one class per example"):
        open_dataset("tfds:bugs")


@pytest.mark.parametrize("shape", [(6, 32, 32, 3), (6, 28, 28), (6, 3, 32, 32)])
def test_keras_own_loaders(shape, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, shape, "uint8")
    answers = np.array([[0], [1]] * 3, "uint8")
    loaded = (pixels, answers), (pixels[:2], answers[:2])
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", lambda: loaded)
    data = open_dataset("cifar10", validation=0)
    assert data.classes[3] == ("cat", "cat") and data.test.count == 2
    side = shape[-1] if shape[1] == 3 or len(shape) == 3 else 32
    assert data.train.images.pixels.shape == (6, side, side, 3)
    assert data.train.labels.tolist() == [0, 1] * 3


def test_float_photos_are_refused_with_the_way_to_store_them(tmp_path):
    images = np.random.default_rng(0).random((4, 8, 8, 3), "float32")
    np.savez(tmp_path / "a.npz", x_train=images, y_train=[0, 1, 0, 1])
    with pytest.raises(InvalidArgument, match=r"got float32 .* store \(255 \* x\)"):
        open_dataset(tmp_path / "a.npz")
