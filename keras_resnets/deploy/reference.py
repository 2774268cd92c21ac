"""Expected outputs of a file, with which a target's outputs are compared."""

import dataclasses

import keras
import numpy as np

from keras_resnets.deploy import agreement
from keras_resnets.deploy.job import ExportedFile
from keras_resnets.deploy.job import Job
from keras_resnets.deploy.targets import FLOAT32
from keras_resnets.export import number_formats
from keras_resnets.export import parity
from keras_resnets.export.compare.open_runner import open_runner
from keras_resnets.export.formats import FORMATS
from keras_resnets.export.keras.runner import KerasRunner
from keras_resnets.export.runner import in_batches
from keras_resnets.export.runner import joined
from keras_resnets.export.tflite import runner as tflite_runner

REFERENCE = "LiteRT's reference kernels"
_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Expected:
    """Expected outputs and their rounding steps; see `agreement.compare`."""

    outputs: np.ndarray
    step: float
    against: str
    odds_step: float = 0.0


def predict(model: keras.Model, images: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns (outputs of a network, their largest rounding error in float32).

    Args:
        model: a model with one output.
        images: preprocessed images.
    """
    runner = KerasRunner(model)
    starts = range(0, len(images), _BATCH)
    results = [runner(images[start : start + _BATCH]) for start in starts]
    outputs = joined([of_batch for of_batch, _ in results])
    logits = joined([x for _, x in results]) if runner.has_logits else None
    # The rounding error of logits is larger, like the logits themselves.
    step = agreement.FLOAT_STEP * max(1.0, float(np.abs(outputs).max()))
    per_logit = number_formats.find("none").tolerance.per_logit
    return outputs, max(step, per_logit * parity.largest(logits, runner.tapped))


def expected(job: Job, exported: ExportedFile, predicted: np.ndarray) -> "Expected":
    """Returns the expected outputs of a file.

    Args:
        job: the input of the target's toolchain.
        exported: the exported file.
        predicted: outputs of the network, (images, classes).

    Returns:
        The network's outputs for a float32 file; otherwise the outputs of the file in
        this machine's runtime.
    """
    inputs, small = job.file_inputs(exported), job.float_step
    if exported.spec.recipe == FLOAT32:
        return Expected(predicted, small, "predict")
    runtime = FORMATS[exported.spec.format].runtime
    if exported.spec.format == "onnx" and exported.spec.integer:
        # Builds of ONNX Runtime fuse float operators between integer ones differently.
        outputs = open_runner(exported.path, 1)(inputs)
        return Expected(outputs, 10 * small, f"{runtime} here")
    if exported.spec.format != "tflite" or not exported.spec.integer:
        outputs = open_runner(exported.path, 1)(inputs)
        return Expected(outputs, small, f"{runtime} here")
    runner = ReferenceKernels(exported)
    if job.target.exact:
        return Expected(runner(inputs), runner.step, REFERENCE, runner.odds_step)
    outputs = open_runner(exported.path, 1)(inputs)
    return Expected(outputs, runner.step, f"{runtime} here", runner.odds_step)


class ReferenceKernels:
    """Runs a TFLite file with LiteRT's reference kernels, which are plain loops.

    Args:
        exported: the exported file.

    Attributes:
        step: size of one rounding step of the outputs.
        odds_step: change of the log odds of a probability if each input of the final
            softmax or sigmoid changes by one rounding step; 0 without one.
    """

    def __init__(self, exported: ExportedFile) -> None:
        module = tflite_runner.litert()
        self._interpreter = module.Interpreter(
            str(exported.path),
            experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF,
        )
        shape = exported.report.input_shape
        self._size = shape[0]
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]
        self.step = output_step(self._interpreter)
        self.odds_step = odds_step(self._interpreter)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns the float32 outputs for images."""
        outputs = in_batches(self._run, images, self._size or 1)
        return np.asarray(outputs)

    def integers(self, images: np.ndarray) -> np.ndarray:
        """Returns the outputs in the file's own type."""
        return np.concatenate([self._raw(image[None]) for image in images])

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        return {"": tflite_runner.dequantize(self._raw(images), self._output)}

    def _raw(self, images: np.ndarray) -> np.ndarray:
        integers = tflite_runner.quantize(images, self._input)
        self._interpreter.set_tensor(self._input["index"], integers)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output["index"])


def output_step(interpreter: object) -> float:
    """Returns the size of one rounding step of an integer file's output.

    If the output is float32, this is the scale of the input of the final DEQUANTIZE.
    """
    details = interpreter.get_output_details()[0]  # type: ignore[attr-defined]
    scale = details["quantization"][0]
    if scale:
        return float(scale)
    behind = interpreter._get_ops_details()[-1]["inputs"][0]  # type: ignore[attr-defined]
    tensors = interpreter.get_tensor_details()  # type: ignore[attr-defined]
    by_index = {tensor["index"]: tensor for tensor in tensors}
    return float(by_index[behind]["quantization"][0]) or agreement.FLOAT_STEP


# By operator: change of the log odds of a probability, in rounding steps of the inputs.
_ODDS_STEPS = {"SOFTMAX": 2.0, "LOGISTIC": 1.0}
# Operators that may follow these.
_MOVING = ("DEQUANTIZE", "QUANTIZE", "RESHAPE", "DELEGATE")


def odds_step(interpreter: object) -> float:
    """Returns the step of the log odds by the final softmax or sigmoid; 0 without one."""
    operators = interpreter._get_ops_details()  # type: ignore[attr-defined]
    last = next(op for op in reversed(operators) if op["op_name"] not in _MOVING)
    if last["op_name"] not in _ODDS_STEPS:
        return 0.0
    tensors = interpreter.get_tensor_details()  # type: ignore[attr-defined]
    by_index = {tensor["index"]: tensor for tensor in tensors}
    scale = by_index[last["inputs"][0]]["quantization"][0]
    return _ODDS_STEPS[last["op_name"]] * float(scale)
