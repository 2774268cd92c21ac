"""Files from float models, and from quantization-aware ones."""

import os
import typing
import warnings
from collections.abc import Callable
from collections.abc import Sequence

import keras
import numpy as np

from keras_resnets import renamed
from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import UnknownLayer
from keras_resnets.export import number_formats
from keras_resnets.export import passport
from keras_resnets.export import prepare
from keras_resnets.export import session
from keras_resnets.export.landing import ExportReport
from keras_resnets.export.recipes import Recipe
from keras_resnets.export.tflite import convert as tflite
from keras_resnets.export.tflite import sparse as sparse_kernels
from keras_resnets.images import collecting
from keras_resnets.images.calibration import CalibrationSet
from keras_resnets.images.calibration import collected_set
from keras_resnets.images.calibration_checks import FEWEST
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.quantization import operators
from keras_resnets.quantization import plan_files
from keras_resnets.quantization.backends import engines
from keras_resnets.quantization.options import Options
from keras_resnets.quantization.plan import PrecisionPlan
from keras_resnets.quantization.qat.freeze import check_quantized
from keras_resnets.quantization.qat.layers import is_quantized


class OtherEngine(UserWarning):
    """A network is quantized by another engine than the one that measured best."""


@renamed.arguments(pictures="images")
def quantize(
    model: keras.Model,
    path: str | os.PathLike[str],
    recipe: str | Recipe | PrecisionPlan = "static_wi8_ai8",
    calibration: typing.Any = None,
    images: np.ndarray | None = None,
    input_size: tuple[int, int] | None = None,
    overwrite: bool = False,
    threads: int = 2,
    *,
    engine: str | None = None,
    rounding: str | None = None,
    rounding_steps: int | None = None,
    method: str | None = None,
    percentile: float = 99.99,
    seed: int = 0,
    io_dtype: str = "int8",
    batch: int | str = 1,
    packed: bool = True,
    storage: str | None = None,
    prefer: str | None = None,
    int4: bool | None = None,
    pooled_strides: bool = False,
    sparse: bool = False,
    preprocessing: Preprocessing | None = None,
    logits: bool = False,
    features: Sequence[str] | None = None,
    source: tuple[int, int] | None = None,
    metadata: bool = False,
    progress: Callable[..., object] | None = None,
) -> ExportReport:
    """Quantizes a trained float model into a TFLite file, run and compared.

    Args:
        model: a built `keras.Model` with one image input, under any dtype policy.
        path: file to write, ending in `.tflite`.
        recipe: name in `RECIPES`, a `Recipe`, or a `PrecisionPlan` with the bits of
            single layers.
        calibration: training images for the ranges of a static recipe: a
            `CalibrationSet` (see `choose`), or anything that `export.to_tflite` takes.
        images: images to compare on; by default four of the calibration images.
        input_size: (height, width) for a model that leaves them open.
        overwrite: replace an existing file.
        threads: threads of the LiteRT interpreter for comparison and latency.
        engine: `"ranges"` (this package's, with corrected biases), `"converter"`
            (TensorFlow's) or `"ai_edge_quantizer"` (LiteRT's); None for the one that
            measured best, or TensorFlow's if a layer has no integer form here.
        rounding: of kernels by the engine `"ranges"`: `"nearest"`; `"second-order"`, to
            minimize the error of each layer; or `"learned"`, to minimize that of each
            residual block, by gradient; None for the recipe's.
        rounding_steps: gradient steps per block of `"learned"`; None for the recipe's,
            or 1,000.
        method: calibration method: `"mse"`, `"minmax"` or `"percentile"`; None for the
            engine's default.
        percentile: see `ranges.set_ranges`.
        seed: seed of the samples for `"mse"`, `"second-order"` and `"learned"`.
        io_dtype: input and output of an int8 file: `"int8"`, `"uint8"` or `"float32"`.
        batch: images per batch, or `"dynamic"`.
        packed: see `keras_resnets.export.to_tflite`.
        storage: see `keras_resnets.export.to_tflite`.
        prefer: see `keras_resnets.export.to_tflite`.
        int4: the old name of `storage`; True is `"conv_int4"`.
        pooled_strides: see `keras_resnets.export.to_tflite`.
        sparse: see `keras_resnets.export.to_tflite`.
        preprocessing: a `Preprocessing` to include in the file, which then takes RGB
            pixels.
        logits: leave out the softmax or sigmoid.
        features: names of endpoints to output, see `keras_resnets.export.to_tflite`.
        source: see `keras_resnets.export.to_tflite`.
        metadata: see `keras_resnets.export.to_tflite`.
        progress: called with the number of calibration images done, for the ranges and
            again for second-order and learned rounding.

    Returns:
        An `ExportReport`. The passport beside the file records recipe, engine and
        calibration.

    Raises:
        InvalidArgument: an argument is not allowed, or the engine does not support a
            layer; nothing was done.
        ExportError: the file differs from the model by more than its format allows; no
            file is left.

    Example:
        >>> import keras_resnets, tempfile
        >>> model = keras_resnets.create_model("resnet8")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = quantize(model, f"{folder}/small.tflite", "float16")
        >>> report.quantize
        'float16'
    """
    options = Options.of(
        recipe,
        engine=engine,
        rounding=rounding,
        rounding_steps=rounding_steps,
        method=method,
        percentile=percentile,
        seed=seed,
        io_dtype=io_dtype,
        packed=packed,
        storage=storage,
        prefer=prefer,
        int4=int4,
        pooled_strides=pooled_strides,
        sparse=sparse,
        progress=progress,
    )
    common = session.ExportOptions(
        input_size,
        preprocessing,
        logits,
        features,
        source,
        metadata,
        batch,
        overwrite,
        threads,
    )
    return write(model, path, options, common, calibration, images)


def write(
    model: keras.Model,
    path: str | os.PathLike[str],
    options: Options,
    common: session.ExportOptions,
    calibration: typing.Any = None,
    images: np.ndarray | None = None,
) -> ExportReport:
    """Quantizes as `quantize` does, with its options as two records.

    Args:
        model: see `quantize`.
        path: see `quantize`.
        options: the options of the quantization.
        common: the options that all exporters share.
        calibration: see `quantize`.
        images: see `quantize`.

    Returns:
        An `ExportReport`.

    Raises:
        InvalidArgument: see `quantize`.
        ExportError: see `quantize`.
    """
    plan = options.plan
    _check_float(model)
    plan_files.check_place(path, common.overwrite, plan)
    chosen = _chosen(model, plan, calibration, common.input_size)
    place, ready = session.begin(
        "tflite",
        model,
        path,
        common,
        plan.recipe.quantize,
        getattr(chosen or calibration, "images", calibration),
        images,
    )
    sparse_kernels.check(options.file.sparse, place.numbers)
    facts = plan_files.facts(
        plan,
        options.engine,
        method=options.method,
        calibration=chosen and chosen.record(),
    )

    unknown: list[UnknownLayer] = []

    def make() -> bytes | memoryview:
        try:
            return engines.ENGINES[options.engine](ready, options)
        except UnknownLayer as error:
            if not options.has_other:
                raise
            _tell_converter(error)
            unknown.append(error)
            facts.update(plan_files.facts(plan, "converter", method=None))
            return engines.converter(ready, options)

    try:
        return plan_files.land(place, ready, make, facts, options)
    except ExportError as error:
        if not unknown or "int8 ONNX" in str(error):
            raise
        which = str(unknown[0]).partition(":")[0]
        raise ExportError(
            f"{error}; {which}: replace it, or export float16 or int8 ONNX"
        ) from error


def _check_float(model: keras.Model) -> None:
    if isinstance(model, keras.Model) and is_quantized(model):
        raise InvalidArgument(
            f"{model.name} is already quantized: export it (to_tflite, keras-resnets "
            "export), or quantize its float model"
        )


def write_as_exporters(
    model: keras.Model,
    path: str | os.PathLike[str],
    recipe: typing.Any,
    calibration: typing.Any,
    images: np.ndarray | None,
    common: session.ExportOptions,
    words: dict[str, typing.Any],
) -> ExportReport:
    """`write` for `to_tflite`, which also warns of fewer than ten images.

    `words`: arguments of `Options.of`.
    """
    inputs = getattr(model, "inputs", None)
    if calibration is not None and inputs and len(inputs) == 1:
        if not isinstance(calibration, CalibrationSet):
            shape = prepare.input_shape(model, common.input_size)
            collected = collecting.collect(calibration, shape)
            calibration = CalibrationSet(collected, type(calibration).__name__)
    options = Options.of(recipe, **words)
    return write(model, path, options, common, calibration, images)


def _chosen(
    model: keras.Model,
    plan: PrecisionPlan,
    calibration: typing.Any,
    input_size: tuple[int, int] | None,
) -> CalibrationSet | None:
    """Returns the calibration set; None if the plan has no static ranges."""
    if not number_formats.find(plan.recipe.quantize).calibrated:
        return None
    prepare.check_functional(model, "export")
    shape = prepare.input_shape(model, input_size)
    # A `CalibrationSet` is small on purpose.
    fewest = 1 if isinstance(calibration, CalibrationSet) else FEWEST
    chosen = collected_set(calibration, shape, fewest)
    if plan.layers:
        reference = prepare.inference_model(model)
        plan.check_network(model.name, prepare.all_layers(reference))
        operators.check_model(reference)
    return chosen


def _tell_converter(error: UnknownLayer) -> None:
    warnings.warn(
        f"TensorFlow's converter sets the ranges, which is less accurate: {error.fact}",
        OtherEngine,
        stacklevel=2,
    )


@renamed.arguments(pictures="images")
def to_tflite(
    model: keras.Model,
    path: str | os.PathLike[str],
    images: np.ndarray | None = None,
    input_size: tuple[int, int] | None = None,
    overwrite: bool = False,
    threads: int = 2,
    *,
    plan: str | Recipe | PrecisionPlan | None = None,
    **options: typing.Any,
) -> ExportReport:
    """Writes a quantization-aware model as the int8 TFLite file that it simulates.

    Arguments without a description are those of `keras_resnets.export.to_tflite`.

    Args:
        model: a model returned by `quantize_aware`, trained or calibrated.
        path: file to write, ending in `.tflite`.
        images: images to compare on.
        input_size: (height, width) for a model that leaves them open.
        overwrite: replace an existing file.
        threads: threads of the LiteRT interpreter.
        plan: the recipe or plan of the model, as `quantize_aware` takes it. The passport
            names it, the file `<path>.plan.json` contains it if it has rules for layers,
            and it gives the default of `storage`, `prefer` and `sparse`. None for no such
            record.
        **options: `io_dtype`, `batch`, `packed`, `storage`, `prefer`, `pooled_strides`,
            `sparse`, `logits`, `features`.

    Returns:
        An `ExportReport`.

    Raises:
        InvalidArgument: the model is not quantization-aware, or an argument is not
            allowed.
        ExportError: the file differs from the model by more than its format allows.

    Example:
        >>> import keras_resnets, numpy as np, tempfile
        >>> from keras_resnets.quantization import quantize_aware
        >>> x = np.random.default_rng(0).standard_normal((10, 32, 32, 3))
        >>> model = keras_resnets.create_model("resnet8")
        >>> aware = quantize_aware(model, calibration=20 * x + 125)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = to_tflite(aware, f"{folder}/resnet8.tflite")
        >>> report.operators["CONV_2D"]
        9
    """
    check_quantized(model)
    options |= {"images": images, "input_size": input_size}
    options |= {"overwrite": overwrite, "threads": threads}
    if plan is None:
        return tflite.to_tflite(model, path, **options)
    plan = PrecisionPlan.of(plan)
    plan_files.check_place(path, overwrite, plan)
    asked = options.get("storage"), options.get("prefer")
    options["storage"], options["prefer"] = plan.storage_words(*asked)
    options["sparse"] = options.get("sparse", False) or plan.is_sparse
    trained = plan_files.facts(plan.for_training(), plan_files.TRAINED)
    with plan_files.beside(path, plan):
        report = tflite.to_tflite(model, path, **options)
        passport.add_recipe(path, **trained)
    return report
