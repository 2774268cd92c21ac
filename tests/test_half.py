"""float16 files of networks whose values do not fit into 16 bits are refused by name."""

import numpy as np
import onnx
import pytest
from helpers import small_model
from onnx import numpy_helper

from keras_resnets import ExportError
from keras_resnets.export import to_onnx
from keras_resnets.export import to_tflite

SHAPE = (16, 16, 3)
WRITERS = {"a.onnx": to_onnx, "a.tflite": to_tflite}


def scaled(factor):
    """The same function, one of whose layers puts out `factor` times as much."""
    model = small_model("basic_original", input_shape=SHAPE)
    norm = model.get_layer("stage1_block2_bn1")
    norm.gamma.assign(norm.gamma * factor)
    norm.beta.assign(norm.beta * factor)
    after = model.get_layer("stage1_block2_conv2")
    after.kernel.assign(after.kernel / factor)
    return model


@pytest.mark.costly
@pytest.mark.parametrize("name", WRITERS)
def test_activations(name, tmp_path):
    """The weights fit, and on a processor the file says what the model says."""
    with pytest.raises(
        ExportError, match=r"65,504 in float16; .*stage1_block2_\S+ of .* reaches"
    ):
        WRITERS[name](scaled(40_000), tmp_path / name, "float16")
    assert list(tmp_path.iterdir()) == []
    report = WRITERS[name](scaled(40_000), tmp_path / name)
    assert report.logits.relative_error < 1e-4
    report = WRITERS[name](scaled(1000), tmp_path / f"b{name}", "float16")
    assert report.logits.relative_error < 1e-2


@pytest.mark.parametrize("name", WRITERS)
def test_weights(name, tmp_path):
    model = small_model("basic_original", input_shape=SHAPE)
    dense = model.layers[-1]
    dense.kernel.assign(np.full(dense.kernel.shape, 70_000, "float32"))
    with pytest.raises(
        ExportError, match=r"65,504 in float16; .*predictions.* reaches"
    ):
        WRITERS[name](model, tmp_path / name, "float16")


def test_weights_keep_their_size(tmp_path):
    """ONNX Runtime's tool would cut them at 10,000."""
    model = small_model("basic_original", input_shape=SHAPE)
    kernel = np.array(model.layers[-1].kernel)
    kernel[0, 0] = 20_000
    model.layers[-1].kernel.assign(kernel)
    to_onnx(model, tmp_path / "a.onnx", "float16")
    held = onnx.load(tmp_path / "a.onnx").graph.initializer
    assert max(np.abs(numpy_helper.to_array(t)).max() for t in held) == 20_000
