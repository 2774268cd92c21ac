"""Calibration images, from which activation ranges are computed: chosen by a seed."""

import dataclasses
import hashlib
import os
import pathlib
import typing
import warnings
from collections.abc import Sequence

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_positive_int
from keras_resnets.errors import check_whole
from keras_resnets.errors import printable
from keras_resnets.images import calibration_checks
from keras_resnets.images import channel_files
from keras_resnets.images import channels
from keras_resnets.images import collecting
from keras_resnets.images import evaluation
from keras_resnets.images import folders
from keras_resnets.images import loading
from keras_resnets.images.arguments import check_preprocessing
from keras_resnets.images.arguments import check_source
from keras_resnets.images.calibration_checks import FEWEST
from keras_resnets.images.datasets import arrays
from keras_resnets.images.datasets import named
from keras_resnets.images.files import check_broken
from keras_resnets.images.files import decoding

if typing.TYPE_CHECKING:
    import keras

    from keras_resnets.images.preprocessing import Preprocessing


@dataclasses.dataclass(frozen=True, eq=False)
class CalibrationSet:
    """Preprocessed calibration images and their source.

    Attributes:
        images: float32 array (count, height, width, channels).
        source: name of the file or folder, or `"array"`.
        seed: seed of the choice; None if all images were taken.
        available: number of images in the source.
        taken: number of those, in the order of the seed, that are used up;
            `held_out.hold_out` takes from the rest.
        skipped: names of files that were chosen but cannot be read.
    """

    images: np.ndarray
    source: str = "array"
    seed: int | None = None
    available: int | None = None
    taken: int | None = None
    skipped: tuple[str, ...] = ()

    @property
    def pictures(self) -> np.ndarray:
        """The old name of `images`."""
        warnings.warn(
            "CalibrationSet.pictures is images now", DeprecationWarning, stacklevel=2
        )
        return self.images

    def record(self) -> dict[str, typing.Any]:
        """Returns its record for a passport, which identifies the set."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).data).hexdigest()
        return {
            "source": self.source,
            "images": len(self.images),
            "of": self.available or len(self.images),
            "seed": self.seed,
            "sha256": digest,
        }


def choose(
    data: str | os.PathLike[str],
    preprocessing: "Preprocessing",
    count: int = 500,
    seed: int = 0,
    fewest: int = FEWEST,
) -> CalibrationSet:
    """Chooses calibration images among the training images of a source.

    Args:
        data: an .npz file with uint8 images `x_train` (count, height, width, 3); a
            folder of image files, searched recursively, of which only the training
            images are taken if it has parts such as train and test; a folder of
            TFRecord files; `"tfds:NAME"`; or the name of a data set such as
            `"cifar10"`, see `training.open_dataset`.
        preprocessing: a `Preprocessing`, such as `model.preprocessing`.
        count: largest number of images, at least `fewest`.
        seed: seed of the choice.
        fewest: smallest number of images.

    Returns:
        A `CalibrationSet`; its images are in random order.

    Raises:
        InvalidArgument: the data do not exist, are not as above, have fewer than
            `fewest` images, or have more broken ones than one in a hundred (two, if
            there are fewer than 300).
    """
    check_positive_int("count", count)
    check_positive_int("fewest", fewest)
    check_whole("seed", seed)
    path = check_source(data)
    check_preprocessing(preprocessing)
    if count < fewest:
        raise InvalidArgument(
            f"a calibration set has at least {fewest} images; got count={count}"
        )
    name = path.name
    if named.is_named(data):
        name = str(data) if not path.is_dir() else name
        loaded, skipped, available = _of_listing(data, preprocessing, count, seed)
    elif os.path.isdir(path):
        loaded, skipped = loading.load_folder(path, preprocessing, count, seed)
        check_broken(skipped, len(loaded) + len(skipped), path)
        place = folders.to_train_on(path)
        available = len(loading.list_images(place, preprocessing.channels))
    else:
        loaded, available = _of_arrays(path, preprocessing, count, seed)
        skipped = []
    calibration_checks.check_count(len(loaded), path, fewest)
    taken = len(loaded) + len(skipped)
    return CalibrationSet(loaded, name, seed, available, taken, tuple(skipped))


def _of_listing(
    source: str | os.PathLike[str], preprocessing: typing.Any, count: int, seed: int
) -> tuple[np.ndarray, Sequence[str], int]:
    """Returns (images, names of unreadable ones, number of images) of a named source."""
    listing = training_listing(source, preprocessing.channels)
    available = len(listing.labels)
    order = np.random.default_rng(seed).permutation(available)[:count]
    split = listing.split(order, thorough=True)
    batches = evaluation.of_split(split, preprocessing).batches(len(order))
    return np.concatenate(list(batches)), split.skipped, available


def training_listing(source: str | os.PathLike[str], channels: int) -> typing.Any:
    """Returns the listing of the training images of a source that `is_named`.

    Args:
        source: see `named.is_named`.
        channels: channels of the network.

    Raises:
        InvalidArgument: see `sources.open_dataset`.
    """
    # Imported here since its readers import Keras.
    from keras_resnets.images.datasets import sources

    listing, _ = sources.list_part(source, "train", channels=channels)
    return listing


def _of_arrays(
    path: pathlib.Path, preprocessing: typing.Any, count: int, seed: int
) -> typing.Any:
    if path.suffix.lower() not in (".npz", ".npy") or not os.path.isfile(path):
        missing = "" if path.exists() else ", which does not exist"
        raise InvalidArgument(
            "calibration data must be an .npz file with x_train, an .npy file of images, "
            f"a folder of images or of {named.ALLOWED}; got {printable(str(path))}{missing}"
        )
    x = _images_in(path)
    preprocessing.check_numbers(x.dtype)
    x = channels.fitted(x, preprocessing.channels)
    order = np.random.default_rng(seed).permutation(len(x))[:count]
    if x.shape[1:3] == tuple(preprocessing.size):
        return preprocessing.normalize(x[order], "channels_last"), len(x)
    images = [preprocessing(channels.as_image(x[index])) for index in order]
    return np.stack(images) if images else x[order], len(x)


def _images_in(path: pathlib.Path) -> np.ndarray:
    """Returns the training images of an .npz file, or all images of an .npy file."""
    if path.suffix.lower() == ".npz":
        return arrays.read_images(path, "train")
    with decoding(f"{printable(str(path))} must be an .npy file of images"):
        images = arrays.with_channels(channel_files.read_npy(path))
        arrays.check_images(images)
    return images


def collected_set(
    calibration: typing.Any, shape: tuple[int, int, int], fewest: int = FEWEST
) -> CalibrationSet:
    """Returns a `CalibrationSet` of enough different images.

    Their values are not compared with the network's preprocessing, see `checked_set`.

    Args:
        calibration: a `CalibrationSet`, or anything that `collecting.collect`
            takes.
        shape: (height, width, channels) of the network; None for an open size.
        fewest: smallest number of images.

    Raises:
        InvalidArgument: there are fewer images, or fewer that differ.
    """
    chosen = _collected(calibration, shape, fewest)
    calibration_checks.check_content(chosen.images, fewest)
    return chosen


def _collected(
    calibration: typing.Any, shape: tuple[int, int, int], fewest: int
) -> CalibrationSet:
    if calibration is None:
        raise InvalidArgument(
            "calibration must be a CalibrationSet, an array (count, height, width, "
            "channels), a tf.data.Dataset or a generator, from which the ranges are "
            "computed; got None"
        )
    if not isinstance(calibration, CalibrationSet):
        is_array = hasattr(calibration, "__array__")
        source = "array" if is_array else type(calibration).__name__
        images = collecting.collect(calibration, shape)
        calibration = CalibrationSet(images, source)
    collecting.check_shape("calibration images", calibration.images, shape)
    calibration_checks.check_count(len(calibration.images), calibration.source, fewest)
    return calibration


def checked_set(
    calibration: typing.Any,
    shape: tuple[int, int, int],
    preprocessing: "Preprocessing | None" = None,
    network: "keras.Model | None" = None,
) -> CalibrationSet:
    """Returns a `CalibrationSet` of images that have been checked against a network.

    Args:
        calibration: see `collected_set`.
        shape: see `collected_set`.
        preprocessing: the network's `Preprocessing`; None if it is not known.
        network: `keras.Model` whose first BN is used to check the images if
            `preprocessing` is not known; None for no such check.

    Raises:
        InvalidArgument: see `calibration_checks.check`.
    """
    calibration = _collected(calibration, shape, FEWEST)
    calibration_checks.check(
        calibration.images, shape, preprocessing, network, calibration.source
    )
    return calibration
