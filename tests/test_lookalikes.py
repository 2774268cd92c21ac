"""Files whose tensors fit a network that computes otherwise (`weights.lookalikes`)."""

import json
import types
import warnings

import keras
import numpy as np
import pytest
from helpers import noise
from helpers import outputs
from helpers import randomize
from keras.src.applications import resnet as applications

import keras_resnets
from keras_resnets import WeightsError
from keras_resnets.weights import layouts
from keras_resnets.weights import saving
from keras_resnets.weights import sidecars
from keras_resnets.weights import values
from keras_resnets.weights.readers.safetensors import write_safetensors

SMALL = {"filters": (4, 8, 12, 16), "depths": (1, 1, 1, 1), "input_shape": (32, 32, 3)}


@pytest.fixture
def written(tmp_path):
    """Writes a small network of a variant as safetensors with torchvision's names."""

    def write(name, **axes):
        model = keras_resnets.create_model(name, classes=5, **SMALL, **axes)
        path = tmp_path / f"{name}.safetensors"
        saving.save(model, path, None, model.architecture)
        return path

    return write


@pytest.mark.parametrize(
    "theirs, ours, needed",
    [
        ("resnet50c", "resnet50d", "projection"),
        ("resnet50d", "resnet50c", "avg_projection"),
    ],
)
def test_projections_with_and_without_a_pooling(theirs, ours, needed, written):
    path = written(theirs)
    with pytest.raises(WeightsError, match=f"shortcut_type='{needed}'") as caught:
        keras_resnets.create_model(ours, weights=path, **SMALL)
    assert "\n" not in str(caught.value)
    keras_resnets.create_model(ours, weights=path, shortcut_type=needed, **SMALL)


def test_a_misfit_is_listed_before_poolings_are_compared(written):
    with pytest.raises(
        WeightsError, match="does not fit resnet50: 1 missing .stem_conv"
    ):
        keras_resnets.create_model("resnet50", weights=written("resnet50d"), **SMALL)


def test_names_of_torchvision_in_a_network_with_an_early_stride(written):
    path = written("resnet50")
    with pytest.warns(
        UserWarning, match="torchvision's.* stride in the 3x3 by default; resnet50v1"
    ):
        keras_resnets.create_model("resnet50v1", weights=path, **SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        keras_resnets.create_model("resnet50", weights=path, **SMALL)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet20"])
def test_networks_of_kuangliu_have_the_stem_of_cifar(name, tmp_path):
    """`shortcut` and `linear` name what torchvision calls `downsample` and `fc`."""
    small = {axis: SMALL[axis] for axis in ("filters", "depths")}
    if name == "resnet20":
        small = {"depths": (1, 1, 1)}
    theirs = keras_resnets.create_model(
        name,
        classes=10,
        stem_type="cifar",
        stem_pool=None,
        shortcut_type="projection",
        input_shape=(32, 32, 3),
        **small,
    )
    randomize(theirs)
    layout = layouts.torchvision()
    tensors = {
        f"module.{key}".replace("downsample", "shortcut").replace(".fc.", ".linear."): x
        for key, x in values.torch_tensors(theirs, layout).items()
    }
    path = file_of(tensors, tmp_path / "a")
    ours = keras_resnets.create_model(name, weights=path, **small)
    image = noise(2, 32, 32, 3)
    np.testing.assert_allclose(outputs(ours, image), outputs(theirs, image), atol=1e-6)
    assert (ours.preprocessing.mode, ours.labels) == ("cifar_image_std", "cifar10")
    assert ours.preprocessing.size == (32, 32)


@pytest.fixture(scope="module")
def small():
    return keras_resnets.create_model("resnet50", classes=5, **SMALL)


def file_of(tensors, path):
    with open(path, "wb") as file:
        write_safetensors(file, tensors)
    return path


@pytest.mark.parametrize(
    "change, said",
    [
        (
            lambda name, array: None if ".running_" in name else array,
            "statistics of its BN layers are missing: save model.state_dict",
        ),
        (
            lambda name, array: (
                np.repeat(array, 2, 1)[:, :4] if name == "conv1.weight" else array
            ),
            r"images have 4 channels: pass input_shape=.height, width, 4., or --channels 4",
        ),
        (
            lambda name, array: (
                array[:, :, :3, :3] if name == "conv1.weight" else array
            ),
            "3x3, as for CIFAR: pass stem_type='cifar' and stem_filters=",
        ),
        (
            lambda name, array: (
                array[:, :, :3, :3]
                if name == "conv1.weight"
                else None
                if name.startswith("layer2")
                else array
            ),
            r"1 misshapen \(stem_conv/kernel \(3, 3, 3, 64\) for \(7, 7, 3, 64\)\)$",
        ),
        (
            lambda name, array: None if "bn" in name else array,
            "missing .stem_bn/gamma",
        ),
    ],
)
def test_misfits_say_what_to_do(change, said, small, tmp_path):
    layout = layouts.for_architecture(small.architecture)
    tensors = values.torch_tensors(small, layout)
    changed = {name: change(name, array) for name, array in tensors.items()}
    kept = {name: array for name, array in changed.items() if array is not None}
    with pytest.raises(WeightsError, match=said) as caught:
        keras_resnets.create_model(
            "resnet50", weights=file_of(kept, tmp_path / "a"), **SMALL
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "theirs", [{"stem_type": "deep_tiered"}, {"stem_filters": 128}], ids=["t", "s"]
)
def test_the_axes_of_a_deep_stem_are_named(theirs, tmp_path):
    """timm's resnet50t and resnet50s differ from resnet50d and resnet50c in them."""
    model = keras_resnets.create_model("resnet50c", classes=5, **SMALL, **theirs)
    tensors = values.torch_tensors(model, layouts.torchvision())
    path = file_of(tensors, tmp_path / "a")
    with pytest.raises(WeightsError, match="filters: pass stem_type=") as caught:
        keras_resnets.create_model("resnet50c", weights=path, **SMALL)
    axes = {"stem_type": model.architecture.stem_type}
    axes["stem_filters"] = model.architecture.stem_filters
    assert (
        f"stem_type={axes['stem_type']!r} and stem_filters={axes['stem_filters']} "
        in (str(caught.value))
    )
    keras_resnets.create_model("resnet50c", weights=path, **SMALL, **axes)


def test_folded_bn_is_named(small, tmp_path):
    """As `torch.nn.utils.fusion.fuse_conv_bn_eval` leaves a network."""
    tensors = values.torch_tensors(small, layouts.for_architecture(small.architecture))
    fused = {name: a for name, a in tensors.items() if not name.startswith("bn1.")}
    fused["conv1.bias"] = np.ones(64, "float32")
    with pytest.raises(WeightsError, match="BN is folded into its convolutions; save"):
        keras_resnets.create_model(
            "resnet50", weights=file_of(fused, tmp_path / "a"), **SMALL
        )


@pytest.mark.costly_but("resnet50v2")
@pytest.mark.parametrize("name", ["resnet50v2", "resnet50"])
def test_keras_applications_v2_names_its_networks(name, tmp_path):
    theirs = keras_resnets.create_model("resnet50v2_keras", classes=5, **SMALL)
    tensors = {}
    for layer in theirs.layers:
        module = layouts.KERAS_V2.module(layer.name)
        for variable in layer.weights:
            tensors[f"{module}.{values.variable_name(variable)}"] = np.asarray(variable)
    path = file_of(tensors, tmp_path / "a")
    keras_resnets.create_model("resnet50v2_keras", weights=path, **SMALL)
    with pytest.raises(
        WeightsError, match="keras.applications; build resnet50v2_keras"
    ):
        keras_resnets.create_model(name, weights=path, **SMALL)


def test_files_of_keras_applications_have_an_early_stride(tmp_path):
    def stacks(x):
        for number, filters in enumerate(SMALL["filters"]):
            stride = 1 if number == 0 else 2
            name = f"conv{number + 2}"
            x = applications.stack_residual_blocks_v1(x, filters, 1, stride, name)
        return x

    theirs = applications.ResNet(
        stacks,
        False,
        True,
        "resnet50",
        weights=None,
        input_shape=(32, 32, 3),
        classes=5,
        classifier_activation=None,
    )
    theirs.save_weights(tmp_path / "their.weights.h5")
    options = {**SMALL, "weights": tmp_path / "their.weights.h5"}
    model = keras_resnets.create_model(
        "resnet50", classifier_activation=None, **options
    )
    assert model.axes["downsample_in"] == "1x1"
    images = keras.random.normal((2, 32, 32, 3), seed=0)
    expected = np.asarray(theirs(images))
    np.testing.assert_allclose(model(images), expected, rtol=0, atol=1e-5)
    with pytest.raises(
        WeightsError, match="trained with downsample_in='1x1'; got '3x3'"
    ):
        keras_resnets.create_model("resnet50", downsample_in="3x3", **options)


@pytest.mark.parametrize(
    "name", ["resnetaa50d", "resnetblur50", "seresnextaa101d_32x8d"]
)
def test_networks_of_timm_with_filters_before_strides(name, tmp_path):
    source = types.SimpleNamespace(
        path=tmp_path / "model.safetensors", preprocessing=None, axes={}
    )
    place = tmp_path / "config.json"
    place.write_text(json.dumps({"architecture": "resnet50d"}))
    sidecars.apply(source)
    place.write_text(json.dumps({"architecture": name}))
    with pytest.raises(WeightsError, match=f"{name} filters before each stride"):
        sidecars.apply(source)
