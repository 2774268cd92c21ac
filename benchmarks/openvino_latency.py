"""TFLite latency against OpenVINO's.

    python benchmarks/openvino_latency.py --torch-python PYTHON

One image of 224 x 224 through our TFLite files of resnet50 and resnext50_32x4d in
LiteRT, and through torchvision's models in OpenVINO: exported to ONNX, converted, and
quantized by NNCF. Two threads each, random weights, the same calibration images. Every
file has a process of its own, and they take turns. PYTHON is an interpreter with torch,
torchvision, onnxscript, openvino and nncf.

Target: ours at most 1.05 times OpenVINO's, float32 against float32 and int8 against
int8.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import common

SHAPE = (224, 224, 3)
MODELS = ("resnet50", "resnext50_32x4d")
FORMS = {"float32": "float32", "int8": "static_wi8_ai8"}
THREADS = 2
# What this processor does in float32 by itself; OpenVINO would choose bfloat16 where
# there is AMX.
OPTIONS = {
    "INFERENCE_NUM_THREADS": THREADS,
    "PERFORMANCE_HINT": "LATENCY",
    "INFERENCE_PRECISION_HINT": "f32",
}
FOLDER = "KERAS_RESNETS_BENCHMARK_FOLDER"


def write_ours(folder):
    """TFLite files of ours, and the calibration images beside them."""
    import numpy as np

    import keras_resnets
    from keras_resnets.export import random_weights
    from keras_resnets.export import to_tflite
    from keras_resnets.images import samples
    from keras_resnets.system.quiet import native_logs_hidden

    images = samples.default_images(SHAPE)
    np.save(folder / "images.npy", images)
    with native_logs_hidden():
        for name in MODELS:
            model = keras_resnets.create_model(name)
            random_weights.settle(model, images)
            for form, recipe in FORMS.items():
                path = folder / f"{name}_{form}.tflite"
                to_tflite(model, path, recipe, calibration=images)


def write_theirs(folder):
    """OpenVINO's files of torchvision's models; runs in the other interpreter."""
    import nncf
    import numpy as np
    import openvino
    import torch
    import torchvision

    images = np.load(folder / "images.npy").transpose(0, 3, 1, 2)
    images = np.ascontiguousarray(images)
    for name in MODELS:
        model = torchvision.models.get_model(name, weights=None).eval()
        path = str(folder / f"{name}.onnx")
        given = (torch.zeros(1, 3, *SHAPE[:2]),)
        torch.onnx.export(model, given, path, dynamo=True, external_data=False)
        converted = openvino.convert_model(path)
        openvino.save_model(
            converted, folder / f"{name}_float32.xml", compress_to_fp16=False
        )
        data = nncf.Dataset([image[None] for image in images])
        quantized = nncf.quantize(converted, data)
        openvino.save_model(quantized, folder / f"{name}_int8.xml")


def our_step(path):
    """One inference of a TFLite file."""
    import numpy as np

    from keras_resnets.export.tflite import runner as tflite_runner

    made = tflite_runner.litert().Interpreter(str(path), num_threads=THREADS)
    made.allocate_tensors()
    details = made.get_input_details()[0]
    image = np.load(path.with_name("images.npy"))[:1]
    made.set_tensor(details["index"], tflite_runner.quantize(image, details))
    return made.invoke


def their_step(path):
    """One inference of an OpenVINO file."""
    import numpy as np
    import openvino

    compiled = openvino.Core().compile_model(str(path), "CPU", OPTIONS)
    request = compiled.create_infer_request()
    image = np.load(path.with_name("images.npy"))[:1].transpose(0, 3, 1, 2)
    request.set_input_tensor(openvino.Tensor(np.ascontiguousarray(image)))
    return request.infer


def work(name):
    """Serves one contestant, named by its file."""
    path = pathlib.Path(os.environ[FOLDER], name)
    step = our_step(path) if path.suffix == ".tflite" else their_step(path)
    for _ in range(5):
        step()
    common.serve(step)


def measure(arguments, folder):
    """Milliseconds of every turn, by file."""
    workers = [
        common.Worker(__file__, f"{name}_{form}{suffix}", python, **{FOLDER: folder})
        for name in MODELS
        for form in FORMS
        for suffix, python in (
            (".tflite", sys.executable),
            (".xml", arguments.torch_python),
        )
    ]
    return common.turns(workers, arguments.rounds)


def main():
    parser = common.parser(__doc__, rounds=20)
    parser.add_argument("--torch-python", metavar="PATH", help="has OpenVINO")
    for hidden in ("--worker", "--write"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker)
        return
    if arguments.write:
        write_theirs(pathlib.Path(arguments.write))
        return
    if not arguments.torch_python:
        parser.error("--torch-python is needed")
    common.quiet_tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        write_ours(pathlib.Path(folder))
        words = [arguments.torch_python, __file__, "--write", folder]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        times = measure(arguments, folder)
    best, median = common.show_turns(times)
    rows = []
    for name in MODELS:
        for form in FORMS:
            ours, theirs = f"{name}_{form}.tflite", f"{name}_{form}.xml"
            cells = common.target(best[ours] / best[theirs], 1.05, at_most=True)
            paired = statistics.median(
                a / b for a, b in zip(times[ours], times[theirs], strict=True)
            )
            label = f"{name} {form}: LiteRT / OpenVINO"
            rows.append((label, *cells, common.times(paired)))
    headers = ("latencies", "of the best", "target", "", "median of the rounds")
    common.show(headers, rows)
    common.write(arguments.json, {"best_ms": best, "median_ms": median})


if __name__ == "__main__":
    main()
