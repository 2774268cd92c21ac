"""Accuracy of int8 files by the engine that sets their ranges.

    python benchmarks/engines.py --data cifar10.npz --networks NAME[=WEIGHTS] ...

Each network (by default those in this package) as an int8 TFLite file of each engine, with
one scale per channel of a kernel and with one scale per kernel. The ranges use 500 training
images (seed 0); the files run in LiteRT on all test images. Prints the rows of the table of
engines in docs/compression.md: top-1, agreement with the float network, root mean square
error of the logits divided by their standard deviation, and the size of the file.
"""

import pathlib
import tempfile

import common
import fine_tuning

ENGINES = ("ranges", "converter", "ai_edge_quantizer")
RECIPES = ("static_wi8_ai8", "static_wi8_ai8_per_tensor")
HEADERS = (
    "network (float top-1)",
    "engine",
    "recipe",
    "top-1, agreement, RMSE",
    "bytes",
)


def figures_of(subject, engine, recipe):
    """The figures of one file, or why it was not written."""
    from keras_resnets.errors import ExportError

    try:
        path = subject.quantized("file", recipe, engine=engine)
    except (ExportError, ImportError) as error:
        return {"refused": str(error)}
    return subject.measured(path)


def row(network, engine, recipe, found):
    name, _, weights = network.partition("=")
    label = f"{name} {pathlib.PurePath(weights).name}".strip()
    if "refused" in found:
        return (label, engine, recipe, f"refused: {found['refused']}", "")
    return (
        f"{label} ({100 * found['float']:.2f})",
        engine,
        recipe,
        fine_tuning.said(found),
        f"{found['bytes']:,}",
    )


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--data", required=True, metavar="NPZ")
    parser.add_argument("--networks", nargs="*", metavar="NAME[=WEIGHTS]")
    parser.add_argument("--engines", nargs="*", choices=ENGINES, default=ENGINES)
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    rows, figures = [], {}
    for network in arguments.networks or fine_tuning.shipped():
        with tempfile.TemporaryDirectory() as folder:
            subject = fine_tuning.Subject(network, arguments.data, folder)
            for engine in arguments.engines:
                for recipe in RECIPES:
                    found = figures_of(subject, engine, recipe)
                    figures[f"{network} {engine} {recipe}"] = found
                    rows.append(row(network, engine, recipe, found))
                    print(*rows[-1], sep=" | ", flush=True)
    common.show(HEADERS, rows)
    common.write(arguments.json, figures)


if __name__ == "__main__":
    main()
