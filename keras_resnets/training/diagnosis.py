"""Diagnoses a loss of NaN or infinity, and what such a run leaves behind."""

import typing

import numpy as np

from keras_resnets.graph import anatomy
from keras_resnets.training import compiling

if typing.TYPE_CHECKING:
    from keras_resnets.training.run_folder import RunFolder


def cause(job: typing.Any, rate: typing.Any, epoch: int, step: int) -> str:
    """Returns the likely cause of a loss that is not finite."""
    images, targets, *_ = next(iter(job.training_batches(epoch, step)))
    for name, values in (("images", images), ("targets", targets)):
        if not np.isfinite(np.asarray(values)).all():
            return f"the {name} of that step are not finite: check the data"
    for layer in anatomy.all_layers(job.model):
        for weight in layer.get_weights():
            if not anatomy.holds_others(layer) and not np.isfinite(weight).all():
                return (
                    f"the weights of {layer.name} are no longer finite: the learning "
                    f"rate of {rate:.3g} is likely too high"
                )
    if compiling.is_half(job.model):
        return "activations overflow float16: use mixed_bfloat16, with float32's range"
    return f"activations overflow: the learning rate of {rate:.3g} is likely too high"


def what_stays(folder: "RunFolder", progress: typing.Any) -> str:
    """Returns a description of the best weights, to append to an error message."""
    if progress.best is None:
        return ""
    when = f"after epoch {progress.kept}" if progress.kept else "before the training"
    return (
        f"; {folder.weights('best')} has the best weights so far, those {when}: "
        f"{progress.best:.2%} on the held-out images"
    )
