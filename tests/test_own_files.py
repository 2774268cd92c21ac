"""Files of this package's own networks do all that other libraries' files do."""

import pathlib
import shutil
import warnings

import keras
import numpy as np
import pytest
from commands import run
from helpers import noise
from helpers import randomize

import keras_resnets
from keras_resnets import WeightsError
from keras_resnets.models.creation import create_model
from keras_resnets.weights.assign import Chosen
from keras_resnets.weights.assign import NewChannels
from keras_resnets.weights.assign import NewHead

NET, CLASSES = "resnet8", 6
SUFFIXES = (".weights.h5", ".keras", ".h5")
IMAGES = noise(2, 32, 32, 3)


def write(model, path):
    """As Keras writes it: weights, a model, or a model in Keras 2's format."""
    (model.save_weights if path.name.endswith(".weights.h5") else model.save)(path)
    return path


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """(the network, a folder with a file of it in each format)."""
    folder = tmp_path_factory.mktemp("own")
    model = randomize(create_model(NET, classes=CLASSES, drop_path_rate=0.1))
    for suffix in SUFFIXES:
        write(model, folder / f"a{suffix}")
    return model, folder


def loaded(path, category=None, **options):
    """The network with the weights in `path`; exactly these notes are given."""
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", UserWarning)
        model = create_model(NET, weights=path, **options)
    expected = [] if category is None else [category]
    assert [note.category for note in notes] == expected, notes
    return model


def outputs(model, images=IMAGES):
    return np.asarray(model(images, training=False))


def features(model):
    """Of the network `model`: what its classifier gets."""
    return keras.Model(model.inputs, model.get_layer("predictions").input)


@pytest.mark.costly_but(".keras")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_as_any_other_file(own, suffix):
    theirs, folder = own
    path, body = folder / f"a{suffix}", outputs(features(theirs))
    # Written with drop path, read without.
    np.testing.assert_array_equal(outputs(loaded(path)), outputs(theirs))
    named = loaded(path, name="teacher", drop_path_rate=0.2)
    np.testing.assert_array_equal(outputs(named), outputs(theirs))
    bare = loaded(path, include_top=False, pooling="avg")
    np.testing.assert_allclose(outputs(bare), body, rtol=1e-6)
    other = loaded(path, NewHead, classes=3)
    np.testing.assert_allclose(outputs(features(other)), body, rtol=1e-6)
    grey = loaded(path, NewChannels, input_shape=(32, 32, 1))
    once = np.repeat(IMAGES[..., :1], 3, axis=-1)
    found = outputs(grey, IMAGES[..., :1])
    # The padding is of zeros, so that the sum of three equal channels is exact.
    np.testing.assert_allclose(found, outputs(theirs, once), rtol=1e-4, atol=1e-5)


def test_grey_into_colours(tmp_path):
    theirs = randomize(create_model(NET, input_shape=(32, 32, 1)))
    path = write(theirs, tmp_path / "grey.weights.h5")
    ours = loaded(path, NewChannels, input_shape=(32, 32, 3))
    mean = IMAGES.mean(axis=-1, keepdims=True)
    np.testing.assert_allclose(
        outputs(ours), outputs(theirs, mean), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_layers_in_front_of_the_network(own, suffix):
    """They keep what they have, also where the file has a layer for the network alone."""
    theirs, folder = own
    image = keras.Input((32, 32, 2))
    front = keras.layers.Conv2D(3, 1, name="to_rgb")
    x = keras.layers.Rescaling(0.5)(front(image))
    kernel = noise(1, 1, 2, 3)
    front.set_weights([kernel, np.ones(3)])
    ours = loaded(folder / f"a{suffix}", input_tensor=x)
    images = noise(2, 32, 32, 2)
    expected = outputs(theirs, 0.5 * (images @ kernel[0, 0] + 1))
    np.testing.assert_allclose(outputs(ours, images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_layers_in_front_come_back(tmp_path, suffix):
    def build(**options):
        image = keras.Input((32, 32, 2))
        x = keras.layers.Conv2D(3, 1, name="to_rgb")(image)
        return create_model(NET, input_tensor=x, **options)

    theirs = randomize(build())
    path = write(theirs, tmp_path / f"a{suffix}")
    images = noise(2, 32, 32, 2)
    found = outputs(build(weights=path), images)
    np.testing.assert_array_equal(found, outputs(theirs, images))
    with pytest.raises(WeightsError, match=r"2 left over .to_rgb.(kernel|bias)"):
        create_model(NET, weights=path)


def user_models():
    """Models that users make of ours: a new head behind the body, inside or around."""
    body = randomize(create_model(NET, include_top=False, pooling="avg"))
    head = keras.layers.Dense(CLASSES, name="mine", activation="softmax")
    flat = keras.Model(body.inputs, head(keras.layers.Dropout(0.3)(body.output)))
    yield "flat", randomize(flat)
    image = keras.Input((32, 32, 3))
    yield (
        "nested",
        randomize(keras.Model(image, keras.layers.Dense(CLASSES)(body(image)))),
    )
    yield (
        "sequential",
        keras.Sequential([keras.Input((32, 32, 3)), body, keras.layers.Dense(CLASSES)]),
    )


@pytest.mark.costly_but(".weights.h5")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_models_that_users_made_of_ours(tmp_path, suffix):
    for name, theirs in user_models():
        path = write(theirs, tmp_path / f"{name}{suffix}")
        linear = theirs.layers[-1].activation is keras.activations.linear
        activation = None if linear else "softmax"
        ours = loaded(path, classifier_activation=activation)
        assert ours.output_shape == (None, CLASSES)
        np.testing.assert_allclose(outputs(ours), outputs(theirs), rtol=1e-5, atol=1e-6)


def test_the_content_tells_the_format(own, tmp_path):
    theirs, folder = own
    for suffix, name in {
        ".weights.h5": "weights.keras",
        ".keras": "model.h5",
        ".h5": "no_suffix",
    }.items():
        shutil.copy(folder / f"a{suffix}", tmp_path / name)
        np.testing.assert_array_equal(outputs(loaded(tmp_path / name)), outputs(theirs))
    with pytest.raises(
        WeightsError, match=r"is a folder; give a file in it \(model.h5"
    ):
        create_model(NET, weights=tmp_path)


@pytest.mark.costly_but(".h5")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_scaling_in_front_is_said(suffix, tmp_path):
    image = keras.Input((32, 32, 3))
    model = create_model(NET, input_tensor=keras.layers.Rescaling(1 / 255)(image))
    path = write(model, tmp_path / f"a{suffix}")
    with pytest.warns(
        Chosen, match=r"its layer rescaling\w* .rescaling. scales the im"
    ):
        create_model(NET, weights=path)


def test_nothing_in_a_model_is_executed(tmp_path):
    """The description of a model is read as text: a Lambda is only said to be there."""
    ran = str(tmp_path / "ran")
    image = keras.Input((32, 32, 3))
    trap = keras.layers.Lambda(
        lambda x: (open(ran, "w").close(), x)[1], output_shape=(32, 32, 3)
    )
    model = create_model(NET, input_tensor=trap(image))
    path = write(model, tmp_path / "a.keras")
    pathlib.Path(ran).unlink(missing_ok=True)
    with pytest.warns(Chosen, match="lambda"):
        create_model(NET, weights=path)
    assert not pathlib.Path(ran).exists()


@pytest.mark.costly
def test_a_trained_network_is_trained_on_for_other_classes(tmp_path, capsys):
    """`train --weights run/best.weights.h5`: transfer learning."""
    rng = np.random.default_rng(0)
    words = ["train", NET, "--recipe", "cifar_cosine", "--epochs", "1"]
    words += ["--batch-size", "10", "--input-size", "16", "--change", "nesterov=False"]
    for classes, more in ((5, []), (3, ["--weights", tmp_path / "5/best.weights.h5"])):
        pixels = rng.integers(0, 256, (30, 16, 16, 3)).astype("uint8")
        y = np.arange(30) % classes
        np.savez(tmp_path / "d.npz", x_train=pixels, y_train=y, x_test=pixels, y_test=y)
        names = ",".join("abcde"[:classes])
        code, out, err = run(
            *[*words, *more, "--data", tmp_path / "d.npz", "--labels", names],
            *["--output", tmp_path / str(classes)],
            capsys=capsys,
        )
        assert code == 0, err
    assert "its classifier has 5 classes; the model's, with 3, has new random" in out
    model = keras_resnets.create_model(NET, weights=tmp_path / "3/best.weights.h5")
    assert model.output_shape == (None, 3) and model.labels == ("a", "b", "c")
