"""TensorFlow kernels for `layers`, and operations on its tensors under any backend."""

import contextlib
import functools
import types
import typing
from collections.abc import Iterator
from collections.abc import Sequence

import tensorflow as tf

_forced = False


@contextlib.contextmanager
def native_convolution() -> Iterator[None]:
    """Uses the native kernels even if this machine lacks them, to trace an export."""
    global _forced
    before, _forced = _forced, True
    try:
        yield
    finally:
        _forced = before


def conv2d(
    inputs: tf.Tensor,
    kernel: typing.Any,
    strides: Sequence[int],
    padding: str,
    dilations: Sequence[int],
) -> tf.Tensor:
    """Computes an NHWC convolution in one operator; the kernel's depth gives the groups."""
    return tf.nn.conv2d(
        inputs,
        tf.convert_to_tensor(kernel),
        strides=strides,
        padding=padding.upper(),
        dilations=dilations,
    )


def has_kernel(grouped: bool, dilated: bool, dtype: str) -> bool:
    """Whether this machine convolves natively, forward, fused and backward."""
    return _forced or _probe(grouped, dilated, dtype)


@functools.cache
def _probe(grouped: bool, dilated: bool, dtype: str) -> bool:
    # Lifted out of any graph that is being traced, so that the kernels really run.
    with tf.init_scope():
        try:
            _run_once(2 if grouped else 1, 2 if dilated else 1, dtype)
        except (tf.errors.OpError, ValueError):
            return False
    return True


def _run_once(groups: int, dilation: int, dtype: str) -> None:
    inputs = tf.ones((1, 6, 6, 4), dtype)
    kernel = tf.ones((3, 3, 4 // groups, 4), dtype)
    bias = tf.ones((4,), dtype)
    geometry = {
        "strides": [1, 1, 1, 1],
        "padding": "SAME",
        "dilations": [1, dilation, dilation, 1],
    }

    # Without oneDNN a grouped convolution fails only where the graph optimizer fuses
    # it with bias and ReLU. The gradients are called by name, since init_scope stops
    # every tape.
    @tf.function(autograph=False)
    def forward_and_backward(
        inputs: tf.Tensor, kernel: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = conv2d(inputs, kernel, (1, 1), "same", (dilation, dilation))
        outputs = tf.nn.relu(tf.nn.bias_add(outputs, bias))
        return (
            tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(inputs),
                filter=kernel,
                out_backprop=outputs,
                **geometry,
            ),
            tf.raw_ops.Conv2DBackpropFilter(
                input=inputs,
                filter_sizes=tf.shape(kernel),
                out_backprop=outputs,
                **geometry,
            ),
        )

    forward_and_backward(inputs, kernel)


def fused_batch_norm(
    inputs: tf.Tensor, gamma: typing.Any, beta: typing.Any, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalizes an NHWC float32 batch; returns it, its mean and biased variance."""
    # The raw operator, since tf.nn.fused_batch_norm lifts epsilon to 1.001e-5.
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=tf.convert_to_tensor(gamma),
        offset=tf.convert_to_tensor(beta),
        mean=tf.zeros((0,)),
        variance=tf.zeros((0,)),
        epsilon=epsilon,
        is_training=True,
    )
    # The kernel returns the unbiased variance (divided by n - 1), Keras keeps the
    # biased one.
    count = tf.cast(tf.size(inputs) / tf.size(mean), tf.float32)
    return outputs, mean, variance * ((count - 1.0) / count)


def _resize(
    images: tf.Tensor,
    size: Sequence[int],
    interpolation: str,
    antialias: bool,
    data_format: str,
) -> tf.Tensor:
    first = data_format == "channels_first"
    images = tf.einsum("...chw->...hwc", images) if first else images
    images = tf.image.resize(images, size, interpolation, antialias=antialias)
    return tf.einsum("...hwc->...chw", images) if first else images


# The functions of `keras.ops` that `preprocessing` needs; on other backends `keras.ops`
# does not take the tensors of `tf.data.Dataset.map`.
IMAGE_OPS = types.SimpleNamespace(
    cast=tf.cast,
    clip=tf.clip_by_value,
    einsum=tf.einsum,
    flip=lambda x, axis: tf.reverse(x, [axis]),
    image=types.SimpleNamespace(resize=_resize),
    pad=lambda x, margins, constant_values: tf.pad(
        x, margins, constant_values=constant_values
    ),
    take=lambda x, indices, axis: tf.gather(x, indices, axis=axis),
    transpose=tf.transpose,
)
