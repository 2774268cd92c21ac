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
            ("outputs.npz", *settings["writes"]),
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
    if job.target.name == "rockchip":
        program = snippets.python(
            job, exported, "rknn-toolkit-lite2", _RKNN_RUNTIME, _RKNN_RUN
        )
        return f"On the board:\n\n{program}"
    labels = ""
    if job.cuts is not None:
        labels = _ESP_LABELS.format(cuts=snippets.numbers(job.cuts))
    return _ESP.format(labels=labels, described=snippets.described(job, exported))


_ESP = """Add the component `espressif/esp-dl` to an ESP-IDF project, and `model.espdl` to
its program by `target_add_aligned_binary_data`, as ESP-DL's tutorial "How to load & test &
profile model" says:

```cpp
#include "dl_model_base.hpp"

extern const uint8_t model_espdl[] asm("_binary_model_espdl_start");

dl::Model *model = new dl::Model((const char *)model_espdl);
dl::TensorBase *x = model->get_input();  // int8; x->shape has the order of its axes
for (int i = 0; i < x->size; ++i)        // image: the floats of the input, see below
  ((int8_t *)x->data)[i] = dl::quantize<int8_t>(image[i], DL_RESCALE(x->exponent));
model->run();
dl::TensorBase *y = model->get_output();
for (int i = 0; i < y->size; ++i) {{
  float score = y->dtype == dl::DATA_TYPE_FLOAT
      ? ((float *)y->data)[i]
      : dl::dequantize<int8_t>(((int8_t *)y->data)[i], DL_SCALE(y->exponent));
  printf("%d %f\\n", i, score);  // line i of labels.txt, from 0
}}
{labels}```

{described}"""
_ESP_LABELS = """// The labels of the image are those whose scores reach {cuts}.
"""
_RKNN_RUNTIME = "from rknnlite.api import RKNNLite"
_RKNN_RUN = """board = RKNNLite()
board.load_rknn("model.rknn")
board.init_runtime()
y = board.inference(inputs=[x], data_format=["nhwc"])[0].reshape(1, -1)
"""
