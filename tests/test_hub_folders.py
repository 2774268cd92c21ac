"""Folders of the Hugging Face Hub: one file or several, and what `config.json` says."""

import json

import numpy as np
import pytest

import keras_resnets
from keras_resnets import WeightsError
from keras_resnets.weights import hub_config
from keras_resnets.weights.readers import read
from keras_resnets.weights.readers.safetensors import write_safetensors

TENSORS = {f"{n}.weight": np.full((2, 3), n, "float32") for n in range(6)}
INDEX = "model.safetensors.index.json"


def write(path, tensors):
    with open(path, "wb") as file:
        write_safetensors(file, tensors)


@pytest.fixture
def parts(tmp_path):
    """A folder as `save_pretrained(max_shard_size=...)` writes it."""
    places = {}
    for number in (1, 2, 3):
        name = f"model-0000{number}-of-00003.safetensors"
        own = list(TENSORS)[2 * number - 2 : 2 * number]
        write(tmp_path / name, {tensor: TENSORS[tensor] for tensor in own})
        places |= dict.fromkeys(own, name)
    text = json.dumps({"metadata": {"total_size": 144}, "weight_map": places})
    (tmp_path / INDEX).write_text(text)
    return tmp_path


def index(folder, change):
    content = json.loads((folder / INDEX).read_text())
    change(content["weight_map"])
    (folder / INDEX).write_text(json.dumps(content))


@pytest.mark.parametrize("name", ["", INDEX])
def test_files_in_parts_are_read_as_one(name, parts):
    checkpoint = read(parts / name)
    assert list(checkpoint) == list(TENSORS)
    for tensor, array in TENSORS.items():
        np.testing.assert_array_equal(checkpoint[tensor], array)


def test_one_part_names_its_index(parts):
    with pytest.raises(
        WeightsError, match=f"one of 3 parts: pass their folder, .*{INDEX}"
    ):
        read(parts / "model-00002-of-00003.safetensors")


def test_a_missing_part_is_named(parts):
    (parts / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(
        WeightsError, match=r"1 of its 3 files are missing .model-00002"
    ):
        read(parts)


@pytest.mark.parametrize(
    "place",
    ["../a.safetensors", "/etc/passwd", "..", "", "a\x1b[2J", 7, None, INDEX, [1]],
)
def test_parts_lie_beside_their_index(place, parts):
    index(parts, lambda places: places.update({"0.weight": place}))
    with pytest.raises(WeightsError, match="must lie beside it") as caught:
        read(parts)
    assert str(caught.value).isprintable()


def test_a_tensor_must_be_in_its_part(parts):
    index(parts, lambda places: places.update({"other": places["0.weight"]}))
    with pytest.raises(WeightsError, match="other is not in model-00001"):
        read(parts)


@pytest.mark.parametrize("text", ["{}", "[]", "{", '{"weight_map": []}', "[" * 100_000])
def test_damaged_indices_are_refused(text, parts):
    (parts / INDEX).write_text(text)
    with pytest.raises(WeightsError, match="weight_map|damaged") as caught:
        read(parts)
    assert "\n" not in str(caught.value)


def test_a_folder_with_one_file_is_that_file(tmp_path):
    write(tmp_path / "model.safetensors", TENSORS)
    (tmp_path / "pytorch_model.bin").write_bytes(b"not read")
    assert list(read(tmp_path)) == list(TENSORS)


@pytest.mark.parametrize(
    "name, said",
    [
        (
            "saved_model.pb",
            r"is a SavedModel: .* model.save_weights\('FILE.weights.h5'\)",
        ),
        ("checkpoint", "is a checkpoint of TensorFlow: load it with its own program"),
        (".metadata", "distributed checkpoint of torch: .*dcp_to_torch_save"),
        ("manifest.ocdbt", "checkpoint of Orbax: .*safetensors.numpy.save_file"),
        ("Manifest.json", "exported Core ML file: pass the weights"),
    ],
)
def test_folders_of_other_formats_are_named(name, said, tmp_path):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(WeightsError, match=said):
        keras_resnets.ResNet20(weights=tmp_path)


@pytest.mark.parametrize("name", ["a", "a.index", "a.data-00000-of-00001"])
def test_checkpoints_of_tensorflow_are_named(name, tmp_path):
    for suffix in (".index", ".data-00000-of-00001"):
        (tmp_path / f"a{suffix}").write_bytes(b"\0" * 64)
    with pytest.raises(
        WeightsError, match="a checkpoint of TensorFlow: .*save_weights"
    ):
        keras_resnets.ResNet20(weights=tmp_path / name)


TRANSFORMERS = {
    "model_type": "resnet",
    "layer_type": "bottleneck",
    "hidden_act": "relu",
}
PROCESSOR = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], "resample": 3}


@pytest.mark.parametrize(
    "change, axes",
    [
        ({}, {"downsample_in": "3x3"}),
        ({"downsample_in_bottleneck": True}, {"downsample_in": "1x1"}),
        ({"layer_type": "basic", "downsample_in_bottleneck": True}, {}),
        (
            {"downsample_in_first_stage": True, "depths": [1, 1]},
            {"downsample_in": "3x3", "strides": (2, 2)},
        ),
    ],
)
def test_what_transformers_networks_compute(change, axes):
    assert hub_config.of_transformers({**TRANSFORMERS, **change}, {}, "a").axes == axes


def test_other_activations_of_transformers_are_refused():
    """They are applied to the stem alone there."""
    with pytest.raises(
        WeightsError, match="activation must be one of relu; got 'gelu'"
    ):
        hub_config.of_transformers({**TRANSFORMERS, "hidden_act": "gelu"}, {}, "a")


@pytest.mark.parametrize(
    "size, expected",
    [
        ({"size": 224, "crop_pct": 0.875}, ((224, 224), 0.875)),
        ({"size": {"shortest_edge": 64}, "crop_pct": 0.9}, ((64, 64), 0.9)),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.9}, ((384, 384), 1.0)),
        ({"size": {"height": 64, "width": 64}}, ((64, 64), 1.0)),
        (
            {
                "size": {"shortest_edge": 80},
                "do_center_crop": True,
                "crop_size": {"height": 64, "width": 64},
            },
            ((64, 64), 0.8),
        ),
    ],
)
def test_images_of_transformers(size, expected):
    images = hub_config.of_transformers(
        TRANSFORMERS, {**PROCESSOR, **size}, "a"
    ).preprocessing
    assert (images["size"], images["crop_fraction"]) == expected
    assert (images["mean"], images["std"]) == ([0.5, 0.4, 0.3], [0.2, 0.3, 0.4])
    assert images["interpolation"] == "bicubic"


def test_classes_of_transformers():
    def labels(*names):
        content = {**TRANSFORMERS, "id2label": dict(zip("0123", names, strict=False))}
        return hub_config.of_transformers(content, {}, "a").labels

    assert labels("cat", "dog") == ["cat", "dog"]
    assert labels("LABEL_0", "LABEL_1") is None and labels() is None
    assert labels("cat", 3) is None


def test_what_timms_networks_compute():
    def axes(**arguments):
        return hub_config.of_timm({"model_args": arguments}, "a").axes

    assert axes() == {} and axes(act_layer="relu", output_stride=32) == {}
    assert axes(act_layer="silu", output_stride=8) == {
        "activation": "silu",
        "output_stride": 8,
    }
    unnamed = {"label_names": ["LABEL_0", "LABEL_1"]}
    assert hub_config.of_timm(unnamed, "a").labels is None
    for arguments in (
        {"global_pool": "max"},
        {"aa_layer": "avg"},
        {"act_layer": "mish"},
    ):
        with pytest.raises(WeightsError, match="max|avg|mish"):
            axes(**arguments)


@pytest.mark.parametrize("junk", [3, "x", [1], {"a": {}}, None, True, 1e999])
def test_junk_in_configurations_is_ignored_or_refused(junk):
    for key in ("id2label", "depths", "downsample_in_first_stage", "layer_type"):
        hub_config.of_transformers({**TRANSFORMERS, key: junk}, {}, "a")
    for key in ("size", "crop_size", "crop_pct", "do_center_crop"):
        processor = {**PROCESSOR, "size": 64, key: junk}
        hub_config.of_transformers(TRANSFORMERS, processor, "a")
    for key in ("model_args", "pretrained_cfg", "label_names"):
        hub_config.of_timm({key: junk}, "a")
