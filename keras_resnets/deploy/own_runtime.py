"""Targets whose runtime this package has itself: LiteRT, ONNX Runtime, TensorFlow."""

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
    """Runs the file on all images, one with an open batch on single images too.

    LiteRT and ONNX Runtime have a process of their own, that has nothing else loaded.

    Raises:
        ExportError: it answers otherwise in another batch.
    """
    exported, threads = job.export(), job.workshop.threads
    inputs = job.file_inputs(exported)
    # TensorFlow would be loaded a second time, for a minute on a busy machine.
    here = open_runner(exported.path, threads)
    apart = exported.spec.format != "saved_model"
    runner = open_apart(exported.path, threads) if apart else here
    outputs = runner(inputs)
    figures: dict[str, Any] = {"threads": threads}
    if job.spec.batch == "dynamic":
        single = np.concatenate([runner(image[None]) for image in inputs[:4]])
        # A runtime may sum in another order for another batch.
        difference = float(np.abs(single - outputs[:4]).max())
        if difference > 1e-5:
            raise ExportError(
                f"the file for {job.target.name} has other outputs for one image "
                f"than for {len(inputs)}: they differ by {difference:.2g}; nothing was "
                "written"
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
    """Python that runs the file, with the numbers of its preprocessing."""
    pip = f"pip install {_PACKAGES[exported.spec.format]} numpy pillow"
    return snippets.python(job, exported, pip)
