"""An exported classifier in its own runtime, judged as the network itself is."""

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.export import passport
from keras_resnets.export.compare import inspection
from keras_resnets.export.compare import open_runner as runners
from keras_resnets.export.runner import Runner
from keras_resnets.export.signature import HEATMAP
from keras_resnets.images import confidence
from keras_resnets.images.preprocessing import MODES
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.images.preprocessing import default_for


class FileClassifier:
    """A classifier in a file, for `evaluation.evaluate`; see `open_classifier`.

    Attributes:
        name: the file's.
        preprocessing: the `Preprocessing` whose images `predict_on_batch` takes. Of a
            file with its pre-processing inside it leaves RGB pixels as they are.
        labels: order of the classes, as `labels.class_names` takes it; None: not known.
        confidence: fields of an `images.confidence.Confidence` that the passport tells,
            or None.
        output_shape: (None, classes).
        puts_out_logits: whether the outputs are no probabilities.
        has_heatmap: whether the file puts out a heat map as well, see
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
    ) -> None:
        self.name = pathlib.Path(path).name
        self._runner, self.preprocessing, self.labels = runner, preprocessing, labels
        self._output, self._first, self.has_heatmap = output, first, has_heatmap
        self.confidence: dict[str, float] | None = None
        self.puts_out_logits = output == "logits"
        size = preprocessing.size
        found = self.predict_on_batch(np.zeros((1, *size, 3), "float32"))
        self.output_shape = (None, _classes(path, found))

    def predict_on_batch(self, images: np.ndarray) -> Any:
        """float32 outputs (count, classes).

        Args:
            images: float32 (count, height, width, 3), as `preprocessing` makes them.
        """
        return self.outputs_by_name(images)[self._output]

    def outputs_by_name(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """All that the file puts out for `images`, see `predict_on_batch`."""
        if self._runner.takes_pixels:
            images = np.rint(images).astype("uint8")
        if self._first:
            images = np.ascontiguousarray(np.transpose(images, (0, 3, 1, 2)))
        found = self._runner(images)
        return found if isinstance(found, dict) else {self._output: found}

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """The same as probabilities: behind a softmax where the file leaves it out."""
        found = self.predict_on_batch(images)
        if not self.puts_out_logits and found.min() >= 0 and found.max() <= 1:
            return found
        shifted = np.exp(found - found.max(axis=-1, keepdims=True))
        return shifted / shifted.sum(axis=-1, keepdims=True)


def open_classifier(
    path: str | os.PathLike[str],
    mode: str | None = None,
    size: tuple[int, int] | None = None,
    known: tuple[Preprocessing, Any] | None = None,
    labels: Any = None,
    threads: int = 2,
    opener: Callable[..., Any] = runners.open_runner,
) -> FileClassifier:
    """Opens an exported classifier with what is known of it.

    Args:
        path: a `.tflite`, `.onnx` or `.keras` file, or the folder of a SavedModel.
        mode: of `preprocess_input` that its images need; None for what the passport
            beside it or `known` say. A file that takes pixels needs none.
        size: (height, width) where the file leaves them open; None: as above.
        known: (`Preprocessing`, labels) where something else than a passport tells
            them, or None.
        labels: order of the classes; None: as above.
        threads: of its runtime, >= 1.
        opener: `export.open_runner`, or `isolated.open_apart` for files of strangers.

    Returns:
        A `FileClassifier`.

    Raises:
        InvalidArgument: a file that is missing, cannot be run or is no classifier of
            colour images, or of which too little is known.

    Example:
        >>> import keras_resnets, tempfile
        >>> from keras_resnets.export import to_tflite
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = to_tflite(keras_resnets.ResNet8(), f"{folder}/a.tflite")
        ...     opened = open_classifier(report.path)
        >>> opened.output_shape, opened.preprocessing.mode
        ((None, 10), 'raw')
    """
    runner, output, has_heatmap = _open(path, threads, opener)
    sides, first = _sides(path, tuple(runner.input_shape[1:]))
    facts = passport.read(path)
    if facts and facts.get("preprocessing"):
        known = Preprocessing(**facts["preprocessing"]), facts.get("labels")
    wanted = known[0] if known else None
    if labels is None and known:
        labels = known[1]
    recipe = (facts or {}).get("recipe") or {}
    pixels = runner.takes_pixels or recipe.get("include_preprocessing", False)
    size = _size(path, sides, size, wanted)
    wanted = _preprocessing(path, "raw" if pixels else mode, size, wanted)
    made = FileClassifier(path, runner, wanted, labels, output, first, has_heatmap)
    made.confidence = confidence.of_record((facts or {}).get("confidence"))
    return made


def _open(
    path: str | os.PathLike[str], threads: int, opener: Callable[..., Any]
) -> tuple[Any, str, bool]:
    """(runner, name of the classes' output, whether there is a heat map too) of a file."""
    found = inspection.inspect(path)
    classes = [port for port in found.outputs if port.name != HEATMAP]
    has_heatmap = len(classes) == 1 and len(found.outputs) == 2
    outputs = classes if has_heatmap else found.outputs
    for what, ports in (("input", found.inputs), ("output", outputs)):
        if len(ports) != 1:
            names = ", ".join(port.name for port in ports)
            raise InvalidArgument(
                f"a classifier of images has one {what}; {path} has {len(ports)}: {names}"
            )
    output = outputs[0].name
    if output == "features":
        raise InvalidArgument(
            f"{path} puts out features, no classes; export it without --features"
        )
    return opener(path, threads), output, has_heatmap


def _sides(
    path: str | os.PathLike[str], shape: tuple[int | None, ...]
) -> tuple[Any, bool]:
    """((height, width) with None for open ones, whether the channels come first)."""
    if len(shape) == 3 and shape[2] in (3, None):
        return shape[:2], False
    if len(shape) == 3 and shape[0] == 3:
        # As PyTorch's exporters leave it.
        return shape[1:], True
    raise InvalidArgument(
        f"a classifier of colour images takes (height, width, 3); {path} takes {shape}"
    )


def _size(
    path: str | os.PathLike[str],
    sides: Any,
    given: tuple[int, int] | None,
    wanted: Preprocessing | None,
) -> tuple[int, int]:
    """(height, width) of the images that a file gets."""
    if None not in sides:
        if given not in (None, sides):
            raise InvalidArgument(
                f"{path} takes images of {sides[0]} x {sides[1]}; got a size of "
                f"{given[0]} x {given[1]}"
            )
        return sides
    size = wanted.size if given is None and wanted is not None else given
    if size is None:
        raise InvalidArgument(
            f"{path} leaves the size of its images open, and no passport tells it: "
            "give --input-size"
        )
    return size


def _preprocessing(
    path: str | os.PathLike[str],
    mode: str | None,
    size: tuple[int, int],
    wanted: Preprocessing | None,
) -> Preprocessing:
    if mode is not None:
        check_choice("mode", mode, tuple(MODES))
    if wanted is None and mode is None:
        raise InvalidArgument(
            f"nothing beside {path} says what its images must look like: give --mode "
            f"{', '.join(MODES)} (its own passport is {passport.path_of(path).name})"
        )
    if wanted is None:
        return default_for(str(mode), size)
    if mode in (None, wanted.mode):
        return dataclasses.replace(wanted, size=size)
    # Resized and cropped as before, with the numbers of the other mode.
    return dataclasses.replace(wanted, size=size, mode=mode, mean=None, std=None)


def _classes(path: str | os.PathLike[str], found: Any) -> int:
    """How many classes there are in outputs for one image."""
    if found.ndim != 2 or found.shape[1] < 2:
        raise InvalidArgument(
            "a classifier puts out (batch, classes) for two classes or more; "
            f"{path} puts out {found.shape}"
        )
    return found.shape[1]
