"""Files of `keras.applications`, as Keras 3 writes them, compared with the live network."""

import h5py
import keras
import numpy as np
import pytest
from helpers import noise
from helpers import randomize
from keras.src.applications import resnet

from keras_resnets.models.creation import create_model
from keras_resnets.weights.assign import NewHead

SUFFIXES = (".weights.h5", ".keras", ".h5")
IMAGES = noise(2, 64, 64, 3)
DEPTHS, FILTERS = (2, 3, 2, 2), (4, 8, 12, 16)


def narrow(version, **options):
    """Keras' own builder of its ResNets, with few channels."""
    second = version == "v2"
    stack = getattr(resnet, f"stack_residual_blocks_{version}")

    def stacks(x):
        for number, (depth, filters) in enumerate(zip(DEPTHS, FILTERS, strict=True)):
            # V2 has its stride at a stage's end, so that the last stage has none.
            stride = (2, 2, 2, 1)[number] if second else (1, 2, 2, 2)[number]
            x = stack(x, filters, depth, stride1=stride, name=f"conv{number + 2}")
        return x

    options = {"weights": None, "input_shape": (64, 64, 3), **options}
    return randomize(resnet.ResNet(stacks, second, True, **options))


def ours(version, path, **options):
    axes = {"depths": DEPTHS, "filters": FILTERS, "input_shape": (64, 64, 3)}
    name = {"v1": "resnet50v1", "v2": "resnet50v2_keras"}[version]
    return create_model(
        name, weights=path, classifier_activation=None, **axes, **options
    )


def write(model, path):
    (model.save_weights if path.name.endswith(".weights.h5") else model.save)(path)
    return path


def check(model, theirs):
    expected = np.asarray(theirs(IMAGES, training=False))
    found = np.asarray(model(IMAGES, training=False))
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.costly_but("v1-.h5")
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_logits(version, suffix, tmp_path):
    theirs = narrow(version, classes=7, classifier_activation=None)
    path = write(theirs, tmp_path / f"a{suffix}")
    model = ours(version, path)
    assert model.output_shape == (None, 7)
    check(model, theirs)
    assert model.preprocessing.mode == {"v1": "caffe", "v2": "tf"}[version]


@pytest.mark.costly
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_fine_tuned(version, suffix, tmp_path):
    """Without the top, and with a head of the user's, flat, nested and in a Sequential."""
    body = narrow(version, include_top=False, pooling="avg")
    path = write(body, tmp_path / f"body{suffix}")
    check(ours(version, path, include_top=False, pooling="avg"), body)
    with pytest.warns(NewHead, match="it has no classifier; the model's, with 5"):
        ours(version, path, classes=5)
    image = keras.Input((64, 64, 3))
    dropped = keras.layers.Dropout(0.2)
    for name, model in {
        "flat": keras.Model(body.inputs, keras.layers.Dense(5)(dropped(body.output))),
        "nested": keras.Model(image, keras.layers.Dense(5)(body(image))),
        "sequential": keras.Sequential([image, body, keras.layers.Dense(5)]),
    }.items():
        model = randomize(model)
        path = write(model, tmp_path / f"{name}{suffix}")
        tuned = ours(version, path)
        assert tuned.output_shape == (None, 5)
        check(tuned, model)


@pytest.mark.costly
@pytest.mark.parametrize(
    "name",
    [
        "ResNet50",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in "ResNet50V2 ResNet101 ResNet152 ResNet101V2 ResNet152V2".split()
        ),
    ],
)
def test_whole_networks(name, tmp_path):
    """The released builders, as `model.save_weights` and `model.save` write them."""
    make = getattr(keras.applications, name)
    theirs = randomize(
        make(weights=None, input_shape=(64, 64, 3), classifier_activation=None)
    )
    second = name.endswith("V2")
    variant = f"resnet{name[6:].removesuffix('V2')}{'v2_keras' if second else 'v1'}"
    for suffix in SUFFIXES[:2]:
        path = write(theirs, tmp_path / f"a{suffix}")
        model = create_model(
            variant, weights=path, input_shape=(64, 64, 3), classifier_activation=None
        )
        assert model.labels == "imagenet"
        check(model, theirs)
    # Keras 3.0 to 3.7 wrote no names.
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "a") as file:
        file.visititems(lambda _, item: item.attrs.pop("name", None))
    model = create_model(
        variant, weights=path, input_shape=(64, 64, 3), classifier_activation=None
    )
    check(model, theirs)
