"""Graphs as users build them: everything says what the float model says, or refuses."""

import pickle

import keras
import numpy as np
import pytest
import zoo
from helpers import noise
from helpers import randomize
from helpers import refusal

import keras_resnets
from keras_resnets import pruning
from keras_resnets import quantization
from keras_resnets.errors import UnknownLayer
from keras_resnets.export import parity
from keras_resnets.export import to_keras
from keras_resnets.export import to_onnx
from keras_resnets.export import to_saved_model
from keras_resnets.export import to_tflite
from keras_resnets.export.compare.open_runner import open_runner
from keras_resnets.pruning import channels
from keras_resnets.quantization import ranges

IMAGES = noise(12, *zoo.SHAPE)


def images_of(name):
    """Images for a network of the zoo; one divides pixels by 255 itself."""
    return 127 + 60 * IMAGES if name == "swish_block" else IMAGES


def says(model, images=IMAGES):
    """The outputs of a model as a list of arrays."""
    found = keras.tree.flatten(model(images, training=False))
    return [keras.ops.convert_to_numpy(values) for values in found]


def sqnr(expected, found):
    return min(parity.compare(a, b).sqnr for a, b in zip(expected, found, strict=True))


@pytest.mark.parametrize("name", zoo.ZOO)
def test_without_rounding_it_is_the_float_model(name):
    model = zoo.seeded(name)
    made = quantization.quantize_aware(model)
    with ranges.float_arithmetic(made):
        for ours, theirs in zip(says(made), says(model), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5)
    structure = keras.tree.map_structure(lambda x: 0, model.output)
    assert keras.tree.map_structure(lambda x: 0, made.output) == structure


@pytest.mark.costly_but(
    "nested_in_nested",
    "nested_on_two_branches",
    "shared_convolution_own_norms",
    "shared_without_weights",
    "operations",
    "products",
    "arithmetic",
    "gated",
    "swish",
    "curves",
    "hyperbolic",
    "two_outputs",
    "named_outputs",
)
@pytest.mark.parametrize("name", zoo.ZOO)
def test_rounded_it_is_near_the_float_model(name):
    """Nothing is compared with itself: the reference is what the user gave."""
    model = zoo.seeded(name)
    images = images_of(name)
    made = quantization.quantize_aware(model, calibration=images)
    assert sqnr(says(model, images), says(made, images)) > 25


def test_what_has_no_integer_form_is_named():
    image = keras.Input(zoo.SHAPE)
    x = keras.layers.PReLU(name="leaks")(keras.layers.Conv2D(4, 3)(image))
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(5)(x))
    refusal(lambda: quantization.quantize_aware(model), "leaks", "engine 'converter'")
    refusal(lambda: quantization.sensitivity(model, IMAGES), "leaks")
    data = IMAGES + 1, np.arange(12) % 5
    refusal(lambda: quantization.find_mix(model, IMAGES, data, 50), "leaks")


def test_a_depthwise_convolution_is_one_operator_of_the_simulated_file(tmp_path):
    model = zoo.seeded("separable")
    aware = quantization.quantize_aware(model, calibration=IMAGES)
    report = quantization.to_tflite(aware, tmp_path / "a.tflite", IMAGES)
    # Dilation and strides included; each application of a shared one counts.
    assert report.operators["DEPTHWISE_CONV_2D"] == 5
    assert report.operators["CONV_2D"] == 3
    assert report.logits.sqnr > 35
    report = to_onnx(aware, tmp_path / "a.onnx", images=IMAGES)
    assert report.operators["Conv"] == 8
    assert report.logits.sqnr > 35


def numbers_of_no_channel():
    image = keras.Input(zoo.SHAPE)
    x = image * np.arange(16, dtype="float32").reshape(16, 1, 1)
    return keras.Model(image, keras.layers.Conv2D(4, 3)(x))


def power():
    image = keras.Input(zoo.SHAPE)
    return keras.Model(image, keras.layers.Conv2D(4, 3)(keras.ops.square(image)))


def cubic():
    image = keras.Input(zoo.SHAPE)
    x = keras.layers.Resizing(24, 24, interpolation="bicubic", name="larger")(image)
    return keras.Model(image, keras.layers.Conv2D(4, 3)(x))


def framed():
    image = keras.Input(zoo.SHAPE)
    x = keras.ops.image.resize(
        image, (24, 16), pad_to_aspect_ratio=True, fill_value=9.0
    )
    return keras.Model(image, keras.layers.Conv2D(4, 3)(x))


def columns_as_channels():
    image = keras.Input(zoo.SHAPE)
    x = keras.ops.image.resize(image, (8, 3), data_format="channels_first")
    return keras.Model(image, keras.layers.Conv2D(4, 3)(x))


def batch_moved():
    image = keras.Input(zoo.SHAPE)
    x = keras.ops.reshape(image, (-1, 8, 16, 3))
    return keras.Model(image, keras.layers.Conv2D(4, 3)(x))


@pytest.mark.parametrize(
    "make, words",
    [
        (numbers_of_no_channel, ("multiply", "keras.ops, Multiply")),
        (power, ("square", "keras.ops, Square")),
        (batch_moved, ("reshape", "keep the batch")),
        (cubic, ("larger", "Resizing (bilinear or nearest)")),
        (columns_as_channels, ("resize", "keras.ops, Resize")),
        (framed, ("resize", "Resizing (bilinear or nearest)")),
    ],
)
def test_operations_without_an_integer_form_are_named(make, words):
    refusal(lambda: quantization.quantize_aware(make()), *words)


def test_the_error_of_an_unknown_layer_passes_between_processes():
    with pytest.raises(UnknownLayer) as caught:
        quantization.quantize_aware(power())
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.costly
@pytest.mark.parametrize(
    "name",
    [
        "nested_called_twice",
        "gated",
        "swish",
        "curves",
        "hyperbolic",
        "inverted_residual",
        "separable",
        "resized",
        pytest.param("shared_convolution_own_norms", marks=pytest.mark.slow),
        pytest.param("shared_without_weights", marks=pytest.mark.slow),
        pytest.param("operations", marks=pytest.mark.slow),
    ],
)
def test_int8_files_say_what_the_model_says(name, tmp_path):
    model = zoo.seeded(name)
    aware = quantization.quantize_aware(model, calibration=IMAGES)
    path = quantization.to_tflite(aware, tmp_path / "aware.tflite", IMAGES).path
    quantization.quantize(model, tmp_path / "after.tflite", calibration=IMAGES)
    for name in (path, tmp_path / "after.tflite"):
        assert sqnr(says(model), [open_runner(name)(IMAGES)]) > 20


def test_a_shared_kernel_stays_one_and_has_a_range_for_each_use():
    aware = quantization.quantize_aware(
        zoo.seeded("shared_convolution"), calibration=IMAGES
    )
    kernels = [x for x in aware.layers if type(x).__name__ == "QuantizedConv2D"]
    ends = [x for x in aware.layers if type(x).__name__ == "FakeQuantize"]
    # The image, the stem, twice the shared one, the mean and the classifier.
    assert (len(kernels), len(ends)) == (2, 6)
    assert len({float(x.high) for x in ends}) == 6
    names = [x.name for x in aware.layers]
    assert len(names) == len(set(names))


def test_float_files_put_out_what_lies_between(tmp_path):
    """A convolution that is an output is not folded into the BN behind it."""
    model = zoo.seeded("output_between")
    expected = model(IMAGES, training=False)
    report = to_tflite(model, tmp_path / "a.tflite", images=IMAGES)
    found = open_runner(report.path)(IMAGES)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-4)


def stock_groups_and_operations():
    image = keras.Input(zoo.SHAPE)
    x = keras.layers.Conv2D(8, 3, padding="same")(image)
    x = x + keras.layers.Conv2D(8, 3, padding="same", groups=4)(x) * 0.5
    x = keras.ops.mean(keras.ops.relu(x), axis=(1, 2))
    return keras.Model(image, keras.layers.Dense(5)(x))


def half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    return zoo.seeded("operations")


@pytest.mark.parametrize("make", [stock_groups_and_operations, half_precision])
def test_operations_are_copied_with_what_must_change(make, tmp_path):
    model = make()
    keras.config.set_dtype_policy("float32")
    near = 2e-2 if make is half_precision else 1e-5
    for write, name in ((to_tflite, "a.tflite"), (to_keras, "a.keras")):
        found = open_runner(write(model, tmp_path / name).path)(IMAGES)
        np.testing.assert_allclose(found, says(model)[0], atol=near, rtol=near)


def test_inner_models_are_pruned_and_reported():
    model = zoo.seeded("nested_same_names")
    report = pruning.prune(model, 0.8)
    kernels = [np.asarray(w) for w in model.weights if w.name == "kernel"]
    zeros = sum((k == 0).sum() for k in kernels) / sum(k.size for k in kernels)
    names = [name for name, _, _ in report.layers]
    assert names == ["conv", "left/conv", "right/conv", "predictions"]
    assert report.zeros == pytest.approx(zeros) and report.zeros < report.sparsity
    assert [round(share, 2) for _, _, share in report.layers] == [0, 0.8, 0.8, 0]
    # Both inner convolutions: 3x3x8x8 at 16x16.
    macs = 2 * 576 * 256
    assert report.macs - report.live_macs == pytest.approx(0.8 * macs, rel=0.01)


def test_live_multiply_adds_of_a_shared_kernel_count_for_each_use():
    report = pruning.prune(zoo.seeded("shared_convolution"), 0.5)
    assert report.macs - report.live_macs == 2 * 288 * 256


def test_zeros_of_inner_models_stay_while_training():
    model = zoo.seeded("nested_same_names")
    model.compile("sgd", "sparse_categorical_crossentropy")
    schedule = pruning.PolynomialSchedule(sparsity=0.5, end=2, every=1)
    labels = np.arange(12) % 5
    options = {"batch_size": 4, "verbose": 0}
    model.fit(IMAGES, labels, callbacks=[pruning.Prune(schedule)], **options)
    assert pruning.pruning_report(model).sparsity == pytest.approx(0.5, abs=0.01)
    model.fit(IMAGES, labels, callbacks=[pruning.KeepZeros()], **options)
    assert pruning.pruning_report(model).sparsity == pytest.approx(0.5, abs=0.01)


class Composed(keras.layers.Layer):
    """A convolution inside a layer of a user's own."""

    def __init__(self, **options):
        super().__init__(**options)
        self.conv = keras.layers.Conv2D(8, 3, padding="same", name="inside")

    def call(self, inputs):
        return self.conv(inputs)


def test_layers_composed_of_others_are_pruned_too():
    image = keras.Input(zoo.SHAPE)
    x = keras.layers.Conv2D(8, 3)(image)
    model = keras.Model(image, Composed(name="mine")(x))
    report = pruning.prune(model, 0.5)
    assert [name for name, _, _ in report.layers] == ["conv2d", "mine/inside"]
    assert report.layers[1][2] == 0.5


@pytest.mark.parametrize(
    "name",
    ["nested", "nested_same_names", "arithmetic", "gated", "swish_block", "resized"],
)
def test_channels_without_effect_go_unnoticed(name):
    """Where nothing but dead channels goes, the smaller model says the same."""
    model = zoo.seeded(name)
    found = channels.links(model)
    for link in found:
        kernel = np.array(link.reader.kernel)
        kernel[:, :, ::2] = 0
        link.reader.kernel.assign(kernel)
    small = pruning.shrink(model, 0.5)
    assert found and small.count_params() < model.count_params()
    for ours, theirs in zip(says(small), says(model), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_shared_channels_stay():
    model = zoo.seeded("nested_called_twice")
    refusal(lambda: pruning.shrink(model, 0.5), "no inner channels")


def test_sensitivity_of_several_outputs_counts_them_all():
    """Whatever touches but one of the outputs costs something too."""
    model = zoo.seeded("named_outputs")
    costs = quantization.sensitivity(model, IMAGES)
    assert len(costs) == 8 and all(cost.rmse > 0 for cost in costs)


@pytest.mark.parametrize(
    "name, words",
    [
        ("nested_called_twice", ("inner/conv2d", "applied 2 times")),
        ("branches", ("concatenate", "Concatenate")),
        ("named_outputs", ("one output", "has 3")),
    ],
)
def test_what_no_mix_can_have(name, words):
    model, data = zoo.seeded(name), (IMAGES + 1, np.arange(12) % 5)
    refusal(lambda: quantization.find_mix(model, IMAGES, data, 50), *words)


@pytest.mark.costly_but("gated-16")
@pytest.mark.parametrize("bits", [16, None])
@pytest.mark.parametrize("name", ["swish", "gated", "inverted_residual"])
def test_a_plan_reaches_every_operator(name, bits, tmp_path):
    """Layers of other people have the names that Keras gives: conv2d, conv2d_1."""
    keras.backend.clear_session(free_memory=False)
    model = zoo.seeded(name)
    costs = quantization.find_mix(model, IMAGES, held_out(model), 50).layers
    layer = quantization.LayerBits(bits and 8, bits)
    plan = quantization.PrecisionPlan("static_wi8_ai8", {x.name: layer for x in costs})
    mixed, int8 = (
        quantization.quantize(model, tmp_path / f"{i}.tflite", x, calibration=IMAGES)
        for i, x in enumerate((plan, "static_wi8_ai8"))
    )
    assert set(mixed.operators) - set(int8.operators)
    # The logits have 8 bits in both, which is most of the error.
    assert mixed.logits.sqnr > int8.logits.sqnr - 2
    assert {"conv2d", "conv2d_1"} <= {x.name for x in costs}


def held_out(model):
    images = noise(40, *zoo.SHAPE, seed=5)
    return images, says(model, images)[0].argmax(1)


def test_what_has_no_16_bits_is_named(tmp_path):
    model = zoo.seeded("curves")
    layer = {"hard_silu": quantization.LayerBits(8, 16)}
    plan = quantization.PrecisionPlan("static_wi8_ai8", layer)
    path = tmp_path / "a.tflite"
    with pytest.raises(
        keras_resnets.ExportError, match="hard_silu that can have other"
    ):
        quantization.quantize(model, path, plan, calibration=IMAGES)
    assert not path.exists()


def test_multiply_adds_count_for_each_use():
    once, twice = (
        keras_resnets.analyze(zoo.seeded(name)).macs
        for name in ("nested", "nested_called_twice")
    )
    assert twice - once == 576 * 256


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.ZOO)
def test_every_format(name, tmp_path):
    model = zoo.seeded(name)
    for write, path in (
        (to_tflite, "a.tflite"),
        (to_onnx, "a.onnx"),
        (to_saved_model, "a"),
        (to_keras, "a.keras"),
    ):
        report = write(model, tmp_path / path)
        # A SavedModel's logits cannot be read.
        assert (report.logits or report.outputs).relative_error < 1e-4
    for write, path in ((to_tflite, "b.tflite"), (to_onnx, "b.onnx")):
        report = write(model, tmp_path / path, "int8", calibration=images_of(name))
        assert report.logits.sqnr > 25


def equal_biases():
    """A convolution that scales each channel by itself."""
    image = keras.Input(zoo.SHAPE)
    x = keras.layers.Conv2D(3, 1, name="conv")(image)
    model = randomize(keras.Model(image, keras.layers.Conv2D(4, 3)(x)))
    kernel = np.diag([1.0, 0.5, 0.25])[None, None]
    model.get_layer("conv").set_weights([kernel, np.full(3, 3.0)])
    return model


def normalized():
    """A mean of one deviation in each channel: the offset is -1 in all of them."""
    image = keras.Input(zoo.SHAPE)
    x = keras.layers.Normalization(mean=[1.0, 2, 30], variance=[1.0, 4, 900])(image)
    return randomize(keras.Model(image, keras.layers.Conv2D(4, 3)(x)))


@pytest.mark.parametrize("make", [equal_biases, normalized])
def test_equal_biases_have_the_scale_of_their_channel(make, tmp_path):
    """TensorFlow's converter took that of the first channel for all."""
    model = make()
    aware = quantization.quantize_aware(model, calibration=IMAGES)
    path = quantization.to_tflite(aware, tmp_path / "a.tflite", IMAGES).path
    found = [open_runner(path)(IMAGES)]
    assert sqnr(says(model), found) > sqnr(says(model), says(aware)) - 1 > 30


@pytest.mark.costly_but("nhwc-static_wi8_ai8")
@pytest.mark.parametrize("recipe", ["float32", "float16", "static_wi8_ai8"])
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_a_map_of_classes_is_judged_by_its_logits(layout, recipe, tmp_path):
    """ONNX has a transposition behind the softmax, which five channels must survive."""
    image = keras.Input(zoo.SHAPE)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(image)
    x = keras.layers.Conv2D(5, (3, 1), activation="softmax")(x)
    model = randomize(keras.Model(image, x))
    path, options = tmp_path / "a.onnx", {"layout": layout}
    options["calibration" if "8" in recipe else "images"] = IMAGES
    report = to_onnx(model, path, recipe, **options)
    assert report.logits.sqnr > (25 if "8" in recipe else 45)
    rounded = open_runner(path)(IMAGES)
    assert sqnr(says(model), [rounded]) > 25


def test_a_gate_that_fails_names_the_layer_without_an_integer_form(tmp_path):
    image = keras.Input(zoo.SHAPE)
    x = keras.layers.Conv2D(8, 3)(image)
    x = keras.layers.Activation("mish", name="curved")(x)
    model = randomize(keras.Model(image, keras.layers.Conv2D(4, 3)(x)))
    path = tmp_path / "a.tflite"
    with (
        pytest.warns(UserWarning, match="curved"),
        pytest.raises(
            keras_resnets.ExportError, match="layer curved .*: replace it, or export"
        ),
    ):
        # The exponential inside has a range that eight bits cannot resolve.
        quantization.quantize(model, path, calibration=5 * IMAGES)
    assert not path.exists()


@pytest.mark.parametrize("dtype", ["float16", "float64", "int32"])
def test_inputs_of_other_types_are_refused_with_a_way_that_works(dtype, tmp_path):
    image = keras.Input(zoo.SHAPE, dtype=dtype)
    x = keras.layers.Rescaling(0.5)(image)
    model = randomize(keras.Model(image, keras.layers.Conv2D(4, 3)(x)))
    path = tmp_path / "a.tflite"
    refusal(lambda: to_tflite(model, path), f"keras.ops.cast(image, '{dtype}')")
    image = keras.Input(zoo.SHAPE)
    cast = keras.Model(image, model(keras.ops.cast(image, dtype)))
    images = np.rint(20 * IMAGES)
    assert to_tflite(cast, path, images=images).outputs.relative_error < 1e-3
