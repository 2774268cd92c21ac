"""Pruning: masks and schedules, training with zeros, smaller networks; sensitivity."""

import keras
import numpy as np
import pytest
from helpers import noise
from helpers import outputs
from helpers import refusal
from helpers import small_model

import keras_resnets
from keras_resnets import pruning
from keras_resnets import quantization
from keras_resnets.pruning import channels
from keras_resnets.pruning import patterns
from keras_resnets.training.distillation import Distiller


def test_schedule_rises_and_arrives():
    schedule = pruning.PolynomialSchedule(sparsity=0.8, start=0.2, begin=10, end=110)
    assert schedule(0) == schedule(10) == pytest.approx(0.2)
    assert schedule(60) == pytest.approx(0.8 - 0.6 * 0.5**3)
    assert schedule(110) == schedule(1000) == pytest.approx(0.8)


def test_masks_take_the_smallest():
    kernel = noise(3, 3, 8, 6)
    mask = patterns.mask_of(kernel, 0.75)
    assert mask.mean() == pytest.approx(0.25, abs=0.002)
    assert np.abs(kernel[mask == 1]).min() >= np.abs(kernel[mask == 0]).max()
    blocks = np.moveaxis(patterns.mask_of(kernel, 0.5, "1x4"), -1, 0).reshape(-1, 4)
    assert set(blocks.sum(axis=1)) == {0, 4} and blocks.mean() == 0.5
    weight = np.abs(np.moveaxis(kernel, -1, 0).reshape(-1, 4)).sum(axis=1)
    assert weight[blocks[:, 0] == 1].min() >= weight[blocks[:, 0] == 0].max()
    pairs = np.moveaxis(patterns.mask_of(kernel, 0.5, "2:4"), -1, 0).reshape(-1, 4)
    assert (pairs.sum(axis=1) == 2).all()
    values = np.abs(np.moveaxis(kernel, -1, 0).reshape(-1, 4))
    kept = np.where(pairs == 1, values, np.inf).min(axis=1)
    assert (kept >= np.where(pairs == 0, values, 0).max(axis=1)).all()


@pytest.mark.parametrize("outputs, vector", [(16, 8), (12, 4), (8, 8)])
@pytest.mark.parametrize("size", [(3, 3), (1, 1), ()])
def test_vector_wise_2_4_keeps_the_largest_inputs_of_consecutive_outputs(
    outputs, vector, size
):
    kernel = noise(*size, 8, outputs)
    mask = patterns.mask_of(kernel, 0.5, "vw-2:4")
    kept = np.moveaxis(mask, -1, 0).reshape(outputs // vector, vector, -1, 4)
    assert (kept.sum(axis=-1) == 2).all()
    assert (kept == kept[:, :1]).all()
    values = np.abs(np.moveaxis(kernel, -1, 0)).reshape(kept.shape).sum(axis=1)
    kept = kept[:, 0]
    least = np.where(kept == 1, values, np.inf).min(axis=-1)
    assert (least >= np.where(kept == 0, values, 0).max(axis=-1)).all()


def test_layers_with_channels_that_do_not_divide_stay_dense():
    given = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 1, name="first")(given)
    x = keras.layers.Conv2D(6, 3, name="six_outputs")(x)
    x = keras.layers.Conv2D(8, 3, name="six_inputs")(x)
    x = keras.layers.Conv2D(8, 1, groups=2, name="small_groups")(x)
    x = keras.layers.Conv2D(16, 3, groups=2, name="groups")(x)
    x = keras.layers.Conv2D(12, 1, name="pointwise")(x)
    model = keras.Model(given, keras.layers.Dense(4)(keras.layers.Flatten()(x)))
    report = pruning.prune(model, 0.5, "vw-2:4")
    zeros = {name: share for name, _, share in report.layers}
    assert {name for name, share in zeros.items() if share} == {"groups", "pointwise"}
    assert zeros["groups"] == zeros["pointwise"] == report.sparsity == 0.5
    names = [layer.name for layer in patterns.prunable(model, "2:4")]
    assert names == ["six_outputs", "groups", "pointwise"]


@pytest.mark.costly
def test_the_student_of_a_distiller_is_pruned_and_its_teacher_is_not():
    student, teacher = (
        small_model(
            "basic_original", input_shape=(16, 16, 3), classifier_activation=None
        )
        for _ in range(2)
    )
    before = teacher.get_weights()
    fitted = Distiller(student, teacher, temperature=4.0)
    fitted.compile(
        keras.optimizers.SGD(0.01), keras.losses.CategoricalCrossentropy(True)
    )
    x, targets = noise(16, 16, 16, 3), np.eye(10, dtype="float32")[np.arange(16) % 10]
    options = {"batch_size": 4, "verbose": 0}
    schedule = pruning.PolynomialSchedule(sparsity=0.5, end=3)
    fitted.fit(x, targets, callbacks=[pruning.Prune(schedule)], **options)
    assert pruning.pruning_report(student).sparsity == pytest.approx(0.5, abs=0.01)
    fitted.fit(x, targets, callbacks=[pruning.KeepZeros()], **options)
    assert pruning.pruning_report(student).sparsity == pytest.approx(0.5, abs=0.01)
    for now, then in zip(teacher.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.costly_but("2:4-0.5")
@pytest.mark.parametrize(
    "pattern, share", [("unstructured", 0.7), ("2:4", 0.5), ("vw-2:4", 0.5)]
)
def test_zeros_stay_through_training_and_rounding(pattern, share):
    model = small_model("basic_original", input_shape=(16, 16, 3))
    x, labels = noise(32, 16, 16, 3), np.arange(32) % 10
    model.compile(keras.optimizers.SGD(0.01, 0.9), "sparse_categorical_crossentropy")
    schedule = pruning.PolynomialSchedule(sparsity=share, begin=1, end=5, every=2)
    model.fit(
        x,
        labels,
        batch_size=4,
        verbose=0,
        callbacks=[pruning.Prune(schedule, pattern)],
    )
    report = pruning.pruning_report(model)
    assert report.sparsity == pytest.approx(share, abs=0.01)
    first, *inner, last = report.layers
    assert first[2] == last[2] == 0
    assert all(zeros >= share - 0.02 for _, _, zeros in inner)
    assert report.live_macs < 0.6 * report.macs and report.gzip_size < report.size

    aware = quantization.quantize_aware(model, calibration=x)
    aware.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
    aware.fit(x, labels, batch_size=8, verbose=0, callbacks=[pruning.KeepZeros()])
    after = pruning.pruning_report(quantization.freeze(aware))
    assert after.sparsity == pytest.approx(share, abs=0.01)
    name = inner[0][0]
    zero = np.array(model.get_layer(name).kernel) == 0
    assert not np.array(aware.get_layer(name).rounded_kernel())[zero].any()
    np.testing.assert_array_equal(np.array(aware.get_layer(name).kernel) == 0, zero)


@pytest.mark.costly
@pytest.mark.parametrize("recipe", ["static_wi8_ai8", "static_wi4_ai8"])
@pytest.mark.parametrize("pattern", ["unstructured", "2:4"])
def test_a_loaded_file_is_trained_with_the_zeros_of_its_pruned_network(
    pattern, recipe, tmp_path
):
    """They stay; every other weight moves, also one that had rounded to zero."""
    model = small_model("basic_original", input_shape=(16, 16, 3))
    pruning.prune(model, 0.5, pattern)
    x, labels = noise(32, 16, 16, 3), np.arange(32) % 10
    quantization.quantize_aware(model, recipe, x).save(tmp_path / "aware.keras")
    aware = keras.saving.load_model(tmp_path / "aware.keras")
    pruned = [aware.get_layer(layer.name) for layer in patterns.prunable(model)]
    before = [np.array(layer.kernel) for layer in pruned]
    aware.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    aware.fit(x, labels, batch_size=8, verbose=0)
    frozen = quantization.freeze(aware)
    for layer, start in zip(pruned, before, strict=True):
        zero = np.array(model.get_layer(layer.name).kernel) == 0
        kernel = np.array(layer.kernel)
        assert zero.mean() == pytest.approx(0.5, abs=0.01)
        np.testing.assert_array_equal(start == 0, zero)
        np.testing.assert_array_equal(kernel == 0, zero)
        assert (kernel != start)[~zero].mean() > 0.95
        assert not np.array(frozen.get_layer(layer.name).kernel)[zero].any()


@pytest.mark.costly_but("second-order")
@pytest.mark.parametrize("rounding", ["nearest", "second-order", "learned"])
def test_every_rounding_keeps_the_zeros_of_a_pruned_network(rounding):
    model = small_model("basic_original", input_shape=(16, 16, 3))
    pruning.prune(model, 0.5)
    recipe = quantization.RECIPES["static_wi4_ai8"].with_rounding(
        rounding, 20 if rounding == "learned" else None
    )
    aware = quantization.quantize_aware(model, recipe, noise(20, 16, 16, 3))
    for layer in patterns.prunable(model):
        zero = np.array(layer.kernel) == 0
        rounded = np.array(aware.get_layer(layer.name).rounded_kernel())
        assert zero.any() and not rounded[zero].any() and rounded[~zero].any()


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("basic_original", 4),
        ("basic_full_preact", 4),
        ("bottleneck_original", 8),
        # The grouped convolution keeps its channels, and so do both beside it.
        ("grouped", 0),
        # The stem feeds one convolution alone.
        ("darknet", 5),
    ],
)
def test_inner_channels(kind, expected):
    model = small_model(kind, input_shape=(32, 32, 3))
    found = channels.links(model)
    assert len(found) == expected
    assert all("shortcut" not in link.maker.name for link in found)
    assert all("downsample" not in link.maker.name for link in found)


@pytest.mark.parametrize(
    "kind", ["basic_original", "bottleneck_full_preact", "darknet"]
)
def test_channels_without_effect_go_unnoticed(kind):
    """Half of the inner channels do nothing: the net without them says the same."""
    model = small_model(kind, input_shape=(32, 32, 3))
    rng = np.random.default_rng(0)
    for link in channels.links(model):
        kernel = np.array(link.reader.kernel)
        dead = rng.permutation(kernel.shape[2])[: kernel.shape[2] // 2]
        kernel[:, :, dead] = 0
        link.reader.kernel.assign(kernel)
    x = noise(2, 32, 32, 3)
    small = pruning.shrink(model, 0.5)
    np.testing.assert_allclose(outputs(small, x), outputs(model, x), atol=1e-5)
    before, after = map(keras_resnets.analyze, (model, small))
    assert after.macs < 0.7 * before.macs
    assert [layer.name for layer in small.layers] == [x.name for x in model.layers]


def test_shrinking_in_multiples():
    model = small_model("bottleneck_original", input_shape=(32, 32, 3))
    small = pruning.shrink(model, 0.3, multiple=4)
    widths = {link.maker.name: link.maker.filters for link in channels.links(small)}
    assert set(widths.values()) == {8, 12}


def test_what_is_refused():
    model = small_model("basic_original", input_shape=(16, 16, 3))
    refusal(lambda: pruning.prune(model, 1.0), "below 1", "1.0")
    refusal(lambda: pruning.prune(model, 0.5, "3:4"), "pattern", "2:4")
    refusal(lambda: pruning.prune(model, 0.75, "2:4"), "2:4", "0.5", "0.75")
    schedule = pruning.PolynomialSchedule(sparsity=0.75)
    refusal(lambda: pruning.Prune(schedule, "vw-2:4"), "vw-2:4", "0.5", "0.75")
    given = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3)(given)
    odd = keras.Model(given, keras.layers.Conv2D(6, 3)(x), name="odd")
    refusal(lambda: pruning.prune(odd, 0.5, "vw-2:4"), "odd", "vw-2:4", "fours")
    refusal(lambda: pruning.shrink(model, 0), "above 0")
    refusal(lambda: pruning.PolynomialSchedule(sparsity=1), "below 1")
    refusal(lambda: pruning.PolynomialSchedule(sparsity=0.5, begin=9, end=9), "begin")
    refusal(lambda: pruning.Prune(schedule, "all"), "pattern")
    grouped = small_model("grouped", input_shape=(16, 16, 3))
    refusal(lambda: pruning.shrink(grouped, 0.5), "groups")
    x = keras.layers.Conv2D(8, 1, activation="log_softmax")(given)
    mixed = keras.Model(given, keras.layers.Conv2D(6, 3)(x))
    refusal(lambda: pruning.shrink(mixed, 0.5), "no inner channels")
    x = keras.layers.Activation("glu")(keras.layers.Conv2D(8, 1)(given))
    mixed = keras.Model(given, keras.layers.Conv2D(6, 3)(x))
    refusal(lambda: pruning.shrink(mixed, 0.5), "no inner channels")
    aware = quantization.quantize_aware(model)
    refusal(lambda: pruning.shrink(aware, 0.5), "float model")


@pytest.mark.costly
def test_the_dearest_layer_is_found():
    """One channel of a kernel scaled up by 50: per tensor, its layer costs most."""
    model = small_model("basic_original", input_shape=(16, 16, 3))
    hard = model.get_layer("stage1_block2_conv1")
    norm = model.get_layer("stage1_block2_bn1")
    factors = np.ones(8, "float32")
    factors[3] = 50
    following = model.get_layer("stage1_block2_conv2")
    norm.gamma.assign(norm.gamma * factors)
    norm.beta.assign(norm.beta * factors)
    following.kernel.assign(following.kernel / factors[:, None])
    x = noise(20, 16, 16, 3)
    found = quantization.sensitivity(model, x, "static_wi8_ai8_per_tensor")
    assert [cost.rmse for cost in found] == sorted(
        (c.rmse for c in found), reverse=True
    )
    costliest = {name for cost in found[:3] for name in cost.of}
    assert hard.name in costliest
    by_name = {cost.name: cost for cost in found}
    assert by_name[hard.name].part == "weights"
    assert by_name[hard.name].rmse > 5 * by_name["stage2_block1_conv1"].rmse
    assert by_name["image_range"].part == "activations"
