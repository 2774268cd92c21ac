"""Small relatives of every block kind, with random values everywhere."""

import keras
import numpy as np
import pytest

import keras_resnets
from keras_resnets import export
from keras_resnets.errors import InvalidArgument
from keras_resnets.export.keras.runner import KerasRunner
from keras_resnets.networks import builder
from keras_resnets.networks.architecture import ACTIVATION_ORDERS
from keras_resnets.networks.architecture import Architecture

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
# Of stages, where the depth is no part of a test's claim: half the time.
ONE_UNIT = {"depths": (1, 1)}
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
    "bottleneck_wide": BOTTLENECK.replace(base_width=128),
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

# Of the kinds those that the default run tries: each block, shortcut and dilation once.
TELLING_KINDS = (
    "bottleneck_full_preact shortcut_a shortcut_d grouped dilated darknet drn_conv "
    "mlperf_tiny"
).split()

# What test_matrix.py exports to every format.
# Variant -> (its name, axes to change, its small relative in KINDS).
NETWORKS = {
    "resnet18": ("resnet18", {}, "imagenet_stem"),
    "resnet34 shortcut A": ("resnet34", {"shortcut_type": "A"}, "shortcut_a"),
    "resnet50": ("resnet50", {}, "bottleneck_original"),
    "resnet50v1": ("resnet50v1", {}, "stride_in_1x1"),
    "resnet50v2": ("resnet50v2", {}, "bare_stem"),
    "resnet50d": ("resnet50d", {}, "shortcut_d"),
    "wide_resnet50_2": ("wide_resnet50_2", {}, "bottleneck_wide"),
    "resnext50_32x4d": ("resnext50_32x4d", {}, "grouped"),
    "darknet53": ("darknet53", {}, "darknet"),
    "drn_c_26": ("drn_c_26", {}, "drn_ends"),
    "drn_d_22": ("drn_d_22", {}, "drn_conv"),
    "drn_a_50": ("drn_a_50", {}, "dilated_grouped"),
    "resnet20": ("resnet20", {}, "shortcut_a_both"),
    "wrn_16_4": ("wrn_16_4", {}, "wide"),
    "resnet164v2": ("resnet164v2", {}, "bottleneck_full_preact"),
    **{
        order: ("resnet20", {"activation_order": order}, f"basic_{order}")
        for order in ACTIVATION_ORDERS
    },
}
MATRIX_KINDS = [kind for _, _, kind in NETWORKS.values()]


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


def floats_of_the_runtime(path, folder):
    """What ONNX Runtime computes in float once it has fused what it can."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "fused.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(folder / "fused.onnx").graph
    # A layout is no computation; integers come out of the others of this list.
    exempt = ("QuantizeLinear", "DequantizeLinear", "Softmax", "Transpose")
    integers = {
        name
        for node in graph.node
        if node.op_type.startswith("QLinear") or node.op_type == "QuantizeLinear"
        for name in node.output
    } | {tensor.name for tensor in graph.initializer}
    found = []
    for node in graph.node:
        if node.input[0] in integers and node.op_type != "DequantizeLinear":
            integers.update(node.output)
        elif node.op_type not in exempt:
            found.append(node.op_type)
    return found


# Every LiteRT runtime has these; nothing else may stand in any file.
ALLOWED = set(
    "CONV_2D DEPTHWISE_CONV_2D ADD MUL PAD PADV2 MAX_POOL_2D AVERAGE_POOL_2D MEAN "
    "FULLY_CONNECTED SOFTMAX LEAKY_RELU RELU RESHAPE QUANTIZE DEQUANTIZE "
    "CONCATENATION STRIDED_SLICE".split()
)


def convolutions(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]


def norms_without_convolution(model):
    """BN layers that do not directly follow a convolution, and so cannot be folded."""
    return [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
        and not isinstance(layer.input._keras_history.operation, keras.layers.Conv2D)
    ]


def check_tflite(model, report, dead_convolutions=0):
    """One CONV_2D a convolution, BN folded, nothing unusual, and what the model says."""
    assert set(report.operators) <= ALLOWED
    found = report.operators.get("CONV_2D", 0)
    found += report.operators.get("DEPTHWISE_CONV_2D", 0)
    assert found == len(convolutions(model)) - dead_convolutions
    # A BN that stands alone is one MUL and one ADD; a folded one is nothing.
    assert report.operators.get("MUL", 0) <= len(norms_without_convolution(model))
    assert report.path.stat().st_size == report.size
    assert report.outputs.max_error <= 1e-5
    assert report.logits.relative_error <= 1e-4


def scales_behind_convolutions(proto):
    """Products and sums with a constant that follow a convolution alone."""
    makers = {name: node for node in proto.graph.node for name in node.output}
    constants = {tensor.name for tensor in proto.graph.initializer}
    return [
        node.name
        for node in proto.graph.node
        if node.op_type in ("Mul", "Add")
        and constants.intersection(node.input)
        and any(makers[name].op_type == "Conv" for name in node.input if name in makers)
    ]


def check_onnx(model, report, dead_convolutions=0):
    """One Conv a convolution with its groups, BN folded, what the model says."""
    import onnx

    assert report.outputs.max_error <= 1e-5
    assert report.logits.relative_error <= 1e-4
    assert report.outputs.max_error > 0 or report.logits.max_error > 0
    counts, proto = report.operators, onnx.load(report.path)
    assert "BatchNormalization" not in counts and counts.get("Transpose") == 1
    assert counts["Conv"] == len(convolutions(model)) - dead_convolutions
    groups = {a.i for n in proto.graph.node for a in n.attribute if a.name == "group"}
    assert groups == {layer.groups for layer in convolutions(model)}
    assert {entry.domain for entry in proto.opset_import} <= {"", "ai.onnx.ml"}
    # A BN that stands alone is one Mul and one Add.
    assert len(scales_behind_convolutions(proto)) <= 2 * len(
        norms_without_convolution(model)
    )
    given, made = proto.graph.input[0], proto.graph.output[0]
    assert (given.name, made.name) == ("image", "predictions")
    sides = [dim.dim_value for dim in given.type.tensor_type.shape.dim]
    assert sides == [1, *report.input_shape[1:]]


def check_onnx_integers(report):
    """Integers from end to end, whoever runs it: each operator between two scales."""
    import onnx

    assert report.logits.relative_error > 1e-4
    proto = onnx.load(report.path)
    makers = {name: node for node in proto.graph.node for name in node.output}
    readers = {name: node for node in proto.graph.node for name in node.input}
    exempt = ("QuantizeLinear", "DequantizeLinear", "Softmax")
    for node in proto.graph.node:
        if node.op_type in exempt:
            continue
        behind = readers[node.output[0]].op_type
        given = {makers[n].op_type for n in node.input[:1] if n in makers}
        given = given or {"the picture"}
        if node.op_type == "Pad":
            assert (given, behind) == ({"QuantizeLinear"}, "DequantizeLinear")
            continue
        assert behind == "QuantizeLinear", (node.op_type, behind)
        assert given <= {"DequantizeLinear", "the picture"}, (node.op_type, given)
    assert floats_of_the_runtime(report.path, report.path.parent) == []
    signs = {
        tensor.data_type
        for node in proto.graph.node
        if node.op_type == "QuantizeLinear"
        for tensor in proto.graph.initializer
        if tensor.name == node.input[2]
    }
    assert signs == {onnx.TensorProto.UINT8}


def write_formats(folder, shape):
    """Writes one network as `a.tflite`, `b.tflite` (int8 weights), `a.onnx`, `saved`."""
    keras.utils.set_random_seed(7)
    small = small_model("basic_original", input_shape=shape)
    export.to_tflite(small, folder / "a.tflite")
    export.to_tflite(small, folder / "b.tflite", quantize="dynamic")
    export.to_onnx(small, folder / "a.onnx")
    export.to_saved_model(small, folder / "saved")


def refusal(call, *words):
    with pytest.raises(InvalidArgument) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text, text


def random_photo(height, width, seed=0):
    """Noise of several sizes, as edges and surfaces are."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype="uint8"))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    fine = rng.integers(-40, 40, (height, width, 3))
    return Image.fromarray(np.clip(smooth + fine, 0, 255).astype("uint8"))


def with_large_equal_logits(images):
    """Returns a CIFAR-10 network and its largest logit on `images`, over 1,000.

    All classes are equal for the first image, so the rounding of the logits shows in the
    probabilities.
    """
    model = keras_resnets.create_model("resnet14d", weights="cifar10")
    head = model.layers[-1]
    kernel, _ = head.get_weights()
    head.set_weights([300 * kernel, np.zeros(10, "float32")])
    logits = KerasRunner(model)(images)[1]
    head.set_weights([300 * kernel, (logits[0].max() - logits[0]).astype("float32")])
    return model, float(np.abs(logits).max())
