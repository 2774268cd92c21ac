"""tensorflow-model-optimization for Keras 3 networks.

That package supports only Keras 2. Here a network is rebuilt in `tf_keras`, its outputs
are proven equal, it is trained in a separate process, and its weights are copied back.
"""

import dataclasses
import math
import os
import typing
from collections.abc import Callable
from collections.abc import Mapping

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_positive_int
from keras_resnets.errors import check_range
from keras_resnets.errors import check_whole
from keras_resnets.export import landing
from keras_resnets.export import prepare
from keras_resnets.export import session
from keras_resnets.export import signature
from keras_resnets.export.tflite import convert as tflite
from keras_resnets.export.tflite.file_options import FileOptions
from keras_resnets.graph import provenance
from keras_resnets.images import calibration_checks
from keras_resnets.pruning import patterns
from keras_resnets.tfmot import description
from keras_resnets.tfmot import process


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuning:
    """Fine-tuning options: SGD with momentum 0.9 and cosine decay of the learning rate.

    Gradients are clipped to a share of the norm of each variable.

    Attributes:
        epochs: >= 1.
        learning_rate: initial rate; None for the tool's default.
        batch_size: images per step.
        mirror: whether images are mirrored at random.
        crop: most pixels that an image is shifted by, with zeros as padding; 0 for none.
        seed: seed of the order, the augmentation and the choice of centroids.

    Raises:
        InvalidArgument: a value that is not allowed.

    Example:
        >>> Tuning(epochs=2).batch_size
        128
    """

    epochs: int = 1
    learning_rate: float | None = None
    batch_size: int = 128
    mirror: bool = True
    crop: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        check_positive_int("epochs", self.epochs)
        check_positive_int("batch_size", self.batch_size)
        if self.learning_rate is not None:
            check_range("learning_rate", self.learning_rate, 0, 10)
        check_whole("crop", self.crop)
        check_whole("seed", self.seed)


# docs/compression.md has the results.
_RATES = {"quantize": 1e-3, "prune": 1e-2, "cluster": 3e-3}


def rebuilt_apart(model: keras.Model) -> float:
    """Measures how far the logits of `model` rebuilt in `tf_keras` are from its own.

    Args:
        model: a built functional or Sequential `keras.Model` with one image input.

    Returns:
        The largest difference on random images, as a share of the largest logit.

    Raises:
        InvalidArgument: a layer without a counterpart in `tf_keras`.
        TrainingError: the logits differ by more than 1e-6.
    """
    _check_model(model, "the bridge to tf_keras")
    said, _, _ = process.run(model, {"task": "compare", "seed": 0})
    return said["apart"]


def tfmot_quantize_aware(
    model: keras.Model,
    path: str | os.PathLike[str],
    data: typing.Any,
    tuning: "Tuning | None" = None,
    calibration: int = 500,
    overwrite: bool = False,
    threads: int = 2,
    *,
    io_dtype: str = "int8",
    batch: int | str = 1,
    packed: bool = True,
    logits: bool = False,
    progress: Callable[[int], object] | None = None,
    tell: Callable[[str], object] | None = None,
) -> landing.ExportReport:
    """Trains quantization-aware with tensorflow-model-optimization; writes a TFLite file.

    Its activation ranges, which otherwise begin at -6 to 6 and hardly move, begin at
    calibrated values; BN statistics stay fixed. The file is compared with the Keras 3
    model that has the trained weights.

    Args:
        model: a trained classifier, a built functional or Sequential `keras.Model` with
            one image input; it is not modified.
        path: file to write, ending in `.tflite`.
        data: preprocessed training images float32 (count, height, width, channels)
            and labels (count,) as a pair, or an `evaluation.Labelled`.
        tuning: a `Tuning`; None for one epoch.
        calibration: number of images for the initial activation ranges, >= 10.
        overwrite: replace an existing file.
        threads: threads of the LiteRT interpreter.
        io_dtype: `"int8"`, `"uint8"` or `"float32"`.
        batch: images per call, or `"dynamic"`.
        packed: see `keras_resnets.export.to_tflite`.
        logits: whether to leave out the softmax.
        progress: called with the number of training steps done.
        tell: called with a line of text after every epoch.

    Returns:
        An `ExportReport`.

    Raises:
        InvalidArgument: an argument that is not allowed, missing packages, or a network
            that tensorflow-model-optimization refuses (pre-activation); the message
            names an alternative that takes it.
        TrainingError: the process ended early, its network is not the same, or the
            training diverged.
        ExportError: the file differs from the model; no file is left.
    """
    file = FileOptions(io_dtype, packed)
    common = session.ExportOptions(
        logits=logits, batch=batch, overwrite=overwrite, threads=threads
    )
    check_range("calibration", calibration, 10, 10**9)
    place = landing.destination("tflite", path, "int8", common)
    _check_model(model, "quantization")
    prepare.input_shape(model)
    job = {"io_dtype": io_dtype, "batch": batch, "logits": logits}
    job |= {"calibration": calibration}
    _, values, content = _run("quantize", model, job, data, tuning, progress, tell)
    tuned = _with(model, values)
    ready = session.make_ready(tuned, "none", None, _first(data, 4), common)
    facts = {
        "recipe": "quantization-aware",
        "engine": "tfmot",
        "tuning": _record(tuning, "quantize"),
    }
    return tflite.land(place, ready, lambda: content, facts, file)


def tfmot_prune(
    model: keras.Model,
    data: typing.Any,
    sparsity: float = 0.5,
    tuning: "Tuning | None" = None,
    progress: Callable[[int], object] | None = None,
    tell: Callable[[str], object] | None = None,
) -> keras.Model:
    """Prunes by magnitude while fine-tuning, with tensorflow-model-optimization.

    The layers are those of `Prune`: not the first convolution, not the classifier. The
    share of zeros rises over two thirds of the steps.

    Args:
        model: see `tfmot_quantize_aware`; pre-activation and grouped networks too.
        data: see there.
        sparsity: final share of zeros, in (0, 1).
        tuning: see there.
        progress: see there.
        tell: see there.

    Returns:
        A copy of `model` with the trained weights; `pruning_report` describes it.

    Raises:
        InvalidArgument: see `tfmot_quantize_aware`; also no layer to prune.
        TrainingError: see there.
    """
    patterns.check_sparsity(sparsity)
    _check_model(model, "pruning")
    prunable_ids = {id(layer) for layer in patterns.prunable(model)}
    chosen = [n for n, layer in _named(model) if id(layer) in prunable_ids]
    if not chosen:
        raise InvalidArgument(f"{model.name} has no layer to prune")
    job = {"sparsity": sparsity, "layers": chosen}
    _, values, _ = _run("prune", model, job, data, tuning, progress, tell)
    return _with(model, values)


def tfmot_cluster(
    model: keras.Model,
    data: typing.Any,
    clusters: int = 32,
    tuning: "Tuning | None" = None,
    progress: Callable[[int], object] | None = None,
    tell: Callable[[str], object] | None = None,
) -> keras.Model:
    """Clusters weights while fine-tuning, with tensorflow-model-optimization.

    Every kernel gets at most `clusters` different values; the file of weights then
    compresses. BN is not changed.

    Args:
        model: see `tfmot_quantize_aware`; pre-activation and grouped networks too.
        data: see there.
        clusters: different values in a kernel, >= 2. A kernel with fewer weights is not
            changed.
        tuning: see there.
        progress: see there.
        tell: see there.

    Returns:
        A copy of `model` with the trained weights.

    Raises:
        InvalidArgument: see `tfmot_quantize_aware`; also no kernel to cluster.
        TrainingError: see there.
    """
    check_range("clusters", clusters, 2, 65536)
    check_positive_int("clusters", clusters)
    _check_model(model, "clustering")
    chosen = [
        name
        for name, layer in _named(model)
        if hasattr(layer, "kernel") and math.prod(layer.kernel.shape) > clusters
    ]
    if not chosen:
        raise InvalidArgument(
            f"{model.name} has no kernel of more than {clusters} weights to cluster"
        )
    job = {"clusters": clusters, "layers": chosen}
    _, values, _ = _run("cluster", model, job, data, tuning, progress, tell)
    return _with(model, values)


def _named(model: keras.Model) -> typing.Any:
    """(name, layer) of the layers with weights, by their names in the process."""
    return description.named_layers(model).items()


def _run(
    task: str,
    model: keras.Model,
    job: dict[str, typing.Any],
    data: typing.Any,
    tuning: "Tuning | None",
    progress: Callable[[int], object] | None,
    tell: Callable[[str], object] | None,
) -> process.Result:
    _check_images(model, data)
    job = {**job, "task": task, "tuning": _record(tuning, task)}
    job["seed"] = job["tuning"]["seed"]
    return process.run(model, job, data, progress, tell)


def _check_images(model: keras.Model, data: typing.Any) -> None:
    """Raises `InvalidArgument` for images of another scale than the network's."""
    shape, preprocessing = (
        model.inputs[0].shape[1:],
        provenance.known_preprocessing(model),
    )
    images = np.asarray(_first(data, 64), "float32")
    if images.ndim == 4:
        calibration_checks.check(images, shape, preprocessing, model, "data", fewest=1)


def _record(tuning: "Tuning | None", task: str) -> dict[str, typing.Any]:
    tuning = tuning or Tuning()
    fields = dataclasses.asdict(tuning)
    if fields["learning_rate"] is None:
        fields["learning_rate"] = _RATES[task]
    return fields


def _with(model: keras.Model, values: Mapping[str, np.ndarray] | None) -> keras.Model:
    copy = process.copy_of(model, values)
    provenance.inherit(copy, model)
    return copy


def _first(data: typing.Any, count: int) -> typing.Any:
    """The first images, to compare with."""
    if hasattr(data, "batches"):
        return next(iter(data.batches(count)))
    return data[0][:count]


def _check_model(model: keras.Model, what: str) -> None:
    prepare.check_functional(model, what)
    prepare.check_one_image(model, what)
    names = list(signature.outputs(model))
    classifier = names == ["logits"] or (
        names == ["predictions"] and description.describe(model)["softmax"]
    )
    if not classifier:
        raise InvalidArgument(
            f"{what} by tensorflow-model-optimization takes a classifier with logits or "
            f"a softmax as its output; {model.name} has the outputs {', '.join(names)}"
        )
