"""What compression costs networks trained on CIFAR-10; writes docs/compression_table.md.

    python benchmarks/compression_table.py --data cifar10.npz

Each network (by default those in this package) as a float file and quantized after
training: int8 per channel and per tensor, 4-bit weights at int8's speed and in the smallest
file. With `--train` also fine-tuned in float as a control, and trained with int8 and with
4-bit weights: here, or (`--trained FOLDER`) by `fine_tuning.py` on another machine. Ranges
and training see training images alone, the figures are those of all test images. Results
are kept in `--results` (JSON), files in `--files`, and neither is made again; without new
ones the page is written from them. The files of one network take turns for the latency,
each in a process of its own.
"""

import json
import pathlib
import tempfile
import textwrap

import common
import fine_tuning

PAGE = common.ROOT / "docs" / "compression_table.md"
RESULTS = common.ROOT / "docs" / "compression_table.json"
AFTER_TRAINING = {
    "float32": "float",
    "ptq": "int8, post-training",
    "ptq_per_tensor": "int8, post-training, per tensor",
    "ptq_4bit": "4-bit weights, post-training",
    "ptq_4bit_size": "4-bit weights, post-training, smallest file",
}
TRAINED = {
    "control": "float, fine-tuned in the same way",
    "qat": "int8, quantization-aware training",
    "qat_4bit": "4-bit weights, quantization-aware training",
}
KINDS = {**AFTER_TRAINING, **TRAINED}
RECIPES = {
    "ptq": "static_wi8_ai8",
    "ptq_per_tensor": "static_wi8_ai8_per_tensor",
    "ptq_4bit": "static_wi4_ai8",
    "ptq_4bit_size": "static_wi4_ai8",
}
OPTIONS = {"ptq_4bit_size": {"prefer": "size"}}
HEADERS = ("", "top-1, %", "agreement, %", "RMSE", "kB", "latency")
HEAD = (
    """`python benchmarks/compression_table.py --data cifar10.npz` writes this page.
The TFLite files are those of networks that [this project trained](training/README.md).
They run in LiteRT on all 10,000 test images of CIFAR-10; the ranges use 500 training
images. *Agreement* is the share of images with the prediction of the float network,
*RMSE* that of the logits divided by their standard deviation; both get worse if a network
is trained further. *Latency* is that of one image relative to the float file, with two
threads (empty: not measured). 4-bit weights have second-order rounding and are stored
in 4 bits where that costs no time (*smallest file*: where it saves bytes;
[compression.md](compression.md)). *Refused* files differ too much from the network to be
written. Differences of 0.1 to 0.2 in top-1 are chance.
"""
    + fine_tuning.PLAIN_NOTE
)
HEAD_TRAINED = """The rows with training (`{command}`) have {epochs} epochs of {images:,}
images {machine}, with SGD with Nesterov momentum 0.9, batch 128, a cosine schedule from
{rate}, crops and horizontal flips, and the float network as the teacher in addition to
the labels. Their 4-bit training does not start from second-order rounding
([qat_table.md](qat_table.md) has such rows), and their files store 4-bit weights as
int8."""


def head(settings):
    """The title and what the columns mean."""
    text = f"# Accuracy after compression\n\n{textwrap.fill(HEAD, 90)}\n\n"
    if settings:
        where = {"command": "--train", "machine": "on this machine", **settings}
        if "machine" in settings:
            where["command"] = "--trained FOLDER"
            where["machine"] = f"on {settings['machine']} by `fine_tuning.py`"
        text += textwrap.fill(HEAD_TRAINED.format(**where), 90) + "\n\n"
    return text


def make(subject, kind, arguments):
    """Writes the file of a kind; returns the quantization-aware model, if any, and it."""
    if kind == "float32":
        return None, subject.exported(kind, subject.model)
    if kind.startswith("ptq"):
        options = OPTIONS.get(kind, {})
        return None, subject.quantized(kind, RECIPES[kind], **options)
    recipe = fine_tuning.RECIPES[kind]
    if arguments.trained is None:
        model = subject.trained(recipe, arguments.epochs, arguments.rate)
    else:
        model, _ = subject.start(recipe)
        place = fine_tuning.weights_file(arguments.trained, subject.name, kind)
        model.load_weights(place)
    if recipe is None:
        return None, subject.exported(kind, model)
    return model, subject.file_of(kind, model)


def measure(subject, kinds, arguments, found, keep):
    """Adds the figures of the kinds that `found` lacks."""
    from keras_resnets.errors import ExportError

    for kind in kinds:
        if kind in found:
            continue
        try:
            model, path = make(subject, kind, arguments)
        except ExportError as error:
            found[kind] = {"refused": str(error)}
        else:
            compared = subject.figures(path)
            found[kind] = {
                "top1": compared.file_top1,
                "agreement": compared.agreement,
                "rmse": compared.rmse,
                "bytes": path.stat().st_size,
            }
            if model is not None:
                same = subject.figures(path, model).agreement
                found[kind]["agreement_with_trained"] = same
        print(subject.name, kind, found[kind], flush=True)
        keep()


def time_files(folder, found):
    """Adds the latencies of one network's files, which take turns."""
    from keras_resnets.export.compare import benchmark

    paths = {kind: folder / f"{kind}.tflite" for kind in found}
    kinds = [kind for kind, path in paths.items() if path.is_file()]
    paths = [paths[kind] for kind in kinds]
    timings = benchmark.benchmark(paths, runs=200)
    medians = {k: timing.median for k, timing in zip(kinds, timings, strict=True)}
    for kind in kinds:
        found[kind]["latency"] = medians[kind] / medians["float32"]


def section(name, found):
    """A network's heading and table in Markdown."""
    lines = [f"## {name}", "", f"| {' | '.join(HEADERS)} |"]
    lines.append("|" + "---|" * len(HEADERS))
    for kind, words in KINDS.items():
        one = found.get(kind)
        if one is None:
            continue
        if "refused" in one:
            lines.append(f"| {words} | refused | | | | |")
            continue
        same = kind == "float32"
        cells = (
            words,
            f"{100 * one['top1']:.2f}",
            "" if same else f"{100 * one['agreement']:.2f}",
            "" if same else f"{one['rmse']:.4f}",
            f"{one['bytes'] / 1e3:,.0f}",
            f"{one['latency']:.2f}x" if "latency" in one else "",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def trained_and_files(networks):
    """The agreement of the files with the Keras models that they were made of."""
    lines = ["## Agreement of the files with their Keras models", ""]
    lines += [
        "After quantization-aware training: the share of test images with the same "
        "prediction, in %.",
        "",
        "| network | int8 | 4-bit weights |",
        "|---|---|---|",
    ]
    for name, found in networks.items():
        if "qat" not in found:
            continue
        same = [found[kind]["agreement_with_trained"] for kind in ("qat", "qat_4bit")]
        lines.append(f"| {name} | " + " | ".join(f"{100 * x:.2f}" for x in same) + " |")
    return "\n".join(lines) + "\n"


def open_results(arguments, training):
    """Results of before; with training they must be of the same settings."""
    kept = {"settings": {}, "networks": {}}
    if arguments.results.is_file():
        kept = json.loads(arguments.results.read_text("utf-8"))
    if training:
        settings = fine_tuning.settings_of(arguments)
        if arguments.trained is not None:
            path = arguments.trained / fine_tuning.SETTINGS
            settings = json.loads(path.read_text("utf-8"))
        if kept["settings"] not in ({}, settings):
            raise SystemExit(f"{arguments.results} was made with {kept['settings']}")
        kept["settings"] = settings
    return kept


def main():
    parser = common.parser(__doc__)
    fine_tuning.add_arguments(parser, epochs=1)
    parser.add_argument(
        "--networks", nargs="*", metavar="NAME[=WEIGHTS]", help="default: all shipped"
    )
    parser.add_argument("--train", action="store_true", help="and measure training")
    parser.add_argument("--trained", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--files", type=pathlib.Path, help="default: thrown away")
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    from keras_resnets.system.quiet import native_logs_hidden

    networks = arguments.networks or fine_tuning.shipped()
    kinds = KINDS if arguments.train or arguments.trained else AFTER_TRAINING
    kept = open_results(arguments, training=kinds is KINDS)

    def keep():
        arguments.results.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")

    with native_logs_hidden(), tempfile.TemporaryDirectory() as temporary:
        files = arguments.files or pathlib.Path(temporary)
        for name in networks:
            folder = files / name.replace("=", "_")
            folder.mkdir(parents=True, exist_ok=True)
            found = kept["networks"].setdefault(name, {})
            if not found.keys() >= kinds.keys():
                subject = fine_tuning.Subject(
                    name, arguments.data, folder, arguments.images
                )
                measure(subject, kinds, arguments, found, keep)
            if "latency" not in found["float32"]:
                time_files(folder, found)
                keep()
    networks = kept["networks"]
    sections = [section(*item) for item in networks.items()]
    if kept["settings"]:
        sections.append(trained_and_files(networks))
    PAGE.write_text(head(kept["settings"]) + "\n".join(sections), "utf-8")


if __name__ == "__main__":
    main()
