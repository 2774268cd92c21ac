"""Every block kind against an independent computation in NumPy."""

import keras
import numpy as np
import pytest
from helpers import KINDS
from helpers import noise
from helpers import small_model
from numpy_reference import Reference
from numpy_reference import average_pool_2x2
from numpy_reference import max_pool
from numpy_reference import option_a

SAME, DOWN = {}, {"stride": 2}
ORDERS_AFTER = ("original", "bn_after_add", "relu_before_add", "no_relu_after_add")


def tensors(model, images, *names):
    """What the named layers put out."""
    probe = keras.Model(model.input, [model.get_layer(name).output for name in names])
    return [np.asarray(value, "float64") for value in probe(images, training=False)]


def close(ours, reference):
    assert ours.shape == reference.shape
    assert np.abs(ours - reference).max() <= 1e-5 * np.abs(reference).max()


def unit_ends(order):
    return "out" if order in ("original", "bn_after_add") else "add"


@pytest.mark.parametrize("size", [16, 13])
@pytest.mark.parametrize("order", ORDERS_AFTER)
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_post_activation_orders(block, order, size):
    model = small_model(f"{block}_{order}")
    end = unit_ends(order)
    x, y, z = tensors(
        model,
        noise(2, size, size, 3),
        f"stage1_block2_{end}",
        f"stage2_block1_{end}",
        f"stage2_block2_{end}",
    )
    ref = Reference(model)
    down = [DOWN, SAME] if block == "basic" else [SAME, DOWN, SAME]
    same = [SAME] * len(down)
    around = ref.projection(x, "stage2_block1", stride=2)
    close(y, ref.post_activation(x, "stage2_block1", down, around, order))
    close(z, ref.post_activation(y, "stage2_block2", same, y, order))


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_full_preactivation(block):
    model = small_model(f"{block}_full_preact")
    images = noise(2, 13, 13, 3)
    stem, first, x, y, z, end = tensors(
        model,
        images,
        "stem_act",
        "stage1_block1_add",
        "stage1_block2_add",
        "stage2_block1_add",
        "stage2_block2_add",
        "post_act",
    )
    ref = Reference(model)
    down = [DOWN, SAME] if block == "basic" else [SAME, DOWN, SAME]
    same = [SAME] * len(down)
    branch, start = ref.full_preact(stem, "stage1_block1", same, first_bn=False)
    widens = block == "bottleneck"
    around = ref.projection(start, "stage1_block1", with_bn=False) if widens else stem
    close(first, around + branch)
    branch, start = ref.full_preact(x, "stage2_block1", down)
    close(y, ref.projection(start, "stage2_block1", stride=2, with_bn=False) + branch)
    branch, _ = ref.full_preact(y, "stage2_block2", same)
    close(z, y + branch)
    close(end, ref.act(ref.bn(z, "post_bn")))


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_relu_only_preactivation(block):
    model = small_model(f"{block}_relu_only_preact")
    x, y, z, end = tensors(
        model,
        noise(2, 13, 13, 3),
        "stage1_block2_add",
        "stage2_block1_add",
        "stage2_block2_add",
        "post_act",
    )
    ref = Reference(model)
    down = [DOWN, SAME] if block == "basic" else [SAME, DOWN, SAME]
    branch, start = ref.relu_only_preact(x, "stage2_block1", down)
    close(y, ref.projection(start, "stage2_block1", stride=2) + branch)
    branch, _ = ref.relu_only_preact(y, "stage2_block2", [SAME] * len(down))
    close(z, y + branch)
    close(end, ref.act(z))


@pytest.mark.parametrize(
    "kind, position", [("shortcut_a", "end"), ("shortcut_a_both", "both")]
)
@pytest.mark.parametrize("size", [16, 13])
def test_option_a(kind, position, size):
    model = small_model(kind)
    x, y = tensors(
        model, noise(2, size, size, 3), "stage1_block2_out", "stage2_block1_out"
    )
    around = option_a(x, 2, 16, position)
    close(y, Reference(model).post_activation(x, "stage2_block1", [DOWN, SAME], around))


def test_preactivation_option_a_shares_the_first_activation_in_every_stage():
    model = small_model("preact_shortcut_a")
    stem, first, x, y = tensors(
        model,
        noise(2, 16, 16, 3),
        "stem_conv",
        "stage1_block1_add",
        "stage1_block2_add",
        "stage2_block1_add",
    )
    ref = Reference(model)
    branch, start = ref.full_preact(stem, "stage1_block1", [SAME, SAME])
    close(first, start + branch)
    branch, start = ref.full_preact(x, "stage2_block1", [DOWN, SAME])
    close(y, option_a(start, 2, 16) + branch)


def test_wide_resnet_unit_shares_only_where_it_projects():
    same_width = small_model("wide", axes={"widen_factor": 1})
    stem, first = tensors(
        same_width, noise(2, 16, 16, 3), "stem_conv", "stage1_block1_add"
    )
    branch, _ = Reference(same_width).full_preact(stem, "stage1_block1", [SAME, SAME])
    close(first, stem + branch)
    wider = small_model("wide")
    stem, first = tensors(wider, noise(2, 16, 16, 3), "stem_conv", "stage1_block1_add")
    ref = Reference(wider)
    branch, start = ref.full_preact(stem, "stage1_block1", [SAME, SAME])
    close(first, ref.projection(start, "stage1_block1", with_bn=False) + branch)


def test_option_c_projects_in_every_unit():
    model = small_model("shortcut_c")
    x, y = tensors(model, noise(2, 16, 16, 3), "stage2_block1_out", "stage2_block2_out")
    ref = Reference(model)
    around = ref.projection(x, "stage2_block2")
    close(y, ref.post_activation(x, "stage2_block2", [SAME, SAME], around))


@pytest.mark.parametrize("size", [32, 33, 36])
def test_deep_stem_and_average_pool_shortcut(size):
    model = small_model("shortcut_d")
    images = noise(2, size, size, 3)
    stem, pooled, x, y = tensors(
        model,
        images,
        "stem_act3",
        "stem_pool",
        "stage1_block2_out",
        "stage2_block1_out",
    )
    ref = Reference(model)
    z = ref.act(ref.bn(ref.conv(images, "stem_conv1", stride=2), "stem_bn1"))
    z = ref.act(ref.bn(ref.conv(z, "stem_conv2"), "stem_bn2"))
    z = ref.act(ref.bn(ref.conv(z, "stem_conv3"), "stem_bn3"))
    close(stem, z)
    close(pooled, max_pool(z, 3, 2, 1))
    around = ref.projection(average_pool_2x2(x), "stage2_block1")
    close(y, ref.post_activation(x, "stage2_block1", [SAME, DOWN, SAME], around))


@pytest.mark.parametrize("size", [32, 33])
def test_imagenet_stem_pads_alike_on_both_sides(size):
    model = small_model("imagenet_stem")
    images = noise(2, size, size, 3)
    stem, pooled = tensors(model, images, "stem_act", "stem_pool")
    ref = Reference(model)
    z = ref.act(ref.bn(ref.conv(images, "stem_conv", stride=2), "stem_bn"))
    close(stem, z)
    close(pooled, max_pool(z, 3, 2, 1))


@pytest.mark.parametrize("size", [32, 33])
def test_negative_values_lose_to_no_padding(size):
    """Behind a bare stem the pooling sees negative values (torch pads with -inf)."""
    model = small_model("bare_stem")
    images = noise(2, size, size, 3)
    stem, pooled = tensors(model, images, "stem_conv", "stem_pool")
    assert stem.min() < 0
    close(pooled, max_pool(stem, 3, 2, 1))


def test_original_stride_sits_in_the_first_1x1():
    model = small_model("stride_in_1x1")
    x, y = tensors(model, noise(2, 13, 13, 3), "stage1_block2_out", "stage2_block1_out")
    ref = Reference(model)
    around = ref.projection(x, "stage2_block1", stride=2)
    close(y, ref.post_activation(x, "stage2_block1", [DOWN, SAME, SAME], around))


def test_grouped_bottleneck():
    model = small_model("grouped")
    x, y = tensors(model, noise(2, 13, 13, 3), "stage1_block2_out", "stage2_block1_out")
    ref = Reference(model)
    convs = [SAME, {"stride": 2, "groups": 4}, SAME]
    around = ref.projection(x, "stage2_block1", stride=2)
    close(y, ref.post_activation(x, "stage2_block1", convs, around))


def test_dilation_in_place_of_a_stride():
    model = small_model("dilated")
    x, y, z = tensors(
        model,
        noise(2, 13, 13, 3),
        "stage1_block2_out",
        "stage2_block1_out",
        "stage2_block2_out",
    )
    ref = Reference(model)
    twice = {"dilation": 2}
    around = ref.projection(x, "stage2_block1")
    close(y, ref.post_activation(x, "stage2_block1", [SAME, twice], around))
    close(z, ref.post_activation(y, "stage2_block2", [twice, twice], y))


def test_darknet_unit_adds_behind_its_activation():
    model = small_model("darknet")
    x, inside, y = tensors(
        model,
        noise(2, 16, 16, 3),
        "stage1_block2_add",
        "stage2_downsample_act",
        "stage2_block1_add",
    )
    ref = Reference(model, slope=0.1)
    z = ref.conv(x, "stage2_downsample_conv", stride=2)
    z = ref.act(ref.bn(z, "stage2_downsample_bn"))
    close(inside, z)
    close(
        y, ref.post_activation(z, "stage2_block1", [SAME, SAME], z, "relu_before_add")
    )


def test_darknet_plain_stage_and_convolutional_head():
    model = small_model("darknet_plain")
    images = noise(2, 16, 16, 3)
    x, y, logits = tensors(
        model, images, "stage1_block3_out", "stage2_block3_out", "avg_pool"
    )
    ref = Reference(model, slope=0.1)
    z = max_pool(x, 2, 2, 0)
    for number in (1, 2, 3):
        z = ref.act(ref.conv_bn(z, f"stage2_block{number}", 1))
    close(y, z)
    assert model.get_layer("stage2_block2_conv1").kernel.shape == (1, 1, 16, 8)
    close(logits, ref.conv(z, "predictions_conv").mean(axis=(1, 2)))


def test_units_without_residual():
    model = small_model("drn_ends")
    x, y = tensors(model, noise(2, 16, 16, 3), "stage1_block2_out", "stage2_block1_out")
    ref = Reference(model)
    z = ref.act(ref.conv_bn(x, "stage2_block1", 1, dilation=2))
    close(y, ref.act(ref.conv_bn(z, "stage2_block1", 2, dilation=2)))


def test_dead_projection_changes_nothing():
    dead = small_model("dead_projection")
    lean = small_model("dead_projection", axes={"dead_projection": False})
    for layer in lean.layers:
        layer.set_weights(dead.get_layer(layer.name).get_weights())
    images = noise(2, 16, 16, 3)
    close(np.asarray(dead(images)), np.asarray(lean(images)))
    assert dead.count_params() > lean.count_params()


def test_keras_v2_layout():
    model = small_model("keras_v2")
    images = noise(2, 32, 32, 3)
    stem, pooled, first, last = tensors(
        model,
        images,
        "stem_conv",
        "stem_pool",
        "stage1_block1_add",
        "stage1_block2_add",
    )
    ref = Reference(model)
    close(stem, ref.conv(images, "stem_conv", stride=2))
    zero_padded = np.pad(stem, ((0, 0), (1, 1), (1, 1), (0, 0)))
    close(pooled, max_pool(zero_padded, 3, 2, 0))
    branch, start = ref.full_preact(pooled, "stage1_block1", [SAME] * 3)
    close(first, ref.projection(start, "stage1_block1", with_bn=False) + branch)
    branch, _ = ref.full_preact(first, "stage1_block2", [SAME, DOWN, SAME])
    close(last, first[:, ::2, ::2] + branch)


def test_every_kind_is_compared_somewhere():
    import pathlib

    text = pathlib.Path(__file__).read_text()
    covered = {kind for kind in KINDS if f'"{kind}"' in text}
    by_order = {kind for kind in KINDS if kind.startswith(("basic_", "bottleneck_"))}
    # Equal in kind to one that is compared, or told by another test module.
    elsewhere = {"tiered_stem", "dilated_grouped", "drn_conv", "mlperf_tiny"}
    assert set(KINDS) == covered | by_order | elsewhere
