"""Keras' MixUp, CutMix and RandomErasing, with random numbers that a step decides."""

import typing

import keras
import numpy as np

if typing.TYPE_CHECKING:
    from keras_resnets.training.augmentation import Augmentation


# What a backend's random operations take as seeds.
_SEEDS = {"tensorflow": "int64", "jax": "uint32", "torch": "int32"}


class StepSeed(keras.random.SeedGenerator):
    """A seed generator without history: its n-th seed follows from `seed` and n.

    Keras' own keeps its state in a variable, so that what it draws depends on all that
    was drawn before.

    Args:
        seed: whole number in [0, 2**31).
        dtype: of the backend's seeds.
    """

    def __init__(self, seed: int, dtype: str) -> None:
        # Deliberately without the parent's: it would make that variable.
        self._seed, self._drawn, self._dtype = seed, 0, dtype

    def next(self, ordered: bool = True) -> typing.Any:
        return keras.ops.convert_to_tensor(self.next_array())

    def next_array(self) -> np.ndarray:
        """The next seed as a NumPy array (2,)."""
        self._drawn += 1
        return np.array([self._seed, self._drawn], self._dtype)


class _BetaByNumPy:
    """A backend, or its random operations, but for Beta.

    Keras on PyTorch draws from Beta by seeding PyTorch's one global generator and puts
    it back afterwards. Dropout draws from the same generator at the same time, in the
    thread that trains: no run would be like another.
    """

    def __init__(self, inner: typing.Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> typing.Any:
        found = getattr(self._inner, name)
        return _BetaByNumPy(found) if name == "random" else found

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

    - Erasing is `keras.layers.RandomErasing`, which fills with 0, the mean colour. It
      takes height and width as shares of the image's whose squares are uniform in
      [0.02, 0.33], where Zhong 2020 draws area and aspect.
    - Mixup is `keras.layers.MixUp`: one lambda ~ Beta(alpha, alpha) an image, y =
      lambda y1 + (1 - lambda) y2 (Zhang 2018, equation 2).
    - CutMix is `keras.layers.CutMix`, with `factor=(alpha, alpha)`, since a single
      number would have Keras draw an alpha below it for every batch. Its box lies
      whole in the image (and never reaches the first row and column), where Yun 2019
      cuts off what hangs over; and its lambda is the area before the box is rounded to
      pixels, so that lambda is taken from the mask here: the share of the image that
      stays, exactly.

    Args:
        augmentation: an `Augmentation`.
    """

    def __init__(self, augmentation: "Augmentation") -> None:
        layers = keras.layers
        erase, mixup = augmentation.erase, augmentation.mixup
        cutmix = augmentation.cutmix
        self._erasing = self._mixup = self._cutmix = None
        self._dtype = _SEEDS[keras.backend.backend()]
        # Not on a device of choice: with several machines, a layer's own seed lies on
        # the devices of all.
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
        """Whether there is anything to do."""
        return any((self._erasing, self._mixup, self._cutmix))

    def __call__(
        self, images: np.ndarray, targets: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The images and targets of a batch, erased and mixed.

        Args:
            images: float32 array (batch, height, width, 3), normalized.
            targets: array (batch, classes), or (batch,) where nothing is mixed.
            seed: whole number in [0, 2**31) that decides all of it.
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
            # Another bit than those that Keras' generators start from would be no
            # fairer: they hash the seed.
            return (self._mixup, self._cutmix)[seed & 1]
        return self._mixup or self._cutmix


def _kept(masks: typing.Any) -> typing.Any:
    """The share of each image that is outside of its mask."""
    return 1 - keras.ops.mean(keras.ops.cast(masks[..., 0], "float32"), axis=(1, 2))
