"""Exports a Keras model as an ONNX file, which is run and compared."""

import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_resnets import renamed
from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.errors import first_line
from keras_resnets.export import float16_range
from keras_resnets.export import landing
from keras_resnets.export import number_formats
from keras_resnets.export import prepare
from keras_resnets.export import recipes
from keras_resnets.export import session
from keras_resnets.export import signature as ends
from keras_resnets.export.formats import FORMATS
from keras_resnets.export.landing import ExportReport
from keras_resnets.export.onnx import pairs
from keras_resnets.export.onnx import runner as onnx_runner
from keras_resnets.export.onnx import simplify
from keras_resnets.export.onnx import stable_names
from keras_resnets.export.onnx.links import inner_graphs
from keras_resnets.export.prepare import Ready
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.io import files
from keras_resnets.system import shared

# Calibration methods, and ONNX Runtime's names for them.
METHODS = {"minmax": "MinMax", "percentile": "Percentile"}
LAYOUTS = ("nhwc", "nchw")
# 13 is the first with one scale per channel; 18 is the last that tf2onnx 1.17 supports.
OPSETS = tuple(range(13, 19))


@renamed.arguments(pictures="images", quantize="recipe")
def to_onnx(
    model: keras.Model,
    path: str | os.PathLike[str],
    recipe: str = number_formats.FLOAT32,
    calibration: Any = None,
    images: Any = None,
    input_size: tuple[int, int] | None = None,
    overwrite: bool = False,
    threads: int = 2,
    *,
    opset: int = 17,
    layout: str = "nhwc",
    batch: int | str = 1,
    reduce_range: bool = False,
    method: str = "minmax",
    preprocessing: Preprocessing | None = None,
    logits: bool = False,
    features: Sequence[str] | None = None,
    symmetric: bool = False,
    full_range: bool = False,
) -> ExportReport:
    """Writes `model` as an ONNX file, after running and comparing it.

    Args:
        model: a built `keras.Model` with one image input, under any dtype policy. A
            quantization-aware one becomes a QDQ file with its own ranges.
        path: file to write, ending in `.onnx`.
        recipe: `"float32"`, `"float16"` (weights and activations; input and output stay
            float32) or `"static_wi8_ai8"` (QDQ: uint8 activations, int8 weights). The
            values of `quantize`, the old name of this argument, work with a warning.
        calibration: float32 images (count, height, width, channels), at least ten,
            preprocessed as for training; or a `tf.data.Dataset` or generator, of which
            the first 500 are used. They determine the ranges of int8 activations.
        images: images to compare on; by default four of `calibration`, or four synthetic
            images in the range of the network's preprocessing.
        input_size: (height, width) if the model leaves them open.
        overwrite: replace an existing file.
        threads: threads of ONNX Runtime for the comparison and the latency.
        opset: 13 to 18.
        layout: layout of the file's input and of its output feature maps: `"nhwc"`,
            which costs one Transpose each, or `"nchw"`.
        batch: images per call, or `"dynamic"`.
        reduce_range: int8 weights of 7 bits, as ONNX Runtime's quantizer has them.
        method: how int8 ranges are computed from the images: `"minmax"`, or
            `"percentile"`, which clips the outermost 0.001 %.
        preprocessing: a `Preprocessing`, such as `model.preprocessing`, to include in
            the file, which then takes RGB pixels of the network's size as uint8.
        logits: whether to leave out the softmax or sigmoid.
        features: names of endpoints to return, such as `["stage2", "stage4"]`.
        symmetric: int8 activations around 0, as TensorRT requires, instead of uint8
            with a zero point.
        full_range: int8 weights of 8 bits for processors on which no kernel overflows.
            By default the weights of neighbouring inputs add up to at most 128, so that
            kernels of x86 processors without VNNI are exact too; see `pairs`. Those of
            a quantization-aware model are then rounded again where a pair is larger.

    Returns:
        An `ExportReport`.

    Raises:
        InvalidArgument: an argument that is not allowed, or missing packages of the
            extra `onnx`; nothing was done.
        ExportError: the file is not valid, or differs from the model by more than
            its `NumberFormat` allows. No file is left.

    Example:
        >>> import keras_resnets, tempfile
        >>> model = keras_resnets.create_model("resnet8")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = to_onnx(model, f"{folder}/resnet8.onnx")
        >>> report.operators["Conv"]
        9
    """
    _check_choices(layout, method, opset)
    _check_ranges(reduce_range, full_range)
    recipe = number_formats.current_recipe(
        recipe, FORMATS["onnx"].recipes, stacklevel=4
    )
    place, ready = session.begin(
        "onnx",
        model,
        path,
        session.ExportOptions(
            input_size,
            preprocessing,
            logits,
            features,
            batch=batch,
            overwrite=overwrite,
            threads=threads,
        ),
        recipes.format_of(recipe).name,
        calibration,
        images,
        reduce_range=reduce_range,
        method=None if method == "minmax" else method,
    )
    numbers = place.numbers
    ranges = {"reduce_range": reduce_range, "full_range": full_range}
    if numbers.name != "int8":
        _refuse_integers(recipe, symmetric=symmetric, **ranges)

    def write(file: pathlib.Path) -> None:
        constants: dict[str, np.ndarray] = {}
        floats: dict[str, np.ndarray] = {}
        if ready.convert:
            proto = ready.convert(ready, opset, layout, symmetric)
        else:
            proto, constants = convert(ready, opset, layout)
        if numbers.name != "none":
            simplify.add_constants(proto, constants)
        if numbers.name == "float16":
            proto = _checked_half(proto, ready, layout, model.name)
        elif not ready.convert and numbers.name == "int8":
            floats = pairs.weights(proto.graph)
            proto = _integer(proto, ready, layout, reduce_range, method, symmetric)
        if numbers.name == "int8" and not any(ranges.values()):
            pairs.limit(proto.graph, floats)
        save(proto, constants, ready, file)
        # The file is complete, and the checker reads all of it.
        del proto
        check_valid(file)

    facts = {"opset": opset, "layout": layout, "batch": batch, "symmetric": symmetric}
    if ready.convert:
        facts |= {"recipe": "quantization-aware", "engine": "quantize_aware"}
    else:
        used = method if numbers.name == "int8" else None
        facts["method"] = used
    facts |= ranges
    return landing.land(place, ready, write, facts)


def _check_choices(layout: str, method: str, opset: int) -> None:
    check_choice("layout", layout, LAYOUTS)
    check_choice("method", method, METHODS)
    check_choice("opset", opset, OPSETS)


def _check_ranges(reduce_range: bool | None, full_range: bool | None) -> None:
    """Raises `InvalidArgument` if int8 weights would have two ranges."""
    if reduce_range and full_range:
        raise InvalidArgument(
            "reduce_range and full_range are two ranges of int8 weights; give one of them"
        )


def _refuse_integers(recipe: str, **arguments: bool) -> None:
    """Raises `InvalidArgument` if an argument of int8 files is set."""
    name = next((name for name, is_set in arguments.items() if is_set), None)
    if name:
        raise InvalidArgument(f"{name} applies to int8 files; got the recipe {recipe}")


def _checked_half(proto: Any, ready: Ready, layout: str, name: str) -> Any:
    """Returns `proto` in float16, if its maps are within the range of float16."""
    images = float16_range.inputs_of(ready)
    largest = float16_range.of_onnx(proto, images, layout)
    float16_range.refuse_above(largest, name, len(images))
    return _half(proto)


def save(
    proto: Any, constants: dict[str, np.ndarray], ready: Ready, file: pathlib.Path
) -> None:
    """Writes a file with its names and outputs in a fixed order."""
    stable_names.sort(proto)
    simplify.order_outputs(proto, list(ends.outputs(ready.model)))
    simplify.save(proto, constants, file)


def check_output(path: str | os.PathLike[str], overwrite: bool = False) -> pathlib.Path:
    """Returns the path to write to, after a check that the extra `onnx` is installed.

    Raises:
        InvalidArgument: see `files.check_destination`; or a package is missing.
    """
    session.check_place(path)
    onnx_runner.require(*FORMATS["onnx"].packages)
    return files.check_destination(path, ".onnx", overwrite)


def convert(
    ready: Ready,
    opset: int = 17,
    layout: str = "nhwc",
    apart: bool = True,
) -> tuple[Any, dict[str, np.ndarray]]:
    """Returns the float32 `onnx.ModelProto` of a `session.Ready`, and its large constants.

    The constants are arrays by name, not yet in it; see `simplify.add_constants`. Unless
    `apart`, they are in it, so that tf2onnx folds operations on them. Nothing is checked;
    `to_onnx` does that.

    Raises:
        ExportError: a network that ONNX cannot express.
    """
    import tensorflow as tf
    import tf2onnx

    from keras_resnets.networks.tensorflow_ops import native_convolution

    model, name = ready.model, ends.INPUT_NAME
    shape = (ready.options.batch_size, *ready.shape)
    maps = [n for n, x in ends.outputs(model).items() if len(x.shape) == 4]
    first = layout == "nchw"
    weights = _large_weights(model) if apart else {}
    signature = [tf.TensorSpec(shape, ready.input_dtype, name=name)]
    signature += [
        tf.TensorSpec(variable.shape, "float32", name=key)
        for key, variable in weights.items()
    ]

    def serve(image: Any, *values: Any) -> Any:
        with keras.StatelessScope(list(zip(weights.values(), values, strict=True))):
            return model(image, training=False)

    function = tf.function(serve, input_signature=signature, autograph=False)
    with native_convolution(), shared.loggers_hidden("tf2onnx"):
        try:
            # Values in layers, such as a mean, are inputs for tf2onnx.
            weights |= _captured(function.get_concrete_function(*signature))
            proto, _ = tf2onnx.convert.from_function(
                function,
                input_signature=signature,
                opset=opset,
                inputs_as_nchw=[name] if first else None,
                outputs_as_nchw=maps if first and maps else None,
                custom_op_handlers={"Erfc": (_erfc, [])},
            )
        except Exception as error:
            raise ExportError(
                f"tf2onnx refused {ready.original.name}: {first_line(error)}; nothing "
                "was written"
            ) from error
    unknown = [
        prepare.at_layer(model, *operator)
        for operator in simplify.unknown_operators(proto)
    ]
    if unknown:
        raise ExportError(
            f"tf2onnx refused {ready.original.name}: ONNX has no operator for "
            f"{', '.join(unknown)[:300]}; nothing was written"
        )
    _name_batch(proto, ready.options.batch)
    proto.metadata_props.add(key=onnx_runner.LAYOUT, value=layout)
    constants = simplify.tidy(proto, weights)
    stable_names.settle(proto, constants)
    return proto, constants


def _erfc(graph: Any, node: Any, name: str, _: Any) -> None:
    """Writes Erfc, as in GELU, by ONNX's operators; tf2onnx has no handler for it."""
    # GELU reads Erfc times its input, so the absolute error counts, which stays small.
    (out,), dtype = node.output, graph.get_dtype(node.output[0])
    shape = graph.get_shape(out)
    one = graph.make_const(f"{name}/one", np.ones((), "float32"))
    graph.remove_node(name)
    erf = graph.make_node("Erf", node.input, dtypes=[dtype], shapes=[shape])
    parts = [one.output[0], erf.output[0]]
    graph.make_node("Sub", parts, outputs=[out], dtypes=[dtype], shapes=[shape])


def _captured(concrete: Any) -> dict[str, Any]:
    """The tensors that a function captures, except variables, by their inner names."""
    return {
        inner.name: outer
        for outer, inner in concrete.graph.captures
        if outer.dtype.name != "resource"
    }


def _large_weights(model: keras.Model) -> dict[str, Any]:
    """The kernels of `model`, by their names in the graph.

    tf2onnx would hold up to 60 copies of them; as inputs of the graph they cost nothing,
    and become constants afterwards. Vectors are left to tf2onnx, which folds BN's.
    """
    large = {
        id(variable): variable
        for layer in prepare.all_layers(model)
        for variable in layer.weights
        if len(variable.shape) > 1 and math.prod(variable.shape) >= 1024
        if variable.dtype == "float32"
    }
    return {f"weight_{index}": value for index, value in enumerate(large.values())}


def _name_batch(proto: Any, batch: int | str) -> None:
    """Names the batch; tf2onnx calls an open dimension `unk__7` with a varying number."""
    for value in (*proto.graph.input, *proto.graph.output):
        first = value.type.tensor_type.shape.dim[0]
        if batch == "dynamic":
            first.dim_param = "batch"
        else:
            first.dim_value = batch


def _half(proto: Any) -> Any:
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    half = convert_float_to_float16(
        proto,
        keep_io_types=True,
        # The largest and the smallest float16, instead of the function's defaults.
        max_finite_val=float16_range.LARGEST,
        min_positive_val=float16_range.LEAST,
    )
    half = OnnxModel(half)
    # The casts of input and output are at the end of the list.
    half.topological_sort()
    return half.model


def _integer(
    proto: Any,
    ready: Ready,
    layout: str,
    reduce_range: bool,
    method: str,
    symmetric: bool,
) -> Any:
    import onnx
    from onnxruntime import quantization

    for node in proto.graph.node:
        if next(inner_graphs(node), None):
            # The runtime ends the whole process when it opens such a file.
            where = prepare.at_layer(ready.model, f"the {node.op_type}", node.name)
            raise ExportError(
                f"ONNX Runtime cannot open an int8 file with {where} of "
                f"{ready.original.name}, as of a recurrent layer: export float32 or "
                "float16; nothing was written"
            )
    kind = quantization.QuantType
    with files.scratch_folder() as folder, shared.loggers_hidden(None):
        target = folder / "int8.onnx"
        try:
            quantization.quantize_static(
                proto,
                target,
                _reader(quantization, proto, ready.calibration, layout),
                quant_format=quantization.QuantFormat.QDQ,
                calibrate_method=getattr(
                    quantization.CalibrationMethod, METHODS[method]
                ),
                # Kernels for uint8 times int8 are the fastest ones on x86.
                activation_type=kind.QInt8 if symmetric else kind.QUInt8,
                weight_type=kind.QInt8,
                per_channel=True,
                reduce_range=reduce_range,
                # The softmax stays float: its outputs need more than 256 levels.
                op_types_to_quantize=_quantized_types(proto),
                extra_options={"ActivationSymmetric": symmetric},
            )
        except Exception as error:
            raise ExportError(
                f"ONNX Runtime's quantizer refused {ready.original.name}: "
                f"{first_line(error)}; export float32 or float16; nothing was written"
            ) from error
        quantized = onnx.load(target)
    simplify.pad_integers(quantized)
    if ready.takes_pixels:
        simplify.take_pixels(quantized)
    return quantized


def _quantized_types(proto: Any) -> list[str]:
    return sorted({node.op_type for node in proto.graph.node} - {"Softmax", "Sigmoid"})


def _reader(quantization: Any, proto: Any, calibration: Any, layout: str) -> Any:
    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            size = proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
            starts = range(0, len(calibration), size)
            self._batches = (calibration[start : start + size] for start in starts)
            self._size = size

        def get_next(self) -> dict[str, np.ndarray] | None:
            chunk = next(self._batches, None)
            if chunk is None:
                return None
            # The last batch is filled up with its own images.
            chunk = np.resize(chunk, (self._size, *chunk.shape[1:]))
            if layout == "nchw":
                chunk = np.ascontiguousarray(chunk.transpose(0, 3, 1, 2))
            return {proto.graph.input[0].name: chunk}

    return Reader()


def check_valid(file: pathlib.Path) -> None:
    """Raises `ExportError` for a file that is not valid ONNX."""
    import onnx

    try:
        onnx.checker.check_model(str(file), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            f"the file is not valid ONNX: {first_line(error)}; nothing was written"
        ) from error
