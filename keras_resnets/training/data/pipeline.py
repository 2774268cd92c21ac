"""What `fit` and `evaluate` take: batches that are a pure function of the step."""

import contextlib
import typing
from collections.abc import Iterator

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.errors import check_positive_int
from keras_resnets.images.datasets.seeded import check_seed
from keras_resnets.images.datasets.split import check_labels
from keras_resnets.training.augmentation import Augmentation
from keras_resnets.training.data.batch_loader import Loader
from keras_resnets.training.data.epochs import Ahead
from keras_resnets.training.data.epochs import Epochs
from keras_resnets.training.data.sampler import Order

if typing.TYPE_CHECKING:
    from keras_resnets.images.datasets.split import Split
    from keras_resnets.images.preprocessing import Preprocessing


def batches(
    split: "Split",
    preprocessing: "Preprocessing",
    batch_size: int,
    *,
    augmentation: Augmentation | None = None,
    classes: int,
    seed: int = 0,
    epoch_of_first: int = 0,
    first_step: int = 0,
    training: bool = True,
    dtype: str = "float32",
    drop_remainder: bool = True,
    one_hot: bool = True,
    workers: int = 2,
    part: tuple[int, int] = (0, 1),
    class_weights: typing.Any = None,
    balanced: bool = False,
) -> typing.Any:
    """Batches of a `Split`, for `model.fit` and `model.evaluate`.

    The images of a step, their order and every random number of their augmentation
    are functions of the seed, the epoch, the step and the position in it: a run that
    goes on at `epoch_of_first` and `first_step` sees what it would have seen.

    One iteration goes through one epoch, the next one through the next epoch. Call
    the result's `set_epoch(epoch)` at the beginning of every epoch (as in a callback's
    `on_epoch_begin`) to name it; else an epoch follows when the last batch of the one
    before has been taken, which does for `fit` unless an epoch has one step alone.
    Keras' `fit` asks how many steps there are once a call: where `first_step` is not
    0, fit the rest of that epoch in one call and the epochs after it in another.

    Args:
        split: a `Split`.
        preprocessing: the network's `Preprocessing`.
        batch_size: images of a step, >= 1.
        augmentation: an `Augmentation`, applied in training only; None for none.
        classes: how many the network has.
        seed: of order and augmentation, a whole number >= 0.
        epoch_of_first: the epoch to start in, counted from 0.
        first_step: the step of that epoch to start at.
        training: shuffle and augment; else the images come in their order, the
            last and smaller batch as well.
        dtype: of the images, `"float32"`, `"bfloat16"` or `"float16"`.
        drop_remainder: leave out the last images of an epoch of training that fill
            no batch.
        one_hot: targets as float32 (batch, classes); else int64 (batch,), which mixup
            and CutMix do not allow.
        workers: threads that read and change images.
        part: (index, number): only that share of every batch, where `number` machines
            each feed their own; mixup and CutMix then mix within a share.
        class_weights: what an image of each class counts in the loss, (classes,), in
            training only; None for 1. That of a mixed image is mixed as its targets.
        balanced: as many images of each class in every epoch of training, which is as
            long as without: those of small classes come several times.

    Returns:
        With the TensorFlow backend a `tf.data.Dataset`, else a `keras.utils.PyDataset`
        (pass `shuffle=False` to `fit`), of (images (batch, height, width, channels),
        targets), with `class_weights` also weights (batch,).

    Raises:
        InvalidArgument: an argument out of range, or labels that the network has no
            class for.

    Example:
        >>> import numpy as np
        >>> from keras_resnets.images.preprocessing import Preprocessing
        >>> from keras_resnets.images.datasets.split import ArrayImages, Split
        >>> images = ArrayImages(np.zeros((4, 8, 8, 3), "uint8"))
        >>> split = Split(np.arange(4), images, np.arange(4))
        >>> found = batches(split, Preprocessing("tf", (8, 8)), 2, classes=4)
        >>> [tuple(x.shape) for x, y in found]
        [(2, 8, 8, 3), (2, 8, 8, 3)]
    """
    augmentation = (augmentation or Augmentation()) if training else None
    _check(split, augmentation, batch_size, classes, seed, dtype, one_hot, workers)
    whole = training and drop_remainder
    balance = split.labels if training and balanced else None
    order = Order(split.count, batch_size, seed, training, whole, part, balance)
    if not order.steps:
        raise InvalidArgument(
            f"a batch of {batch_size} needs as many images; there are {split.count}"
        )
    if not 0 <= first_step < order.steps:
        raise InvalidArgument(
            f"first_step must lie in 0..{order.steps - 1}, the steps of an epoch; got "
            f"{first_step}"
        )
    if augmentation is not None:
        augmentation = augmentation.at(preprocessing.size)
    weights = class_weights if training else None
    loader = Loader(
        split, preprocessing, augmentation, order, classes, dtype, one_hot, weights
    )
    epochs = Epochs(epoch_of_first, first_step, order.steps)
    import keras

    if keras.backend.backend() == "tensorflow":
        from keras_resnets.training.data.tensorflow_batches import dataset_of

        return dataset_of(loader, epochs, workers)
    from keras_resnets.training.data.keras_batches import KerasBatches

    return KerasBatches(Ahead(loader.start, workers), epochs)


@contextlib.contextmanager
def own_errors(*found: typing.Any) -> Iterator[None]:
    """Raises what went wrong while batches were made, not what a backend makes of it.

    Args:
        *found: what `batches` returned, or None.
    """
    try:
        yield
    except Exception:
        failures = [error for data in found for error in getattr(data, "failures", ())]
        if failures:
            raise failures[0] from None
        raise


def _check(
    split: "Split",
    augmentation: Augmentation | None,
    batch_size: int,
    classes: int,
    seed: int,
    dtype: str,
    one_hot: bool,
    workers: int,
) -> None:
    check_positive_int("batch_size", batch_size)
    check_positive_int("classes", classes)
    check_positive_int("workers", workers)
    check_choice("dtype", dtype, ("float32", "bfloat16", "float16"))
    check_seed(seed)
    check_labels(split.labels, classes, "the network")
    if augmentation and augmentation.mixes and not one_hot:
        raise InvalidArgument("mixup and cutmix mix targets: they need one_hot=True")
