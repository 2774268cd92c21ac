"""From a network to a folder for each target: quantize, export, run there, compare."""

import contextlib
import dataclasses
import importlib
import os
import pathlib
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_resnets.deploy import agreement
from keras_resnets.deploy import destination
from keras_resnets.deploy import folder as folders
from keras_resnets.deploy import reference
from keras_resnets.deploy.asked import Asked
from keras_resnets.deploy.asked import find_all
from keras_resnets.deploy.job import ExportedFile
from keras_resnets.deploy.job import Job
from keras_resnets.deploy.job import Proof
from keras_resnets.deploy.job import Workshop
from keras_resnets.deploy.targets import Target
from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_positive_int
from keras_resnets.errors import check_range
from keras_resnets.export import passport
from keras_resnets.export import prepare
from keras_resnets.export import session as export_session
from keras_resnets.export.tflite import photos
from keras_resnets.graph import outputs
from keras_resnets.graph import provenance
from keras_resnets.images import calibration
from keras_resnets.images import labels
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.io import files
from keras_resnets.quantization.qat.layers import is_quantized
from keras_resnets.system import progress as steps

# Images that are compared. Plain kernels take seconds for one of 224 pixels: of such as
# many as have the pixels of 100 of 64, and ten at the least.
_COMPARED, _PIXELS, _FEWEST = 100, 100 * 64 * 64, 10


@dataclasses.dataclass(frozen=True)
class Deployment:
    """A folder that was written.

    Attributes:
        target: name of its target.
        folder: where it is.
        report: what its `report.json` says.
    """

    target: str
    folder: pathlib.Path
    report: dict[str, Any]


def deploy(
    model: keras.Model,
    target: str | Sequence[str],
    folder: str | os.PathLike[str],
    images: Any,
    *,
    recipe: str | None = None,
    io_dtype: str | None = None,
    include_preprocessing: bool = False,
    storage: str | None = None,
    ram: int | None = None,
    flash: int | None = None,
    source: tuple[int, int] | None = None,
    compare: int | None = None,
    min_agreement: float = 0.9,
    threads: int = 2,
    unproven: bool = False,
    overwrite: bool = False,
    progress: Callable[[str], object] = lambda text: None,
    watch: Callable[..., object] = lambda *answers: None,
) -> list[Deployment]:
    """Writes a folder for each target, proven in the target's own runtime.

    Args:
        model: a built `keras.Model` of image classes with its `preprocessing`, float or
            quantization-aware.
        target: name in `targets.TARGETS`, or several.
        folder: to write `folder/<target>` into; it is created where it is missing.
        images: preprocessed float32 images, at least ten: a `CalibrationSet`
            (`quantization.choose`), or what `quantization.quantize` takes. Ranges come
            from all of them; answers are compared on the first.
        recipe: what files compute in: a name in `quantization.RECIPES`, or
            `"float32"`; None for what each target wants.
        io_dtype: input and output of int8 files; None for what each target wants.
        include_preprocessing: files take RGB pixels of the network's size.
        storage: how files of `"static_wi4_ai8"` store their weights, see
            `quantization.quantize`; None for what each target wants.
        ram: bytes of RAM that the device has; None for any number.
        flash: the same of flash memory.
        source: (height, width) of the photos that go in as uint8: their resize and
            centre crop are in the file too, see `export.to_tflite`; None: images have
            the network's size.
        compare: images to compare on; None for 100, of large images fewer.
        min_agreement: share of them whose likeliest class must be that of `predict`.
        threads: of the runtimes that have them.
        unproven: write also where the toolchain is not installed, or there is none.
        overwrite: replace folders of the same targets.
        progress: called with a line about what is begun.
        watch: called for each target that was proven with its name, the images, and the
            outputs of the model and of the target.

    Returns:
        A `Deployment` for each target, in their order.

    Raises:
        InvalidArgument: an argument that is not allowed, or a toolchain that is not
            installed; nothing was done.
        ExportError: a target cannot run the file, has no room for it, or answers
            otherwise; nothing was written, for no target.

    Example:
        >>> import keras_resnets, numpy as np, tempfile
        >>> model = keras_resnets.create_model("resnet8")
        >>> x = np.random.default_rng(0).standard_normal((10, 32, 32, 3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     (deployment,) = deploy(model, "linux-x86", folder, 20 * x + 125)
        >>> deployment.report["proven"], deployment.report["outputs"]["other"]
        (True, 0)
    """
    export_session.check_backend()
    rows = find_all(target)
    asked = Asked(
        recipe, io_dtype, include_preprocessing, storage, ram, flash, unproven, source
    )
    asked.check(rows)
    destination.check(folder, rows, overwrite)
    check_range("min_agreement", min_agreement, 0, 1)
    shape = _check_model(model, recipe)
    _check_channels(rows, shape[-1])
    photos.check(
        prepare.ExportOptions(preprocessing=model.preprocessing, source=source), shape
    )
    preprocessing = provenance.known_preprocessing(model)
    chosen = calibration.checked_set(images, shape, preprocessing)
    shown, source_photos = chosen.images[: _count(compare, shape)], None
    if source is not None:
        preprocessing = model.preprocessing
        source_photos, shown = photos.enlarged(
            preprocessing.pixels(shown), (source[0], source[1]), preprocessing
        )
    place = pathlib.Path(folder)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_parent(place))
        scratch = stack.enter_context(files.scratch_folder())
        workshop = Workshop(model, chosen, scratch, threads)
        predicted = model.predict(shown, batch_size=32, verbose=0)
        classes = labels.class_names(predicted.shape[-1], provenance.of(model).labels)
        names = tuple(name for _, name in classes)
        deployments = []
        for row in rows:
            progress(f"{row.name}: {row.title}")
            where = stack.enter_context(
                files.atomic_folder(place / row.name, destination.patterns(row))
            )
            spec = asked.spec(row)
            job = Job(
                row, spec, workshop, where, shown, names, ram, flash, source_photos
            )
            with steps.step(f"{row.name}: {row.title}"):
                report = _fill(job, predicted, min_agreement, watch)
            deployments.append(Deployment(row.name, place / row.name, report))
    return deployments


def _check_model(model: Any, recipe: str | None) -> tuple[int, int, int]:
    """(height, width, channels) of a model that can be deployed.

    Raises:
        InvalidArgument: another model.
    """
    prepare.check_functional(model, "deploy")
    prepare.check_finite(model)
    outputs.check_one_class(model, "deploy")
    if is_quantized(model) and recipe is not None:
        raise InvalidArgument(
            f"{model.name} is quantized already, and so is its file: leave "
            f"out the recipe; got {recipe!r}"
        )
    if len(model.outputs) != 1 or len(model.outputs[0].shape) != 2:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in model.outputs)
        raise InvalidArgument(
            f"deploy takes a model with one output (batch, classes); {model.name} has "
            f"{shapes}"
        )
    if not isinstance(getattr(model, "preprocessing", None), Preprocessing):
        raise InvalidArgument(
            "deploy takes a model that knows its images: set model.preprocessing to a "
            f"keras_resnets.Preprocessing; {model.name} has none"
        )
    return prepare.input_shape(model)


def _count(compare: int | None, shape: tuple[int, int, int]) -> int:
    """How many images are compared."""
    if compare is not None:
        check_positive_int("compare", compare)
        return compare
    return max(_FEWEST, min(_COMPARED, _PIXELS // (shape[0] * shape[1])))


@contextlib.contextmanager
def _parent(folder: pathlib.Path) -> Iterator[None]:
    """Makes the folder of all targets; takes it away again where nothing came of it."""
    existed = folder.is_dir()
    if not existed:
        files.check_folder(folder, destination.COMMON)
        folder.mkdir()
    try:
        yield
    except BaseException:
        if not existed:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _check_channels(rows: Sequence[Target], channels: int) -> None:
    """Raises `InvalidArgument` for targets whose apps take photos alone."""
    for row in rows:
        takes_photos = row.pixels or row.toolchain in ("raspberry_pi", "browser")
        if takes_photos and channels not in (1, 3):
            raise InvalidArgument(
                f"{row.name} takes photos, which have 3 channels, or 1 for grey; the "
                f"network takes {channels}: deploy it to linux-x86, server-onnx or "
                "microcontroller, or export the file alone"
            )


def _fill(
    job: Job, predicted: np.ndarray, least: float, watch: Callable[..., object]
) -> dict[str, Any]:
    """Writes the folder of one target, and returns its report."""
    reason = job.target.missing()
    proof = None if reason else job.target.room.prove(job)
    exported = proof.exported if proof else job.export()
    _check_operators(job, exported)
    facts: dict[str, Any] = {
        "target": job.target.name,
        "model": job.model.name,
        "file": exported.path.name,
        "proven": proof is not None,
    }
    if job.target.checks is not None:
        checks = importlib.import_module(f"keras_resnets.deploy.{job.target.checks}")
        facts |= checks.check(job, exported)
    if proof is None:
        facts |= {"reason": reason, "compared": 0, "agreement": None}
    else:
        facts |= _proven(job, proof, predicted, least, watch)
    facts |= {
        "format": exported.spec.format,
        "recipe": exported.spec.recipe,
        "io_dtype": exported.spec.io_dtype,
        "packed": exported.spec.packed,
        "depthwise": "DEPTHWISE_CONV_2D" in getattr(exported.report, "operators", ()),
        "storage": exported.spec.storage,
        "takes_pixels": exported.report.takes_pixels,
        "source": list(exported.spec.source) if exported.spec.source else None,
        "size_bytes": exported.report.size,
        **(proof.figures if proof else {}),
        "versions": passport.versions(),
    }
    write = getattr(job.target.room, "write", None)
    if write is not None:
        write(job, proof)
    folders.fill(job, exported, facts)
    return facts


def _proven(
    job: Job,
    proof: Proof,
    predicted: np.ndarray,
    least: float,
    watch: Callable[..., object],
) -> dict[str, Any]:
    """How the target's answers compare, for its report.

    Raises:
        ExportError: there is no room on the device, or it answers otherwise.
    """
    _check_room(job, proof)
    exported = proof.exported
    if job.target.quantizes and proof.outputs is not None:
        return _classes(job, proof, proof.outputs, predicted, least)
    expected = reference.expected(
        exported, job.file_inputs(exported), predicted, job.target.exact
    )
    ran = expected.outputs if proof.outputs is None else proof.outputs
    result = agreement.compare(
        predicted,
        expected.outputs,
        ran,
        max(expected.step, job.target.within),
        expected.against,
        expected.logit_step,
    )
    agreement.judge(job.target.name, result, least)
    watch(job.target.name, job.images, predicted, ran)
    record = result.record()
    if proof.outputs is None:
        # Compiled, and not run: the answers are those of the file that was compiled.
        record["outputs"] = None
    return {"proof": proof.ran, **record}


def _classes(
    job: Job, proof: Proof, outputs: np.ndarray, predicted: np.ndarray, least: float
) -> dict[str, Any]:
    """How the classes compare of a target that rounds the network by itself."""
    result = agreement.compare(predicted, outputs, outputs, 1.0, "predict")
    agreement.judge(job.target.name, result, least)
    largest = float(np.abs(outputs - predicted).max())
    return {
        "proof": proof.ran,
        **result.record(),
        "outputs": None,
        "largest_difference": round(largest, 6),
    }


def _check_operators(job: Job, exported: ExportedFile) -> None:
    """Raises `ExportError` where a file has operators that its target does not run."""
    supported = job.target.operators
    foreign = [
        name
        for name in exported.report.operators
        if supported and name not in supported
    ]
    if foreign:
        raise ExportError(
            f"{job.target.name} does not run {', '.join(foreign)}, which the "
            f"{exported.spec.recipe} file of {job.model.name} has: take a variant without, "
            "such as one of another activation (--set activation=relu); nothing was written"
        )


def _check_room(job: Job, proof: Proof) -> None:
    """Raises `ExportError` where a device has too few bytes."""
    for kind, figure in job.target.memory.items():
        has, needs = getattr(job, kind), proof.figures[figure]
        if has is not None and needs > has:
            raise ExportError(
                f"{job.model.name} needs {needs:,} bytes of {kind} on {job.target.name} "
                f"({figure}); --{kind} allows {has:,}: take a smaller variant or "
                "--input-size, or prune its channels (keras-resnets prune); nothing was "
                "written"
            )
