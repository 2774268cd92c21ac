"""Writes docs/exports.md from real exports: every family in every format.

    python benchmarks/exports_table.py --write docs/exports.md

Each network has 128 x 128 pixels (CIFAR's 32 x 32), random weights and settled BN
statistics; the integer formats are calibrated with the noise that all are compared on.
The files of one network then take turns, each in a process of its own.
"""

import os
import pathlib
import platform
import tempfile
import time

import common

NETWORKS = (
    "resnet50",
    "resnet50v2",
    "wrn_16_4",
    "resnext50_32x4d",
    "resnet18d",
    "darknet53",
    "drn_d_22",
    "resnet20",
)
# (format, recipe, end of the file's name)
FORMATS = (
    ("saved_model", "float32", ""),
    ("keras", "float32", ".keras"),
    ("tflite", "float32", ".tflite"),
    ("tflite", "float16", ".tflite"),
    ("tflite", "dynamic_wi8", ".tflite"),
    ("tflite", "static_wi8_ai8", ".tflite"),
    ("tflite", "static_wi8_ai16", ".tflite"),
    ("onnx", "float32", ".onnx"),
    ("onnx", "float16", ".onnx"),
    ("onnx", "static_wi8_ai8", ".onnx"),
)
HEADERS = (
    "format",
    "MB",
    "relative error",
    "SQNR dB",
    "operators",
    "ms",
    "of its float32",
    "export s",
)
HEAD = """# Every family in every format

`python benchmarks/exports_table.py --write docs/exports.md` writes this page. The networks
have random weights with computed BN statistics and images of 128 x 128 pixels (CIFAR: 32 x
32). Two images of noise are used for calibration and comparison. Sizes, operators and
latencies do not depend on the weights; errors do ([export.md](export.md) has those of
trained networks).

- *relative error* and *SQNR* compare the logits with those of Keras; those of a SavedModel
  cannot be read.
- *ms* is the median latency of one image on 2 threads.
- *of its float32* is the ratio to the float32 file in the same runtime.
- *export s* includes running and comparing the file.
"""


def export(model, images, form, recipe, path):
    """(report, seconds) of one file."""
    import keras_resnets.export

    options = {"images": images}
    if form in ("tflite", "onnx"):
        options |= {"recipe": recipe, "calibration": images}
    start = time.perf_counter()
    report = getattr(keras_resnets.export, f"to_{form}")(model, path, **options)
    return report, time.perf_counter() - start


def measure(name, folder, runs):
    """The table's rows for one network."""
    import keras_resnets
    from keras_resnets.export import random_weights
    from keras_resnets.export.compare import benchmark
    from keras_resnets.images import samples

    size = min(keras_resnets.model_info(name).input_size, 128)
    model = keras_resnets.create_model(name, input_shape=(size, size, 3))
    images = samples.default_images(model.input_shape[1:], count=2)
    random_weights.settle(model, images)
    done = []
    for form, recipe, ending in FORMATS:
        path = pathlib.Path(folder, f"{form}_{recipe}{ending}")
        done.append((form, recipe, *export(model, images, form, recipe, path)))
        print(f"{name} {form} {recipe}: {done[-1][3]:.0f} s", flush=True)
    paths = [report.path for _, _, report, _ in done]
    timings = benchmark.benchmark(paths, threads=2, runs=runs, rounds=runs)
    whole = {
        form: timing.median
        for (form, recipe, _, _), timing in zip(done, timings, strict=True)
        if recipe == "float32"
    }
    return [
        row(form, recipe, report, seconds, timing.median, whole[form])
        for (form, recipe, report, seconds), timing in zip(done, timings, strict=True)
    ]


def row(form, recipe, report, seconds, median, whole):
    """One line of a table, as text."""
    from keras_resnets.export import recipes

    counted = ", ".join(f"{name} {count}" for name, count in report.operators.items())
    return (
        label(form, recipes.format_of(recipe)),
        f"{report.size / 1e6:,.1f}",
        # A SavedModel cannot be read in front of its softmax.
        f"{report.logits.relative_error:.1e}" if report.logits else "-",
        f"{report.logits.sqnr:.0f}" if report.logits else "-",
        counted,
        f"{1e3 * median:.1f}",
        f"{median / whole:.2f}",
        f"{seconds:.0f}",
    )


def label(form, numbers):
    """What the first column calls a format."""
    return f"{form} {numbers.title}"


def section(name, rows):
    """A network's heading and table in Markdown."""
    lines = [f"## {name}", "", f"| {' | '.join(HEADERS)} |"]
    lines.append("|" + "---|" * len(HEADERS))
    lines += [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join(lines) + "\n"


def load():
    """How many processes of others want to run."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


def main():
    parser = common.parser(__doc__, rounds=10)
    parser.add_argument("--write", metavar="FILE", help="the page; printed without")
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    from keras_resnets.export import passport
    from keras_resnets.system.quiet import native_logs_hidden

    others = f"Load of the machine's {os.cpu_count()} cores before: {load():.1f}."
    sections = []
    for name in arguments.networks:
        with native_logs_hidden(), tempfile.TemporaryDirectory() as folder:
            sections.append(section(name, measure(name, folder, arguments.rounds)))
        versions = ", ".join(f"{k} {v}" for k, v in passport.versions().items())
        foot = f"Measured on {platform.machine()} with {versions}. {others}\n"
        page = "\n".join([HEAD, *sections, foot])
        # After each network, since all take a quarter of an hour.
        if arguments.write:
            pathlib.Path(arguments.write).write_text(page, "utf-8")
    if not arguments.write:
        print(page)


if __name__ == "__main__":
    main()
