"""Weights of 4 bits in FULLY_CONNECTED: the numbers of int8, at its speed, in half."""

import json
import warnings

import keras
import numpy as np
import pytest
from helpers import ONE_UNIT
from helpers import noise
from helpers import randomize
from helpers import refusal
from helpers import small_model
from integer_files import check_close
from integer_files import integers

from keras_resnets import quantization
from keras_resnets.cli import main as cli
from keras_resnets.export import passport
from keras_resnets.export import to_tflite
from keras_resnets.export.compare import inspection
from keras_resnets.export.tflite import costs
from keras_resnets.export.tflite import file_editor
from keras_resnets.export.tflite import fully_connected
from keras_resnets.export.tflite import runner as tflite_runner
from keras_resnets.export.tflite import storage as storages

# Side, channels, and what a convolution of theirs is like.
KINDS = {
    "1x1": (8, 16, {"kernel_size": 1}),
    "1x1 of stride 2": (8, 16, {"kernel_size": 1, "strides": 2}),
    "1x1 of stride 2, odd": (7, 16, {"kernel_size": 1, "strides": 2}),
    "1x1 of stride 3": (8, 16, {"kernel_size": 1, "strides": 3}),
    "3x3": (7, 8, {"kernel_size": 3, "padding": "same"}),
    "3x3, valid": (7, 8, {"kernel_size": 3}),
    "3x3 of stride 2": (8, 8, {"kernel_size": 3, "strides": 2, "padding": "same"}),
    "3x3 of stride 2, odd": (7, 8, {"kernel_size": 3, "strides": 2, "padding": "same"}),
    "3x3 of stride 2, valid": (8, 8, {"kernel_size": 3, "strides": 2}),
    "3x3, dilated": (9, 8, {"kernel_size": 3, "dilation_rate": 2, "padding": "same"}),
    "5x1": (9, 8, {"kernel_size": (5, 1), "padding": "same"}),
    "1x3 of stride 2": (8, 8, {"kernel_size": (1, 3), "strides": 2}),
    "without bias": (6, 8, {"kernel_size": 3, "use_bias": False}),
}


def coarse(content):
    """The same file with weights from -7 to 7."""
    editor = file_editor.Editor(content)
    for op in editor.graph.operators:
        if editor.code(op) in ("CONV_2D", "FULLY_CONNECTED"):
            tensor = editor.graph.tensors[op.inputs[1]]
            values = editor.data(op.inputs[1]).view("int8") // 17
            tensor.buffer = editor.add_buffer(values.clip(-7, 7))
            tensor.quantization.scale = 17 * np.asarray(tensor.quantization.scale)
    return editor.finished()


def layer(kind, folder, batch=1):
    """The int8 file of one convolution of 4 bits, and what it is stored as."""
    side, channels, options = KINDS[kind]
    keras.utils.set_random_seed(3)
    given = keras.Input((side, side, channels))
    x = keras.layers.Conv2D(12, activation="relu", **options)(given)
    path = folder / "a.tflite"
    images = noise(12, side, side, channels)
    to_tflite(keras.Model(given, x), path, "int8", images, batch=batch, packed=False)
    content = coarse(path.read_bytes())
    stored, layers = fully_connected.store(content, "everything")
    assert list(layers.values()) == ["FULLY_CONNECTED int4"]
    return content, stored


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_bit_for_bit_what_int8_is(kind, tmp_path):
    content, stored = layer(kind, tmp_path)
    names = tflite_runner.operators(stored)
    assert "CONV_2D" not in names and names["FULLY_CONNECTED"] == 1
    (expected,) = integers(content, built_in=True)
    (found,) = integers(stored, built_in=True)
    assert len(np.unique(expected)) > 20
    np.testing.assert_array_equal(found, expected)
    check_close(integers(stored), integers(content))


@pytest.mark.costly_but("3-3x3", "dynamic-1x1")
@pytest.mark.parametrize("kind", ["1x1", "1x1 of stride 2", "3x3 of stride 2", "3x3"])
@pytest.mark.parametrize("batch", [3, "dynamic"])
def test_batches(kind, batch, tmp_path):
    content, stored = layer(kind, tmp_path, batch)
    for size in (None,) if batch == 3 else (1, 4):
        (expected,) = integers(content, size, built_in=True)
        (found,) = integers(stored, size, built_in=True)
        np.testing.assert_array_equal(found, expected)
        check_close(integers(stored, size), integers(content, size))


def test_table_says_what_int8_and_4_bits_take():
    for row in costs.table():
        assert costs.microseconds(row.shape) == (row.int8, row.int4)
        assert min(*row.int8, *row.int4) > 0
    # Twice the pixels, twice the time.
    known = costs.table()[0].shape
    twice = costs.Shape("conv", known.taps, 1, 2 * known.pixels, *known_channels(known))
    assert costs.microseconds(twice)[0][0] == pytest.approx(
        2 * costs.table()[0].int8[0], rel=0.2
    )


def known_channels(shape):
    return shape.inputs, shape.outputs


class Candidate:
    def __init__(self, shape, saved):
        self.shape, self.saved = shape, saved


def test_what_is_stored_is_what_the_time_allows(monkeypatch):
    """The most bytes for the time first, and no more time than is allowed."""

    def shape(outputs):
        return costs.Shape("conv", 64, 1, 64, 64, outputs)

    rows = {  # (int8, 4 bits) by output channels
        64: (100.0, 90.0),
        128: (100.0, 104.0),
        256: (100.0, 120.0),
    }
    table = tuple(costs.Row(shape(k), (a, a), (b, b)) for k, (a, b) in rows.items())
    monkeypatch.setattr(costs, "table", lambda: table)
    every = [shape(k) for k in rows]
    free, cheap, dear = candidates = [Candidate(x, 1000) for x in every]

    def chosen(allowed):
        return costs.affordable(candidates, every, allowed)

    # 10 won and 15 allowed: 4 and 20 are 24.
    assert chosen(0.05) == [free, cheap, dear]
    assert chosen(0.04) == [free, cheap]
    assert chosen(0) == [free, cheap]
    dear.saved = 100_000
    assert chosen(0.04) == [free, dear]


@pytest.mark.costly
def test_network(tmp_path):
    """One delegate, the numbers of int8, half the bytes; the passport tells of layers."""
    axes = dict(ONE_UNIT, base_width=1024)
    model = small_model("bottleneck_original", input_shape=(32, 32, 3), axes=axes)
    images, found = noise(12, 32, 32, 3), {}
    for word, options in (
        ("int8", {"storage": "int8"}),
        ("size", {"prefer": "size"}),
        ("latency", {}),
    ):
        path = tmp_path / f"{word}.tflite"
        quantization.quantize(
            model, path, "static_wi4_ai8", images, logits=True, packed=False, **options
        )
        found[word] = path.read_bytes()
    assert len(found["size"]) < 0.75 * len(found["int8"])
    assert len(found["size"]) <= len(found["latency"]) < len(found["int8"])
    expected = integers(found["int8"], built_in=True)
    for word in ("size", "latency"):
        for one, other in zip(
            integers(found[word], built_in=True), expected, strict=True
        ):
            np.testing.assert_array_equal(one, other)
        assert delegates(found[word]) == 1
    facts = json.loads(passport.path_of(tmp_path / "size.tflite").read_text())
    stored = facts["recipe"]["storage"]
    assert (stored["kind"], stored["prefer"]) == ("fully_connected", "size")
    layers = {layer.name for layer in model.layers} | {"logits", "predictions_linear"}
    assert set(stored["layers"]) <= layers
    assert stored["layers"]["stem_conv"] == "CONV_2D int8"
    counted = list(stored["layers"].values()).count("FULLY_CONNECTED int4")
    assert counted == facts["operators"]["FULLY_CONNECTED"] > 3
    assert facts["min_runtime_version"] == "2.19.0"
    assert inspection.inspect(tmp_path / "size.tflite").runtime == "2.19.0"
    of_int8 = json.loads(passport.path_of(tmp_path / "int8.tflite").read_text())
    assert "storage" not in of_int8["recipe"]


def delegates(content):
    """How many delegates run a file, when every operator is in one of them."""
    litert = tflite_runner.litert()
    interpreter = litert.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    names = [op["op_name"] for op in interpreter._get_ops_details()]
    editor = file_editor.Editor(content)
    interpreter.invoke()
    made = {i for op in editor.graph.operators for i in op.outputs}
    for index in made - set(editor.graph.outputs):
        # A delegate keeps to itself what it computes in between.
        with pytest.raises(ValueError):
            interpreter.get_tensor(index)
    return names.count("DELEGATE")


def test_groups_stay_int8(tmp_path):
    keras.utils.set_random_seed(3)
    given = keras.Input((8, 8, 16))
    x = keras.layers.Conv2D(32, 3, groups=4)(given)
    path = tmp_path / "a.tflite"
    to_tflite(keras.Model(given, x), path, "int8", noise(12, 8, 8, 16), packed=False)
    content = coarse(path.read_bytes())
    stored, layers = fully_connected.store(content, "everything")
    assert list(layers.values()) == ["CONV_2D int8"]
    assert tflite_runner.operators(stored) == tflite_runner.operators(content)


def test_words():
    assert storages.choose() == storages.Storage("fully_connected", "latency", False)
    assert storages.choose(prefer="size").is_explicit
    refusal(lambda: storages.choose("conv"), "storage", "conv_int4")
    refusal(lambda: storages.choose(prefer="bytes"), "prefer", "size")
    refusal(lambda: storages.choose("int8", "size"), "prefer goes with")


@pytest.mark.parametrize(("int4", "kind"), [(True, "conv_int4"), (False, "int8")])
def test_int4_was_its_name(int4, kind):
    with pytest.warns(DeprecationWarning, match=f"storage='{kind}'"):
        assert storages.choose(int4=int4).kind == kind
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refusal(
            lambda: storages.choose("fully_connected", int4=int4), "fully_connected"
        )


@pytest.mark.parametrize("command", ["quantize", "qat"])
def test_command_says_what_int4_is_now(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, "resnet8", "--int4"])
    assert stopped.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "--int4" in line and "--storage conv_int4" in line


@pytest.mark.parametrize("classes", [1, 2])
def test_tensorflows_own_runtime_loads_the_classifier(classes, tmp_path):
    """Of a single output its XNNPACK takes no int4 weights."""
    import tensorflow as tf

    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(64, 3, activation="relu")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(classes, activation="sigmoid", name="last")(x)
    model = randomize(keras.Model(image, x))
    options = {"calibration": noise(16, 16, 16, 3), "rounding": "nearest"}
    path = tmp_path / "a.tflite"
    quantization.quantize(model, path, "static_wi4_ai8", prefer="size", **options)
    runner = tf.lite.Interpreter(str(path))
    runner.allocate_tensors()
    runner.invoke()
