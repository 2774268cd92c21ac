"""Small data sets and networks for the tests of training."""

import dataclasses

import numpy as np
from helpers import small_model

from keras_resnets import fields
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.training import data
from keras_resnets.training.recipes import get_recipe

SIZE = 16
WANTED = Preprocessing("cifar", size=(SIZE, SIZE), crop_fraction=1.0)


def write_npz(path, train=24, test=10, classes=5):
    """Pictures whose brightness tells their class."""
    rng = np.random.default_rng(4)
    arrays = {}
    for part, count in (("train", train), ("test", test)):
        labels = np.arange(count) % classes
        noise = rng.integers(0, 60, (count, SIZE, SIZE, 3))
        arrays[f"x_{part}"] = (noise + 40 * labels[:, None, None, None]).astype("uint8")
        arrays[f"y_{part}"] = labels
    np.savez(path, **arrays)
    return path


def open_small(folder, validation=0, **counts):
    return data.open_dataset(write_npz(folder / "small.npz", **counts), validation)


def classifier(kind="basic_original", dtype=None, **axes):
    """A network of few layers that puts out logits of five classes."""
    return small_model(
        kind,
        input_shape=(SIZE, SIZE, 3),
        classes=5,
        classifier_activation=None,
        name="small",
        dtype=dtype,
        axes={"depths": (1, 1), **axes},
    )


def short(recipe, epochs=1, **changes):
    """A recipe without what makes it long: 8 pictures a step."""
    return get_recipe(recipe, epochs=epochs, batch_size=8, **changes)


def unlimited(monkeypatch):
    """Lets recipes have numbers beyond their ranges: a rate of 1e30 diverges at once."""
    monkeypatch.setattr(fields.Number, "allows", lambda self, value: True)


def without_time(rows):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def as_dict(recipe):
    return dataclasses.asdict(recipe)
