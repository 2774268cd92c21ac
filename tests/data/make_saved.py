"""Writes `saved/`: files with layers of this package, as version 0.1 wrote them.

It ran on the last commit whose layers stood in `keras_resnets.networks.layers` and
`keras_resnets.quantization.qat.layers`; `test_saved_files.py` loads the files ever after.
"""

import pathlib
import sys

FOLDER = pathlib.Path(__file__).parent / "saved"
sys.path.insert(0, str(FOLDER.parents[1]))
sys.path.insert(0, str(FOLDER.parents[2]))

import keras
import numpy as np
from helpers import noise
from helpers import outputs
from helpers import small_model

import keras_resnets
from keras_resnets import quantization
from keras_resnets import training
from keras_resnets.training.compiling import Warmup

SHAPE = (16, 16, 3)
TINY = {"depths": (1, 1), "filters": (4, 8), "stem_filters": 4}


def tiny(kind, **axes):
    """The network of `helpers.KINDS`, as small as it can be, with random values."""
    return small_model(kind, input_shape=SHAPE, axes=TINY | axes)


def float_model():
    """With every layer of this package's own, compiled with a schedule of its own."""
    grouped = tiny(
        "grouped",
        cardinality=2,
        base_width=32,
        drop_path_rate=0.2,
        shortcut_type="A",
    )
    dead = tiny("dead_projection")
    image = keras.Input(SHAPE)
    model = keras.Model(image, keras.layers.Add()([grouped(image), dead(image)]))
    schedule = Warmup(keras.optimizers.schedules.CosineDecay(0.1, 10), steps=3)
    model.compile(keras.optimizers.SGD(schedule), "mse")
    return model


def aware_model(images):
    """Quantization-aware; BN that stands alone has layers of its own."""
    return quantization.quantize_aware(tiny("basic_full_preact"), calibration=images)


def labelled(path):
    """32 images in two classes, the same on every machine."""
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (32, *SHAPE), dtype="uint8")
    labels = np.arange(32) % 2
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    return path


def train(folder, data, epochs=1, resume=False):
    """One epoch of a network that a run of more epochs goes on from."""
    model = tiny("grouped", cardinality=2, base_width=32, classes=2)
    recipe = training.get_recipe("he2015_cifar").replace(epochs=epochs)
    return training.train(
        model,
        data,
        recipe,
        folder,
        preprocessing=keras_resnets.Preprocessing("raw", SHAPE[:2]),
        batch_size=16,
        resume=resume,
        verbose=0,
    )


def main():
    """Writes all of it."""
    FOLDER.mkdir(exist_ok=True)
    images = noise(10, *SHAPE)
    models = {"float": float_model(), "aware": aware_model(images)}
    for name, model in models.items():
        model.save(FOLDER / f"{name}.keras")
    expected = {name: outputs(model, images) for name, model in models.items()}
    data = labelled(FOLDER / "data.npz")
    train(FOLDER / "run", data)
    # A run goes on without them.
    for path in (data, FOLDER / "run/curves.png", FOLDER / "run/last.weights.h5"):
        path.unlink()
    np.savez(FOLDER / "expected.npz", images=images, **expected)


if __name__ == "__main__":
    main()
