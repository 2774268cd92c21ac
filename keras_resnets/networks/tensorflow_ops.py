"""TensorFlow kernels for `layers`, and operations on its tensors under any backend."""

import contextlib
import functools
import os
import types
import typing
import warnings
from collections.abc import Sequence

import tensorflow as tf

from keras_resnets.system import processor
from keras_resnets.system import shared

# Of one thread: others may train meanwhile.
_forced = shared.Switch("native convolution")


def native_convolution() -> contextlib.AbstractContextManager[None]:
    """Uses the native kernels even if this machine lacks them, to trace an export."""
    return _forced.on()


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


class SlowConvolutions(UserWarning):
    """TensorFlow trains grouped convolutions slowly in this process."""


def has_kernel(grouped: bool, dilated: bool, dtype: str) -> bool:
    """Whether this machine convolves natively, forward, fused and backward."""
    if _forced.is_on():
        return True
    found = _probe(grouped, dilated, dtype)
    if not found and grouped and dtype == "float32":
        _warn_without_onednn()
    return found


@functools.cache
def _warn_without_onednn() -> None:
    """Warns, once, where oneDNN would be fast and nobody chose to go without."""
    if processor.is_x86() and "TF_ENABLE_ONEDNN_OPTS" not in os.environ:
        warnings.warn(
            "training of grouped convolutions is slow: TensorFlow has no kernel for them "
            "without oneDNN, which by default it uses only on processors with VNNI: set "
            "TF_ENABLE_ONEDNN_OPTS=1 in the environment before TensorFlow is imported",
            SlowConvolutions,
            stacklevel=2,
        )


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


@functools.cache
def is_faster_as_product(dtype: str) -> bool:
    """Whether `trained_conv2d` may use matrix products: on a CPU, in measured dtypes."""
    devices = {device.device_type for device in tf.config.get_visible_devices()}
    return devices == {"CPU"} and dtype in ("float32", "bfloat16")


# Up to these numbers of output pixels a product is faster than oneDNN's convolution. It
# reorders the kernel three times a step and has slow kernels for the gradient; a product
# reads the kernel as it is, but loses on feature maps with many pixels.
# Measured by benchmarks/train_convolutions.py, batches of 8 and 16, on AVX-512 BF16.
_PIXELS_1X1 = 28 * 28
_PIXELS_3X3_STRIDE_2 = 14 * 14
_PIXELS_3X3 = 7 * 7


def trained_conv2d(
    inputs: tf.Tensor, kernel: typing.Any, stride: int, padding: str
) -> tf.Tensor | None:
    """Convolves an NHWC batch whose gradient is asked for, with fewer bytes moved.

    Args:
        inputs: (N, H, W, C), 3x3 windows of stride 2 padded already.
        kernel: (k, k, C, F).
        stride: 1 or 2.
        padding: `"same"` or `"valid"`.

    Returns:
        (N, H', W', F), or None where `tf.nn.conv2d` is as fast.
    """
    if not is_faster_as_product(inputs.dtype.name):
        return None
    kernel = tf.convert_to_tensor(kernel)
    _, height, width, channels = inputs.shape
    size, _, _, filters = kernel.shape
    if height is None or width is None or (stride == 2 and (height % 2 or width % 2)):
        return None
    pixels = (height // stride) * (width // stride)
    if size == 1 and min(channels, filters) >= 64 and pixels <= _PIXELS_1X1:
        return _conv_1x1(inputs, kernel, stride)
    if size != 3 or padding != ("same" if stride == 1 else "valid"):
        return None
    if stride == 1 and min(channels, filters) >= 256 and pixels <= _PIXELS_3X3:
        return _conv_3x3(inputs, kernel, stride)
    pixels = (height // 2 - 1) * (width // 2 - 1)
    if stride == 2 and min(channels, filters) >= 128 and pixels <= _PIXELS_3X3_STRIDE_2:
        return _conv_3x3(inputs, kernel, stride)
    return None


def _product(a: tf.Tensor, b: tf.Tensor, transposed: bool = False) -> tf.Tensor:
    """The product of two matrices by oneDNN, which tf.matmul calls for stacks only."""
    return tf.raw_ops.BatchMatMulV2(x=a, y=b, adj_x=transposed)


def _conv_1x1(inputs: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    channels, filters = kernel.shape[2:]
    if stride == 2:
        (inputs,) = _phases(inputs, ((0, 0),), 0)
    _, height, width, _ = inputs.shape
    rows = tf.reshape(inputs, (-1, channels))
    outputs = _product(rows, tf.reshape(kernel, (channels, filters)))
    return tf.reshape(outputs, (-1, height, width, filters))


def _conv_3x3(inputs: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    """A convolution whose gradient of the kernel is a product with all its windows."""
    geometry = {
        "strides": [1, stride, stride, 1],
        "padding": "SAME" if stride == 1 else "VALID",
    }

    @tf.custom_gradient
    def convolve(
        inputs: tf.Tensor, kernel: tf.Tensor
    ) -> tuple[tf.Tensor, typing.Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]]:
        def gradient(slopes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            of_inputs = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(inputs),
                filter=kernel,
                out_backprop=slopes,
                **geometry,
            )
            rows = tf.reshape(slopes, (-1, kernel.shape[-1]))
            of_kernel = _product(_windows(inputs, stride), rows, transposed=True)
            return of_inputs, tf.reshape(of_kernel, kernel.shape)

        return tf.nn.conv2d(inputs, kernel, **geometry), gradient

    return convolve(inputs, kernel)


def _windows(inputs: tf.Tensor, stride: int) -> tf.Tensor:
    """The 3x3 windows, (N H' W', 9 C)."""
    offsets = [(i, j) for i in range(3) for j in range(3)]
    _, height, width, channels = inputs.shape
    if stride == 2:
        parts = _phases(inputs, offsets, 1)
    else:
        padded = tf.pad(inputs, ((0, 0), (1, 1), (1, 1), (0, 0)))
        parts = [padded[:, i : i + height, j : j + width] for i, j in offsets]
    return tf.reshape(tf.concat(parts, -1), (-1, 9 * channels))


def _phases(
    inputs: tf.Tensor, offsets: Sequence[tuple[int, int]], fewer: int
) -> list[tf.Tensor]:
    """Every second pixel from each offset on, (N, H / 2 - fewer, W / 2 - fewer, C).

    A slice with strides reads one value at a time. Here even and odd pixels lie on axes
    of their own, so that each pixel is copied as a whole, in the gradient too.
    """
    _, height, width, channels = inputs.shape
    apart = tf.reshape(inputs, (-1, height // 2, 2, width // 2, 2 * channels))
    size = (-1, height // 2 - fewer, 1, width // 2 - fewer, channels)
    return [
        tf.squeeze(
            tf.slice(apart, (0, i // 2, i % 2, j // 2, j % 2 * channels), size), 2
        )
        for i, j in offsets
    ]


@functools.cache
def batch_norm_dtype(dtype: str) -> str:
    """The dtype in which `fused_batch_norm` takes a batch of `dtype` on this machine.

    The kernel for bfloat16 computes in float32 and rounds its results, as if the batch
    were cast before and after, but without the passes over memory of the casts.
    """
    if dtype != "bfloat16":
        return "float32"
    with tf.init_scope():
        batch, vector = tf.ones((2, 2, 2, 4), dtype), tf.ones((4,))
        try:
            outputs, mean, _, *saved = tf.raw_ops.FusedBatchNormV3(
                x=batch, scale=vector, offset=vector, mean=[], variance=[]
            )
            tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=outputs,
                x=batch,
                scale=vector,
                reserve_space_1=saved[0],
                reserve_space_2=saved[1],
                reserve_space_3=saved[2],
            )
        except (tf.errors.OpError, ValueError):
            return "float32"
    return dtype


def fused_batch_norm(
    inputs: tf.Tensor, gamma: typing.Any, beta: typing.Any, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalizes an NHWC batch; returns it, its mean and biased variance in float32."""
    inputs = tf.cast(inputs, batch_norm_dtype(inputs.dtype.name))
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
