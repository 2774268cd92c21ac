"""ONNX: what stands in the file, and that it says what the model says."""

import importlib
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers import KINDS
from helpers import MATRIX_KINDS
from helpers import ONE_UNIT
from helpers import check_onnx
from helpers import check_onnx_integers
from helpers import noise
from helpers import outputs
from helpers import randomize
from helpers import scales_behind_convolutions
from helpers import small_model

import keras_resnets
from keras_resnets import ExportError
from keras_resnets import InvalidArgument
from keras_resnets.export import random_weights
from keras_resnets.export import session
from keras_resnets.export import to_onnx
from keras_resnets.export.compare.open_runner import open_runner
from keras_resnets.export.onnx import convert as exporter
from keras_resnets.export.onnx import simplify
from keras_resnets.export.onnx.runner import OnnxRunner

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
SHAPE = (33, 33, 3)


def load(report):
    return onnx.load(report.path)


@pytest.mark.costly_but(
    "bottleneck_bn_after_add", "tiered_stem", "keras_v2", "dilated", "dead_projection"
)
@pytest.mark.parametrize("kind", [k for k in KINDS if k not in MATRIX_KINDS])
def test_every_kind(kind, tmp_path):
    model = small_model(kind, input_shape=SHAPE)
    report = to_onnx(model, tmp_path / "a.onnx", images=noise(3, *SHAPE))
    # The dead projection of DRN-C-58 is computed for nothing: a file leaves it out.
    check_onnx(model, report, dead_convolutions=kind == "dead_projection")


@pytest.mark.costly_but("shortcut_d")
@pytest.mark.parametrize("kind", ["grouped", "shortcut_d", "preact_shortcut_a"])
def test_nchw_has_no_transpose(kind, tmp_path):
    model = small_model(kind, input_shape=SHAPE)
    report = to_onnx(model, tmp_path / "a.onnx", layout="nchw", batch="dynamic")
    assert "Transpose" not in report.operators
    assert report.input_shape == (None, *SHAPE)
    proto = load(report)
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    assert dims[0].dim_param == "batch"
    assert [dim.dim_value for dim in dims[1:]] == [3, 33, 33]
    pictures = noise(5, *SHAPE)
    found = open_runner(report.path)(pictures)
    np.testing.assert_allclose(found, outputs(model, pictures), atol=1e-5)


def test_a_slice_names_the_axes_that_it_cuts(tmp_path):
    """An end of 1,000,000,000 on the open axis of the batch is refused by tract."""
    model = small_model("shortcut_a", input_shape=SHAPE)
    report = to_onnx(model, tmp_path / "a.onnx", batch="dynamic")
    graph = load(report).graph
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    slices = [node for node in graph.node if node.op_type == "Slice"]
    assert slices
    for node in slices:
        starts, _, axes, steps = (constants[name].tolist() for name in node.input[1:])
        assert (starts, sorted(axes), steps) == ([0, 0], [2, 3], [2, 2])
    pictures = noise(3, *SHAPE)
    found = open_runner(report.path)(pictures)
    np.testing.assert_allclose(found, outputs(model, pictures), atol=1e-5)


def test_an_open_batch_is_called_dynamic(tmp_path):
    for batch in (None, -1, "any"):
        with pytest.raises(InvalidArgument, match='unless it is "dynamic"'):
            to_onnx(small_model("basic_original"), tmp_path / "a.onnx", batch=batch)


def test_file_alone_in_onnx_runtime(tmp_path):
    """The file without any code of this package around it."""
    import onnxruntime

    model = small_model("dilated_grouped", input_shape=(24, 40, 3))
    to_onnx(model, tmp_path / "a b ü.onnx", batch=2)
    session = onnxruntime.InferenceSession(
        str(tmp_path / "a b ü.onnx"), providers=["CPUExecutionProvider"]
    )
    assert session.get_inputs()[0].shape == [2, 24, 40, 3]
    image = noise(2, 24, 40, 3)
    (found,) = session.run(["predictions"], {"image": image})
    np.testing.assert_allclose(found, outputs(model, image), atol=1e-5)


@pytest.mark.costly_but("13", "18")
@pytest.mark.parametrize("opset", exporter.OPSETS)
def test_opsets(opset, tmp_path):
    model = small_model("shortcut_d", input_shape=SHAPE, axes=ONE_UNIT)
    report = to_onnx(model, tmp_path / "a.onnx", opset=opset)
    versions = {entry.domain: entry.version for entry in load(report).opset_import}
    assert versions[""] == opset


@pytest.mark.costly_but("basic_full_preact")
@pytest.mark.parametrize(
    "kind", ["bottleneck_original", "basic_full_preact", "darknet"]
)
def test_float16(kind, tmp_path):
    model = small_model(kind, input_shape=SHAPE, axes={"filters": (48, 96)})
    random_weights.settle(model, noise(4, *SHAPE))
    whole = to_onnx(model, tmp_path / "a.onnx")
    report = to_onnx(model, tmp_path / "b.onnx", "float16")
    assert 0 < report.logits.relative_error <= 1e-2
    assert report.size < 0.6 * whole.size
    proto = load(report)
    kinds = {tensor.data_type for tensor in proto.graph.initializer}
    assert onnx.TensorProto.FLOAT not in kinds
    assert proto.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


# Those of the matrix are checked there.
INT8_KINDS = "dilated mlperf_tiny keras_v2".split()


@pytest.mark.costly_but("keras_v2")
@pytest.mark.parametrize("kind", INT8_KINDS)
def test_int8_is_integer_from_end_to_end(kind, tmp_path):
    model = small_model(kind, input_shape=SHAPE)
    pictures = noise(16, *SHAPE)
    random_weights.settle(model, pictures)
    report = to_onnx(model, tmp_path / "a.onnx", "int8", calibration=pictures)
    assert report.logits.sqnr > 20
    check_onnx_integers(report)


def test_int8_has_one_scale_a_channel(tmp_path):
    model = small_model("grouped", input_shape=SHAPE)
    pictures = noise(8, *SHAPE)
    random_weights.settle(model, pictures)
    report = to_onnx(
        model, tmp_path / "a.onnx", "int8", calibration=pictures, layout="nchw", batch=4
    )
    proto = load(report)
    sizes = {t.name: t.dims for t in proto.graph.initializer}
    makers = {name: node for node in proto.graph.node for name in node.output}
    for node in proto.graph.node:
        if node.op_type == "Conv":
            weight = makers[node.input[1]]
            assert list(sizes[weight.input[1]]) == [sizes[weight.input[0]][0]]


@pytest.mark.costly_but("mixed_bfloat16")
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy, tmp_path):
    model = small_model("grouped", input_shape=SHAPE, dtype=policy)
    report = to_onnx(model, tmp_path / "a.onnx")
    assert report.outputs.max_error <= 1e-5


def test_models_of_users(tmp_path):
    """Stock layers, biases in front of BN, a nested backbone, a Sequential."""
    layers = keras.layers
    backbone = small_model("basic_original", input_shape=SHAPE, include_top=False)
    nested = keras.Sequential(
        [keras.Input(SHAPE), backbone, layers.GlobalMaxPooling2D(), layers.Dense(5)]
    )
    stock = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Conv2D(8, 3, strides=2, padding="same"),
            layers.BatchNormalization(),
            layers.Conv2D(8, 3, groups=2),
            layers.BatchNormalization(scale=False),
            layers.ReLU(),
            layers.Conv2D(8, 3, dilation_rate=2, use_bias=False),
            layers.Flatten(),
            layers.Dense(4, activation="softmax"),
        ]
    )
    for index, model in enumerate((nested, stock)):
        randomize(model)
        report = to_onnx(model, tmp_path / f"{index}.onnx")
        assert report.logits.relative_error <= 1e-4
        assert scales_behind_convolutions(load(report)) == []
    assert report.operators["Conv"] == 3 and "Mul" not in report.operators


def test_padding_is_folded_only_where_it_loses(tmp_path):
    """Zeros before a max pooling win over negative values: they must stay."""
    layers = keras.layers
    for activation, folded in (("relu", True), (None, False)):
        model = keras.Sequential(
            [
                keras.Input((9, 9, 3)),
                layers.Conv2D(4, 3, activation=activation),
                layers.ZeroPadding2D(1),
                layers.MaxPooling2D(3, 2),
                layers.GlobalAveragePooling2D(),
            ]
        )
        model.layers[0].bias.assign([-3.0, -1.0, 0.0, 1.0])
        report = to_onnx(model, tmp_path / f"{activation}.onnx")
        assert ("Pad" not in report.operators) == folded
        assert report.logits.relative_error <= 1e-4


@pytest.mark.costly
def test_wide_layers_are_folded_too(tmp_path):
    """Large kernels go another way than small ones, and BN of 2,048 channels is long."""
    axes = {**ONE_UNIT, "filters": (8, 512)}
    model = small_model("bottleneck_original", input_shape=SHAPE, axes=axes)
    report = to_onnx(model, tmp_path / "a.onnx")
    check_onnx(model, report)
    assert "Mul" not in report.operators and "Sqrt" not in report.operators


def test_shared_convolutions_are_not_folded():
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    kernel = np.ones((2, 2, 1, 1), "float32")
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"]),
        helper.make_node("Mul", ["c", "s"], ["m"]),
        helper.make_node("Add", ["m", "c"], ["y"]),
    ]
    info = [helper.make_tensor_value_info(n, 1, [1, 2, 4, 4]) for n in ("x", "y")]
    constants = [
        numpy_helper.from_array(kernel, "k"),
        numpy_helper.from_array(np.full((1, 2, 1, 1), 3, "float32"), "s"),
    ]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    simplify.tidy(proto, {})
    assert [node.op_type for node in proto.graph.node] == ["Conv", "Mul", "Add"]


@pytest.mark.parametrize("recipe", ["float32", "static_wi8_ai8"])
def test_transposed_convolutions_that_add_rows(recipe, tmp_path):
    """With `output_padding`, and kernels smaller than the stride."""
    image = keras.Input((6, 7, 2))
    x = keras.layers.Conv2DTranspose(4, 3, strides=2, output_padding=1)(image)
    x = keras.layers.Conv2DTranspose(4, 2, strides=3, padding="same")(x)
    model = keras.Model(image, keras.layers.Conv2DTranspose(3, 1, strides=2)(x))
    images = noise(10, 6, 7, 2)
    report = to_onnx(model, tmp_path / "a.onnx", recipe, images, images)
    assert report.operators["ConvTranspose"] == 3
    found = open_runner(report.path)(images)
    assert found.shape == model(images, training=False).shape


def test_a_failure_of_the_quantizer_is_one_line(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no such operator\nin line 3")

    monkeypatch.setattr("onnxruntime.quantization.quantize_static", fail)
    model, images = small_model("basic_original", input_shape=SHAPE), noise(10, *SHAPE)
    with pytest.raises(ExportError, match="quantizer refused.*no such operator; ex"):
        to_onnx(model, tmp_path / "a.onnx", "static_wi8_ai8", images)
    assert list(tmp_path.iterdir()) == []


def test_tapped_logits():
    model = small_model("basic_original", input_shape=SHAPE)
    proto, constants = exporter.convert(session.make_ready(model))
    simplify.add_constants(proto, constants)
    pictures = noise(2, *SHAPE)
    tapped = OnnxRunner(proto.SerializeToString(), logits=True)
    logits = tapped(pictures)
    assert tapped.has_logits
    exp = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(
        exp / exp.sum(1, keepdims=True), outputs(model, pictures), atol=1e-6
    )


@pytest.mark.parametrize(
    "options, message",
    [
        ({"recipe": "int16"}, "recipe must be one of"),
        ({"recipe": "static_wi8_ai8"}, "calibration must be an array"),
        ({"opset": 12}, "opset must be one of"),
        ({"layout": "nhcw"}, "layout must be one of"),
        ({"batch": 0}, "batch, unless .* must be a whole number"),
        ({"batch": "any"}, "batch, unless .* must be a whole number"),
        ({"images": np.zeros((1, 8, 8, 3))}, "images must have the shape"),
    ],
)
def test_bad_arguments(options, message, tmp_path):
    model = small_model("basic_original", input_shape=SHAPE)
    with pytest.raises(InvalidArgument, match=message):
        to_onnx(model, tmp_path / "a.onnx", **options)
    with pytest.raises(InvalidArgument, match="end in .onnx"):
        to_onnx(model, tmp_path / "a.tflite")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_differs_is_not_written(tmp_path, monkeypatch):
    model = small_model("basic_original", input_shape=SHAPE)
    (tmp_path / "a.onnx").write_text("old")
    convert = exporter.convert

    def wrong(*arguments):
        proto, constants = convert(*arguments)
        kernels = [name for name, array in constants.items() if array.ndim == 4]
        constants |= {name: constants[name] * np.float32(1.01) for name in kernels}
        return proto, constants

    monkeypatch.setattr(exporter, "convert", wrong)
    with pytest.raises(ExportError, match="differs from the model"):
        to_onnx(model, tmp_path / "a.onnx", overwrite=True)
    assert (tmp_path / "a.onnx").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


_LOADS_THE_RUNTIME = """
import os
from keras_resnets.export.onnx import runner
runner.require("onnxruntime")
print(os.environ.get("ORT_DISABLE_TELEMETRY"))
"""


@pytest.mark.parametrize("given, expected", [(None, "1"), ("0", "0")])
def test_the_runtime_tells_nobody_and_leaves_nothing(given, expected, tmp_path):
    """Its telemetry writes an identifier into the home folder when it is loaded."""
    # Under CI it is off by itself.
    names = set(os.environ) - {"CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"}
    environment = {name: os.environ[name] for name in names}
    environment |= {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    if given is not None:
        environment["ORT_DISABLE_TELEMETRY"] = given
    words = [sys.executable, "-c", _LOADS_THE_RUNTIME]
    options = {
        "env": environment,
        "cwd": tmp_path,
        "capture_output": True,
        "text": True,
    }
    done = subprocess.run(words, **options)
    assert done.stdout.strip() == expected, done.stderr
    if given is None:
        assert list(tmp_path.iterdir()) == []


def test_without_the_packages(tmp_path, monkeypatch):
    real = importlib.import_module

    def missing(name, *words):
        if name.partition(".")[0] == "tf2onnx":
            raise ModuleNotFoundError("No module named 'tf2onnx'", name="tf2onnx")
        return real(name, *words)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(
        InvalidArgument, match=r"tf2onnx: pip install 'keras-resnets\[o"
    ):
        to_onnx(keras_resnets.ResNet8(), tmp_path / "a.onnx")


@pytest.mark.costly
@pytest.mark.parametrize(
    "name, weights, count",
    [
        ("resnet20", "checkpoints/resnet20-12fca82f.th", 2_000),
        pytest.param(
            "resnet20",
            "checkpoints/resnet20-12fca82f.th",
            10_000,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "resnet56",
            "checkpoints/resnet56-4bfd9763.th",
            10_000,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_int8_of_a_trained_network(name, weights, count, shared_data, tmp_path):
    """At least 98.5 % of the float network's answers, and logits close to its own."""
    from PIL import Image

    folder = shared_data / "cifar10"
    rows = [
        np.asarray(Image.open(folder / file)).reshape(-1, 32, 32, 3)
        for file in ("data_batch_1.png", "test_batch.png")
    ]
    model = keras_resnets.create_model(
        name, weights=shared_data / weights, classifier_activation=None
    )
    prepared = model.preprocessing.normalize
    report = to_onnx(
        model,
        tmp_path / "a.onnx",
        "int8",
        calibration=prepared(rows[0][:500]),
        batch=100,
    )
    pictures = prepared(rows[1][:count])
    expected = model.predict(pictures, batch_size=500, verbose=0)
    found = open_runner(report.path)(pictures)
    assert (found.argmax(1) == expected.argmax(1)).mean() >= 0.985
    rmse = np.sqrt(np.square(found - expected).mean())
    assert rmse <= 0.06 * expected.std()
