"""Int8 convolutions arranged for wide kernels compute what they did, to the last bit."""

import json

import keras
import numpy as np
import pytest
from helpers import ONE_UNIT
from helpers import noise
from helpers import small_model
from integer_files import integers

from keras_resnets import quantization
from keras_resnets.errors import ExportError
from keras_resnets.export import to_tflite
from keras_resnets.export.compare import open_runner
from keras_resnets.export.compare import verify
from keras_resnets.export.tflite import file_editor
from keras_resnets.export.tflite import runner as tflite_runner
from keras_resnets.export.tflite.int4 import nibbles
from keras_resnets.export.tflite.packing import block_diagonal
from keras_resnets.export.tflite.packing import merged_groups
from keras_resnets.export.tflite.packing import pack


def one_convolution(shape, filters, kernel, pads=None, **options):
    """A network of one convolution behind a padding, with weights of every size."""
    keras.utils.set_random_seed(3)
    given = keras.Input(shape)
    if pads == "same":
        options["padding"] = pads
    x = keras.layers.ZeroPadding2D(pads)(given) if pads not in (None, "same") else given
    x = keras.layers.Conv2D(filters, kernel, **options)(x)
    return keras.Model(given, keras.layers.ReLU()(x))


def both(model, folder, **options):
    """The bytes of the int8 file as the network has it, and arranged."""
    path = folder / "plain.tflite"
    shape = model.input_shape[1:]
    pictures = noise(10, *shape)
    to_tflite(model, path, "int8", pictures, packed=False, **options)
    plain = path.read_bytes()
    return plain, pack(plain)


def check_same(plain, packed, batch=None):
    pairs = zip(integers(plain, batch), integers(packed, batch), strict=True)
    for expected, found in pairs:
        assert len(np.unique(expected)) > 5
        np.testing.assert_array_equal(found, expected)


def kernels(content):
    """(outputs, height, width, depth) of each convolution of a file."""
    editor = file_editor.Editor(content)
    return [
        tuple(editor.graph.tensors[op.inputs[1]].shape)
        for op in editor.graph.operators
        if editor.code(op) == "CONV_2D"
    ]


@pytest.mark.costly_but("32-7-3", "32-4-2", "32-7-pads6")
@pytest.mark.parametrize(
    ("size", "kernel", "pads", "packed"),
    [
        (32, 7, 3, (7, 4)),
        (32, 3, 1, (3, 2)),
        (32, 5, 2, (5, 3)),
        (32, 4, 2, (4, 2)),
        (32, 7, None, (7, 4)),
        (32, 3, ((0, 1), (0, 1)), (3, 2)),
        (32, 7, ((2, 3), (1, 6)), (7, 4)),
        ((28, 18), (1, 5), ((0, 0), (2, 2)), (1, 3)),
        (32, 7, "same", (7, 4)),
        (32, 4, "same", (4, 3)),
        ((20, 34), (5, 3), "same", (5, 2)),
    ],
)
def test_stems(size, kernel, pads, packed, tmp_path):
    size = size if isinstance(size, tuple) else (size, size)
    model = one_convolution((*size, 3), 24, kernel, pads, strides=2)
    plain, made = both(model, tmp_path)
    assert kernels(made) == [(24, *packed, 6)]
    assert tflite_runner.operators(made)["RESHAPE"] == 1
    check_same(plain, made)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((31, 31, 3), {"strides": 2}),
        ((32, 32, 3), {"strides": 1}),
        ((32, 32, 8), {"strides": 2}),
        ((33, 33, 3), {"strides": 2, "padding": "same"}),
        ((32, 32, 3), {"dilation_rate": 2}),
        ((16, 16, 64), {"groups": 4}),
    ],
)
def test_left_as_it_is(shape, options, tmp_path):
    plain, made = both(one_convolution(shape, 64, 3, **options), tmp_path)
    assert made is plain


@pytest.mark.parametrize(
    ("channels", "filters", "groups", "depth"),
    [
        (32, 32, 8, 16),
        (64, 64, 8, 16),
        (12, 12, 6, 4),
        (16, 32, 4, 8),
        (24, 24, 12, 8),
        (20, 20, 5, None),
    ],
)
def test_groups(channels, filters, groups, depth, tmp_path):
    model = one_convolution((9, 11, channels), filters, 3, 1, groups=groups)
    plain, made = both(model, tmp_path)
    if depth is None:
        assert made is plain
        return
    assert kernels(made) == [(filters, 3, 3, depth)]
    check_same(plain, made)


def test_block_diagonal():
    """Against the sum that a grouped convolution is, at one place."""
    rng = np.random.default_rng(0)
    kernel = rng.integers(-127, 128, (24, 3, 2, 5)).astype("int8")
    groups, count = 8, 4
    pixels = rng.integers(-128, 128, (3, 2, 40))
    merged = block_diagonal(kernel, groups, count)

    def convolve(kernel, groups):
        each = len(kernel) // groups
        return [
            (pixels[..., g * kernel.shape[3] : (g + 1) * kernel.shape[3]] * one).sum()
            for g in range(groups)
            for one in kernel[g * each : (g + 1) * each].astype(int)
        ]

    assert merged.shape == (24, 3, 2, 20)
    assert convolve(merged, groups // count) == convolve(kernel, groups)


@pytest.mark.parametrize(
    ("groups", "channels", "expected"),
    [(32, 4, 4), (32, 8, 2), (32, 16, 1), (64, 1, 16), (3, 4, 1), (6, 4, 2), (1, 3, 1)],
)
def test_merged_groups(groups, channels, expected):
    assert merged_groups(groups, channels) == expected


@pytest.mark.costly
@pytest.mark.parametrize(
    ("kind", "batch"),
    [("grouped", "dynamic"), ("shortcut_d", 3), ("basic_full_preact", 1)],
)
def test_networks(kind, batch, tmp_path):
    options = {"axes": {"cardinality": 8}} if kind == "grouped" else {}
    stem = {"stem_type": "conv7"} if kind != "shortcut_d" else {}
    options["axes"] = {**options.get("axes", {}), **stem}
    model = small_model(kind, input_shape=(32, 32, 3), **options)
    plain, made = both(model, tmp_path, batch=batch, logits=True)
    assert kernels(made) != kernels(plain)
    check_same(plain, made, 2 if batch == "dynamic" else None)


@pytest.mark.costly
def test_files_say_so(tmp_path):
    """Every way to an int8 file arranges it, unless told not to; pixels too."""
    model = small_model(
        "basic_original",
        input_shape=(32, 32, 3),
        axes={**ONE_UNIT, "stem_type": "conv7"},
    )
    pictures, found = noise(12, 32, 32, 3), {}
    aware = quantization.quantize_aware(model, calibration=pictures)
    for packed in (True, False):
        for name, write in (
            ("export", lambda path, **how: to_tflite(model, path, "int8", **how)),
            ("quantize", lambda path, **how: quantization.quantize(model, path, **how)),
            ("aware", lambda path, **how: quantization.to_tflite(aware, path, **how)),
        ):
            path = tmp_path / f"{name}_{packed}.tflite"
            given = {} if name == "aware" else {"calibration": pictures}
            given["logits"] = True
            report = write(path, packed=packed, **given)
            passport = json.loads((tmp_path / f"{path.name}.json").read_text())
            assert ("RESHAPE" in report.operators) == packed, name
            assert passport["recipe"]["packed"] == packed, name
            found[name, packed] = path.read_bytes()
    to_tflite(model, tmp_path / "float.tflite", logits=True)
    losses = [
        verify.layer_losses(
            tmp_path / "float.tflite",
            tmp_path / f"export_{packed}.tflite",
            pictures[:1],
        )
        for packed in (True, False)
    ]
    # The padding is none of its layers any more; all others say the same.
    known = {loss.name: loss.sqnr for loss in losses[1]}
    gone = known.keys() - {loss.name for loss in losses[0]}
    assert gone == {"stem_conv_pad"}
    assert all(known[loss.name] == loss.sqnr for loss in losses[0])
    for name in ("export", "quantize", "aware"):
        check_same(found[name, False], found[name, True])


@pytest.mark.costly
def test_int4(tmp_path):
    """Half the kernels' bytes, and the numbers of LiteRT's built-in int8 kernels."""
    model = small_model("bottleneck_original", input_shape=(32, 32, 3), axes=ONE_UNIT)
    pictures, found = noise(12, 32, 32, 3), {}
    for storage in ("int8", "conv_int4"):
        path = tmp_path / f"{storage}.tflite"
        recipe = "static_wi4_ai8"
        report = quantization.quantize(
            model, path, recipe, pictures, storage=storage, logits=True
        )
        assert report.threads == (1 if storage == "conv_int4" else 2)
        found[storage] = path.read_bytes()
    sizes = [np.prod(shape) for shape in kernels(found["conv_int4"])]
    assert len(found["int8"]) - len(found["conv_int4"]) > 0.45 * sum(sizes)
    expected, stored = (integers(content, built_in=True) for content in found.values())
    assert len(np.unique(expected[0])) > 5
    # LiteRT's own kernel of 4-bit convolutions stalls on two threads.
    threads = [
        open_runner.steady_threads(tmp_path / f"{name}.tflite") for name in found
    ]
    assert threads == [2, 1]
    np.testing.assert_array_equal(stored[0], expected[0])
    aware = quantization.quantize_aware(model, calibration=pictures)
    with pytest.raises(
        ExportError, match="no kernel of the file has weights of 4 bits"
    ):
        quantization.to_tflite(aware, tmp_path / "a.tflite", storage="conv_int4")
    assert not (tmp_path / "a.tflite").exists()


@pytest.mark.parametrize("values", [[-7, 7, 0, -1, 3], [-8, 1]])
def test_nibbles(values):
    stored = nibbles(np.array(values, "int8"))
    halves = np.stack([stored & 15, stored >> 4], axis=1).reshape(-1)[: len(values)]
    assert (np.where(halves > 7, halves.astype(int) - 16, halves) == values).all()
