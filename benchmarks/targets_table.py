"""Writes the figures of docs/targets.md: networks by targets, each cell proven or refused.

    python benchmarks/targets_table.py --data cifar10.npz

Runs `deploy` of every network for every target whose toolchain is installed, keeps the
reports in docs/targets.json, each as it comes, and writes both tables of docs/targets.md
anew. `--missing` runs only what has no report yet; `--page` writes the tables from the
reports that are there.
"""

import json
import os
import pathlib
import tempfile

import common
import fine_tuning

PAGE, FIGURES = (common.ROOT / "docs" / name for name in ("targets.md", "targets.json"))
# Our trained networks, and MLPerf Tiny's.
NETWORKS = (
    "resnet8",
    "resnet20",
    "resnet14v2",
    "resnet14d",
    "resnet29_w12",
    "wrn_10_3_w8",
    "resnext20_4x16d_w16",
    "drn_a_14",
    "darknet15",
)
TARGETS = (
    "linux-x86",
    "raspberry-pi",
    "server-onnx",
    "server-savedmodel",
    "microcontroller",
    "ethos-u55-128",
    "ethos-u65-256",
    "ethos-u85-256",
    "gpu",
    "android",
    "ios",
    "browser-litert",
    "browser-onnx",
    "edgetpu",
    "esp32",
    "rockchip",
    "coreml",
)
# Their cells were measured with the weights that were trained without a teacher.
OF_PLAIN = (
    "resnet14d",
    "resnet29_w12",
    "wrn_10_3_w8",
    "resnext20_4x16d_w16",
    "drn_a_14",
    "darknet15",
)
# Checked by its rules; nothing here can run it.
CHECKED = ("edgetpu",)
# Networks of 224 x 224, whose weights are random: what is counted is what a chip has to
# compute, and whether it computes that; classes they know none. Their targets.
LARGE = ("resnet18", "resnet50", "resnext50_32x4d", "darknet53")
TARGETS_OF_LARGE = (
    "linux-x86",
    "server-onnx",
    "server-savedmodel",
    "microcontroller",
    "ethos-u55-128",
    "ethos-u85-256",
    "gpu",
    "android",
)
MLPERF = "mlperf_tiny/pretrainedResnet.h5"
# Of synthetic photos, for ranges of the large ones; and of those that are compared.
_PHOTOS, _COMPARED = 20, 4


def weights_of(name):
    """Where a network's values are."""
    if name in OF_PLAIN:
        return fine_tuning.PLAIN
    if name != "resnet8":
        return "cifar10"
    return pathlib.Path(os.environ["KERAS_RESNETS_DATA"], MLPERF)


def cells(networks, targets):
    """Each (network, target) of the table, of the networks and targets that are named."""
    for name in networks:
        for target in TARGETS_OF_LARGE if name in LARGE else TARGETS:
            if target in targets:
                yield name, target


def trained(name, data):
    """A trained network, its images, and options of `deploy`."""
    import keras_resnets
    from keras_resnets import quantization

    model = keras_resnets.create_model(name, weights=weights_of(name))
    return model, quantization.choose(data, model.preprocessing, 500, seed=0), {}


def large(name):
    """A network of random weights, whose statistics are those of its images; and so on."""
    import keras_resnets
    from keras_resnets.export import random_weights
    from keras_resnets.images import synthetic

    model = keras_resnets.create_model(name, weights=None)
    pixels = synthetic.images((*model.preprocessing.size, 3), _PHOTOS)
    images = model.preprocessing.batch(pixels.astype("float32"), "channels_last")
    random_weights.settle(model, images)
    return model, images, {"compare": _COMPARED, "min_agreement": 0.0}


def measure(model, images, target, **options):
    """The report of one target, or why it was refused."""
    from keras_resnets import deploy
    from keras_resnets.errors import ExportError
    from keras_resnets.errors import InvalidArgument

    try:
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder, "out")
            unproven = target in CHECKED
            (made,) = deploy.deploy(
                model, target, place, images, unproven=unproven, **options
            )
        return made.report
    except (ExportError, InvalidArgument) as error:
        return {"refused": str(error)}


def cell(report):
    """What one report says, in a few words."""
    if report is None:
        return "not run"
    if "refused" in report:
        return f"refused: {report['refused']}"
    if not report["proven"]:
        return f"not run; {report['checked']}"
    if report["compared"] is False:
        return f"converted, {report['compiled_bytes']:,} B, not compared"
    shown = [f"{report['agreement']:.0%} as predict"]
    if "largest_difference" in report:
        shown.append(f"probabilities within {report['largest_difference']:.4f}")
        shown.append(f"{report['compiled_bytes']:,} B compiled")
    if "arena_bytes" in report:
        outputs = report["outputs"]
        shown += [
            f"arena {report['arena_bytes']:,} B",
            f"flash {report['flash_bytes']:,} B",
            f"{outputs['equal']} equal, {outputs['one_step']} within a step",
        ]
    if "cycles" in report:
        kind = min(report["cycles_by_layout"], key=report["cycles_by_layout"].get)
        shown += [
            f"{report['cycles'] / 1e6:.3f} M cycles ({kind})",
            f"{report['inference_ms']:.2f} ms",
            f"SRAM {report['sram_bytes'] / 1024:.0f} KiB",
            f"NPU {report['npu_percent']:.0f}%",
        ]
    if "latency_ms" in report:
        shown.append(f"{report['latency_ms']:.2f} ms")
    return ", ".join(shown)


def figures_table(found):
    """Markdown of the reports, a row a network and target."""
    lines = ["| network | target | file | what was found |", "|---|---|---|---|"]
    for name, target in cells((*NETWORKS, *LARGE), TARGETS):
        report = found.get(name, {}).get(target)
        size = f"{report['size_bytes']:,} B" if report and "file" in report else "-"
        lines.append(f"| {name} | {target} | {size} | {cell(report)} |")
    return "\n".join(lines)


def targets_table():
    """Markdown of the table of targets."""
    from keras_resnets.deploy.targets import TARGETS as ROWS

    lines = [
        "| target | what it is | file | recipes | input and output of int8 | proven by |",
        "|---|---|---|---|---|---|",
    ]
    for row in ROWS.values():
        ends = ", ".join(row.io_dtypes) if row.format == "tflite" else "-"
        proof = row.proof if row.toolchain else f"nothing: {row.proof}"
        lines.append(
            f"| `{row.name}` | {row.title} | {row.format} | "
            f"{', '.join(f'`{recipe}`' for recipe in row.recipes)} | {ends} | {proof} |"
        )
    return "\n".join(lines)


def written(page, found):
    """The page with both tables as they are now."""
    for mark, table in (
        ("targets", targets_table()),
        ("figures", figures_table(found)),
    ):
        head, start, rest = page.partition(f"<!-- {mark} -->\n")
        _, end, tail = rest.partition(f"<!-- end of {mark} -->")
        page = f"{head}{start}{table}\n{end}{tail}"
    return page


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--data", metavar="NPZ", help="CIFAR-10 with x_train")
    parser.add_argument("--networks", nargs="+", default=(*NETWORKS, *LARGE))
    parser.add_argument("--targets", nargs="+", default=TARGETS)
    parser.add_argument(
        "--missing", action="store_true", help="only what has no report"
    )
    parser.add_argument("--page", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    found = json.loads(FIGURES.read_text("utf-8")) if FIGURES.exists() else {}
    for name in () if arguments.page else arguments.networks:
        fill(found, name, arguments)
    PAGE.write_text(written(PAGE.read_text("utf-8"), found), "utf-8")


def fill(found, name, arguments):
    """Measures the cells of a network, and keeps each as it comes: some take minutes."""
    from keras_resnets.deploy.targets import TARGETS as ROWS
    from keras_resnets.system.quiet import native_logs_hidden

    wanted = [target for _, target in cells([name], arguments.targets)]
    wanted = [x for x in wanted if x in CHECKED or not ROWS[x].missing()]
    if arguments.missing:
        wanted = [target for target in wanted if target not in found.get(name, {})]
    if not wanted:
        return
    with native_logs_hidden():
        made = large(name) if name in LARGE else trained(name, arguments.data)
        model, images, options = made
        for target in wanted:
            report = measure(model, images, target, **options)
            found.setdefault(name, {})[target] = report
            print(f"{name} {target}: {cell(report)}", flush=True)
            FIGURES.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
