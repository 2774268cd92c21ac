"""Files say which runtime they need, and need none that is newer than it must be."""

import json

import numpy as np
import pytest
from helpers import noise
from helpers import small_model

from keras_resnets import quantization
from keras_resnets.cli import main as cli
from keras_resnets.export import passport
from keras_resnets.export import to_tflite
from keras_resnets.export.compare import inspection
from keras_resnets.export.compare.open_runner import open_runner
from keras_resnets.export.tflite import int4
from keras_resnets.export.tflite import runner as tflite_runner
from keras_resnets.export.tflite import versions as tflite_versions
from keras_resnets.images.calibration import CalibrationSet

SHAPE = (16, 16, 3)
# Enough for the converter to round the weights of the classifier.
MANY = {"classes": 100}


def stated(path):
    """What the file's own metadata say."""
    content = path.read_bytes()
    _, model = tflite_runner.parse(content)
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        if entry.Name() == b"min_runtime_version":
            data = bytes(model.Buffers(entry.Buffer()).DataAsNumpy())
            return data.rstrip(b"\0").decode()
    raise AssertionError("no metadata")


def versions(path):
    """Versions of the operators of a file, by name."""
    content = path.read_bytes()
    schema, model = tflite_runner.parse(content)
    names = tflite_runner.operator_names(schema)
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    return {
        names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]: code.Version()
        for code in codes
    }


# As TensorFlow's tables have it: the int16 ADD is of 2.4, float16 constants of 1.15.
RELEASES = {
    "none": ("basic_original", "1.6.0"),
    "float16": ("basic_original", "1.15.0"),
    "dynamic": ("basic_original", "2.4.0"),
    "int8": ("basic_original", "1.14.0"),
    "int16x8": ("basic_original", "2.4.0"),
}


@pytest.mark.costly_but("int8")
@pytest.mark.parametrize("quantize", RELEASES)
def test_releases(quantize, tmp_path):
    kind, release = RELEASES[quantize]
    model = small_model(kind, input_shape=SHAPE, axes=MANY)
    images = noise(4, *SHAPE)
    path = tmp_path / "a.tflite"
    to_tflite(model, path, quantize, images)
    assert stated(path) == release
    assert inspection.inspect(path).runtime == release
    facts = json.loads(passport.path_of(path).read_text())
    assert facts["min_runtime_version"] == release


@pytest.mark.costly
def test_groups_and_4_bits(tmp_path, capsys):
    model = small_model("grouped", input_shape=SHAPE)
    to_tflite(model, tmp_path / "groups.tflite")
    assert stated(tmp_path / "groups.tflite") == "2.9.0"
    assert cli.main(["inspect", str(tmp_path / "groups.tflite")]) == 0
    assert "runtime    TFLite 2.9.0 or later" in capsys.readouterr().out
    quantization.quantize(
        model,
        tmp_path / "a.tflite",
        calibration=CalibrationSet(noise(10, *SHAPE), "noise"),
        engine="converter",
    )
    content = coarse((tmp_path / "a.tflite").read_bytes())
    (tmp_path / "b.tflite").write_bytes(int4.store(content)[0])
    # The converter's word is that of the file before it was edited.
    assert stated(tmp_path / "b.tflite") == "2.9.0"
    tflite_versions.stamp(tmp_path / "b.tflite")
    # Its dense layer has one scale a channel: TFLite 2.17 refuses that in 4 bits.
    assert stated(tmp_path / "b.tflite") == "2.19.0"


def coarse(content):
    """The same file with weights from -7 to 7."""
    content = bytearray(content)
    schema, model = tflite_runner.parse(content)
    graph = model.Subgraphs(0)
    for index in range(graph.TensorsLength()):
        tensor = graph.Tensors(index)
        data = model.Buffers(tensor.Buffer()).DataAsNumpy()
        if tensor.Type() == schema.TensorType.INT8 and not isinstance(data, int):
            data[:] = (data.view("int8") // 32).view("uint8")
    return bytes(content)


@pytest.mark.costly
def test_dynamic_files_run_where_dense_layers_have_one_scale(tmp_path):
    model = small_model("basic_original", input_shape=SHAPE, axes=MANY)
    report = to_tflite(model, tmp_path / "a.tflite", "dynamic")
    # Version 12, of one scale a channel, is of TFLite 2.17.
    assert versions(tmp_path / "a.tflite")["FULLY_CONNECTED"] == 9
    assert report.logits.sqnr > 25
    images = noise(3, *SHAPE)
    found = open_runner(tmp_path / "a.tflite")(images)
    expected = model.predict(images)
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))


def test_operators_that_are_in_no_table(tmp_path, monkeypatch):
    model = small_model("basic_original", input_shape=SHAPE)
    monkeypatch.delitem(tflite_versions._RELEASES, "MEAN")
    to_tflite(model, tmp_path / "a.tflite")
    assert inspection.inspect(tmp_path / "a.tflite").runtime == "unknown"
    assert stated(tmp_path / "a.tflite") == ""
