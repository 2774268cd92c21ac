"""Compares the accuracy of a file with that of its float model."""

import dataclasses
import os
from collections.abc import Callable

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.export import parity
from keras_resnets.export.compare.open_runner import open_runner
from keras_resnets.export.compare.open_runner import steady_threads
from keras_resnets.export.compare.verify import takes_pixels
from keras_resnets.export.keras.runner import KerasRunner
from keras_resnets.graph import provenance
from keras_resnets.graph.binary import is_binary
from keras_resnets.images import binary
from keras_resnets.images import evaluation
from keras_resnets.images import multi_label


@dataclasses.dataclass(frozen=True)
class Figures:
    """The accuracy of a file and of its float model on the same images.

    Attributes:
        count: number of images.
        model_top1, file_top1: top-1 accuracies in [0, 1]; None for multi-label data.
        agreement: share of equal predictions; of equal labels for multi-label data.
        rmse: root mean square difference of the logits, divided by the standard
            deviation of the model's; None if the file does not show its logits.
        model_map, file_map: mean average precisions of multi-label data; None for
            single-label data, or if no label differs between images.
    """

    count: int
    model_top1: float | None
    file_top1: float | None
    agreement: float
    rmse: float | None
    model_map: float | None = None
    file_map: float | None = None


def compare(
    model: keras.Model,
    path: str | os.PathLike[str],
    data: evaluation.Labelled,
    threads: int = 2,
    progress: Callable[..., object] | None = None,
    logits: bool = False,
    watch: Callable[..., object] | None = None,
) -> Figures:
    """Runs an exported file and its model on labelled images.

    Args:
        model: the float `keras.Model` of the file.
        path: the file.
        data: an `evaluation.Labelled`: `labels`, and `batches` of preprocessed
            images.
        threads: threads of the file's runtime; see `open_runner.steady_threads`.
        progress: called with the number of images done after every batch.
        logits: whether the outputs of the file are logits.
        watch: called after every batch with the images, the labels, the outputs of the
            model and those of the file.

    Raises:
        InvalidArgument: the file takes pixels, and the preprocessing of the model is
            not known.
    """
    reference = KerasRunner(model)
    threads = steady_threads(path, threads)
    runner = open_runner(path, threads, logits=reference.has_logits and not logits)
    taken = _inputs_of(path, takes_pixels(path, runner), model)
    # The logits are the outputs themselves.
    logits = logits or runner.has_logits or runner.output_names == ("logits",)
    measured = logits or not reference.has_logits
    expected: list[np.ndarray] = []
    scores_of_file: list[np.ndarray] = []
    for images in data.batches(100):
        outputs, scores = reference(images)
        expected.append(outputs if scores is None or not logits else scores)
        scores_of_file.append(runner(taken(images)))
        done = sum(map(len, scores_of_file))
        if watch:
            labels = data.labels[done - len(images) : done]
            pair = (expected[-1], scores_of_file[-1])
            watch(images, labels, *(_by_class(x, logits, model) for x in pair))
        if progress:
            progress(done)
    ours, theirs = np.concatenate(expected), np.concatenate(scores_of_file)
    compared = parity.compare(ours, theirs)
    rmse = compared.rmse if measured else None
    if data.labels.ndim == 2:
        # A logit > 0 is a probability > 0.5.
        threshold = 0.0 if logits or ours.min() < 0 else multi_label.THRESHOLD
        agreement = float(((ours >= threshold) == (theirs >= threshold)).mean())
        maps = (
            multi_label.measure(data.labels, x).mean_average_precision
            for x in (ours, theirs)
        )
        return Figures(len(theirs), None, None, agreement, rmse, *maps)
    ours, theirs = (_by_class(x, logits, model) for x in (ours, theirs))
    compared = parity.compare(ours, theirs)
    ours_top1, theirs_top1 = (
        float((x.argmax(axis=1) == data.labels).mean()) for x in (ours, theirs)
    )
    return Figures(len(theirs), ours_top1, theirs_top1, compared.top1, rmse)


def _by_class(outputs: np.ndarray, logits: bool, model: keras.Model) -> np.ndarray:
    """Returns outputs with a column for each class, or label."""
    if outputs.shape[1:] != (1,) or not is_binary(model):
        return outputs
    return binary.columns(outputs, logits, model.name)


def _inputs_of(
    path: str | os.PathLike[str], pixels: bool, model: keras.Model
) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from preprocessed images to the inputs of a file."""
    if not pixels:
        return lambda images: images
    preprocessing = provenance.of(model).preprocessing
    if preprocessing is None:
        raise InvalidArgument(
            f"{path} takes pixels: the model must have the attribute preprocessing"
        )
    return preprocessing.pixels
