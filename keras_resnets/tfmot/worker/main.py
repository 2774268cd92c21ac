"""The process behind `tfmot.bridge`: python -m keras_resnets.tfmot.worker.main.

Its only argument is a folder with `job.json`, `weights.npz`, `probe.npz`, `x.npy` and
`y.npy`. It writes `tuned.npz` and, for quantization, `aware.tflite` there, and reports
its progress in lines of JSON.
"""

import functools
import json
import pathlib
import shutil
import sys
import typing
from collections.abc import Mapping

import numpy as np

from keras_resnets.errors import first_line
from keras_resnets.system import child_process

# The largest difference of both networks in float64, as a share of the largest logit.
TOLERANCE = 1e-6
# The same for the trained float32 network, which rounds.
_ROUNDED = 1e-4


def main(path: str) -> None:
    """Rebuilds the network, proves it equal, and runs the job."""
    folder = pathlib.Path(path)
    # If the parent is killed, its folder is removed here.
    child_process.orders(lambda: shutil.rmtree(folder, ignore_errors=True))
    answer = child_process.answers()

    def tell(**facts: typing.Any) -> None:
        answer(facts)

    job = json.loads((folder / "job.json").read_text("utf-8"))
    with np.load(folder / "weights.npz") as file:
        arrays = dict(file)
    import tf_keras

    from keras_resnets.tfmot.worker import jobs
    from keras_resnets.tfmot.worker import training

    # Whatever keras.json says: networks that are exported have their channels last.
    tf_keras.backend.set_image_data_format("channels_last")
    tf_keras.utils.set_random_seed(job["seed"])
    with np.load(folder / "probe.npz") as file:
        apart = distance(job["description"], arrays, file["images"], file["logits"])
    tell(apart=apart)
    if not apart <= TOLERANCE or job["task"] == "compare":
        return
    data = training.LabelledImages(folder, job["tuning"])
    fit = functools.partial(training.fit, data=data, tuning=job["tuning"], tell=tell)
    try:
        values, content = jobs.JOBS[job["task"]](job, arrays, data, fit)
    except jobs.Refused as error:
        tell(refused=first_line(error))
        return
    except training.Diverged as error:
        tell(diverged=error.facts)
        return
    np.savez(folder / "tuned.npz", **typing.cast(typing.Any, values))
    if content is not None:
        (folder / "aware.tflite").write_bytes(content)
    tell(done=True)


def distance(
    description: dict[str, typing.Any],
    arrays: Mapping[str, np.ndarray],
    images: np.ndarray,
    logits: np.ndarray,
) -> float:
    """Measures how far the rebuilt network's logits are from those in Keras 3.

    Args:
        description: see `rebuild.build`.
        arrays: see `rebuild.build`.
        images: float32 (count, height, width, channels).
        logits: Keras 3's logits for them in float64.

    Returns:
        The largest difference as a share of the largest logit, in float64; in float32
        if that is more than rounding.
    """
    from keras_resnets.tfmot.worker import rebuild

    errors = []
    for dtype in ("float64", "float32"):
        rebuilt = rebuild.build(description, arrays, dtype=dtype)
        outputs = np.asarray(rebuilt(images.astype(dtype), training=False))
        if outputs.shape != logits.shape:
            return float("inf")
        error = np.abs(outputs.astype("float64") - logits).max()
        errors.append(float(error / max(np.abs(logits).max(), 1e-30)))
    exact, rounded = errors
    return exact if rounded <= _ROUNDED else max(exact, rounded)


if __name__ == "__main__":
    main(sys.argv[1])
