"""Exported classifiers, run in their own runtimes with the interface of a model."""

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_resnets import renamed
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.export import passport
from keras_resnets.export.compare import inspection
from keras_resnets.export.compare import open_runner as runners
from keras_resnets.export.runner import Runner
from keras_resnets.export.signature import HEATMAP
from keras_resnets.images import binary
from keras_resnets.images import confidence
from keras_resnets.images.labels import MULTI_LABEL
from keras_resnets.images.labels import class_names
from keras_resnets.images.labels import count as label_count
from keras_resnets.images.multi_label import sigmoid
from keras_resnets.images.multi_label import thresholds
from keras_resnets.images.preprocessing import MODES
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.images.preprocessing import default_for

# The name of an output after a softmax or sigmoid, in files of this package.
_PROBABILITIES = "predictions"


class FileClassifier:
    """A classifier in a file, for `evaluation.evaluate`; see `open_classifier`.

    Attributes:
        name: the file's name.
        preprocessing: the `Preprocessing` whose images `predict_on_batch` takes. For a
            file that includes its preprocessing it leaves RGB pixels unchanged.
        labels: order of the classes, as `labels.class_names` takes it; None: unknown.
        confidence: fields of an `images.confidence.Confidence` in the passport, or None.
        task: `"multi-label"` if the passport says so, see `graph.provenance`.
        thresholds: probability from which on each label is predicted, of a file of
            `deploy` with several labels an image; else None.
        output_shape: (None, classes); a file with one output has two classes, see
            `images.binary`.
        puts_out_logits: whether the outputs are logits.
        has_heatmap: whether the file also outputs a heat map, see
            `graph.heatmaps.heatmap_model`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        runner: Runner,
        preprocessing: Preprocessing,
        labels: Any,
        output: str,
        first: bool,
        has_heatmap: bool = False,
        has_sigmoid: bool = True,
    ) -> None:
        self.name = pathlib.Path(path).name
        self._runner, self.preprocessing, self.labels = runner, preprocessing, labels
        self._output, self._first, self.has_heatmap = output, first, has_heatmap
        self.confidence: dict[str, float] | None = None
        self.task: str | None = None
        self.thresholds: tuple[float, ...] | None = None
        self.puts_out_logits = output == "logits"
        shape = (1, *preprocessing.size, preprocessing.channels)
        outputs = self._outputs(np.zeros(shape, "float32"))[output]
        self.output_shape = (None, _classes(path, outputs))
        # Whether it has one output for two classes, and whether that is a logit.
        self._is_binary, self._is_logit = outputs.shape[1] == 1, not has_sigmoid
        if self._is_binary:
            if self._is_logit:
                _check_named(path, labels)
            self.puts_out_logits = False

    def predict_on_batch(self, images: np.ndarray) -> Any:
        """Returns float32 outputs (count, classes); of a binary file its probabilities.

        Args:
            images: float32 (count, height, width, 3), as `preprocessing` makes them.
        """
        name = _PROBABILITIES if self._is_binary else self._output
        return self.outputs_by_name(images)[name]

    def outputs_by_name(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Returns all outputs for `images` by name, see `predict_on_batch`."""
        outputs = self._outputs(images)
        if not self._is_binary:
            return outputs
        values = outputs[self._output]
        both = {_PROBABILITIES: binary.columns(values, self._is_logit, self.name)}
        if self.has_heatmap:
            both[HEATMAP] = binary.evidence(outputs[HEATMAP])
        return both

    def _outputs(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the outputs of the file."""
        if self._runner.takes_pixels:
            images = np.rint(images).astype("uint8")
        if self._first:
            images = np.ascontiguousarray(np.transpose(images, (0, 3, 1, 2)))
        outputs = self._runner(images)
        return outputs if isinstance(outputs, dict) else {self._output: outputs}

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Returns the outputs as probabilities.

        Applies a softmax (with several labels per image a sigmoid) if the file has none.
        """
        outputs = self.predict_on_batch(images)
        if not self.puts_out_logits and outputs.min() >= 0 and outputs.max() <= 1:
            return outputs
        if self.task == MULTI_LABEL:
            return sigmoid(outputs)
        shifted = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
        return shifted / shifted.sum(axis=-1, keepdims=True)


@renamed.arguments(known="metadata")
def open_classifier(
    path: str | os.PathLike[str],
    mode: str | None = None,
    size: tuple[int, int] | None = None,
    metadata: tuple[Preprocessing, Any] | None = None,
    labels: Any = None,
    threads: int = 2,
    opener: Callable[..., Any] = runners.open_runner,
) -> FileClassifier:
    """Opens an exported classifier with its metadata.

    Args:
        path: a `.tflite`, `.onnx` or `.keras` file, or the folder of a SavedModel.
        mode: mode of `preprocess_input` for its images; None for that of the passport
            beside it or of `metadata`. A file that takes pixels needs none, nor does a
            `.keras` file with a layer that scales pixels (`Rescaling`, `Normalization`).
        size: (height, width) if the file leaves them open; None: as above.
        metadata: (`Preprocessing`, labels) from a source other than a passport, or None.
        labels: order of the classes; None: as above.
        threads: threads of its runtime, >= 1.
        opener: `export.open_runner`, or `isolated.open_apart` for untrusted files.

    Returns:
        A `FileClassifier`.

    Raises:
        InvalidArgument: a file that is missing, cannot be run, is not a classifier of
            colour images, or lacks metadata.

    Example:
        >>> import keras_resnets, tempfile
        >>> from keras_resnets.export import to_tflite
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = to_tflite(keras_resnets.ResNet8(), f"{folder}/a.tflite")
        ...     opened = open_classifier(report.path)
        >>> opened.output_shape, opened.preprocessing.mode
        ((None, 10), 'raw')
    """
    runner, output, has_heatmap, contents = _open(path, threads, opener)
    scaling = contents.scaling
    facts = passport.read(path)
    if facts and facts.get("preprocessing"):
        metadata = Preprocessing(**facts["preprocessing"]), facts.get("labels")
    preprocessing = metadata[0] if metadata else None
    channels = preprocessing.channels if preprocessing else None
    sides, channels, first = _sides(path, tuple(runner.input_shape[1:]), channels)
    if labels is None and metadata:
        labels = metadata[1]
    recipe = (facts or {}).get("recipe") or {}
    pixels = runner.takes_pixels or recipe.get("include_preprocessing", False)
    if pixels or (mode is None and preprocessing is None and scaling is not None):
        mode = "raw"
    size = _size(path, sides, size, preprocessing)
    preprocessing = _preprocessing(path, mode, size, preprocessing, channels)
    classifier = FileClassifier(
        path,
        runner,
        preprocessing,
        labels,
        output,
        first,
        has_heatmap,
        _has_sigmoid(output, contents),
    )
    if (facts or {}).get("task") == MULTI_LABEL:
        classifier.task = MULTI_LABEL
        recorded = (facts or {}).get("thresholds")
        if recorded is not None:
            order = class_names(classifier.output_shape[1], labels)
            classifier.thresholds = thresholds(
                recorded, [name for _, name in order], f"thresholds of {path}.json"
            )
    classifier.confidence = confidence.of_record((facts or {}).get("confidence"))
    return classifier


def _open(
    path: str | os.PathLike[str], threads: int, opener: Callable[..., Any]
) -> tuple[Any, str, bool, inspection.Inspection]:
    """Returns the runner of a file, and what its contents are.

    These are the name of the classes' output, whether it also has a heat map, and all of
    them.
    """
    contents = inspection.inspect(path)
    classes = [port for port in contents.outputs if port.name != HEATMAP]
    has_heatmap = len(classes) == 1 and len(contents.outputs) == 2
    outputs = classes if has_heatmap else contents.outputs
    for what, ports in (("input", contents.inputs), ("output", outputs)):
        if len(ports) != 1:
            names = ", ".join(port.name for port in ports)
            raise InvalidArgument(
                f"a classifier of images has one {what}; {path} has {len(ports)}: {names}"
            )
    output = outputs[0].name
    if output == "features":
        raise InvalidArgument(
            f"{path} outputs features, not classes; export it without --features"
        )
    return opener(path, threads), output, has_heatmap, contents


def _has_sigmoid(output: str, contents: inspection.Inspection) -> bool:
    """Whether one output is taken for a probability, which is checked when it runs.

    Files of this package name their output after its kind; in others an operator tells.
    """
    if output in (_PROBABILITIES, "logits"):
        return output == _PROBABILITIES
    return contents.format not in ("tflite", "onnx") or any(
        name.lower() in ("logistic", "sigmoid") for name in contents.operators
    )


def _check_named(path: str | os.PathLike[str], labels: Any) -> None:
    """Raises `InvalidArgument` unless the two classes of one logit are named."""
    if label_count(labels or ()) != binary.CLASSES:
        raise InvalidArgument(
            f"{path} has one output without a sigmoid: if it is the logit of the second "
            "of two classes, name both with --labels cat,dog"
        )


def _sides(
    path: str | os.PathLike[str], shape: tuple[int | None, ...], channels: int | None
) -> tuple[Any, int, bool]:
    """((height, width) with None for open ones, channels, whether those come first).

    Args:
        path: path of the file.
        shape: shape of its input without the batch.
        channels: recorded number of channels of its images; None if unknown.
    """
    count = 3 if channels is None else channels
    for number in (3, 1) if channels is None else (channels,):
        if len(shape) == 3 and shape[2] in (number, None):
            return shape[:2], number, False
        if len(shape) == 3 and shape[0] == number:
            # As PyTorch's exporters write it.
            return shape[1:], number, True
    kind = "colour images" if count == 3 else f"images of {count} channels"
    raise InvalidArgument(
        f"a classifier of {kind} takes (height, width, {count}); {path} takes {shape}"
    )


def _size(
    path: str | os.PathLike[str],
    sides: Any,
    requested: tuple[int, int] | None,
    recorded: Preprocessing | None,
) -> tuple[int, int]:
    """(height, width) of the images for a file."""
    if None not in sides:
        if requested not in (None, sides):
            raise InvalidArgument(
                f"{path} takes images of {sides[0]} x {sides[1]}; got a size of "
                f"{requested[0]} x {requested[1]}"
            )
        return sides
    size = recorded.size if requested is None and recorded is not None else requested
    if size is None:
        raise InvalidArgument(
            f"the image size of {path} is dynamic, and no passport records it: give "
            "--input-size"
        )
    return size


def _preprocessing(
    path: str | os.PathLike[str],
    mode: str | None,
    size: tuple[int, int],
    recorded: Preprocessing | None,
    channels: int,
) -> Preprocessing:
    if mode is not None:
        check_choice("mode", mode, tuple(MODES))
    if recorded is None and mode is None:
        raise InvalidArgument(
            f"the preprocessing of {path} is unknown, since {passport.path_of(path).name} "
            f"is missing: give --mode {', '.join(MODES)}"
        )
    if recorded is None:
        return default_for(str(mode), size).with_channels(channels)
    if mode in (None, recorded.mode):
        return dataclasses.replace(recorded, size=size)
    # Resized and cropped as recorded, with the normalization of the other mode.
    return dataclasses.replace(recorded, size=size, mode=mode, mean=None, std=None)


def _classes(path: str | os.PathLike[str], outputs: Any) -> int:
    """Returns the number of classes in the outputs for one image."""
    if outputs.ndim != 2 or not outputs.shape[1]:
        raise InvalidArgument(
            f"a classifier outputs (batch, classes); {path} outputs {outputs.shape}"
        )
    return max(outputs.shape[1], binary.CLASSES)
