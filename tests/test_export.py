"""TFLite: what stands in the file, that it says what the model says, and that a failed
export leaves nothing behind."""

import dataclasses

import keras
import numpy as np
import pytest
from helpers import ALLOWED
from helpers import KINDS
from helpers import MATRIX_KINDS
from helpers import ONE_UNIT
from helpers import check_tflite
from helpers import convolutions
from helpers import noise
from helpers import outputs
from helpers import randomize
from helpers import small_model

import keras_resnets
from keras_resnets import ExportError
from keras_resnets import InvalidArgument
from keras_resnets import export
from keras_resnets import quantization
from keras_resnets.export import formats
from keras_resnets.export import number_formats
from keras_resnets.export import parity
from keras_resnets.export import prepare
from keras_resnets.export import random_weights
from keras_resnets.export import session
from keras_resnets.export import to_tflite
from keras_resnets.export.compare import open_runner as runners
from keras_resnets.export.keras import runner as keras_runner
from keras_resnets.export.tflite import convert as tflite
from keras_resnets.export.tflite import runner as tflite_runner
from keras_resnets.images.calibration import CalibrationSet
from keras_resnets.io import files


@pytest.mark.parametrize("form", formats.FORMATS.values(), ids=lambda form: form.name)
def test_a_row_of_the_table_has_its_room(form):
    """Whoever reads, runs or writes files finds what it needs by the row alone."""
    for name in ("Runner", "check", "check_output", "load_runtime", "read"):
        assert callable(getattr(form.room, name))
    assert getattr(form.room, form.exporter) is getattr(export, form.exporter)
    assert set(form.numbers) <= set(number_formats.NUMBER_FORMATS)


@pytest.mark.costly_but(
    "bottleneck_relu_only_preact",
    "preact_shortcut_a",
    "tiered_stem",
    "darknet_plain",
    "mlperf_tiny",
)
@pytest.mark.parametrize("kind", [k for k in KINDS if k not in MATRIX_KINDS])
def test_every_kind(kind, tmp_path):
    model = small_model(kind, input_shape=(33, 33, 3))
    report = to_tflite(model, tmp_path / "a.tflite", images=noise(3, 33, 33, 3))
    # The dead projection of DRN-C-58 is computed for nothing: a file leaves it out.
    check_tflite(model, report, dead_convolutions=kind == "dead_projection")
    assert report.outputs.max_error > 0 or report.logits.max_error > 0


def check_variant(name, folder):
    architecture = keras_resnets.get_architecture(name)
    size = min(64, architecture.input_size)
    model = keras_resnets.create_model(name, input_shape=(size, size, 3))
    pictures = noise(2, size, size, 3)
    random_weights.settle(model, pictures)
    report = to_tflite(model, folder / "a.tflite", images=pictures)
    check_tflite(model, report, dead_convolutions=architecture.dead_projection)
    assert report.size < 4.1 * model.count_params() + 1000 * len(model.layers)


@pytest.mark.slow
@pytest.mark.parametrize("name", keras_resnets.list_models())
def test_every_variant(name, tmp_path):
    check_variant(name, tmp_path)


def test_file_alone_in_litert(tmp_path):
    """The file without any code of this package around it."""
    from ai_edge_litert.interpreter import Interpreter

    model = small_model("grouped", input_shape=(24, 40, 3))
    to_tflite(model, tmp_path / "a.tflite")
    interpreter = Interpreter(str(tmp_path / "a.tflite"))
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    assert tuple(given["shape"]) == (1, 24, 40, 3) and given["dtype"] == np.float32
    runner = interpreter.get_signature_runner()
    assert list(interpreter.get_signature_list()["serving_default"]["inputs"]) == [
        "image"
    ]
    image = noise(1, 24, 40, 3)
    result = runner(image=image)
    assert list(result) == ["predictions"]
    np.testing.assert_allclose(
        result["predictions"], model.predict(image, verbose=0), atol=1e-5
    )


@pytest.mark.costly
@pytest.mark.parametrize("quantize, share", [("float16", 0.6), ("dynamic", 0.4)])
def test_smaller_files(quantize, share, tmp_path):
    # Wide enough for its size to lie in its weights.
    model = settled_model(
        "bottleneck_full_preact", filters=(48, 96), stem_filters=48, depths=(2, 2)
    )
    pictures = noise(4, 32, 32, 3)
    whole = to_tflite(model, tmp_path / "a.tflite", images=pictures)
    report = to_tflite(model, tmp_path / "b.tflite", quantize, images=pictures)
    assert report.size < share * whole.size
    assert set(report.operators) <= ALLOWED
    limits = {"float16": 1e-2, "dynamic": 0.2}
    assert 0 < report.logits.relative_error < limits[quantize]


@pytest.mark.costly_but("uint8")
@pytest.mark.parametrize("io_dtype", tflite.IO_DTYPES)
def test_int8(io_dtype, tmp_path):
    """And the model is left as it was."""
    model = settled_model("grouped")
    pictures = noise(16, 32, 32, 3)
    before = [weight.copy() for weight in model.get_weights()]
    kinds = [type(layer) for layer in model.layers]
    report = to_tflite(
        model, tmp_path / "a.tflite", "int8", calibration=pictures, io_dtype=io_dtype
    )
    assert [type(layer) for layer in model.layers] == kinds
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert set(report.operators) <= ALLOWED
    assert report.operators["CONV_2D"] == len(convolutions(model))
    interpreter = tflite_runner.TFLiteRunner(report.path.read_bytes())
    assert np.dtype(interpreter._input["dtype"]).name == io_dtype
    assert np.dtype(interpreter._outputs["predictions"]["dtype"]).name == io_dtype
    assert report.logits.sqnr > 20
    assert report.outputs.max_error < 0.05


@pytest.mark.costly
def test_int16x8_per_tensor_and_batch(tmp_path):
    model = settled_model("bottleneck_original")
    pictures = noise(6, 32, 32, 3)
    eight = to_tflite(model, tmp_path / "a.tflite", "int8", pictures)
    sixteen = to_tflite(model, tmp_path / "b.tflite", "int16x8", pictures)
    # 8 bits by the same engine, without corrected biases.
    plain = quantization.quantize(
        model,
        tmp_path / "plain.tflite",
        calibration=CalibrationSet(noise(10, 32, 32, 3), "noise"),
        images=pictures[:4],
        engine="converter",
    )
    assert sixteen.logits.rmse < plain.logits.rmse
    assert sixteen.logits.relative_error > 1e-4
    whole = to_tflite(model, tmp_path / "c.tflite", "int8", pictures, per_tensor=True)
    coarse = quantization.quantize(
        model,
        tmp_path / "coarse.tflite",
        "static_wi8_ai8_per_tensor",
        CalibrationSet(noise(10, 32, 32, 3), "noise"),
        images=pictures[:4],
        engine="converter",
    )
    assert coarse.logits.rmse > plain.logits.rmse
    assert whole.size < eight.size
    four = to_tflite(model, tmp_path / "d.tflite", "int8", pictures, batch=4)
    assert four.input_shape == (4, 32, 32, 3) and four.compared == 4
    runner = runners.open_runner(four.path)
    np.testing.assert_allclose(
        runner(pictures),
        runners.open_runner(eight.path)(pictures),
        atol=0.01,
    )


def settled_model(kind, **axes):
    model = small_model(kind, input_shape=(32, 32, 3), axes={**ONE_UNIT, **axes})
    random_weights.settle(model, noise(4, 32, 32, 3))
    return model


@pytest.mark.costly_but("mixed_float16")
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_models_export_in_float32(policy, tmp_path):
    model = small_model("grouped", input_shape=(32, 32, 3), dtype=policy)
    report = to_tflite(model, tmp_path / "a.tflite")
    same = small_model("grouped", input_shape=(32, 32, 3))
    same.set_weights(model.get_weights())
    check_tflite(same, report)
    images = noise(2, 32, 32, 3)
    runner = tflite_runner.TFLiteRunner(report.path.read_bytes())
    np.testing.assert_allclose(runner(images), same.predict(images), atol=1e-5)
    assert model.layers[1].compute_dtype == policy.removeprefix("mixed_")


def test_keras_own_grouped_and_dilated_convolution(tmp_path):
    """A user's model out of stock layers, where Keras' own lowering would fail."""
    x = image = keras.Input((20, 20, 4))
    x = keras.layers.Conv2D(8, 3, groups=4, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.Conv2D(8, 3, dilation_rate=2, padding="same")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = randomize(keras.Model(image, keras.layers.Dense(3)(x), name="stock"))
    report = to_tflite(model, tmp_path / "a.tflite")
    check_tflite(model, report)


@pytest.mark.costly_but("options1", "options3")
@pytest.mark.parametrize(
    "options, kind",
    [
        ({}, "predictions"),
        ({"classifier_activation": None}, "logits"),
        ({"classifier_activation": "sigmoid"}, "predictions"),
        ({"include_top": False}, "features"),
        ({"include_top": False, "pooling": "max"}, "features"),
    ],
)
def test_outputs(options, kind, tmp_path):
    model = small_model("basic_original", **options)
    report = to_tflite(model, tmp_path / "a.tflite", input_size=(32, 48))
    assert report.input_shape == (1, 32, 48, 3)
    assert report.logits.relative_error <= 1e-4
    from ai_edge_litert.interpreter import Interpreter

    signature = Interpreter(str(report.path)).get_signature_list()
    assert signature["serving_default"]["outputs"] == [kind]


def only(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.costly
def test_a_wrong_file_is_not_written(tmp_path, monkeypatch):
    model = small_model("basic_original", input_shape=(32, 32, 3))
    wrong = small_model("basic_original", seed=1, input_shape=(32, 32, 3))
    convert = tflite.convert

    def convert_another(ready, *rest, **options):
        other = prepare.inference_model(wrong)
        return convert(dataclasses.replace(ready, model=other), *rest, **options)

    monkeypatch.setattr(tflite, "convert", convert_another)
    with pytest.raises(ExportError, match="differs from the model"):
        to_tflite(model, tmp_path / "a.tflite")
    with pytest.raises(ExportError, match="cosine .* SQNR"):
        to_tflite(model, tmp_path / "a.tflite", "dynamic_wi8")
    assert only(tmp_path) == []
    (tmp_path / "a.tflite").write_bytes(b"precious")
    with pytest.raises(ExportError):
        to_tflite(model, tmp_path / "a.tflite", overwrite=True)
    assert (tmp_path / "a.tflite").read_bytes() == b"precious"
    assert only(tmp_path) == ["a.tflite"]


def test_a_model_that_puts_out_nan_is_not_written(tmp_path):
    model = small_model("basic_original", input_shape=(32, 32, 3))
    # Every weight is finite; their sums are not.
    layer = model.layers[-1]
    layer.kernel.assign(np.full(layer.kernel.shape, 3e38, "float32"))
    with pytest.raises(ExportError, match="NaN"):
        to_tflite(model, tmp_path / "a.tflite")
    assert only(tmp_path) == []


def test_operators_of_tensorflow_are_refused(tmp_path):
    image = keras.Input((8, 8, 3))
    x = keras.ops.fft2((image, image))[0]
    model = keras.Model(image, keras.layers.Flatten()(x), name="fourier")
    with pytest.raises(
        ExportError, match="fourier: no operator of TFLite .*FFT2D"
    ) as caught:
        to_tflite(model, tmp_path / "a.tflite")
    assert only(tmp_path) == [] and "\n" not in str(caught.value)
    with pytest.raises(ExportError, match="SPACE_TO_BATCH_ND"):
        tflite.check_operators({"CONV_2D": 3, "SPACE_TO_BATCH_ND": 1})
    with pytest.raises(ExportError, match="FlexConv2D"):
        tflite.check_operators({"FlexConv2D": 1})


def test_arguments(tmp_path):
    model = small_model("basic_original", input_shape=(32, 32, 3))
    path = tmp_path / "a.tflite"
    pictures = noise(2, 32, 32, 3)
    for words, arguments in {
        "recipe must be one of": {"recipe": "int4"},
        "io_dtype must be one of": {"io_dtype": "int16"},
        "threads must be": {"threads": 0},
        "storage and prefer apply to 4-bit weights": {"storage": "conv_int4"},
        "from which the ranges are computed": {"recipe": "static_wi8_ai8"},
        "calibration images must have the shape": {
            "calibration": noise(2, 31, 32, 3),
            "recipe": "static_wi8_ai8",
        },
        "images must have the shape": {"images": pictures[0]},
        "images must be finite": {"images": np.full_like(pictures, np.inf)},
        "fixed input size": {"input_size": (64, 64)},
    }.items():
        with pytest.raises(InvalidArgument, match=words) as caught:
            to_tflite(model, path, **arguments)
        assert "\n" not in str(caught.value)
    with pytest.raises(InvalidArgument, match="fixed input size"):
        to_tflite(small_model("basic_original"), path)
    with pytest.raises(InvalidArgument, match="built keras.Model"):
        to_tflite("resnet50", path)
    two = keras.Model([keras.Input((8, 8, 3)), second := keras.Input((3,))], second)
    with pytest.raises(InvalidArgument, match="one image input"):
        to_tflite(two, path)
    assert only(tmp_path) == []


def test_destinations(tmp_path):
    (tmp_path / "a.tflite").write_text("kept")
    (tmp_path / "folder.tflite").mkdir()
    for words, path in {
        "must end in .tflite": tmp_path / "a.onnx",
        "exists; --overwrite": tmp_path / "a.tflite",
        "is a folder": tmp_path / "folder.tflite",
        "there is no folder": tmp_path / "missing" / "a.tflite",
        "not writable": "/proc/a.tflite",
    }.items():
        with pytest.raises(InvalidArgument, match=words):
            files.check_destination(path, ".tflite")
    assert (tmp_path / "a.tflite").read_text() == "kept"
    assert files.check_destination(tmp_path / "a.tflite", ".tflite", overwrite=True)


def test_atomic_file(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        with files.atomic_file(tmp_path / "a") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt
    assert only(tmp_path) == []
    with files.atomic_file(tmp_path / "a") as temporary:
        temporary.write_text("whole")
    assert only(tmp_path) == ["a"]
    assert (tmp_path / "a").stat().st_mode & 0o777 in (0o644, 0o664, 0o640, 0o600)


def test_parity_figures():
    a = np.array([[1.0, 2.0, 3.0, 0.0, 0.0, 0.0], [0.0, 3.0, 4.0, 0.0, 0.0, 0.0]])
    b = a + np.array([[0, 0, -2.0, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
    found = parity.compare(a, b)
    assert found.max_error == 2 and found.relative_error == 0.5
    assert found.rmse == pytest.approx(np.sqrt(4 / 12) / a.std())
    assert found.sqnr == pytest.approx(10 * np.log10((1 + 4 + 9 + 25) / 4))
    assert found.cosine == pytest.approx(8 / np.sqrt(14 * 6))
    assert found.top1 == 0.5 and found.top5 == 1
    assert parity.compare(a, a).sqnr == np.inf
    assert parity.compare(0 * a, 0 * a).cosine == 1
    assert parity.compare(a, 0 * a).cosine == parity.compare(0 * a, a).cosine == 0
    with pytest.raises(ExportError, match="shape"):
        parity.compare(a, b[:, :2])
    with pytest.raises(ExportError, match="the file outputs NaN"):
        parity.compare(a, np.full_like(a, np.nan))


def test_logits_are_what_the_softmax_gets(tmp_path):
    model = small_model("basic_original", input_shape=(32, 32, 3))
    images = noise(2, 32, 32, 3)
    content = tflite.convert(session.make_ready(model))
    outputs = tflite_runner.TFLiteRunner(content)(images)
    tapped = tflite_runner.TFLiteRunner(content, logits=True)
    assert tapped.has_logits
    exponents = np.exp(tapped(images))
    np.testing.assert_allclose(
        exponents / exponents.sum(-1, keepdims=True), outputs, rtol=1e-4
    )
    _, logits = keras_runner.KerasRunner(model)(images)
    np.testing.assert_allclose(logits, tapped(images), atol=1e-4)


@pytest.mark.costly
def test_settled_networks_are_neither_dead_nor_exploding():
    model = keras_resnets.create_model("resnet110", zero_init_residual=True)
    images = noise(4, 32, 32, 3)
    random_weights.settle(model, images)
    norms = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    for layer in norms:
        gamma, beta, mean, variance = layer.get_weights()
        assert (gamma > 0).all() and gamma.std() > 0 and beta.std() > 0
        assert np.abs(mean).max() > 0 and (variance > 0).all() and variance.std() > 0
    taps = keras.Model(model.input, [layer.output for layer in norms])
    scales = [np.abs(values).max() for values in taps.predict(images, verbose=0)]
    assert 0.05 < min(scales) and max(scales) < 50
    _, logits = keras_runner.KerasRunner(model)(images)
    assert 1.5 < logits.std(axis=-1).mean() < 2.5


@pytest.mark.costly_but("softmax-darknet19", "None-resnet8")
@pytest.mark.parametrize("name", ["resnet8", "darknet19"])
@pytest.mark.parametrize("activation", ["softmax", None])
def test_settled_classifiers_choose(name, activation):
    model = keras_resnets.create_model(
        name, input_shape=(64, 64, 3), classes=100, classifier_activation=activation
    )
    images = noise(2, 64, 64, 3)
    random_weights.settle(model, images)
    _, logits = keras_runner.KerasRunner(model)(images)
    logits = outputs(model, images) if logits is None else logits
    assert logits.std(axis=-1).mean() == pytest.approx(
        random_weights.LOGIT_SPREAD, rel=1e-2
    )


def test_a_full_disk(tmp_path, monkeypatch):
    model = small_model("basic_original", input_shape=(32, 32, 3))

    def full(path, content):
        with open(path, "wb") as file:
            file.write(content[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        to_tflite(model, tmp_path / "a.tflite")
    assert only(tmp_path) == []
