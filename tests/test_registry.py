import dataclasses

import pytest

import keras_resnets
from keras_resnets import InvalidArgument
from keras_resnets import WeightsError
from keras_resnets.networks import architecture
from keras_resnets.networks.architecture import Architecture


def test_listing():
    names = keras_resnets.list_models()
    assert len(names) == len(set(names)) >= 88
    assert keras_resnets.list_models("drn_c_*") == ["drn_c_26", "drn_c_42", "drn_c_58"]
    darknets = ["darknet19", "darknet53", "darknet15"]
    assert keras_resnets.list_models(family="darknet") == darknets
    assert keras_resnets.list_models("nothing") == []
    with pytest.raises(InvalidArgument, match="family must be one of"):
        keras_resnets.list_models(family="vgg")


@pytest.mark.parametrize(
    "name, near",
    [
        ("resnet51", "resnet50"),
        ("resnext50_32x4", "resnext50_32x4d"),
        ("darknet-52", "darknet53"),
        ("wideresnet50_2", "wide_resnet50_2"),
        ("drn_c_27", "drn_c_26"),
    ],
)
def test_unknown_names_get_the_nearest(name, near):
    with pytest.raises(InvalidArgument, match=f"unknown model.*{near}"):
        keras_resnets.create_model(name)
    with pytest.raises(InvalidArgument, match="must be a string"):
        keras_resnets.create_model(50)


@pytest.mark.parametrize(
    "name, rule, near",
    [
        ("wrn_27_10", r"6n\+4", "28"),
        ("wrn_3_1", r"6n\+4", "10"),
        ("cifar_resnet21", r"6n\+2", "20"),
        ("cifar_resnet54v2", r"6n\+2", "56"),
        ("resnext30_8x64d", r"9n\+2", "29"),
    ],
)
def test_wrong_depths_get_the_nearest(name, rule, near):
    with pytest.raises(InvalidArgument, match=f"{rule}.*the nearest is {near}"):
        keras_resnets.create_model(name)


def wrn_params(depth, widen, classes=10):
    """Parameters of WRN-d-k, BN statistics included, from the paper's Table 1."""
    total, inputs = 27 * 16, 16
    for width in (16 * widen, 32 * widen, 64 * widen):
        for unit in range((depth - 4) // 6):
            projects = unit == 0 and inputs != width
            total += 4 * inputs + 9 * inputs * width + 4 * width + 9 * width * width
            total += inputs * width if projects else 0
            inputs = width
    return total + 4 * inputs + inputs * classes + classes


def test_open_families_and_aliases():
    assert keras_resnets.get_architecture("wrn_34_6").depths == (5, 5, 5)
    assert keras_resnets.get_architecture("WRN-34-6").widen_factor == 6
    assert keras_resnets.get_architecture("resnext50_16x8d").cardinality == 16
    assert keras_resnets.get_architecture("cifar_resnet26").depths == (4, 4, 4)
    same = keras_resnets.get_architecture("resnext50")
    assert same == keras_resnets.get_architecture("resnext50_32x4d")
    for depth, widen in ((16, 1), (10, 3), (22, 2)):
        model = keras_resnets.create_model(f"wrn_{depth}_{widen}")
        assert model.count_params() == wrn_params(depth, widen)
    info = keras_resnets.model_info("wrn_34_6")
    assert info.trainable_params is None and info.input_size == 32


def test_arguments_in_keras_applications_order():
    model = keras_resnets.ResNet18(
        False, None, None, (64, 64, 3), "avg", 7, None, "body"
    )
    assert model.output_shape == (None, 512) and model.name == "body"


def test_weights_go_through_both_formats(tmp_path):
    import numpy as np

    model = keras_resnets.create_model("resnet20", classes=7)
    model.save_weights(tmp_path / "a.weights.h5")
    model.save(tmp_path / "a.keras")
    for name in ("a.weights.h5", "a.keras"):
        loaded = keras_resnets.create_model(
            "resnet20", classes=7, weights=tmp_path / name, name="x"
        )
        for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.costly_but(".keras")
@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_weights_of_another_network_are_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    model = keras_resnets.create_model("resnet20")
    (model.save if suffix == ".keras" else model.save_weights)(path)
    others = [
        ("resnet32", {}),
        ("resnet8", {}),
        # The same shapes in the same order.
        ("resnet20v2", {}),
        ("resnet20", {"activation": "leaky_relu"}),
    ]
    if suffix == ".keras":
        # The same names as well.
        others.append(("resnet20", {"activation_order": "relu_before_add"}))
    for name, options in others:
        with pytest.raises(WeightsError, match="does not fit") as caught:
            keras_resnets.create_model(name, weights=path, **options)
        assert "\n" not in str(caught.value)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError):
        keras_resnets.create_model("resnet20", weights=path)
    path.write_bytes(b"")
    with pytest.raises(WeightsError):
        keras_resnets.create_model("resnet20", weights=path)


def test_weights_argument_is_checked_before_building(tmp_path):
    for weights, words in (
        ("imagenet1k", "write weights='imagenet'"),
        ("model.bin", "there is no file"),
        ("model.xyz", "give a file: .weights.h5"),
        (tmp_path / "missing.keras", "there is no file"),
        (3, "None, a name or a path"),
    ):
        with pytest.raises(WeightsError, match=words):
            keras_resnets.ResNet50(weights=weights)


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        '{"axes": {}, "preprocessing": {"mode": "torsh"}, "labels": null}',
        '{"axes": {}, "preprocessing": {}, "labels": "dogs"}',
    ],
)
def test_damaged_metadata(text, tmp_path):
    import h5py

    keras_resnets.ResNet8().save_weights(tmp_path / "a.weights.h5")
    with h5py.File(tmp_path / "a.weights.h5", "a") as file:
        file.attrs["keras_resnets"] = text
    with pytest.raises(WeightsError, match="its metadata are damaged"):
        keras_resnets.ResNet8(weights=tmp_path / "a.weights.h5")


def test_an_architecture_builds_as_its_name_does():
    architecture = keras_resnets.get_architecture("resnet20", output_stride=2)
    model = keras_resnets.create_model(architecture, classes=7)
    named = keras_resnets.create_model("resnet20", classes=7, output_stride=2)
    assert model.architecture == named.architecture == architecture
    assert model.axes == named.axes == {"output_stride": 2}
    assert [w.path for w in model.weights] == [w.path for w in named.weights]
    assert model.name == "cifar_resnet" and model.output_shape == (None, 7)
    row = keras_resnets.get_architecture("resnet20")
    own = keras_resnets.create_model(row, weights="cifar10")
    assert own.name == "resnet20" and own.axes == {} and own.labels == "cifar10"
    assert keras_resnets.create_model(row, output_stride=2).axes == {"output_stride": 2}


@pytest.mark.costly
def test_weights_of_an_architecture_tell_its_axes(tmp_path):
    """They load into it, and into its variant, which then computes as it does."""
    import numpy as np

    from keras_resnets.graph import provenance
    from keras_resnets.weights import metadata

    architecture = keras_resnets.get_architecture("resnet20").replace(padding="same")
    model = keras_resnets.create_model(architecture)
    path = tmp_path / "a.weights.h5"
    metadata.write_weights(model, path, provenance.of(model))
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    for asked in (architecture, "resnet20"):
        loaded = keras_resnets.create_model(asked, weights=path)
        assert loaded.architecture.padding == "same"
        np.testing.assert_array_equal(
            loaded.predict(images, verbose=0), model.predict(images, verbose=0)
        )


@pytest.mark.parametrize(
    "model, options, rule",
    [
        (5, {}, "must be a string of list_models.* or an Architecture; got 5"),
        ("wide", {"weights": "cifar10"}, "no public weights for an Architecture that"),
        ("wide", {"depth": 3}, "'depth' is not an axis.*did you mean depths"),
        (
            "wide",
            {"depths": (10**6,) * 3},
            "depths must be a whole number from 1 to 1,000",
        ),
    ],
)
def test_architectures_are_refused_as_names_are(model, options, rule):
    if model == "wide":
        row = keras_resnets.get_architecture("resnet20")
        model = row.replace(filters=(32, 64, 128))
    with pytest.raises(ValueError, match=rule) as caught:
        keras_resnets.create_model(model, **options)
    assert isinstance(caught.value, (InvalidArgument, WeightsError))


def test_defaults_of_axes_are_what_their_rules_keep():
    """They are not checked when a network is described."""
    fields = {field.name: field for field in dataclasses.fields(Architecture)}
    assert set(architecture.AXES) <= set(fields)
    for name, rule in architecture.AXES.items():
        default = fields[name].default
        if default is not dataclasses.MISSING:
            kept = rule.check(name, default)
            assert kept == default and type(kept) is type(default), name
