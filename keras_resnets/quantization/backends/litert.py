"""LiteRT's own quantizer, which works on a float TFLite file."""

import contextlib
import importlib
import io
import typing
from collections.abc import Iterator

import numpy as np

from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import first_line
from keras_resnets.export import signature
from keras_resnets.export.prepare import Ready
from keras_resnets.export.recipes import Recipe
from keras_resnets.export.tflite import convert as tflite
from keras_resnets.quantization.options import Options
from keras_resnets.system import shared

# The old and the new name of the package.
_PACKAGES = ("litert_quantizer", "ai_edge_quantizer")
_RECIPES = {
    "int8": "static_wi8_ai8",
    "int16x8": "static_wi8_ai16",
    "dynamic": "dynamic_wi8_afp32",
}
# Its calibrator draws a progress bar of its own.
_BAR_HIDDEN = shared.Shared(lambda: contextlib.redirect_stderr(io.StringIO()))


def edge_quantizer(ready: Ready, options: Options) -> bytes:
    """Quantizes by LiteRT's quantizer, calibrated by minimum and maximum.

    Its default, a moving average over single images, clips so much that the error is
    six times as large.
    """
    recipe = options.plan.recipe
    _check(ready, recipe, options)
    package, modules = _load()
    content = tflite.convert(ready, "none")
    try:
        chosen = getattr(modules["recipe"], _RECIPES[recipe.quantize])()
        if not recipe.per_channel:
            for entry in chosen:
                weights = entry["op_config"]["weight_tensor_config"]
                weights["granularity"] = "TENSORWISE"
        quantizer = modules["quantizer"].Quantizer(bytes(content), chosen)
        results = None
        if quantizer.need_calibration:
            results = _calibrate(modules, content, quantizer, ready, options)
        quantized = quantizer.quantize(
            results, enable_progress_bar=False, enable_progress_report=False
        )
        return bytes(quantized.quantized_model)
    except Exception as error:
        # The package has no exceptions of its own.
        raise ExportError(
            f"{package} refused {ready.original.name}: {first_line(error)}; nothing "
            "was written"
        ) from error


def _check(ready: Ready, recipe: Recipe, options: Options) -> None:
    if recipe.quantize not in _RECIPES or recipe.weight_bits != 8:
        raise InvalidArgument(
            f"the engine 'ai_edge_quantizer' supports {', '.join(_RECIPES)} with 8-bit "
            f"weights; got {recipe.name}: leave out the engine"
        )
    if options.method not in (None, "minmax"):
        raise InvalidArgument(
            "the engine 'ai_edge_quantizer' supports only the method 'minmax'; got "
            f"{options.method!r}"
        )
    if recipe.quantize == "int8" and options.file.io_dtype != "int8":
        raise InvalidArgument(
            "the engine 'ai_edge_quantizer' supports only the type 'int8' of inputs; got "
            f"{options.file.io_dtype!r}"
        )
    if ready.options.batch != 1 or ready.takes_pixels:
        raise InvalidArgument(
            "the engine 'ai_edge_quantizer' supports only a batch of 1 without "
            "preprocessing in the file: use another engine"
        )


def _load() -> tuple[str, dict[str, typing.Any]]:
    """Returns (name, modules) of the installed package."""
    for name in _PACKAGES:
        try:
            modules = {
                part: importlib.import_module(f"{name}.{part}")
                for part in ("quantizer", "recipe", "calibrator", "utils.qsv_utils")
            }
            modules["manager"] = importlib.import_module(f"{name}.recipe_manager")
            return name, modules
        except ImportError:
            continue
    raise InvalidArgument(
        "the engine 'ai_edge_quantizer' requires its package: pip install "
        "'keras-resnets[compress]'"
    )


def _calibrate(
    modules: dict[str, typing.Any],
    content: bytes,
    quantizer: typing.Any,
    ready: Ready,
    options: Options,
) -> dict[str, typing.Any]:
    with shared.warnings_ignored(UserWarning):
        calibrator = modules["calibrator"].Calibrator(
            bytes(content),
            num_threads=2,
            qsv_update_func=modules["utils.qsv_utils"].min_max_update,
        )
    manager = modules["manager"].RecipeManager()
    manager.load_quantization_recipe(quantizer.get_quantization_recipe())
    images: typing.Any = ready.calibration

    def samples() -> Iterator[dict[str, np.ndarray]]:
        for index in range(len(images)):
            if options.progress:
                options.progress(index + 1)
            yield {signature.INPUT_NAME: images[index : index + 1]}

    # It also warns about memory.
    with shared.warnings_ignored(UserWarning), _BAR_HIDDEN:
        calibrator.calibrate({"serving_default": list(samples())}, manager)
    return calibrator.get_model_qsvs()
