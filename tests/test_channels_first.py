"""Commands where Keras' default image format has the channels first (keras.json)."""

import json
import os
import subprocess
import sys

import data_sources as sources
import keras
import numpy as np
import pytest
from conftest import ROOT
from helpers import randomize

import keras_resnets
from keras_resnets import export
from keras_resnets.cli import main as cli


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Weights and a folder of three classes, beside a default that is set otherwise."""
    monkeypatch.chdir(tmp_path)
    model = randomize(keras_resnets.create_model("resnet8", classes=3))
    model.save_weights("net.weights.h5")
    sources.write_folder(tmp_path / "data", 30)
    keras.config.set_image_data_format("channels_first")
    return ["--weights", "net.weights.h5", "--classes", "3"]


@pytest.mark.costly_but("words0")
@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "resnet8", "--data", "data"],
        ["predict", "resnet8", "data/ant/003.jpg"],
        ["quantize", "resnet8", "--data", "data", "--evaluate", "data"],
        ["export", "onnx", "--model", "resnet8", "--include-preprocessing"],
    ],
)
def test_commands_build_networks_with_their_channels_last(words, work, capsys):
    assert cli.main([*words, *work]) == 0, capsys.readouterr().err


@pytest.mark.costly
def test_train_and_evaluate(work, capsys):
    words = ["train", "resnet8", "--data", "data", "--recipe", "cifar_cosine"]
    words += ["--epochs", "1", "--batch-size", "9", "--output", "run", "--quiet"]
    assert cli.main(words) == 0, capsys.readouterr().err
    keras.config.set_image_data_format("channels_first")
    words = ["evaluate", "resnet8", "--weights", "run/best.weights.h5"]
    assert cli.main([*words, "--data", "data"]) == 0, capsys.readouterr().err


@pytest.mark.costly
def test_a_process_with_such_a_keras_json(work, tmp_path):
    settings = {"image_data_format": "channels_first", "backend": "tensorflow"}
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    words = [sys.executable, "-m", "keras_resnets", "evaluate", "resnet8", *work]
    done = subprocess.run(
        [*words, "--data", "data"],
        env={**os.environ, "KERAS_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "resnet8: 30 images, top-1" in done.stdout


@pytest.mark.costly
def test_exports_of_a_network_with_its_channels_last(tmp_path):
    """Their own layers (option A, preprocessing) take no default for granted."""
    model = randomize(
        keras_resnets.create_model("resnet8", shortcut_type="A", classes=3)
    )
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    expected = model.predict_on_batch(images)
    keras.config.set_image_data_format("channels_first")
    export.to_keras(model, tmp_path / "a.keras")
    plain = keras.models.load_model(tmp_path / "a.keras")
    np.testing.assert_allclose(plain.predict_on_batch(images), expected, atol=1e-5)
    export.to_tflite(model, tmp_path / "a.tflite", preprocessing=model.preprocessing)
