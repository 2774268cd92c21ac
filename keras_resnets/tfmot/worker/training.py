"""Fine-tunes with `tf_keras`: images from a file, one loop for all three tools."""

import math
import os
import pathlib
import time
import typing
from collections.abc import Callable

import numpy as np

# Images that a network is evaluated on before and after training, and their batch size.
_SAMPLE, _AT_ONCE = 250, 50
# A network has collapsed if its accuracy exceeded that of the commonest class by this
# much, and less than this share of the excess is left.
_LEAD, _KEPT = 0.2, 0.1
# A training's loss may exceed its network's worst possible loss before by this factor.
_SLACK = 10
# Smaller norms count as this, as in the paper: a bias of zeros may move.
_LEAST_NORM = 1e-3


class Diverged(Exception):
    """A training that has diverged.

    Args:
        facts: `what` shows it, the `epoch` and its `step`, both from 1.
    """

    def __init__(self, **facts: typing.Any) -> None:
        super().__init__(str(facts))
        self.facts = facts


class LabelledImages:
    """Labelled images in `x.npy` and `y.npy`, read a batch at a time.

    Args:
        folder: the folder of both files.
        tuning: `batch_size`, `mirror`, `crop` and `seed`.
    """

    def __init__(
        self, folder: str | os.PathLike[str], tuning: dict[str, typing.Any]
    ) -> None:
        self.x = np.load(pathlib.Path(folder, "x.npy"), mmap_mode="r")
        self.y = np.load(pathlib.Path(folder, "y.npy"))
        self._tuning = tuning

    def sample(self, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns `count` images with their labels, or all if there are fewer."""
        chosen = np.random.default_rng(seed).permutation(len(self.x))[:count]
        chosen = np.sort(chosen)
        return np.array(self.x[chosen]), self.y[chosen]

    def sequence(self) -> typing.Any:
        """Returns a `tf_keras.utils.Sequence` that is reshuffled every epoch."""
        import tf_keras

        x, y, tuning = self.x, self.y, self._tuning
        size = tuning["batch_size"]

        class Batches(tf_keras.utils.Sequence):
            def __init__(self) -> None:
                self._epoch = 0
                self._shuffle()

            def _shuffle(self) -> None:
                self._rng = np.random.default_rng([tuning["seed"], self._epoch])
                self._order = self._rng.permutation(len(x))

            def on_epoch_end(self) -> None:
                self._epoch += 1
                self._shuffle()

            def __len__(self) -> int:
                return -(-len(x) // size)

            def __getitem__(self, index: int) -> typing.Any:
                chosen = np.sort(self._order[index * size : (index + 1) * size])
                images = augmented(np.array(x[chosen]), tuning, self._rng)
                return images, y[chosen]

        return Batches()


def augmented(
    images: np.ndarray, tuning: dict[str, typing.Any], rng: np.random.Generator
) -> np.ndarray:
    """Mirrors a batch at random and shifts it by up to `crop` pixels, padded with zeros."""
    if tuning["mirror"]:
        turned = rng.random(len(images)) < 0.5
        images[turned] = images[turned, :, ::-1]
    reach = tuning["crop"]
    if not reach:
        return images
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    corners = rng.integers(0, 2 * reach + 1, (len(images), 2))
    for index, (top, left) in enumerate(corners):
        images[index] = padded[index, top : top + height, left : left + width]
    return images


def fit(
    model: typing.Any,
    callbacks: typing.Any,
    clip: float | None,
    data: "LabelledImages",
    tuning: dict[str, typing.Any],
    tell: Callable[..., object],
) -> None:
    """Trains `model`, whose outputs are logits.

    Args:
        model: a `tf_keras.Model`.
        callbacks: callbacks of the tool.
        clip: the most that the norm of a gradient may be, as a share of its variable's
            (Brock 2021, arXiv:2102.06171).
        data: the `LabelledImages`.
        tuning: also `epochs` and `learning_rate`, which falls as a cosine.
        tell: called with the progress, by keyword.

    Raises:
        Diverged: a loss beyond the worst possible one of the initial network, final
            weights that are not finite, or predictions that are the same for all images.
    """
    import tf_keras

    batches = data.sequence()
    steps = len(batches) * tuning["epochs"]
    rate = tf_keras.optimizers.schedules.CosineDecay(tuning["learning_rate"], steps)
    model.compile(
        _clipped_sgd(clip)(rate, momentum=0.9),
        tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    images, labels = data.sample(_SAMPLE, tuning["seed"])
    logits = _logits(model, images)
    before = _right(logits, labels)
    watch = _watch(tell, _highest_loss(logits))
    model.fit(
        batches,
        epochs=tuning["epochs"],
        shuffle=False,
        verbose=0,
        callbacks=[*callbacks, watch],
    )
    # The last step's loss belongs to the weights before it.
    for variable in model.weights:
        if variable.dtype.is_floating and not np.isfinite(variable.numpy()).all():
            raise watch.diverged(
                f"{variable.name.split(':')[0]} contains NaN or infinity"
            )
    after = _right(_logits(model, images), labels)
    if _collapsed(before, after, labels):
        raise watch.diverged(
            f"{after} of {len(labels)} training images are right, {before} were before"
        )


def _logits(model: typing.Any, images: np.ndarray) -> np.ndarray:
    parts = range(0, len(images), _AT_ONCE)
    batches = [model(images[i : i + _AT_ONCE], training=False).numpy() for i in parts]
    return np.concatenate(batches)


def _right(logits: np.ndarray, labels: np.ndarray) -> int:
    return int(np.sum(np.argmax(logits, axis=-1) == labels))


def _highest_loss(logits: np.ndarray) -> float:
    """A loss far beyond that of predicting the least likely class for every image."""
    worst = math.log(logits.shape[-1]) + 2 * float(np.abs(logits).max())
    return _SLACK * worst


def _collapsed(before: int, after: int, labels: np.ndarray) -> bool:
    """Whether a network has lost its lead over predicting the commonest class."""
    commonest = np.bincount(labels).max()
    lead = before - commonest
    return lead > _LEAD * len(labels) and after - commonest < _KEPT * lead


def _clipped_sgd(clip: float | None) -> typing.Any:
    """The class of SGD whose gradients are clipped to a share of each variable's norm.

    BN with frozen statistics multiplies the gradient of the kernel before it by gamma
    over the deviation, 50 in a channel that hardly varies. The gradient is then many
    times the kernel's norm (14 times, in the stem of ResNet-20), and a learning rate
    that suits other networks ends in NaN.
    """
    import tensorflow as tf
    import tf_keras

    def clipped(gradient: typing.Any, variable: typing.Any) -> typing.Any:
        if gradient is None:
            return None
        most = clip * tf.maximum(tf.norm(variable), _LEAST_NORM)
        return tf.clip_by_norm(gradient, most)

    class ClippedSGD(tf_keras.optimizers.SGD):
        def apply_gradients(
            self,
            grads_and_vars: typing.Any,
            *arguments: typing.Any,
            **options: typing.Any,
        ) -> typing.Any:
            pairs = [(clipped(g, variable), variable) for g, variable in grads_and_vars]
            return super().apply_gradients(pairs, *arguments, **options)

    return ClippedSGD


def _watch(tell: Callable[..., object], highest: float) -> typing.Any:
    """The callback that reports progress, and ends a training with a higher loss."""
    import tf_keras

    class Watch(tf_keras.callbacks.Callback):
        done, last_progress, epoch, step = 0, 0.0, 0, 0

        def on_epoch_begin(self, epoch: int, logs: typing.Any = None) -> None:
            self.epoch = epoch + 1

        def on_train_batch_end(self, batch: int, logs: typing.Any = None) -> None:
            self.done, self.step = self.done + 1, batch + 1
            # The mean over the epoch so far; once NaN it stays NaN.
            if not logs["loss"] <= highest:
                raise self.diverged(f"the loss is {logs['loss']:.3g}")
            if time.monotonic() - self.last_progress > 0.2:
                self.last_progress = time.monotonic()
                tell(progress=self.done)

        def on_epoch_end(self, epoch: int, logs: typing.Any = None) -> None:
            tell(
                epoch=epoch + 1,
                loss=float(logs["loss"]),
                accuracy=float(logs["accuracy"]),
            )

        def diverged(self, what: str) -> typing.Any:
            """Returns the error with the current epoch and step."""
            return Diverged(what=what, epoch=self.epoch, step=self.step)

    return Watch()
