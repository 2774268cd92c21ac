"""Custom Keras layers, only where Keras' own are wrong or slow.

- `Conv2D`: grouped and dilated convolution by TensorFlow's own kernel. Keras 3
  compiles every grouped convolution with XLA (hundreds of times slower to train on a
  CPU, and unreadable for ONNX) and lowers dilation to SpaceToBatch.
- `BatchNormalization`: the fused training kernels of TensorFlow and PyTorch, and on JAX
  statistics in one pass over the inputs. Keras 3 composes it of a dozen operations and
  reads the inputs twice.
- `PlainConv2D`: on TensorFlow and PyTorch without a GPU, training by matrix products.
  oneDNN's convolutions reorder every kernel three times a step.
- `ReLU`, `MaxPooling2D`: on JAX with gradients that move fewer bytes.
- `IdentityPadShortcut`, `StochasticDepth`, `Discard`: layers that Keras lacks.

On other backends the first five are Keras' layers unchanged. Except for `Conv2D`, a
saved model refers to Keras' layers instead of them, whose results are equal.
"""

import typing

import keras
from keras import ops

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.errors import check_positive_int
from keras_resnets.errors import check_range

PACKAGE = "keras_resnets"


def _tensorflow_ops() -> typing.Any:
    """The TensorFlow helpers, or None on another backend."""
    if keras.backend.backend() != "tensorflow":
        return None
    from keras_resnets.networks import tensorflow_ops

    return tensorflow_ops


def _torch_ops() -> typing.Any:
    """The PyTorch helpers, or None on another backend."""
    if keras.backend.backend() != "torch":
        return None
    from keras_resnets.networks import torch_ops

    return torch_ops


def _jax_ops(inputs: typing.Any) -> typing.Any:
    """The JAX helpers, or None on another backend and for a symbolic tensor."""
    if keras.backend.backend() != "jax" or isinstance(inputs, keras.KerasTensor):
        return None
    from keras_resnets.networks import jax_ops

    return jax_ops


@keras.saving.register_keras_serializable(package=PACKAGE)
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` with native grouped and dilated convolution.

    y[n, i, j, f] = b[f] + sum over u, v, c of
    w[u, v, c, f] x[n, s i + d u, s j + d v, g(f) C / G + c], with stride s, dilation d
    and G groups, x padded first; g(f) = floor(f G / F) is the group of output channel f.

    Shapes: x (N, H, W, C), w (k, k, C / G, F), y (N, H', W', F) with
    H' = ceil(H / s) for padding `"same"`, ceil((H - d (k - 1)) / s) for `"valid"`.

    Arguments, weights and results are those of `keras.layers.Conv2D`. On the
    TensorFlow backend a grouped or dilated convolution calls `tf.nn.conv2d` if the
    machine has a kernel for it and its gradient (tried once per process and dtype; on a
    CPU that means oneDNN), else Keras' implementation.

    Example:
        >>> import keras
        >>> layer = Conv2D(64, 3, padding="same", groups=32)
        >>> tuple(layer(keras.ops.ones((1, 8, 8, 64))).shape)
        (1, 8, 8, 64)
    """

    def convolution_op(self, inputs: typing.Any, kernel: typing.Any) -> typing.Any:
        native = _tensorflow_ops()
        if native is None or self.data_format != "channels_last":
            return super().convolution_op(inputs, kernel)
        dilated = max(self.dilation_rate) > 1
        # A stride with a dilation has no native gradient; Keras decomposes it.
        if not (self.groups > 1 or dilated) or (dilated and max(self.strides) > 1):
            return super().convolution_op(inputs, kernel)
        if not native.has_kernel(self.groups > 1, dilated, self.compute_dtype):
            return super().convolution_op(inputs, kernel)
        return native.conv2d(
            inputs, kernel, self.strides, self.padding, self.dilation_rate
        )


class PlainConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` whose training on a CPU moves fewer bytes.

    Shapes: x (N, H, W, C), w (k, k, C, F), y (N, H', W', F), as for `Conv2D`.

    On the TensorFlow backend without a GPU, 1x1 convolutions of small feature maps are
    matrix products in training, and the gradient of some 3x3 kernels is one
    (`tensorflow_ops.trained_conv2d`); on the PyTorch backend on a CPU, 1x1 convolutions
    are (`torch_ops.trained_conv2d`). At inference, and so in every exported file, it
    is Keras' convolution.

    Arguments, weights and results are those of Keras' layer, up to the order of sums.
    It is saved as Keras' layer, so that a model loads without this package.

    Example:
        >>> import keras
        >>> layer = PlainConv2D(64, 1)
        >>> tuple(layer(keras.ops.ones((1, 8, 8, 64)), training=True).shape)
        (1, 8, 8, 64)
    """

    __module__ = "keras.layers"

    def call(self, inputs: typing.Any, training: bool | None = None) -> typing.Any:
        outputs = self._trained(inputs) if training else None
        if outputs is None:
            return super().call(inputs)
        if self.use_bias:
            outputs = ops.add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def _trained(self, inputs: typing.Any) -> typing.Any:
        """The convolution without bias, or None where Keras' is as good."""
        native = _tensorflow_ops() or _torch_ops()
        plain = self.groups == 1 and max(self.dilation_rate) == 1
        even = self.strides in ((1, 1), (2, 2)) and self.data_format == "channels_last"
        if native is None or not (plain and even):
            return None
        inputs, kernel = map(ops.convert_to_tensor, (inputs, self.kernel))
        return native.trained_conv2d(inputs, kernel, self.strides[0], self.padding)


# The name under which Keras saves it.
PlainConv2D.__name__ = PlainConv2D.__qualname__ = "Conv2D"

# The classes of a convolution as Keras defines it.
CONVOLUTIONS = (keras.layers.Conv2D, Conv2D, PlainConv2D)


class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` with the backend's training kernels.

    y = gamma (x - mean) / sqrt(variance + epsilon) + beta, for each channel. In training
    mean and variance are those of the batch over (N, H, W), and the running ones become
    momentum * running + (1 - momentum) * batch; at inference the running ones are used.

    Shapes: x and y (N, H, W, C), the four weights (C,).

    Arguments, weights and results are those of Keras' layer (with the biased running
    variance, as there). It is saved as Keras' layer, so that a model loads without this
    package.

    Example:
        >>> import keras
        >>> tuple(BatchNormalization()(keras.ops.ones((2, 4, 4, 8)), training=True).shape)
        (2, 4, 4, 8)
    """

    __module__ = "keras.layers"

    def call(
        self, inputs: typing.Any, training: bool | None = None, mask: typing.Any = None
    ) -> typing.Any:
        plain = self.scale and self.center and not self.renorm and not self.synchronized
        channels_last = len(inputs.shape) == 4 and self.axis in (-1, 3)
        if not (training and self.trainable and plain and channels_last):
            return super().call(inputs, training=training, mask=mask)
        float32 = self.dtype_policy.variable_dtype == "float32"
        kernels = _tensorflow_ops() or _torch_ops()
        fast = kernels is not None or keras.backend.backend() == "jax"
        if mask is not None or not (float32 and fast):
            return super().call(inputs, training=training, mask=mask)
        if kernels is None:
            inputs = ops.cast(inputs, "float32")
            outputs, mean, variance = self._single_pass(inputs)
        else:
            given = map(ops.convert_to_tensor, (inputs, self.gamma, self.beta))
            outputs, mean, variance = kernels.fused_batch_norm(*given, self.epsilon)
        keep = self.momentum
        self.moving_mean.assign(self.moving_mean * keep + mean * (1.0 - keep))
        self.moving_variance.assign(
            self.moving_variance * keep + variance * (1.0 - keep)
        )
        return ops.cast(outputs, self.compute_dtype)

    def _single_pass(
        self, inputs: typing.Any
    ) -> tuple[typing.Any, typing.Any, typing.Any]:
        """Normalizes a batch by E[x^2] - E[x]^2; returns it, its mean, biased variance."""
        # Shifted by the running mean to avoid cancellation in channels far from zero.
        shift = ops.stop_gradient(ops.convert_to_tensor(self.moving_mean))
        shifted = inputs - shift
        mean = ops.mean(shifted, axis=(0, 1, 2))
        square = ops.mean(ops.square(shifted), axis=(0, 1, 2))
        variance = ops.maximum(square - ops.square(mean), 0.0)
        mean = mean + shift
        scale = ops.rsqrt(variance + self.epsilon) * self.gamma
        return inputs * scale + (self.beta - mean * scale), mean, variance


class ReLU(keras.layers.ReLU):
    """`keras.layers.ReLU` of an addition: y = max(x, 0).

    The next convolution keeps y for its gradient, but nothing keeps the sum x. On JAX
    the gradient of this layer compares y with 0, dx = dy where y > 0, else 0; that of
    Keras' layer compares x, for which XLA adds once more.

    Shapes: x and y (N, ...).

    Arguments and results, also of NaN, are those of Keras' layer. It is saved as Keras'
    layer, so that a model loads without this package. With a `max_value`,
    `negative_slope` or `threshold` it is Keras' implementation.

    Example:
        >>> import keras
        >>> float(ReLU()(-keras.ops.ones(())))
        0.0
    """

    __module__ = "keras.layers"

    def call(self, inputs: typing.Any) -> typing.Any:
        native = _jax_ops(inputs)
        plain = (
            self.max_value is None and not self.negative_slope and not self.threshold
        )
        if native is None or not plain:
            return super().call(inputs)
        return native.relu_by_output(ops.convert_to_tensor(inputs))


class MaxPooling2D(keras.layers.MaxPooling2D):
    """`keras.layers.MaxPooling2D`, on JAX with a gradient without scatter.

    y[n, i, j, c] = max over u, v in 0..2 of x[n, 2 i + u, 2 j + v, c], for windows of
    3x3 at stride 2 with padding `"valid"`, channels last. Other windows and formats are
    Keras' implementation.

    Shapes: x (N, H, W, C), y (N, floor((H - 1) / 2), floor((W - 1) / 2), C).

    Arguments and results are those of Keras' layer: the gradient of y goes to the first
    of equal inputs. It is saved as Keras' layer, so that a model loads without this
    package.

    Example:
        >>> import keras
        >>> tuple(MaxPooling2D(3, 2)(keras.ops.ones((1, 9, 8, 4))).shape)
        (1, 4, 3, 4)
    """

    __module__ = "keras.layers"

    def call(self, inputs: typing.Any) -> typing.Any:
        native = _jax_ops(inputs)
        window = (self.pool_size, self.strides, self.padding, self.data_format)
        if native is None or window != ((3, 3), (2, 2), "valid", "channels_last"):
            return super().call(inputs)
        return native.max_pool(ops.convert_to_tensor(inputs))


@keras.saving.register_keras_serializable(package=PACKAGE)
class IdentityPadShortcut(keras.layers.Layer):
    """Option-A shortcut: takes every `strides`-th pixel, fills new channels with zeros.

    y[n, i, j, c + b] = x[n, s i, s j, c], and 0 in the F - C other channels, with
    b = 0 for position `"end"` and floor((F - C) / 2) for `"both"`. It has no weights
    (He 2015, arXiv:1512.03385, section 3.3, option A).

    Shapes: x (N, H, W, C), y (N, ceil(H / s), ceil(W / s), F).

    Args:
        filters: output channels, at least as many as input channels.
        strides: subsampling in height and width, >= 1.
        position: `"end"` puts the new channels last (fb.resnet.torch), `"both"`
            half of them first (akamaster/pytorch_resnet_cifar10).
        data_format: `"channels_last"`, `"channels_first"` or None for Keras' default.

    Raises:
        InvalidArgument: fewer filters than input channels, or a value that is not
            allowed.

    Example:
        >>> import keras
        >>> tuple(IdentityPadShortcut(32, strides=2)(keras.ops.ones((1, 8, 8, 16))).shape)
        (1, 4, 4, 32)
    """

    def __init__(
        self,
        filters: int,
        strides: int = 1,
        position: str = "end",
        data_format: str | None = None,
        **kwargs: typing.Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = check_positive_int("filters", filters)
        self.strides = check_positive_int("strides", strides)
        check_choice("position", position, ("end", "both"))
        self.position = position
        self.data_format = data_format or keras.config.image_data_format()
        self.channel_axis = -1 if self.data_format == "channels_last" else 1

    def _new_channels(self, input_shape: typing.Any) -> int:
        channels = input_shape[self.channel_axis]
        if channels > self.filters:
            raise InvalidArgument(
                "IdentityPadShortcut adds channels: filters must be at least the "
                f"{channels} channels of its input; got {self.filters}"
            )
        return self.filters - channels

    def call(self, inputs: typing.Any) -> typing.Any:
        step = self.strides
        new = self._new_channels(inputs.shape)
        before = new // 2 if self.position == "both" else 0
        pad = (before, new - before)
        if self.data_format == "channels_last":
            kept = inputs[:, ::step, ::step, :] if step > 1 else inputs
            return ops.pad(kept, ((0, 0), (0, 0), (0, 0), pad)) if new else kept
        kept = inputs[:, :, ::step, ::step] if step > 1 else inputs
        return ops.pad(kept, ((0, 0), pad, (0, 0), (0, 0))) if new else kept

    def compute_output_shape(self, input_shape: typing.Any) -> tuple[int | None, ...]:
        self._new_channels(input_shape)
        shape = [
            size if size is None or axis == 0 else -(-size // self.strides)
            for axis, size in enumerate(input_shape)
        ]
        shape[self.channel_axis] = self.filters
        return tuple(shape)

    def get_config(self) -> dict[str, typing.Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "strides": self.strides,
            "position": self.position,
            "data_format": self.data_format,
        }


@keras.saving.register_keras_serializable(package=PACKAGE)
class StochasticDepth(keras.layers.Layer):
    """Drops the whole branch of a unit, image by image, while training.

    y[n] = m[n] x[n] / (1 - rate), with m[n] = 1 with probability 1 - rate, else 0, drawn
    once per image. The division keeps the expected value; at inference y = x (as timm's
    `DropPath`; Huang et al. 2016, arXiv:1603.09382, multiply at inference instead).

    Shapes: x and y (N, ...).

    Args:
        rate: probability of dropping, in [0, 1).
        seed: whole number or None.

    Raises:
        InvalidArgument: a rate outside [0, 1).

    Example:
        >>> import keras
        >>> tuple(StochasticDepth(0.5)(keras.ops.ones((4, 2, 2, 8)), training=False).shape)
        (4, 2, 2, 8)
    """

    def __init__(
        self, rate: float, seed: int | None = None, **kwargs: typing.Any
    ) -> None:
        super().__init__(**kwargs)
        check_range("rate", rate, 0, 1, inclusive=False)
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: typing.Any, training: bool | None = False) -> typing.Any:
        if not training or self.rate == 0:
            return inputs
        keep = 1.0 - self.rate
        shape = (ops.shape(inputs)[0],) + (1,) * (len(inputs.shape) - 1)
        drawn = keras.random.uniform(shape, seed=self.seed_generator)
        return inputs * ops.cast(drawn < keep, inputs.dtype) / keep

    def compute_output_shape(self, input_shape: typing.Any) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, typing.Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable(package=PACKAGE)
class Discard(keras.layers.Layer):
    """Returns the first of two tensors; the second is computed and discarded.

    y = a + 0 b in training, y = a at inference, for the inputs (a, b) of equal shape.

    The published DRN-C-58 has such a projection. In training the second input is
    multiplied by zero, so that its weights have a gradient (zero); at inference it is
    ignored, and exporters drop it.

    Example:
        >>> import keras
        >>> float(Discard()([keras.ops.ones(()), keras.ops.zeros(())]))
        1.0
    """

    def call(self, inputs: typing.Any, training: bool | None = False) -> typing.Any:
        kept, discarded = inputs
        return kept + 0.0 * discarded if training else kept

    def compute_output_shape(self, input_shape: typing.Any) -> tuple[int | None, ...]:
        return input_shape[0]
