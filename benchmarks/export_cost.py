"""Cost of an export.

    python benchmarks/export_cost.py [--model resnet152]

Runs each of the export commands in float32 in a fresh process, comparison and all, and
tells its wall time and its peak memory above that of a process that has imported
TensorFlow, in units of the network's float32 weights.

Targets: 60 s and 6 times the weights. (Unix only: the peak comes from `wait4`.)
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

import common

FORMATS = {"tflite": ".tflite", "onnx": ".onnx", "saved_model": "", "keras": ".keras"}


def run(words):
    """(seconds, peak bytes) of a process."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=common.environment(KERAS_BACKEND="tensorflow"),
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(words)} failed")
    # Kilobytes, except on macOS.
    scale = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - start, usage.ru_maxrss * scale


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--model", default="resnet152")
    arguments = parser.parse_args()
    import keras_resnets

    weights = 4 * keras_resnets.model_info(arguments.model).total_params
    _, bare = run(["-c", "import tensorflow"])
    rows, figures = [], {}
    for name, ending in FORMATS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / f"model{ending}"
            script = str(common.ROOT / "export" / f"to_{name}.py")
            words = [script, "--model", arguments.model, "--output", str(path)]
            wall, peak = run(words)
        times = (peak - bare) / weights
        rows.append((name, *common.target(wall, 60, at_most=True, unit="s")))
        rows.append(("", *common.target(times, 6, at_most=True)))
        figures[name] = {"seconds": wall, "weights": times}
    title = f"{arguments.model}, {weights / 1e6:.0f} MB of weights"
    common.show((title, "figure", "target", ""), rows)
    common.write(arguments.json, figures)


if __name__ == "__main__":
    main()
