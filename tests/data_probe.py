"""Run by test_training_data.py under JAX: python data_probe.py FOLDER OUTPUT.npz"""

import pathlib
import sys
import threading

import data_sources as sources
import keras
import numpy as np
import pytest
from training_helpers import WANTED
from training_helpers import classifier
from training_helpers import open_small
from training_helpers import short

from keras_resnets import InvalidArgument
from keras_resnets.errors import TrainingError
from keras_resnets.training import correctness
from keras_resnets.training import loop
from keras_resnets.training.callbacks import StopAtNaN
from keras_resnets.training.data import batches
from keras_resnets.training.data import open_dataset
from keras_resnets.training.state import Progress


def stop_at_nan():
    """The losses are read beside the steps, and the first bad step is still named."""
    threads = set()

    class Watched(StopAtNaN):
        def on_train_batch_end(self, batch, logs=None):
            threads.add(threading.current_thread())
            super().on_train_batch_end(batch, logs)

    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    inputs = np.ones((40, 1), "float32")
    inputs[5] = np.nan
    watch = Watched(Progress(step=10), lambda epoch, step: f"cause at {epoch}, {step}")
    options = {"batch_size": 1, "shuffle": False, "verbose": 0, "callbacks": [watch]}
    with pytest.raises(
        TrainingError, match="nan at step 16 of epoch 1: cause at 0, 15"
    ):
        model.fit(inputs, inputs, **options)
    assert threading.main_thread() not in threads


def correctness_of_each(folder):
    """Which held-out images are right, one by one, without an order."""
    keras.utils.set_random_seed(3)
    model, made = classifier(), open_small(folder, 0.25, train=104)
    job = loop.Job(model, made, short("finetune"), WANTED, 8, verbose=0)
    split, find = made.validation, correctness.Correctness(job)
    pixels = np.stack([WANTED(split.images.open(i)) for i in split.indices])
    for _ in range(2):
        said = np.asarray(model(pixels, training=False)).argmax(-1)
        wanted = "".join("01"[right] for right in (said == split.labels).tolist())
        assert find() == find() == wanted and 0 < wanted.count("1") < 25 == len(wanted)
        model.layers[-1].kernel.assign(-model.layers[-1].kernel)


def main(folder, output):
    root, found = pathlib.Path(folder), {}
    for kind, name in (("arrays", "small.npz"), ("files", "folder"), ("records",) * 2):
        # Compiling the layers that mix takes JAX longer than all the rest.
        changes = sources.EVERYTHING if kind == "files" else sources.WITHOUT_MIXING
        whole = sources.stream(root / name, changes, 2)
        again = sources.stream(root / name, changes, 2, first_step=3, workers=1)
        assert sources.same(whole[3:], again), kind
        plain = sources.stream(root / name, sources.WITHOUT_MIXING, 1)
        found[kind] = np.stack([pictures for pictures, _ in plain])
    split = open_dataset(root / "small.npz", validation=0).train
    data = batches(split, sources.INPUT, 4, classes=3, seed=5)
    assert isinstance(data, keras.utils.PyDataset)
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    model.fit(data, epochs=3, shuffle=False, verbose=0)
    # After three epochs of training, and the look that fit takes beforehand.
    assert sources.same(
        [tuple(map(np.asarray, pair)) for pair in data],
        sources.stream(root / "small.npz", None, 1, epoch_of_first=3),
    )
    with pytest.raises(InvalidArgument, match="shuffle=False"):
        model.fit(data, epochs=3, verbose=0)
    stop_at_nan()
    assert "tensorflow" not in sys.modules
    # Seeds, which Keras sets in every library that there is.
    correctness_of_each(pathlib.Path(output).parent)
    np.savez(output, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
