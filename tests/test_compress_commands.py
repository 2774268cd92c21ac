"""`keras-resnets quantize` and `prune`, and the example of compression."""

import json
import shutil

import keras
import numpy as np
import pytest
from quantized import cifar
from quantized import logits_of
from test_cli import refused
from test_cli import run
from test_docs import example

import keras_resnets
from keras_resnets.export import parity
from keras_resnets.export.runners import TFLiteRunner


@pytest.fixture(scope="module")
def network(tmp_path_factory, shared_data):
    """A folder with CIFAR pictures and a file of a small network's weights."""
    folder = tmp_path_factory.mktemp("network")
    pixels, labels = cifar(shared_data)
    np.savez(
        folder / "data.npz",
        x_train=pixels[:300],
        y_train=labels[:300],
        x_test=pixels[300:500],
        y_test=labels[300:500],
    )
    # The seeds of single tests come later than this fixture.
    keras.utils.set_random_seed(7)
    model = keras_resnets.create_model("resnet8", bn_momentum=0.9)
    x = model.preprocessing.normalize(pixels[:300], "channels_last")
    model.compile(keras.optimizers.SGD(0.01, 0.9), "sparse_categorical_crossentropy")
    model.fit(x, labels[:300], batch_size=10, epochs=2, verbose=0)
    model.save_weights(folder / "net.weights.h5")
    return folder, model, pixels


@pytest.fixture
def trained(network, tmp_path, monkeypatch):
    """Both files in the working folder; the network and the pictures."""
    folder, model, pixels = network
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return model, pixels


def test_quantize(trained, capsys):
    model, pixels = trained
    words = ["quantize", "resnet8", "--weights", "net.weights.h5", "--data", "data.npz"]
    code, out, err = run(*words, "--count", 50, "--evaluate", "data.npz", capsys=capsys)
    assert code == 0, err
    assert "calibration  50 pictures of data.npz" in out
    assert "measured     200 pictures: top-1" in out
    path = "resnet8_static_wi8_ai8.tflite"
    with open(f"{path}.json") as file:
        passport = json.load(file)["recipe"]
    assert passport["engine"] == "ranges" and passport["calibration"]["of"] == 300
    x = model.preprocessing.normalize(pixels[300:500], "channels_last")
    with open(path, "rb") as file:
        found = TFLiteRunner(file.read(), 2, logits=True)(x)
    expected = logits_of(model).predict(x, verbose=0)
    compared = parity.compare(expected, found)
    assert f"agreement {compared.top1:.2%}, logit RMSE {compared.rmse:.4f}" in out
    assert compared.rmse < 0.1
    assert "exists" in refused(*words, capsys=capsys)

    code, out, _ = run(*words, "--sensitivity", "--count", 20, capsys=capsys)
    assert code == 0 and "stage1_block1_conv1 " in out and "weights" in out


def test_prune(trained, capsys):
    model, pixels = trained
    words = ["prune", "resnet8", "--weights", "net.weights.h5"]
    code, out, err = run(*words, "--shrink", 0.5, capsys=capsys)
    assert code == 0, err
    small = keras.saving.load_model("resnet8_pruned.keras")
    assert small.count_params() < 0.6 * model.count_params()
    assert f"{model.count_params():,}" in out and "12,501,632" in out
    code, _, err = run(
        *words, "--sparsity", 0.75, "--output", "sparse.keras", capsys=capsys
    )
    assert code == 0, err
    sparse = keras.saving.load_model("sparse.keras")
    kernel = np.array(sparse.get_layer("stage1_block1_conv1").kernel)
    assert (kernel == 0).mean() == pytest.approx(0.75, abs=0.01)
    assert "--sparsity" in refused(*words, capsys=capsys)
    both = ["--sparsity", 0.5, "--shrink", 0.5]
    assert "one of" in refused(*words, *both, capsys=capsys)
    assert "below 1" in refused(*words, "--sparsity", 1, capsys=capsys)
    assert "pattern" in refused(
        *words, "--sparsity", 0.5, "--pattern", "4x4", capsys=capsys
    )


def test_bad_input_of_quantize(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["quantize", "resnet8", "--weights", "no.weights.h5"]
    assert "--data" in refused(*words, capsys=capsys)
    assert "did you mean" in refused(
        *words, "--recipe", "static_wi8_ai9", capsys=capsys
    )
    assert "engine" in refused(*words, "--engine", "own", capsys=capsys)
    assert "no.weights.h5" in refused(*words, "--data", "d.npz", capsys=capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_example(tmp_path):
    out = example("qat_cifar10.py", "--smoke", cwd=tmp_path)
    shares = [float(line.split("%")[0].split()[-1]) for line in out.splitlines()[-3:]]
    assert min(shares) > 95
    assert (tmp_path / "resnet8_aware.tflite").exists()
