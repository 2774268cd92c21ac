"""The layers on the PyTorch backend against Keras' own, where sums are exact.

KERAS_BACKEND=torch python -m pytest -m torch tests/test_torch_ops.py
"""

import keras
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from keras_resnets.graph import anatomy  # noqa: E402
from keras_resnets.networks import layers  # noqa: E402
from keras_resnets.networks import torch_ops  # noqa: E402

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(
        keras.backend.backend() != "torch", reason="Keras computes with another backend"
    ),
]

POLICIES = ("float32", "mixed_bfloat16")
# Kernel, stride, padding, height, width.
FAST = {
    "1x1": (1, 1, "same", 5, 6),
    "1x1-stride": (1, 2, "valid", 5, 6),
    "1x1-stride-same": (1, 2, "same", 6, 5),
    "3x3": (3, 1, "same", 5, 6),
    "3x3-valid": (3, 1, "valid", 5, 6),
    "3x3-stride": (3, 2, "valid", 8, 7),
    "7x7-stride": (7, 2, "valid", 12, 13),
}
# Those that Keras computes.
OTHERS = {
    "3x3-stride-same": (3, 2, "same", 8, 7),
    "2x2": (2, 1, "same", 6, 6),
    "3x1": ((3, 1), 1, "same", 6, 6),
}
GEOMETRIES = FAST | OTHERS


def images_of(geometry, policy):
    *_, height, width = geometry
    images = np.random.default_rng(1).integers(-2, 3, (3, height, width, 16))
    dtype = getattr(torch, keras.DTypePolicy(policy).compute_dtype)
    return torch.tensor(images, dtype=dtype, requires_grad=True)


def convolution(kind, geometry, policy):
    """A layer whose kernel and bias are small whole numbers."""
    size, stride, padding, *_ = geometry
    options = {"strides": stride, "padding": padding, "activation": "relu"}
    layer = kind(24, size, dtype=policy, **options)
    layer.build((None, None, None, 16))
    rng = np.random.default_rng(0)
    layer.set_weights([rng.integers(-2, 3, each.shape) for each in layer.weights])
    return layer


def with_gradients(layer, images):
    """The output in training; its gradients by the images and by every weight."""
    outputs = layer(images, training=True)
    slopes = np.random.default_rng(2).integers(-2, 3, tuple(outputs.shape))
    sources = [images, *(weight.value for weight in layer.trainable_weights)]
    slopes = torch.tensor(slopes, dtype=outputs.dtype)
    return [outputs, *torch.autograd.grad(outputs, sources, slopes)]


def arrays(tensors):
    return [tensor.detach().float().numpy() for tensor in tensors]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_convolutions_equal_keras(name, policy):
    ours, own = (
        with_gradients(
            convolution(kind, GEOMETRIES[name], policy),
            images_of(GEOMETRIES[name], policy),
        )
        for kind in (layers.PlainConv2D, keras.layers.Conv2D)
    )
    assert [each.dtype for each in ours] == [each.dtype for each in own]
    for one, other in zip(arrays(ours), arrays(own), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_only_listed_geometries_leave_keras_and_only_in_training(name, monkeypatch):
    calls = []
    convolve = torch_ops.trained_conv2d

    def recorded(*arguments):
        calls.append(convolve(*arguments))
        return calls[-1]

    monkeypatch.setattr(torch_ops, "trained_conv2d", recorded)
    geometry = GEOMETRIES[name]
    layer = convolution(layers.PlainConv2D, geometry, "float32")
    layer(images_of(geometry, "float32"), training=False)
    layer(images_of(geometry, "float32"))
    assert not calls
    layer(images_of(geometry, "float32"), training=True)
    assert [each is not None for each in calls] == [name in FAST]


def test_float16_and_other_devices_are_keras_convolutions():
    kernel = torch.ones((1, 1, 4, 4))
    images = torch.ones((1, 4, 4, 4))
    assert torch_ops.trained_conv2d(images, kernel, 1, "same") is not None
    for other in (images.half(), images.double(), images.to("meta")):
        assert torch_ops.trained_conv2d(other, kernel, 1, "same") is None


def norm(kind, policy, **options):
    layer = kind(momentum=0.8, epsilon=1e-5, dtype=policy, **options)
    layer.build((None, None, None, 16))
    layer.gamma.assign(np.linspace(0.5, 2, 16))
    layer.beta.assign(np.linspace(-1, 1, 16))
    return layer


@pytest.mark.parametrize("policy", [*POLICIES, "mixed_float16"])
def test_batch_normalization_equals_keras_while_training_and_after(policy):
    results = []
    for kind in (layers.BatchNormalization, keras.layers.BatchNormalization):
        layer = norm(kind, policy)
        images = images_of((1, 1, "same", 5, 6), policy)
        trained = with_gradients(layer, images)
        moving = [layer.moving_mean.value, layer.moving_variance.value]
        after = layer(images, training=False)
        results.append([*trained, after, *moving])
    ours, own = results
    assert [each.dtype for each in ours] == [each.dtype for each in own]
    step = {"float32": 1e-5, "mixed_bfloat16": 2**-7, "mixed_float16": 2**-10}[policy]
    for n, pair in enumerate(zip(arrays(ours), arrays(own), strict=True)):
        # The output and the gradient by the images are rounded to the policy's dtype,
        # so is what inference makes of statistics in float32.
        tolerance = step if n < 5 else 1e-5
        assert np.abs(pair[0] - pair[1]).max() <= tolerance * max(pair[1].max(), 1)


@pytest.mark.parametrize(
    "options", [{"scale": False}, {"center": False}, {"renorm": True}, {"axis": 1}]
)
def test_other_normalizations_are_keras_own(options, monkeypatch):
    monkeypatch.setattr(torch_ops, "fused_batch_norm", None)
    layer = layers.BatchNormalization(**options)
    layer(torch.ones((2, 4, 4, 4)), training=True)


def test_frozen_batch_normalization_does_not_move():
    layer = norm(layers.BatchNormalization, "float32")
    layer.trainable = False
    layer(images_of((1, 1, "same", 5, 6), "float32"), training=True)
    assert not layer.moving_mean.value.any()


@pytest.mark.parametrize("kind", ["BatchNormalization", "Conv2D"])
def test_one_value_a_channel_and_symbolic_inputs(kind):
    ours = {"Conv2D": layers.PlainConv2D(4, 1)}.get(kind, layers.BatchNormalization())
    outputs = ours(keras.Input((4, 4, 4)), training=True)
    assert outputs.shape == (None, 4, 4, 4)
    assert torch.isfinite(ours(torch.ones((1, 1, 1, 4)), training=True)).all()
    assert all(np.isfinite(weight).all() for weight in ours.get_weights())


def test_a_keras_layer_is_not_taken_for_a_module_of_pytorch():
    """On this backend its class derives from one."""
    assert anatomy.type_and_remedy(keras.layers.ReLU()) == "ReLU"
    assert "torch.save" in anatomy.type_and_remedy(torch.nn.ReLU())
