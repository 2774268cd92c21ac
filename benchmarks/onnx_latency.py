"""Latency of ONNX files in ONNX Runtime.

    python benchmarks/onnx_latency.py [--torch-python PYTHON]

One image of 224 x 224 through our float32 and int8 files of resnet50 and
resnext50_32x4d, and through torchvision's own export of them, where PYTHON is an
interpreter with torch, torchvision, onnx and onnxscript. Two threads; every file has a
process of its own, and they take turns. The weights are random, the BN statistics
settled.

Targets: our float32 at most 1.03 times torchvision's, our int8 of resnet50 at least 1.5
times faster than our float32, and that of resnext50_32x4d faster.
"""

import argparse
import os
import pathlib
import subprocess
import tempfile

import common

SHAPE = (224, 224, 3)
MODELS = {"resnet50": 1.5, "resnext50_32x4d": 1.0}
RECIPES = ("float32", "static_wi8_ai8")
IMAGE = "image.npy"
FOLDER = "KERAS_RESNETS_BENCHMARK_FOLDER"
TORCH = """
import sys, torch, torchvision
model = torchvision.models.get_model(sys.argv[1], weights=None).eval()
torch.onnx.export(model, (torch.zeros(1, 3, 224, 224),), sys.argv[2], dynamo=True,
                  external_data=False)
"""


def write_ours(folder):
    """Our files, and the image for the measurement beside them."""
    import numpy as np

    import keras_resnets
    from keras_resnets.export import random_weights
    from keras_resnets.export import to_onnx
    from keras_resnets.images import samples
    from keras_resnets.system.quiet import native_logs_hidden

    images = samples.default_images(SHAPE)
    np.save(folder / IMAGE, images[:1])
    with native_logs_hidden():
        for name in MODELS:
            model = keras_resnets.create_model(name)
            random_weights.settle(model, images)
            for recipe in RECIPES:
                path = folder / f"{name}_{recipe}.onnx"
                # NCHW as torchvision's; the softmax that it lacks takes no time.
                to_onnx(model, path, recipe, calibration=images, layout="nchw")


def work(name):
    """Serves one contestant, named by its file."""
    import numpy as np

    from keras_resnets.export.compare import open_runner as runners

    folder = pathlib.Path(os.environ[FOLDER])
    image = np.load(folder / IMAGE)
    runner = runners.open_runner(folder / name)
    for _ in range(5):
        runner(image)
    common.serve(lambda: runner(image))


def measure(arguments, folder):
    """Milliseconds of every turn, by file; a turn is the best of five inferences."""
    files = sorted(path.name for path in folder.glob("*.onnx"))
    # The threads of a session spin for a while after an inference and would disturb
    # other sessions of their process.
    workers = [common.Worker(__file__, file, **{FOLDER: folder}) for file in files]
    return common.turns(workers, arguments.rounds)


def write(folder, python):
    """All files; torchvision's only with an interpreter that has it."""
    write_ours(folder)
    for name in MODELS if python else ():
        path = folder / f"{name}_torchvision.onnx"
        subprocess.run([python, "-c", TORCH, name, path], check=True)


def main():
    parser = common.parser(__doc__, rounds=20)
    parser.add_argument("--torch-python", metavar="PATH", help="has torchvision")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker)
        return
    common.quiet_tensorflow()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write(folder, arguments.torch_python)
        times = measure(arguments, folder)
    best, median = common.show_turns(times)
    rows = []
    for name, limit in MODELS.items():
        float32, int8 = (f"{name}_{recipe}.onnx" for recipe in RECIPES)
        cells = common.target(best[float32] / best[int8], limit, at_most=False)
        rows.append((f"{name}: float32 / int8", *cells))
        theirs = f"{name}_torchvision.onnx"
        if theirs in best:
            cells = common.target(best[float32] / best[theirs], 1.03, at_most=True)
            rows.append((f"{name}: float32 / torchvision's", *cells))
    common.show(("latencies", "of the best", "target", ""), rows)
    common.write(arguments.json, {"best_ms": best, "median_ms": median})


if __name__ == "__main__":
    main()
