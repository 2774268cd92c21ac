"""LiteRT's GPU accelerator, which must run all operators of the file."""

import importlib.metadata

import numpy as np

from keras_resnets.deploy import snippets
from keras_resnets.deploy.job import ExportedFile
from keras_resnets.deploy.job import Job
from keras_resnets.deploy.job import Proof
from keras_resnets.deploy.toolchains import crashing_runtime
from keras_resnets.deploy.toolchains import gpu_tools
from keras_resnets.deploy.workers import gpu_worker
from keras_resnets.errors import ExportError
from keras_resnets.errors import printable
from keras_resnets.export.tflite import runner as tflite_runner
from keras_resnets.io import files

_RUNTIME = "LiteRT's GPU accelerator"


def prove(job: Job) -> Proof:
    """Runs the file in the accelerator.

    Raises:
        ExportError: the accelerator does not run all operators, or crashes.
    """
    exported = job.export()
    interpreter = tflite_runner.litert().Interpreter(str(exported.path))
    input_details = interpreter.get_input_details()[0]
    output_details = interpreter.get_output_details()[0]
    images = tflite_runner.quantize(job.file_inputs(exported), input_details)
    with files.scratch_folder() as folder:
        variables = gpu_tools.environment(folder)
        facts = crashing_runtime.run(
            _RUNTIME, gpu_worker, exported, images, folder, variables
        )
        if "error" in facts or not facts["fully"]:
            reason = facts.get("error", "the CPU would run some of its operators")
            raise ExportError(
                f"{_RUNTIME} must run the whole {exported.spec.recipe} file of "
                f"{job.model.name}: {printable(reason, 300)}; "
                f"{exported.spec.advice('float16')}; nothing was written"
            )
        raw_outputs = np.load(folder / "outputs.npy")
    outputs = tflite_runner.dequantize(raw_outputs, output_details)
    ran = f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}, GPU accelerator"
    return Proof(exported, outputs, {"fully_accelerated": True}, ran)


def _labels(job: Job) -> str:
    """Returns Kotlin code for the labels of an image; nothing for one class."""
    if job.cuts is None:
        return ""
    cuts = ", ".join(f"{value}f" for value in job.cuts)
    return (
        f"val thresholds = floatArrayOf({cuts})\n"
        "val labels = scores.indices.filter { scores[it] >= thresholds[it] }"
        "  // lines of labels.txt\n"
    )


def snippet(job: Job, exported: ExportedFile) -> str:
    """Returns the README's section on using the accelerator."""
    return (
        "On Android, with `com.google.ai.edge.litert:litert`:\n\n```kotlin\n"
        "val model = CompiledModel.create(\n"
        f'    context.assets, "{exported.path.name}",\n'
        "    CompiledModel.Options(Accelerator.GPU))\n"
        "val inputs = model.createInputBuffers()\n"
        "val outputs = model.createOutputBuffers()\n"
        "inputs[0].writeFloat(x)  // preprocessed as below\n"
        "model.run(inputs, outputs)\n"
        "val scores = outputs[0].readFloat()\n"
        f"{_labels(job)}```\n\n"
        "In Python, on the CPU, with the preprocessing of a photo:\n\n"
        + snippets.python(job, exported, "ai-edge-litert")
    )
