"""Small data sets and networks for the tests of training."""

import dataclasses
import types

import keras
import numpy as np
import pytest
from helpers import small_model

from keras_resnets import fields
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.training import callbacks
from keras_resnets.training import data
from keras_resnets.training import state
from keras_resnets.training.data import batches
from keras_resnets.training.recipes import get_recipe
from keras_resnets.training.session import train

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


class Stopped(Exception):
    """Ends a training like a kill, at a step."""


def stop_at(monkeypatch, step):
    """Lets the `Keeper` raise in front of the given step of the whole training."""
    seen = iter(range(10**6))
    kept = callbacks.Keeper.on_train_batch_begin

    def stopping(self, batch, logs=None):
        kept(self, batch, logs)
        if next(seen) == step:
            raise Stopped

    monkeypatch.setattr(callbacks.Keeper, "on_train_batch_begin", stopping)


def stop_in_validation(monkeypatch, epoch):
    """Lets the `Keeper` raise within the validation of an epoch, counted from 1."""
    seen = iter(range(1, 10**6))
    kept = callbacks.Keeper.on_test_batch_begin

    def stopping(self, batch, logs=None):
        kept(self, batch, logs)
        if batch == 1 and next(seen) == epoch:
            raise Stopped

    monkeypatch.setattr(callbacks.Keeper, "on_test_batch_begin", stopping)


def run(folder, name, recipe, resume=False, model=None, **options):
    keras.utils.set_random_seed(5)
    return train(
        model or classifier(dtype=options.pop("dtype", None), **recipe.axes),
        open_small(folder, validation=0.25, train=40),
        recipe,
        folder / name,
        preprocessing=WANTED,
        resume=resume,
        verbose=0,
        **{"save_seconds": 0, **options},
    )


def arrays(run):
    progress, found = state.read(run.folder.state)
    return progress, found


def check_equal(first, second):
    assert without_time(first.history) == without_time(second.history)
    for left, right in zip(
        arrays(first)[1].items(), arrays(second)[1].items(), strict=True
    ):
        assert left[0] == right[0]
        np.testing.assert_array_equal(left[1], right[1], err_msg=left[0])
    assert arrays(first)[0].right == arrays(second)[0].right
    shared = {"seconds": 0}
    assert {**first.figures, **shared} == {**second.figures, **shared}


def without_tensorflow(split, *arguments, **options):
    """`batches` as the other backends have it."""
    backend = types.SimpleNamespace(backend=lambda: "jax")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras, "backend", backend)
        return batches(split, *arguments, **options)
