"""Sends a network and images to a process with Keras 2, and reads its results."""

import importlib.util
import json
import math
import pathlib
import typing
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import TrainingError
from keras_resnets.errors import first_line
from keras_resnets.export import session
from keras_resnets.export.keras.runner import KerasRunner
from keras_resnets.graph import copies
from keras_resnets.images import evaluation
from keras_resnets.images.collecting import check_images
from keras_resnets.io.files import scratch_folder
from keras_resnets.system import child_process
from keras_resnets.tfmot import description

_PACKAGES = ("tensorflow_model_optimization", "tf_keras")
_WORKER = "keras_resnets.tfmot.worker.main"
LEGACY = {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
# Images that are copied into the folder at a time.
_CHUNK = 500


# The last message of each kind, weights by name, the bytes of a file.
Result = tuple[dict[str, typing.Any], dict[str, np.ndarray] | None, bytes | None]


def check_installed() -> None:
    """Raises `InvalidArgument` if the packages are missing; imports none of them."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InvalidArgument(
            "this is done by tensorflow-model-optimization on tf_keras, and "
            f"{' and '.join(missing)} cannot be found: pip install "
            "'keras-resnets[compress]'"
        )


def run(
    model: keras.Model,
    job: dict[str, typing.Any],
    data: typing.Any = None,
    progress: Callable[[int], object] | None = None,
    tell: Callable[[str], object] | None = None,
) -> Result:
    """Runs a job in a separate process.

    Args:
        model: a Keras 3 classifier; it is not modified.
        job: a job of `tfmot.worker` without `description`; with `tuning` if `data` is
            given.
        data: preprocessed images and labels, see `write_images`; None only for the
            job that compares both networks.
        progress: called with the number of training steps done.
        tell: called with a line of text after every epoch.

    Returns:
        (the last message of each kind, weights by name or None, bytes of a TFLite file
        or None).

    Raises:
        InvalidArgument: missing packages, a layer without a counterpart, or a network
            that tensorflow-model-optimization refuses.
        TrainingError: the process ended early, the network that it built is not the
            same, or the training diverged.
    """
    check_installed()
    session.check_backend()
    job = {**job, "description": description.describe(model)}
    with scratch_folder() as folder:
        if data is not None:
            count = write_images(folder, data, model)
            job["steps"] = job["tuning"]["epochs"] * math.ceil(
                count / job["tuning"]["batch_size"]
            )
        sent = description.read_values(model)
        np.savez(folder / "weights.npz", **typing.cast(typing.Any, sent))
        _write_probe(folder, model)
        (folder / "job.json").write_text(json.dumps(job), "utf-8")
        said = _follow(folder, progress, tell)
        _check(said, model, job)
        values, content = _results(folder)
        if values is not None:
            _check_complete(values, sent, job["description"])
        return said, values, content


def _results(folder: pathlib.Path) -> tuple[dict[str, np.ndarray] | None, bytes | None]:
    values = content = None
    if (folder / "tuned.npz").exists():
        with np.load(folder / "tuned.npz") as file:
            values = dict(file)
    if (folder / "aware.tflite").exists():
        content = (folder / "aware.tflite").read_bytes()
    return values, content


def _follow(
    folder: pathlib.Path,
    progress: Callable[[int], object] | None,
    tell: Callable[[str], object] | None,
) -> dict[str, typing.Any]:
    """Runs the process to its end; returns the last message of each kind."""
    said = {}
    with (
        open(folder / "log.txt", "w+", encoding="utf-8", errors="replace") as log,
        child_process.started(
            _WORKER, folder, environment=LEGACY, errors=log
        ) as process,
    ):
        for line in typing.cast(typing.IO[str], process.stdout):
            facts = json.loads(line)
            said.update(facts)
            if progress and "progress" in facts:
                progress(facts["progress"])
            if tell and "epoch" in facts:
                tell(
                    f"epoch {facts['epoch']}: loss {facts['loss']:.4f}, training "
                    f"accuracy {facts['accuracy']:.2%}"
                )
        code = process.wait()
        if code:
            log.seek(0)
            raise TrainingError(_last_words(log.read(), code))
    return said


def _last_words(log: str, code: int) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    last = first_line(lines[-1]) if lines else "without a message"
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return (
        f"the process of tensorflow-model-optimization {how} ({last}); nothing was "
        "written"
    )


def _check(
    said: dict[str, typing.Any], model: keras.Model, job: dict[str, typing.Any]
) -> None:
    from keras_resnets.tfmot.worker.main import TOLERANCE

    if not said["apart"] <= TOLERANCE:
        raise TrainingError(
            f"{model.name} rebuilt in tf_keras differs from it by {said['apart']:.2g} of "
            f"the largest logit, more than {TOLERANCE:g}; nothing was trained"
        )
    if "refused" in said:
        raise InvalidArgument(
            f"tensorflow-model-optimization refuses {model.name}: {said['refused']}; "
            f"{_NATIVE[job['task']]} in Keras 3 itself takes it"
        )
    if "diverged" in said:
        raise TrainingError(_divergence(said["diverged"], model, job["tuning"]))


def _divergence(
    facts: dict[str, typing.Any], model: keras.Model, tuning: dict[str, typing.Any]
) -> str:
    """The message about a training that diverged."""
    rate = tuning["learning_rate"]
    return (
        f"the training of {model.name} diverged: {facts['what']} at step "
        f"{facts['step']} of epoch {facts['epoch']}, with a learning rate that began at "
        f"{rate:.3g}; nothing was written: give a lower --learning-rate, such as "
        f"{rate / 10:.2g}"
    )


def _check_complete(
    values: Mapping[str, np.ndarray],
    sent: Mapping[str, np.ndarray],
    described: dict[str, typing.Any],
) -> None:
    """Raises `TrainingError` unless every weight came back."""
    trained = {step["layer"] for step in described["steps"]}
    expected = {name for name in sent if name.split("/")[0] in trained}
    if set(values) != expected:
        odd = sorted(set(values) ^ expected)
        raise TrainingError(
            f"the process of tensorflow-model-optimization must bring back every weight; "
            f"{len(odd)} differ, such as {odd[0]}"
        )


_NATIVE = {
    "quantize": "quantize_aware (keras-resnets qat without --engine tfmot)",
    "prune": "the callback Prune (keras-resnets prune without --engine tfmot)",
    "cluster": "quantize_aware with 'static_wi4_ai8'",
}


def _write_probe(folder: pathlib.Path, model: keras.Model) -> None:
    """Writes four random images, and the Keras 3 model's logits for them in float64.

    In float32 rounding alone reaches 1e-6 in a network of fifty layers.
    """
    shape = [side or 64 for side in model.inputs[0].shape[1:]]
    images = np.random.default_rng(0).standard_normal((4, *shape))
    images = images.astype("float32")
    double = keras.models.clone_model(model, clone_function=_double, recursive=True)
    double.set_weights(model.get_weights())
    outputs, logits = KerasRunner(double)(images)
    logits = outputs if logits is None else logits
    np.savez(folder / "probe.npz", images=images, logits=np.asarray(logits))


def _double(layer: keras.layers.Layer) -> keras.layers.Layer:
    if isinstance(layer, keras.Model):
        return layer
    return copies.blank(layer, dtype="float64")


def write_images(folder: pathlib.Path, data: typing.Any, model: keras.Model) -> int:
    """Copies labelled images into `x.npy` and `y.npy`; returns their number.

    Args:
        folder: the folder.
        data: (x, y), or an `evaluation.Labelled` whose batches are preprocessed.
        model: the model that they must fit.

    Raises:
        InvalidArgument: images or labels that do not fit the model.
    """
    labels, batches = _opened(data)
    if labels.dtype.kind not in "iu" or labels.ndim != 1 or not len(labels):
        raise InvalidArgument(
            f"labels must be one whole number an image; got {labels.dtype} of shape "
            f"{labels.shape}"
        )
    evaluation.check_labels(labels, model)
    input_shape, shape, done = model.inputs[0].shape[1:], None, 0
    # Plain writes: through a memory map, a full disk would end the process.
    with open(folder / "x.npy", "wb") as file:
        for images in batches(_CHUNK):
            check_images("images", images, shape or input_shape)
            if shape is None:
                shape = images.shape[1:]
                whole = (len(labels), *shape)
                facts = {"descr": "<f4", "fortran_order": False, "shape": whole}
                np.lib.format.write_array_header_1_0(file, facts)
            file.write(np.ascontiguousarray(images, "<f4").data)
            done += len(images)
    np.save(folder / "y.npy", labels.astype("int64"))
    return len(labels)


def _opened(
    data: typing.Any,
) -> tuple[np.ndarray, Callable[[int], Iterator[np.ndarray]]]:
    if hasattr(data, "batches"):
        return np.asarray(data.labels), data.batches
    try:
        x, y = data
    except (TypeError, ValueError):
        raise InvalidArgument(
            f"data must be (images, labels); got {type(data).__name__}"
        ) from None
    labels = np.asarray(y)
    if len(x) != len(labels):
        raise InvalidArgument(
            f"there must be one label an image; got {len(labels)} for {len(x)} images"
        )

    def batches(size: int) -> Iterator[np.ndarray]:
        for start in range(0, len(x), size):
            yield np.asarray(x[start : start + size], "float32")

    # Keras' own sets have a column of labels.
    return labels[:, 0] if labels.ndim == 2 and labels.shape[
        1
    ] == 1 else labels, batches


def copy_of(
    model: keras.Model, values: Mapping[str, np.ndarray] | None = None
) -> keras.Model:
    """Returns a copy of `model`, with `values` in it."""
    copy = copies.clone(model)
    if values:
        description.write_values(copy, values)
    return copy
