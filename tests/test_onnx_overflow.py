"""int8 files on processors where the kernels of ONNX Runtime overflow by default."""

import re
import warnings

import onnxruntime
import pytest
import zoo
from commands import run
from helpers import noise
from onnxruntime import quantization

from keras_resnets.cli.printing import output
from keras_resnets.errors import TrainingNote
from keras_resnets.export import to_onnx
from keras_resnets.export.compare import isolated
from keras_resnets.export.onnx import overflow

IMAGES = noise(12, *zoo.SHAPE)


@pytest.fixture
def is_old(monkeypatch):
    """As on an x86 processor without VNNI."""
    monkeypatch.setattr(overflow, "overflows", lambda: True)


def quantized(folder, name="swish", **options):
    path = folder / "net.onnx"
    return to_onnx(
        zoo.seeded(name), path, "static_wi8_ai8", calibration=IMAGES, **options
    )


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", ["swish", "hard_sigmoids"])
def test_files_are_run_exactly_on_every_processor(name, full, tmp_path):
    # By default they had 19 and 18 dB on a processor without VNNI.
    assert quantized(tmp_path, name, full_range=full).logits.sqnr > 35


@pytest.mark.parametrize(
    ("options", "warns"),
    [
        ({}, False),
        ({"full_range": True}, True),
        ({"reduce_range": True}, False),
        ({"symmetric": True}, False),
        ({"symmetric": True, "full_range": True}, True),
    ],
    ids=["default", "full_range", "reduce_range", "symmetric", "both"],
)
def test_only_files_that_may_overflow_warn(options, warns, is_old, tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = quantized(tmp_path, **options)
    assert overflow.concerns(report.path.read_bytes()) == warns
    assert overflow.concerns(report.path) == warns
    found = [x for x in caught if x.category is overflow.Overflow]
    assert bool(found) == warns
    for warning in found:
        assert "=".join(overflow.EXACT) in str(warning.message)
        assert "without full_range" in str(warning.message)


@pytest.mark.parametrize(
    ("form", "activations", "weights", "is_concerned"),
    [
        ("QDQ", "QInt8", "QInt8", True),
        ("QDQ", "QUInt8", "QInt8", True),
        ("QDQ", "QUInt8", "QUInt8", False),
        ("QDQ", "QInt16", "QInt8", False),
        ("QOperator", "QUInt8", "QInt8", True),
        ("QOperator", "QUInt8", "QUInt8", False),
        (None, None, "QInt8", True),
        (None, None, "QUInt8", False),
    ],
)
def test_files_of_the_runtimes_own_quantizer(
    form, activations, weights, is_concerned, tmp_path
):
    """Static ones (its default is int8 twice), with integer operators, and dynamic ones."""
    model = zoo.seeded("swish")
    source, path = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    to_onnx(model, source)
    kinds = quantization.QuantType
    if form is None:
        quantization.quantize_dynamic(source, path, weight_type=kinds[weights])
    else:
        name = onnxruntime.InferenceSession(source).get_inputs()[0].name
        quantization.quantize_static(
            source,
            path,
            Reader({name: image[None]} for image in IMAGES),
            quant_format=quantization.QuantFormat[form],
            activation_type=kinds[activations],
            weight_type=kinds[weights],
        )
    assert overflow.may_overflow(path) == is_concerned
    assert overflow.may_overflow(path.read_bytes()) == is_concerned


class Reader(quantization.CalibrationDataReader):
    """Images for the runtime's quantizer."""

    def __init__(self, feeds):
        self._feeds = iter(feeds)

    def get_next(self):
        return next(self._feeds, None)


def test_float_files_do_not_warn(is_old, tmp_path):
    report = to_onnx(zoo.seeded("swish"), tmp_path / "net.onnx")
    assert not overflow.concerns(report.path)
    assert not overflow.concerns(report.path.read_bytes())


def test_the_command_prints_a_note(is_old, photos, tmp_path, capsys):
    words = ["export", "onnx", "resnet8", "--recipe", "static_wi8_ai8"]
    words += ["--calibration", photos, "--output", tmp_path / "net.onnx"]
    for options, notes in (((), 0), (("--full-range", "--overwrite"), 1)):
        code, out, _ = run(*words, *options, capsys=capsys)
        assert code == 0
        found = re.findall("^note: .*session.x64quantprecision=1", out, re.M)
        assert len(found) == notes


@pytest.mark.parametrize("answer", [True, False])
def test_a_file_in_its_own_process_warns_here(answer, monkeypatch, tmp_path):
    report = quantized(tmp_path, full_range=True)
    # As the other process answers on such a processor, whatever this one is.
    monkeypatch.setattr(
        isolated._Apart,
        "_answer",
        lambda self, seconds: (
            dict.fromkeys(isolated._FACTS, ()) | {"overflows": answer}
        ),
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        isolated.open_apart(report.path)
    assert [x.category for x in caught].count(overflow.Overflow) == answer


def test_own_warnings_are_notes_and_others_are_warnings(capsys):
    with pytest.warns(UserWarning, match="of a library") as caught:
        with output.warnings_as_notes():
            for _ in range(2):
                warnings.warn("of this package", TrainingNote, stacklevel=1)
            warnings.warn("of a library", UserWarning, stacklevel=1)
    assert [str(x.message) for x in caught] == ["of a library"]
    assert capsys.readouterr().out == "note: of this package\n"
