"""The input and output of a toolchain, `Job` and `Proof`, and the exported files."""

import dataclasses
import pathlib
from typing import Any

import keras
import numpy as np

from keras_resnets import export
from keras_resnets import quantization
from keras_resnets.deploy.agreement import FLOAT_STEP
from keras_resnets.deploy.options import Spec
from keras_resnets.deploy.target import Target
from keras_resnets.deploy.targets import FLOAT32
from keras_resnets.export import passport
from keras_resnets.export import session
from keras_resnets.export.formats import FORMATS
from keras_resnets.export.landing import ExportReport
from keras_resnets.export.tflite import convert as tflite
from keras_resnets.export.tflite import depthwise
from keras_resnets.export.tflite import storage
from keras_resnets.export.tflite.file_options import FileOptions
from keras_resnets.graph import outputs
from keras_resnets.images import multi_label
from keras_resnets.images.calibration import CalibrationSet
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.quantization.qat.layers import is_quantized


@dataclasses.dataclass(frozen=True)
class ExportedFile:
    """An exported file and its exporter's report."""

    spec: Spec
    path: pathlib.Path
    report: ExportReport


@dataclasses.dataclass(frozen=True)
class Proof:
    """The result of a toolchain.

    Attributes:
        exported: the exported file that was run or compiled; the best one if the
            toolchain tried several.
        outputs: float32 outputs (images, classes) of the target's runtime for
            `job.file_inputs(exported)`; None if the toolchain compiles files and cannot
            run them, in which case LiteRT's outputs are compared.
        figures: measured figures for the report, as plain values.
        ran: name and version of the toolchain, e.g. `"tflite-micro 0.dev20261023"`.
    """

    exported: ExportedFile
    outputs: np.ndarray | None
    figures: dict[str, Any]
    ran: str


class Workshop:
    """Exports the files of a network, and caches them.

    Args:
        model: the network.
        calibration: the calibration images.
        folder: folder for the files.
        threads: number of threads of the runtimes.
    """

    def __init__(
        self,
        model: keras.Model,
        calibration: CalibrationSet,
        folder: pathlib.Path,
        threads: int = 2,
    ) -> None:
        self.model, self.threads = model, threads
        self._calibration, self._folder = calibration, folder
        self._exported: dict[Spec, ExportedFile] = {}

    def images(self, count: int) -> np.ndarray:
        """Returns the first calibration images, for a toolchain that calibrates itself."""
        return self._calibration.images[:count]

    def export(self, spec: Spec) -> ExportedFile:
        """Returns the file of a `Spec`, which is run and compared with the network."""
        if spec not in self._exported:
            place = self._folder / str(len(self._exported))
            place.mkdir()
            path = place / spec.file_name
            self._exported[spec] = ExportedFile(spec, path, self._export(spec, path))
        return self._exported[spec]

    def depthwise(self, spec: Spec) -> ExportedFile | None:
        """Returns the int8 file with depthwise convolutions for BNs that cannot be folded.

        Returns:
            The file, or None if every BN is folded into a convolution.
        """
        changed = dataclasses.replace(spec, depthwise=True)
        if changed in self._exported:
            return self._exported[changed]
        plain = self.export(spec)
        content = depthwise.rewrite(plain.path.read_bytes())
        if content is None:
            return None
        plain_passport = passport.read(plain.path)
        place = self._folder / str(len(self._exported))
        place.mkdir()
        where, ready = session.begin(
            "tflite",
            self.model,
            place / spec.file_name,
            session.ExportOptions(
                preprocessing=self.model.preprocessing if spec.pixels else None,
                batch=spec.batch,
                threads=self.threads,
            ),
            spec.quantize,
            None if is_quantized(self.model) else self._calibration.images,
            self._calibration.images[:4],
        )
        report = tflite.land(
            where,
            ready,
            lambda: content,
            {**(plain_passport or {"recipe": {}})["recipe"], "depthwise": True},
            FileOptions(spec.io_dtype, spec.packed, storage.Storage("int8")),
        )
        self._exported[changed] = ExportedFile(changed, where.path, report)
        return self._exported[changed]

    def _export(self, spec: Spec, path: pathlib.Path) -> ExportReport:
        inside: Preprocessing | None = self.model.preprocessing if spec.pixels else None
        options: dict[str, Any] = {"preprocessing": inside, "batch": spec.batch}
        options |= dict(spec.export)
        if spec.source is not None:
            options["source"] = spec.source
        if spec.format != "saved_model":
            options["threads"] = self.threads
        if spec.format == "tflite":
            options |= {"packed": spec.packed, "storage": spec.storage}
            if spec.quantize == "int8":
                options["io_dtype"] = spec.io_dtype
        calibrated = spec.integer and not is_quantized(self.model)
        if spec.format == "tflite" and spec.recipe != FLOAT32:
            if not is_quantized(self.model):
                images = self._calibration if calibrated else None
                return quantization.quantize(
                    self.model, path, spec.recipe, images, **options
                )
        elif spec.recipe != FLOAT32 and not is_quantized(self.model):
            options["recipe"] = spec.recipe
            options["calibration"] = self._calibration.images if calibrated else None
        exporter = getattr(export, FORMATS[spec.format].exporter)
        some = self._calibration.images[:4]
        return exporter(self.model, path, images=some, **options)


@dataclasses.dataclass(frozen=True)
class Job:
    """The input of a toolchain: one target and its file.

    Attributes:
        target: the target.
        spec: specification of the exported file.
        workshop: exports the file.
        folder: folder of the target.
        images: preprocessed float32 images to compare on.
        labels: name of each class.
        ram, flash: memory of the device in bytes; None to allow any size.
        photos: the same images as uint8 photos of the size `Spec.source`; None without.
        thresholds: probability from which on each label is predicted; None for one class
            per image.
        float_step: largest rounding error of the outputs in float32.
    """

    target: Target
    spec: Spec
    workshop: Workshop
    folder: pathlib.Path
    images: np.ndarray
    labels: tuple[str, ...]
    ram: int | None = None
    flash: int | None = None
    photos: np.ndarray | None = None
    thresholds: tuple[float, ...] | None = None
    float_step: float = FLOAT_STEP

    @property
    def cuts(self) -> np.ndarray | None:
        """The thresholds as float32 outputs, which may be logits."""
        if self.thresholds is None:
            return None
        return multi_label.cut(self.thresholds, not outputs.are_sigmoids(self.model))

    @property
    def model(self) -> keras.Model:
        """The network."""
        return self.workshop.model

    def export(self, **changes: Any) -> ExportedFile:
        """Returns the exported file; `changes` override its `Spec`, e.g. `packed=False`."""
        return self.workshop.export(dataclasses.replace(self.spec, **changes))

    def file_inputs(self, exported: ExportedFile) -> np.ndarray:
        """Returns the images as the file takes them: normalized, pixels, or photos."""
        if exported.spec.source is not None and self.photos is not None:
            return self.photos
        if exported.report.takes_pixels:
            return self.model.preprocessing.pixels(self.images)
        return self.images
