"""Comparison of two exported files of any formats."""

import collections
import dataclasses
import functools
import os
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.export import parity
from keras_resnets.export import passport
from keras_resnets.export.compare.open_runner import open_runner
from keras_resnets.export.formats import format_of
from keras_resnets.export.runner import Runner
from keras_resnets.export.runner import errors_reported
from keras_resnets.export.runner import joined
from keras_resnets.export.runner import size_text
from keras_resnets.export.tflite.runner import OUTPUT as _OUTPUT
from keras_resnets.export.tflite.runner import layer_name
from keras_resnets.export.tflite.runner import tensors
from keras_resnets.images import binary
from keras_resnets.images import multi_label
from keras_resnets.images.labels import MULTI_LABEL
from keras_resnets.images.labels import count as label_count
from keras_resnets.images.multi_label import THRESHOLD
from keras_resnets.images.preprocessing import Preprocessing

Paths = Sequence[str | os.PathLike[str]]
_CONVERTERS = "StatefulPartitionedCall"


@dataclasses.dataclass(frozen=True)
class Verification:
    """The differences of two files on the same images.

    Attributes:
        count: the number of images.
        outputs: `parity.Parity` of the second file's outputs with the first's.
        probabilities: the same for the outputs of a softmax or sigmoid; None if there
            are none.
        logits: `Parity` of the inputs of the softmax or sigmoid, and of the other
            outputs; None if one of the files does not give them.
        largest_logit: the largest absolute input of a softmax or sigmoid, in the first
            file that gives it; 0 if neither does.
        accuracies: top-1 share of each file if there are labels (with several labels per
            image the mean average precision), else None.
    """

    count: int
    outputs: parity.Parity
    probabilities: parity.Parity | None
    logits: parity.Parity | None
    largest_logit: float
    accuracies: tuple[float | None, ...] | None


def verify(
    first: str | os.PathLike[str],
    second: str | os.PathLike[str],
    batches: Iterable[np.ndarray],
    labels: np.ndarray | None = None,
    threads: int = 2,
    progress: Callable[[int], object] | None = None,
    preprocessing: Preprocessing | None = None,
    opener: Callable[..., Any] = open_runner,
    watch: Callable[..., object] = lambda *batch: None,
) -> Verification:
    """Runs two files of any formats on the same images.

    Args:
        first: the reference: a `.tflite`, `.onnx` or `.keras` file or a SavedModel's
            folder.
        second: the candidate, likewise.
        batches: iterable of float32 images (count, height, width, channels),
            preprocessed.
        labels: int array with one class per image, or (count, labels) of 0 and 1; None
            if unknown.
        threads: threads of each runtime.
        progress: called with the number of images done after every batch.
        preprocessing: the `Preprocessing` that was applied to the images, for a file
            that includes it and takes pixels.
        opener: `open_runner`, or `isolated.open_apart` for untrusted files.
        watch: called with the images, their labels or None, and the outputs of both, of
            every batch.

    Returns:
        A `Verification`.

    Raises:
        InvalidArgument: a file that cannot be run, no image at all, a file that takes
            pixels without a `preprocessing`, or probabilities against logits.
        ExportError: outputs of different shapes, or that are not finite.
    """
    runners = [opener(path, threads) for path in (first, second)]
    _check_sizes((first, second), runners)
    tapped = [
        # The outputs of a SavedModel are fixed.
        opener(path, threads, True) if format_of(path).shows_logits else runner
        for path, runner in zip((first, second), runners, strict=True)
    ]
    with_logits = all(runner.has_logits for runner in tapped)
    pixels = [
        takes_pixels(path, runner)
        for path, runner in zip((first, second), runners, strict=True)
    ]
    if any(pixels) and preprocessing is None:
        raise InvalidArgument(
            f"{(first, second)[pixels.index(True)]} takes pixels: give the preprocessing "
            "of the other file's images"
        )
    results: tuple[list[Any], list[Any]] = ([], [])
    logits: tuple[list[Any], list[Any]] = ([], [])
    done = 0
    for images in batches:
        for side in (0, 1):
            batch = _as_taken(images, pixels[side], preprocessing)
            results[side].append(runners[side](batch))
            # One file's suffice for the size of the logits.
            if tapped[side].has_logits:
                logits[side].append(tapped[side](batch))
        if not done:
            _check_outputs((first, second), [results[0][0], results[1][0]])
        done += len(images)
        watch(images, _part(labels, done, len(images)), results[0][-1], results[1][-1])
        if progress:
            progress(done)
    if not done:
        raise InvalidArgument("there must be at least one image to compare on")
    whole = [joined(side) for side in results]
    probable = [_probabilities(*side) for side in zip(tapped, whole, strict=True)]
    _check_alike((first, second), probable)
    several = _has_several_labels(first, labels)
    has_cut = several or _is_binary(first, probable, whole[0])
    threshold = (THRESHOLD if any(probable) else 0.0) if has_cut else None
    outputs = parity.compare(whole[0], whole[1], threshold)
    compared = None if any(probable) else outputs
    # All outputs, or some probabilities would be compared as logits.
    counts = [len(runner.tapped) for runner in tapped]
    if with_logits and counts == [len(names) for names in probable]:
        cut = 0.0 if has_cut else None
        compared = parity.compare(joined(logits[0]), joined(logits[1]), cut)
    return Verification(
        count=done,
        outputs=outputs,
        probabilities=parity.compare_some(whole[0], whole[1], sorted(probable[0])),
        logits=compared,
        largest_logit=_largest_logit(tapped, logits),
        accuracies=_accuracies(whole, probable, labels),
    )


def _largest_logit(tapped: Sequence[Runner], logits: Sequence[list[Any]]) -> float:
    """Returns that of the first file that gives its logits; 0 if neither does."""
    for runner, batches in zip(tapped, logits, strict=True):
        if batches:
            return parity.largest(joined(batches), runner.tapped)
    return 0.0


def _part(labels: np.ndarray | None, done: int, count: int) -> np.ndarray | None:
    """The labels of the last `count` images of those that are done."""
    return None if labels is None else labels[done - count : done]


def _accuracies(
    outputs: Sequence[Any], probable: Sequence[Any], labels: np.ndarray | None
) -> tuple[float | None, ...] | None:
    """Returns that of each file; None without labels, or with several outputs."""
    if labels is None or isinstance(outputs[0], dict):
        return None
    return tuple(_accuracy(*x, labels) for x in zip(outputs, probable, strict=True))


def _accuracy(outputs: np.ndarray, probable: Any, labels: np.ndarray) -> float | None:
    if labels.ndim == 2:
        return multi_label.measure(labels, outputs).mean_average_precision
    if outputs.shape[1:] == (1,):
        outputs = binary.columns(outputs, not probable, "a file")
    return float((outputs.argmax(1) == labels).mean())


def _has_several_labels(
    path: str | os.PathLike[str], labels: np.ndarray | None
) -> bool:
    """Whether an image may have several, by the labels or the file's passport."""
    if labels is not None:
        return labels.ndim == 2
    return (passport.read(path) or {}).get("task") == MULTI_LABEL


def _is_binary(path: str | os.PathLike[str], probable: Any, outputs: Any) -> bool:
    """Whether one output tells two classes apart, see `images.binary`."""
    if isinstance(outputs, dict) or outputs.shape[1:] != (1,):
        return False
    names = (passport.read(path) or {}).get("labels") or ()
    return any(probable) or label_count(names) == binary.CLASSES


def _as_taken(
    images: np.ndarray, as_pixels: bool, preprocessing: Preprocessing | None
) -> np.ndarray:
    """Converts images to the type that a file takes."""
    if preprocessing is None or not as_pixels:
        return images
    return preprocessing.pixels(images)


def _check_sizes(paths: Paths, runners: Sequence[Runner]) -> None:
    """Raises `InvalidArgument` if no image fits both files."""
    sizes = [runner.input_shape[1:] for runner in runners]
    if any(len({*sides} - {None}) > 1 for sides in zip(*sizes, strict=True)):
        texts = [
            f"{path} takes {size_text(size)}"
            for path, size in zip(paths, sizes, strict=True)
        ]
        raise InvalidArgument(
            f"both files must take images of one size; {', '.join(texts)}"
        )


def _check_outputs(paths: Paths, outputs: Sequence[Any]) -> None:
    """Raises `InvalidArgument` if the outputs of two files differ in name or shape."""
    shapes = [
        {name: array.shape[1:] for name, array in output.items()}
        if isinstance(output, dict)
        else {"one output": output.shape[1:]}
        for output in outputs
    ]
    if shapes[0] != shapes[1]:
        texts = [
            f"{path}: {', '.join(f'{n} {size_text(s)}' for n, s in by_name.items())}"
            for path, by_name in zip(paths, shapes, strict=True)
        ]
        raise InvalidArgument(
            "both files must have the same outputs, by name and shape; "
            f"{'; '.join(texts)}"
        )


def check_layers(paths: Paths) -> None:
    """Raises `InvalidArgument` unless both files have layers that can be compared."""
    for path in paths:
        if format_of(path).name != "tflite":
            raise InvalidArgument(
                f"the layers of two .tflite files can be compared; got {path}"
            )


def _probabilities(tapped: Runner, outputs: Any) -> set[str]:
    """Names of a file's outputs after a softmax or sigmoid; a single one has no name."""
    if not isinstance(outputs, dict):
        (name,) = tapped.output_names
        is_known = tapped.has_logits or _looks_probable(name, outputs)
        return {""} if is_known else set()
    return {
        n for n, x in outputs.items() if n in tapped.tapped or _looks_probable(n, x)
    }


def _looks_probable(name: str, values: np.ndarray) -> bool:
    """Recognizes a softmax that cannot be found: in a SavedModel, or a decomposed one."""
    named = name == "predictions" and values.min() >= 0 and values.max() <= 1
    # 8-bit integers have an error of half a step each.
    return named or parity.is_distribution(values, 0.05)


def _check_alike(paths: Paths, probable: Sequence[set[str]]) -> None:
    """Raises `InvalidArgument` if probabilities would be compared with logits."""
    if probable[0] == probable[1]:
        return
    kinds = ["probabilities" if side else "logits or features" for side in probable]
    if all(probable):
        kinds = [f"probabilities as {', '.join(sorted(side))}" for side in probable]
    raise InvalidArgument(
        "two files are compared by the same outputs: "
        f"{paths[0]} outputs {kinds[0]}, {paths[1]} {kinds[1]}; export both with their "
        "softmax or both without (--logits)"
    )


def takes_pixels(path: str | os.PathLike[str], runner: Runner) -> bool:
    """Whether the file at `path` includes its preprocessing.

    An int16x8 file that includes it takes pixels as float32, as its passport records.
    """
    record = passport.read(path)
    recipe = record["recipe"] if record else {}
    return runner.takes_pixels or recipe.get("include_preprocessing", False)


@dataclasses.dataclass(frozen=True)
class LayerLoss:
    """The error of one tensor of an integer file against the float file.

    Attributes:
        name: the layer whose output it is.
        sqnr: signal to noise ratio in dB.
        lost: dB below the worst of the earlier tensors; an upper bound of its own loss.
    """

    name: str
    sqnr: float
    lost: float


def layer_losses(
    float_path: str | os.PathLike[str],
    integer_path: str | os.PathLike[str],
    images: np.ndarray,
    preprocessing: Preprocessing | None = None,
    opener: Callable[..., Any] = open_runner,
) -> list[LayerLoss]:
    """Measures how much each layer of an integer TFLite file loses against the float file.

    Args:
        float_path: TFLite file of a network in floating point.
        integer_path: TFLite file of the same network in integers.
        images: float32 (count, height, width, channels), preprocessed.
        preprocessing: see `verify`.
        opener: see `verify`.

    Returns:
        A list of `LayerLoss` in the order of computation.

    Raises:
        InvalidArgument: files of different networks.
    """
    check_layers((float_path, integer_path))
    signal, noise = _powers((float_path, integer_path), images, preprocessing, opener)
    losses, worst = [], None
    for name in signal:
        ratio = 10 * np.log10(max(signal[name], 1e-30) / max(noise[name], 1e-30))
        lost = 0.0 if worst is None else max(worst - ratio, 0.0)
        losses.append(LayerLoss(name, float(ratio), float(lost)))
        worst = ratio if worst is None else min(worst, ratio)
    return losses


def _powers(
    paths: Paths, images: np.ndarray, preprocessing: Any, opener: Callable[..., Any]
) -> tuple[dict[str, float], dict[str, float]]:
    """(signal, noise): sums of squares by layer, of the first file and the difference."""
    runners = [opener(path, 2) for path in paths]
    pixels = [
        takes_pixels(path, runner) for path, runner in zip(paths, runners, strict=True)
    ]
    computed = [
        # An isolated runner computes them in its own process.
        getattr(runner, "tensors", functools.partial(tensors, path))
        for path, runner in zip(paths, runners, strict=True)
    ]
    signal: dict[str, float] = collections.defaultdict(float)
    noise: dict[str, float] = collections.defaultdict(float)
    for image in images:
        image = image[None]
        theirs, ours = (
            _tensors(path, compute, _as_taken(image, raw, preprocessing))
            for path, compute, raw in zip(paths, computed, pixels, strict=True)
        )
        shared = [name for name in theirs if name in ours]
        # The name of the output is the same in every file.
        if all(name.startswith(_OUTPUT) for name in shared) or any(
            theirs[name].shape != ours[name].shape for name in shared
        ):
            raise InvalidArgument(
                f"{paths[0]} and {paths[1]} must be files of the same network: their "
                "layers have other names or shapes"
            )
        for name in shared:
            noise[name] += float(np.square(ours[name] - theirs[name]).sum())
            signal[name] += float(np.square(theirs[name]).sum())
    return signal, noise


def _tensors(
    path: str | os.PathLike[str], compute: Callable[..., Any], image: np.ndarray
) -> dict[str, np.ndarray]:
    with errors_reported(path, f"fails on images of {size_text(image.shape[1:])}"):
        return _by_layer(compute(image))


def _by_layer(tensors_by_name: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors by layer; if a layer has several, by their full names.

    Outputs have separate names, which may also be those of layers; a single output has
    the same name in all files.
    """
    counted = collections.Counter(layer_name(name) for name in tensors_by_name)
    outputs = [name for name in tensors_by_name if layer_name(name) == _OUTPUT]
    # Integer tensors before an output have the converter's names.
    outputs = [n for n in outputs if not n.startswith(_CONVERTERS)] or outputs
    named = {}
    for name, array in tensors_by_name.items():
        layer = layer_name(name)
        if layer != _OUTPUT:
            named[layer if counted[layer] == 1 else name] = array
        elif name in outputs:
            named[f"{_OUTPUT} {name}" if len(outputs) > 1 else _OUTPUT] = array
    return named
