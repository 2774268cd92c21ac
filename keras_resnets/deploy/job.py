"""What a toolchain is handed, what it hands back, and the files that both speak of."""

import dataclasses
import pathlib
from typing import Any

import keras
import numpy as np

from keras_resnets import export
from keras_resnets import quantization
from keras_resnets.deploy.asked import Spec
from keras_resnets.deploy.row import Target
from keras_resnets.deploy.targets import FLOAT32
from keras_resnets.export import passport
from keras_resnets.export import session
from keras_resnets.export.formats import FORMATS
from keras_resnets.export.landing import ExportReport
from keras_resnets.export.tflite import convert as tflite
from keras_resnets.export.tflite import depthwise
from keras_resnets.export.tflite import storage
from keras_resnets.images.calibration import CalibrationSet
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.quantization.qat.layers import is_quantized


@dataclasses.dataclass(frozen=True)
class ExportedFile:
    """An exported file, and the exporter's report of it."""

    spec: Spec
    path: pathlib.Path
    report: ExportReport


@dataclasses.dataclass(frozen=True)
class Proof:
    """What a toolchain reports about a file.

    Attributes:
        exported: the exported file that was run or compiled: of several the chosen one.
        outputs: float32 (images, classes), of the target's runtime for
            `job.file_inputs(exported)`; None where it compiles and does not run: the
            answers are those of LiteRT then, and the report says so.
        figures: of the target, for its report, as plain values.
        ran: what ran it, with its release, as `"tflite-micro 0.dev20261023"`.
    """

    exported: ExportedFile
    outputs: np.ndarray | None
    figures: dict[str, Any]
    ran: str


class Workshop:
    """Exports a network, each file once.

    Args:
        model: the network.
        calibration: its images, for ranges.
        folder: to write into.
        threads: of the runtimes.
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
        """The first of its calibration images, for a toolchain that takes ranges itself."""
        return self._calibration.images[:count]

    def export(self, spec: Spec) -> ExportedFile:
        """The file of a `Spec`, run and compared with the network."""
        if spec not in self._exported:
            place = self._folder / str(len(self._exported))
            place.mkdir()
            path = place / spec.file_name
            self._exported[spec] = ExportedFile(spec, path, self._export(spec, path))
        return self._exported[spec]

    def depthwise(self, spec: Spec) -> ExportedFile | None:
        """The int8 file of a `Spec` with every BN that has no convolution before it as one.

        Returns:
            None where no BN does.
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
                None, self.model.preprocessing if spec.pixels else None
            ),
            spec.quantize,
            None if is_quantized(self.model) else self._calibration.images,
            self._calibration.images[:4],
            threads=self.threads,
            batch=spec.batch,
        )
        report = tflite.land(
            where,
            ready,
            lambda: content,
            {**(plain_passport or {"recipe": {}})["recipe"], "depthwise": True},
            spec.io_dtype,
            spec.packed,
            storage.Storage("int8"),
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
        elif spec.recipe != FLOAT32:
            options["recipe"] = spec.recipe
            options["calibration"] = self._calibration.images if calibrated else None
        exporter = getattr(export, FORMATS[spec.format].exporter)
        some = self._calibration.images[:4]
        return exporter(self.model, path, images=some, **options)


@dataclasses.dataclass(frozen=True)
class Job:
    """One target's file, as its toolchain is handed it.

    Attributes:
        target: the row.
        spec: what the exported file is to be.
        workshop: what exports it.
        folder: of the target, to write into.
        images: preprocessed float32 images to compare on.
        labels: name of each class.
        ram, flash: bytes that the device has; None for any number.
        photos: uint8 images of the size of `Spec.source` that became those `images`.
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

    @property
    def model(self) -> keras.Model:
        """The network."""
        return self.workshop.model

    def export(self, **changes: Any) -> ExportedFile:
        """The file, run and compared; with `changes` of its `Spec`: `packed=False`."""
        return self.workshop.export(dataclasses.replace(self.spec, **changes))

    def file_inputs(self, exported: ExportedFile) -> np.ndarray:
        """Returns the images as a file takes them: arrays, RGB pixels, or whole photos."""
        if exported.spec.source is not None and self.photos is not None:
            return self.photos
        if exported.report.takes_pixels:
            return self.model.preprocessing.pixels(self.images)
        return self.images
