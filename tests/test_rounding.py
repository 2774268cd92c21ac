"""How kernels become integers: second-order rounding against nearest and brute force."""

import dataclasses
import itertools
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers import noise
from helpers import refusal
from helpers import small_model
from quantized import rounding_problem
from rounding_parts import off
from rounding_parts import ranged
from rounding_parts import smooth_images
from rounding_parts import tiny

import keras_resnets
from keras_resnets import quantization
from keras_resnets.errors import InvalidArgument
from keras_resnets.export.recipes import RECIPES
from keras_resnets.quantization.qat import freeze
from keras_resnets.quantization.qat.layers import KERNELS
from keras_resnets.quantization.rounding import kernels
from keras_resnets.quantization.rounding import methods
from keras_resnets.quantization.rounding import second_order
from keras_resnets.quantization.rounding import sparsity
from keras_resnets.quantization.rounding.patches import Windows
from keras_resnets.quantization.rounding.second_order import Problem

PROBE = pathlib.Path(__file__).parent / "rounding_probe.py"
RECIPE = RECIPES["static_wi4_ai8"]


def error(given, weights):
    """The mean squared error of rounded weights, by output."""
    off = weights - given.weights
    return np.einsum("gio,gio->go", off, given.gram @ off)


def nearest(given, steps):
    """Every weight to the integer next to it."""
    largest = 2 ** (given.bits - 1) - 1
    return np.clip(np.rint(given.weights / steps[:, None]), -largest, largest)


def nearest_error(given):
    """The least error of rounding to nearest, by output, over many ranges."""
    full = np.abs(given.weights).max(axis=1) / (2 ** (given.bits - 1) - 1)
    if not given.per_channel:
        full = np.full_like(full, full.max())
    found = [
        error(given, nearest(given, cut * full) * (cut * full)[:, None])
        for cut in np.linspace(1, 0.3, 71)
    ]
    if not given.per_channel:
        return min(x.sum() for x in found)
    return np.min(found, axis=0)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_less_error_than_nearest_in_every_output(bits):
    given = rounding_problem(bits=bits)
    found = second_order.solve(given)
    largest = 2 ** (bits - 1) - 1
    assert (np.rint(found.integers) == found.integers).all()
    assert np.abs(found.integers).max() <= largest
    # 0.15 to 0.6 of nearest's.
    gained = error(given, found.weights) / nearest_error(given)
    assert gained.max() < 0.75, gained


def test_one_step_in_all():
    given = rounding_problem(groups=2, per_channel=False)
    found = second_order.solve(given)
    assert np.unique(found.steps).size == 1
    assert error(given, found.weights).sum() < 0.7 * nearest_error(given)


def test_a_pair_of_weights_is_rounded_as_trying_all_pairs_does():
    rng = np.random.default_rng(5)
    for trial in range(20):
        weights = rng.uniform(-1, 1, (1, 2, 1))
        gram = np.array([[[1.0, 0.95], [0.95, 1.0]]])
        given = Problem(weights, gram, bits=3)
        found = second_order.solve(given)
        exact = Problem(weights, second_order.damped(gram), bits=3)
        pairs = itertools.product(range(-3, 4), repeat=2)
        tried = [
            error(exact, found.steps.item() * np.array(pair)[None, :, None])
            for pair in pairs
        ]
        here = error(exact, found.weights).item()
        assert here == pytest.approx(np.min(tried), rel=1e-3, abs=1e-9), trial


def test_uncorrelated_inputs_leave_nothing_to_win_over_nearest():
    given = rounding_problem()
    given = Problem(given.weights, np.eye(24)[None], bits=4)
    found = second_order.solve(given)
    again = nearest(given, found.steps)
    np.testing.assert_array_equal(found.integers, again)


def test_groups_are_rounded_each_by_itself():
    given = rounding_problem(groups=3)
    found = second_order.solve(given)
    for group in range(3):
        part = slice(group, group + 1)
        alone = second_order.solve(
            Problem(given.weights[part], given.gram[part], bits=4)
        )
        np.testing.assert_array_equal(found.integers[part], alone.integers)
        np.testing.assert_allclose(found.steps[part], alone.steps, rtol=1e-6)


def test_zeros_cost_less_than_those_of_the_smallest_blocks():
    """Blocks of four along the inputs, the share that was asked for, made up for."""
    given = dataclasses.replace(rounding_problem(bits=8), sparsity=0.75)
    found = second_order.solve(given)
    groups, inputs, outputs = found.integers.shape
    blocks = np.abs(found.integers).reshape(groups, inputs // 4, 4, outputs).sum(axis=2)
    assert (blocks == 0).mean() == pytest.approx(0.75, abs=0.02)
    size = np.abs(given.weights).reshape(groups, inputs // 4, 4, outputs).sum(axis=2)
    kept = size >= np.quantile(size, 0.75, axis=(1, 2), keepdims=True)
    smallest = given.weights * np.repeat(kept, 4, axis=1)
    lost = given.weights - smallest
    plain = np.einsum("gio,gio->", lost, given.gram @ lost)
    assert error(given, found.weights).sum() < 0.7 * plain


def test_what_is_left_of_a_kernel_is_its_least_squares_fit():
    given = rounding_problem(bits=8)
    gram = second_order.damped(given.gram)
    left, kept = sparsity.pruned(given.weights, gram, 0.5)
    assert (left[~kept] == 0).all()
    # Nothing that is kept can be moved to lower the error.
    slopes = gram @ (left - given.weights)
    assert np.abs(slopes[kept]).max() < 1e-6 * np.abs(gram @ given.weights).max()


@pytest.mark.costly
def test_zeros_stay_in_training(tmp_path):
    """Where they are, in every layer that has them, whatever the steps are."""
    model = keras_resnets.create_model("resnet8", classifier_activation=None)
    images = 40 * smooth_images(20) + 125
    bits = quantization.LayerBits(8, 8, 0.75)
    recipe = RECIPES["static_wi8_ai8"].with_rounding("second-order")
    plan = quantization.PrecisionPlan(recipe, {"stage2_block1_conv2": bits})
    aware = quantization.quantize_aware(model, plan, images)
    layer = aware.get_layer("stage2_block1_conv2")

    def zeros(layer=layer):
        kernel = keras.ops.convert_to_numpy(layer.folded_kernel())
        return kernel.reshape(*kernel.shape[:2], -1, 4, kernel.shape[3]).any(axis=3)

    before = zeros()
    assert before.mean() == pytest.approx(0.25, abs=0.01)
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    aware.compile("adam", "mse")
    aware.fit(images, np.ones((20, 10)), epochs=2, verbose=0)
    assert (zeros() == before).all()
    assert (keras.ops.convert_to_numpy(layer.kernel) != kernel).any()
    aware.save(tmp_path / "aware.keras")
    loaded = keras.saving.load_model(tmp_path / "aware.keras")
    loaded.fit(images, np.ones((20, 10)), epochs=2, verbose=0)
    assert (zeros(loaded.get_layer(layer.name)) == before).all()
    nearest = dataclasses.replace(plan, recipe=RECIPES["static_wi8_ai8"])
    refusal(
        lambda: quantization.quantize_aware(model, nearest, images),
        "'second-order'",
    )
    first = dataclasses.replace(plan, layers={"stem_conv": bits})
    refusal(
        lambda: quantization.quantize_aware(model, first, images),
        "multiple of 4; stem_conv has 3",
    )


def test_dead_inputs_and_what_cannot_be_rounded():
    given = rounding_problem()
    gram = given.gram.copy()
    gram[:, 3], gram[:, :, 3] = 0, 0
    found = second_order.solve(Problem(given.weights, gram, bits=4))
    assert np.isfinite(found.weights).all()
    dead = second_order.solve(Problem(given.weights, 0 * gram, bits=4))
    again = nearest(given, dead.steps)
    np.testing.assert_array_equal(dead.integers, again)
    # Constant inputs leave nothing but rounding errors, and those are not definite.
    noisy = np.random.default_rng(0).normal(size=gram[0].shape) * 1e-9
    noisy = np.abs(noisy + noisy.T) * (1 - 0.99 * np.eye(len(noisy)))
    assert np.linalg.eigvalsh(second_order.damped(noisy[None])[0])[0] < 0
    for bits in (4, 8):
        found = second_order.solve(Problem(given.weights, noisy[None], bits=bits))
        lost = np.abs(found.weights - given.weights)
        assert (lost <= 1.01 * found.steps[:, None]).all()
    gram[0, 0, 0] = np.nan
    refusal(lambda: second_order.solve(Problem(given.weights, gram)), "finite", "NaN")
    refusal(
        lambda: second_order.solve(Problem(given.weights, gram[:, 1:, 1:])),
        "(1, 23, 23)",
    )
    refusal(lambda: kernels.grouped(np.zeros((3, 3, 4, 10)), 4), "10", "4", "multiple")


@pytest.mark.parametrize(
    "options",
    [
        {"padding": "same"},
        {"padding": "valid"},
        {"padding": "same", "strides": 2},
        {"padding": "valid", "strides": 2, "kernel_size": 2},
        {"padding": "same", "dilation_rate": 2},
        {"padding": "same", "groups": 2},
        {"padding": "same", "groups": 4, "strides": 2, "kernel_size": 1},
    ],
    ids=str,
)
def test_windows_times_kernel_is_the_convolution(options):
    layer = keras.layers.Conv2D(8, **{"kernel_size": 3, **options}, use_bias=False)
    images = noise(2, 9, 8, 4)
    expected = np.asarray(layer(images))
    windows = Windows.of(layer)
    count = windows.count(images.shape)
    rows = windows.rows(images, np.arange(count))
    kernel = np.asarray(layer.kernel)
    made = rows @ kernels.grouped(kernel, windows.groups)
    made = made.transpose(1, 0, 2).reshape(expected.shape)
    np.testing.assert_allclose(made, expected, atol=1e-5)
    np.testing.assert_array_equal(
        kernels.ungrouped(kernels.grouped(kernel, windows.groups), kernel.shape), kernel
    )


@pytest.mark.parametrize(
    "kind, recipe",
    [
        ("tiny", "static_wi4_ai8"),
        ("basic_original", "static_wi4_ai8"),
        ("basic_full_preact", "static_wi4_ai8"),
        ("grouped", "static_wi4_ai8"),
        ("dilated", "static_wi4_ai8"),
        ("basic_original", "static_wi8_ai8_per_tensor"),
    ],
)
@pytest.mark.costly_but("tiny-static_wi4_ai8")
def test_a_network_errs_less_than_with_nearest(kind, recipe):
    axes = {"input_shape": (32, 32, 3), "classifier_activation": None}
    model = tiny() if kind == "tiny" else small_model(kind, **axes)
    given, recipe = smooth_images(size=model.input_shape[1]), RECIPES[recipe]
    found = {}
    for rounding in ("nearest", "second-order"):
        made = ranged(model, given[:30], recipe)
        methods.round_kernels(made, given[:30], recipe.with_rounding(rounding))
        found[rounding] = off(model, made, given[30:])
    share = 0.8 if recipe.weight_bits == 4 else 1.0
    assert found["second-order"] < share * found["nearest"], found


def test_kernels_lie_on_their_grid_and_progress_and_seed_are_kept():
    model = tiny()
    done = []
    first, again = (ranged(model, smooth_images(20, 8)) for _ in range(2))
    kernels.round_second_order(first, smooth_images(20, 8), 3, done.append)
    kernels.round_second_order(again, smooth_images(20, 8), 3)
    assert done[-1] == 20 and done == sorted(done)
    for layer, other in zip(first.layers, again.layers, strict=True):
        if not isinstance(layer, KERNELS):
            continue
        kernel = np.asarray(layer.folded_kernel())
        steps = kernel / (np.asarray(layer.kernel_radius) / 7)
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)
        assert np.abs(steps).max() < 7.001
        np.testing.assert_array_equal(kernel, np.asarray(other.folded_kernel()))
    frozen = freeze.freeze(first)
    for layer in frozen.layers:
        if isinstance(layer, KERNELS):
            kernel = np.asarray(first.get_layer(layer.name).folded_kernel())
            np.testing.assert_allclose(np.asarray(layer.rounded_kernel()), kernel, 1e-5)


def test_skipped_layers_stay_and_nan_is_named():
    model = tiny()
    made = ranged(model, smooth_images(12, 8))
    names = [layer.name for layer in made.layers if isinstance(layer, KERNELS)]
    before = np.asarray(made.get_layer(names[1]).folded_kernel())
    with pytest.warns(
        kernels.FewWindows, match=r"2 calibration images have fewer windows"
    ):
        kernels.round_second_order(made, smooth_images(2, 8), skipped=names[1:2])
    np.testing.assert_array_equal(
        before, np.asarray(made.get_layer(names[1]).folded_kernel())
    )
    broken = smooth_images(12, 8)
    broken[3, 0, 0] = np.nan
    with pytest.raises(InvalidArgument, match=rf"NaN.*at {names[0]}"):
        kernels.round_second_order(ranged(model, smooth_images(12, 8)), broken)


@pytest.mark.costly
def test_both_backends_give_the_same_integers(tmp_path):
    found = {}
    for backend in ("tensorflow", "jax"):
        path = tmp_path / f"{backend}.npz"
        environment = {**os.environ, "KERAS_BACKEND": backend}
        command = [sys.executable, str(PROBE), str(path)]
        subprocess.run(command, check=True, env=environment)
        found[backend] = np.load(path)
    ours, theirs = found.values()
    assert (ours["integers"] == theirs["integers"]).all()
    np.testing.assert_allclose(ours["steps"], theirs["steps"], rtol=1e-5)


@pytest.mark.costly
def test_the_passport_says_the_rounding(tmp_path):
    model = tiny()
    given = smooth_images(10, 8)

    def write(name, recipe, **options):
        path = tmp_path / f"{name}.tflite"
        quantization.quantize(model, path, recipe, given, **options)
        passport = json.loads((tmp_path / f"{name}.tflite.json").read_text())
        return passport["recipe"]["rounding"], path.read_bytes()

    with pytest.warns(kernels.FewWindows):
        default, content = write("a", "static_wi4_ai8")
    other, simple = write("b", "static_wi4_ai8", rounding="nearest")
    assert (default, other) == ("second-order", "nearest")
    assert content != simple
    assert write("c", "static_wi8_ai8")[0] == "nearest"


def test_bad_roundings(tmp_path):
    def call(recipe, **options):
        path = tmp_path / "a.tflite"
        return lambda: quantization.quantize(tiny(), path, recipe, **options)

    refusal(call("static_wi8_ai8", rounding="up"), "nearest", "second-order", "'up'")
    refusal(call("float16", rounding="second-order"), "ranges", "float16")
    with pytest.raises(InvalidArgument, match="requires an int8 recipe"):
        quantization.Recipe(
            name="a",
            quantize="int16x8",
            activation_bits=16,
            trainable=False,
            rounding="second-order",
        )
    with pytest.raises(InvalidArgument, match="rounding must be"):
        quantization.Recipe(name="a", rounding="secondorder")


@pytest.mark.costly
def test_sensitivity_goes_by_the_rounding_that_is_asked_for():
    model, given, recipe = tiny(), smooth_images(40, 8), "static_wi4_ai8"
    costs = {
        rounding: {
            x.name: x
            for x in quantization.sensitivity(model, given, recipe, rounding=rounding)
        }
        for rounding in ("nearest", "second-order")
    }
    for name, cost in costs["nearest"].items():
        other = costs["second-order"][name].rmse
        if cost.part == "activations":
            assert other == pytest.approx(cost.rmse, rel=1e-5)
        else:
            assert 0 < other < cost.rmse
    refusal(
        lambda: quantization.sensitivity(model, given, recipe, rounding="learned"),
        "'nearest', 'second-order'",
        "'learned'",
    )
