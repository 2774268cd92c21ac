"""tensorflow-model-optimization: rebuilt networks are equal, and what it learns comes back.

Starting its process takes seconds, so most comparisons share one.
"""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from commands import refused
from commands import run
from helpers import noise
from helpers import randomize
from helpers import refusal
from helpers import small_model

import keras_resnets
from keras_resnets import pruning
from keras_resnets import tfmot
from keras_resnets.errors import TrainingError
from keras_resnets.system import child_process
from keras_resnets.tfmot import description
from keras_resnets.tfmot import process
from keras_resnets.tfmot.worker import jobs

# Importing it would turn this process to legacy Keras.
if importlib.util.find_spec("tensorflow_model_optimization") is None:
    pytest.skip("the extra compress is not installed", allow_module_level=True)
# Each with something that no other has.
REBUILT = (
    "basic_original",
    "basic_full_preact",
    "shortcut_a_both",
    "shortcut_d",
    "dilated_grouped",
    "darknet",
    "dead_projection",
)


def tiny(kind="basic_original", **axes):
    return small_model(kind, input_shape=(16, 16, 3), axes={"depths": (1, 1), **axes})


@pytest.fixture
def data():
    """(pictures, labels): of each class another brightness."""
    labels = np.arange(60) % 10
    return noise(60, 16, 16, 3) + labels[:, None, None, None] / 3, labels


def hand_over(folder, model):
    """Writes what a process with legacy Keras needs to compare a model."""
    folder.mkdir()
    job = {"description": description.describe(model)}
    (folder / "job.json").write_text(json.dumps(job))
    np.savez(folder / "weights.npz", **description.read_values(model))
    process._write_probe(folder, model)


def test_rebuilt_networks_are_equal(tmp_path):
    environment = dict(os.environ)
    axes = {"depths": (2, 1)}
    models = {
        kind: small_model(kind, input_shape=(16, 16, 3), axes=axes) for kind in REBUILT
    }
    models["nested"] = nested()
    for name, model in models.items():
        hand_over(tmp_path / name, model)
    # One weight of one kernel is another: that must be seen.
    wrong = tiny()
    hand_over(tmp_path / "wrong", wrong)
    values = description.read_values(wrong)
    values["stage2_block1_conv2/kernel"][1, 1, 0, 0] += 0.01
    np.savez(tmp_path / "wrong" / "weights.npz", **values)
    probe = pathlib.Path(__file__).with_name("legacy_probe.py")
    done = subprocess.run(
        [sys.executable, str(probe), str(tmp_path)],
        env=child_process.variables(process.LEGACY),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    apart = said["apart"]
    assert apart.pop("wrong") > 1e-5
    assert set(apart) == set(models)
    assert max(apart.values()) <= 1e-6, apart
    assert not said["keras 3"]
    assert dict(os.environ) == environment
    still_keras_3()


def nested():
    """A network whose body is a model, with two layers of one name."""
    image = keras.Input((16, 16, 3))
    inner = keras.Input((16, 16, 8))
    x = keras.layers.Conv2D(8, 3, padding="same", name="conv")(inner)
    body = keras.Model(inner, keras.layers.BatchNormalization(name="bn")(x))
    x = keras.layers.Conv2D(8, 3, activation="relu", padding="same", name="conv")(image)
    x = keras.layers.Concatenate()([body(x), x])
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(4)(x))
    return randomize(keras.Model(image, keras.layers.Dense(10)(x)))


def still_keras_3():
    import tensorflow as tf

    assert keras.__version__.startswith("3.")
    assert tf.keras.__version__.startswith("3.")
    assert not {"tf_keras", "tensorflow_model_optimization"} & set(sys.modules)
    assert "TF_USE_LEGACY_KERAS" not in os.environ


def test_description_says_what_the_network_is():
    model = small_model("dilated", input_shape=(32, 32, 3))
    found = description.describe(model)
    assert found["softmax"] and found["input_shape"] == [32, 32, 3]
    convs = {s["layer"]: s["config"] for s in found["steps"] if s["kind"] == "Conv2D"}
    assert {tuple(c["dilation_rate"]) for c in convs.values()} == {(1, 1), (2, 2)}
    assert len(convs) == sum("conv" in layer.name for layer in model.layers)
    # The statistics bear what TensorFlow's fused kernel adds to epsilon.
    name = "stage1_block1_bn1"
    values = description.read_values(model)[f"{name}/moving_variance"]
    own = np.array(model.get_layer(name).moving_variance, "float64")
    np.testing.assert_allclose(own - values, 1e-8, rtol=1e-3)
    # And lose it on the way back.
    copy = process.copy_of(tiny())
    description.write_values(copy, description.read_values(tiny()))
    for ours, theirs in zip(copy.weights, tiny().weights, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)


def test_layers_without_a_counterpart():
    image = keras.Input((8, 8, 3))
    for layer, words in (
        (keras.layers.LayerNormalization(name="odd"), ("odd", "LayerNormalization")),
        (keras.layers.Conv2D(4, 3, activation="mish", name="odd"), ("odd", "mish")),
        (keras.layers.Conv2DTranspose(4, 3, name="odd"), ("odd", "Conv2DTranspose")),
    ):
        x = keras.layers.GlobalAveragePooling2D()(layer(image))
        model = keras.Model(image, keras.layers.Dense(10)(x))
        refusal(lambda m=model: tfmot.rebuilt_apart(m), *words, "Prune")


def test_bad_input(tmp_path, data):
    x, y = data
    model, path = tiny(), tmp_path / "out.tflite"
    prune, cluster = tfmot.tfmot_prune, tfmot.tfmot_cluster
    refusal(lambda: prune(model, (x[:, :8], y)), "(count, 16, 16, 3)", "(60, 8, 16, 3)")
    refusal(lambda: prune(model, (x, y + 1)), "0..9", "1..10")
    refusal(lambda: prune(model, (x, y / 2)), "whole number")
    refusal(lambda: prune(model, (x, np.eye(10, dtype=int)[y])), "one whole number")
    refusal(lambda: prune(model, (x, y[:9])), "9 for 60")
    refusal(lambda: prune(model, x), "(images, labels)")
    refusal(lambda: prune(model, (x * np.nan, y)), "NaN")
    refusal(lambda: prune(model, data, 1), "below 1")
    refusal(lambda: cluster(model, data, 1), "clusters", "2")
    refusal(lambda: cluster(model, data, 10**5), "clusters")
    refusal(lambda: cluster(model, data, 60000), "no kernel of more than 60000")
    refusal(lambda: tfmot.Tuning(epochs=0), "epochs")
    refusal(lambda: tfmot.Tuning(crop=-1), "crop")
    refusal(
        lambda: tfmot.tfmot_quantize_aware(model, tmp_path / "x.onnx", data),
        ".tflite",
    )
    backbone = keras.Model(model.inputs, model.get_layer("avg_pool").output)
    refusal(lambda: prune(backbone, data), "classifier", "features")
    assert not path.exists() and not list(tmp_path.iterdir())


def test_packages_that_are_missing(monkeypatch, data):
    monkeypatch.setattr(process, "_PACKAGES", ("tf_keras_of_yore",))
    refusal(
        lambda: tfmot.tfmot_prune(tiny(), data),
        "tf_keras_of_yore",
        "pip install 'keras-resnets[compress]'",
    )


@pytest.mark.parametrize(
    "death, words",
    [
        ("raise RuntimeError('no more of this')", ("code 1", "no more of this")),
        ("import os; os.kill(os.getpid(), 9)", ("signal 9", "without a message")),
    ],
)
def test_a_process_that_dies(tmp_path, monkeypatch, data, death, words):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "tf_keras.py").write_text(death)
    monkeypatch.setenv("PYTHONPATH", str(broken))
    path = tmp_path / "out.tflite"
    with pytest.raises(TrainingError) as caught:
        tfmot.tfmot_quantize_aware(tiny(), path, data)
    text = str(caught.value)
    assert "\n" not in text and all(word in text for word in words), text
    assert [entry.name for entry in tmp_path.iterdir()] == ["broken"]


def test_a_network_that_is_not_the_same_is_not_trained(monkeypatch, data):
    # That a difference is seen is in test_rebuilt_networks_are_equal.
    said = {"apart": 2e-6, "done": True}
    monkeypatch.setattr(process, "_follow", lambda *arguments: said)
    with pytest.raises(TrainingError, match="2e-06 .* nothing was trained"):
        tfmot.tfmot_prune(tiny(), data)
    said["apart"] = float("nan")
    with pytest.raises(TrainingError, match="nothing was trained"):
        tfmot.tfmot_prune(tiny(), data)


def stiff(scale=300):
    """`tiny`, the same function, with steep gradients.

    One channel of the stem is made small and BN makes up for it, as channels that
    hardly vary have it in trained networks.
    """
    model = tiny()
    conv, norm = model.get_layer("stem_conv"), model.get_layer("stem_bn")
    kernel, mean = conv.kernel.numpy(), norm.moving_mean.numpy()
    variance = norm.moving_variance.numpy()
    kernel[..., 0] /= scale
    mean[0] /= scale
    variance[0] = (variance[0] + norm.epsilon) / scale**2 - norm.epsilon
    conv.kernel.assign(kernel)
    norm.moving_mean.assign(mean)
    norm.moving_variance.assign(variance)
    return model


@pytest.mark.costly
def test_steps_follow_the_norm_of_each_kernel(data):
    # The steepest gradient is many times its kernel here.
    lines = []
    tuning = tfmot.Tuning(epochs=4, batch_size=10, learning_rate=1.0)
    few = tfmot.tfmot_cluster(stiff(), data, tuning=tuning, tell=lines.append)
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in lines]
    assert losses[-1] < losses[0], lines
    for weight in few.weights:
        assert np.isfinite(weight.numpy()).all(), weight.path


def test_centroids_are_settled_by_k_means():
    rng = np.random.default_rng(0)
    weights = np.concatenate([rng.normal(m, 0.01, 50) for m in (-1, 0, 2)])
    weights = weights.reshape(10, 15).astype("float32")
    drawn = np.array([2.0, -1.0, -0.9, 1e6], "float32")
    found = jobs.settled(weights, drawn)
    assert found.dtype == np.float32 and np.all(np.diff(found) > 0)
    # One that no weight is next to stays; the others are means of what is next to them.
    assert found[-1] == 1e6
    nearest = np.abs(weights[..., None] - found).argmin(-1)
    for index in range(3):
        assert found[index] == pytest.approx(weights[nearest == index].mean(), abs=1e-5)


@pytest.mark.costly
@pytest.mark.parametrize("tool", ["cluster"])
def test_a_training_that_diverges_ends_at_once(data, tool):
    images, labels = (np.concatenate([part, part]) for part in data)
    # What is computed of this one overflows; the first 64 are looked at beforehand.
    images[100] = 3e38
    lines = []
    with pytest.raises(TrainingError) as caught:
        getattr(tfmot, f"tfmot_{tool}")(
            *(tiny(), (images, labels)),
            tuning=tfmot.Tuning(epochs=50, batch_size=10, learning_rate=0.01),
            tell=lines.append,
        )
    text = str(caught.value)
    assert "\n" not in text and "nothing was written" in text, text
    for words in ("diverged: ", " of epoch 1,", " began at 0.01", "such as 0.001"):
        assert words in text, text
    assert not lines


@pytest.mark.costly
def test_quantize(tmp_path, data):
    model, steps, lines = tiny("shortcut_a_both"), [], []
    path = tmp_path / "aware.tflite"
    report = tfmot.tfmot_quantize_aware(
        model,
        path,
        data,
        tfmot.Tuning(epochs=2, batch_size=20),
        calibration=20,
        progress=steps.append,
        tell=lines.append,
    )
    # Option A is a slice and a pad, and everything is in integers.
    wanted = {"CONV_2D": 5, "ADD": 2, "FULLY_CONNECTED": 1, "STRIDED_SLICE": 1}
    assert wanted.items() <= report.operators.items()
    assert "QUANTIZE" not in report.operators
    assert report.logits.rmse < 0.1, report
    recipe = json.loads(pathlib.Path(f"{path}.json").read_text())["recipe"]
    assert recipe["engine"] == "tfmot" and recipe["tuning"]["epochs"] == 2
    assert steps and max(steps) <= 6 and len(lines) == 2
    assert lines[1].startswith("epoch 2: loss ")
    still_keras_3()


@pytest.mark.costly
def test_what_is_refused_names_the_native_way(tmp_path, data):
    path = tmp_path / "aware.tflite"
    refusal(
        lambda: tfmot.tfmot_quantize_aware(
            tiny("basic_full_preact"), path, data, calibration=20
        ),
        "refuses",
        "quantize_aware",
        "keras-resnets qat",
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_prune(data):
    model = tiny("basic_full_preact")
    before = [weight.numpy() for weight in model.weights]
    sparse = tfmot.tfmot_prune(model, data, 0.5, tfmot.Tuning(batch_size=10, epochs=2))
    report = pruning.pruning_report(sparse)
    first, *inner, last = report.layers
    assert first[2] == last[2] == 0
    assert report.sparsity == pytest.approx(0.5, abs=0.01)
    assert all(share in (0, pytest.approx(0.5, abs=0.01)) for _, _, share in inner)
    # Everything was trained, and the network that was given is as it was.
    moved = [
        np.abs(new.numpy() - old).max()
        for new, old in zip(sparse.weights, before, strict=True)
    ]
    assert min(moved) > 0
    for weight, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), old)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with weights of ResNet-8 and a few made-up pictures."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (60, 32, 32, 3), dtype="uint8")
    labels = np.arange(60) % 10
    np.savez(
        "data.npz",
        x_train=pictures,
        y_train=labels,
        x_test=pictures[:20],
        y_test=labels[:20],
    )
    randomize(keras_resnets.create_model("resnet8")).save_weights("net.weights.h5")
    return tmp_path


WORDS = ("resnet8", "--weights", "net.weights.h5", "--data", "data.npz")


@pytest.mark.costly
def test_cluster(files, capsys):
    words = ("cluster", *WORDS, "--clusters", 8, "--batch-size", 20)
    code, out, err = run(*words, "--evaluate", "data.npz", capsys=capsys)
    assert code == 0, err
    assert "training     60 images of data.npz" in out
    assert "epoch 1: loss" in out and "measured     20 images: top-1" in out
    few = keras.saving.load_model("resnet8_clustered.keras")
    kernels = [x.kernel.numpy() for x in few.layers if hasattr(x, "kernel")]
    assert len(kernels) == 10
    assert max(len(np.unique(kernel)) for kernel in kernels) <= 8
    old = keras_resnets.create_model("resnet8", weights="net.weights.h5")
    sizes = [pruning.pruning_report(model).gzip_size for model in (old, few)]
    assert sizes[1] < 0.35 * sizes[0] and f"{sizes[1]:,}" in out
    assert "exists" in refused(*words, capsys=capsys)


def test_commands_refuse(files, capsys):
    assert "clusters" in refused("cluster", *WORDS, "--clusters", 0, capsys=capsys)
    assert "epochs" in refused("cluster", *WORDS, "--epochs", 0, capsys=capsys)
    assert "no.npz" in refused("cluster", *WORDS[:3], "--data", "no.npz", capsys=capsys)
    prune = ("prune", *WORDS[:3], "--sparsity", 0.5)
    assert "--data" in refused(*prune, "--engine", "tfmot", capsys=capsys)
    assert "tfmot" in refused(*prune, "--data", "data.npz", capsys=capsys)
    assert "engine" in refused(*prune, "--engine", "own", capsys=capsys)
    assert "--pattern" in refused(
        *("prune", *WORDS, "--engine", "tfmot", "--sparsity", 0.5, "--pattern", "2:4"),
        capsys=capsys,
    )
    qat = ("qat", *WORDS, "--engine", "tfmot")
    line = refused(*qat, "--recipe", "static_wi4_ai8", capsys=capsys)
    assert "leave out --engine" in line
    assert "--resume cannot be used" in refused(*qat, "--resume", capsys=capsys)
    left = sorted(path.name for path in files.iterdir())
    assert left == ["data.npz", "net.weights.h5"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "resnet50v2_keras", "darknet53"])
def test_deep_networks_are_equal(name):
    # In float32 rounding alone passes a millionth here.
    model = keras_resnets.create_model(name, input_shape=(64, 64, 3))
    assert tfmot.rebuilt_apart(randomize(model)) <= 1e-6


@pytest.mark.slow
def test_the_other_commands(files, capsys):
    words = (*WORDS, "--engine", "tfmot", "--batch-size", 20, "--evaluate", "data.npz")
    code, out, err = run("prune", *words, "--sparsity", 0.5, capsys=capsys)
    assert code == 0, err
    assert "fine-tuned" not in out and "50.0%" in out
    # A random network of raw pixels is soon driven out of its ranges.
    slowly = ("--count", 20, "--learning-rate", 1e-6)
    code, out, err = run("qat", *words, *slowly, capsys=capsys)
    assert code == 0, err
    assert "measured     20 images: top-1" in out
    assert (files / "resnet8_static_wi8_ai8_qat.tflite").exists()
    refused_preact = ("qat", "resnet20v2", "--weights", "v2.weights.h5")
    randomize(keras_resnets.create_model("resnet20v2")).save_weights("v2.weights.h5")
    message = refused(
        *refused_preact, *words[3:], "--output", "v2.tflite", capsys=capsys
    )
    assert "without --engine tfmot" in message


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["dilated", "grouped", "shortcut_d", "darknet", "bottleneck_original"]
)
def test_quantize_other_kinds(kind, tmp_path, data):
    report = tfmot.tfmot_quantize_aware(
        tiny(kind), tmp_path / "a.tflite", data, calibration=20
    )
    assert report.logits.rmse < 0.2, report
