"""What a network expects of its pictures; pure functions of arrays, tensors and files."""

import dataclasses
import pathlib

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice

# mode -> (scale, mean, std, channels in BGR order): (x * scale - mean) / std.
MODES = {
    "torch": (1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), False),
    "cifar": (1 / 255, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), False),
    "tf": (1 / 127.5, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), False),
    "caffe": (1.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0), True),
    "darknet": (1 / 255, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), False),
    "raw": (1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), False),
}

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")


def preprocess_input(x, mode="torch", data_format=None):
    """Turns RGB pixel values into what a network was published with.

    Args:
        x: array or tensor of pixel values in [0, 255], RGB, of shape (batch, height,
            width, 3) or (height, width, 3); channels first under
            `data_format="channels_first"`. It is left unchanged.
        mode: `"torch"` (scaled to [0, 1], ImageNet mean and deviation subtracted and
            divided), `"cifar"` (the same with CIFAR-10's), `"tf"` (scaled to
            [-1, 1]), `"caffe"` (BGR, ImageNet mean subtracted, not scaled),
            `"darknet"` (scaled to [0, 1]) or `"raw"`.
        data_format: `"channels_last"`, `"channels_first"` or None for Keras' default.

    Returns:
        float32, of the same shape and kind (NumPy in, NumPy out).

    Raises:
        InvalidArgument: an unknown mode, or channels other than 3.

    Example:
        >>> import numpy as np
        >>> preprocess_input(np.full((1, 1, 1, 3), 255), mode="tf").tolist()
        [[[[1.0, 1.0, 1.0]]]]
    """
    import keras
    import numpy as np

    check_choice("mode", mode, tuple(MODES))
    data_format = data_format or keras.config.image_data_format()
    axis = -1 if data_format == "channels_last" else -3
    is_array = not keras.ops.is_tensor(x) and not isinstance(x, keras.KerasTensor)
    ops = np if is_array else keras.ops
    x = np.asarray(x, "float32") if is_array else keras.ops.cast(x, "float32")
    if x.shape[axis] != 3:
        raise InvalidArgument(
            f"preprocess_input takes pictures with 3 channels; got shape {tuple(x.shape)}"
        )
    scale, mean, std, bgr = MODES[mode]
    shape = (3,) if axis == -1 else (3, 1, 1)
    if bgr:
        x = ops.flip(x, axis=axis)
    mean = np.reshape(np.asarray(mean, "float32"), shape)
    std = np.reshape(np.asarray(std, "float32"), shape)
    return (x * np.float32(scale) - mean) / std


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How a picture file becomes a network's input.

    Attributes:
        mode: see `preprocess_input`.
        size: (height, width) of the input in pixels.
        crop_fraction: part of the resized picture that the centre crop keeps.
        letterbox: fit the whole picture in and fill up with grey (darknet), instead of
            resizing the short side and cropping the centre.
    """

    mode: str = "torch"
    size: tuple = (224, 224)
    crop_fraction: float = 0.875
    letterbox: bool = False

    def __call__(self, picture):
        """float32 array (height, width, 3) from a Pillow picture."""
        import numpy as np

        fit = _letterbox if self.letterbox else _resize_and_crop
        pixels = fit(_as_rgb(picture), self.size, self.crop_fraction)
        return preprocess_input(np.asarray(pixels), self.mode, "channels_last")


def for_architecture(architecture, size=None, mode=None):
    """The `Preprocessing` that a variant was published with.

    Args:
        architecture: an `Architecture`.
        size: (height, width) in pixels; None for the variant's own.
        mode: see `preprocess_input`; None for the variant's own.
    """
    own = architecture.input_size
    mode = mode or architecture.preprocessing
    whole = own < 100 or mode == "darknet"
    return Preprocessing(
        mode=mode,
        size=tuple(size) if size else (own, own),
        crop_fraction=1.0 if whole else 0.875,
        letterbox=mode == "darknet",
    )


def load_picture(path, preprocessing):
    """Reads one picture file.

    Args:
        path: any format and mode that Pillow reads; EXIF rotation is applied.
        preprocessing: a `Preprocessing`.

    Returns:
        float32 array of shape (height, width, 3).

    Raises:
        InvalidArgument: a file that is missing or is no whole picture.
    """
    from PIL import Image
    from PIL import ImageOps

    try:
        with Image.open(path) as picture:
            return preprocessing(ImageOps.exif_transpose(picture))
    except FileNotFoundError:
        raise InvalidArgument(f"there is no picture {str(path)!r}") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidArgument(f"{path} is no readable picture: {error}") from None


def load_folder(folder, preprocessing, limit=500, seed=0):
    """Reads up to `limit` pictures of a folder and its sub-folders, chosen by `seed`.

    Args:
        folder: searched for files ending as Pillow's common formats do.
        preprocessing: a `Preprocessing`.
        limit: most pictures to take, >= 1.
        seed: of the choice, where there are more.

    Returns:
        (pictures, skipped): float32 array (count, height, width, 3), and the names of
        the files that could not be read.

    Raises:
        InvalidArgument: a folder that is missing or empty, or holds no readable
            picture.
    """
    import numpy as np

    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise InvalidArgument(f"there is no folder of pictures {str(folder)!r}")
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()
    )
    if not paths:
        raise InvalidArgument(
            f"{folder} holds no pictures ({', '.join(PICTURE_SUFFIXES)})"
        )
    order = np.random.default_rng(seed).permutation(len(paths))
    pictures, skipped = [], []
    for index in order:
        if len(pictures) == limit:
            break
        try:
            pictures.append(load_picture(paths[index], preprocessing))
        except InvalidArgument:
            skipped.append(paths[index].name)
    if not pictures:
        raise InvalidArgument(
            f"none of the {len(skipped)} pictures in {folder} can be read"
        )
    return np.stack(pictures), sorted(skipped)


def _as_rgb(picture):
    if picture.mode.startswith("I"):
        # 16-bit grey: Pillow's own conversion would clip at 255.
        import numpy as np
        from PIL import Image

        values = np.asarray(picture).astype("float32") / 257.0
        return Image.fromarray(values.round().clip(0, 255).astype("uint8")).convert(
            "RGB"
        )
    return picture.convert("RGB")


def _resize_and_crop(picture, size, crop_fraction):
    from PIL import Image

    height, width = size
    scale = max(
        height / crop_fraction / picture.height, width / crop_fraction / picture.width
    )
    resized = picture.resize(
        (
            max(width, int(picture.width * scale + 0.5)),
            max(height, int(picture.height * scale + 0.5)),
        ),
        Image.Resampling.BILINEAR,
    )
    left = round((resized.width - width) / 2)
    top = round((resized.height - height) / 2)
    return resized.crop((left, top, left + width, top + height))


def _letterbox(picture, size, crop_fraction):
    from PIL import Image

    height, width = size
    scale = min(height / picture.height, width / picture.width)
    fitted = picture.resize(
        (max(1, int(picture.width * scale)), max(1, int(picture.height * scale))),
        Image.Resampling.BILINEAR,
    )
    canvas = Image.new("RGB", (width, height), (127, 127, 127))
    canvas.paste(fitted, ((width - fitted.width) // 2, (height - fitted.height) // 2))
    return canvas
