"""Prepares a batch with NumPy and Pillow: read, crop, augment, normalize.

Pillow decodes JPEG photos with the TensorFlow backend as well, because `tf.image` is
slower by measurement: decoding takes 1.25 times as long, and `decode_and_crop_jpeg`
saves none of it, since most of the time is spent on entropy decoding of the whole file;
normalizing takes 6 times as long as NumPy (CPU time of one photo of 500x375 on one
core). The rows below a crop need not be decoded, and are not: see `jpeg.py`.
"""

import functools
import math
import typing
from collections.abc import Callable

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.images import channels
from keras_resnets.images import resizing
from keras_resnets.images.datasets.encoded import REDUCED
from keras_resnets.images.datasets.split import ArrayImages
from keras_resnets.training import augmentation as augmenting
from keras_resnets.training.data import image_operations
from keras_resnets.training.data.buffers import Buffers
from keras_resnets.training.data.mixup import Mixer

if typing.TYPE_CHECKING:
    import PIL.Image

    from keras_resnets.images.datasets.split import Split
    from keras_resnets.images.preprocessing import Preprocessing
    from keras_resnets.training.augmentation import Augmentation
    from keras_resnets.training.augmentation import Plan
    from keras_resnets.training.data.sampler import Order


# Images per task of a thread.
_PORTION = 8
# Rows below a crop that affect it: 3 for Lanczos, 3 for the subsampled colours of JPEG,
# 1 for rounding.
_MARGIN = 7


class Loader:
    """Prepares the batch of any step.

    Args:
        split: a `Split`.
        preprocessing: a `Preprocessing`.
        augmentation: an `Augmentation`, or None to prepare images as for evaluation.
        order: an `Order`.
        classes: number of classes of the network.
        dtype: dtype of the images.
        one_hot: whether targets are (batch, classes).
        weights: float array (classes,), the weight of each class in the loss, or None.
    """

    def __init__(
        self,
        split: "Split",
        preprocessing: "Preprocessing",
        augmentation: "Augmentation | None",
        order: "Order",
        classes: int,
        dtype: str,
        one_hot: bool,
        weights: typing.Any = None,
    ) -> None:
        self._weights = None if weights is None else np.asarray(weights, "float32")
        self._split, self._preprocessing, self._order = split, preprocessing, order
        self._augmentation: typing.Any = augmentation
        self._classes, self._dtype, self._one_hot = classes, dtype, one_hot
        self._fill = _mean_colour(preprocessing, split.images.channels)
        self._mixer = Mixer(augmentation) if augmentation else None
        self._buffers = Buffers(
            (order.batch_size, *preprocessing.size, preprocessing.channels)
        )

    def signature(self) -> tuple[typing.Any, ...]:
        """The `tf.TensorSpec` of images, targets and, if there are any, weights."""
        import tensorflow as tf

        shape = (None, *self._preprocessing.size, self._preprocessing.channels)
        target = (None, self._classes) if self._one_hot else (None,)
        specs = (
            tf.TensorSpec(shape, self._dtype),
            tf.TensorSpec(target, "float32" if self._one_hot else "int64"),
        )
        if self._weights is None:
            return specs
        return (*specs, tf.TensorSpec((None,), "float32"))

    def start(self, epoch: int, step: int) -> tuple[typing.Any, ...]:
        """Returns the work of a step: functions to call in any order, and a last one.

        The last function returns (images, targets), or (images, targets, weights).
        """
        places = self._order.indices(epoch, step).copy()
        indices = self._split.indices[places]
        x = self._buffers.take(len(indices))
        plan = functools.partial(self._plan, epoch, step)

        def finish() -> tuple[np.ndarray, ...]:
            targets, changed = self._targets(places), x
            if self._mixer and self._mixer.works:
                seed = self._order.batch_seed(epoch, step)
                changed, targets = self._mixer(x, targets, seed)
            batch = changed.astype(self._dtype, copy=False), targets
            if self._weights is None:
                return batch
            # The weights of mixed images are mixed too.
            weights = (
                targets @ self._weights if self._one_hot else self._weights[targets]
            )
            return (*batch, weights)

        if self._is_ready_made():
            fill = functools.partial(self._fill_at_once, x, indices, plan(indices))
            return [fill], finish
        rows = np.array_split(np.arange(len(indices)), -(-len(indices) // _PORTION))
        fill = functools.partial(self._fill_rows, x, places, plan, plan(indices))
        return [functools.partial(fill, portion) for portion in rows], finish

    def _plan(self, epoch: int, step: int, indices: np.ndarray) -> "Plan | None":
        if self._augmentation is None:
            return None
        numbers = self._order.numbers(epoch, step, augmenting.NUMBERS)
        sizes = self._split.images.sizes(indices)
        return self._augmentation.plan(numbers, sizes)

    def _targets(self, places: np.ndarray) -> np.ndarray:
        labels = self._split.labels[places]
        if labels.ndim == 2:
            return labels.astype("float32")
        if not self._one_hot:
            return labels
        targets = np.zeros((len(labels), self._classes), "float32")
        targets[np.arange(len(labels)), labels] = 1
        return targets

    def _is_ready_made(self) -> bool:
        """Whether images need no resizing and no Pillow."""
        preprocessing, changes = self._preprocessing, self._augmentation
        simple = changes is None or not (
            changes.crop == "inception" or any(changes.jitter) or changes.rand_augment
        )
        # A letterbox of the image's own size changes nothing.
        return simple and self._split.images.size == tuple(preprocessing.size)

    def _fill_at_once(
        self, x: np.ndarray, indices: np.ndarray, plan: "Plan | None"
    ) -> None:
        images = typing.cast(ArrayImages, self._split.images)
        pixels = images.pixels[indices]
        if plan is not None:
            if plan.shifts is not None:
                pixels = augmenting.shift(pixels, plan.shifts, self._fill)
            if plan.flips.any():
                pixels[plan.flips] = pixels[plan.flips, :, ::-1]
        self._preprocessing.normalize_into(x, self._lit(pixels, plan))

    def _lit(
        self, pixels: np.ndarray, plan: "Plan | None", rows: typing.Any = slice(None)
    ) -> np.ndarray:
        if plan is None or plan.light is None:
            return pixels
        light = plan.light[rows]
        return pixels + (light[:, None, None] if light.ndim == 2 else light)

    def _fill_rows(
        self,
        x: np.ndarray,
        places: np.ndarray,
        planned: Callable[..., typing.Any],
        plan: typing.Any,
        rows: np.ndarray,
    ) -> None:
        for row in rows:
            first = places[row]
            for place in self._split.stand_ins(first):
                # Every thread writes its own rows; labels follow when all are done.
                places[row] = place
                index = self._split.indices[place]
                if place != first and plan is not None:
                    plan = planned(self._split.indices[places])
                try:
                    self._fill_row(x, index, plan, row)
                    break
                except InvalidArgument as error:
                    self._split.images.found_broken(index, error)

    def _fill_row(self, x: np.ndarray, index: int, plan: "Plan", row: int) -> None:
        if plan is None:
            x[row] = self._preprocessing(self._split.images.open(index))
            return
        pixels = self._changed(index, plan, row)
        self._preprocessing.normalize_into(x[row], self._lit(pixels, plan, row))

    def _changed(self, index: int, plan: "Plan", row: int) -> np.ndarray:
        """Returns one image of the input's size with the augmentations of pixels."""
        from PIL import Image

        image = self._cut_out(index, None if plan.boxes is None else plan.boxes[row])
        if isinstance(image, np.ndarray):
            return self._changed_array(image, plan, row)
        if plan.shifts is not None:
            pixels = np.asarray(image)[None]
            pixels = augmenting.shift(pixels, plan.shifts[row : row + 1], self._fill)
            image = Image.fromarray(pixels[0])
        changes = self._augmentation
        if changes.rand_augment:
            image = image_operations.rand_augment(
                image,
                changes.rand_augment[0],
                changes.rand_augment[1],
                int(plan.seeds[row]),
                tuple(self._fill.tolist()),
            )
        if plan.factors is not None:
            image = image_operations.jitter(
                image, plan.factors[row].tolist(), plan.order[row].tolist()
            )
        if plan.flips[row]:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.asarray(image)

    def _changed_array(self, image: np.ndarray, plan: "Plan", row: int) -> np.ndarray:
        """Augments channels other than RGB and grey: only shifts and mirrors."""
        if plan.shifts is not None:
            shifts = plan.shifts[row : row + 1]
            image = augmenting.shift(image[None], shifts, self._fill)[0]
        return image[:, ::-1] if plan.flips[row] else image

    def _cut_out(
        self, index: int, box: np.ndarray | None
    ) -> "PIL.Image.Image | np.ndarray":
        """Returns an RGB Pillow image of the input's size, or an array if not RGB."""
        from PIL import Image

        preprocessing, source = self._preprocessing, self._split.images
        height, width = preprocessing.size
        if box is None:
            image = source.open(index)
            if isinstance(image, np.ndarray):
                return self._centre(image)
            if preprocessing.letterbox:
                boxed = resizing.letterbox(np.asarray(image), preprocessing.size, np)
                return Image.fromarray(np.rint(boxed).astype("uint8"))
            return Image.fromarray(
                resizing.resize_and_crop(
                    image,
                    preprocessing.size,
                    preprocessing.crop_fraction,
                    preprocessing.interpolation,
                )
            )
        return self._resized_part(index, *box.tolist())

    def _centre(self, image: np.ndarray) -> np.ndarray:
        preprocessing = self._preprocessing
        if preprocessing.letterbox:
            return np.asarray(resizing.letterbox(image, preprocessing.size, np))
        return channels.resize_and_crop(
            image,
            preprocessing.size,
            preprocessing.crop_fraction,
            preprocessing.interpolation,
        )

    def _resized_part(
        self, index: int, top: int, left: int, rows: int, columns: int
    ) -> "PIL.Image.Image | np.ndarray":
        from PIL import Image

        preprocessing, source = self._preprocessing, self._split.images
        height, width = preprocessing.size
        full = source.sizes(np.array([index]))[0].tolist()
        draft = (full[1] * width / columns, full[0] * height / rows)
        end = _rows_needed(full, (height, width), top, rows, columns)
        image = source.open(index, draft, end)
        if isinstance(image, np.ndarray):
            box = (top, left, rows, columns)
            return channels.resize_part(
                image, preprocessing.size, preprocessing.interpolation, box
            )
        # Rows below the part may be missing; columns are complete.
        reduced = next((n for n in REDUCED if -(-full[1] // n) == image.width), 1)
        down, right = (-(-side // reduced) / side for side in full)
        return image.resize(
            (width, height),
            getattr(Image.Resampling, preprocessing.interpolation.upper()),
            (left * right, top * down, (left + columns) * right, (top + rows) * down),
        )


def _mean_colour(preprocessing: "Preprocessing", depth: int | None) -> np.ndarray:
    """Returns the fill value of an image's margin, in the units of its file.

    Args:
        preprocessing: a `Preprocessing`.
        depth: number of channels; None for images that Pillow reads.
    """
    if preprocessing.takes_pixels:
        colour = preprocessing.pixels(np.zeros(preprocessing.channels))
        return colour[:1] if depth == 1 else colour
    mean = np.asarray(preprocessing.mean) / preprocessing.scale
    return mean[:1] if depth == 1 else mean


def _rows_needed(
    full: list[int], size: tuple[int, int], top: int, rows: int, columns: int
) -> int | None:
    """Returns the number of upper rows that a crop depends on; None for all."""
    ratio = min(rows / size[0], columns / size[1])
    reduced = max(n for n in REDUCED if n <= max(1, ratio))
    high, wide = (side / reduced - want for side, want in zip(full, size, strict=True))
    # Pillow 13 begins with the columns then; a lower image would be rounded otherwise.
    if high > 2 * wide:
        return None
    return top + rows + math.ceil(_MARGIN * max(1, rows / size[0]))
