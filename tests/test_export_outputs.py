"""Several outputs: Keras' order and names in every format, read as a program reads them."""

import json

import keras
import numpy as np
import pytest
import zoo
from helpers import noise
from helpers import randomize
from helpers import small_model
from helpers import with_large_equal_logits

import keras_resnets
from keras_resnets import pruning
from keras_resnets import quantization
from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.export import number_formats
from keras_resnets.export import parity
from keras_resnets.export import to_keras
from keras_resnets.export import to_onnx
from keras_resnets.export import to_saved_model
from keras_resnets.export import to_tflite
from keras_resnets.export.compare import verify as verifying
from keras_resnets.export.tflite import runner as tflite_runner

IMAGES = noise(10, *zoo.SHAPE)
# Neither the alphabet nor the way of the image.
FEATURES = ["stage2", "stem", "stage1"]


def backbone():
    return small_model("basic_original", input_shape=zoo.SHAPE)


def twice_the_same():
    image = keras.Input(zoo.SHAPE)
    x = keras.layers.ReLU(name="z")(keras.layers.Conv2D(4, 3)(image))
    y = keras.layers.GlobalAveragePooling2D(name="a")(x)
    return randomize(keras.Model(image, {"one": x, "mean": y, "other": x}))


MODELS = {
    "list": (lambda: zoo.seeded("two_outputs"), ["predictions", "second", None], {}),
    "dict": (lambda: zoo.seeded("named_outputs"), ["wide", "narrow", "classes"], {}),
    "features": (backbone, FEATURES, {"features": FEATURES}),
    "twice": (twice_the_same, ["one", "mean", "other"], {}),
}


def expected(model, options):
    """(names, values) of the outputs in Keras' order, of which a dict's is its own."""
    if options:
        model = keras_resnets.feature_extractor(model, FEATURES)
    made = model(IMAGES[:1], training=False)
    pairs = made if isinstance(made, dict) else dict(enumerate(made))
    return [keras.ops.convert_to_numpy(values) for values in pairs.values()]


def by_index(path):
    """(names, shapes, values) as a C program gets them: by the order in the file."""
    interpreter = tflite_runner.litert().Interpreter(str(path))
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()
    assert [one["name"] for one in given] == ["image"]
    image = tflite_runner.quantize(IMAGES[:1], given[0])
    interpreter.set_tensor(given[0]["index"], image)
    interpreter.invoke()
    details = interpreter.get_output_details()
    values = [
        tflite_runner.dequantize(interpreter.get_tensor(one["index"]), one)
        for one in details
    ]
    return details, values


def check(details, values, names, wanted, least):
    for one, found, name, right in zip(details, values, names, wanted, strict=True):
        assert name in (None, one["name"])
        assert parity.compare(right, found).sqnr > least


@pytest.mark.costly_but("dict")
@pytest.mark.parametrize("kind", MODELS)
def test_tflite(kind, tmp_path):
    make, names, options = MODELS[kind]
    model = make()
    wanted = expected(model, options)
    report = to_tflite(model, tmp_path / "a.tflite", **options)
    details, values = by_index(report.path)
    if kind == "twice":
        # One tensor has one name; the signature has both.
        assert [one["name"] for one in details] == ["one", "mean", "one"]
        names = ["one", "mean", "one"]
    check(details, values, names, wanted, 80)
    report = to_tflite(
        model, tmp_path / "b.tflite", "int8", calibration=IMAGES, **options
    )
    details, values = by_index(report.path)
    check(details, values, [None] * 3, wanted, 20)
    told = json.loads((tmp_path / "b.tflite.json").read_text())
    assert [port["name"] for port in told["inputs"]] == ["image"]
    for port, one in zip(told["outputs"], details, strict=True):
        assert (port["scale"], port["zero_point"]) == one["quantization"]
        assert (port["dtype"], port["shape"]) == ("int8", list(one["shape"]))


@pytest.mark.costly
def test_quantization_aware_models_have_the_names_of_the_float_model(tmp_path):
    for kind in ("list", "dict"):
        make, names, _ = MODELS[kind]
        model = make()
        aware = quantization.quantize_aware(model, calibration=IMAGES)
        path = tmp_path / f"{kind}.tflite"
        quantization.to_tflite(aware, path, IMAGES)
        check(*by_index(path), names, expected(model, {}), 20)


@pytest.mark.costly_but("features")
@pytest.mark.parametrize("kind", ["list", "dict", "features"])
def test_onnx(kind, tmp_path):
    import onnxruntime

    make, names, options = MODELS[kind]
    model = make()
    for quantize, least in (("none", 80), ("int8", 20)):
        path = tmp_path / f"{quantize}.onnx"
        given = {} if quantize == "none" else {"calibration": IMAGES}
        to_onnx(model, path, quantize, **given, **options)
        session = onnxruntime.InferenceSession(str(path))
        details = [{"name": one.name} for one in session.get_outputs()]
        values = session.run(None, {"image": IMAGES[:1]})
        check(details, values, names, expected(model, options), least)
        told = json.loads((tmp_path / f"{quantize}.onnx.json").read_text())
        assert [port["name"] for port in told["outputs"]] == [
            one["name"] for one in details
        ]


def test_keras_files_keep_the_structure(tmp_path):
    for kind in ("list", "dict"):
        model = MODELS[kind][0]()
        path = to_keras(model, tmp_path / f"{kind}.keras").path
        loaded = keras.saving.load_model(path)
        assert type(loaded.output) is type(model.output)
        found = keras.tree.flatten(loaded(IMAGES, training=False))
        right = keras.tree.flatten(model(IMAGES, training=False))
        for ours, theirs in zip(found, right, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_saved_model_has_names_and_no_order(tmp_path):
    to_saved_model(MODELS["dict"][0](), tmp_path / "a")
    told = json.loads((tmp_path / "a.json").read_text())
    names = [port["name"] for port in told["outputs"]]
    assert names == ["classes", "narrow", "wide"]


def test_several_inputs_are_refused_by_name(tmp_path):
    left, right = keras.Input(zoo.SHAPE), keras.Input(zoo.SHAPE)
    conv = keras.layers.Conv2D(8, 3, padding="same")
    x = keras.layers.ReLU()(keras.layers.Add()([conv(left), conv(right)]))
    x = keras.layers.Conv2D(8, 3)(x)
    x = keras.layers.Conv2D(8, 3)(keras.layers.ReLU()(x))
    model = keras.Model([left, right], x, name="siamese")
    before = model.get_weights()
    calls = [
        lambda: to_tflite(model, tmp_path / "a.tflite"),
        lambda: to_onnx(model, tmp_path / "a.onnx"),
        lambda: to_saved_model(model, tmp_path / "a"),
        lambda: to_keras(model, tmp_path / "a.keras"),
        lambda: keras_resnets.analyze(model),
        lambda: quantization.quantize_aware(model),
        lambda: quantization.quantize(model, tmp_path / "a.tflite", calibration=IMAGES),
        lambda: quantization.sensitivity(model, IMAGES),
        lambda: pruning.prune(model, 0.5),
        lambda: pruning.pruning_report(model),
    ]
    for call in calls:
        with pytest.raises(
            InvalidArgument, match="one (image )?input.*siamese"
        ) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    # Its graph alone says what can go.
    small = pruning.shrink(model, 0.5)
    assert len(small.inputs) == 2 and small.count_params() < model.count_params()


def test_an_output_that_is_an_input_keeps_its_name(tmp_path):
    image = keras.Input((8, 8, 3))
    pooled = keras.layers.GlobalAveragePooling2D(name="pooled")(image)
    model = keras.Model(image, [image, pooled])
    report = to_keras(model, tmp_path / "net.keras")
    loaded = keras.saving.load_model(report.path)
    names = [tensor._keras_history.operation.name for tensor in loaded.outputs]
    assert names == [model.layers[0].name, "pooled"]


@pytest.mark.costly
def test_large_logits_are_no_error_of_a_file(tmp_path):
    """An untrained network on raw pixels has them, and one file in 25 was refused."""
    images = noise(4, 32, 32, 3)
    model, largest = with_large_equal_logits(images)
    assert largest > 1000
    exporters = {"a.onnx": to_onnx, "a.tflite": to_tflite, "a": to_saved_model}
    for name, exporter in exporters.items():
        report = exporter(model, tmp_path / name, images=images)
        assert report.outputs.max_error < 1e-6 * largest
    for first, second in (("a.onnx", "a.tflite"), ("a", "a.tflite"), ("a.onnx", "a")):
        found = verifying.verify(tmp_path / first, tmp_path / second, [images])
        assert found.largest_logit > 1000
        numbers = number_formats.find("none")
        assert not parity.excesses(
            numbers, found.probabilities, found.logits, found.largest_logit
        )


def test_how_far_probabilities_may_be_off():
    numbers = number_formats.find("none")
    right = np.full((2, 4), 0.25)
    wrong = parity.compare(right, right + [5e-5, 0, 0, -5e-5])
    parity.check(numbers, wrong, None, largest_logit=51.0)
    for largest, allowed in ((49.0, "4.9e-05"), (10.0, "1e-05"), (0.0, "1e-05")):
        with pytest.raises(ExportError, match=rf"by 5e-05 \(allowed {allowed}\)"):
            parity.check(numbers, wrong, None, largest)
    # Features beside the logits may be larger, and do not count.
    outputs = {"features": np.full((1, 3), 900.0), "classes": np.array([[-7.0, 2.0]])}
    assert parity.largest(outputs, ["classes"]) == 7
    assert parity.largest(outputs, []) == parity.largest(None, ["classes"]) == 0
