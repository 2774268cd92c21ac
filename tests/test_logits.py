"""Logits of files: measured in front of the softmax, or not told at all."""

import json

import keras
import numpy as np
import pytest
from hardened import harden_by
from helpers import ONE_UNIT
from helpers import noise
from helpers import small_model
from quantized import cifar

import keras_resnets
from keras_resnets import ExportError
from keras_resnets import InvalidArgument
from keras_resnets import quantization
from keras_resnets.cli.printing import reports
from keras_resnets.cli.printing import tables
from keras_resnets.export import parity
from keras_resnets.export import random_weights
from keras_resnets.export import signature
from keras_resnets.export import to_keras
from keras_resnets.export import to_onnx
from keras_resnets.export import to_saved_model
from keras_resnets.export import to_tflite
from keras_resnets.export.compare import open_runner as runners
from keras_resnets.export.compare.verify import verify
from keras_resnets.export.keras import runner as keras_runner
from keras_resnets.images.calibration import CalibrationSet
from keras_resnets.images.evaluation import Labelled
from keras_resnets.quantization import accuracy

SHAPE = (32, 32, 3)


@pytest.fixture(scope="module")
def images():
    return noise(12, *SHAPE)


@pytest.fixture(scope="module")
def body(images):
    """A small network that ends in logits."""
    keras.utils.set_random_seed(7)
    options = {"input_shape": SHAPE, "axes": ONE_UNIT, "classifier_activation": None}
    model = small_model("basic_original", **options)
    random_weights.settle(model, images)
    return model


def softmax(logits):
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def check_sqnr(report, measured):
    """Above 120 dB float32 rounds, which varies with the processor."""
    told, own = (min(x.sqnr, 120) for x in (report.logits, measured))
    assert told == pytest.approx(own, abs=3)


def check(report, model, images, squash=softmax, step=1e-6):
    """The logits were read in front of the softmax, and are those of the report."""
    runner = runners.open_runner(report.path)
    tapped = runners.open_runner(report.path, logits=True)
    logits = tapped(images)
    assert len(tapped.tapped) == 1 and logits.min() < -0.01
    np.testing.assert_allclose(squash(logits), runner(images), atol=step)
    expected = keras.Model(model.inputs, signature.logits_of(model)).predict(
        images, verbose=0
    )
    found = parity.compare(expected, logits)
    check_sqnr(report, found)
    known = json.loads(report.path.with_name(f"{report.path.name}.json").read_text())
    assert known["parity"]["logits"]["cosine"] == report.logits.cosine


FILES = {
    "tflite none": (to_tflite, {}, 1e-6),
    "tflite float16": (to_tflite, {"quantize": "float16"}, 1e-6),
    "tflite dynamic": (to_tflite, {"quantize": "dynamic"}, 1e-6),
    "tflite int16x8": (to_tflite, {"quantize": "int16x8"}, 1e-3),
    "tflite int8": (to_tflite, {"quantize": "int8"}, 1 / 255),
    "tflite uint8": (to_tflite, {"quantize": "int8", "io_dtype": "uint8"}, 1 / 255),
    "tflite float32": (to_tflite, {"quantize": "int8", "io_dtype": "float32"}, 1 / 255),
    "tflite per tensor, not packed": (
        to_tflite,
        {"quantize": "int8", "io_dtype": "uint8", "per_tensor": True, "packed": False},
        1 / 255,
    ),
    "ranges uint8": (quantization.quantize, {"io_dtype": "uint8"}, 1 / 255),
    "ranges int4 uint8": (
        quantization.quantize,
        {"recipe": "static_wi4_ai8", "io_dtype": "uint8", "storage": "conv_int4"},
        1 / 255,
    ),
    "onnx none": (to_onnx, {"layout": "nchw"}, 1e-6),
    "onnx float16": (to_onnx, {"quantize": "float16"}, 1e-3),
    "onnx int8": (to_onnx, {"quantize": "int8"}, 1e-6),
    "keras": (to_keras, {}, 1e-6),
}


def write(name, model, folder, images):
    """(report, largest error of a probability) of a file of `FILES`."""
    exporter, options, step = FILES[name]
    calibrated = options.get("quantize") in ("int8", "int16x8")
    if calibrated or exporter is quantization.quantize:
        options = {**options, "calibration": images}
    path = folder / f"a.{name.split()[0].replace('ranges', 'tflite')}"
    return exporter(model, path, images=images, overwrite=True, **options), step


@pytest.mark.costly_but("tflite none", "ranges uint8", "onnx int8")
@pytest.mark.parametrize("name", FILES)
def test_every_format_is_read_in_front_of_its_softmax(name, body, images, tmp_path):
    model = keras.Model(body.inputs, keras.layers.Softmax()(body.output))
    report, step = write(name, model, tmp_path, images)
    check(report, model, images, step=step)


@pytest.mark.parametrize("name", ["tflite uint8", "onnx float16", "keras"])
def test_a_sigmoid_head(name, body, images, tmp_path):
    head = keras.layers.Activation("sigmoid")(body.output)
    model = keras.Model(body.inputs, head)
    report, step = write(name, model, tmp_path, images)
    check(report, model, images, sigmoid, step)


def heads(body):
    """The same softmax, where it is easily missed."""
    import tensorflow as tf

    dense, given = body.layers[-1], body.layers[-1].input
    yield body.inputs[0], inner_softmax(body)(body.inputs[0])
    yield body.inputs[0], keras.layers.Flatten()(keras.layers.Softmax()(body.output))
    for activation in (tf.nn.softmax, keras.layers.Softmax()):
        own = keras.layers.Dense(10, activation=activation)
        made = own(given)
        own.set_weights(dense.get_weights())
        yield body.inputs[0], made


def inner_softmax(body):
    return keras.Model(body.inputs, keras.layers.Softmax()(body.output))


@pytest.mark.costly
def test_softmaxes_that_are_easily_missed(body, images, tmp_path):
    for index, ends_of in enumerate(heads(body)):
        model = keras.Model(*ends_of)
        assert list(signature.outputs(model)) == ["predictions"]
        (tmp_path / f"{index}").mkdir()
        report, step = write("tflite uint8", model, tmp_path / f"{index}", images)
        check(report, model, images, step=step)


@pytest.mark.costly
def test_each_of_several_outputs(body, images, tmp_path):
    """Probabilities, logits and a feature map: each by what it is."""
    logits = body.output
    made = {
        "likely": keras.layers.Softmax()(logits),
        "scores": logits,
        "map": body.get_layer("stage1_block1_out").output,
        "each": keras.layers.Activation("sigmoid")(keras.layers.Dense(3)(logits)),
    }
    model = keras.Model(body.inputs, made)
    for name in ("tflite none", "tflite uint8", "onnx float16", "keras"):
        report, _ = write(name, model, tmp_path, images)
        tapped = runners.open_runner(report.path, logits=True)
        assert set(tapped.tapped) == {"likely", "each"}
        found, own = tapped(images), runners.open_runner(report.path)(images)
        assert set(found) == set(own) == set(made)
        np.testing.assert_allclose(softmax(found["likely"]), own["likely"], atol=4e-3)
        np.testing.assert_allclose(sigmoid(found["each"]), own["each"], atol=4e-3)
        np.testing.assert_array_equal(found["map"], own["map"])
        reference = keras_runner.KerasRunner(model)(images)[1]
        apart = parity.compare(reference, found)
        check_sqnr(report, apart)
    report = to_saved_model(model, tmp_path / "saved")
    assert report.logits is None and report.outputs.max_error <= 1e-4


def test_what_cannot_be_read_is_not_told(body, images, tmp_path):
    model = inner_softmax(body)
    report = to_saved_model(model, tmp_path / "a")
    assert report.logits is None and report.outputs.max_error <= 1e-5
    known = json.loads((tmp_path / "a.json").read_text())
    assert known["parity"]["logits"] is None
    assert "logits     not measured" in reports.export_report(report, "noise")
    # Outputs that are logits are measured as such.
    report = to_saved_model(model, tmp_path / "b", logits=True)
    assert report.logits == report.outputs


@keras.saving.register_keras_serializable(package="test_logits")
class Certain(keras.layers.Layer):
    """A softmax that nobody knows for one."""

    def call(self, inputs):
        return keras.ops.softmax(inputs)


@pytest.mark.costly
def test_a_softmax_inside_an_unknown_layer(body, images, tmp_path):
    model = keras.Model(body.inputs, Certain()(body.output))
    assert to_tflite(model, tmp_path / "a.tflite").logits is None
    for name in ("tflite uint8", "tflite dynamic", "onnx float16"):
        with pytest.raises(ExportError, match="cannot be read in this one: end the"):
            write(name, model, tmp_path, images)


@pytest.mark.costly
def test_a_file_that_int8_refuses_is_refused_as_uint8(tmp_path, shared_data):
    """Probabilities of easy images hide what the logits lost: 48 dB for 8."""
    model = keras_resnets.create_model(
        "resnet20", weights="keras_resnets_cifar10_plain"
    )
    harden_by(model, 1)
    x = model.preprocessing.normalize(cifar(shared_data)[0][:40], "channels_last")
    for io_dtype in ("int8", "uint8", "float32"):
        with pytest.raises(ExportError, match=r"SQNR 8\.\d dB"):
            quantization.quantize(
                model,
                tmp_path / "a.tflite",
                "static_wi8_ai8_per_tensor",
                CalibrationSet(x, "x"),
                x,
                engine="converter",
                io_dtype=io_dtype,
            )
    assert not list(tmp_path.iterdir())


def test_figures_of_a_file_of_logits(body, images, tmp_path):
    """They are compared with the model's logits, not with its probabilities."""
    model = inner_softmax(body)
    to_tflite(model, tmp_path / "a.tflite", "int8", images, logits=True)
    data = Labelled(np.zeros(len(images), int), lambda size: iter([images]))
    assert accuracy.compare(model, tmp_path / "a.tflite", data).rmse < 0.1


@pytest.mark.costly
def test_verify_says_what_it_compares(body, images, tmp_path):
    model = inner_softmax(body)
    for logits in (False, True):
        name = "logits" if logits else "softmax"
        to_tflite(model, tmp_path / f"{name}.tflite", logits=logits)
        to_saved_model(model, tmp_path / name, logits=logits)
    for first in ("softmax.tflite", "softmax"):
        for second in ("logits.tflite", "logits"):
            with pytest.raises(InvalidArgument, match="outputs probabilities, .* logi"):
                verify(tmp_path / first, tmp_path / second, [images])
    found = verify(tmp_path / "softmax.tflite", tmp_path / "softmax", [images])
    assert found.logits is None and found.probabilities == found.outputs
    found = verify(tmp_path / "logits.tflite", tmp_path / "logits", [images])
    assert found.logits == found.outputs and found.probabilities is None


def test_inspect_calls_features_features(body, tmp_path):
    """What a passport has under "logits" are the figures of whatever comes out."""
    files = {
        "logits by": to_onnx(body, tmp_path / "a.onnx").path,
        "features by": to_onnx(
            body, tmp_path / "b.onnx", features=["stage1", "stage2"]
        ).path,
    }
    for words, path in files.items():
        known = json.loads(path.with_name(f"{path.name}.json").read_text())
        (line,) = [
            line
            for line in tables.passport_text(known).splitlines()
            if line.startswith("parity")
        ]
        assert words in line and line.count(" by ") == 2
    for ports in (None, "a", [None, {}], [{"name": ["logits"]}]):
        assert " by " in tables.passport_text({**known, "outputs": ports})
