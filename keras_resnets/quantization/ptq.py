"""Files from float models, and from quantization-aware ones."""

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.errors import check_positive_int
from keras_resnets.errors import check_range
from keras_resnets.export import model_kinds
from keras_resnets.export import number_formats
from keras_resnets.export import prepare
from keras_resnets.export import session
from keras_resnets.export.tflite import convert as tflite
from keras_resnets.export.tflite.runner import TFLiteRunner
from keras_resnets.graph import provenance
from keras_resnets.images import calibration as sets
from keras_resnets.quantization import choices
from keras_resnets.quantization import recipes
from keras_resnets.quantization.backends import engines
from keras_resnets.quantization.backends import onnx_qdq
from keras_resnets.quantization.qat.freeze import check_ranges
from keras_resnets.quantization.qat.freeze import freeze
from keras_resnets.quantization.qat.layers import FakeQuantize
from keras_resnets.quantization.qat.layers import is_quantized


def quantize(
    model,
    path,
    recipe="static_wi8_ai8",
    calibration=None,
    pictures=None,
    input_size=None,
    overwrite=False,
    threads=2,
    *,
    engine=None,
    method=None,
    percentile=99.99,
    seed=0,
    io_dtype="int8",
    batch=1,
    packed=True,
    int4=False,
    preprocessing=None,
    logits=False,
    progress=None,
):
    """Quantizes a trained float model into a TFLite file, run and compared.

    Args:
        model: a built `keras.Model` with one image input, under any dtype policy.
        path: file to write, ending in `.tflite`.
        recipe: name in `recipes.RECIPES`, or a `Recipe`.
        calibration: training pictures for the ranges of a static recipe: a
            `CalibrationSet` (`calibration.choose`), or what `export.to_tflite` takes.
        pictures: the same, to compare with; by default four of the calibration's.
        input_size: (height, width) where the model leaves them open.
        overwrite: replace an existing file.
        threads: of the LiteRT interpreter for the comparison and the latency.
        engine: `"ranges"` (own ranges and corrected biases, in the graph), `"converter"`
            (TensorFlow's) or `"ai_edge_quantizer"` (LiteRT's); None for the one that
            measured best.
        method: how a range comes from pictures: `"mse"`, `"minmax"` or `"percentile"`;
            None for the engine's own.
        percentile: see `ranges.set_ranges`.
        seed: of the sample that `"mse"` works on.
        io_dtype: input and output of an int8 file: `"int8"`, `"uint8"` or `"float32"`.
        batch: pictures at a time, or `"dynamic"`.
        packed: see `keras_resnets.export.to_tflite`.
        int4: weights of 4 bits are stored as such, in half the space, not as int8:
            LiteRT's kernels for them are several times slower than XNNPACK's for int8.
        preprocessing: a `Preprocessing` to put in front: RGB pixels go in.
        logits: without the softmax or sigmoid.
        progress: called with the number of calibration pictures done.

    Returns:
        An `ExportReport`. The passport beside the file has recipe, engine and
        calibration.

    Raises:
        InvalidArgument: an argument that is not allowed, or a layer that an engine
            does not know; nothing was done.
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
    recipe = recipes.find(recipe)
    if isinstance(model, keras.Model) and is_quantized(model):
        raise InvalidArgument(
            f"{model.name} is quantized already: to_tflite writes the file that it "
            "stands for; give the float model that it was made of to quantize anew"
        )
    name = choices.check_engine(engine, recipe)
    recipes.check_int4(int4, recipe)
    check_choice("io_dtype", io_dtype, tflite.IO_DTYPES)
    check_positive_int("threads", threads)
    check_range("percentile", percentile, 50.000001, 100)
    choices.check_method(method, name)
    session.check_batch(batch)
    path = tflite.check_output(path, overwrite)
    wanted = session.Wanted(input_size, preprocessing, logits)
    chosen = None
    if number_formats.find(recipe.quantize).calibrated:
        reference = prepare.inference_model(model)
        shape = prepare.input_shape(reference, input_size)
        known = provenance.known_preprocessing(model)
        chosen = sets.check(calibration, shape, known)
    ready = session.make_ready(
        model, recipe.quantize, chosen and chosen.pictures, pictures, wanted
    )
    options = engines.Options(
        method, percentile, io_dtype, batch, packed, int4, seed, progress
    )

    def make():
        return engines.ENGINES[name](ready, recipe, options)

    facts = {
        "recipe": recipe.name,
        "engine": name,
        "method": method,
        "per_tensor": not recipe.per_channel,
        "weight_bits": recipe.weight_bits,
        "calibration": chosen and chosen.record(),
    }
    return _land(ready, path, make, recipe, options, facts, (threads, overwrite))


def to_tflite(
    model,
    path,
    pictures=None,
    input_size=None,
    overwrite=False,
    threads=2,
    *,
    io_dtype="int8",
    batch=1,
    packed=True,
    int4=False,
    logits=False,
    features=None,
):
    """Writes a quantization-aware model as the int8 TFLite file that it stands for.

    The file is compared with the model itself, whose numbers it has but for the last
    bit of roundings.

    Args:
        model: from `quantize_aware`, trained or calibrated.
        path: file to write, ending in `.tflite`.
        pictures: float32 array (count, height, width, channels) to compare with; by
            default four synthetic ones, as the pre-processing of the model gives them, or
            noise in the range of the input.
        input_size: (height, width) where the model leaves them open.
        overwrite: replace an existing file.
        threads: of the LiteRT interpreter.
        io_dtype: `"int8"`, `"uint8"` or `"float32"`.
        batch: pictures at a time, or `"dynamic"`.
        packed: see `keras_resnets.export.to_tflite`.
        int4: weights of 4 bits are stored as such, in half the space, not as int8:
            LiteRT's kernels for them are several times slower than XNNPACK's for int8.
        logits: without the softmax or sigmoid.
        features: names of endpoints to put out, such as `["stage2", "stage4"]`.

    Returns:
        An `ExportReport`.

    Raises:
        InvalidArgument: an argument that is not allowed, a model that is not
            quantization-aware, or one whose ranges are not known.
        ExportError: the file differs from the model; no file is left.

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
    check_choice("io_dtype", io_dtype, tflite.IO_DTYPES)
    check_positive_int("threads", threads)
    session.check_batch(batch)
    path = tflite.check_output(path, overwrite)
    frozen = freeze(model)
    provenance.inherit(frozen, model)
    wanted = session.Wanted(input_size, None, logits, features)
    if pictures is None:
        pictures = _default_pictures(frozen, input_size)
    ready = session.make_ready(frozen, "none", None, pictures, wanted)
    options = engines.Options(io_dtype=io_dtype, batch=batch, packed=packed, int4=int4)

    def make():
        return engines.from_fake_quantized(ready.model, ready, options)

    recipe = recipes.find("static_wi8_ai8")
    facts = {"recipe": "quantization-aware", "engine": "quantize_aware"}
    return _land(ready, path, make, recipe, options, facts, (threads, overwrite))


def _own_tflite(model, path, asked, **options):
    """What `export.to_tflite` does with a quantization-aware model."""
    check_asked(model, "TFLite", asked)
    return to_tflite(model, path, **options)


def _own_onnx(model, path, asked, pictures=None, input_size=None, **options):
    """What `export.to_onnx` does with a quantization-aware model."""
    check_asked(model, "ONNX", asked)
    check_ranges(model)
    if pictures is None:
        pictures = _default_pictures(freeze(model), input_size)
    return onnx_qdq.to_onnx(
        model, path, pictures=pictures, input_size=input_size, **options
    )


def check_asked(model, format_name, asked):
    """Raises `InvalidArgument` where more is asked for than a model has in it.

    Args:
        model: quantization-aware.
        format_name: for the message.
        asked: the options of an exporter that such a model has answered already, by
            name; all but `quantize` must be as they are by default.
    """
    asked = dict(asked)
    quantize = asked.pop("quantize")
    if quantize not in ("none", "int8"):
        raise InvalidArgument(
            f"{model.name} is quantization-aware: its {format_name} file is int8; got "
            f"quantize={quantize!r}: give the float model that it was made of"
        )
    given_too = [
        name
        for name, value in asked.items()
        if value is not None and value is not False
    ]
    if given_too:
        raise InvalidArgument(
            f"{model.name} is quantization-aware and has its ranges in it: leave "
            f"{', '.join(given_too)} out, or give the float model that it was made of"
        )


model_kinds.register(
    model_kinds.Kind(
        recognizes=is_quantized,
        name="a quantization-aware model",
        check=check_ranges,
        writers={"tflite": _own_tflite, "onnx": _own_onnx},
    )
)


def _default_pictures(frozen, input_size, count=4):
    """Images as the pre-processing gives them, or noise that fills the input's range."""
    first = next(layer for layer in frozen.layers if isinstance(layer, FakeQuantize))
    shape = prepare.input_shape(frozen, input_size)
    known = provenance.known_preprocessing(frozen)
    if known is not None and shape[-1] == 3:
        return session.default_pictures(shape, None, known, count)
    rng = np.random.default_rng(0)
    return rng.uniform(float(first.low), float(first.high), (count, *shape))


def _land(ready, path, make, recipe, options, facts, run):
    """Makes the bytes of a file, checks their operators, proves and lands the file."""
    threads, overwrite = run
    packed = options.packed and recipe.quantize == "int8"
    facts |= {"batch": options.batch}
    if recipe.quantize == "int8":
        facts |= {"io_dtype": options.io_dtype, "packed": options.packed}
        facts |= {"int4": options.int4}
    facts["include_preprocessing"] = ready.takes_pixels
    return session.land(
        ready,
        path,
        lambda file: tflite.write_checked(
            make(), file, recipe.quantize, packed, options.int4
        ),
        lambda file, logits: TFLiteRunner(file, threads, logits),
        overwrite,
        facts,
        format="tflite",
        quantize=recipe.quantize,
        threads=threads,
    )
