"""Files that torch, safetensors, timm, Lightning, ... wrote themselves.

What the writer's own network said of the pictures is what ours must say.
"""

import re
import warnings

import drawn
import numpy as np
import pytest
from foreign import catalogue

import keras_resnets
from keras_resnets import WeightsError
from keras_resnets.weights.assign import NewHead


def built(path, **options):
    """(our network with the weights in `path`, the notes of its loading)."""
    ours = ("resnet18", catalogue.OURS)
    if "transformers" in path.relative_to(path.parents[1]).as_posix():
        ours = ("resnet50", catalogue.OURS_50)
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", UserWarning)
        model = keras_resnets.create_model(
            ours[0],
            weights=path,
            input_shape=drawn.PICTURES[1:],
            **ours[1],
            **options,
        )
    return model, [str(note.message) for note in notes]


def check_outputs(model, name, folder):
    expected = np.load(folder / "logits.npz")[name]
    found = np.asarray(model(drawn.pictures(), training=False))
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("name", catalogue.FILES)
def test_logits(name, foreign_files):
    """The classes are the file's, and what is not taken of it is said."""
    model, notes = built(foreign_files / name, classifier_activation=None)
    check_outputs(model, name, foreign_files)
    words = catalogue.FILES[name]
    assert len(notes) == bool(words), notes
    assert all(re.search(words, note) for note in notes)


@pytest.mark.parametrize("name", catalogue.HEADLESS)
def test_features_of_files_without_a_classifier(name, foreign_files):
    path, words = foreign_files / name, catalogue.HEADLESS[name]
    model, notes = built(path, include_top=False, pooling="avg")
    check_outputs(model, name, foreign_files)
    assert bool(notes) == bool(words) and re.search(words, " ".join(notes))


def test_a_new_classifier_is_said(foreign_files):
    for name in ("features.safetensors", "mlp_head.pth", "moco.pth.tar"):
        with pytest.warns(NewHead, match="it has no classifier; the model's, with 5"):
            keras_resnets.create_model(
                "resnet18",
                weights=foreign_files / name,
                classes=5,
                input_shape=drawn.PICTURES[1:],
                **catalogue.OURS,
            )
        with pytest.raises(WeightsError, match="contains no classifier"):
            built(foreign_files / name)


@pytest.mark.parametrize("name", catalogue.REFUSED)
def test_numbers_that_are_no_weights(name, foreign_files):
    with pytest.raises(WeightsError, match=catalogue.REFUSED[name]) as caught:
        built(foreign_files / name)
    assert "\n" not in str(caught.value) and name in str(caught.value)
