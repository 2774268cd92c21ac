"""What the shipped networks cost and give: the table behind `recommend`, and its figure.

    python benchmarks/choosing.py --data cifar10.npz --write
    python benchmarks/choosing.py --draw

Each network of this package in float32, in int8 and with weights of 4 bits stored as
such: bytes of the TFLite file, top-1 on all 10,000 test images of CIFAR-10 in LiteRT, and
the latency of one image on one thread, the files of a network in turns, each in a process
of its own. Two of ImageNet's size, with random weights, are timed alone. `--draw` makes
docs/images/choosing.png of the table (matplotlib).
"""

import argparse
import csv
import pathlib
import platform
import tempfile

import common

TABLE = common.ROOT / "keras_resnets" / "models" / "costs.csv"
FIGURE = common.ROOT / "docs" / "images" / "choosing.png"
RECIPES = {"float32": None, "int8": "static_wi8_ai8", "int4": "static_wi4_ai8"}
TIMED_ALONE = ("resnet18", "resnet50", "darknet53")
FIELDS = ("variant", "tag", "precision", "bytes", "top1", "ms")
# Percent of accuracy between two names, one above the other.
LINE = 0.2
TITLES = {"float32": "float32", "int8": "int8", "int4": "4-bit weights, smallest file"}


def subjects():
    """(variant, tag or None) of each network."""
    from keras_resnets.weights import records

    for record in records.all_records():
        if record.shipped and not record.tag.endswith("_plain"):
            yield record.variant, record.tag
    for variant in TIMED_ALONE:
        yield variant, None


def rows(variant, tag, data, folder):
    """The rows of one network."""
    from keras_resnets import create_model
    from keras_resnets import quantization
    from keras_resnets.export import random_weights
    from keras_resnets.export import to_tflite
    from keras_resnets.export.compare import benchmark
    from keras_resnets.images import samples

    model = create_model(variant, weights=tag)
    paths, found = {}, {}
    if tag is None:
        shape = tuple(model.inputs[0].shape[1:])
        images = samples.default_images(shape, None, model.preprocessing)
        random_weights.settle(model, images, 0)
        calibration = images
    else:
        calibration = quantization.choose(data, model.preprocessing, 500, 0)
    for precision, recipe in RECIPES.items():
        path = folder / f"{variant}_{precision}.tflite"
        if recipe is None:
            to_tflite(model, path)
        elif tag is None and precision == "int4":
            continue
        elif tag is None:
            to_tflite(model, path, recipe, images=calibration, calibration=calibration)
        else:
            prefer = "size" if precision == "int4" else None
            quantization.quantize(model, path, recipe, calibration, prefer=prefer)
        paths[precision] = path
        found[precision] = top1(path, data) if tag else ""
    runs = 300 if tag else 30
    times = benchmark.benchmark([str(p) for p in paths.values()], threads=1, runs=runs)
    for (precision, path), timing in zip(paths.items(), times, strict=True):
        size, ms = path.stat().st_size, f"{timing.median * 1e3:.4g}"
        yield (variant, tag or "", precision, size, found[precision], ms)


def top1(path, data):
    """Percent of right answers of a file on the test images."""
    from keras_resnets.export.compare import classifier
    from keras_resnets.images import evaluation

    opened = classifier.open_classifier(str(path))
    labelled = evaluation.open_data(data, opened.preprocessing)
    return f"{evaluation.evaluate(opened, labelled, 250).top1 * 100:.2f}"


def measure(data, only, place):
    """Measures the networks, and writes the table after each; rows of others stay."""
    place = pathlib.Path(place)
    kept = common.csv_rows(place) if only else []
    table = {(row["variant"], row["precision"]): tuple(row.values()) for row in kept}
    for variant, tag in subjects():
        if only and variant not in only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            for row in rows(variant, tag, data, pathlib.Path(folder)):
                print(*row, flush=True)
                table[row[0], row[2]] = row
        with place.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([FIELDS, *table.values()])
    print(f"on {platform.platform()}, one thread")


def read():
    """The rows of the table with an accuracy, as dicts."""
    return [row for row in common.csv_rows(TABLE) if row["top1"]]


def draw():
    """Draws accuracy over size and over latency."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4.2), sharey=True)
    for axis, (key, title, scale) in zip(
        axes,
        (("bytes", "file, kB", 1e-3), ("ms", "one image on one thread, ms", 1.0)),
        strict=True,
    ):
        _panel(axis, key, scale)
        axis.set_xlabel(title)
        axis.grid(alpha=0.25, which="both")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("top-1 on CIFAR-10, %")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="upper right", ncol=3, fontsize=9)
    figure.suptitle("Accuracy over size and latency", x=0.06, ha="left")
    figure.tight_layout()
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE, dpi=110)
    print(f"drew {FIGURE.relative_to(common.ROOT)}")


def _panel(axis, key, scale):
    found = read()
    for number, (precision, title) in enumerate(TITLES.items()):
        chosen = [row for row in found if row["precision"] == precision]
        axis.scatter(
            [float(row[key]) * scale for row in chosen],
            [float(row["top1"]) for row in chosen],
            s=34,
            marker="os^"[number],
            color=("#8a8f98", "#1f6feb", "#d1550f")[number],
            label=title,
            zorder=3,
        )
    # The float32 file is the largest and slowest: nothing stands to the right of it.
    named = [row for row in found if row["precision"] == "float32"]
    named.sort(key=lambda row: float(row["top1"]))
    lowest = 0.0
    for row in named:
        name, top1 = row["variant"], float(row["top1"])
        place = lowest = max(top1, lowest)
        lowest += LINE
        axis.annotate(
            name,
            (float(row[key]) * scale, place),
            xytext=(6, -2.5),
            textcoords="offset points",
            fontsize=7,
        )
        # The three files of a network.
        same = [other for other in found if other["variant"] == name]
        axis.plot(
            [float(other[key]) * scale for other in same],
            [float(other["top1"]) for other in same],
            color="#c4c8ce",
            linewidth=0.8,
            zorder=2,
        )
    axis.set_xscale("log")
    ticks = (
        (100, 200, 500, 1000, 2000, 5000)
        if key == "bytes"
        else (0.1, 0.2, 0.5, 1, 2, 5)
    )
    low, high = axis.get_xlim()
    # Room for the name of the largest.
    high *= 1.8
    axis.set_xlim(low, high)
    chosen = [tick for tick in ticks if low <= tick <= high]
    axis.set_xticks(chosen, [f"{tick:,g}" for tick in chosen])
    axis.minorticks_off()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help=".npz of CIFAR-10, to measure")
    parser.add_argument("--write", action="store_true", help="measure, write the table")
    parser.add_argument("--networks", nargs="*", help="these alone, instead of all")
    parser.add_argument(
        "--table", default=TABLE, help="to write; default: the package's"
    )
    parser.add_argument("--draw", action="store_true", help="draw the figure")
    asked = parser.parse_args()
    if asked.write:
        measure(asked.data, asked.networks, asked.table)
    if asked.draw:
        draw()


if __name__ == "__main__":
    main()
