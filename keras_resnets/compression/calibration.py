"""Pictures that activation ranges are taken from: chosen by a seed, and recorded."""

import dataclasses
import hashlib
import pathlib

import numpy as np

from keras_resnets import image_folders
from keras_resnets import labelled
from keras_resnets import pictures as files
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_positive_int
from keras_resnets.image_files import check_broken

# Ten pictures already give a network twice the error that a hundred give.
FEWEST = 10
# Values beyond what a pixel can become, as a share of the whole span.
_SLACK = 0.01


@dataclasses.dataclass(frozen=True, eq=False)
class CalibrationSet:
    """Pre-processed pictures, and where they came from.

    Attributes:
        pictures: float32 array (count, height, width, channels).
        source: name of the file or folder, or `"array"`.
        seed: of the choice; None where there was none.
        available: number of pictures that they were chosen from.
        taken: how many of those, in the order of the seed, are used up; the rest is
            what `held_out.hold_out` takes from.
        skipped: names of files that were to be taken and cannot be read.
    """

    pictures: np.ndarray
    source: str = "array"
    seed: int | None = None
    available: int | None = None
    taken: int | None = None
    skipped: tuple = ()

    def record(self):
        """What a passport says of it: enough to know the same set again."""
        digest = hashlib.sha256(np.ascontiguousarray(self.pictures)).hexdigest()
        return {
            "source": self.source,
            "pictures": len(self.pictures),
            "of": self.available or len(self.pictures),
            "seed": self.seed,
            "sha256": digest,
        }


def choose(data, preprocessing, count=500, seed=0):
    """A `CalibrationSet` of training pictures.

    Args:
        data: an .npz file with uint8 pictures `x_train` (count, height, width, 3), or a
            folder of picture files, searched with its sub-folders. Of a folder with
            parts, such as train and test, those to train on are taken.
        preprocessing: a `Preprocessing`, such as `model.preprocessing`.
        count: most pictures to take, at least 10.
        seed: of the choice.

    Returns:
        The set; what it holds is not in the order of `data`.

    Raises:
        InvalidArgument: data that are missing, are not as above, hold fewer than ten
            pictures, or more broken ones than one in a hundred (of less than 300, two).
    """
    check_positive_int("count", count)
    if count < FEWEST:
        raise InvalidArgument(
            f"a calibration set has at least {FEWEST} pictures; got count={count}"
        )
    path = pathlib.Path(data)
    if path.is_dir():
        loaded, skipped = files.load_folder(path, preprocessing, count, seed)
        check_broken(skipped, len(loaded) + len(skipped), path)
        available = len(files.list_pictures(image_folders.to_train_on(path)))
    else:
        loaded, available = _of_arrays(path, preprocessing, count, seed)
        skipped = ()
    _check_count(len(loaded), path)
    taken = len(loaded) + len(skipped)
    return CalibrationSet(loaded, path.name, seed, available, taken, tuple(skipped))


def _of_arrays(path, preprocessing, count, seed):
    if path.suffix != ".npz" or not path.is_file():
        raise InvalidArgument(
            "calibration data must be an .npz file with x_train, or a folder of "
            f"pictures; got {path}"
        )
    x = labelled.read_images(path, "train")
    order = np.random.default_rng(seed).permutation(len(x))[:count]
    if x.shape[1:3] == tuple(preprocessing.size):
        return preprocessing.normalize(x[order], "channels_last"), len(x)
    from PIL import Image

    found = [preprocessing(Image.fromarray(x[index])) for index in order]
    return np.stack(found) if found else x[order], len(x)


def _check_count(count, source):
    if count < FEWEST:
        raise InvalidArgument(
            f"a calibration set has at least {FEWEST} pictures; {source} gives {count}"
        )


def check(calibration, shape, preprocessing=None):
    """A `CalibrationSet` of pictures that fit a network.

    Args:
        calibration: a `CalibrationSet`, or an array for one.
        shape: (height, width, channels) of the network; None for an open size.
        preprocessing: what its pictures go through, or None where that is not known.

    Raises:
        InvalidArgument: too few pictures, another shape, NaN, values that no pixel
            becomes, or pictures without content.
    """
    if not isinstance(calibration, CalibrationSet):
        if calibration is None:
            raise InvalidArgument(
                "ranges come from pictures: calibration must be a CalibrationSet or an "
                f"array (count, {_words(shape)}); got None"
            )
        calibration = CalibrationSet(np.asarray(calibration, "float32"))
    pictures = calibration.pictures
    fits = pictures.ndim == 4 and all(
        want in (None, have)
        for have, want in zip(pictures.shape[1:], shape, strict=True)
    )
    if not fits:
        raise InvalidArgument(
            f"calibration pictures must have the shape (count, {_words(shape)}); got "
            f"{pictures.shape}"
        )
    _check_count(len(pictures), calibration.source)
    if not np.isfinite(pictures).all():
        raise InvalidArgument(
            "calibration pictures must be finite; they hold NaN or infinity"
        )
    if (np.ptp(pictures, axis=(1, 2)) == 0).all():
        raise InvalidArgument(
            "calibration pictures must show something; every one has one colour"
        )
    if preprocessing is not None:
        _check_range(pictures, preprocessing)
    return calibration


def _check_range(pictures, preprocessing):
    """Raises `InvalidArgument` for pictures that were pre-processed otherwise."""
    ends = np.array([[0.0] * 3, [255.0] * 3]).reshape(2, 1, 1, 3)
    low, high = preprocessing.normalize(ends, "channels_last")[..., :].reshape(2, 3)
    if pictures.shape[-1] != 3:
        return
    span, found = high - low, (pictures.min((0, 1, 2)), pictures.max((0, 1, 2)))
    outside = (found[0] < low - _SLACK * span) | (found[1] > high + _SLACK * span)
    narrow = found[1] - found[0] < 0.1 * span
    if outside.any() or narrow.all():
        raise InvalidArgument(
            f"calibration pictures must be pre-processed as for training: mode "
            f"{preprocessing.mode!r} gives values in {low.min():.3g} to "
            f"{high.max():.3g}; got {pictures.min():.3g} to {pictures.max():.3g}"
        )


def _words(shape):
    return ", ".join("any" if size is None else str(size) for size in shape)
