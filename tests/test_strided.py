"""Strided 1x1 convolutions behind a pool compute what they did, to the last bit."""

import json
import pathlib

import keras
import numpy as np
import pytest
from helpers import noise
from helpers import small_model

from keras_resnets import quantization
from keras_resnets.export import to_tflite
from keras_resnets.export.tflite import file_editor
from keras_resnets.export.tflite import runner as tflite_runner
from keras_resnets.export.tflite import strided


def network(size=12, strides=2, filters=8, units=1, **options):
    """A network with convolutions of 1x1 that stride, all of one map."""
    keras.utils.set_random_seed(3)
    given = keras.Input((size, size, 64))
    found = [
        keras.layers.Conv2D(filters, 1, strides, **options)(given) for _ in range(units)
    ]
    x = keras.layers.Concatenate()(found) if units > 1 else found[0]
    return keras.Model(given, keras.layers.ReLU()(x))


def steps_of(content):
    """(name, strides) of each convolution and pool of a file."""
    editor = file_editor.Editor(content)
    return [
        (editor.code(op), (op.builtinOptions.strideH, op.builtinOptions.strideW))
        for op in editor.graph.operators
        if editor.code(op) in ("CONV_2D", "MAX_POOL_2D")
    ]


def outputs(content, images, kernels=None):
    litert = tflite_runner.litert()
    resolver = kernels and getattr(litert.OpResolverType, kernels)
    given = {"experimental_op_resolver_type": resolver} if kernels else {}
    interpreter = litert.Interpreter(model_content=content, num_threads=1, **given)
    index = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(index, images.shape)
    interpreter.allocate_tensors()
    one = interpreter.get_input_details()[0]
    interpreter.set_tensor(index, tflite_runner.quantize(images, one))
    interpreter.invoke()
    made = interpreter.get_output_details()[0]["index"]
    return interpreter.get_tensor(made).copy()


def both(model, folder, quantize, images):
    """The file as the converter writes it, and rewritten."""
    calibration = images if quantize == "int8" else None
    to_tflite(model, folder / "a.tflite", quantize, calibration)
    plain = (folder / "a.tflite").read_bytes()
    return plain, strided.rewrite(plain)


@pytest.mark.costly_but("9-strides3-options3")
@pytest.mark.parametrize(
    ("size", "strides", "options"),
    [
        (12, 2, {}),
        (13, 2, {"padding": "same"}),
        (13, 3, {"groups": 2}),
        (9, (1, 2), {"units": 2}),
    ],
)
def test_the_same_bits(size, strides, options, tmp_path):
    model = network(size, strides, 32, **options)
    images = noise(10, size, size, 64)
    plain, made = both(model, tmp_path, "int8", images)
    want = strides if isinstance(strides, tuple) else (strides, strides)
    units = options.get("units", 1)
    assert steps_of(plain) == [("CONV_2D", want)] * units
    assert steps_of(made) == [("MAX_POOL_2D", want), *[("CONV_2D", (1, 1))] * units]
    for kernels in (None, "BUILTIN_REF"):
        expected = outputs(plain, images[:1], kernels)
        assert len(np.unique(expected)) > 5
        np.testing.assert_array_equal(outputs(made, images[:1], kernels), expected)


def test_dynamic_range(tmp_path):
    """The range is that of the pixels that are used: no farther from the network."""
    model = network(12, 2, 32)
    images = noise(10, 12, 12, 64)
    plain, made = both(model, tmp_path, "dynamic", images)
    assert steps_of(made) == [("MAX_POOL_2D", (2, 2)), ("CONV_2D", (1, 1))]
    expected = keras.ops.convert_to_numpy(model(images[:1]))
    errors = [np.abs(outputs(x, images[:1]) - expected).mean() for x in (plain, made)]
    assert errors[1] < 1.1 * errors[0] < 0.01


@pytest.mark.parametrize("quantize", ["none", "float16"])
def test_floats_are_left_as_they_are(quantize, tmp_path):
    to_tflite(network(), tmp_path / "a.tflite", quantize, pooled_strides=True)
    plain = (tmp_path / "a.tflite").read_bytes()
    assert strided.rewrite(plain) is plain
    assert steps_of(plain) == [("CONV_2D", (2, 2))]


@pytest.mark.costly
def test_every_way_writes_it_when_asked(tmp_path):
    """And the passport says so; a network in three sizes of batch computes the same."""
    model = small_model("bottleneck_original", input_shape=(32, 32, 3))
    images = noise(12, 32, 32, 3)
    for pooled in (False, True):
        given = {"pooled_strides": pooled, "logits": True, "batch": "dynamic"}
        to_tflite(model, tmp_path / f"export_{pooled}.tflite", "int8", images, **given)
        path = tmp_path / f"quantize_{pooled}.tflite"
        quantization.quantize(model, path, "static_wi8_ai8", images, **given)
    for name in ("export", "quantize"):
        files = [tmp_path / f"{name}_{pooled}.tflite" for pooled in (False, True)]
        plain, made = (path.read_bytes() for path in files)
        assert ("CONV_2D", (2, 2)) in steps_of(plain)
        pooled = [one for one in steps_of(made) if one[0] == "MAX_POOL_2D"]
        assert set(pooled) == {("MAX_POOL_2D", (2, 2))}
        passports = [pathlib.Path(f"{path}.json").read_text() for path in files]
        recipes = [json.loads(text)["recipe"] for text in passports]
        assert [recipe.get("pooled_strides") for recipe in recipes] == [None, True]
        for count in (1, 3):
            expected = outputs(plain, images[:count])
            np.testing.assert_array_equal(outputs(made, images[:count]), expected)
