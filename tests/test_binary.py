"""Binary classifiers of anybody's: one output, the probability of the second class."""

import json

import keras
import numpy as np
import pytest
from commands import refused
from commands import run
from PIL import Image

from keras_resnets import Preprocessing
from keras_resnets import deploy
from keras_resnets import export
from keras_resnets import quantization
from keras_resnets.errors import InvalidArgument
from keras_resnets.export import parity
from keras_resnets.export.compare import classifier
from keras_resnets.export.compare import verify
from keras_resnets.export.contents import Contents
from keras_resnets.graph import binary
from keras_resnets.images import binary as columns_of
from keras_resnets.images import evaluation
from keras_resnets.quantization import accuracy

SIDE = 12
LABELS = ("dark", "light")


def network(activation="sigmoid"):
    """Tells dark from light images: its logit is 4 (brightness - 0.5)."""
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(4, 3, activation="relu", kernel_initializer="ones")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    head = keras.layers.Dense(1, activation=activation)
    model = keras.Model(image, head(x), name="light_or_dark")
    head.set_weights([np.full((4, 1), 1 / 27, "float32"), np.float32([-2])])
    model.preprocessing = Preprocessing("raw", (SIDE, SIDE), crop_fraction=1.0)
    return model


def pictures(count=24):
    """Images of noise around levels of grey, and whether they are light."""
    rng = np.random.default_rng(0)
    levels = rng.uniform(20, 235, (count, 1, 1, 1))
    noise = rng.normal(0, 12, (count, SIDE, SIDE, 3))
    pixels = np.clip(levels + noise, 0, 255).astype("uint8")
    # Some labels are wrong, so that no accuracy is 1.
    return pixels, (levels[:, 0, 0, 0] > 140).astype("int64")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The pictures in a sub-folder for each class, and the files of the network."""
    folder = tmp_path_factory.mktemp("binary")
    for index, (image, label) in enumerate(zip(*pictures(), strict=True)):
        place = folder / "photos" / LABELS[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{index}.png")
    network().save(folder / "sigmoid.keras")
    network(None).save(folder / "logit.keras")
    return folder


def probabilities():
    return network().predict(pictures()[0].astype("float32"), verbose=0)


def open_file(path, labels=LABELS):
    return classifier.open_classifier(path, labels=labels)


def test_columns_are_both_classes_and_even_odds_are_the_first():
    both = columns_of.columns(np.float32([[0.5], [0.75]]), False, "x")
    np.testing.assert_array_equal(both, np.float32([[0.5, 0.5], [0.25, 0.75]]))
    assert both.argmax(axis=1).tolist() == [0, 1]
    from_logits = columns_of.columns(np.float32([[0], [np.log(3)], [-200]]), True, "x")
    np.testing.assert_allclose(from_logits[:2], both, rtol=1e-6)
    assert from_logits[2].tolist() == [1, pytest.approx(0, abs=1e-30)]
    with pytest.raises(
        InvalidArgument, match="x outputs 0 to 1.5: end it in a sigmoid"
    ):
        columns_of.columns(np.float32([[0], [1.5]]), False, "x")


@pytest.mark.parametrize("name", ["sigmoid.keras", "logit.keras"])
def test_a_file_is_judged_as_keras_judges_it(name, folder):
    pixels, labels = pictures()
    opened = open_file(folder / name)
    assert opened.output_shape == (None, 2)
    data = evaluation.of_arrays(pixels, labels, opened.preprocessing)
    metric = keras.metrics.BinaryAccuracy()
    metric.update_state(labels[:, None], probabilities())
    top1 = evaluation.evaluate(opened, data).top1
    assert top1 == pytest.approx(float(metric.result())) and 0.5 < top1 < 1
    both = opened.probabilities(pixels.astype("float32"))
    np.testing.assert_allclose(both[:, 1:], probabilities(), atol=1e-6)


def test_predict_and_evaluate_name_both_classes(folder, capsys):
    photo = next((folder / "photos" / "light").iterdir())
    words = ["predict", folder / "sigmoid.keras", photo, "--labels", "dark,light"]
    code, out, err = run(*words, "--json", capsys=capsys)
    assert code == 0, err
    (image,) = json.loads(out)["images"]
    assert [row["label"] for row in image["classes"]] == ["light", "dark"]
    assert sum(row["probability"] for row in image["classes"]) == pytest.approx(1)


@pytest.mark.costly
def test_evaluate_has_a_confusion_matrix_and_ece(folder, tmp_path, capsys):
    report = tmp_path / "a.html"
    words = ["evaluate", folder / "sigmoid.keras", "--data", folder / "photos"]
    code, out, err = run(*words, "--report", report, "--json", capsys=capsys)
    assert code == 0, err
    found = json.loads(out)
    assert found["count"] == 24 and 0 < found["ece"] < 0.5
    assert "Confusion matrix" in report.read_text("utf-8")
    code, out, err = run(*words, capsys=capsys)
    assert "24 images, top-1 " in out and ", ECE " in out and "top-5" not in out


def test_one_output_without_a_sigmoid_needs_two_names(folder, capsys):
    """A regression has one output as well."""
    for labels in (None, ("a", "b", "c")):
        with pytest.raises(InvalidArgument, match="name both with --labels cat,dog"):
            open_file(folder / "logit.keras", labels)
    model = network(None)
    assert not binary.is_binary(model)
    with pytest.raises(
        InvalidArgument, match="deploy requires a classifier; light_or_dark"
    ):
        binary.check(model, "deploy")
    model.labels = LABELS
    assert binary.is_binary(model) and binary.classes(model) == 2


def activation_apart():
    inner = network(None)
    return keras.Model(inner.input, keras.layers.Activation("sigmoid")(inner.output))


def nested():
    image = keras.Input((SIDE, SIDE, 3))
    return keras.Model(image, network()(image))


def logit():
    model = network(None)
    model.labels = LABELS
    return model


@pytest.mark.parametrize("make", [network, activation_apart, nested, logit])
def test_two_outputs_have_the_probabilities_of_one(make):
    model = make()
    model.preprocessing, model.labels = network().preprocessing, LABELS
    result = binary.with_two_outputs(model)
    assert result.output_shape == (None, 2) and result.labels == LABELS
    both = result.predict(pictures()[0].astype("float32"), verbose=0)
    np.testing.assert_allclose(both[:, 1:], probabilities(), atol=1e-6)
    np.testing.assert_allclose(both.sum(axis=1), 1, atol=1e-6)
    assert binary.with_two_outputs(result) is result


def test_agreement_is_that_of_classes():
    first, second = np.float32([[0.4], [0.6], [0.9]]), np.float32([[0.6], [0.7], [0.2]])
    assert parity.compare(first, second, 0.5).top1 == pytest.approx(1 / 3)
    assert parity.compare(first, second, 0.0).top1 == 1


@pytest.mark.costly_but("sigmoid")
@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_int8_file_keeps_the_one_output(activation, folder, tmp_path):
    """Compared, evaluated and verified by class."""
    model = network(activation)
    model.labels = LABELS
    pixels, labels = pictures()
    report = quantization.quantize(
        model, tmp_path / "a.tflite", calibration=pixels.astype("float32")
    )
    opened = classifier.open_classifier(report.path)
    data = evaluation.of_arrays(pixels, labels, model.preprocessing)
    figures = accuracy.compare(model, report.path, data)
    assert figures.agreement >= 0.9 and figures.model_top1 < 1
    assert figures.file_top1 == evaluation.evaluate(opened, data).top1
    assert opened.output_shape == (None, 2) and opened.labels == list(LABELS)
    runner = export.open_runner(report.path)
    assert runner(pixels[:3].astype("float32")).shape == (3, 1)
    name = "sigmoid.keras" if activation else "logit.keras"
    compared = verify.verify(
        folder / name, report.path, [pixels.astype("float32")], labels=labels
    )
    if activation:
        assert compared.accuracies == (figures.model_top1, figures.file_top1)
        assert compared.outputs.top1 == figures.agreement


def test_an_operator_tells_a_sigmoid_in_files_of_others():
    def has_sigmoid(name, form, *operators):
        counts = dict.fromkeys(operators, 1)
        contents = Contents(inputs=(), outputs=(), operators=counts)
        kind = classifier.inspection.Inspection(**vars(contents), format=form, size=1)
        return classifier._has_sigmoid(name, kind)

    assert has_sigmoid("predictions", "tflite") and not has_sigmoid("logits", "keras")
    assert has_sigmoid("Identity", "tflite", "CONV_2D", "LOGISTIC")
    assert not has_sigmoid("Identity", "tflite", "CONV_2D")
    assert has_sigmoid("dense", "onnx", "Sigmoid") and not has_sigmoid("dense", "onnx")


@pytest.mark.costly
def test_deploy_shows_both_classes(tmp_path):
    model = network()
    model.labels = LABELS
    photos = pictures()[0].astype("float32")
    (made,) = deploy.deploy(model, "linux-x86", tmp_path / "out", photos)
    assert made.report["proven"] and made.report["agreement"] >= 0.9
    assert (made.folder / "labels.txt").read_text() == "dark\nlight\n"
    found = classifier.open_classifier(made.folder / made.report["file"])
    outputs = found.predict_on_batch(photos)
    np.testing.assert_allclose(outputs[:, 1:], probabilities(), atol=0.03)


def test_export_evaluates_a_file_of_ones_own(folder, capsys):
    words = ["export", "tflite", "resnet8", "--evaluate", folder / "photos"]
    assert "random weights cannot predict" in refused(*words, capsys=capsys)


@pytest.mark.costly
def test_commands_that_compare_classes_take_one_output(folder, tmp_path, capsys):
    own, photos = folder / "sigmoid.keras", folder / "photos"
    words = ["export", "tflite", own, "--output", tmp_path / "a.tflite"]
    code, out, err = run(*words, "--evaluate", photos, capsys=capsys)
    assert code == 0 and "one output for 2 classes, weights from " in out + err
    assert "agreement 100.00%" in out
    words = ["calibrate-confidence", own, "--data", photos]
    words += ["--output", tmp_path / "a.keras"]
    code, out, err = run(*words, capsys=capsys)
    assert code == 0 and "here it has two" in out + err, err
