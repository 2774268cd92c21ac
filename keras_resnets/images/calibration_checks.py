"""Checks that calibration images are preprocessed as in training.

Ranges computed from images with another preprocessing make a file that is wrong on real
images, although it agrees with its model on the calibration images.
"""

import functools
import os
import typing
from collections.abc import Sequence

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.images import collecting
from keras_resnets.images.preprocessing import MODES
from keras_resnets.images.preprocessing import Preprocessing

# With ten images the error of a file is twice that with a hundred.
FEWEST = 10
# How far values may lie outside the range of a mode, as a share of that range.
_SLACK = 0.01
# A set of images has black and white pixels: it comes this close to both ends.
_NEAR = 0.03
# The allowed variance at the first BN, relative to the one that it was trained on.
# Measured on twelve trained networks: correctly scaled images 0.027 (so dark that 38 is
# the largest pixel) to 4.2 (noise); wrongly scaled ones below 0.0003 or above 2,400.
_VARIANCE = (0.003, 100.0)
# The number of images for the statistics, and the batch size.
_MEASURED, _CHUNK = 64, 8
# Distance of the statistics (see `_measure`) of ordinary images: at most 0.1 in their
# own mode, at least 0.27 in another scale.
_FAR, _TIMES_NEARER = 0.25, 4.0
# The attribute of a BN whose statistics `export.random_weights.settle` computed from a
# few images, so that they reveal no mode.
SETTLED = "settled_statistics"


class FewImages(UserWarning):
    """There are too few calibration images for reliable ranges."""


def words_for_few(count: int) -> str | None:
    """Returns the warning for fewer than `FEWEST` images; None for more."""
    if count >= FEWEST:
        return None
    return (
        f"the ranges are computed from {count} images: with fewer than {FEWEST} the "
        "error of a file is at least twice that with a hundred"
    )


def check(
    images: np.ndarray,
    shape: Sequence[int | None],
    preprocessing: typing.Any = None,
    network: keras.Model | None = None,
    source: str = "array",
    fewest: int = FEWEST,
) -> None:
    """Raises `InvalidArgument` for images that are not fit for calibration.

    Args:
        images: float32 array (count, height, width, channels).
        shape: (height, width, channels) of the network; None for an open size.
        preprocessing: the network's `Preprocessing`; None if it is not known.
        network: `keras.Model` whose first BN is used to check the images if
            `preprocessing` is not known; None for no such check.
        source: source of the images, for messages.
        fewest: smallest number of images.
    """
    collecting.check_shape("calibration images", images, shape)
    check_count(len(images), source, fewest)
    check_content(images, fewest)
    known = preprocessing if isinstance(preprocessing, Preprocessing) else None
    if images.shape[-1] == 3 and known is not None and known.takes_pixels:
        _check_mode(images, known)
    elif network is not None:
        _check_statistics(images, network)


def check_count(
    count: int, source: str | os.PathLike[str], fewest: int = FEWEST
) -> None:
    """Raises `InvalidArgument` for too few images, or too few different ones."""
    if count < fewest:
        raise InvalidArgument(
            f"a calibration set must have at least {fewest} images; {source} has {count}"
        )


def check_content(images: np.ndarray, fewest: int = FEWEST) -> None:
    """Raises `InvalidArgument` unless enough images are finite, different and not flat."""
    collecting.check_finite("calibration images", images)
    shown = images[np.ptp(images, axis=(1, 2)).max(axis=-1) > 0]
    if not len(shown):
        raise InvalidArgument(
            "calibration images must not be of a single colour; all of them are"
        )
    different = len({image.tobytes() for image in shown})
    # Some may be repeated, but ten copies are one image.
    if different < max(fewest, min(FEWEST, len(images) / 2)):
        raise InvalidArgument(
            f"at least {FEWEST} calibration images must differ from each other and have "
            f"more than one colour; {different} of {len(images)} do"
        )


def _check_mode(images: np.ndarray, preprocessing: typing.Any) -> None:
    """Raises `InvalidArgument` if the values do not fit the preprocessing."""
    low, high = _ends(preprocessing)
    span = high - low
    least, most = images.min((0, 1, 2)), images.max((0, 1, 2))
    outside = (least < low - _SLACK * span) | (most > high + _SLACK * span)
    narrow = most - least < 0.1 * span
    other = _other_mode(images, preprocessing)
    if not (outside.any() or narrow.all() or other):
        return
    looks = f", as {other} does" if other else ""
    raise InvalidArgument(
        f"calibration images must be preprocessed as for training: mode "
        f"{preprocessing.mode!r} gives values in {low.min():.3g} to {high.max():.3g}; "
        f"got {images.min():.3g} to {images.max():.3g}{looks}"
    )


def _ends(preprocessing: typing.Any) -> typing.Any:
    """Returns the values of black and of white, by channel."""
    pixels = np.array([[0.0] * 3, [255.0] * 3]).reshape(2, 1, 1, 3)
    return preprocessing.normalize(pixels, "channels_last").reshape(2, 3)


def _other_mode(images: np.ndarray, own: typing.Any) -> typing.Any:
    """Returns a phrase about the mode that the images seem to have; None if it is `own`.

    In their own mode pixels become whole numbers again, and a set of images reaches
    from black to white.
    """
    if _whole(images, own):
        return None
    others = {
        f"mode {mode!r}": Preprocessing(mode)
        for mode, values in MODES.items()
        if values != (own.scale, own.mean, own.std, own.channel_order)
    }
    turned = Preprocessing(own.mode, mean=own.mean[::-1], std=own.std[::-1])
    if turned != Preprocessing(own.mode, mean=own.mean, std=own.std):
        others[f"mode {own.mode!r} with its channels in reverse order"] = turned
    for words, other in others.items():
        if _whole(images, other):
            return words
    for words, other in others.items():
        if _reaches_ends(images, other) and not _reaches_ends(images, own):
            return words
    return None


def _pixels(images: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Inverts the normalization; the channels stay in the order of the input."""
    mean, std = np.asarray(preprocessing.mean), np.asarray(preprocessing.std)
    return (images.astype("float64") * std + mean) / preprocessing.scale


def _whole(images: np.ndarray, preprocessing: Preprocessing) -> bool:
    """Returns whether images are whole pixel values 0 to 255 in a mode."""
    values = _pixels(_some(images), preprocessing)
    if values.min() < -0.5 or values.max() > 255.5:
        return False
    return bool((np.abs(values - np.rint(values)) < 0.02).mean() > 0.99)


def _reaches_ends(images: np.ndarray, preprocessing: typing.Any) -> bool:
    """Returns whether every channel spans black to white of a mode, and no more."""
    low, high = _ends(preprocessing)
    least, most = images.min((0, 1, 2)), images.max((0, 1, 2))
    apart = np.maximum(np.abs(least - low), np.abs(most - high))
    return bool((apart < _NEAR * (high - low)).all())


def _some(images: np.ndarray) -> np.ndarray:
    """Returns a sample of a set, evenly spaced, small enough to be measured quickly."""
    places = np.linspace(0, len(images) - 1, min(len(images), _MEASURED))
    return images[places.astype(int)]


def _check_statistics(images: np.ndarray, network: keras.Model) -> None:
    """Raises `InvalidArgument` if the first BN sees another scale than in training."""
    first_norm = _first_norm(network)
    if first_norm is None:
        return
    probe, norm = first_norm
    variance, distance = _measure(probe, norm, images)
    low, high = _VARIANCE
    if not low <= variance <= high:
        raise InvalidArgument(
            "calibration images must be preprocessed as for training: with them the "
            f"input of {norm.name} has {variance:.3g} times the variance of the training "
            f"(allowed {low:g} to {high:g}); their values are {images.min():.3g} to "
            f"{images.max():.3g}"
        )
    if images.shape[-1] == 3 and not getattr(norm, SETTLED, False):
        _check_fit(images, probe, norm, distance)


def _check_fit(
    images: np.ndarray, probe: keras.Model, norm: keras.layers.Layer, distance: float
) -> None:
    """Raises `InvalidArgument` if the images fit the network better in another mode."""
    own_mode = next((m for m in MODES if _whole(images, Preprocessing(m))), None)
    if own_mode is None or distance <= _FAR:
        return
    pixels = _pixels(_some(images), Preprocessing(own_mode))
    if not (70 <= pixels.mean() <= 190 and pixels.std() >= 40):
        # Dark or pale images are far from the statistics in every mode.
        return
    pixels = pixels[..., ::-1] if MODES[own_mode][3] == "bgr" else pixels
    measured = {
        mode: _measure(
            probe, norm, Preprocessing(mode).normalize(pixels, "channels_last")
        )
        for mode in MODES
        if mode != own_mode
    }
    best = min(measured, key=lambda mode: measured[mode][1])
    if measured[best][1] * _TIMES_NEARER < distance:
        raise InvalidArgument(
            f"calibration images must be preprocessed as for training: these are of mode "
            f"{own_mode!r}, and the statistics of {norm.name} are those of mode {best!r}"
        )


def _first_norm(network: keras.Model) -> tuple[keras.Model, keras.layers.Layer] | None:
    """Returns (model that outputs the input of the first BN, that BN).

    None if there is no BN, or if it has never been trained.
    """
    for layer in network.layers:
        inner = None
        if isinstance(layer, keras.Model):
            if not getattr(layer, "outputs", None):
                # The layers of a subclassed model have no graph.
                return None
            inner = _first_norm(layer)
            if inner is None:
                continue
        elif not isinstance(layer, keras.layers.BatchNormalization):
            continue
        probe = _up_to(network, layer)
        if inner is not None:
            return _Chain(probe, inner[0]), inner[1]
        return (probe, layer) if _is_trained(layer) else None
    return None


def _up_to(network: keras.Model, layer: keras.layers.Layer) -> keras.Model:
    """Returns a model that outputs the input of a layer."""
    for node in layer._inbound_nodes:
        try:
            return keras.Model(network.inputs[0], node.input_tensors[0])
        except ValueError:
            # The layer is called in another network too.
            continue
    raise InvalidArgument(f"{layer.name} is not a layer of {network.name}")


class _Chain:
    """Two models, one after the other."""

    def __init__(self, *models: typing.Any) -> None:
        self._models = models

    def __call__(self, x: typing.Any, training: typing.Any) -> typing.Any:
        return functools.reduce(lambda x, m: m(x, training=training), self._models, x)


def _is_trained(norm: keras.layers.Layer) -> bool:
    mean, variance = _statistics(norm)
    return bool((mean != 0).any() or (variance != 1).any())


def _statistics(norm: keras.layers.Layer) -> list[np.ndarray]:
    values = (norm.moving_mean, norm.moving_variance)
    return [keras.ops.convert_to_numpy(v).astype("float64") for v in values]


def _measure(
    probe: keras.Model, norm: keras.layers.Layer, images: np.ndarray
) -> tuple[float, float]:
    """Returns (relative variance, distance of the statistics), medians over channels.

    The distance is the Kullback-Leibler divergence of two normal distributions.
    """
    images = _some(images).astype("float32")
    sums, squares, count = 0.0, 0.0, 0
    for start in range(0, len(images), _CHUNK):
        outputs = probe(images[start : start + _CHUNK], training=False)
        outputs = keras.ops.convert_to_numpy(outputs).astype("float64")
        outputs = np.moveaxis(outputs, norm.axis, -1).reshape(
            -1, outputs.shape[norm.axis]
        )
        sums, squares = sums + outputs.sum(0), squares + np.square(outputs).sum(0)
        count += len(outputs)
    mean, trained = sums / count, _statistics(norm)
    live = trained[1] > 1e-4 * np.median(trained[1])
    scale = np.where(live, trained[1], 1.0)
    ratio = np.maximum(squares / count - np.square(mean), 1e-12) / scale
    shift = np.square(mean - trained[0]) / scale
    distance = (ratio - 1 - np.log(ratio) + shift) / 2
    return float(np.median(ratio[live])), float(np.median(distance[live]))
