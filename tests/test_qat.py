"""Quantization-aware models: their arithmetic, their training, their files."""

import importlib.util
import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT
from helpers import noise
from helpers import outputs
from helpers import refusal
from helpers import small_model
from quantized import CIFAR
from quantized import KINDS
from quantized import TRAINED
from quantized import aware_model
from quantized import cifar
from quantized import classifying_model
from quantized import operators_apart
from quantized import step_of_output
from quantized import steps_apart

import keras_resnets
from keras_resnets import quantization
from keras_resnets.graph import bn_folding
from keras_resnets.quantization import ranges
from keras_resnets.quantization.qat import depthwise_layers
from keras_resnets.quantization.qat import fake_quant
from keras_resnets.quantization.qat import layers
from keras_resnets.quantization.qat import rewrite
from keras_resnets.quantization.qat import training
from keras_resnets.training.distillation import Distiller

INT8 = quantization.RECIPES["static_wi8_ai8"]


def nearest(numerator, denominator):
    """Whole numbers nearest to a fraction of whole numbers; halves go up."""
    return (2 * numerator + denominator) // (2 * denominator)


def rounding(bits=8, low=-2.0, high=2.0, **options):
    layer = layers.FakeQuantize(bits=bits, ranges="fixed", **options)
    layer.build((None, 1))
    layer.set_range(low, high)
    return layer


@pytest.mark.parametrize("bits", [4, 8])
def test_rounding_is_that_of_integers(bits):
    """Steps of 1/16, so that every number is exact, halves of a step among them."""
    lowest, highest = -(2 ** (bits - 1)) + 3, 2 ** (bits - 1) + 2
    layer = rounding(bits, lowest / 16, highest / 16)
    thirds = np.arange(-5000, 5000)
    x = (thirds / 64).astype("float32").reshape(-1, 4)
    integers = np.clip(nearest(thirds, 4), lowest, highest)
    found = outputs(layer, x).ravel() * 16
    np.testing.assert_array_equal(found, integers)
    assert highest - lowest == 2**bits - 1


@pytest.mark.parametrize("bits", [4, 8])
def test_rounding_of_any_range(bits):
    """Integers less their zero point, times the step, in NumPy's float32."""
    low, high = np.float32(-1.37), np.float32(2.91)
    x = noise(200, 100) * 2
    most = np.float32(2**bits - 1)
    scale = (high - low) / most
    inverse = most / (high - low)
    zero = np.float32(np.floor(-low / scale + np.float32(0.5)))
    start, end = -zero * scale, (most - zero) * scale
    shifted = np.clip(x, start, end) - start
    expected = np.floor(shifted * inverse - zero + np.float32(0.5)) * scale
    np.testing.assert_array_equal(outputs(rounding(bits, low, high), x), expected)
    assert len(np.unique(expected)) == 2**bits


@pytest.mark.parametrize("groups, per_channel", [(1, True), (2, True), (1, False)])
def test_convolution_is_that_of_integers(groups, per_channel):
    """Kernel, input and output in integers, summed in int64 by NumPy."""
    rng = np.random.default_rng(0)
    layer = layers.QuantizedConv2D(
        4, 3, groups=groups, per_channel=per_channel, weight_ranges="fixed"
    )
    layer.build((None, 6, 6, 4))
    # Steps of 1/64 (of the last channels 1/32), input 1/16, output 1/4.
    per = np.array([64, 64, 32, 32] if per_channel else [64] * 4)
    kernel = rng.integers(-600, 600, layer.kernel.shape) / 256
    bias = rng.integers(-2000, 2000, 4) / 1024
    layer.kernel.assign(kernel)
    layer.bias.assign(bias)
    layer.kernel_radius.assign(127 / per if per_channel else 127 / 64)
    x = rng.integers(-128, 128, (2, 6, 6, 4))
    found = rounding(low=-32, high=31.75)(layer((x / 16).astype("float32")))

    small = np.clip(nearest((kernel * 256).astype(int) * per, 256), -127, 127)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    made = np.zeros((2, 4, 4, 4), int)
    for out in range(4):
        first = out // (4 // groups) * (4 // groups)
        part = windows[:, :, :, first : first + 4 // groups]
        made[..., out] = np.einsum("bhwckl,klc->bhw", part, small[..., out])
    # In 1/1024 for steps of 1/64, in 1/512 for those of 1/32.
    exact = made * (64 // per) + np.rint(bias * 1024).astype(int)
    expected = np.clip(nearest(exact, 256), -128, 127)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(found) * 4, expected)
    assert (np.abs(small) == 127).any() and 0 < (expected == 127).mean() < 0.5


def test_dense_and_channels_are_those_of_integers():
    rng = np.random.default_rng(0)
    dense = layers.QuantizedDense(3, weight_bits=4, weight_ranges="fixed")
    dense.build((None, 8))
    kernel = rng.integers(-40, 40, (8, 3))
    dense.kernel.assign(kernel / 32)
    dense.kernel_radius.assign(7 / 8)
    x = rng.integers(-128, 128, (5, 8))
    small = np.clip(nearest(kernel, 4), -7, 7)
    np.testing.assert_array_equal(
        outputs(dense, (x / 16).astype("f4")) * 128, x @ small
    )

    values = np.array([-1.0, 3.9, 0.3, 2.984375])
    scale, offset = layers.ChannelScale(), layers.ChannelOffset()
    for layer in (scale, offset):
        layer.build((None, 4))
        layer.values.assign(values)
    step = np.float32(4.9) / 255
    rounded = np.rint(values / step) * step
    ones = np.ones((1, 4), "float32")
    np.testing.assert_allclose(outputs(scale, ones)[0], rounded, atol=1e-6)
    np.testing.assert_allclose(outputs(offset, ones)[0], rounded + 1, atol=1e-6)


@pytest.mark.parametrize("exporting", [False, True])
def test_a_number_a_channel_is_hardly_rounded(exporting):
    """Each has a scale of its own; the convolution of the file is the product."""
    layer = depthwise_layers.QuantizedAffine(4)
    layer.build((None, 2, 2, 4))
    scale, offset = np.array([-1e-4, 3.9, 0.0, 50.0]), np.array([1.0, -2.0, 3.0, 0.5])
    layer.set_values(scale, offset, np.array([1.0, 2.0, 1.0, 0.1]))
    layer.exporting = exporting
    x = noise(3, 2, 2, 4)
    np.testing.assert_allclose(outputs(layer, x), scale * x + offset, rtol=1e-5)


def test_bits_and_axis_hold_in_a_functional_graph():
    image = keras.Input((4, 4, 3))
    x = layers.FakeQuantize(bits=4, ranges="fixed", name="range")(image)
    conv = layers.QuantizedConv2D(5, 1, weight_bits=4, name="conv")
    model = keras.Model(image, [x, conv(x)])
    model.get_layer("range").set_range(-1, 1)
    conv.kernel.assign(noise(1, 1, 3, 5) * [1, 10, 100, 0.1, 7])
    rounded, _ = model(noise(64, 4, 4, 3))
    assert len(np.unique(rounded)) == 16
    kernel = keras.ops.convert_to_numpy(conv.rounded_kernel())
    steps = np.abs(keras.ops.convert_to_numpy(conv.kernel)).max((0, 1, 2)) / 7
    np.testing.assert_allclose(kernel / steps, np.rint(kernel / steps), atol=1e-5)
    assert (np.abs(kernel).max((0, 1, 2)) > 6.9 * steps).all()


@pytest.mark.parametrize("kind", ["grouped", "mlperf_tiny"])
def test_folding(kind):
    """Each convolution with its BN, on random patches in float64."""
    model = small_model(kind)
    rng = np.random.default_rng(0)
    pairs = 0
    for norm in model.layers:
        if not isinstance(norm, keras.layers.BatchNormalization):
            continue
        conv = norm.input._keras_history.operation
        kernel, bias = bn_folding.fold(conv, norm)
        patches = rng.standard_normal((50, *kernel.shape[:-1]))
        old = np.tensordot(patches, np.asarray(conv.kernel, "float64"), 3)
        if conv.use_bias:
            old = old + np.asarray(conv.bias, "float64")
        mean, variance, gamma, beta = (
            np.asarray(value, "float64")
            for value in (
                norm.moving_mean,
                norm.moving_variance,
                norm.gamma,
                norm.beta,
            )
        )
        old = (old - mean) / np.sqrt(variance + norm.epsilon) * gamma + beta
        new = np.tensordot(patches, kernel.astype("float64"), 3) + bias
        assert np.abs(new - old).max() <= 1e-6 * np.abs(old).max()
        pairs += 1
    assert pairs > 5


@pytest.mark.costly_but("basic_full_preact", "grouped", "shortcut_d", "darknet")
@pytest.mark.parametrize("kind", [*KINDS.values(), "shortcut_a", "drn_ends"])
def test_without_rounding_it_is_the_model(kind):
    model = small_model(kind, input_shape=(32, 32, 3), dtype="float32")
    x = noise(2, 32, 32, 3)
    aware = rewrite.rewrite(model, INT8)
    with ranges.float_arithmetic(aware):
        found = outputs(aware, x)
    np.testing.assert_allclose(found, outputs(model, x), atol=2e-6)
    # No BN is left, and what it did is done.
    kinds = {type(layer) for layer in aware.layers}
    assert keras.layers.BatchNormalization not in kinds
    assert (depthwise_layers.QuantizedAffine in kinds) == (
        kind in ("basic_full_preact", "wide")
    )
    assert layers.ChannelScale not in kinds


@pytest.mark.parametrize("kind", ["basic_full_preact", "grouped"])
def test_gradients_are_those_of_the_float_network(kind):
    """With BN at rest; of raw pixels too, whose BN multiplies by a small number."""
    model = small_model(kind, input_shape=(16, 16, 3), dtype="float32")
    stem = next(x for x in model.layers if isinstance(x, keras.layers.Conv2D))
    stem.kernel.assign(stem.kernel * 256)
    model.trainable = True
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    first = next(x for x in norms if x.input is stem.output)
    first.moving_mean.assign(first.moving_mean * 256)
    first.moving_variance.assign(first.moving_variance * 256**2)
    aware = rewrite.rewrite(model, INT8)
    x, labels = noise(4, 16, 16, 3), np.arange(4) % 10

    def gradients(network, names):
        with tf.GradientTape() as tape:
            found = network(x, training=False)
            loss = keras.losses.sparse_categorical_crossentropy(labels, found)
        kernels = [network.get_layer(name).kernel.value for name in names]
        return tape.gradient(loss, kernels)

    names = [x.name for x in aware.layers if type(x) is layers.QuantizedConv2D]
    with ranges.float_arithmetic(aware):
        pairs = zip(gradients(aware, names), gradients(model, names), strict=True)
    for name, (ours, floats) in zip(names, pairs, strict=True):
        layer = aware.get_layer(name)
        scale = np.array(layer.folded_kernel()) / np.array(model.get_layer(name).kernel)
        # A power of two is off by at most the root of two; the gradient by its square.
        ratio = np.array(layer.kernel_factor) / scale.mean((0, 1, 2))
        assert (2**-0.51 < np.abs(ratio)).all() and (np.abs(ratio) < 2**0.51).all()
        np.testing.assert_allclose(ours, floats * ratio, rtol=2e-3, atol=1e-6)


def test_report_names_every_layer():
    model = small_model("basic_full_preact", input_shape=(32, 32, 3))
    aware = quantization.quantize_aware(model)
    found = quantization.report(aware)
    assert [one.name for one in found] == [layer.name for layer in aware.layers]
    named = {name for one in found for name in one.of}
    assert {layer.name for layer in model.layers} <= named
    done = {one.name: one.done for one in found}
    assert done["stage1_block1_conv1"].endswith("BN folded in")
    assert "stands alone" in done["stage1_block2_bn1"]
    assert "not known yet" in done["image_range"]
    assert "range of its input" in done["stage2_block1_conv1_pad"]


@pytest.mark.costly
@pytest.mark.parametrize("recipe", ["static_wi8_ai8", "static_wi4_ai8"])
def test_training_moves_everything_and_is_saved(recipe, tmp_path):
    """In mixed precision: the rounding stays in float32."""
    dtype = "mixed_bfloat16"
    model = small_model("basic_full_preact", input_shape=(16, 16, 3), dtype=dtype)
    x, labels = noise(16, 16, 16, 3), np.arange(16) % 10
    aware = quantization.quantize_aware(model, recipe, calibration=x)
    ours = [layer for layer in aware.layers if isinstance(layer, layers.FakeQuantize)]
    assert ours[3].compute_dtype == "bfloat16" and ours[3].high.dtype == "float32"
    before = [np.array(weight) for weight in aware.weights]
    aware.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    # Wider than what the ranges come from, so that they must follow.
    history = aware.fit(4 * x, labels, batch_size=16, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    fixed = ("known", "rate", "factor", "kernel_factor")
    if recipe == "static_wi8_ai8":
        fixed += ("low",)
    still = [
        weight.path
        for weight, old in zip(aware.weights, before, strict=True)
        if np.array_equal(np.array(weight), old)
    ]
    still = [path for path in still if path.split("/")[-1] not in fixed]
    # Of one number a channel the largest is it.
    still = [path for path in still if not re.search(r"_bn\d?/kernel_radius", path)]
    if recipe == "static_wi8_ai8":
        assert all(path.endswith("kernel_radius") for path in still), still
    else:
        # Behind a ReLU 0 is the least value for good, and what nothing exceeds stays.
        assert all(path.endswith(("low", "high")) for path in still), still
        moved = [w.path for w in aware.weights if w.path.endswith("high")]
        assert len([path for path in still if path in moved]) < len(moved) / 2
    aware.save(tmp_path / "aware.keras")
    loaded = keras.saving.load_model(tmp_path / "aware.keras")
    np.testing.assert_array_equal(outputs(loaded, x), outputs(aware, x))
    assert quantization.report(loaded) == quantization.report(aware)


def test_ranges_start_with_the_first_batch_follow_and_freeze():
    layer = layers.FakeQuantize()
    x = np.array([[-1.0, 2.0]], "float32")
    np.testing.assert_array_equal(outputs(layer, x / 3), x / 3)
    layer(x, training=True)
    assert (float(layer.low), float(layer.high)) == (-1, 2)
    layer(2 * x, training=True)
    assert float(layer.high) == pytest.approx(2 + 2 * layers.RATE)
    model = keras.Sequential([keras.Input((2,)), layer])
    quantization.FreezeRanges(1).set_model(model)
    callback = quantization.FreezeRanges(1)
    callback.set_model(model)
    callback.on_epoch_begin(0)
    assert float(layer.rate) > 0
    callback.on_epoch_begin(1)
    layer(9 * x, training=True)
    assert float(layer.high) == pytest.approx(2 + 2 * layers.RATE)


def test_learned_steps_round_as_others_do():
    kernel, radius = noise(3, 3, 8, 16), np.linspace(0.3, 2, 16).astype("float32")
    for bits in (4, 8):
        found = fake_quant.fake_quantize_learned(kernel, radius, bits)
        wanted = fake_quant.fake_quantize_symmetric(kernel, radius, bits)
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


def test_learned_steps_have_the_gradient_of_their_paper():
    tf = pytest.importorskip("tensorflow")
    kernel = tf.constant([[0.31, -2.0], [0.9, 0.2]])
    radius = tf.constant([0.7, 1.4])
    with tf.GradientTape() as tape:
        tape.watch([kernel, radius])
        made = fake_quant.fake_quantize_learned(kernel, radius, 4)
    to_kernel, to_radius = tape.gradient(made, [kernel, radius])
    # Steps 0.1 and 0.2; 0.9 and -2.0 lie outside.
    np.testing.assert_allclose(to_kernel, [[1, 0], [0, 1]])
    slopes = np.array([(3 - 3.1) + 7, -7 + (1 - 1.0)])
    np.testing.assert_allclose(to_radius, slopes / 7 / np.sqrt(2 * 7), rtol=1e-4)


@pytest.mark.costly
def test_ranges_of_a_distillers_student_freeze():
    model = small_model(
        "basic_original", input_shape=(16, 16, 3), classifier_activation=None
    )
    x, targets = noise(16, 16, 16, 3), np.eye(10, dtype="float32")[np.arange(16) % 10]
    aware = quantization.quantize_aware(model, calibration=x)
    fitted = Distiller(aware, model, temperature=4.0)
    fitted.compile(
        keras.optimizers.SGD(1e-4), keras.losses.CategoricalCrossentropy(True)
    )
    moving = [one for one in aware.layers if isinstance(one, layers.FakeQuantize)]
    assert moving and all(float(one.rate) > 0 for one in moving)
    options = {"batch_size": 8, "epochs": 2, "verbose": 0}
    fitted.fit(x, targets, callbacks=[quantization.FreezeRanges(1)], **options)
    assert all(float(one.rate) == 0 for one in moving)


@pytest.mark.costly
def test_on_jax():
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    # Keras looks for TensorFlow whenever a layer is written down; nothing may need it.
    script = "import sys; sys.modules['tensorflow'] = None; import qat_probe as probe;"
    done = subprocess.run(
        [sys.executable, "-c", f"{script} probe.main()"],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture
def pictures(shared_data):
    """(500 pictures, their labels, 1,000 others): CIFAR-10, preprocessed."""
    pixels, labels = cifar(shared_data)
    x = CIFAR.normalize(pixels, "channels_last")
    return x[:500], labels[:500], x[500:]


def check_file(model, train, others, path):
    """Compares a quantization-aware model with its file, whole and operator by operator.

    Returns (its logits in steps, the file's logits, steps between what kernels make).
    """
    aware, frozen = aware_model(model, train)
    report = quantization.to_tflite(aware, path, images=train[:4])
    assert report.logits.sqnr > 20
    assert not {"QUANTIZE", "DEQUANTIZE", "TRANSPOSE"} & set(report.operators)
    inside = []
    for layer, apart in operators_apart(frozen, path, others[:1]).items():
        assert apart.max() <= 1, layer.name
        if isinstance(layer, (keras.layers.Add, layers.ChannelOffset)):
            assert apart.max() == 0, layer.name
        source = keras.tree.flatten(layer.input)[0]._keras_history.operation
        if isinstance(source, depthwise_layers.QuantizedAffine):
            # The file rounds a bias to the grid of its products. Where one product makes
            # the output, that grid is coarse: 1 value in 256 is so near to a half.
            assert (apart == 0).mean() >= 0.994, layer.name
        elif isinstance(layer, (layers.QuantizedConv2D, keras.layers.ReLU)):
            inside.append(apart.ravel())
    ours, theirs, apart = steps_apart(frozen, path.read_bytes(), others)
    assert apart.max() <= 6 and (apart <= 1).mean() >= 0.88
    # The pictures are told apart.
    assert len(np.unique(ours.argmax(1))) > 5
    return ours / step_of_output(frozen), theirs, np.concatenate(inside)


# The others are slow: what they are made of stands in these as well.
SHALLOW = ("pre-activation", "grouped", "resnet-d", "darknet")


@pytest.mark.costly
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=() if kind in SHALLOW else pytest.mark.slow)
        for kind in KINDS
    ],
)
def test_file_of_a_shallow_network(kind, pictures, tmp_path):
    train, labels, others = pictures
    model = classifying_model(KINDS[kind], train, labels, depths=(1, 1))
    path = tmp_path / "aware.tflite"
    ours, theirs, inside = check_file(model, train[:200], others, path)
    assert (inside == 0).mean() >= 0.998
    # Scores of random features lie close together: who leads by two steps, and loses
    # one where the other wins one, leads no more.
    first, second = np.sort(ours, axis=1)[:, :-3:-1].T
    clear = first - second > 2
    assert clear.mean() > 0.7
    assert (ours.argmax(1) == theirs.argmax(1))[clear].mean() >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("kind", TRAINED)
def test_file_of_a_trained_network(kind, shared_data, tmp_path):
    # The other weights of DarkNet-15 differ by eight steps in 1 of these 1,000 images:
    # their operators do not, but their roundings add up further.
    tag = "keras_resnets_cifar10_plain" if kind == "darknet" else "cifar10"
    model = keras_resnets.create_model(TRAINED[kind], weights=tag)
    train, others = (
        model.preprocessing.normalize(cifar(shared_data, *which)[0], "channels_last")
        for which in (("train", 500), ("test", 1000))
    )
    path = tmp_path / "aware.tflite"
    ours, theirs, inside = check_file(model, train, others, path)
    assert (inside == 0).mean() >= 0.999
    assert (ours.argmax(1) == theirs.argmax(1)).mean() >= 0.99


@pytest.mark.costly
def test_four_bits_in_a_file_of_eight(pictures, tmp_path):
    train, labels, others = pictures
    model = classifying_model("basic_original", train, labels, depths=(1, 1))
    aware, frozen = aware_model(model, train[:200], "static_wi4_ai8")
    np.testing.assert_allclose(
        outputs(frozen, others[:50]), outputs(aware, others[:50]), atol=0.02
    )
    kernel = np.array(frozen.get_layer("stage1_block1_conv1").rounded_kernel())
    assert max(len(np.unique(kernel[..., c])) for c in range(8)) <= 15
    path = tmp_path / "four.tflite"
    quantization.to_tflite(aware, path, images=train[:4])
    ours, theirs, apart = steps_apart(frozen, path.read_bytes(), others[:200])
    assert apart.max() <= 6 and (apart <= 1).mean() >= 0.88


def test_what_is_refused():
    model = small_model("basic_original", input_shape=(16, 16, 3))
    aware = quantization.quantize_aware(model)
    quantize = quantization.quantize_aware
    refusal(lambda: quantize(aware), "already quantized")
    refusal(lambda: quantize(model, "static_wi8_ai16"), "static_wi8_ai8")
    refusal(lambda: quantize(model, "static_wi8"), "did you mean")
    refusal(lambda: quantize(model, "static_wi4_ai8"), "calibration")
    refusal(lambda: quantize(keras.Sequential()), "built")
    refusal(lambda: quantization.freeze(aware), "image_range", "not set")
    refusal(lambda: quantization.freeze(model), "quantization-aware")
    refusal(lambda: quantization.report(model), "quantization-aware")
    refusal(lambda: quantization.FreezeRanges(-1), "epoch")
    elu = small_model("basic_original", axes={"activation": "elu"})
    refusal(lambda: quantize(elu), "stem_act", "elu", "converter")
    image = keras.Input((8, 8, 3))
    odd = keras.Model(image, keras.layers.Conv2DTranspose(4, 2, name="odd_one")(image))
    refusal(lambda: quantize(odd), "odd_one", "Conv2DTranspose")


@pytest.mark.parametrize(
    "before, after, words",
    [
        (("1" * 20, 0.1), ("0" * 9 + "1" * 11, 0.05), "9 became wrong"),
        (("0" * 9 + "1" * 11, 0.1), ("1" * 20, 0.2), ""),
        (("1" * 20, 0.1), ("1" * 20, 0.2), "rose from 0.1 to 0.2"),
        (("1" * 20, 0.2), ("1" * 20, 0.1), ""),
        (("", 0.0), ("", 0.0), ""),
    ],
)
def test_a_start_is_kept_where_training_wins_nothing_and_moves_away(
    before, after, words
):
    """Fewer right, or no more right and further from the float network's outputs."""
    both = (training.Answers(*before), training.Answers(*after))
    reason = training.reason_for_start(*both, 0.05)
    assert words in reason and bool(reason) == bool(words)
    # A recipe that asks for no test keeps what it trained.
    assert not training.reason_for_start(*both, 1.0)
