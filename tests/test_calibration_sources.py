"""Calibration images, and those held out of them, by the name of a data set."""

import sys

import keras
import numpy as np
import pytest
from data_sources import write_folder
from data_sources import write_records

from keras_resnets import InvalidArgument
from keras_resnets import quantization
from keras_resnets.images import calibration
from keras_resnets.images.preprocessing import Preprocessing

INPUT = Preprocessing("torch", (8, 8))


@pytest.fixture
def loaded(monkeypatch):
    """What Keras' loader of CIFAR-10 gives: 40 images to train on, 10 of the test."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (50, 8, 8, 3), "uint8")
    labels = np.arange(50).reshape(-1, 1) % 10
    parts = ((pixels[:40], labels[:40]), (pixels[40:], labels[40:]))

    def load_data():
        sys.stdout.write("Downloading data\n")
        return parts

    monkeypatch.setattr(keras.datasets.cifar10, "load_data", load_data)
    return INPUT.normalize(pixels, "channels_last")


def rows(images):
    return {image.tobytes() for image in np.asarray(images)}


def test_a_data_set_of_keras(loaded, capsys):
    chosen = calibration.choose("cifar10", INPUT, 25, seed=3)
    again = calibration.choose("cifar10", INPUT, 25, seed=3)
    assert (chosen.source, chosen.available, chosen.taken) == ("cifar10", 40, 25)
    np.testing.assert_array_equal(chosen.images, again.images)
    held = quantization.hold_out("cifar10", INPUT, chosen)
    rest = np.concatenate(list(held.batches(4)))
    assert len(rest) == len(held.labels) == 15
    # None twice, none of the test images.
    assert rows(chosen.images) | rows(rest) == rows(loaded[:40])
    # A command's result is alone on stdout.
    assert capsys.readouterr().out == ""


def test_records(tmp_path):
    records = write_records(tmp_path / "records", write_folder(tmp_path / "folder"))
    chosen = calibration.choose(records, INPUT, 10)
    assert chosen.source == "records"
    assert chosen.images.shape == (10, 8, 8, 3)
    held = quantization.hold_out(records, INPUT, chosen)
    rest = np.concatenate(list(held.batches(4)))
    assert len(rest) == chosen.available - 10
    assert not rows(rest) & rows(chosen.images)


def test_no_network(monkeypatch):
    def load_data():
        raise Exception("URL fetch failure on somewhere: None -- no such host\nmore")

    monkeypatch.setattr(keras.datasets.cifar10, "load_data", load_data)
    with pytest.raises(InvalidArgument) as caught:
        calibration.choose("cifar10", INPUT)
    message = str(caught.value)
    assert "URL fetch failure" in message and ".npz" in message
    assert "\n" not in message


def test_a_name_that_is_none_lists_those_that_are():
    with pytest.raises(InvalidArgument, match="tfds:NAME, cifar10, .* got cifar11"):
        calibration.choose("cifar11", INPUT)
