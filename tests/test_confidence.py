"""Probabilities as sure as they are right: temperature, error, threshold, in every file."""

import dataclasses
import json
import types

import keras
import numpy as np
import pytest
from commands import refused
from commands import run
from helpers import noise
from helpers import small_model

import keras_resnets
from keras_resnets import InvalidArgument
from keras_resnets.export import passport
from keras_resnets.export.keras import to_keras
from keras_resnets.export.tflite import to_tflite
from keras_resnets.graph import temperature
from keras_resnets.images import confidence
from keras_resnets.images.preprocessing import Preprocessing


def sampled(count=4000, classes=5, factor=2.5, seed=0):
    """Logits that are `factor` times what their labels were drawn by."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(count, classes)) * 2
    noise = rng.gumbel(size=true.shape)
    return true * factor, (true + noise).argmax(1)


def test_the_temperature_is_found_and_the_error_goes():
    logits, labels = sampled()
    found = confidence.calibrate(logits, labels, 0.1)
    assert found.temperature == pytest.approx(2.5, rel=0.05)
    assert found.ece_before > 0.1 and found.ece < 0.02
    assert found.count == 4000
    sure = confidence.softmax(logits, found.temperature).max(1)
    assert (sure < found.threshold).mean() == pytest.approx(0.1, abs=1e-3)
    losses = [
        confidence.negative_log_likelihood(logits, labels, found.temperature * factor)
        for factor in (0.98, 1, 1.02)
    ]
    assert losses[1] == min(losses)


def test_no_image_is_judged_by_a_temperature_that_saw_it():
    """A label that is changed changes the other half's probabilities, not its own."""
    logits, labels = sampled(200)
    before = confidence.cross_fitted(logits, labels)
    labels[7] = (labels[7] + 1) % 5
    changed = (confidence.cross_fitted(logits, labels) != before).any(axis=1)
    assert not changed[7] and changed.sum() == 100


def test_the_error_is_that_of_the_paper():
    answers = np.array([[0.95, 0.05]] * 4 + [[0.3, 0.7]] * 2)
    labels = np.array([0, 0, 0, 1, 1, 0])
    wanted = (4 * abs(0.75 - 0.95) + 2 * abs(0.5 - 0.7)) / 6
    assert confidence.expected_calibration_error(answers, labels) == pytest.approx(
        wanted
    )
    sums = confidence.Reliability()
    for start in (0, 3):
        sums.add(answers[start : start + 3], labels[start : start + 3])
    assert sums.ece == pytest.approx(wanted)
    assert [row[2] for row in sums.rows()] == [2, 4]


def test_what_cannot_be_is_refused():
    with pytest.raises(InvalidArgument, match="one label per row"):
        confidence.fit_temperature(np.zeros((3, 4)), np.zeros(2, int))
    with pytest.raises(InvalidArgument, match=r"\[0, 1\)"):
        confidence.rejection_threshold(np.ones((2, 2)), 1.0)
    model = small_model("shortcut_a", include_top=False)
    with pytest.raises(InvalidArgument, match="does not"):
        temperature.scale_logits(model, 2.0)
    many = small_model("shortcut_a", classifier_activation="sigmoid")
    with pytest.raises(InvalidArgument, match="does not"):
        temperature.scale_logits(many, 2.0)
    with pytest.raises(InvalidArgument, match="above 0"):
        temperature.scale_logits(many, 0.0)


@pytest.mark.parametrize("kind", ["shortcut_a", "darknet_plain"])
def test_a_temperature_divides_the_logits(kind):
    model, images = small_model(kind, classifier_activation=None), noise(2, 16, 16, 3)
    before, layers = model.predict_on_batch(images), len(model.layers)
    temperature.scale_logits(model, 1.7)
    after = model.predict_on_batch(images)
    np.testing.assert_allclose(after * 1.7, before, rtol=1e-4, atol=1e-4)
    assert len(model.layers) == layers


FOUND = confidence.Confidence(2.0, 0.4, 0.05, 0.08, 0.01, 100)


@pytest.mark.costly
@pytest.mark.parametrize("name", ["net.safetensors", "net.weights.h5"])
def test_weights_tell_it_and_a_new_head_does_not(name, tmp_path):
    from keras_resnets.weights import open_source
    from keras_resnets.weights import saving

    model = keras_resnets.create_model("resnet14d", weights="cifar10")
    source = open_source("cifar10", "resnet14d")
    assert not hasattr(model, "confidence")
    temperature.calibrated(model, FOUND)
    saving.save(model, tmp_path / name, source, model.architecture)
    again = keras_resnets.create_model("resnet14d", weights=tmp_path / name)
    assert again.confidence == model.confidence and again.confidence["temperature"] == 2
    images = noise(1, 32, 32, 3)
    np.testing.assert_allclose(
        again.predict_on_batch(images), model.predict_on_batch(images), atol=1e-6
    )
    assert not hasattr(keras_resnets.replace_head(again, 10), "confidence")


@pytest.mark.costly
def test_files_have_it_in_their_weights_and_passport(tmp_path):
    model = keras_resnets.create_model("resnet20", weights="cifar10")
    plain = to_tflite(model, tmp_path / "plain.tflite")
    temperature.calibrated(model, FOUND)
    report = to_tflite(model, tmp_path / "a.tflite")
    assert report.operators == plain.operators
    assert passport.read(report.path)["confidence"]["threshold"] == 0.4
    assert passport.read(plain.path)["confidence"] is None


@pytest.mark.costly
def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (60, 32, 32, 3)).astype("uint8")
    np.savez("d.npz", x_test=pixels, y_test=rng.integers(0, 10, 60))
    words = ["calibrate-confidence", "resnet14d", "--weights", "cifar10"]
    words += ["--data", "d.npz", "--output", "c.safetensors"]
    code, out, err = run(*words, "--json", capsys=capsys)
    assert code == 0, err
    assert json.loads(out)["confidence"]["temperature"] > 1.5
    again = [*words, "--overwrite"]
    again[again.index("cifar10")] = "c.safetensors"
    assert "already" in refused(*again, capsys=capsys)
    code, out, err = run(
        *("evaluate", "resnet14d", "--weights", "c.safetensors", "--data", "d.npz"),
        capsys=capsys,
    )
    assert code == 0 and "ECE" in out, err


def test_the_command_takes_a_network_that_is_no_variant(tmp_path, monkeypatch, capsys):
    """Its default output is a `.keras` file; names for `.safetensors` it has none."""
    monkeypatch.chdir(tmp_path)
    image = keras.Input((16, 16, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))
    model = keras.Model(image, keras.layers.Dense(3, activation="softmax")(pooled))
    model.preprocessing = Preprocessing(mode="torch", size=(16, 16))
    to_keras(model, "own.keras")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 16, 16, 3)).astype("uint8")
    np.savez("d.npz", x_test=pixels, y_test=rng.integers(0, 3, 40))
    words = ("calibrate-confidence", "own.keras", "--data", "d.npz")
    message = refused(*words, "--output", "c.safetensors", capsys=capsys)
    assert (
        "own.keras is not a variant" in message and "must be a .keras file" in message
    )
    code, out, err = run(*words, capsys=capsys)
    assert code == 0 and "own_calibrated.keras" in out, err


def test_predict_says_none_of_these(monkeypatch, capsys):
    from keras_resnets.cli.commands import predict
    from keras_resnets.cli.printing import output

    kept = []
    monkeypatch.setattr(output, "add", lambda name, facts: kept.append(facts))
    model = types.SimpleNamespace(
        labels=None,
        predict_on_batch=lambda images: images.reshape(1, -1),
        confidence={"threshold": 0.6},
    )
    images = {"sure.jpg": np.array([0.7, 0.3]), "none.jpg": np.array([0.5, 0.5])}
    predict._show(model, images.items())
    out = capsys.readouterr().out
    assert out.count("none of these: the highest is below the threshold of 60.00%") == 1
    assert [facts["is_sure"] for facts in kept] == [True, False]
    model.confidence = None
    predict._show(model, images.items())
    assert "none of these" not in capsys.readouterr().out
    assert kept[-1]["is_sure"] is None


def test_a_passport_that_tells_nothing_is_no_confidence():
    assert confidence.of_record({"threshold": 0.5}) is None
    fields = dataclasses.asdict(FOUND)
    assert confidence.of_record(fields) == fields
    assert confidence.of_record({**fields, "threshold": "0.5"}) is None
