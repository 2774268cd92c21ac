"""The exporters look at what they are given: float, quantization-aware, at rest, inside."""

import json

import keras
import numpy as np
import onnx
import pytest
import zoo
from helpers import floats_of_the_runtime
from helpers import noise
from helpers import outputs
from helpers import refusal
from helpers import small_model

import keras_resnets
from keras_resnets import quantization
from keras_resnets.export import parity
from keras_resnets.export import to_keras
from keras_resnets.export import to_onnx
from keras_resnets.export import to_saved_model
from keras_resnets.export import to_tflite
from keras_resnets.export.compare.open_runner import open_runner
from keras_resnets.export.tflite import runner as tflite_runner
from keras_resnets.weights.naming import variant_of

SHAPE = (16, 16, 3)
IMAGES = noise(12, *SHAPE)
ONE_UNIT = {"depths": (1, 1)}


@pytest.fixture(scope="module")
def models():
    """(a float model, its quantization-aware one)."""
    model = small_model("basic_full_preact", input_shape=SHAPE, axes=ONE_UNIT)
    return model, quantization.quantize_aware(model, calibration=IMAGES)


def sqnr(model, path):
    return parity.compare(outputs(model, IMAGES), open_runner(path)(IMAGES)).sqnr


def inside(aware):
    """Behind and in front of other layers, as a model of a user has it."""
    image = keras.Input(SHAPE)
    return keras.Model(image, aware(keras.layers.RandomFlip()(image)), name="around")


@pytest.mark.costly_but("inside")
@pytest.mark.parametrize("how", ["aware", "frozen", "inside"])
def test_tflite_is_the_int8_file(how, models, tmp_path):
    model, aware = models
    made = {"aware": aware, "frozen": quantization.freeze(aware)}.get(how)
    made = made or inside(aware)
    path = to_tflite(made, tmp_path / "a.tflite", "int8", images=IMAGES).path
    counts = tflite_runner.operators(path.read_bytes())
    # A pre-activation network: BN that stands alone is a depthwise convolution.
    assert counts["CONV_2D"] == 6 and "QUANTIZE" not in counts
    assert not tflite_runner.float_operators(path.read_bytes())
    assert sqnr(model, path) > 20
    recipe = json.loads((tmp_path / "a.tflite.json").read_text())["recipe"]
    assert recipe["made_of"] == "a quantization-aware model"


@pytest.mark.costly
def test_one_way_to_the_same_file(models, tmp_path):
    _, aware = models
    to_tflite(aware, tmp_path / "a.tflite")
    quantization.to_tflite(aware, tmp_path / "b.tflite")
    first, second = ((tmp_path / f"{x}.tflite").read_bytes() for x in "ab")
    assert first == second


def test_what_is_refused(models, tmp_path):
    model, aware = models
    path = tmp_path / "a.tflite"
    word = "is quantization-aware"
    refusal(lambda: to_tflite(aware, path, "float16"), word, "'float16'", "int8")
    refusal(lambda: to_tflite(aware, path, calibration=IMAGES), word, "calibration")
    refusal(lambda: to_tflite(aware, path, per_tensor=True), word, "per_tensor")
    other = tmp_path / "a.onnx"
    refusal(lambda: to_onnx(aware, other, "float16"), word, "ONNX", "'float16'")
    refusal(lambda: to_onnx(aware, other, reduce_range=True), word, "reduce_range")
    refusal(lambda: to_onnx(model, other, symmetric=True), "symmetric", "float32")
    for recipe, engine in (("static_wi8_ai8", "converter"), ("float16", None)):
        refusal(
            lambda recipe=recipe, engine=engine: quantization.quantize(
                aware, path, recipe, IMAGES, engine=engine
            ),
            "already quantized",
        )
    refusal(lambda: quantization.to_tflite(model, path), "quantization-aware model")
    unknown = quantization.quantize_aware(model)
    for write, name in (
        (to_tflite, "a.tflite"),
        (to_onnx, "a.onnx"),
        (to_saved_model, "a"),
    ):
        refusal(
            lambda write=write, name=name: write(unknown, tmp_path / name),
            "range of image_range is not set",
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.costly
def test_saved_models_and_keras_files_round_as_the_model_does(models, tmp_path):
    _, aware = models
    for write, name in ((to_saved_model, "a"), (to_keras, "a.keras")):
        path = write(aware, tmp_path / name).path
        found = open_runner(path)(IMAGES)
        np.testing.assert_allclose(found, outputs(aware, IMAGES), atol=1e-5)
    loaded = keras.saving.load_model(tmp_path / "a.keras")
    kinds = {type(layer).__name__ for layer in loaded.layers}
    assert {"FakeQuantize", "QuantizedConv2D", "QuantizedAffine"} <= kinds


def scales_and_zero_points(path):
    """(types of activations, zero points of all, types of the constants)."""
    graph = onnx.load(path).graph
    arrays = {x.name: onnx.numpy_helper.to_array(x) for x in graph.initializer}
    pairs = [x for x in graph.node if x.op_type == "QuantizeLinear"]
    zeros = [arrays[x.input[2]] for x in pairs]
    held = [x for x in graph.node if x.op_type == "DequantizeLinear"]
    constants = {str(arrays[x.input[0]].dtype) for x in held if x.input[0] in arrays}
    return {str(x.dtype) for x in zeros}, {int(x) for x in zeros}, constants


@pytest.mark.costly_but("nchw")
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_onnx_is_the_qdq_file(layout, models, tmp_path):
    model, aware = models
    options = {"layout": layout, "full_range": True}
    report = to_onnx(aware, tmp_path / "a.onnx", images=IMAGES, **options)
    assert report.quantize == "int8" and report.logits.sqnr > 35
    assert sqnr(model, report.path) > 20
    kinds, _, constants = scales_and_zero_points(report.path)
    # Kernels and biases, those of BN that stands alone among them.
    assert kinds == {"uint8"} and constants == {"int8", "int32"}
    assert floats_of_the_runtime(report.path, tmp_path) == []


@pytest.mark.costly
def test_symmetric_activations(models, tmp_path):
    model, aware = models
    report = to_onnx(aware, tmp_path / "a.onnx", images=IMAGES, symmetric=True)
    kinds, zeros, _ = scales_and_zero_points(report.path)
    assert kinds == {"int8"} and zeros == {0}
    assert sqnr(model, report.path) > 20
    path = tmp_path / "b.onnx"
    to_onnx(model, path, "int8", calibration=IMAGES, symmetric=True)
    kinds, zeros, _ = scales_and_zero_points(path)
    assert kinds == {"int8"} and zeros == {0}
    assert sqnr(model, path) > 20


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["grouped", "shortcut_a", "shortcut_d", "darknet", "imagenet_stem"]
)
def test_onnx_of_every_kind(kind, tmp_path):
    model = small_model(kind, input_shape=SHAPE, axes=ONE_UNIT)
    aware = quantization.quantize_aware(model, calibration=IMAGES)
    report = to_onnx(aware, tmp_path / "a.onnx", images=IMAGES, full_range=True)
    assert report.logits.sqnr > 35 and sqnr(model, report.path) > 20
    assert floats_of_the_runtime(report.path, tmp_path) == []


def rescaled():
    """Bytes go in; augmentation, scaling and normalization are layers of the model."""
    image = keras.Input(SHAPE)
    x = keras.layers.RandomFlip()(image)
    x = keras.layers.Rescaling(1 / 255.0)(x)
    normal = keras.layers.Normalization(mean=[0.5, 0.4, 0.3], variance=[0.04] * 3)
    x = keras.layers.RandomBrightness(0.1, (-3, 3))(normal(x))
    inner = small_model("basic_original", input_shape=SHAPE, axes=ONE_UNIT)
    return keras.Model(image, inner(x), name="rescaled")


def normalized_between():
    image = keras.Input(SHAPE)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = keras.layers.Rescaling(0.5, -1.0)(x)
    x = keras.layers.Conv2D(8, 3, padding="same")(keras.layers.ReLU()(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(4)(x))


@pytest.mark.costly
@pytest.mark.parametrize("make", [rescaled, normalized_between])
def test_scaling_inside_a_model(make, tmp_path):
    model = make()
    pixels = make is rescaled
    images = np.round(255 * np.random.default_rng(0).random((12, *SHAPE)))
    images = images.astype("float32") if pixels else IMAGES
    aware = quantization.quantize_aware(model, calibration=images)
    expected = outputs(model, images)
    assert parity.compare(expected, outputs(aware, images)).sqnr > 25
    to_tflite(aware, tmp_path / "a.tflite", images=images)
    quantization.quantize(model, tmp_path / "b.tflite", calibration=images)
    for name in ("a.tflite", "b.tflite"):
        found = open_runner(tmp_path / name)(images)
        assert parity.compare(expected, found).sqnr > 20
    if pixels:
        names = [layer.name for layer in aware.layers]
        # Scaling and mean are one convolution, at rest, behind the input's range.
        conv = next(x for x in aware.layers if "QuantizedConv2D" in type(x).__name__)
        assert conv.kernel.shape == (1, 1, 3, 3) and not conv.trainable
        assert any("random_flip" in name for name in names)
    # Training moves it on.
    aware.compile("sgd", "mse")
    aware.fit(images, expected, batch_size=4, verbose=0)


@pytest.mark.parametrize("name", ["hard_sigmoids", "arithmetic", "output_between"])
def test_training_changes_no_constant(name):
    model = zoo.seeded(name)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    weighted = {layer.name for layer in model.layers if layer.trainable_weights}
    trained = [
        layer
        for layer in quantization.quantize_aware(model).layers
        if layer.trainable_weights
    ]
    assert len(trained) >= len(weighted)
    for layer in trained:
        # The first part of a separable convolution is named after it.
        names = {name.removesuffix("_depthwise") for name in layer.replaces}
        assert names & weighted, layer.name


@pytest.mark.costly
def test_zoo_in_the_formats_of_quantization_aware_models(tmp_path):
    model = zoo.seeded("gated")
    aware = quantization.quantize_aware(model, calibration=IMAGES)
    assert sqnr(model, to_onnx(aware, tmp_path / "a.onnx", images=IMAGES).path) > 20
    loaded = to_keras(aware, tmp_path / "a.keras").path
    np.testing.assert_allclose(
        open_runner(loaded)(IMAGES), outputs(aware, IMAGES), atol=1e-5
    )
    assert keras_resnets.analyze(aware).macs >= keras_resnets.analyze(model).macs


@pytest.mark.costly
def test_commands_take_the_file_of_a_quantization_aware_variant(tmp_path, capsys):
    """Its weights are not those of the variant whose architecture it has."""
    from keras_resnets.cli import main as cli

    model = keras_resnets.ResNet8(input_shape=SHAPE)
    aware = quantization.quantize_aware(model, calibration=IMAGES)
    to_keras(aware, tmp_path / "aware.keras")
    to_keras(model, tmp_path / "float.keras")
    out = tmp_path / "a.tflite"
    words = ["export", "tflite", str(tmp_path / "aware.keras"), "--output", str(out)]
    assert cli.main(words) == 0, capsys.readouterr().err
    assert not tflite_runner.float_operators(out.read_bytes())
    assert variant_of(tmp_path / "aware.keras") is None
    assert variant_of(tmp_path / "float.keras") == "resnet8"
