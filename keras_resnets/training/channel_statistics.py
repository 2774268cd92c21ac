"""Measures mean and standard deviation of multispectral training images.

Recipes and variants define the mean and standard deviation of RGB images. For other numbers
of channels, or other ranges of values, they are measured on the training images.
"""

import dataclasses
import typing
import warnings

import numpy as np

from keras_resnets.errors import TrainingNote
from keras_resnets.images.channels import Sums
from keras_resnets.images.datasets.split import ArrayImages
from keras_resnets.images.datasets.split import check_channels
from keras_resnets.images.preprocessing import Preprocessing

if typing.TYPE_CHECKING:
    from keras_resnets.images.datasets.split import Dataset
    from keras_resnets.images.datasets.split import Split
    from keras_resnets.training.recipes import Recipe


# Largest number of images to measure. On CIFAR-10 this gives the mean of a channel with an
# error of a hundredth of its standard deviation.
_MOST = 5000
_CHUNK = 64
# No image of 0 to 255 is so dark.
_FRACTION = 1.5
_COLOURS = {"jitter": (0.0,) * 4, "lighting": 0.0, "rand_augment": None}


def fitted(preprocessing: Preprocessing, data: "Dataset") -> Preprocessing:
    """Returns the preprocessing with the mean and deviation of the training images.

    It is returned unchanged for RGB images, for grey images of 0 to 255, and for a network
    that was trained on the same number of channels.

    Args:
        preprocessing: preprocessing of the network.
        data: a `Dataset`.
    """
    is_guess = preprocessing.channels not in (1, 3) and (
        len(set(preprocessing.mean)) == 1 and len(set(preprocessing.std)) == 1
    )
    is_known = preprocessing.mode == "raw" or _is_uint8(data.train)
    check_channels(data.train.images, preprocessing.channels, data.name)
    if is_known and not is_guess:
        _note_fractions(preprocessing, data.train)
        return preprocessing
    mean, std, count = _statistics(data.train)
    if len(mean) == 1:
        mean, std = mean * preprocessing.channels, std * preprocessing.channels
    measured = Preprocessing(
        "raw",
        preprocessing.size,
        preprocessing.crop_fraction,
        interpolation=preprocessing.interpolation,
        mean=mean,
        std=std,
    )
    shown = ", ".join(f"{x:g}" for x in mean[:4]) + (", ..." if len(mean) > 4 else "")
    warnings.warn(
        f"the mean and deviation of the {len(mean)} channels were measured on {count:,} "
        f"training images (means {shown}) and are stored with the weights",
        TrainingNote,
        stacklevel=3,
    )
    return measured.with_channels(preprocessing.channels)


def _note_fractions(preprocessing: Preprocessing, split: "Split") -> None:
    """Warns if arrays of pixels that were divided by 255 are taken as they are."""
    if not preprocessing.takes_pixels or preprocessing.mode != "raw":
        return
    if set(preprocessing.mean) != {0.0} or not isinstance(split.images, ArrayImages):
        return
    largest = np.abs(split.images.pixels[split.indices[:_CHUNK]]).max()
    if largest <= _FRACTION:
        warnings.warn(
            f"the network takes the training images as they are, which are numbers up to "
            f"{largest:.3g}, and it would take photos as pixels of 0 to 255: predict "
            "arrays such as these, or train on uint8 images and a network that scales them",
            TrainingNote,
            stacklevel=4,
        )


def check(preprocessing: Preprocessing, data: "Dataset") -> None:
    """Raises `InvalidArgument` if the images do not fit the network."""
    for part in (data.train, data.validation, data.test):
        if part is None:
            continue
        check_channels(part.images, preprocessing.channels, data.name)
        if isinstance(part.images, ArrayImages):
            preprocessing.check_numbers(part.images.pixels.dtype)


def without_colours(
    recipe: "Recipe", preprocessing: Preprocessing, data: "Dataset"
) -> "Recipe":
    """Returns the recipe without colour augmentations if the images are not RGB.

    Args:
        recipe: a `Recipe`.
        preprocessing: preprocessing of the network.
        data: a `Dataset`.

    Raises:
        InvalidArgument: see `check`.
    """
    check(preprocessing, data)
    channels = data.train.images.channels
    if preprocessing.takes_pixels and channels in (None, 3):
        return recipe
    left = [
        name
        for name, off in _COLOURS.items()
        if getattr(recipe.augmentation, name) != off
    ]
    if not left:
        return recipe
    warnings.warn(
        f"{', '.join(left)} of the recipe require RGB images; they are not applied to "
        f"images of {channels or preprocessing.channels} channels",
        TrainingNote,
        stacklevel=3,
    )
    off = typing.cast(dict[str, typing.Any], _COLOURS)
    augmentation = dataclasses.replace(recipe.augmentation, **off)
    return recipe.replace(augmentation=augmentation)


def _is_uint8(split: "Split") -> bool:
    if isinstance(split.images, ArrayImages):
        return bool(split.images.pixels.dtype == np.uint8)
    first = split.images.open(int(split.indices[0]))
    return not isinstance(first, np.ndarray) or bool(first.dtype == np.uint8)


def _statistics(split: "Split") -> tuple[tuple[float, ...], tuple[float, ...], int]:
    """Returns (means, deviations, count) of up to `_MOST` evenly spaced images."""
    sums = Sums()
    places = np.linspace(0, split.count - 1, min(split.count, _MOST)).astype(int)
    indices = split.indices[np.unique(places)]
    for start in range(0, len(indices), _CHUNK):
        chosen = indices[start : start + _CHUNK]
        if isinstance(split.images, ArrayImages):
            sums.add(split.images.pixels[chosen])
            continue
        for index in chosen.tolist():
            sums.add(np.asarray(split.images.open(index)))
    means, deviations = sums.statistics()
    return means, deviations, len(indices)
