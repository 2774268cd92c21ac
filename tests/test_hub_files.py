"""Presets that KerasHub wrote itself, and the files that its releases have."""

import shutil

import drawn
import h5py
import numpy as np
import pytest
from foreign import catalogue

import keras_resnets
from keras_resnets import WeightsError

# The others take longer, and differ from these in their depths alone.
NAMES = [
    pytest.param(
        name,
        marks=()
        if name.endswith(("_18", "resnet_50", "v2_50", "vd_50"))
        else pytest.mark.slow,
    )
    for name in catalogue.PRESETS
]


def built(path, name, **options):
    return keras_resnets.create_model(
        catalogue.PRESETS[name]["ours"],
        weights=path,
        input_shape=drawn.PICTURES[1:],
        filters=catalogue.PRESET_FILTERS,
        classifier_activation=None,
        **options,
    )


def check_logits(model, name, folder):
    expected = np.load(folder / "logits.npz")[f"{name}/"]
    found = np.asarray(model(drawn.pictures(), training=False))
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("name", NAMES)
def test_a_preset(name, foreign_files):
    """A folder: the backbone in one file, the classifier in another."""
    model = built(foreign_files / name, name)
    check_logits(model, name, foreign_files)
    mode = "tf" if catalogue.PRESETS[name].get("second") else "torch"
    assert (model.preprocessing.mode, model.labels) == (mode, None)


@pytest.mark.parametrize("name", ["hub/resnet_vd_18", "hub/resnet_v2_50"])
def test_a_whole_classifier(name, foreign_files):
    model = built(foreign_files / name / "whole.weights.h5", name)
    check_logits(model, name, foreign_files)


def test_a_backbone_alone(foreign_files):
    path = foreign_files / "hub/resnet_vd_18" / "model.weights.h5"
    with pytest.raises(WeightsError, match="contains no classifier"):
        built(path, "hub/resnet_vd_18")
    whole = built(foreign_files / "hub/resnet_vd_18", "hub/resnet_vd_18")
    body = built(path, "hub/resnet_vd_18", include_top=False)
    for ours, theirs in zip(body.weights, whole.weights, strict=False):
        np.testing.assert_array_equal(ours, theirs)


def numbered(path, made):
    """The file as Keras 3.0 to 3.7 wrote it: numbers by class, and no names."""
    shutil.copy(path, made)

    def forget(_, item):
        item.attrs.pop("name", None)

    with h5py.File(made, "a") as file:
        file.visititems(forget)
    return made


@pytest.mark.parametrize("name", NAMES)
def test_layers_without_names(name, foreign_files, tmp_path):
    """So are the released presets, whose task.weights.h5 holds the whole network."""
    whole = foreign_files / name / "whole.weights.h5"
    model = built(numbered(whole, tmp_path / "task.weights.h5"), name)
    check_logits(model, name, foreign_files)
    if name == "hub/resnet_50":
        preset = tmp_path / "preset"
        preset.mkdir()
        shutil.copy(tmp_path / "task.weights.h5", preset)
        backbone = foreign_files / name / "model.weights.h5"
        numbered(backbone, preset / "model.weights.h5")
        check_logits(built(preset, name), name, foreign_files)


def test_poolings_before_projections_are_told_apart(foreign_files, tmp_path):
    """ResNet-C and -D have the same weights; without names, layers have numbers."""
    whole = foreign_files / "hub/resnet_vd_18" / "whole.weights.h5"
    for path in (
        foreign_files / "hub/resnet_vd_18",
        whole,
        numbered(whole, tmp_path / "numbered.weights.h5"),
    ):
        with pytest.raises(WeightsError, match=r"have an average .* has none"):
            built(path, "hub/resnet_vd_18", shortcut_type="projection")
    with pytest.raises(WeightsError, match=r"have no average .* has one"):
        built(
            foreign_files / "hub/resnet_50",
            "hub/resnet_50",
            shortcut_type="avg_projection",
        )


def test_another_network_is_refused(foreign_files, tmp_path):
    with pytest.raises(WeightsError, match="left over|shape"):
        keras_resnets.create_model(
            "resnet18d",
            weights=foreign_files / "hub/resnet_vd_18",
            filters=catalogue.PRESET_FILTERS,
        )
    shutil.copy(foreign_files / "hub/resnet_50" / "task.weights.h5", tmp_path)
    with pytest.raises(WeightsError, match=r"no model\.weights\.h5"):
        built(tmp_path, "hub/resnet_50")
