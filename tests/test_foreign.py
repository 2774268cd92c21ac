"""Weights of torchvision and timm give their logits, stage by stage."""

import functools
import json
import pathlib

import drawn
import drn_names
import keras
import numpy as np
import pytest

import keras_resnets
from keras_resnets import WeightsError
from keras_resnets.weights import assign
from keras_resnets.weights import contents
from keras_resnets.weights import values
from keras_resnets.weights.readers import Checkpoint

FIXTURE = np.load(pathlib.Path(__file__).parent / "data" / "torch_logits.npz")
VARIANTS = list(dict.fromkeys(key.partition("/")[0] for key in FIXTURE.files))
# ResNet-101 and -152 stand for their depths, and relatives of 50 layers for the rest.
DEEP = (
    "resnet101c resnet101d resnet101v2 resnet152c resnet152d resnet200d "
    "resnext101_32x4d resnext101_32x8d wide_resnet101_2"
).split()


def loaded(name, tensors, **options):
    """The model with `tensors`, a dict of a torch state dict's names."""
    makers = {key: functools.partial(np.asarray, a) for key, a in tensors.items()}
    network = contents.find(Checkpoint("a.pth", "torch", makers))
    model = keras_resnets.create_model(
        name, kernel_initializer="zeros", **network.layout.axes, **options
    )
    found, unused = values.named_values(model, network.tensors, network.layout)
    assign.assign(model, found, unused, "a.pth")
    return model


def torch_tensors(name):
    shapes = json.loads(str(FIXTURE[f"{name}/tensors"]))
    return {key: drawn.tensor(key, tuple(shape)) for key, shape in shapes.items()}


def relative(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


@pytest.mark.costly_but(
    "resnet18",
    "resnet50",
    "resnet18v2",
    "drn_c_26",
    "drn_d_22",
    "darknet53",
    "resnext50_32x4d",
)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in DEEP else ())
        for name in VARIANTS
    ],
)
def test_torch_logits(name):
    model = loaded(
        name,
        torch_tensors(name),
        input_shape=drawn.PICTURES[1:],
        classifier_activation=None,
    )
    maps = keras_resnets.endpoints(model)
    stages = [key for key in maps if key.startswith("stage")]
    both = keras.Model(model.input, [model.output, *(maps[key] for key in stages)])
    logits, *features = both(drawn.pictures(), training=False)
    for key, feature in zip(stages, features, strict=True):
        expected = FIXTURE[f"{name}/{key}"]
        assert relative(drawn.sampled(feature), expected) <= 1e-4, key
    assert relative(np.asarray(logits), FIXTURE[f"{name}/logits"]) <= 1e-4


@pytest.mark.costly_but("50-")
@pytest.mark.parametrize("version", ["", "V2"])
@pytest.mark.parametrize("depth", [50, 101, pytest.param(152, marks=pytest.mark.slow)])
def test_keras_applications(depth, version):
    """Biases of convolutions and the other epsilon are folded in exactly."""
    shape = drawn.PICTURES[1:]
    make = getattr(keras.applications, f"ResNet{depth}{version}")
    theirs = make(
        weights=None, input_shape=shape, classes=10, classifier_activation=None
    )
    tensors = {}
    for layer in theirs.layers:
        for weight in layer.weights:
            field = weight.path.rpartition("/")[2]
            torch_like = {"gamma": "weight", "moving_variance": "running_var"}
            name = f"{layer.name}.{torch_like.get(field, field)}"
            shape_in = tuple(weight.shape)
            # Fan-in last for a kernel of Keras' order.
            value = drawn.tensor(name, shape_in[::-1]).T
            weight.assign(value)
            tensors[f"{layer.name}/{field}:0"] = value
    ours = loaded(
        f"resnet{depth}{'v2_keras' if version else 'v1'}",
        tensors,
        input_shape=shape,
        classes=10,
        classifier_activation=None,
    )
    expected = theirs(drawn.pictures(), training=False)
    found = ours(drawn.pictures(), training=False)
    assert relative(np.asarray(found), np.asarray(expected)) <= 1e-5


def test_misfits_are_listed():
    tensors = torch_tensors("resnet18")
    options = {"input_shape": drawn.PICTURES[1:]}
    for change, message in {
        "layer1.0.conv1.weight": "1 missing .stage1_block1_conv1/kernel",
        "bn1.running_var": "1 missing .stem_bn/moving_variance",
    }.items():
        fewer = {key: value for key, value in tensors.items() if key != change}
        with pytest.raises(WeightsError, match=message):
            loaded("resnet18", fewer, **options)
    with pytest.raises(WeightsError, match="1 left over .layer1.0.extra.weight"):
        loaded("resnet18", {**tensors, "layer1.0.extra.weight": np.ones(3)}, **options)
    with pytest.raises(WeightsError, match="1 misshapen .stage1_block1_conv1/kernel"):
        loaded(
            "resnet18",
            {**tensors, "layer1.0.conv1.weight": np.ones((64, 64, 1, 1), "float32")},
            **options,
        )
    with pytest.raises(WeightsError, match="80 missing"):
        loaded("resnet34", tensors, **options)
    with pytest.raises(WeightsError, match="names of a known library"):
        loaded("resnet18", {"a.weight": np.ones(3)}, **options)


def test_other_heads_and_channels():
    tensors = torch_tensors("resnet18")
    shape = drawn.PICTURES[1:]
    with pytest.warns(UserWarning, match="1000 classes; the model's, with 7"):
        model = loaded("resnet18", tensors, input_shape=shape, classes=7)
    body = loaded("resnet18", tensors, input_shape=shape, include_top=False)
    for layer in body.layers:
        for ours, theirs in zip(
            layer.get_weights(), model.get_layer(layer.name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
    kernel = tensors["conv1.weight"].transpose(2, 3, 1, 0)
    with pytest.warns(UserWarning, match="summed into 1"):
        grey = loaded("resnet18", tensors, input_shape=(64, 64, 1))
    np.testing.assert_allclose(
        grey.get_layer("stem_conv").kernel, kernel.sum(2, keepdims=True), rtol=1e-6
    )
    with pytest.warns(UserWarning, match="repeated and scaled to 4"):
        four = loaded("resnet18", tensors, input_shape=(64, 64, 4))
    expected = np.concatenate([kernel, kernel[:, :, :1]], axis=2) * 0.75
    np.testing.assert_allclose(four.get_layer("stem_conv").kernel, expected, rtol=1e-6)


@pytest.mark.costly_but("drn_c_26", "drn_d_22")
@pytest.mark.parametrize(
    "name, arch, layers, bottleneck",
    [
        ("drn_c_26", "C", (1, 1, 2, 2, 2, 2, 1, 1), False),
        ("drn_c_42", "C", (1, 1, 3, 4, 6, 3, 1, 1), False),
        ("drn_c_58", "C", (1, 1, 3, 4, 6, 3, 1, 1), True),
        ("drn_d_22", "D", (1, 1, 2, 2, 2, 2, 1, 1), False),
        ("drn_d_24", "D", (1, 1, 2, 2, 2, 2, 2, 2), False),
        ("drn_d_38", "D", (1, 1, 3, 4, 6, 3, 1, 1), False),
        ("drn_d_54", "D", (1, 1, 3, 4, 6, 3, 1, 1), True),
        ("drn_d_105", "D", (1, 1, 3, 4, 23, 3, 1, 1), True),
    ],
)
def test_drn_by_structure(name, arch, layers, bottleneck):
    """Every tensor of the published networks has its place, and every place one."""
    shapes = drn_names.tensors(arch, layers, bottleneck)
    tensors = {key: drawn.tensor(key, shape) for key, shape in shapes.items()}
    model = loaded(name, tensors, input_shape=(64, 64, 3))
    last = "layer8.0" if arch == "D" else "layer8.0.conv1"
    np.testing.assert_array_equal(
        model.get_layer("stage8_block1_conv1").kernel,
        tensors[f"{last}.weight"].transpose(2, 3, 1, 0),
    )
    assert np.isfinite(model(drawn.pictures(), training=False)).all()
