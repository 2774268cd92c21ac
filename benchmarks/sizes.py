"""Accuracy over size of one network of every family, and its figure.

    python benchmarks/sizes.py --data cifar10.npz
    python benchmarks/sizes.py --draw

Files in 8 bits, and with 4-bit weights in the smallest file (FULLY_CONNECTED), are those
of `compression_table.py`. `--data` adds two kinds, in docs/sizes.json: *mixed*, the files
that `search` writes between all layers in 4 bits (CONV_2D) and all in 8, and *pruned*,
half of the weights made zero in blocks of four along the inputs during a training of
`--epochs` with the float network as the teacher, then int8 without further training as a
sparse file. Choices see training images alone; top-1 is that of all test images, in
LiteRT. What is there is not measured again: a run that was stopped goes on with the next
network. `--draw` makes docs/images/sizes.png (matplotlib).
"""

import json
import pathlib
import tempfile

import common
import compression_table
import fine_tuning
import pruning
import targets_table

# All of targets_table.py but MLPerf Tiny's.
NETWORKS = tuple(
    f"{name}={fine_tuning.PLAIN}" if name in targets_table.OF_PLAIN else name
    for name in targets_table.NETWORKS[1:]
)
RESULTS = common.ROOT / "docs" / "sizes.json"
FIGURE = common.ROOT / "docs" / "images" / "sizes.png"
KINDS = ("mixed", "pruned")
# Of the weights that are pruned; how they become zero; rate of the training. The pattern
# and the rate are the best of ResNet-20 on 5,000 training images that were held out.
ZEROS, PATTERN, RATE = 0.5, "1x4", 0.005
# Kind, its title, its marker and color.
STYLES = (
    ("float32", "float32", "o", "#8a8f98"),
    ("ptq", "int8", "s", "#1f6feb"),
    ("pruned", "int8, half of the weights pruned, sparse", "D", "#2da44e"),
    ("mixed", "4 bits (CONV_2D) and 8, by search", "v", "#8250df"),
    ("ptq_4bit_size", "4 bits (FULLY_CONNECTED)", "^", "#d1550f"),
)
# Kinds that a line connects, by size.
LINES = (("float32", "ptq", "mixed"), ("ptq", "ptq_4bit_size"), ("ptq", "pruned"))
# Points of top-1 between which the axis is linear; logarithmic below, where pruned
# networks are.
LINEAR = 0.3
TICKS = (0.1, 0, -0.1, -0.2, -0.5, -1, -2)


def mixed(subject, points):
    """Figures of the files that `search` writes."""
    from keras_resnets import quantization

    expected = subject.model.preprocessing
    held = quantization.hold_out(subject.data, expected, subject.chosen)
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder, "front")
        budget = quantization.Budget(max_drop=99.0)
        front = quantization.find_front(
            subject.model, subject.chosen, held, budget, place, points=points
        )
        between = [x for x in front.points if x.layers["4"] and x.layers["8"]]
        return [subject.measured(point.path) for point in between]


def pruned(subject, epochs):
    """Figures of the int8 file of the network whose weights are half zero."""
    from keras_resnets import quantization
    from keras_resnets.pruning import PolynomialSchedule
    from keras_resnets.pruning import Prune

    schedule = PolynomialSchedule(sparsity=ZEROS, end=epochs * subject.steps // 2)
    callbacks = [Prune(schedule, PATTERN)]
    model = pruning.tuned(subject, lambda model: model, epochs, RATE, callbacks)
    path = subject.folder / "pruned.tflite"
    model.preprocessing = subject.model.preprocessing
    quantization.quantize(
        model, path, "static_wi8_ai8", subject.chosen, overwrite=True, sparse=True
    )
    return subject.measured(path)


def measure(arguments):
    """Adds what the results lack."""
    kept = common.kept_rows(arguments.results)
    for name in arguments.networks:
        found = kept.setdefault(name, {})
        missing = [kind for kind in arguments.kinds if kind not in found]
        if not missing:
            continue
        with tempfile.TemporaryDirectory() as folder:
            subject = fine_tuning.Subject(name, arguments.data, folder)
            for kind in missing:
                if kind == "mixed":
                    found[kind] = mixed(subject, arguments.points)
                else:
                    made = {"pattern": PATTERN, "epochs": arguments.epochs}
                    found[kind] = {**made, **pruned(subject, arguments.epochs)}
                print(name, kind, found[kind], flush=True)
                common.keep_rows(arguments.results, kept)


def files_of(name, kept):
    """The figures of a network's files, by kind, each a list."""
    path = compression_table.RESULTS
    table = json.loads(path.read_text("utf-8"))["networks"].get(name, {})
    both = {**table, **kept.get(name, {})}
    return {
        kind: found if isinstance(found, list) else [found]
        for kind, *_ in STYLES
        if (found := both.get(kind)) and "refused" not in found
    }


def draw(arguments):
    """Draws a panel for each network: points of top-1 lost, over bytes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    kept = common.kept_rows(arguments.results)
    figure, axes = pyplot.subplots(2, 4, figsize=(11, 5.6), sharex=True, sharey=True)
    for axis, name in zip(axes.flat, NETWORKS, strict=True):
        _panel(axis, name, files_of(name, kept))
    for axis in axes[:, 0]:
        axis.set_ylabel("top-1 minus float's, points")
    for axis in axes[-1]:
        axis.set_xlabel("file, kB")
    found = {}
    for axis in axes.flat:
        handles, labels = axis.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    titles = [title for _, title, *_ in STYLES if title in found]
    figure.suptitle("Accuracy over size", x=0.06, ha="left")
    figure.legend(
        [found[title] for title in titles],
        titles,
        frameon=False,
        loc="lower center",
        ncol=len(titles),
        fontsize=8.5,
    )
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE, dpi=110)
    print(f"drew {FIGURE.relative_to(common.ROOT)}")


def _panel(axis, name, files):
    whole = files["float32"][0]["top1"]
    places = {
        kind: [(x["bytes"] / 1e3, 100 * (x["top1"] - whole)) for x in found]
        for kind, found in files.items()
    }
    for kind, title, marker, color in STYLES:
        for number, place in enumerate(places.get(kind, ())):
            label = title if number == 0 else None
            axis.scatter(
                *place, s=36, marker=marker, color=color, label=label, zorder=3
            )
    for kinds in LINES:
        if not all(places.get(kind) for kind in kinds):
            continue
        line = sorted(place for kind in kinds for place in places[kind])
        axis.plot(*zip(*line, strict=True), color="#c4c8ce", linewidth=0.9, zorder=2)
    axis.axhline(0, color="#8a8f98", linewidth=0.8, linestyle=":", zorder=1)
    label = name.replace(f"={fine_tuning.PLAIN}", ", plain")
    axis.set_title(f"{label}, {100 * whole:.2f} %", fontsize=8.5, loc="left")
    axis.set_xscale("log")
    axis.set_yscale("symlog", linthresh=LINEAR, linscale=1.2)
    axis.set_yticks(TICKS, [f"{tick:g}".replace("-", "\u2212") for tick in TICKS])
    axis.set_xticks((100, 300, 1000, 3000), ("100", "300", "1,000", "3,000"))
    axis.minorticks_off()
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--data", metavar="NPZ", help="CIFAR-10, to measure")
    parser.add_argument("--networks", nargs="*", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS)
    parser.add_argument("--points", type=int, default=3, help="of a front")
    parser.add_argument("--epochs", type=int, default=2, help="to prune in")
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--draw", action="store_true", help="draw the figure")
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    if arguments.data:
        measure(arguments)
    if arguments.draw:
        draw(arguments)


if __name__ == "__main__":
    main()
