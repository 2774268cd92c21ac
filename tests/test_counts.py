"""Every figure of `published.csv`, derived anew from the built networks."""

import csv

import keras
import pytest

import keras_resnets
from keras_resnets.graph.analysis import analyze
from keras_resnets.models import registry
from keras_resnets.networks import variants

ROWS = registry.published_rows()


def axes_of(row):
    return dict(pair.split("=") for pair in row["axes"].split())


def row_id(row):
    return "-".join(filter(None, (row["variant"], row["axes"], row["input_size"])))


# A thousand layers take ten seconds to build; the plain ResNet-1001 V2 stands for them.
DEEP = ("resnet1202-32", "resnet1001v2-downsample_in=3x3-32")


@pytest.mark.costly_but(
    "resnet18-224",
    "resnet50-224",
    "resnet50v1-224",
    "resnet50v2-224",
    "resnet50d-224",
    "wide_resnet50_2-224",
    "resnext50_32x4d-224",
    "darknet19-224",
    "darknet53-256",
    "darknet53-224",
    "drn_c_26-224",
    "drn_d_22-224",
    "drn_a_50-224",
    "resnet20-32",
    "resnet20v2-32",
    "resnet8-32",
    "wrn_16_4-32",
)
@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, marks=pytest.mark.slow if row_id(row) in DEEP else ())
        for row in ROWS
    ],
    ids=row_id,
)
def test_published_figures(row):
    size = int(row["input_size"])
    model = keras_resnets.create_model(
        row["variant"],
        input_shape=(size, size, 3),
        kernel_initializer="zeros",
        **axes_of(row),
    )
    found = analyze(model)
    assert model.output_shape == (None, int(row["classes"]))
    assert found.trainable_params == int(row["trainable_params"])
    assert found.total_params == model.count_params() == int(row["total_params"])
    assert round(found.macs / 1e6, 3) == float(row["mega_macs"])
    assert (found.convs, found.dense) == (int(row["convs"]), int(row["dense"]))
    assert row["source"]


def test_every_variant_has_figures_and_every_row_a_variant():
    default = [
        row["variant"] for row in ROWS if registry.is_default(row, row["variant"])
    ]
    assert sorted(default) == sorted(variants.VARIANTS)
    assert {row["variant"] for row in ROWS} == set(variants.VARIANTS)


def test_reference_table_is_carried_over_whole(shared_data):
    """Every row that was handed to the project stands in `published.csv`."""
    ours = {}
    for row in ROWS:
        figures = tuple(
            float(row[key])
            for key in ("input_size", "trainable_params", "total_params", "mega_macs")
        )
        ours[(row["variant"], *figures)] = (row["convs"], row["dense"])
    with open(shared_data.parent / "reference" / "variants.csv", newline="") as file:
        for row in csv.DictReader(file):
            name = row["variant"].split(",")[0].split(" (")[0]
            keys = ("input_size", "trainable_params", "keras_count_params", "mega_macs")
            key = (name, *(float(row[column]) for column in keys))
            assert ours[key] == (row["convs"], row["dense"]), row["variant"]


@pytest.mark.costly_but("50")
@pytest.mark.parametrize("depth", [50, 101, 152])
def test_keras_applications_counts(depth):
    v2 = getattr(keras.applications, f"ResNet{depth}V2")(weights=None)
    assert (
        v2.count_params() == registry.model_info(f"resnet{depth}v2_keras").total_params
    )
    v1 = getattr(keras.applications, f"ResNet{depth}")(weights=None)
    biases = sum(
        layer.filters for layer in v1.layers if isinstance(layer, keras.layers.Conv2D)
    )
    total = registry.model_info(f"resnet{depth}v1").total_params
    assert v1.count_params() - biases == total


def test_mlperf_tiny_count_and_layout(shared_data):
    import json

    import h5py

    with h5py.File(shared_data / "mlperf_tiny" / "pretrainedResnet.h5") as file:
        config = json.loads(file.attrs["model_config"])
    theirs = [
        (
            layer["config"]["filters"],
            tuple(layer["config"]["kernel_size"]),
            tuple(layer["config"]["strides"]),
            layer["config"]["padding"],
            layer["config"]["use_bias"],
        )
        for layer in config["config"]["layers"]
        if layer["class_name"] == "Conv2D"
    ]
    model = keras_resnets.ResNet8()
    ours = [
        (layer.filters, layer.kernel_size, layer.strides, layer.padding, layer.use_bias)
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D)
    ]
    assert sorted(ours) == sorted(theirs)
    assert model.count_params() == 78_666
    norms = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert {(norm.epsilon, norm.momentum) for norm in norms} == {(1e-3, 0.99)}
