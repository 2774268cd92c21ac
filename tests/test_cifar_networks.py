"""CIFAR networks of chenyaofo and of other repositories: by value, by name, by label."""

import warnings

import drawn
import numpy as np
import pytest
from commands import run
from helpers import outputs
from helpers import randomize

import keras_resnets
from keras_resnets.images import labels
from keras_resnets.models.creation import create_model
from keras_resnets.weights import layouts
from keras_resnets.weights import records
from keras_resnets.weights import store
from keras_resnets.weights.assign import Chosen
from keras_resnets.weights.readers import read
from keras_resnets.weights.readers.safetensors import write_safetensors
from keras_resnets.weights.values import torch_tensors

NAMES = ("cifar10_resnet20", "cifar100_resnet20", "cifar10_resnet32")


@pytest.mark.parametrize("name", NAMES)
def test_the_logits_of_the_original(name, foreign_files, monkeypatch):
    """The file as torch writes it: as a file, and as the record of its tag."""
    dataset, network = name.split("_")
    path = foreign_files / "cifar" / f"{name}.pt"
    with np.load(foreign_files / "cifar" / "logits.npz") as file:
        expected = file[f"{name}.pt"]
    monkeypatch.setattr(store, "fetch", lambda record: path)
    for weights in (path, f"chenyaofo_{dataset}"):
        model = create_model(network, weights=weights, classifier_activation=None)
        assert model.architecture.shortcut_type == "projection"
        found = outputs(model, drawn.pictures()[:, :32, :32])
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
        assert model.labels == dataset
        mean, std = {
            "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
            "cifar100": ((0.5070, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761)),
        }[dataset]
        assert model.preprocessing.mean == mean and model.preprocessing.std == std


RESNEXT = {"depths": (1, 1, 1), "filters": (16, 32, 64), "stem_filters": 16}


@pytest.mark.parametrize(
    "file, network, axes, labels",
    [
        ("weiaicunzai", "resnet18", {"depths": (1, 1, 1, 1)}, "cifar100"),
        ("wide", "wrn_10_2", {}, "cifar10"),
        ("trades", "wrn_10_2", {}, "cifar10"),
        ("bearpaw", "resnext29_2x64d", RESNEXT, "cifar10"),
        ("robustbench", "resnext29_2x64d", RESNEXT, "cifar10"),
    ],
)
def test_networks_of_other_repositories(file, network, axes, labels, foreign_files):
    folder = foreign_files / "cifar"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", Chosen)
        model = create_model(
            network,
            weights=folder / f"{file}.pth",
            classifier_activation=None,
            **axes,
        )
    said = [str(w.message) for w in caught if w.category is Chosen]
    assert len(said) == (file == "trades") and all("sub_block1" in s for s in said)
    with np.load(folder / "repositories.npz") as logits:
        expected = logits[file]
    found = outputs(model, drawn.pictures()[:, :32, :32])
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    assert model.labels == labels and model.input_shape[1:3] == (32, 32)


def checkpoint(path, name, classes):
    """The same names and shapes, where torch is not at hand."""
    net = create_model(name, classes=classes, shortcut_type="B")
    model = randomize(net)
    assert layouts.for_architecture(model.architecture).name == "chenyaofo"
    tensors = torch_tensors(model, layouts.for_architecture(model.architecture))
    with open(path, "wb") as file:
        write_safetensors(file, tensors)
    return model


def test_files_by_their_names(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    theirs = checkpoint("a.safetensors", "resnet20", 100)
    named = set(read("a.safetensors"))
    assert {"conv1.weight", "layer2.0.downsample.0.weight", "fc.bias"} <= named
    model = create_model("resnet20", weights="a.safetensors")
    assert model.output_shape == (None, 100) and model.labels == "cifar100"
    assert model.preprocessing.mode == "cifar100"
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(outputs(model, x), outputs(theirs, x), atol=1e-6)
    best = keras_resnets.decode_predictions(outputs(model, x), 1, model.labels)
    order = np.argmax(outputs(model, x), 1)
    assert [row[0][0] for row in best] == [
        labels.label_set("cifar100")[i][0] for i in order
    ]
    with pytest.raises(keras_resnets.WeightsError, match="shortcut_type='projection'"):
        create_model("resnet20", weights="a.safetensors", shortcut_type="A")
    # The letter is the same axis.
    create_model("resnet20", weights="a.safetensors", shortcut_type="B")
    convert = ["convert", "resnet20", "a.safetensors", "b.safetensors"]
    code, out, err = run(*convert, capsys=capsys)
    assert code == 0 and "named as in chenyaofo" in out, err
    again = create_model("resnet20", weights="b.safetensors")
    assert again.labels == "cifar100" and again.preprocessing.mode == "cifar100"


def test_a_file_of_other_classes_has_no_labels(tmp_path):
    checkpoint(tmp_path / "a.safetensors", "resnet20", 7)
    model = create_model("resnet20", weights=tmp_path / "a.safetensors")
    assert model.output_shape == (None, 7) and model.labels is None
    assert model.preprocessing.mode == "cifar_image_std"


def test_records():
    """Eight rows, as the repository's README has them."""
    found = [r for r in records.all_records() if r.tag.startswith("chenyaofo")]
    tops = {(r.variant, r.dataset): (r.top1, r.top5) for r in found}
    assert tops == {
        ("resnet20", "cifar10"): (92.60, 99.81),
        ("resnet32", "cifar10"): (93.53, 99.77),
        ("resnet44", "cifar10"): (94.01, 99.77),
        ("resnet56", "cifar10"): (94.37, 99.83),
        ("resnet20", "cifar100"): (68.83, 91.01),
        ("resnet32", "cifar100"): (70.16, 90.89),
        ("resnet44", "cifar100"): (71.63, 91.58),
        ("resnet56", "cifar100"): (72.63, 91.94),
    }
    for record in found:
        # The file's name ends in the beginning of its hash.
        assert record.location.endswith(f"-{record.hash.removeprefix('sha256:')}.pt")
        assert record.free and record.licence == "bsd-3-clause"
        assert labels.count(record.labels) == int(record.dataset.removeprefix("cifar"))
    assert records.find("resnet20", "cifar100").tag == "chenyaofo_cifar100"
    # What comes with this package stays the default.
    assert records.find("resnet20", "cifar10").tag == "keras_resnets_cifar10"
    assert records.find("resnet44", "cifar10").tag == "chenyaofo_cifar10"


def test_the_names_of_cifar100():
    names = [name for _, name in labels.label_set("cifar100")]
    assert len(set(names)) == 100 and names == sorted(names)
    # Of the data set's own list: its first, its last, and two by number.
    assert (names[0], names[19], names[58], names[99]) == (
        "apple",
        "cattle",
        "pickup_truck",
        "worm",
    )
    assert labels.name_of(labels.label_set("cifar100")) == "cifar100"


def test_the_parameters_are_the_published():
    """0.27 M and 0.86 M for CIFAR-10, 0.28 M for CIFAR-100 with 20 layers."""
    for name, classes, millions in (
        ("resnet20", 10, 0.27),
        ("resnet56", 10, 0.86),
        ("resnet20", 100, 0.28),
    ):
        model = create_model(name, classes=classes, shortcut_type="projection")
        count = keras_resnets.analyze(model).trainable_params
        assert round(count / 1e6, 2) == millions
