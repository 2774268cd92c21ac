"""Toolchains that quantize a float32 ONNX file themselves: ESP-PPQ and RKNN.

A worker script runs in the toolchain's own Python environment. It quantizes the file on the
calibration images, writes the chip's file, and simulates it on the images to compare.
"""

import importlib
import shutil
from typing import Any

import numpy as np

from keras_resnets.deploy import snippets
from keras_resnets.deploy.job import ExportedFile
from keras_resnets.deploy.job import Job
from keras_resnets.deploy.job import Proof
from keras_resnets.deploy.toolchains import other_python
from keras_resnets.io import files

# Number of calibration images. Both simulators are slow: minutes on a busy machine.
_CALIBRATION = 64
_SECONDS, _OF_AN_IMAGE = 900, 30


def prove(job: Job) -> Proof:
    """Quantizes the file with the toolchain and simulates the result.

    Raises:
        ExportError: the toolchain failed.
    """
    exported, settings = job.export(), job.target.settings
    worker = importlib.import_module(
        f"keras_resnets.deploy.workers.{settings['worker']}"
    )
    inputs = job.file_inputs(exported)
    # Both toolchains expect channels first.
    images = np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))
    ranges = job.workshop.images(_CALIBRATION).transpose(0, 3, 1, 2)
    with files.scratch_folder() as folder:
        shutil.copyfile(exported.path, folder / "model.onnx")
        np.savez(folder / "images.npz", images=images, ranges=ranges)
        version = other_python.run(
            job,
            worker,
            ("model.onnx", "images.npz", "outputs.npz", settings["chip"]),
            folder,
            _SECONDS + _OF_AN_IMAGE * (len(images) + len(ranges)),
        )
        with np.load(folder / "outputs.npz") as loaded:
            outputs = loaded["outputs"]
        for name in settings["writes"]:
            shutil.copyfile(folder / name, job.folder / name)
        size = files.size(folder / settings["writes"][0])
    figures: dict[str, Any] = {
        "file": settings["writes"][0],
        "chip": settings["chip"],
        "compiled_bytes": size,
        "calibrated_on": len(ranges),
    }
    return Proof(
        exported, outputs, figures, f"{settings['package']} {version}, simulated"
    )


def snippet(job: Job, exported: ExportedFile) -> str:
    """Returns the README's section on running the file on the chip."""
    code, loop = _SNIPPETS[job.target.name]
    if job.cuts is None:
        return code.format(labels="")
    return code.format(labels=loop.format(cuts=snippets.numbers(job.cuts)))


_ESP = """Add the component `espressif/esp-dl` and `model.espdl` to an ESP-IDF project:

```cpp
dl::Model *model = new dl::Model("model", "model.espdl");
dl::TensorBase *x = model->get_input();   // int8, exponent in x->exponent
model->run();
dl::TensorBase *y = model->get_output();
{labels}```
"""
_ESP_LABELS = """// A score is y * 2^exponent: the labels of the image reach {cuts}.
"""
_RKNN = """On the board, with `pip install rknn-toolkit-lite2`:

```python
import numpy as np
from rknnlite.api import RKNNLite

board = RKNNLite()
board.load_rknn("model.rknn")
board.init_runtime()
(scores,) = board.inference(inputs=[x], data_format=["nhwc"])
{labels}```
"""
_RKNN_LABELS = """labels = np.flatnonzero(scores.ravel() >= np.float32({cuts}))
"""
_SNIPPETS = {"esp32": (_ESP, _ESP_LABELS), "rockchip": (_RKNN, _RKNN_LABELS)}
