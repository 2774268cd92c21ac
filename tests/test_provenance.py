"""What a model knows about itself goes on into whatever is made of it, where it is true."""

import dataclasses

import keras
import pytest
from commands import run
from helpers import refusal
from training_helpers import open_small
from training_helpers import short

import keras_resnets
from keras_resnets import pruning
from keras_resnets.export import load_keras
from keras_resnets.export import to_keras
from keras_resnets.graph import provenance
from keras_resnets.graph.provenance import Provenance
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.quantization import quantize_aware
from keras_resnets.training import train
from keras_resnets.weights import metadata

FIELDS = [field.name for field in dataclasses.fields(Provenance)]


@pytest.fixture(scope="module")
def model():
    """A relative of ResNet-20 with weights, classes and an axis of its own."""
    made = keras_resnets.create_model("resnet20", weights="cifar10", padding="same")
    known = provenance.of(made)
    # Its confidence nobody fitted: test_confidence.py.
    assert None not in dataclasses.astuple(known)[:-2] and known.confidence is None
    assert known.axes == {"padding": "same"}
    assert not known.random_weights
    return made


def changed(made, model):
    """The fields in which two models differ, with the values of the first."""
    ours, theirs = provenance.of(made), provenance.of(model)
    return {
        name: getattr(ours, name)
        for name in FIELDS
        if getattr(ours, name) != getattr(theirs, name)
    }


def test_new_outputs_have_other_classes(model):
    for made in (
        keras_resnets.replace_head(model, 10),
        keras_resnets.feature_extractor(model, ["stage2"]),
    ):
        assert changed(made, model) == {"labels": None}
        assert made.labels is None and made.preprocessing == model.preprocessing


def test_the_same_network_with_the_rounding_of_int8(model):
    assert changed(quantize_aware(model), model) == {}


def test_fewer_channels_are_no_variants_any_more(model):
    made = pruning.shrink(model, 0.5)
    assert changed(made, model) == {"architecture": None, "axes": {}}


def test_a_copy_is_given_what_the_model_knows(model):
    copy = keras.models.clone_model(model)
    assert provenance.of(copy) == Provenance()
    provenance.inherit(copy, model)
    assert changed(copy, model) == {} and copy.labels == "cifar10"
    provenance.inherit(copy, keras_resnets.create_model("resnet8"))
    assert provenance.of(copy).random_weights and copy.weights_origin is None


def test_a_training_is_the_origin_of_its_weights(tmp_path):
    model = keras_resnets.create_model(
        "cifar_resnet8", classes=5, padding="same", classifier_activation=None
    )
    assert provenance.known_preprocessing(model) is None
    train(
        model, open_small(tmp_path), short("cifar_cosine"), tmp_path / "run7", verbose=0
    )
    known = provenance.of(model)
    assert known.weights_origin == "run7" and not known.random_weights
    assert known.axes == {"padding": "same"} and known.architecture.padding == "same"
    assert provenance.known_preprocessing(model) == model.preprocessing
    path = tmp_path / "run7" / "last.weights.h5"
    loaded = keras_resnets.create_model("cifar_resnet8", weights=path)
    assert changed(loaded, model) == {"weights_origin": "last.weights.h5"}


def test_a_keras_file_tells_what_its_model_knew(model, tmp_path):
    to_keras(model, tmp_path / "a.keras")
    loaded = load_keras(tmp_path / "a.keras")
    assert changed(loaded, model) == {} and loaded.labels == "cifar10"
    # Its axes too, so that it loads into the network that it was of.
    again = keras_resnets.create_model("resnet20", weights=tmp_path / "a.keras")
    assert changed(again, model) == {"weights_origin": "a.keras"}
    to_keras(model, tmp_path / "maps.keras", features=["stage1"])
    assert changed(load_keras(tmp_path / "maps.keras"), model) == {"labels": None}
    random = keras_resnets.create_model("resnet8")
    to_keras(random, tmp_path / "random.keras")
    assert provenance.of(load_keras(tmp_path / "random.keras")).random_weights


def test_files_of_others_tell_nothing(tmp_path):
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3)(image)
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))
    to_keras(model, tmp_path / "a.keras")
    assert provenance.of(load_keras(tmp_path / "a.keras")) == Provenance()
    model.save(tmp_path / "a.h5")
    refusal(lambda: load_keras(tmp_path / "a.h5"), "HDF5", "keras.models.load_model")


@pytest.mark.parametrize("change", [{"labels": ["a", "b"]}, {"architecture": {"x": 1}}])
def test_what_does_not_fit_a_file_is_not_taken(change, model, tmp_path):
    """Names for two of ten classes; an axis that a later release may have."""
    record = dataclasses.asdict(provenance.of(model)) | change
    path = tmp_path / "a.keras"
    entries = {metadata.ENTRY: metadata.json.dumps(record)}
    metadata.keras_archive.write_model(model, path, entries)
    assert changed(load_keras(path), model) == dict.fromkeys(change)


@pytest.mark.costly
def test_the_commands_write_it(model, tmp_path, capsys):
    words = ["--weights", "cifar10", "--sparsity", 0.5, "--output"]
    code, _, err = run("prune", "resnet20", *words, tmp_path / "p.keras", capsys=capsys)
    assert code == 0, err
    plain = keras_resnets.create_model("resnet20", weights="cifar10")
    assert changed(load_keras(tmp_path / "p.keras"), plain) == {}
    code, _, err = run(
        "convert", "resnet20", "cifar10", tmp_path / "c.keras", capsys=capsys
    )
    assert code == 0, err
    assert changed(load_keras(tmp_path / "c.keras"), plain) == {}


def test_attributes_of_somebody_elses_are_not_taken_for_ours():
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.Flatten()(image))
    model.preprocessing = keras.layers.Rescaling(1 / 255)
    model.labels = 7
    assert provenance.of(model) == Provenance()
    wanted = Preprocessing("torch", (8, 8))
    model.preprocessing, model.labels = wanted, ["a", "b"]
    assert provenance.known_preprocessing(model) == wanted
    assert provenance.of(model).labels == ("a", "b")
