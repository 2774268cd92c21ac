"""Accuracy of the real trained networks; labelled data, good and bad; class names."""

import keras
import numpy as np
import pytest
from PIL import Image

import keras_resnets
from keras_resnets import InvalidArgument
from keras_resnets.images import calibration
from keras_resnets.images import evaluation
from keras_resnets.images import labels
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.weights import records

RAW = Preprocessing("raw", (8, 8), 1.0)


@pytest.fixture(scope="session")
def cifar10(shared_data, tmp_path_factory):
    """CIFAR-10's test pictures and labels as an .npz file."""
    import json

    folder = shared_data / "cifar10"
    pixels = np.asarray(Image.open(folder / "test_batch.png"))
    path = tmp_path_factory.mktemp("cifar10") / "cifar10.npz"
    answers = json.loads((folder / "test_labels.json").read_text())
    np.savez(path, x_test=pixels.reshape(-1, 32, 32, 3), y_test=answers)
    return path


@pytest.mark.costly_but("resnet20")
@pytest.mark.parametrize(
    "name, weights, count, right",
    [
        ("resnet8", "mlperf_tiny/pretrainedResnet.h5", 10_000, 8719),
        ("resnet20", "checkpoints/resnet20-12fca82f.th", 2000, 1849),
        *(
            pytest.param(name, weights, 10_000, right, marks=pytest.mark.slow)
            for name, weights, right in [
                ("resnet20", "checkpoints/resnet20-12fca82f.th", 9173),
                ("resnet32", "checkpoints/resnet32-d509ac18.th", 9263),
                ("resnet56", "checkpoints/resnet56-4bfd9763.th", 9339),
            ]
        ),
    ],
)
def test_true_accuracies(name, weights, count, right, shared_data, cifar10):
    """To the picture."""
    model = keras_resnets.create_model(name, weights=shared_data / weights)
    assert model.labels == "cifar10"
    data = evaluation.open_data(cifar10, model.preprocessing, count=count)
    found = evaluation.evaluate(model, data, 500)
    assert (found.count, round(found.top1 * count)) == (count, right)


OURS = [record for record in records.all_records() if record.shipped]


# Two and a half standard errors of an accuracy of nine in ten; a flipped rounding or two.
@pytest.mark.costly_but("resnet20-keras_resnets_cifar10-1000")
@pytest.mark.parametrize(
    "count, tolerance",
    [(1000, 2.5), pytest.param(10_000, 0.03, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize(
    "record", OURS, ids=lambda record: f"{record.variant}-{record.tag}"
)
def test_accuracies_of_our_own_networks(record, count, tolerance, cifar10, monkeypatch):
    """As the record says, from the package alone."""
    monkeypatch.setenv("KERAS_RESNETS_OFFLINE", "1")
    model = keras_resnets.create_model(record.variant, weights=record.tag)
    assert model.labels == "cifar10"
    data = evaluation.open_data(cifar10, model.preprocessing, count=count)
    found = evaluation.evaluate(model, data, 500)
    assert found.count == count
    assert abs(100 * found.top1 - record.top1) <= tolerance


def test_npz_that_is_resized_and_of_which_some_are_taken(tmp_path):
    pixels = np.arange(7, 12, dtype="uint8")[:, None, None, None] + np.zeros(
        (16, 24, 3), "uint8"
    )
    np.savez(tmp_path / "a.npz", x_test=pixels, y_test=np.arange(5)[:, None])
    data = evaluation.open_data(tmp_path / "a.npz", RAW, count=3)
    batches = list(data.batches(2))
    assert [len(batch) for batch in batches] == [2, 1]
    assert batches[0].shape == (2, 8, 8, 3)
    assert (np.concatenate(batches)[:, 0, 0, 0] == data.labels + 7).all()
    assert len(set(data.labels)) == 3


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"x_train": np.ones(3)}, "arrays x_test and y_test"),
        ({"x_test": np.ones((2, 8, 8, 3)), "y_test": [0, 1]}, "uint8"),
        ({"x_test": np.ones((2, 8, 8), "uint8"), "y_test": [0, 1]}, "uint8"),
        ({"x_test": np.ones((2, 8, 8, 3), "uint8"), "y_test": [0]}, "one integer"),
        ({"x_test": np.ones((2, 8, 8, 3), "uint8"), "y_test": [0, 0.5]}, "integer"),
    ],
)
def test_npz_that_cannot_be_used(arrays, message, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InvalidArgument, match=message):
        evaluation.open_data(tmp_path / "a.npz", RAW)


def test_data_that_are_none(tmp_path):
    for name, content in (("a.npz", b"PK no zip"), ("b.npz", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidArgument, match="arrays x_test"):
            evaluation.open_data(tmp_path / name, RAW)
    missing, there = (
        "a folder .*, which does not exist",
        "a folder .*parquet': write its images to",
    )
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    for name, said in (("missing.npz", missing), ("a.parquet", there)):
        with pytest.raises(InvalidArgument, match=f"must be an .npz file, {said}"):
            evaluation.open_data(tmp_path / name, RAW)
    with pytest.raises(InvalidArgument, match="an .npy file .*, which does not exist"):
        calibration.choose(tmp_path / "missing.npz", RAW)
    for names in ((), labels.class_names(10), labels.class_names(10, "cifar10")):
        with pytest.raises(InvalidArgument, match="got 0 sub-folders"):
            evaluation.open_data(tmp_path, RAW, names=names)


def coloured(folder, names):
    """A folder a class, whose pictures have the grey of its place in `names`."""
    for index, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for count in range(2):
            grey = np.full((10, 12, 3), 20 * index, "uint8")
            Image.fromarray(grey).save(folder / name / f"{count}.png")
    return folder


def test_folders_by_sorting_and_by_name(tmp_path):
    folder = coloured(tmp_path / "a", ["zebra", "ant"])
    data = evaluation.open_data(folder, RAW)
    assert data.labels.tolist() == [0, 0, 1, 1]
    assert [batch[0, 0, 0, 0] for batch in data.batches(2)] == [20, 0]
    names = labels.class_names(1000, "imagenet")
    known = coloured(tmp_path / "b", ["n02111889", "n01440764"])
    data = evaluation.open_data(known, RAW, names=names)
    assert data.labels.tolist() == [0, 0, 258, 258]
    darknet = labels.class_names(1000, "imagenet_darknet")
    data = evaluation.open_data(known, RAW, names=darknet)
    assert data.labels.tolist() == [448, 448, *[darknet.index(names[258])] * 2]


class Fixed(keras.layers.Layer):
    """Scores that say class 1, then 0, then 2."""

    def call(self, inputs):
        shape = keras.ops.shape(inputs)[:1]
        return keras.ops.broadcast_to(
            keras.ops.array([0.3, 0.6, 0.1, 0.0, 0.0, 0.0, 0.0]), (*shape, 7)
        )


def test_counting():
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, Fixed()(image))
    data = evaluation.Labelled(
        np.array([1, 1, 0, 6]),
        lambda size: [np.zeros((2, 8, 8, 3)), np.zeros((2, 8, 8, 3))],
    )
    done = []
    found = evaluation.evaluate(model, data, 2, done.append)
    assert (found.top1, found.top5, found.count) == (0.5, 0.75, 4)
    assert done == [2, 4]
    with pytest.raises(InvalidArgument, match=r"0\.\.6"):
        evaluation.evaluate(model, evaluation.Labelled(np.array([7]), list))


def test_class_names():
    wnids = [identity for identity, _ in labels.label_set("imagenet")]
    assert wnids == sorted(wnids)
    assert len(set(labels.label_set("imagenet"))) == 1000
    assert sorted(labels.label_set("imagenet_darknet")) == list(
        labels.label_set("imagenet")
    )
    # The first of darknet's own list.
    assert labels.label_set("imagenet_darknet")[0] == ("n02119789", "kit fox")
    assert labels.class_names(3) == (
        ("0", "class 0"),
        ("1", "class 1"),
        ("2", "class 2"),
    )
    with pytest.raises(InvalidArgument, match="labels must be one of"):
        labels.label_set("imagenet21k")


def test_decode_predictions():
    preds = np.zeros((2, 1000))
    preds[0, 258], preds[0, 0], preds[1, 999] = 0.7, 0.2, 1.0
    found = keras_resnets.decode_predictions(preds, top=2)
    assert found[0] == [("n02111889", "Samoyed", 0.7), ("n01440764", "tench", 0.2)]
    assert found[1][0][1] == "toilet tissue"
    darknet = keras_resnets.decode_predictions(preds, 1, "imagenet_darknet")
    assert darknet[0][0][1] != "Samoyed"
    own = keras_resnets.decode_predictions([[0.1, 0.9]], labels=["no", "yes"])
    assert own == [[("1", "yes", 0.9), ("0", "no", 0.1)]]
    assert keras_resnets.decode_predictions(np.eye(4)[:1], 1)[0][0][1] == "class 0"
    for arguments, message in (
        ((np.zeros(1000),), r"\(batch, classes\)"),
        ((preds, 0), "top must be"),
        ((preds, 5, ["a", "b"]), "got 2 for 1000"),
        ((preds, 5, "cifar10"), "got 10 for 1000"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            keras_resnets.decode_predictions(*arguments)
