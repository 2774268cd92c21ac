"""Quantization after training: recipes, calibration sets, engines, real networks."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from helpers import noise
from helpers import refusal
from helpers import small_model
from quantized import CHECKPOINTS
from quantized import CIFAR
from quantized import cifar
from quantized import classifying_model
from quantized import logits_of

import keras_resnets
from keras_resnets import quantization
from keras_resnets.export import parity
from keras_resnets.export.tflite.runner import TFLiteRunner
from keras_resnets.images import calibration
from keras_resnets.quantization import bias_correction
from keras_resnets.quantization import choices
from keras_resnets.quantization import ranges
from keras_resnets.quantization.qat import rewrite


@pytest.mark.parametrize("name", quantization.RECIPES)
def test_names_of_recipes_decode(name):
    recipe = quantization.RECIPES[name]
    words = name.split("_")
    bits = {f"wi{recipe.weight_bits}", f"ai{recipe.activation_bits}"}
    assert bits & set(words) or name == "float16"
    assert ("per_tensor" in name) == (not recipe.per_channel)
    assert (words[0] == "static") == (recipe.activation_bits is not None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.weight_bits = 8


def test_choice_of_pictures(tmp_path, photos):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype="uint8")
    np.savez(tmp_path / "data.npz", x_train=pixels)
    first, again, other = (
        quantization.choose(tmp_path / "data.npz", CIFAR, 20, seed)
        for seed in (1, 1, 2)
    )
    assert first.record() == again.record() != other.record()
    assert first.record()["source"] == "data.npz" and first.record()["of"] == 40
    known = {x.tobytes() for x in CIFAR.normalize(pixels, "channels_last")}
    assert {x.tobytes() for x in first.images} < known
    assert len(quantization.choose(tmp_path / "data.npz", CIFAR).images) == 40
    for index in range(6):
        (photos / f"more{index}.png").write_bytes(
            (photos / f"{index}.png").read_bytes()
        )
    found = quantization.choose(photos, CIFAR, 10)
    assert found.images.shape == (10, 32, 32, 3) and found.available == 12


def test_bad_calibration_sets(tmp_path, photos):
    shape = (32, 32, 3)
    good = CIFAR.normalize(
        np.random.default_rng(0).integers(0, 256, (12, *shape)), "channels_last"
    )
    check = calibration.checked_set
    assert check(good, shape, CIFAR).images is good
    refusal(lambda: check(None, shape), "calibration", "got None")
    refusal(lambda: check(good[:, :16], shape), "32, 32, 3", "(12, 16, 32, 3)")
    refusal(lambda: check(good[0], shape), "(32, 32, 3)")
    refusal(lambda: check(good[:9], shape), "at least 10", "9")
    refusal(lambda: check(np.ones((12, *shape)), shape), "single colour")
    refusal(lambda: check(np.where(good > 1, np.nan, good), shape), "NaN")
    refusal(lambda: check(good * 60 + 120, shape, CIFAR), "preprocessed", "cifar")
    refusal(lambda: check(good * 0.01, shape, CIFAR), "preprocessed")
    choose = quantization.choose
    refusal(lambda: choose(tmp_path / "no.npz", CIFAR), "no.npz")
    refusal(lambda: choose(photos, CIFAR), "at least 10", "6")
    refusal(lambda: choose(photos, CIFAR, count=3), "count=3")
    np.savez(tmp_path / "test.npz", x_test=good)
    refusal(lambda: choose(tmp_path / "test.npz", CIFAR), "x_train")
    np.savez(tmp_path / "float.npz", x_train=good)
    refusal(lambda: choose(tmp_path / "float.npz", CIFAR), "uint8", "float")


def test_ranges_of_known_values():
    rng = np.random.default_rng(0)
    seen = ranges.Observed(rng)
    values = rng.standard_normal((100, 1000)).astype("float32")
    values[0, 0] = 40
    seen.see(values)
    assert ranges.choose(seen, method="minmax") == (values.min(), 40)
    low, high = ranges.choose(seen, method="percentile", percentile=99)
    assert (low, high) == pytest.approx((-2.33, 2.33), abs=0.1)
    # The best range for a normal variable and 8 bits reaches about 4 deviations.
    sample = rng.standard_normal(200_000)
    low, high = ranges.least_squares(sample, sample.min(), 40.0)
    assert 3.3 < high < 4.6 and -4.6 < low < -3.3
    assert ranges.least_squares(np.abs(sample), 0.0, 40.0)[0] == 0


def test_corrected_biases_keep_the_mean():
    """Of 1x1 convolutions, which have no border; groups are summed apart."""
    image = keras.Input((8, 8, 6))
    conv = keras.layers.Conv2D(6, 1, groups=3, use_bias=False, name="conv")
    model = keras.Model(image, conv(image))
    conv.kernel.assign(noise(1, 1, 2, 6))
    made = rewrite.rewrite(model, quantization.Recipe(name="coarse", weight_bits=4))
    x = np.abs(noise(20, 8, 8, 6)) * np.arange(1, 7)
    new = made.get_layer("conv")

    def mean_of(layers):
        with ranges.float_arithmetic(made, but=layers):
            return np.array(keras.ops.mean(made(x), (0, 1, 2)))

    wanted, off = mean_of([]), mean_of([new])
    assert np.abs(off - wanted).max() > 0.1
    bias_correction.correct_biases(made, x)
    np.testing.assert_allclose(mean_of([new]), wanted, atol=1e-5)


def test_engines_and_passports(tmp_path, shared_data):
    pixels, labels = cifar(shared_data)
    x = CIFAR.normalize(pixels, "channels_last")
    model = classifying_model("basic_original", x[:500], labels[:500], depths=(1, 1))
    chosen = quantization.CalibrationSet(x[:50], "cifar", 3, 1500)
    expected = logits_of(model).predict(x[500:700], verbose=0)
    for engine, per_tensor in (
        ("ranges", True),
        ("converter", False),
        ("ai_edge_quantizer", False),
    ):
        if engine == "ai_edge_quantizer":
            pytest.importorskip("ai_edge_quantizer")
        recipe = "static_wi8_ai8" + ("_per_tensor" if per_tensor else "")
        path = tmp_path / f"{engine}.tflite"
        report = quantization.quantize(model, path, recipe, chosen, engine=engine)
        found = parity.compare(
            expected, TFLiteRunner(path.read_bytes(), 2, True)(x[500:700])
        )
        assert found.rmse < 0.2 and report.operators["CONV_2D"] == 6, engine
        passport = json.loads((tmp_path / f"{engine}.tflite.json").read_text())[
            "recipe"
        ]
        assert passport["recipe"] == recipe and passport["engine"] == engine
        assert passport["calibration"] == chosen.record()


@pytest.mark.costly
def test_pixels_go_in(tmp_path, shared_data):
    """With the preprocessing inside, the file's input is the pixel."""
    pixels, labels = cifar(shared_data)
    x = CIFAR.normalize(pixels, "channels_last")
    model = classifying_model("basic_original", x[:500], labels[:500], depths=(1, 1))
    path = tmp_path / "pixels.tflite"
    quantization.quantize(model, path, calibration=x[:50], preprocessing=CIFAR)
    runner = TFLiteRunner(path.read_bytes(), 2, True)
    assert runner.takes_pixels
    expected = logits_of(model).predict(x[500:600], verbose=0)
    assert parity.compare(expected, runner(pixels[500:600])).rmse < 0.1


def test_what_engines_refuse(tmp_path):
    model = small_model("basic_original", input_shape=(16, 16, 3))
    x = noise(12, 16, 16, 3)

    def call(recipe="static_wi8_ai8", **options):
        path = tmp_path / "no.tflite"
        options = {"calibration": x, **options}
        return lambda: quantization.quantize(model, path, recipe, **options)

    refusal(call(engine="tfmot"), "engine", "converter")
    refusal(call("float16", engine="ranges"), "ranges", "float16")
    refusal(call("static_wi4_ai8", engine="converter"), "8-bit weights")
    refusal(call("static_wi8_ai8", storage="conv_int4"), "4-bit weights")
    refusal(call("static_wi8_ai8", prefer="size"), "4-bit weights")
    refusal(call("static_wi4_ai8", storage="conv4"), "storage", "conv_int4")
    refusal(call("static_wi4_ai8", storage="int8", prefer="size"), "prefer")
    refusal(call(engine="converter", method="mse"), "minmax")
    refusal(call(method="best"), "method")
    refusal(call(percentile=20), "percentile")
    refusal(call(calibration=None), "calibration")
    refusal(call(calibration=x[:3]), "at least 10")
    for recipe in ("float16", "static_wi4_ai8"):
        refusal(call(recipe, engine="ai_edge_quantizer"), "leave out the engine")
    aware = quantization.quantize_aware(model, calibration=x)
    refusal(lambda: quantization.quantize(aware, tmp_path / "a.tflite", calibration=x))
    refusal(lambda: quantization.to_tflite(model, tmp_path / "a.tflite"), "aware")
    assert not list(tmp_path.iterdir())
    assert choices.default_engine(quantization.RECIPES["static_wi8_ai8"]) == "ranges"


def quantized_figures(name, folder, tmp_path, recipe, count, calibrated=200):
    """(Parity of the logits, top-1 of the file, its bytes) on test pictures."""
    model = keras_resnets.create_model(name, weights=folder / CHECKPOINTS[name])
    pixels, labels = cifar(folder, "test", count)
    x = model.preprocessing.normalize(pixels, "channels_last")
    train, _ = cifar(folder, "train", calibrated)
    train = model.preprocessing.normalize(train, "channels_last")
    report = quantization.quantize(model, tmp_path / "a.tflite", recipe, train)
    found = TFLiteRunner(report.path.read_bytes(), 2, logits=True)(x)
    expected = logits_of(model).predict(x, batch_size=250, verbose=0)
    top1 = float((found.argmax(1) == labels).mean())
    return parity.compare(expected, found), top1, report.size


@pytest.mark.costly
def test_trained_network(tmp_path, shared_data):
    recipe = "static_wi8_ai8_per_tensor"
    found, top1, _ = quantized_figures("resnet20", shared_data, tmp_path, recipe, 1000)
    assert found.top1 >= 0.985 and found.rmse <= 0.04
    assert 0.90 < top1 < 0.95


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["static_wi8_ai8", "static_wi8_ai8_per_tensor"])
@pytest.mark.parametrize("name", ["resnet20", "resnet32", "resnet56"])
def test_trained_networks_on_all_pictures(name, recipe, tmp_path, shared_data):
    found, top1, _ = quantized_figures(
        name, shared_data, tmp_path, recipe, 10_000, calibrated=500
    )
    floats = {"resnet20": 0.9173, "resnet32": 0.9263, "resnet56": 0.9339}
    assert found.top1 >= 0.988 and found.rmse <= 0.04
    assert abs(top1 - floats[name]) <= 0.003


@pytest.mark.slow
def test_mlperf_tiny(tmp_path, shared_data):
    """No worse and no larger than the reference's own int8 file."""
    _, top1, size = quantized_figures(
        "resnet8", shared_data, tmp_path, "static_wi8_ai8", 10_000, calibrated=500
    )
    assert top1 >= 0.8697 and size <= 98_496
