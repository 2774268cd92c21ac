"""The battery that every block kind must pass, and what the builder's arguments do."""

import dataclasses

import backend_probe
import keras
import numpy as np
import pytest
from helpers import KINDS
from helpers import SMALL
from helpers import TELLING_KINDS
from helpers import noise
from helpers import outputs
from helpers import small_model

from keras_resnets import create_model
from keras_resnets import get_architecture
from keras_resnets import replace_head
from keras_resnets.errors import InvalidArgument
from keras_resnets.networks import builder

EVERY_KIND = pytest.mark.parametrize("kind", sorted(KINDS))
TELLING = pytest.mark.costly_but(*TELLING_KINDS)


@TELLING
@EVERY_KIND
def test_round_trips_through_config_and_file(kind, tmp_path):
    model = small_model(kind)
    images = noise(2, 19, 21, 3)
    expected = outputs(model, images)
    # The config must hold everything: global settings change in between.
    config = model.get_config()
    keras.config.set_image_data_format("channels_first")
    keras.config.set_dtype_policy("mixed_bfloat16")
    clone = type(model).from_config(config)
    clone.set_weights(model.get_weights())
    np.testing.assert_allclose(outputs(clone, images), expected, atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(outputs(loaded, images), expected, atol=1e-6)


@pytest.mark.costly_but(
    "bottleneck_full_preact", "shortcut_a", "dilated", "darknet", "drn_conv"
)
@EVERY_KIND
def test_one_training_step_reaches_every_weight(kind):
    model = small_model(kind, axes={"block_dropout_rate": 0.1, "drop_path_rate": 0.2})
    gradients = gradients_of(model, noise(4, 16, 16, 3), np.arange(4) % 10)
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        assert gradient is not None, weight.path
        values = np.asarray(keras.ops.convert_to_numpy(gradient))
        assert np.isfinite(values).all(), weight.path
    assert any(np.abs(np.asarray(gradient)).max() > 0 for gradient in gradients)
    before = model.get_weights()
    # Tracing takes longer than all the rest: once for each block, shortcut and layer.
    model.compile(
        keras.optimizers.SGD(0.01),
        "sparse_categorical_crossentropy",
        run_eagerly=kind not in backend_probe.KINDS,
    )
    loss = model.train_on_batch(noise(4, 16, 16, 3), np.arange(4) % 10)
    assert np.isfinite(loss)
    moved = [
        not np.array_equal(old, new)
        for old, new in zip(before, model.get_weights(), strict=True)
    ]
    assert sum(moved) > len(moved) * 0.8


def gradients_of(model, images, labels):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        probabilities = model(images, training=True)
        loss = keras.ops.mean(
            keras.losses.sparse_categorical_crossentropy(labels, probabilities)
        )
    return tape.gradient(loss, [weight.value for weight in model.trainable_weights])


@TELLING
@EVERY_KIND
def test_mixed_precision_has_a_float32_head(kind):
    # By turns: what layers do with a policy is the same for both.
    policies = ("mixed_float16", "mixed_bfloat16")
    policy = policies[list(KINDS).index(kind) % 2]
    model = small_model(kind, dtype=policy)
    compute = policy.removeprefix("mixed_")
    for layer in model.layers:
        head = layer.name.startswith("predictions") or (
            KINDS[kind].head == "conv" and layer.name == "avg_pool"
        )
        if not isinstance(layer, keras.layers.InputLayer):
            assert layer.compute_dtype == ("float32" if head else compute), layer.name
            assert layer.variable_dtype == "float32"
    images = noise(2, 16, 16, 3)
    result = model(images, training=False)
    assert keras.backend.standardize_dtype(result.dtype) == "float32"
    reference = small_model(kind)
    expected = outputs(reference, images)
    np.testing.assert_allclose(np.asarray(result), expected, atol=0.15)
    # Tracing would take longer than all the rest; steps above are traced.
    model.compile(
        keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy", run_eagerly=True
    )
    assert np.isfinite(model.train_on_batch(noise(4, 16, 16, 3), np.arange(4) % 10))


@pytest.mark.parametrize("name", ["resnet20", "darknet15"])
def test_a_network_in_float64_has_a_float64_head(name):
    model = create_model(name, dtype="float64")
    assert {layer.compute_dtype for layer in model.layers[1:]} == {"float64"}
    assert model.output.dtype == "float64"
    assert replace_head(model, 3).output.dtype == "float64"


def test_global_policy_counts_where_no_dtype_is_given():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = create_model("resnet20")
    assert model.get_layer("stem_conv").compute_dtype == "bfloat16"
    assert model.get_layer("predictions").compute_dtype == "float32"


@TELLING
@EVERY_KIND
def test_one_and_four_channels_and_odd_free_sizes(kind):
    for channels in (1, 4):
        model = builder.build(KINDS[kind], input_shape=(None, None, channels))
        assert outputs(model, noise(1, 123, 35, channels)).shape == (1, 10)


@TELLING
@EVERY_KIND
def test_without_top(kind):
    trunk = builder.build(KINDS[kind], include_top=False)
    stride = KINDS[kind].natural_stride if not KINDS[kind].output_stride else 1
    side = -(-32 // stride)
    channels = trunk.output_shape[-1]
    assert trunk.output_shape == (None, None, None, channels)
    assert trunk.compute_output_shape((1, 32, 32, 3)) == (1, side, side, channels)
    for pooling in ("avg", "max"):
        pooled = builder.build(KINDS[kind], include_top=False, pooling=pooling)
        assert pooled.output_shape == (None, channels)


def test_pooling_values():
    images = noise(2, 16, 16, 3)
    options = {"include_top": False}
    plain = small_model("basic_original", **options)
    maps = outputs(plain, images)
    for pooling, reduce in (("avg", np.mean), ("max", np.max)):
        pooled = small_model("basic_original", pooling=pooling, **options)
        expected = reduce(maps, axis=(1, 2))
        np.testing.assert_allclose(outputs(pooled, images), expected, atol=1e-5)


def test_input_tensor_keeps_the_layers_before_it():
    image = keras.Input((32, 32, 3), name="raw")
    scaled = keras.layers.Rescaling(1 / 255, name="scale")(image)
    model = create_model("resnet20", input_tensor=scaled)
    assert [layer.name for layer in model.layers[:2]] == ["raw", "scale"]
    plain = create_model("resnet20")
    plain.set_weights(model.get_weights())
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(
        outputs(model, pixels), outputs(plain, pixels / 255), atol=1e-6
    )


def test_two_copies_share_a_graph():
    image = keras.Input((32, 32, 3))
    left = create_model("resnet20", input_tensor=image, name="left")
    right = create_model("resnet20v2", input_tensor=image, name="right")
    both = keras.Model(image, keras.layers.Average()([left.output, right.output]))
    images = noise(2, 32, 32, 3)
    expected = (outputs(left, images) + outputs(right, images)) / 2
    np.testing.assert_allclose(outputs(both, images), expected, atol=1e-6)
    assert both.get_layer("left_stem_conv") is not both.get_layer("right_stem_conv")


@pytest.mark.parametrize(
    "kind", ["basic_full_preact", "grouped", "shortcut_a", "shortcut_d"]
)
def test_channels_first_builds_the_same_network(kind):
    first = builder.build(
        KINDS[kind], data_format="channels_first", input_shape=(3, 32, 48)
    )
    last = builder.build(KINDS[kind], input_shape=(32, 48, 3))
    assert [w.shape for w in first.weights] == [w.shape for w in last.weights]
    for ours, theirs in zip(first.layers, last.layers, strict=True):
        shape = ours.output.shape
        moved = (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape
        assert moved == theirs.output.shape


@pytest.mark.costly_but("8-resnet50", "16-resnet18")
@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnet50",
        "resnet50v1",
        "resnet50v2",
        "resnet50v2_keras",
        "resnext50_32x4d",
        "darknet53",
        "resnet18v2",
    ],
)
@pytest.mark.parametrize("output_stride", [8, 16])
def test_a_trous_leaves_every_value_in_place(name, output_stride):
    """Values of the strided net stand at every k-th pixel of the dilated one."""
    small = {
        "filters": narrow(name),
        "stem_filters": 8,
        "base_width": 64,
        "cardinality": 1,
    }
    if "resnext" in name:
        small.update(cardinality=2, base_width=32)
    options = {"include_top": False, "input_shape": (None, None, 3)}
    strided = builder.build(get_architecture(name, **small), **options)
    architecture = get_architecture(name, output_stride=output_stride, **small)
    dilated = builder.build(architecture, **options)
    from helpers import randomize

    randomize(strided)
    dilated.set_weights(strided.get_weights())
    for size in (64, 75):
        images = noise(1, size, size, 3)
        coarse, fine = outputs(strided, images), outputs(dilated, images)
        step = 32 // output_stride
        assert fine.shape[1] == -(-size // output_stride)
        np.testing.assert_allclose(
            fine[:, ::step, ::step], coarse, atol=1e-4 * np.abs(coarse).max()
        )


def narrow(name):
    return tuple(width // 16 for width in get_architecture(name).filters)


def test_uniform_policy_dilates_the_whole_stage():
    model = create_model(
        "resnet18",
        output_stride=16,
        dilation_policy="uniform",
        kernel_initializer="zeros",
    )
    first = model.get_layer("stage4_block1_conv1")
    assert first.dilation_rate == (2, 2) and first.strides == (1, 1)
    default = create_model("resnet18", output_stride=16, kernel_initializer="zeros")
    assert default.get_layer("stage4_block1_conv1").dilation_rate == (1, 1)
    assert default.get_layer("stage4_block1_conv2").dilation_rate == (2, 2)


def test_zero_init_residual_starts_as_the_identity():
    for kind in ("basic_original", "bottleneck_full_preact", "darknet"):
        architecture = KINDS[kind].replace(zero_init_residual=True)
        model = builder.build(architecture, input_shape=(None, None, 3))
        end = "out" if kind == "basic_original" else "add"
        x, y = (model.get_layer(f"stage1_block{n}_{end}").output for n in (1, 2))
        probe = keras.Model(model.input, [x, y])
        before, after = probe(noise(1, 16, 16, 3), training=False)
        np.testing.assert_allclose(np.asarray(before), np.asarray(after), atol=1e-6)


def test_initial_kernels_are_he_normal_fan_out_and_differ():
    model = create_model("resnet18")
    kernels = [
        np.asarray(layer.kernel)
        for layer in model.layers
        if layer.name.endswith("conv2") and "stage4" in layer.name
    ]
    for kernel in kernels:
        assert abs(kernel.std() / np.sqrt(2 / (9 * 512)) - 1) < 0.01
    assert not np.allclose(kernels[0], kernels[1])


def test_drop_path_rises_linearly():
    model = create_model("resnet18", drop_path_rate=0.7, kernel_initializer="zeros")
    rates = [layer.rate for layer in model.layers if layer.name.endswith("drop_path")]
    np.testing.assert_allclose(sorted(rates), np.arange(1, 8) / 10)


def test_networks_are_flat():
    model = create_model("drn_c_26", kernel_initializer="zeros")
    plain = type(keras.layers.ReLU()).__module__
    assert plain.startswith("keras")
    for layer in model.layers:
        assert not isinstance(layer, keras.Model)
        assert not isinstance(layer, keras.layers.Lambda)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"input_shape": (31, 64, 3)}, ["at least 32", "31", "32 x 64"]),
        ({"input_shape": (64, 64)}, ["(height, width, channels)", "(64, 64)"]),
        ({"input_shape": (64, 64, 0)}, ["channels", "0"]),
        ({"classes": 0}, ["classes", "from 1 to", "got 0"]),
        ({"pooling": "mean"}, ["pooling", "'avg'", "'mean'"]),
        ({"output_stride": 12}, ["output_stride", "32, ", "12"][:1] + ["12"]),
        ({"cardinality": 0}, ["cardinality", "from 1 to", "got 0"]),
        ({"cardinality": 32, "base_width": 0}, ["base_width"]),
        ({"drop_path_rate": 1.0}, ["drop_path_rate", "[0, 1)"]),
        (
            {"shortcut_type": "projektion"},
            ["shortcut_type", "did you mean 'projection'"],
        ),
        ({"dropout": 0.1}, ["'dropout'", "dropout_rate"]),
        ({"data_format": "NCHW"}, ["channels_first"]),
        ({"input_tensor": np.zeros((1, 64, 64, 3))}, ["input_tensor", "ndarray"]),
        (
            {"input_tensor": keras.KerasTensor((None, 64, 64, 3))},
            ["input_tensor", "keras.Input"],
        ),
        ({"depths": 3}, ["depths", "tuple"]),
        ({"depths": (1, 2)}, ["entry a stage"]),
    ],
)
def test_bad_arguments_are_told(arguments, words):
    with pytest.raises(ValueError) as caught:
        create_model("resnet50", **arguments)
    assert isinstance(caught.value, InvalidArgument)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_integers_of_numpy_are_whole_numbers():
    """As `labels.max() + 1` and the shape of a stack give them."""
    size, classes = np.int64(32), np.array([0, 2]).max() + 1
    model = create_model("resnet8", input_shape=(size, size, np.int32(3)), classes=3)
    assert model.input_shape == (None, 32, 32, 3)
    assert type(model.inputs[0].shape[1]) is int
    shape = np.array([32, 32, 3])
    assert create_model("resnet8", input_shape=shape).input_shape == (None, 32, 32, 3)
    tuned = replace_head(model, classes, dropout_rate=np.float32(0.1))
    assert tuned.output_shape == (None, 3) and type(tuned.layers[-1].units) is int
    with pytest.raises(InvalidArgument, match="classes must be a whole number"):
        replace_head(model, np.bool_(True))


def test_no_name_is_suggested_that_means_something_else():
    with pytest.raises(InvalidArgument, match="got 'mean'$"):
        create_model("resnet50", pooling="mean")


def test_groups_on_basic_units_are_refused():
    with pytest.raises(InvalidArgument, match="bottleneck units"):
        create_model("resnet18", cardinality=32)


def test_smaller_output_stride_allows_smaller_pictures():
    assert create_model("resnet18", output_stride=8, input_shape=(9, 9, 3)) is not None


def test_architectures_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SMALL.depths = (1,)
