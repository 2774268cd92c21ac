"""TensorFlow Lite Micro: measures the tensor arena and writes C++ sources."""

import dataclasses
import importlib.metadata
from typing import Any

import numpy as np

from keras_resnets.deploy import reference
from keras_resnets.deploy import targets
from keras_resnets.deploy.job import ExportedFile
from keras_resnets.deploy.job import Job
from keras_resnets.deploy.job import Proof
from keras_resnets.deploy.toolchains import c_files
from keras_resnets.deploy.toolchains import crashing_runtime
from keras_resnets.deploy.workers import tflm_worker
from keras_resnets.errors import ExportError
from keras_resnets.errors import printable
from keras_resnets.export.tflite import runner as tflite_runner
from keras_resnets.io import files

_RUNTIME = "TensorFlow Lite Micro"


def prove(job: Job) -> Proof:
    """Runs the file in TensorFlow Lite Micro, in the smallest possible arena.

    Raises:
        ExportError: an operator is not supported, or the arena cannot be measured.
    """
    exported = job.export()
    signature = Signature.of(exported)
    inputs = tflite_runner.quantize(job.file_inputs(exported), signature.input)
    with files.scratch_folder() as folder:
        facts = crashing_runtime.run(_RUNTIME, tflm_worker, exported, inputs, folder)
        if "error" in facts:
            raise ExportError(
                f"{_RUNTIME} cannot run the {exported.spec.recipe} file of "
                f"{job.model.name}: {printable(facts['error'], 400)}; "
                f"{exported.spec.advice(targets.INT8)}; nothing was written"
            )
        integers = np.load(folder / "outputs.npy")
    figures = {
        "arena_bytes": facts["arena"],
        "flash_bytes": exported.report.size,
        "operators": exported.report.operators,
        "input": signature.record(signature.input),
        "output": signature.record(signature.output),
    }
    outputs = tflite_runner.dequantize(integers, signature.output)
    ran = f"tflite-micro {importlib.metadata.version('tflite-micro')}"
    return Proof(exported, outputs, figures, ran)


@dataclasses.dataclass(frozen=True)
class Signature:
    """The input and output of a file, as LiteRT describes them.

    Attributes:
        input, output: LiteRT's details, with `dtype`, `shape` and `quantization`.
    """

    input: dict[str, Any]
    output: dict[str, Any]

    @classmethod
    def of(cls, exported: ExportedFile) -> "Signature":
        """Returns the signature of an exported file."""
        interpreter = tflite_runner.litert().Interpreter(str(exported.path))
        return cls(
            interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        )

    @staticmethod
    def record(details: dict[str, Any]) -> dict[str, Any]:
        """Returns LiteRT's details of a tensor as plain values."""
        scale, zero = details["quantization"]
        return {
            "dtype": np.dtype(details["dtype"]).name,
            "shape": details["shape"].tolist(),
            "scale": float(scale),
            "zero_point": int(zero),
        }


def write(job: Job, proof: Proof | None) -> None:
    """Writes the C++ sources: array, constants, operators, a test image and `main`."""
    exported = proof.exported if proof else job.export()
    signature = Signature.of(exported)
    image = job.file_inputs(exported)[:1]
    expected = reference.ReferenceKernels(exported).integers(image)[0]
    sources = c_files.Sources(
        content=exported.path.read_bytes(),
        arena=proof.figures["arena_bytes"] if proof else None,
        operators=tuple(exported.report.operators),
        input=signature.record(signature.input),
        output=signature.record(signature.output),
        labels=job.labels,
        preprocessing=None if exported.report.takes_pixels else job.model.preprocessing,
        image=tflite_runner.quantize(image, signature.input)[0],
        expected=expected,
        cuts=job.cuts,
    )
    for name, text in sources.texts().items():
        (job.folder / name).write_text(text, "utf-8")


# For several labels per image.
_LABELS = """for (int i = 0; i < model::kClasses; ++i)
  if (model::Has(scores[i], i)) MicroPrintf("%s", model::kLabels[i]);
"""


def snippet(job: Job, exported: ExportedFile) -> str:
    """Returns the README's section on building the sources."""
    names = ", ".join(f"`{name}`" for name in c_files.NAMES)
    labels_code = "" if job.cuts is None else _LABELS
    return f"""The sources are {names}. Add them to a project with TensorFlow Lite Micro
(`create_tflm_tree.py` in its repository generates one) and call `RunTestImage()`, which
`main` does, too:

```cpp
alignas(16) static uint8_t arena[model::kArenaBytes];
tflite::MicroMutableOpResolver<model::kOperators> resolver;
model::AddOperators(resolver);
tflite::MicroInterpreter interpreter(tflite::GetModel(model::kData), resolver, arena,
                                     model::kArenaBytes);
interpreter.AllocateTensors();
model::Input* input = interpreter.typed_input_tensor<model::Input>(0);
// The image is kHeight x kWidth, resized and cropped as keras-resnets predict does:
// input[(row * kWidth + column) * kChannels + channel] = model::Quantize(pixel, channel)
interpreter.Invoke();
const model::Output* scores = interpreter.typed_output_tensor<model::Output>(0);
{labels_code}```

The arena was measured on a 64-bit machine; pointers on a microcontroller take half the
memory. Vendor kernels (CMSIS-NN) may need additional scratch memory: if `AllocateTensors`
fails, make the arena larger and check `arena_used_bytes()`.
"""
