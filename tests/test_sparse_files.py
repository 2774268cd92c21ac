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
from keras_resnets.pruning import patterns


def pruned(pattern="1x4", share=0.75):
    keras.utils.set_random_seed(1)
    given = keras.Input((8, 8, 8))
    x = keras.layers.Conv2D(64, 3, padding="same", activation="relu")(given)
    x = keras.layers.Conv2D(64, 3, padding="same", activation="relu")(x)
    x = keras.layers.Conv2D(48, 1)(x)
    model = keras.Model(given, keras.layers.GlobalAveragePooling2D()(x))
    pruning.prune(model, share, pattern)
    return model


@pytest.mark.parametrize("pattern, share", [("1x4", 0.75), ("vw-2:4", 0.5)])
@pytest.mark.parametrize("recipe", ["float32", "static_wi8_ai8"])
def test_same_numbers_in_fewer_bytes(recipe, pattern, share, tmp_path):
    model, images = pruned(pattern, share), noise(12, 8, 8, 8)
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


def test_a_kernel_of_nothing_but_zeros(tmp_path):
    """It has a value, since LiteRT takes a tensor without values for no constant."""
    model = pruned()
    kernel, bias = model.layers[2].get_weights()
    model.layers[2].set_weights([0 * kernel, bias + 1])
    report = to_tflite(model, tmp_path / "a.tflite", sparse=True)
    assert report.operators["DENSIFY"] == 2 and report.outputs.max_error < 1e-6


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
@pytest.mark.parametrize("by_outputs", [False, True])
def test_encoding_can_be_undone(shape, by_outputs):
    for block in ((1, 1), (1, 4), (2, 1), (4, 1), (2, 4)):
        if shape[0] % block[0] or shape[-1] % block[1]:
            continue
        kernel = kernel_of_blocks(shape, block)
        found = sparse.encode(kernel, block, by_outputs)
        np.testing.assert_array_equal(undone(found, shape), kernel)
        assert found.size == sum(
            x.nbytes for x in (found.values, found.segments, found.indices)
        )


def kernel_of_blocks(shape, block, share=0.7):
    """An int8 kernel of which a share of blocks is zero."""
    rng = np.random.default_rng(0)
    kernel = rng.integers(1, 128, shape).astype("int8")
    outputs, inputs = shape[0] // block[0], shape[-1] // block[1]
    parts = kernel.reshape(outputs, block[0], -1, inputs, block[1])
    is_zero = rng.random((outputs, 1, parts.shape[2], inputs, 1)) < share
    return np.where(is_zero, 0, parts).astype("int8").reshape(shape)


def undone(found, shape):
    """The kernel of an `Encoded`, block by block."""
    height, width = found.block
    inputs = shape[-1] // width
    kernel = np.zeros((shape[0], np.prod(shape[1:-1], dtype=int), shape[-1]), "int8")
    values = found.values.reshape(-1, height, width)
    row_of = np.repeat(np.arange(len(found.segments) - 1), np.diff(found.segments))
    for value, row, column in zip(values, row_of, found.indices, strict=True):
        if found.by_outputs:
            (place, i), o = divmod(row, inputs), int(column)
        else:
            (o, place), i = divmod(row, kernel.shape[1]), int(column)
        rows = slice(o * height, (o + 1) * height)
        kernel[rows, place, i * width : (i + 1) * width] = value
    return kernel.reshape(shape)


@pytest.mark.parametrize("block", [(1, 1), (1, 4), (8, 1), (4, 4)])
def test_the_smallest_encoding_has_the_blocks_of_the_kernel(block):
    kernel = kernel_of_blocks((32, 3, 3, 32), block, 0.8)
    found = sparse.smallest(kernel)
    assert found.block == block
    others = [
        sparse.encode(kernel, (height, width), by_outputs)
        for height in (1, 2, 4, 8, 16)
        for width in (1, 2, 4)
        for by_outputs in (False, True)
    ]
    assert found.size == min(other.size for other in others)


@pytest.mark.parametrize("outputs, share", [(64, 0.57), (60, 0.64)])
def test_vector_wise_2_4_shrinks_int8_kernels_and_2_4_does_not(outputs, share):
    kernel = noise(3, 3, 64, outputs)
    sizes = {}
    for pattern in ("2:4", "vw-2:4"):
        pruned = kernel * patterns.mask_of(kernel, 0.5, pattern)
        stored = np.moveaxis(np.rint(100 * pruned), -1, 0).astype("int8")
        # Weights that round to zero are no part of a pattern.
        stored[(stored == 0) & (np.moveaxis(pruned, -1, 0) != 0)] = 1
        sizes[pattern] = sparse.smallest(stored).size / stored.size
    assert sizes["2:4"] >= 1 and sizes["vw-2:4"] < share


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
