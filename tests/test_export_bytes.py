"""The same command twice gives the same bytes, whatever the process did before."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import zoo
from helpers import noise
from helpers import small_model

from keras_resnets import Preprocessing
from keras_resnets.export import to_keras
from keras_resnets.export import to_onnx
from keras_resnets.export import to_saved_model
from keras_resnets.export import to_tflite
from keras_resnets.io import keras_archive

SHAPE = (32, 32, 3)
DROP_PATH = {"drop_path_rate": 0.2}
PIXELS = {"preprocessing": Preprocessing("torch", SHAPE[:2])}
EXPORTS = {
    "a.onnx": (to_onnx, {"batch": "dynamic", **PIXELS}),
    "float16.onnx": (to_onnx, {"quantize": "float16", "layout": "nchw"}),
    "int8.onnx": (to_onnx, {"quantize": "int8", "calibration": noise(6, *SHAPE)}),
    "saved": (to_saved_model, PIXELS),
    "a.keras": (to_keras, {}),
    "a.weights.h5": (to_keras, {}),
    "a.tflite": (to_tflite, {}),
    "int8.tflite": (
        to_tflite,
        {"quantize": "int8", "calibration": noise(6, *SHAPE)},
    ),
}


def digests(folder):
    """Of every file but the passports."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.suffix != ".json"
    }


def write_all(folder):
    """Every format of one small network with option A and drop path."""
    folder.mkdir()
    model = small_model("shortcut_a_both", input_shape=SHAPE, axes=DROP_PATH)
    for name, (export, options) in EXPORTS.items():
        export(model, folder / name, **options)
    return digests(folder)


@pytest.mark.costly
def test_of_two_models_with_the_same_weights(tmp_path):
    first = write_all(tmp_path / "a")
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(7)
    # Other addresses and counters: what names and order must not come from.
    other = small_model("basic_original", input_shape=SHAPE)
    to_saved_model(other, tmp_path / "other")
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(7)
    assert write_all(tmp_path / "b") == first
    assert "saved/fingerprint.pb" in first


def test_onnx_names_are_those_of_the_layers(tmp_path):
    import onnx

    to_onnx(small_model("shortcut_a_both", input_shape=SHAPE), tmp_path / "a.onnx")
    graph = onnx.load(tmp_path / "a.onnx").graph
    names = [node.name for node in graph.node]
    assert len(set(names)) == len(names)
    assert not any(
        "__" in name for name in (*names, *(t.name for t in graph.initializer))
    )
    kernel = next(n for n in graph.node if "stage2_block2_conv1" in n.name).input[1]
    assert kernel.endswith("/kernel") and "stage2_block2_conv1" in kernel
    # Who makes a tensor stands before who reads it.
    made = {"", graph.input[0].name, *(t.name for t in graph.initializer)}
    for node in graph.node:
        assert made.issuperset(node.input)
        made.update(node.output)


def test_keras_file_without_dates_and_addresses(tmp_path):
    model = small_model("shortcut_a_both", input_shape=SHAPE)
    path = tmp_path / "a.keras"
    keras_archive.write_model(model, path)
    with zipfile.ZipFile(path) as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}
        assert b"1980-01-01" in archive.read("metadata.json")
        config = json.loads(archive.read("config.json"))
    ids = shared(config)
    assert ids and max(ids) <= len(ids)
    loaded = keras.saving.load_model(path, compile=False)
    images = noise(2, *SHAPE)
    np.testing.assert_array_equal(loaded.predict(images), model.predict(images))


def shared(value):
    """What Keras calls objects that several layers share, as often as it does."""
    if isinstance(value, list):
        return [one for entry in value for one in shared(entry)]
    if not isinstance(value, dict):
        return []
    own = [value["shared_object_id"]] if "shared_object_id" in value else []
    return own + [one for entry in value.values() for one in shared(entry)]


@pytest.mark.slow
def test_of_two_processes(tmp_path):
    found = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        folder.mkdir()
        commands = [
            "export onnx --model resnet20 --output a.onnx",
            "export saved_model --model resnet20 --output saved",
            "export keras --model resnet20 --output a.keras",
            "export tflite --model resnet20 --output a.tflite",
            "convert resnet20 cifar10 b.keras",
            "convert resnet20 cifar10 b.weights.h5",
            "convert resnet20 cifar10 b.safetensors",
        ]
        for command in commands:
            subprocess.run(
                [sys.executable, "-m", "keras_resnets", *command.split()],
                env={**os.environ, "PYTHONHASHSEED": seed},
                cwd=folder,
                check=True,
            )
        found.append(digests(folder))
    assert found[0] == found[1] and len(found[0]) == 10


@pytest.mark.costly
def test_saved_model_is_loaded_as_it_was_settled(tmp_path):
    import tensorflow as tf

    report = to_saved_model(small_model("grouped", input_shape=SHAPE), tmp_path / "a")
    found = tf.saved_model.experimental.read_fingerprint(str(report.path))
    assert found.saved_model_checksum and pathlib.Path(report.path).is_dir()
    assert list(tf.saved_model.load(str(report.path)).signatures) == ["serving_default"]


def test_saved_model_with_custom_gradients(tmp_path):
    """TensorFlow's swish has a gradient of its own, a function that nobody calls."""
    import tensorflow as tf

    found = []
    for name in ("a", "b"):
        keras.backend.clear_session(free_memory=False)
        model = zoo.seeded("swish_block")
        to_saved_model(model, tmp_path / name)
        found.append(digests(tmp_path / name))
    assert found[0] == found[1]
    folder = tf.saved_model.load(str(tmp_path / "a"))
    loaded = folder.signatures["serving_default"]
    images, gradients = tf.constant(noise(2, *model.input_shape[1:])), []
    for function in (model, lambda x: next(iter(loaded(image=x).values()))):
        with tf.GradientTape() as tape:
            tape.watch(images)
            total = tf.reduce_sum(tf.square(function(images)))
        gradients.append(tape.gradient(total, images).numpy())
    assert np.ptp(gradients[0]) > 0
    np.testing.assert_allclose(*gradients, atol=1e-6 * np.ptp(gradients[0]))
