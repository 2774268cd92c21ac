"""Channels whose kernel is 0 and whose bias is not: int8 files keep the bias."""

import keras
import numpy as np
import pytest
from quantized import cifar
from quantized import logits_of

import keras_resnets
from keras_resnets import quantization
from keras_resnets.export import parity
from keras_resnets.export.tflite import file_editor
from keras_resnets.export.tflite.runner import TFLiteRunner
from keras_resnets.quantization.backends import mixed_file


@pytest.fixture(scope="module")
def network(shared_data):
    """ResNet-20 with one channel a stage switched off, real images, its logits."""
    model = keras_resnets.create_model("resnet20", weights="cifar10")
    for stage in (1, 2, 3):
        norm = model.get_layer(f"stage{stage}_block2_bn1")
        for variable, value in ((norm.gamma, 0.0), (norm.beta, 0.8)):
            values = keras.ops.convert_to_numpy(variable).copy()
            values[3 + stage] = value
            variable.assign(values)
    x = model.preprocessing.normalize(cifar(shared_data)[0][:100], "channels_last")
    return model, x, logits_of(model).predict(x, verbose=0)


def sqnr(path, x, logits):
    return parity.compare(logits, TFLiteRunner(path, 2, True)(x)).sqnr


def largest_bias(path):
    """The largest int32 that a bias of the file is."""
    editor = file_editor.Editor(path.read_bytes())
    kind = editor.schema.TensorType.INT32
    held = [
        editor.data(index)
        for index, tensor in enumerate(editor.graph.tensors)
        if tensor.type == kind
        and getattr(tensor.quantization, "scale", None) is not None
    ]
    return max(int(np.abs(x.view("int32").astype("int64")).max()) for x in held)


@pytest.mark.costly
@pytest.mark.parametrize(
    "recipe, least",
    [("static_wi8_ai8", 26), ("static_wi4_ai8", 14.5)],
)
def test_after_training(recipe, least, network, tmp_path):
    """The converter's own file has 28.2 dB; with biases cut off it was 15.2 (12.8)."""
    model, x, logits = network
    report = quantization.quantize(model, tmp_path / "a.tflite", recipe, x[:50])
    assert sqnr(report.path, x, logits) > least
    assert 2**28 < largest_bias(report.path) < 2**30 * 1.001


@pytest.mark.costly
def test_quantization_aware(network, tmp_path):
    model, x, logits = network
    aware = quantization.quantize_aware(model, "static_wi8_ai8", x[:50])
    report = quantization.to_tflite(aware, tmp_path / "a.tflite", x[:4])
    assert report.logits.sqnr > 26 and sqnr(report.path, x, logits) > 26


@pytest.mark.costly
def test_in_a_mix(network):
    """int16 and float layers next to the dead channels."""
    from quantized import rounded_model

    model, x, logits = network
    _, _, graph, content = rounded_model(model, x[:50], "static_wi8_ai8")
    whole = parity.compare(logits, TFLiteRunner(content, 2, True)(x)).sqnr
    assert whole > 20
    names = [operator.name for operator in graph.operators]
    for precision in ("int16", "float"):
        plan = dict.fromkeys(names[::2], precision)
        mixed = mixed_file.mix(content, graph, plan)
        found = parity.compare(logits, TFLiteRunner(mixed, 2, True)(x)).sqnr
        assert found > whole - 0.5, precision
