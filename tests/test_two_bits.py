"""Weights of 2 bits: a recipe, and FULLY_CONNECTED with int2 weights where it says so."""

import keras
import numpy as np
import pytest
from helpers import noise
from helpers import refusal
from helpers import small_model
from integer_files import check_close
from integer_files import integers

from keras_resnets import quantization
from keras_resnets.deploy import option_checks
from keras_resnets.deploy import targets
from keras_resnets.export import passport
from keras_resnets.export import to_tflite
from keras_resnets.export.tflite import file_editor
from keras_resnets.export.tflite import fully_connected
from keras_resnets.export.tflite import int4
from keras_resnets.export.tflite import runner as tflite_runner
from keras_resnets.export.tflite import storage
from keras_resnets.export.tflite import versions
from keras_resnets.quantization.qat.layers import KERNELS
from keras_resnets.quantization.qat.rewrite import rewrite

RECIPE = "static_wi2_ai8"
# Side, channels, and what a convolution of theirs is like.
KINDS = {
    "1x1": (8, 16, {"kernel_size": 1}),
    "3x3 of stride 2": (8, 8, {"kernel_size": 3, "strides": 2, "padding": "same"}),
}


def ternary(content):
    """The same file with weights from -1 to 1."""
    editor = file_editor.Editor(content)
    for op in editor.graph.operators:
        if editor.code(op) in ("CONV_2D", "FULLY_CONNECTED"):
            tensor = editor.graph.tensors[op.inputs[1]]
            values = np.rint(editor.data(op.inputs[1]).view("int8") / 90)
            tensor.buffer = editor.add_buffer(values.clip(-1, 1).astype("int8"))
            tensor.quantization.scale = 90 * np.asarray(tensor.quantization.scale)
    return editor.finished()


@pytest.fixture(params=KINDS)
def content(request, tmp_path):
    """The int8 file of a convolution whose weights are from -1 to 1."""
    side, channels, options = KINDS[request.param]
    keras.utils.set_random_seed(3)
    given = keras.Input((side, side, channels))
    x = keras.layers.Conv2D(12, activation="relu", **options)(given)
    images = noise(12, side, side, channels)
    path = tmp_path / "a.tflite"
    to_tflite(keras.Model(given, x), path, "static_wi8_ai8", images, packed=False)
    return ternary(path.read_bytes())


def test_int2_is_bit_for_bit_what_int8_is(content):
    stored, layers = fully_connected.store(content, "everything", 2)
    assert list(layers.values()) == ["FULLY_CONNECTED int2"]
    (expected,) = integers(content, built_in=True)
    (found,) = integers(stored, built_in=True)
    assert len(np.unique(expected)) > 20
    np.testing.assert_array_equal(found, expected)
    check_close(integers(stored), integers(content))
    assert versions.needed(stored) == "2.21.0"


def test_only_a_recipe_of_2_bits_is_stored_in_2(content):
    """A pruned kernel of 4 bits may be from -1 to 1: old runtimes must read it."""
    stored, layers = fully_connected.store(content, "everything")
    assert list(layers.values()) == ["FULLY_CONNECTED int4"]
    assert versions.needed(stored) == "2.19.0"


def test_latency_takes_no_int2(content):
    _, layers = fully_connected.store(content, "latency", 2)
    assert "FULLY_CONNECTED int2" not in layers.values()


def test_quarters_are_read_back():
    values = np.array([-2, -1, 0, 1] * 3, "int8")
    packed = int4.quarters(values)
    parts = (packed[:, None] >> np.array([0, 2, 4, 6])) & 3
    np.testing.assert_array_equal((parts.ravel() ^ 2).astype("int8") - 2, values)


def test_inner_kernels_have_2_bits_and_the_ends_8():
    model = small_model("basic_original", input_shape=(16, 16, 3))
    rewritten = rewrite(model, quantization.RECIPES[RECIPE])
    bits = [x.weight_bits for x in rewritten.layers if isinstance(x, KERNELS)]
    assert bits[0] == bits[-1] == 8 and len(bits) > 3
    assert set(bits[1:-1]) == {2}


@pytest.mark.costly
def test_file(tmp_path):
    """The ends in 8 bits, all else in 2 where bytes count, and in 4 where time does."""
    keras.utils.set_random_seed(3)
    given = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(32, 3, strides=2, activation="relu")(given)
    for _ in range(2):
        x = keras.layers.Conv2D(128, 1, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(given, keras.layers.Dense(4)(x))
    images, kept = noise(24, 16, 16, 3), {}
    for prefer in storage.PREFERENCES:
        path = tmp_path / f"{prefer}.tflite"
        quantization.quantize(model, path, RECIPE, images, prefer=prefer)
        kept[prefer] = passport.read(path)["recipe"]
        with tflite_runner.opened(path) as opened:
            kept[prefer]["release"] = versions.needed(opened)
    small, fast = kept["size"], kept["latency"]
    assert (small["weight_bits"], small["end_bits"]) == (2, 8)
    words = set(small["storage"]["layers"].values())
    assert "FULLY_CONNECTED int2" in words and small["release"] == "2.21.0"
    assert "FULLY_CONNECTED int2" not in fast["storage"]["layers"].values()


def test_targets_refuse_it():
    """No row has been run with int2; deploy names what the row takes."""
    for row in targets.TARGETS.values():
        refusal(
            lambda row=row: option_checks.check_recipe(row, RECIPE), row.name, RECIPE
        )


def test_plan_with_2_bits_is_read_back():
    layers = {"stage1_block1_conv1": quantization.LayerBits(2, 8)}
    plan = quantization.PrecisionPlan("static_wi8_ai8", layers)
    assert quantization.PrecisionPlan.from_json(plan.to_json()) == plan
    assert plan.stored(prefer="size").fewest_bits == 2
    assert quantization.PrecisionPlan.of("static_wi4_ai8").stored().fewest_bits == 4
