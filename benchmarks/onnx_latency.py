"""Latency of ONNX files in ONNX Runtime.

    python benchmarks/onnx_latency.py [--torch-python PYTHON]

One image of 224 x 224 through our float32 and int8 files of resnet50 and
resnext50_32x4d, and through torchvision's own export of them, where PYTHON is an
interpreter with torch, torchvision, onnx and onnxscript. Two threads; the files take
turns, one inference each. The weights are random, the BN statistics settled.

Targets: our float32 at most 1.03 times torchvision's, our int8 of resnet50 at least 1.5
times faster than our float32, and that of resnext50_32x4d faster.
"""

import pathlib
import statistics
import subprocess
import tempfile

import common

SHAPE = (224, 224, 3)
MODELS = {"resnet50": 1.5, "resnext50_32x4d": 1.0}
TORCH = """
import sys, torch, torchvision
model = torchvision.models.get_model(sys.argv[1], weights=None).eval()
torch.onnx.export(model, (torch.zeros(1, 3, 224, 224),), sys.argv[2], dynamo=True,
                  external_data=False)
"""


def ours(folder):
    """Runners of our files, by name."""
    import keras_resnets
    from keras_resnets.export import random_weights
    from keras_resnets.export import to_onnx
    from keras_resnets.export.compare import open_runner as runners
    from keras_resnets.images import samples

    images, found = samples.default_images(SHAPE), {}
    for name in MODELS:
        model = keras_resnets.create_model(name)
        random_weights.settle(model, images)
        for recipe in ("float32", "static_wi8_ai8"):
            path = folder / f"{name}_{recipe}.onnx"
            # NCHW as torchvision's; the softmax that it has not is too little to tell.
            to_onnx(model, path, recipe, calibration=images, layout="nchw")
            found[f"ours/{name}/{recipe}"] = runners.open_runner(path)
    return found


def theirs(folder, python):
    """Runners of torchvision's files, by name; none without such an interpreter."""
    from keras_resnets.export.compare import open_runner as runners

    found = {}
    for name in MODELS if python else ():
        path = folder / f"torchvision_{name}.onnx"
        subprocess.run([python, "-c", TORCH, name, path], check=True)
        found[f"torchvision/{name}"] = runners.open_runner(path)
    return found


def measure(arguments):
    from keras_resnets.images import samples
    from keras_resnets.system.quiet import native_logs_hidden

    image = samples.default_images(SHAPE)[:1]
    with native_logs_hidden(), tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        loaded = {**ours(folder), **theirs(folder, arguments.torch_python)}
        calls = {name: lambda r=runner: r(image) for name, runner in loaded.items()}
        common.interleave(calls, rounds=3)
        return common.interleave(calls, arguments.rounds)


def main():
    parser = common.parser(__doc__, rounds=40)
    parser.add_argument("--torch-python", metavar="PATH", help="has torchvision")
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    times = measure(arguments)
    best = {name: 1e3 * min(found) for name, found in times.items()}
    median = {name: 1e3 * statistics.median(found) for name, found in times.items()}
    rows = [(name, f"{best[name]:.1f}", f"{median[name]:.1f}") for name in times]
    common.show(("file", "best ms", "median ms"), rows)
    rows = []
    for name, limit in MODELS.items():
        float32, int8 = f"ours/{name}/float32", f"ours/{name}/static_wi8_ai8"
        cells = common.target(best[float32] / best[int8], limit, at_most=False)
        rows.append((f"{name}: float32 / int8", *cells))
        if f"torchvision/{name}" in best:
            ratio = best[float32] / best[f"torchvision/{name}"]
            cells = common.target(ratio, 1.03, at_most=True)
            rows.append((f"{name}: float32 / torchvision's", *cells))
    common.show(("latencies", "of the best", "target", ""), rows)
    common.write(arguments.json, {"best_ms": best, "median_ms": median})


if __name__ == "__main__":
    main()
