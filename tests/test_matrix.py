"""Every variant in every format: what the file says, and what it computes with.

By default on small relatives of the same block kinds: one of each family in all formats,
the others in the five that differ most. `-m slow` the rest, and the variants themselves.
"""

import pytest
from helpers import NETWORKS
from helpers import check_onnx
from helpers import check_onnx_integers
from helpers import check_tflite
from helpers import noise
from helpers import small_model

import keras_resnets
from keras_resnets.export import random_weights
from keras_resnets.export import to_keras
from keras_resnets.export import to_onnx
from keras_resnets.export import to_saved_model
from keras_resnets.export import to_tflite
from keras_resnets.networks.architecture import ACTIVATIONS

# (exporter, end of the file's name, quantize)
FORMATS = {
    "saved_model": (to_saved_model, "", None),
    "keras": (to_keras, ".keras", None),
    **{
        f"tflite_{kind}": (to_tflite, ".tflite", kind)
        for kind in ("none", "float16", "dynamic", "int8", "int16x8")
    },
    **{
        f"onnx_{kind}": (to_onnx, ".onnx", kind) for kind in ("none", "float16", "int8")
    },
}


def check_saved_model(model, report):
    # It cannot be read in front of its softmax.
    assert report.outputs.max_error <= 1e-5 and report.logits is None
    assert not any("SpaceToBatch" in name for name in report.operators)


def check_float(model, report):
    assert report.outputs.max_error <= 1e-5
    assert report.logits.relative_error <= 1e-4


def check_half(model, report):
    assert 0 < report.logits.relative_error <= 1e-2


def check_dynamic(model, report):
    assert report.logits.relative_error > 1e-5 and report.logits.sqnr > 15


def check_integers(model, report):
    assert report.logits.relative_error > 1e-4 and report.logits.sqnr > 10
    operators = report.operators
    if report.format == "onnx":
        assert report.logits.sqnr > 20
        check_onnx_integers(report)
    elif report.quantize == "int8":
        # Integer in and integer out: nothing is taken back to float.
        assert "DEQUANTIZE" not in operators
    else:
        assert operators["DEQUANTIZE"] == 1


CHECKS = {
    "saved_model": check_saved_model,
    "keras": check_float,
    "tflite_none": check_float,
    "onnx_none": check_float,
    "tflite_float16": check_half,
    "onnx_float16": check_half,
    "tflite_dynamic": check_dynamic,
    "tflite_int8": check_integers,
    "tflite_int16x8": check_integers,
    "onnx_int8": check_integers,
}


# The other formats store the same in another way.
FIRST = ("saved_model", "tflite_none", "tflite_int8", "onnx_none", "onnx_int8")

ONE_OF_EACH_FAMILY = (
    "resnet34 shortcut A",
    "resnet50v2",
    "resnet50d",
    "resnext50_32x4d",
    "darknet53",
    "drn_a_50",
    "wrn_16_4",
)


def export(model, form, pictures, folder):
    """Writes one format, and looks at the file."""
    write, ending, quantize = FORMATS[form]
    options = {"images": pictures[:2]}
    if quantize is not None:
        options |= {"quantize": quantize, "calibration": pictures}
    report = write(model, folder / f"{form}{ending}", **options)
    CHECKS[form](model, report)
    if form == "tflite_none":
        check_tflite(model, report)
    elif form == "onnx_none":
        check_onnx(model, report)


def check_relative(network, forms, folder):
    kind = NETWORKS[network][2]
    # Two units and one: shortcuts of both kinds, and no more of them.
    model = small_model(kind, input_shape=(33, 33, 3), axes={"depths": (2, 1)})
    pictures = noise(6, 33, 33, 3)
    random_weights.settle(model, pictures)
    for form in forms:
        export(model, form, pictures, folder)


@pytest.mark.costly_but("resnet34 shortcut A")
@pytest.mark.parametrize("network", NETWORKS)
def test_relatives(network, tmp_path):
    forms = FORMATS if network in ONE_OF_EACH_FAMILY else FIRST
    check_relative(network, forms, tmp_path)


@pytest.mark.costly
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation, tmp_path):
    """TensorFlow's swish has a gradient of its own; GELU's operator has none in ONNX."""
    axes = {"depths": (2, 1), "activation": activation}
    model = small_model("basic_original", input_shape=(33, 33, 3), axes=axes)
    pictures = noise(3, 33, 33, 3)
    for form in ("saved_model", "keras", "tflite_none", "onnx_none"):
        write, ending, _ = FORMATS[form]
        report = write(model, tmp_path / f"{form}{ending}", images=pictures)
        CHECKS[form](model, report)


@pytest.mark.slow
@pytest.mark.parametrize("network", sorted(set(NETWORKS) - set(ONE_OF_EACH_FAMILY)))
def test_relatives_in_the_other_formats(network, tmp_path):
    check_relative(network, sorted(set(FORMATS) - set(FIRST)), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_variants(network, tmp_path):
    name, axes, _ = NETWORKS[network]
    model = keras_resnets.create_model(name, **axes)
    pictures = noise(4, *model.input_shape[1:])
    random_weights.settle(model, pictures)
    for form in FORMATS:
        export(model, form, pictures, tmp_path)
