"""Writes the figures of docs/targets.md: networks by targets, each cell proven or refused.

    python benchmarks/targets_table.py --data cifar10.npz

Runs `deploy` of every network for every target whose toolchain is installed, keeps the
reports in docs/targets.json, and writes both tables of docs/targets.md anew. `--page`
writes them from the reports that are there.
"""

import json
import os
import pathlib
import tempfile

import common

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
)
MLPERF = "mlperf_tiny/pretrainedResnet.h5"


def weights_of(name):
    """Where a network's values are."""
    if name != "resnet8":
        return "cifar10"
    return pathlib.Path(os.environ["KERAS_RESNETS_DATA"], MLPERF)


def measure(name, data, targets):
    """The report of each target for one network, or why it was refused."""
    import keras_resnets
    from keras_resnets import deploy
    from keras_resnets import quantization
    from keras_resnets.errors import ExportError
    from keras_resnets.errors import InvalidArgument

    model = keras_resnets.create_model(name, weights=weights_of(name))
    chosen = quantization.choose(data, model.preprocessing, 500, seed=0)

    def run(some):
        with tempfile.TemporaryDirectory() as folder:
            made = deploy.deploy(model, some, pathlib.Path(folder, "out"), chosen)
        return {one.target: one.report for one in made}

    try:
        return run(targets)
    except (ExportError, InvalidArgument):
        # Nothing is written for any where one is refused: each by itself then.
        found = {}
        for target in targets:
            try:
                found |= run([target])
            except (ExportError, InvalidArgument) as error:
                found[target] = {"refused": str(error)}
        return found


def cell(report):
    """What one report says, in a few words."""
    if report is None:
        return "not run"
    if "refused" in report:
        return f"refused: {report['refused']}"
    shown = [f"{report['agreement']:.0%} as predict"]
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
    for name in NETWORKS:
        for target in TARGETS:
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
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--targets", nargs="+", default=TARGETS)
    parser.add_argument("--page", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    from keras_resnets.deploy.targets import TARGETS as ROWS
    from keras_resnets.system.quiet import native_logs_hidden

    found = json.loads(FIGURES.read_text("utf-8")) if FIGURES.exists() else {}
    able = [n for n in arguments.targets if n in ROWS and not ROWS[n].missing()]
    for name in () if arguments.page else arguments.networks:
        with native_logs_hidden():
            reports = measure(name, arguments.data, able)
        found.setdefault(name, {}).update(reports)
        for target, report in reports.items():
            print(f"{name} {target}: {cell(report)}", flush=True)
        # After each, since all take a quarter of an hour.
        FIGURES.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    PAGE.write_text(written(PAGE.read_text("utf-8"), found), "utf-8")


if __name__ == "__main__":
    main()
