"""Arrays and tensors of images: whose they are, and whether they can be pre-processed."""

import sys
import typing

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice

if typing.TYPE_CHECKING:
    import numpy as np


def is_array(x: "np.ndarray") -> bool:
    """Whether `x` is an array of NumPy, and no tensor of any backend."""
    import keras

    if _is_tensorflow(x):
        return False
    return not keras.ops.is_tensor(x) and not isinstance(x, keras.KerasTensor)


def _is_tensorflow(x: "np.ndarray") -> bool:
    """Whether `x` is a tensor of TensorFlow, told without importing it."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and tensorflow.is_tensor(x)


def ops_of(x: typing.Any) -> typing.Any:
    """Returns the module that computes with `x`: `keras.ops`, or its TensorFlow twin.

    A `tf.data` pipeline hands over the latter, whatever the backend is.
    """
    import keras

    if keras.backend.backend() == "tensorflow" or not _is_tensorflow(x):
        return keras.ops
    from keras_resnets.networks.tensorflow_ops import IMAGE_OPS

    return IMAGE_OPS


def stacked(x: typing.Any) -> typing.Any:
    """Returns the array of a list of arrays or Pillow images; anything else as it is.

    Raises:
        InvalidArgument: images of different sizes.
    """
    import numpy as np

    is_list = isinstance(x, list | tuple) and len(x) > 0
    if not is_list or not all(hasattr(image, "__array_interface__") for image in x):
        return x
    images = [np.asarray(image) for image in x]
    shapes = list(dict.fromkeys(image.shape for image in images))
    if len(shapes) > 1:
        raise InvalidArgument(
            f"the images of a batch must have one shape; got {shapes[0]} and {shapes[1]}: "
            "preprocess each image, preprocessing(image), and stack the results"
        )
    return np.stack(images)


def opened(image: typing.Any) -> typing.Any:
    """Returns one image as an array, and a Pillow image as it is.

    Raises:
        InvalidArgument: something else.
    """
    if hasattr(image, "mode") and hasattr(image, "convert"):
        return image
    hint = ""
    if hasattr(image, "__array__"):
        import numpy as np

        try:
            return np.asarray(image)
        except (NotImplementedError, RuntimeError, TypeError):
            # A symbolic tensor of TensorFlow, or one that requires a gradient.
            hint = (
                " without values: preprocessing.batch takes those of a tf.data pipeline"
            )
    raise InvalidArgument(
        "an image must be a Pillow image, or an array or tensor (height, width, "
        f"channels); got {type(image).__name__}{hint}"
    )


def data_format_of(data_format: str | None) -> str:
    """Returns a data format, that of Keras' configuration for None."""
    import keras

    if data_format is None:
        return str(keras.config.image_data_format())
    check_choice("data_format", data_format, ("channels_last", "channels_first"))
    return data_format


def check_known_size(x: typing.Any, data_format: typing.Any) -> None:
    """Raises `InvalidArgument` for a batch of images of open size."""
    axes = slice(-3, -1) if data_format == "channels_last" else slice(-2, None)
    if None in tuple(x.shape)[axes]:
        raise InvalidArgument(
            f"batch() requires images of a known height and width; got {x.shape}"
        )


def check_channels(x: "np.ndarray", data_format: str, channels: int) -> None:
    """Raises `InvalidArgument` for images that a network of `channels` cannot take."""
    shape = getattr(x, "shape", None)
    if shape is None:
        raise InvalidArgument(
            "images must be an array or tensor, or a list of arrays; got "
            f"{type(x).__name__}"
        )
    axis = -1 if data_format == "channels_last" else -3
    # Of colours a network of one channel sees the grey.
    fits = (1, 3) if channels == 1 else (channels,)
    if len(shape) < 3 or shape[axis] not in fits:
        count = 3 if channels == 1 else channels
        raise InvalidArgument(
            f"images must have {count} channels, {data_format.replace('_', ' ')}; got "
            f"{tuple(shape)}"
        )
