"""Deployment of a network: quantize, export, run in the target's runtime, compare."""

import contextlib
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
from keras_resnets.deploy import supported
from keras_resnets.deploy.job import ExportedFile
from keras_resnets.deploy.job import Job
from keras_resnets.deploy.job import Proof
from keras_resnets.deploy.job import Workshop
from keras_resnets.deploy.options import Asked
from keras_resnets.deploy.options import find_all
from keras_resnets.deploy.outcome import Deployment
from keras_resnets.deploy.outcome import TargetsFailed
from keras_resnets.deploy.target import module_of
from keras_resnets.deploy.targets import FLOAT32
from keras_resnets.deploy.targets import Target
from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_positive_int
from keras_resnets.errors import check_range
from keras_resnets.export import passport
from keras_resnets.export import prepare
from keras_resnets.export import session as export_session
from keras_resnets.export.tflite import photos
from keras_resnets.graph import binary
from keras_resnets.graph import outputs
from keras_resnets.graph import provenance
from keras_resnets.images import calibration
from keras_resnets.images import labels
from keras_resnets.images import multi_label
from keras_resnets.io import files
from keras_resnets.quantization.qat.layers import is_quantized
from keras_resnets.system import progress as steps

# Number of images to compare on. Plain kernels take seconds for an image of 224 pixels:
# of larger images as many as have the pixels of 100 images of 64 x 64, but at least ten.
_COMPARED, _PIXELS, _FEWEST = 100, 100 * 64 * 64, 10
# Recipes of more bits than int8, coarsest first.
_FINER = ("static_wi8_ai16", "float16", "float32")


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
    threshold: multi_label.Threshold | None = None,
    progress: Callable[[str], object] = lambda text: None,
    watch: Callable[..., object] = lambda *answers: None,
) -> list[Deployment]:
    """Writes a folder for each target and runs its file in the target's own runtime.

    Args:
        model: a built image classifier with its `preprocessing`, float or
            quantization-aware. Images may have several labels, see `train`.
        target: name in `targets.TARGETS`, or a list of names.
        folder: parent folder; each target gets `folder/<target>`. Created if missing.
        images: at least ten preprocessed float32 images: a `CalibrationSet`
            (`quantization.choose`), or what `quantization.quantize` takes. All of them
            are used for calibration; outputs are compared on the first ones.
        recipe: a name in `quantization.RECIPES`, or `"float32"`; None for the default of
            each target.
        io_dtype: type of the input and output of int8 files; None for the default of
            each target.
        include_preprocessing: whether files take RGB pixels of the network's size.
        storage: storage of 4-bit weights in `"static_wi4_ai8"` files, see
            `quantization.quantize`; None for the default of each target.
        ram: RAM of the device in bytes; None to allow any size.
        flash: flash memory of the device in bytes; None to allow any size.
        source: (height, width) of the uint8 photos that the file takes, resizes and
            crops, see `export.to_tflite`; None: images have the network's size.
        compare: number of images to compare on; None for 100, or fewer large images.
        min_agreement: required share of images whose predicted class, or all of whose
            labels, are those of `predict`, in [0, 1].
        threads: number of threads of the runtimes that support threads.
        unproven: whether to write files for targets without an installed toolchain.
        overwrite: whether to replace existing folders of the same targets.
        threshold: for several labels per image, the probability from which on a label is
            predicted, see `images.multi_label.thresholds`; None for 0.5. The code in the
            folders uses it.
        progress: called with one line of text when a target begins.
        watch: called for each target that ran its file, with the target's name, the
            images, and the outputs of the model and of the target.

    Returns:
        A `Deployment` for each target, in the order of `target`.

    Raises:
        InvalidArgument: an argument is not allowed, or a toolchain is not installed.
        ExportError: a target cannot run the file, has too little memory for it, or
            returns different outputs; its folder was not written. Of several targets
            all are tried: the error is then a `TargetsFailed`, with the `deployments`
            that were written.

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
    photos.check_size(source)
    asked = Asked(
        recipe, io_dtype, include_preprocessing, storage, ram, flash, unproven, source
    )
    asked.check(rows)
    destination.check(folder, rows, overwrite)
    check_range("min_agreement", min_agreement, 0, 1)
    supported.check_model(model, recipe)
    # The apps of all targets show classes, with an output for each.
    model = binary.with_two_outputs(supported.of_tensors(model))
    model = prepare.of_fixed_size(model, model.preprocessing.size)
    shape = prepare.input_shape(model)
    supported.check_preprocessing(model, shape)
    classes = labels.class_names(model.output_shape[-1], provenance.of(model).labels)
    names = tuple(name for _, name in classes)
    thresholds = _thresholds(model, threshold, names)
    supported.check_channels(rows, shape[-1])
    specs = {row.name: supported.spec(asked, row, model) for row in rows}
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
        predicted, float_step = reference.predict(model, shown)

        def write(row: Target) -> Deployment:
            title, where = f"{row.name}: {row.title}", place / row.name
            progress(title)
            with files.atomic_folder(where, destination.patterns(row)) as scratch:
                job = Job(
                    row,
                    specs[row.name],
                    workshop,
                    scratch,
                    shown,
                    names,
                    ram,
                    flash,
                    source_photos,
                    thresholds,
                    float_step,
                )
                with steps.step(title):
                    report = _fill(job, predicted, min_agreement, watch)
            return Deployment(row.name, where, report)

        return _each(rows, write)


def _each(
    rows: Sequence[Target], write: Callable[[Target], Deployment]
) -> list[Deployment]:
    """Calls a function for each target, also if it fails for others.

    Raises:
        ExportError: the only target failed, or some of several.
    """
    deployments, failures = [], {}
    for row in rows:
        try:
            deployments.append(write(row))
        except (ExportError, InvalidArgument) as error:
            if len(rows) == 1:
                raise
            failures[row.name] = error
    if failures:
        raise TargetsFailed(deployments, failures)
    return deployments


def _thresholds(
    model: keras.Model, threshold: Any, names: tuple[str, ...]
) -> tuple[float, ...] | None:
    """Returns the threshold of each label; None for a model of one class per image.

    Raises:
        InvalidArgument: the threshold is not allowed, or the model has one class per
            image.
    """
    if outputs.is_multi_label(model):
        return multi_label.thresholds(threshold, names)
    if threshold is not None:
        raise InvalidArgument(
            f"threshold is for networks of several labels an image; {model.name} gives "
            "an image one class"
        )
    return None


def _count(compare: int | None, shape: tuple[int, int, int]) -> int:
    """Returns the number of images to compare on."""
    if compare is not None:
        check_positive_int("compare", compare)
        return compare
    return max(_FEWEST, min(_COMPARED, _PIXELS // (shape[0] * shape[1])))


@contextlib.contextmanager
def _parent(folder: pathlib.Path) -> Iterator[None]:
    """Creates the common folder, and removes it again if the block raises."""
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


def _fill(
    job: Job, predicted: np.ndarray, least: float, watch: Callable[..., object]
) -> dict[str, Any]:
    """Writes the folder of one target and returns its report."""
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
        facts |= module_of(job.target.checks).check(job, exported)
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
        **_task(job),
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


def _task(job: Job) -> dict[str, Any]:
    """Returns the report's entries on several labels; none for one class per image."""
    if job.thresholds is None:
        return {}
    return {"task": labels.MULTI_LABEL, "thresholds": list(job.thresholds)}


def _proven(
    job: Job,
    proof: Proof,
    predicted: np.ndarray,
    least: float,
    watch: Callable[..., object],
) -> dict[str, Any]:
    """Compares the target's outputs; returns the entries of its report.

    Raises:
        ExportError: the device has too little memory, or its outputs differ.
    """
    _check_room(job, proof)
    exported = proof.exported
    if job.target.quantizes and proof.outputs is not None:
        return _classes(job, proof, proof.outputs, predicted, least)
    expected = reference.expected(job, exported, predicted)
    ran = expected.outputs if proof.outputs is None else proof.outputs
    result = agreement.compare(
        predicted,
        expected.outputs,
        ran,
        max(expected.step, job.target.within),
        expected.against,
        expected.odds_step,
        job.cuts,
    )
    agreement.judge(job.target.name, result, least, _advice(job))
    watch(job.target.name, job.images, predicted, ran)
    record = result.record()
    if proof.outputs is None:
        # The compiled file was not run: the outputs are those of the file before that.
        record["outputs"] = None
    return {"proof": proof.ran, **record}


def _classes(
    job: Job, proof: Proof, outputs: np.ndarray, predicted: np.ndarray, least: float
) -> dict[str, Any]:
    """Compares the predicted classes of a target whose toolchain quantizes itself."""
    result = agreement.compare(
        predicted, outputs, outputs, job.float_step, "predict", cuts=job.cuts
    )
    agreement.judge(job.target.name, result, least, _advice(job))
    largest = float(np.abs(outputs - predicted).max())
    return {
        "proof": proof.ran,
        **result.record(),
        "outputs": None,
        "largest_difference": round(largest, 6),
    }


def _advice(job: Job) -> str:
    """Returns what to do if too few predictions of a target's file are `predict`'s."""
    target = job.target
    if target.quantizes:
        return (
            f"{target.takes} itself quantizes the network to 8 bits, with one scale for "
            "all channels of a tensor on some chips: use more calibration images "
            "(--calibration-count), or a network without depthwise convolutions"
        )
    if is_quantized(job.model):
        return "train for more epochs (keras-resnets qat)"
    if job.spec.recipe == FLOAT32:
        return (
            "the file is not quantized, so its runtime computes something else, or the "
            "scores of the classes are almost equal"
        )
    finer = [name for name in _FINER if name in target.recipes]
    if job.spec.recipe in finer:
        finer = finer[finer.index(job.spec.recipe) + 1 :]
    choice = f"choose the recipe {' or '.join(finer)}, or " if finer else ""
    return f"{choice}use quantization-aware training (keras-resnets qat)"


def _check_operators(job: Job, exported: ExportedFile) -> None:
    """Raises `ExportError` if the target does not support all operators of the file."""
    supported = job.target.operators
    foreign = [
        name
        for name in exported.report.operators
        if supported and name not in supported
    ]
    if foreign:
        raise ExportError(
            f"{job.target.name} does not support {', '.join(foreign)}, which the "
            f"{exported.spec.recipe} file of {job.model.name} contains: choose a variant "
            "without, for example --set activation=relu; nothing was written"
        )


def _check_room(job: Job, proof: Proof) -> None:
    """Raises `ExportError` if the device has too little memory."""
    for kind, figure in job.target.memory.items():
        has, needs = getattr(job, kind), proof.figures[figure]
        if has is not None and needs > has:
            raise ExportError(
                f"{job.model.name} needs {needs:,} bytes of {kind} on {job.target.name} "
                f"({figure}); --{kind} allows {has:,}: choose a smaller variant or "
                "--input-size, or prune its channels (keras-resnets prune); nothing was "
                "written"
            )
