"""Preprocessing of images for a network: pure functions of arrays and tensors."""

import dataclasses
import functools
import typing

from keras_resnets import fields
from keras_resnets.errors import InvalidArgument
from keras_resnets.images import resizing
from keras_resnets.images import tensors
from keras_resnets.networks import extent

if typing.TYPE_CHECKING:
    import numpy as np
    import PIL.Image

    from keras_resnets.networks.architecture import Architecture


# mode -> (scale, mean, std, channel order): (x * scale - mean) / std.
MODES = {
    "torch": (1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "rgb"),
    "cifar": (1 / 255, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), "rgb"),
    # The mean of the images' own deviations: what many PyTorch projects have.
    "cifar_image_std": (
        1 / 255,
        (0.4914, 0.4822, 0.4465),
        (0.2023, 0.1994, 0.2010),
        "rgb",
    ),
    "cifar100": (1 / 255, (0.5070, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761), "rgb"),
    "tf": (1 / 127.5, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), "rgb"),
    "caffe": (1.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0), "bgr"),
    "darknet": (1 / 255, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "rgb"),
    "raw": (1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "rgb"),
}
# Bands of a hyperspectral camera: AVIRIS has 224, EnMAP 246.
MOST_CHANNELS = 1000
# What red, green and blue count in grey: ITU-R BT.601, as Pillow's mode L.
GREY = (0.299, 0.587, 0.114)


# Field of `Preprocessing` -> what it may be, also where a file tells it. A mean and a
# deviation are those of pixels in some scale.
_FIELDS = {
    "mode": fields.Choice(tuple(MODES)),
    "size": fields.Several(fields.Whole(1, extent.MOST_PIXELS), 2, 2),
    "crop_fraction": fields.Number(0.01, 1.0),
    "letterbox": fields.Flag(),
    "interpolation": fields.Choice(resizing.INTERPOLATIONS),
    "mean": fields.Maybe(fields.Several(fields.Number(-1e6, 1e6), 1, MOST_CHANNELS)),
    "std": fields.Maybe(fields.Several(fields.Number(1e-6, 1e6), 1, MOST_CHANNELS)),
}


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of images for a network.

    Attributes:
        mode: see `preprocess_input`; it gives `scale`, `channel_order`, and `mean` and
            `std` where they are not given.
        size: (height, width) of the input in pixels.
        crop_fraction: part of the resized image's shorter side that the centre crop
            keeps, in (0, 1].
        letterbox: fit the whole image in and fill up with grey, as darknet does,
            instead of resizing the shorter side and cropping the centre.
        interpolation: `"bilinear"`, `"bicubic"`, `"lanczos"` or `"nearest"`, smoothed
            where it shrinks; a letterbox has darknet's own.
        mean, std: subtracted from and divided into the scaled values, one number a
            channel in `channel_order`; one number for networks of one channel: images
            then become grey (0.299 R + 0.587 G + 0.114 B, ITU-R BT.601), see `grey`;
            or as many as a multispectral image has channels, which keep their order.

    Example:
        >>> import numpy as np
        >>> wanted = Preprocessing("tf", size=(32, 32))
        >>> wanted.batch(np.full((2, 64, 64, 3), 255)).max()
        np.float32(1.0)
    """

    mode: str = "torch"
    size: tuple[int, int] = (224, 224)
    crop_fraction: float = 0.875
    letterbox: bool = False
    interpolation: str = "bilinear"
    mean: typing.Any = None
    std: typing.Any = None

    def __post_init__(self) -> None:
        for name, rule in _FIELDS.items():
            object.__setattr__(self, name, rule.check(name, getattr(self, name)))
        _, mean, std, _ = MODES[self.mode]
        object.__setattr__(self, "mean", self.mean or mean)
        object.__setattr__(self, "std", self.std or std)
        if len(self.mean) != len(self.std):
            raise InvalidArgument(
                "mean and std must be three numbers, or one for each channel of the "
                f"network; got {len(self.mean)} and {len(self.std)}"
            )
        extent.check_pixels(self.size, argument="size")

    @property
    def channels(self) -> int:
        """Channels of the input: 3, 1 for grey, or more for multispectral images."""
        return len(self.mean)

    @property
    def takes_pixels(self) -> bool:
        """Whether its numbers are colours or grey of 0 to 255, as far as one can tell.

        Of other numbers, such as those of a sensor of 16 bits, mean and deviation are
        measured (`training.measured`), and tell it.
        """
        if self.channels not in (1, 3):
            return False
        is_told = self.mode != "raw" or set(self.mean) == {0.0}
        return is_told or 2 <= max(self.mean) <= 255

    def with_channels(self, channels: int) -> "Preprocessing":
        """The same for a network of any number of channels.

        Args:
            channels: 1 gives `grey`; where nobody knows what the channels are, each has
                the mean and the deviation of all three until they are measured.

        Example:
            >>> Preprocessing("torch").with_channels(4).channels
            4
        """
        if channels == 1:
            return self.grey()
        if channels == self.channels:
            return self
        mean, std = (sum(x) / len(x) for x in (self.mean, self.std))
        return dataclasses.replace(
            self, mean=(mean,) * channels, std=(std,) * channels, letterbox=False
        )

    def grey(self) -> "Preprocessing":
        """The same for a network of one channel.

        The mean of grey images follows from those of the channels; of the standard
        deviations the mean is taken.

        Example:
            >>> [round(value, 4) for value in Preprocessing("torch").grey().mean]
            [0.459]
        """
        if self.channels == 1:
            return self
        shares = GREY[::-1] if self.channel_order == "bgr" else GREY
        if self.channels != 3:
            raise InvalidArgument(
                "a network of one channel requires images of one or three channels; got "
                f"{self.channels}"
            )
        mean = sum(a * b for a, b in zip(shares, self.mean, strict=True))
        return dataclasses.replace(self, mean=(mean,), std=(sum(self.std) / 3,))

    @property
    def scale(self) -> float:
        """The factor by which pixel values in [0, 255] are multiplied first."""
        return MODES[self.mode][0]

    @property
    def channel_order(self) -> str:
        """`"rgb"` or `"bgr"`."""
        return MODES[self.mode][3]

    def __call__(self, image: "PIL.Image.Image | np.ndarray") -> "np.ndarray":
        """float32 array (height, width, channels) of one image.

        Args:
            image: a Pillow image of any mode, or an array or tensor (height, width,
                channels).
        """
        import numpy as np

        image = tensors.opened(image)
        if isinstance(image, np.ndarray):
            return self._of_array(image)
        from keras_resnets.images.files import as_rgb

        self.check_numbers("uint8")
        rgb = as_rgb(image)
        if self.letterbox:
            pixels = resizing.letterbox(np.asarray(rgb), self.size, np)
        else:
            pixels = resizing.resize_and_crop(
                rgb, self.size, self.crop_fraction, self.interpolation
            )
        return self.normalize(pixels, "channels_last")

    def _of_array(self, image: "np.ndarray") -> "np.ndarray":
        import numpy as np

        from keras_resnets.images import channels

        image = channels.fitted(image, self.channels)
        tensors.check_channels(image, "channels_last", self.channels)
        self.check_numbers(image.dtype)
        if self.letterbox:
            pixels = resizing.letterbox(image, self.size, np)
        else:
            pixels = channels.resize_and_crop(
                image, self.size, self.crop_fraction, self.interpolation
            )
        return self.normalize(pixels, "channels_last")

    def check_numbers(self, dtype: typing.Any) -> None:
        """Raises `InvalidArgument` for numbers of another kind than the network takes.

        Args:
            dtype: of the arrays; `"uint8"` are pixels of 0 to 255.
        """
        if str(dtype) == "uint8" and self.channels in (1, 3) and not self.takes_pixels:
            raise InvalidArgument(
                f"the network takes numbers with a mean of {self.mean[0]:.4g}, not pixels "
                "of 0 to 255: give .npz or .npy files of numbers as those of its training"
            )
        if self.mode != "raw" and str(dtype) != "uint8":
            raise InvalidArgument(
                f"the network takes pixels of 0 to 255 (uint8, mode {self.mode!r}); got "
                f"{dtype}: train it on {dtype} images, or convert them to uint8"
            )

    def batch(self, x: typing.Any, data_format: typing.Any = None) -> typing.Any:
        """float32 input from a batch of images of any one size.

        Args:
            x: array or tensor of RGB pixel values in [0, 255], of shape (batch,
                height, width, 3), or channels first under that data format; or a list
                of arrays or Pillow images of one size.
            data_format: `"channels_last"`, `"channels_first"` or None for Keras'
                default.

        Returns:
            The same kind, of this size: resized, cropped or boxed, and normalized.
        """
        import keras

        data_format = tensors.data_format_of(data_format)
        x = tensors.stacked(x)
        is_array, ops = tensors.is_array(x), tensors.ops_of(x)
        tensors.check_channels(x, data_format, self.channels)
        tensors.check_known_size(x, data_format)
        x = ops.cast(x, "float32")
        if self.letterbox:
            first = data_format == "channels_first"
            x = ops.transpose(x, (0, 2, 3, 1)) if first else x
            x = resizing.letterbox(x, self.size, ops)
            x = ops.transpose(x, (0, 3, 1, 2)) if first else x
        else:
            x = resizing.resize_and_crop_batch(
                x, self.size, self.crop_fraction, self.interpolation, data_format, ops
            )
        if is_array:
            x = keras.ops.convert_to_numpy(x)
        return self.normalize(x, data_format)

    def normalize(
        self, x: "np.ndarray", data_format: str | None = None
    ) -> "np.ndarray":
        """Pixel values in [0, 255] of the right size as the network's input.

        Args:
            x: RGB, as `preprocess_input` takes it.
            data_format: `"channels_last"`, `"channels_first"` or None for Keras'
                default.
        """
        import numpy as np

        data_format = tensors.data_format_of(data_format)
        tensors.check_channels(x, data_format, self.channels)
        last = data_format == "channels_last"
        if tensors.is_array(x):
            return self._normalize_array(np.asarray(x), last)
        ops = tensors.ops_of(x)
        x = ops.cast(x, "float32")
        if self.channels == 1 and x.shape[-1 if last else -3] == 3:
            weights = np.array([GREY], "float32")
            x = ops.einsum(
                "...hwc,dc->...hwd" if last else "...chw,dc->...dhw", x, weights
            )
        elif self.channels == 3 and self.channel_order == "bgr":
            x = ops.flip(x, axis=-1 if last else -3)
        shape = (self.channels,) if last else (self.channels, 1, 1)
        mean = np.reshape(np.asarray(self.mean, "float32"), shape)
        std = np.reshape(np.asarray(self.std, "float32"), shape)
        return (x * np.float32(self.scale) - mean) / std

    def _normalize_array(self, x: "np.ndarray", last: bool) -> "np.ndarray":
        import numpy as np

        axis = -1 if last else -3
        if self.channels == 1:
            x = _grey(x, axis)
        elif self.channels == 3 and self.channel_order == "bgr":
            x = np.flip(x, axis=axis)
        x = np.array(x, "float32", order="C")
        self._scale_in_place(x, last)
        return x

    def normalize_into(self, out: "np.ndarray", x: "np.ndarray") -> None:
        """`normalize` of an array, channels last, written to where it belongs.

        Args:
            out: float32 array of the shape of `x`, but for the channels.
            x: RGB pixel values in [0, 255].
        """
        if self.channels == 1:
            out[...] = _grey(x, -1)
        else:
            turned = self.channels == 3 and self.channel_order == "bgr"
            out[...] = x[..., ::-1] if turned else x
        self._scale_in_place(out, True)

    def _scale_in_place(self, x: "np.ndarray", last: bool) -> None:
        import numpy as np

        # Whole rows of constants and one array throughout: many times faster than
        # constants of three numbers.
        width = x.shape[-2 if last else -1]
        x *= np.float32(self.scale)
        x -= _row(self.mean, width, last)
        x /= _row(self.std, width, last)

    def pixels(self, x: "np.ndarray") -> "np.ndarray":
        """Inverts `normalize`: returns uint8 RGB for network inputs, channels last.

        Of numbers that are no pixels, and of other than 1 or 3 channels, an image to
        look at: the first three channels, grey at the mean.

        Args:
            x: float32 array (..., channels); values outside what pixels give are cut
                off.
        """
        import numpy as np

        if not self.takes_pixels:
            from keras_resnets.images import channels

            return channels.false_colours(x)
        values = (np.asarray(x, "float64") * self.std + self.mean) / self.scale
        if self.channels == 1:
            values = np.repeat(values, 3, axis=-1)
        elif self.channel_order == "bgr":
            values = values[..., ::-1]
        return np.clip(np.rint(values), 0, 255).astype("uint8")


def _grey(x: typing.Any, axis: typing.Any) -> typing.Any:
    """float32 grey values of RGB ones, the channels on an axis that stays."""
    import numpy as np

    if x.shape[axis] == 1:
        return x
    weights = np.asarray(GREY, "float32").reshape((3,) + (1,) * (-axis - 1))
    return (np.asarray(x, "float32") * weights).sum(axis=axis, keepdims=True)


@functools.lru_cache(64)
def _row(values: tuple[float, ...], width: int, last: bool) -> "np.ndarray":
    """A row of pixels that all have the same float32 values."""
    import numpy as np

    row = np.ones((width, 1), "float32") * np.asarray(values, "float32")
    row = row if last else np.ascontiguousarray(row.T[:, None])
    row.flags.writeable = False
    return row


def preprocess_input(
    x: typing.Any, mode: str = "torch", data_format: typing.Any = None
) -> typing.Any:
    """Turns RGB pixel values into what a network was published with.

    Args:
        x: array or tensor of pixel values in [0, 255], RGB, of shape (batch, height,
            width, 3) or (height, width, 3); channels first under
            `data_format="channels_first"`; or a list of arrays or Pillow images of one
            size. It is left unchanged.
        mode: `"torch"` (scaled to [0, 1], ImageNet mean and deviation subtracted and
            divided), `"cifar"` (the same with CIFAR-10's), `"cifar_image_std"` (with
            the mean of the deviations of CIFAR-10's images, as many PyTorch projects
            have it), `"cifar100"` (with CIFAR-100's), `"tf"` (scaled to [-1, 1]),
            `"caffe"` (BGR, ImageNet mean subtracted, not scaled), `"darknet"` (scaled
            to [0, 1]) or `"raw"`; or a `Preprocessing`, such as a model's
            `model.preprocessing`, of which mean, std and order are taken.
        data_format: `"channels_last"`, `"channels_first"` or None for Keras' default.

    Returns:
        float32, of the same shape and kind: NumPy in, NumPy out; a tensor of
        `tf.data.Dataset.map` in, one of TensorFlow out, on every backend.

    Raises:
        InvalidArgument: an unknown mode, or other channels.

    Example:
        >>> import numpy as np
        >>> preprocess_input(np.full((1, 1, 1, 3), 255), mode="tf").tolist()
        [[[[1.0, 1.0, 1.0]]]]
    """
    preprocessing = mode if isinstance(mode, Preprocessing) else Preprocessing(mode)
    return preprocessing.normalize(tensors.stacked(x), data_format)


def for_architecture(
    architecture: "Architecture",
    size: tuple[int, int] | None = None,
    mode: str | None = None,
) -> Preprocessing:
    """The `Preprocessing` that a variant was published with.

    Args:
        architecture: an `Architecture`.
        size: (height, width) in pixels; None for the variant's own.
        mode: see `preprocess_input`; None for the variant's own.
    """
    own = architecture.input_size
    height, width = size or (own, own)
    preprocessing = default_for(mode or architecture.preprocessing, (height, width))
    return dataclasses.replace(
        preprocessing, crop_fraction=_crop_fraction(preprocessing.mode, own)
    )


def default_for(mode: str, size: tuple[int, int]) -> Preprocessing:
    """The `Preprocessing` of a mode where nothing but the size is known.

    Args:
        mode: see `preprocess_input`.
        size: (height, width) in pixels.
    """
    height, width = size
    return Preprocessing(
        mode=mode,
        size=(height, width),
        crop_fraction=_crop_fraction(mode, min(size)),
        letterbox=mode == "darknet",
    )


def _crop_fraction(mode: str, side: int) -> float:
    return 1.0 if side < resizing.SMALL or mode == "darknet" else 0.875
