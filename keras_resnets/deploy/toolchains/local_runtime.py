"""Targets that use a runtime of this machine: LiteRT, ONNX Runtime, TensorFlow."""

import importlib.metadata
from typing import Any

import numpy as np

from keras_resnets.deploy import snippets
from keras_resnets.deploy.job import ExportedFile
from keras_resnets.deploy.job import Job
from keras_resnets.deploy.job import Proof
from keras_resnets.errors import ExportError
from keras_resnets.export.compare.isolated import open_apart
from keras_resnets.export.compare.open_runner import open_runner

_PACKAGES = {
    "tflite": "ai-edge-litert",
    "onnx": "onnxruntime",
    "saved_model": "tensorflow",
}


def prove(job: Job) -> Proof:
    """Runs the file on all images; with a dynamic batch also on single images.

    LiteRT and ONNX Runtime run in a separate process, without TensorFlow.

    Raises:
        ExportError: the outputs depend on the size of the batch.
    """
    exported, threads = job.export(), job.workshop.threads
    inputs = job.file_inputs(exported)
    # A separate process would load TensorFlow again, which can take a minute.
    here = open_runner(exported.path, threads)
    apart = exported.spec.format != "saved_model"
    runner = open_apart(exported.path, threads) if apart else here
    outputs = runner(inputs)
    figures: dict[str, Any] = {"threads": threads}
    if job.spec.batch == "dynamic":
        single = np.concatenate([runner(image[None]) for image in inputs[:4]])
        # The order of additions may depend on the size of the batch.
        difference = float(np.abs(single - outputs[:4]).max())
        if difference > job.float_step:
            raise ExportError(
                f"the outputs of the file for {job.target.name} depend on the size of the "
                f"batch: for 1 and {len(inputs)} images they differ by "
                f"{difference:.2g}; nothing was written"
            )
        figures["batches"] = [1, len(inputs)]
    if apart:
        runner.close()
    figures["latency_ms"] = round(1e3 * here.latency(inputs[:1]), 3)
    package = _PACKAGES[job.spec.format]
    return Proof(
        exported, outputs, figures, f"{package} {importlib.metadata.version(package)}"
    )


def snippet(job: Job, exported: ExportedFile) -> str:
    """Returns Python code that preprocesses a photo and runs the file."""
    return snippets.python(job, exported, _PACKAGES[exported.spec.format])
