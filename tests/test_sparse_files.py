"""Pruned kernels stand in a TFLite file without their zeros, and compute the same."""

import json

import keras
import numpy as np
import pytest
from helpers import noise
from helpers import refusal
from integer_files import integers

from keras_resnets import pruning
from keras_resnets import quantization
from keras_resnets.export import passport
from keras_resnets.export import to_tflite
from keras_resnets.export.compare import inspection
from keras_resnets.export.compare import verify
from keras_resnets.export.tflite import file_editor
from keras_resnets.export.tflite import runner as tflite_runner
from keras_resnets.export.tflite import sparse


def pruned(pattern="1x4", share=0.75):
    keras.utils.set_random_seed(1)
    given = keras.Input((8, 8, 8))
    x = keras.layers.Conv2D(64, 3, padding="same", activation="relu")(given)
    x = keras.layers.Conv2D(64, 3, padding="same", activation="relu")(x)
    x = keras.layers.Conv2D(48, 1)(x)
    model = keras.Model(given, keras.layers.GlobalAveragePooling2D()(x))
    pruning.prune(model, share, pattern)
    return model


@pytest.mark.parametrize("recipe", ["float32", "static_wi8_ai8"])
def test_same_numbers_in_fewer_bytes(recipe, tmp_path):
    model, images = pruned(), noise(12, 8, 8, 8)
    calibration = None if recipe == "float32" else images
    for name, option in (("dense", False), ("sparse", True)):
        path = tmp_path / f"{name}.tflite"
        to_tflite(model, path, recipe, calibration, sparse=option, packed=False)
    dense, found = (
        (tmp_path / f"{x}.tflite").read_bytes() for x in ("dense", "sparse")
    )
    assert len(found) < 0.7 * len(dense)
    names = tflite_runner.operators(found)
    assert names.pop("DENSIFY") == 2
    assert names == tflite_runner.operators(dense)
    nameless = sparse.store(file_editor.without_names(dense))
    assert len(nameless) < len(found)
    for made in (sparse.store(dense), nameless):
        one, other = (outputs(x, True, images[:1]) for x in (dense, made))
        np.testing.assert_array_equal(one, other)
    for built_in in (False, True):
        one, other = (outputs(x, built_in, images[:1]) for x in (dense, found))
        np.testing.assert_array_equal(one, other)
    assert inspection.inspect(tmp_path / "sparse.tflite").runtime == "2.2.0"
    facts = json.loads(passport.path_of(tmp_path / "sparse.tflite").read_text())
    assert facts["recipe"]["sparse"] is True
    assert facts["min_runtime_version"] == "2.2.0"
    # By layer: the kernels' tensors are nobody's output.
    paths = [tmp_path / "dense.tflite", tmp_path / "sparse.tflite"]
    losses = verify.layer_losses(*paths, images[:1])
    layers = {loss.name.removesuffix("_relu") for loss in losses}
    assert {"conv2d", "conv2d_1", "conv2d_2"} <= layers


def outputs(content, built_in, images):
    """What a file makes of images or of integers."""
    litert = tflite_runner.litert()
    if not tflite_runner.float_operators(content):
        return integers(content, built_in=built_in)[0]
    kernels = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    options = {"experimental_op_resolver_type": kernels} if built_in else {}
    interpreter = litert.Interpreter(model_content=content, num_threads=1, **options)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.mark.parametrize("shape", [(6, 3, 3, 8), (300, 1, 1, 8), (5, 12), (4, 1, 1, 7)])
@pytest.mark.parametrize("block", [1, 4])
@pytest.mark.parametrize("by_outputs", [False, True])
def test_encoding_can_be_undone(shape, block, by_outputs):
    if shape[-1] % block:
        pytest.skip("blocks of four along seven inputs")
    rng = np.random.default_rng(0)
    kernel = rng.integers(-127, 128, shape).astype("int8")
    kernel.reshape(-1, block)[rng.random(kernel.size // block) < 0.7] = 0
    found = sparse.encode(kernel, block, by_outputs)
    blocks = kernel.reshape(shape[0], -1, shape[-1] // block, block)
    rows = blocks.transpose(1, 2, 0, 3) if by_outputs else blocks
    made = np.zeros_like(rows).reshape(-1, rows.shape[2], block)
    values = found.values.reshape(-1, block)
    for row in range(len(made)):
        kept = slice(found.segments[row], found.segments[row + 1])
        made[row, found.indices[kept]] = values[kept]
    np.testing.assert_array_equal(made.reshape(rows.shape), rows)
    assert found.size == sum(
        x.nbytes for x in (found.values, found.segments, found.indices)
    )


def test_dense_files_stay_as_they_are(tmp_path):
    keras.utils.set_random_seed(1)
    given = keras.Input((8, 8, 8))
    model = keras.Model(given, keras.layers.Conv2D(16, 3)(given))
    path = tmp_path / "a.tflite"
    to_tflite(model, path)
    content = path.read_bytes()
    assert sparse.store(content) is content


def test_formats_without_the_encoding_are_refused(tmp_path):
    refusal(
        lambda: to_tflite(pruned(), tmp_path / "a.tflite", "float16", sparse=True),
        "sparse",
        "int8",
        "float16",
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.costly
def test_quantize_writes_them(tmp_path):
    model, images = pruned(), noise(12, 8, 8, 8)
    path = tmp_path / "a.tflite"
    report = quantization.quantize(model, path, calibration=images, sparse=True)
    assert report.operators["DENSIFY"] == 2
