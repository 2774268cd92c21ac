"""Diagnoses a loss of NaN or infinity, and what such a run leaves behind."""

import typing

import numpy as np

from keras_resnets.graph import anatomy
from keras_resnets.training import compiling

if typing.TYPE_CHECKING:
    from keras_resnets.training.run_folder import RunFolder


def cause(job: typing.Any, rate: typing.Any, epoch: int, step: int) -> str:
    """The likely cause of a loss that is not finite."""
    images, targets, *_ = next(iter(job.training_batches(epoch, step)))
    for name, values in (("images", images), ("targets", targets)):
        if not np.isfinite(np.asarray(values)).all():
            return f"the {name} of that step are not finite: look at the data"
    for layer in anatomy.all_layers(job.model):
        for weight in layer.get_weights():
            if not anatomy.holds_others(layer) and not np.isfinite(weight).all():
                return (
                    f"the weights of {layer.name} are not finite any more: the learning "
                    f"rate of {rate:.3g} is likely too high"
                )
    if compiling.is_half(job.model):
        return "activations overflow float16: mixed_bfloat16 has float32's range"
    return f"activations overflow: the learning rate of {rate:.3g} is likely too high"


def what_stays(folder: "RunFolder", progress: typing.Any) -> str:
    """The files that a failed run leaves, for the end of a message."""
    if progress.best is None:
        return ""
    when = f"after epoch {progress.kept}" if progress.kept else "as the network came"
    return (
        f"; {folder.weights('best')} keeps the best so far, {when}: "
        f"{progress.best:.2%} of the held-out images"
    )
