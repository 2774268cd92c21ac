"""Keras' MixUp, CutMix and RandomErasing with random numbers seeded by the step."""

import typing

import keras
import numpy as np

if typing.TYPE_CHECKING:
    from keras_resnets.training.augmentation import Augmentation


# What a backend's random operations take as seeds.
_SEEDS = {"tensorflow": "int64", "jax": "uint32", "torch": "int32"}


class StepSeed(keras.random.SeedGenerator):
    """A seed generator whose n-th seed is a function of `seed` and n.

    Keras' `SeedGenerator` keeps its state in a variable: its seeds depend on all earlier
    draws.

    Args:
        seed: integer in [0, 2**31).
        dtype: dtype of the backend's seeds.
    """

    def __init__(self, seed: int, dtype: str) -> None:
        # Does not call the parent's, which creates that variable.
        self._seed, self._drawn, self._dtype = seed, 0, dtype

    def next(self, ordered: bool = True) -> typing.Any:
        return keras.ops.convert_to_tensor(self.next_array())

    def next_array(self) -> np.ndarray:
        """Returns the next seed as a NumPy array (2,)."""
        self._drawn += 1
        return np.array([self._seed, self._drawn], self._dtype)


class _BetaByNumPy:
    """A backend, or its random operations, with NumPy's Beta distribution.

    To draw from Beta, Keras on PyTorch seeds PyTorch's global generator and restores it
    afterwards. Meanwhile Dropout draws from the same generator, in the thread that
    trains: runs would not be reproducible.
    """

    def __init__(self, inner: typing.Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> typing.Any:
        attribute = getattr(self._inner, name)
        return _BetaByNumPy(attribute) if name == "random" else attribute

    def beta(
        self,
        shape: typing.Any,
        alpha: typing.Any,
        beta: typing.Any,
        dtype: typing.Any = None,
        seed: typing.Any = None,
    ) -> typing.Any:
        drawn = np.random.default_rng(seed.next_array()).beta(alpha, beta, shape)
        return keras.ops.convert_to_tensor(drawn.astype("float32"))


class Mixer:
    """Erases and mixes the images of a batch, and mixes its targets.

    - Erasing is `keras.layers.RandomErasing`, filled with 0, the mean colour. The
      squares of the relative height and width are uniform in [0.02, 0.33], whereas
      Zhong 2020 draws area and aspect ratio.
    - Mixup is `keras.layers.MixUp`: one lambda ~ Beta(alpha, alpha) per image, y =
      lambda y1 + (1 - lambda) y2 (Zhang 2018, equation 2).
    - CutMix is `keras.layers.CutMix`, with `factor=(alpha, alpha)`: with a single
      number Keras draws an alpha below it for every batch. Its box is always inside the
      image (and never includes the first row and column), whereas Yun 2019 crops boxes
      at the border. Its lambda is the area before the box is rounded to pixels;
      therefore lambda is computed from the mask here: the exact share of the image
      that remains.

    Args:
        augmentation: an `Augmentation`.
    """

    def __init__(self, augmentation: "Augmentation") -> None:
        layers = keras.layers
        erase, mixup = augmentation.erase, augmentation.mixup
        cutmix = augmentation.cutmix
        self._erasing = self._mixup = self._cutmix = None
        self._dtype = _SEEDS[keras.backend.backend()]
        # Not under a device scope: with several machines, the seed of a layer is placed
        # on the devices of all.
        if erase:
            self._erasing = layers.RandomErasing(
                factor=(erase, erase),
                fill_value=0.0,
                data_format="channels_last",
                dtype="float32",
            )
        if mixup:
            self._mixup = layers.MixUp(
                mixup, data_format="channels_last", dtype="float32"
            )
        if cutmix:
            self._cutmix = layers.CutMix(
                (cutmix, cutmix), data_format="channels_last", dtype="float32"
            )
        if keras.backend.backend() == "torch":
            for layer in filter(None, (self._mixup, self._cutmix)):
                layer.backend = _BetaByNumPy(layer.backend)

    @property
    def works(self) -> bool:
        """Whether any of the three is enabled."""
        return any((self._erasing, self._mixup, self._cutmix))

    def __call__(
        self, images: np.ndarray, targets: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the images and targets of a batch, erased and mixed.

        Args:
            images: normalized float32 array (batch, height, width, 3).
            targets: array (batch, classes), or (batch,) if nothing is mixed.
            seed: integer in [0, 2**31) that determines all random numbers.
        """
        with keras.device("cpu"):
            seeds = StepSeed(seed, self._dtype)
            x = keras.ops.convert_to_tensor(images)
            if self._erasing:
                change = self._erasing.get_random_transformation(x, seed=seeds)
                x = self._erasing.transform_images(x, change)
            layer = self._layer(seed)
            if layer is not None:
                y = keras.ops.convert_to_tensor(targets)
                change = layer.get_random_transformation(x, seed=seeds)
                if layer is self._cutmix:
                    change["mix_weight"] = _kept(change["batch_masks"])
                x = layer.transform_images(x, change)
                targets = keras.ops.convert_to_numpy(layer.transform_labels(y, change))
            return keras.ops.convert_to_numpy(x), targets

    def _layer(self, seed: int) -> keras.layers.Layer:
        if self._mixup and self._cutmix:
            # Keras' generators hash the seed, so that any bit serves.
            return (self._mixup, self._cutmix)[seed & 1]
        return self._mixup or self._cutmix


def _kept(masks: typing.Any) -> typing.Any:
    """Returns the share of each image outside its mask."""
    return 1 - keras.ops.mean(keras.ops.cast(masks[..., 0], "float32"), axis=(1, 2))
