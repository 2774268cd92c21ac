"""Small relatives of every block kind, with random values everywhere."""

import keras
import numpy as np

from keras_resnets import builder
from keras_resnets.architecture import ACTIVATION_ORDERS
from keras_resnets.architecture import Architecture

SMALL = Architecture(
    family="test",
    depths=(2, 2),
    filters=(8, 16),
    strides=(1, 2),
    block="basic",
    stem_type="cifar",
    stem_filters=8,
    stem_pool=None,
    input_size=32,
    classes=10,
)
BOTTLENECK = SMALL.replace(block="bottleneck")
PREACT = {"activation_order": "full_preact", "stem_bn": False}

# One network for every block kind, shortcut, stem and order: what a change of one of
# them could break.
KINDS = {
    **{
        f"basic_{order}": SMALL.replace(activation_order=order)
        for order in ACTIVATION_ORDERS
    },
    **{
        f"bottleneck_{order}": BOTTLENECK.replace(activation_order=order)
        for order in ACTIVATION_ORDERS
    },
    "shortcut_a": SMALL.replace(shortcut_type="A"),
    "shortcut_a_both": SMALL.replace(shortcut_type="A", identity_pad_position="both"),
    "shortcut_c": SMALL.replace(shortcut_type="C"),
    "shortcut_d": BOTTLENECK.replace(
        shortcut_type="D", stem_type="deep", stem_pool="max"
    ),
    "preact_shortcut_a": SMALL.replace(shortcut_type="A", **PREACT),
    "stride_in_1x1": BOTTLENECK.replace(downsample_in="1x1"),
    "imagenet_stem": SMALL.replace(stem_type="conv7", stem_pool="max"),
    "bare_stem": SMALL.replace(stem_type="conv7", stem_pool="max", **PREACT),
    "tiered_stem": SMALL.replace(
        stem_type="deep_tiered", stem_filters=16, stem_pool="conv"
    ),
    "keras_v2": BOTTLENECK.replace(
        strides=(2, 1),
        downsample_in="last_block",
        conv_bias="unnormalized",
        stem_type="conv7",
        stem_pool="max_zero_pad",
        **PREACT,
    ),
    "grouped": BOTTLENECK.replace(cardinality=4, base_width=16),
    "dilated": SMALL.replace(output_stride=1),
    "dilated_grouped": BOTTLENECK.replace(
        cardinality=2, base_width=32, output_stride=1
    ),
    "wide": SMALL.replace(widen_factor=2, share_preact="projection", **PREACT),
    "darknet": SMALL.replace(
        block="darknet",
        transition="conv",
        strides=(2, 2),
        activation="leaky_relu",
        activation_order="relu_before_add",
        stem_type="darknet",
    ),
    "darknet_plain": SMALL.replace(
        block="alternating",
        depths=(3, 3),
        transition="max",
        strides=(2, 2),
        activation="leaky_relu",
        head="conv",
    ),
    "drn_ends": SMALL.replace(
        residual=(True, False), dilations=(1, 2), strides=(2, 1), stem_type="drn"
    ),
    "drn_conv": SMALL.replace(
        block=("basic", "conv"), dilations=(1, 2), strides=(2, 1)
    ),
    "dead_projection": SMALL.replace(
        block=("bottleneck", "basic"), residual=(True, False), dead_projection=True
    ),
    "mlperf_tiny": SMALL.replace(padding="same", conv_bias="all", shortcut_bn=False),
}


def randomize(model, seed=0):
    """Random values everywhere, so that nothing is zero, one or the identity."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        name, shape = weight.path.split("/")[-1], weight.shape
        if "seed" in weight.path:
            continue
        if name == "kernel":
            fan_in = np.prod(shape[:-1])
            value = rng.standard_normal(shape) * np.sqrt(2 / fan_in)
        elif name in ("gamma", "moving_variance"):
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = rng.uniform(-0.3, 0.3, shape)
        weight.assign(value.astype("float32"))
    return model


def small_model(kind, seed=0, **options):
    """The network of `KINDS[kind]` with random values everywhere."""
    architecture = KINDS[kind].replace(**options.pop("axes", {}))
    if "input_tensor" not in options:
        options.setdefault("input_shape", (None, None, 3))
    return randomize(builder.build(architecture, **options), seed)


def noise(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def outputs(model, images):
    return np.asarray(keras.ops.convert_to_numpy(model(images, training=False)))
