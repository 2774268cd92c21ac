"""Cost of an export.

    python benchmarks/export_cost.py

Runs `python export/to_tflite.py --model darknet53` in a fresh process, comparison
and all, and tells its wall time and peak memory.

Targets: 45 s and 4 GB. (Unix only: the peak comes from `resource`.)
"""

import pathlib
import resource
import subprocess
import sys
import tempfile

import common


def export(model, folder):
    """Runs the export; returns its seconds and what it printed."""
    command = [
        sys.executable,
        str(common.ROOT / "export" / "to_tflite.py"),
        "--model",
        model,
        "--output",
        str(pathlib.Path(folder) / "model.tflite"),
    ]
    printed = []

    def run():
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            check=True,
            text=True,
            env=common.environment(KERAS_BACKEND="tensorflow"),
        )
        printed.append(done.stdout)

    return common.seconds(run), printed[0]


def peak_gigabytes():
    """Largest resident size of any ended sub-process, in 10**9 bytes."""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    # Kilobytes, except on macOS.
    return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--model", default="darknet53")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wall, printed = export(arguments.model, folder)
    memory = peak_gigabytes()
    print("\n".join(line for line in printed.splitlines() if folder not in line))
    print()
    rows = [
        ("wall time", *common.target(wall, 45, at_most=True, unit="s")),
        ("peak memory", *common.target(memory, 4, at_most=True, unit="GB")),
    ]
    common.show((f"export of {arguments.model}", "figure", "target", ""), rows)
    common.write(
        arguments.json,
        {"model": arguments.model, "seconds": wall, "peak_gigabytes": memory},
    )


if __name__ == "__main__":
    main()
