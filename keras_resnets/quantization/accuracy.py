"""What quantization costs: a file against its float model, on labelled pictures."""

import dataclasses

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.export import parity
from keras_resnets.export.compare.open_runner import open_runner
from keras_resnets.export.compare.verify import takes_pixels
from keras_resnets.export.keras.runner import KerasRunner
from keras_resnets.graph import provenance


@dataclasses.dataclass(frozen=True)
class Figures:
    """How a file compares with its model.

    Attributes:
        count: pictures that both were run on.
        model_top1, file_top1: shares of right answers.
        agreement: share of equal answers.
        rmse: root mean square difference of the logits over the standard deviation of
            the model's; None where those cannot be read in the file.
    """

    count: int
    model_top1: float
    file_top1: float
    agreement: float
    rmse: float | None


def compare(model, path, data, threads=2, progress=None, logits=False):
    """`Figures` of the exported file at `path`.

    Args:
        model: the float `keras.Model` that it was made of.
        path: of the file.
        data: an `evaluation.Labelled`: `labels`, and `batches` of pre-processed
            pictures.
        threads: of the file's runtime.
        progress: called with the number of pictures done after every batch.
        logits: whether the file puts out logits.

    Raises:
        InvalidArgument: a file that takes pixels, of a model that does not know its
            pre-processing.
    """
    reference = KerasRunner(model)
    runner = open_runner(path, threads, logits=reference.has_logits and not logits)
    known = provenance.of(model).preprocessing
    pixels = takes_pixels(path, runner)
    if pixels and known is None:
        raise InvalidArgument(f"{path} takes pixels: the model must know preprocessing")
    # A file of logits has no softmax to look behind.
    logits = logits or runner.has_logits or runner.output_names == ("logits",)
    measured = logits or not reference.has_logits
    expected, found = [], []
    for pictures in data.batches(100):
        outputs, scores = reference(pictures)
        expected.append(outputs if scores is None or not logits else scores)
        found.append(runner(known.pixels(pictures) if pixels else pictures))
        if progress:
            progress(sum(map(len, found)))
    expected, found = np.concatenate(expected), np.concatenate(found)
    compared = parity.compare(expected, found)
    tops = [float((x.argmax(1) == data.labels).mean()) for x in (expected, found)]
    rmse = compared.rmse if measured else None
    return Figures(len(found), *tops, compared.top1, rmse)
