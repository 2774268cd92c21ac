"""Batches for `fit` and `evaluate`, each a pure function of its step."""

import contextlib
import typing
from collections.abc import Iterator

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.errors import check_positive_int
from keras_resnets.errors import check_whole
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
    """Returns the batches of a `Split` for `model.fit` and `model.evaluate`.

    The images of a step, their order and every random number of their augmentation
    are functions of the seed, the epoch, the step and the position in it: a run that
    is resumed at `epoch_of_first` and `first_step` gets the same batches as one that was
    not interrupted.

    One iteration is one epoch, the next iteration is the next epoch. Call the result's
    `set_epoch(epoch)` at the beginning of every epoch (as in a callback's
    `on_epoch_begin`) to set it. Otherwise the next epoch follows when the last batch of
    an epoch has been taken, which suffices for `fit` unless an epoch has only one step.
    Keras' `fit` reads the number of steps once per call: if `first_step` is not 0, fit
    the rest of that epoch in one call and later epochs in another.

    Args:
        split: a `Split`.
        preprocessing: the network's `Preprocessing`.
        batch_size: images per step, >= 1.
        augmentation: an `Augmentation`, applied in training only; None for none.
        classes: number of classes of the network.
        seed: of order and augmentation, an integer >= 0.
        epoch_of_first: the epoch to start in, counted from 0.
        first_step: the step of that epoch to start at.
        training: shuffle and augment; otherwise the images come in their own order,
            including the last, smaller batch.
        dtype: dtype of the images, `"float32"`, `"bfloat16"` or `"float16"`.
        drop_remainder: leave out the last, incomplete batch of a training epoch.
        one_hot: targets are float32 (batch, classes); otherwise int64 (batch,), which
            mixup and CutMix do not allow.
        workers: threads that read and augment images.
        part: (index, number): this machine's share of every batch, if `number` machines
            train together; mixup and CutMix then mix within a share.
        class_weights: weight of each class in the loss, (classes,), in training only;
            None for 1. The weight of a mixed image is mixed as its targets are.
        balanced: take equally many images of each class in every training epoch, which
            is as long as without; images of small classes are repeated.

    Returns:
        With the TensorFlow backend a `tf.data.Dataset`, otherwise a
        `keras.utils.PyDataset` (pass `shuffle=False` to `fit`), of (images (batch,
        height, width, channels), targets), with `class_weights` also weights (batch,).

    Raises:
        InvalidArgument: an argument is out of range, or a label is not a class of the
            network.

    Example:
        >>> import numpy as np
        >>> from keras_resnets.images.preprocessing import Preprocessing
        >>> from keras_resnets.images.datasets.split import ArrayImages, Split
        >>> images = ArrayImages(np.zeros((4, 8, 8, 3), "uint8"))
        >>> split = Split(np.arange(4), images, np.arange(4))
        >>> dataset = batches(split, Preprocessing("tf", (8, 8)), 2, classes=4)
        >>> [tuple(x.shape) for x, y in dataset]
        [(2, 8, 8, 3), (2, 8, 8, 3)]
    """
    augmentation = (augmentation or Augmentation()) if training else None
    _check(split, augmentation, batch_size, classes, seed, dtype, one_hot, workers)
    drop_last = training and drop_remainder
    balance = split.labels if training and balanced else None
    order = Order(split.count, batch_size, seed, training, drop_last, part, balance)
    if not order.steps:
        raise InvalidArgument(
            f"batch_size must be at most the number of images, {split.count}; got "
            f"{batch_size}"
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
def own_errors(*datasets: typing.Any) -> Iterator[None]:
    """Re-raises errors of the preparation of batches instead of the backend's errors.

    Args:
        *datasets: results of `batches`, or None.
    """
    try:
        yield
    except Exception:
        failures = [
            error for data in datasets for error in getattr(data, "failures", ())
        ]
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
    check_whole("seed", seed)
    check_labels(split.labels, classes, "the network")
    if augmentation and augmentation.mixes and not one_hot:
        raise InvalidArgument("mixup and cutmix mix targets: they need one_hot=True")
