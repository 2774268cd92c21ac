"""What rounding of 4-bit weights costs trained networks; writes docs/rounding_table.md.

    python benchmarks/rounding.py --data cifar10.npz [--networks NAME[=WEIGHTS] ...]
    python benchmarks/rounding.py --time resnet50 [--images 500]

Each network (by default those in this package) as a TFLite file with 4-bit weights in
every layer and 8-bit activations, rounded to nearest, by the second order and by gradient
(`--roundings` for some of them), run on all test images of CIFAR-10; the calibration set
is of training images. Results are kept in `--results` (JSON) and not made again; the page
is written from them. Each file is made in a process of its own, whose peak memory and CPU
seconds are told as well as those on the clock: on a busy machine the clock says little.

`--time` makes no file: one network of random weights with settled BN statistics, synthetic
images of its own size, ranges and rounding alone. Targets: ResNet-50 with 500 images in at
most 10 minutes and 6 GB on two cores.
"""

import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import textwrap
import time

import common
import fine_tuning

PAGE = common.ROOT / "docs" / "rounding_table.md"
RESULTS = common.ROOT / "docs" / "rounding_table.json"
ROUNDINGS = ("nearest", "second-order", "learned")
RECIPE = "static_wi4_ai8"
HEADERS = (
    "network (float top-1, %)",
    "rounding",
    "top-1, %",
    "lost",
    "agreement, %",
    "RMSE",
    "CPU s",
    "peak GB",
)
HEAD = (
    """`python benchmarks/rounding.py --data cifar10.npz` writes this page. The TFLite
files have 4-bit weights in every layer and 8-bit activations, without training. They run
in LiteRT on all 10,000 test images of CIFAR-10; ranges and rounding use 500 training
images (seed 0). *Lost* is in points of top-1. *Agreement* is the share of images with the
prediction of the float network. *RMSE* is that of the logits divided by their standard
deviation. *CPU s* and *peak GB* are those of the process that wrote the file, including
the conversion and the import of TensorFlow. *Refused* files differ too much from the
network to be written. Differences of 0.1 to 0.2 in top-1 are chance.
"""
    + fine_tuning.PLAIN_NOTE
)


def used():
    """What this process has used so far: CPU seconds, and its peak memory in GB."""
    found = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu": found.ru_utime + found.ru_stime, "gb": found.ru_maxrss / 2**20}


def of_network(name, rounding, data, steps=None):
    """The figures of one file."""
    from keras_resnets.errors import ExportError
    from keras_resnets.quantization import RECIPES

    with tempfile.TemporaryDirectory() as folder:
        subject = fine_tuning.Subject(name, data, folder)
        start = time.perf_counter()
        try:
            recipe = RECIPES[RECIPE].with_rounding(rounding, steps)
            path = subject.quantized("file", recipe)
        except ExportError as error:
            return {"refused": str(error)}
        seconds = time.perf_counter() - start
        cost = {"seconds": seconds, **used()}
        return {
            **subject.measured(path),
            **({"steps": recipe.rounding_steps} if recipe.rounding_steps else {}),
            **cost,
        }


def of_random(name, rounding, count):
    """Seconds and memory for so many synthetic images."""
    import numpy as np

    import keras_resnets
    from keras_resnets.export import random_weights
    from keras_resnets.export import session
    from keras_resnets.images import samples
    from keras_resnets.quantization import RECIPES
    from keras_resnets.quantization import PrecisionPlan
    from keras_resnets.quantization.backends import engines
    from keras_resnets.quantization.options import Options

    model = keras_resnets.create_model(name)
    shape = model.input_shape[1:]
    random_weights.settle(model, samples.default_images(shape))
    images = np.random.default_rng(0).standard_normal((count, *shape), "float32")
    ready = session.make_ready(model, "int8", images, images[:4])
    plan = PrecisionPlan.of(RECIPES[RECIPE].replace(rounding=rounding))
    before = used()["cpu"]
    seconds = common.seconds(lambda: engines.ranged(ready, Options(plan)))
    after = used()
    return {"seconds": seconds, "cpu": after["cpu"] - before, "gb": after["gb"]}


def in_process(*arguments):
    """What this script says when it is called with `arguments`."""
    command = [sys.executable, __file__, "--one", *map(str, arguments)]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, env=common.environment()
    )
    return json.loads(done.stdout.splitlines()[-1])


def page(kept):
    """The table in Markdown."""
    lines = [f"| {' | '.join(HEADERS)} |", "|" + "---|" * len(HEADERS)]
    for name, by_rounding in kept.items():
        top1 = next(x["float"] for x in by_rounding.values() if "float" in x)
        label = f"{name.replace('=', ', ')} ({100 * top1:.2f})"
        for rounding in filter(by_rounding.get, ROUNDINGS):
            one = by_rounding[rounding]
            if "refused" in one:
                cells = [label, rounding, "refused", *[""] * 5]
            else:
                cells = [
                    label,
                    rounding,
                    f"{100 * one['top1']:.2f}",
                    f"{100 * (one['float'] - one['top1']):.2f}",
                    f"{100 * one['agreement']:.2f}",
                    f"{one['rmse']:.4f}",
                    f"{one['cpu']:.0f}",
                    f"{one['gb']:.1f}",
                ]
            lines.append(f"| {' | '.join(cells)} |")
            label = ""
    return f"# Rounding of 4-bit weights\n\n{textwrap.fill(HEAD, 90)}\n\n" + (
        "\n".join(lines) + "\n"
    )


def label_of(network):
    """`resnet20=/some/where/resnet20.th` as `resnet20=resnet20.th`."""
    name, equals, weights = network.partition("=")
    return f"{name}{equals}{pathlib.PurePath(weights).name}"


def table(arguments):
    """Adds what `--results` lacks and writes the page."""
    kept = common.kept_rows(arguments.results)
    for network in arguments.networks or fine_tuning.shipped():
        found = kept.setdefault(label_of(network), {})
        for rounding in arguments.roundings:
            if rounding not in found:
                words = [network, rounding, "--data", arguments.data]
                if arguments.steps:
                    words += ["--steps", arguments.steps]
                found[rounding] = in_process(*words)
                print(network, rounding, found[rounding], flush=True)
                common.keep_rows(arguments.results, kept)
    PAGE.write_text(page(kept), "utf-8")


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--data", metavar="NPZ")
    parser.add_argument("--networks", nargs="*", metavar="NAME[=WEIGHTS]")
    parser.add_argument("--roundings", nargs="*", choices=ROUNDINGS, default=ROUNDINGS)
    parser.add_argument("--steps", type=int, help="of learned rounding, for each block")
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--time", metavar="NAME")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--one", nargs=2)
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    if arguments.one:
        name, rounding = arguments.one
        if arguments.data:
            steps = arguments.steps if rounding == "learned" else None
            found = of_network(name, rounding, arguments.data, steps)
        else:
            found = of_random(name, rounding, arguments.images)
        print(json.dumps(found))
        return
    if arguments.time:
        one = in_process(arguments.time, "second-order", "--images", arguments.images)
        rows = [
            ("on the clock", *common.target(one["seconds"], 600, True, "s")),
            ("CPU of all cores", f"{one['cpu']:.0f} s", "", ""),
            ("peak memory", *common.target(one["gb"], 6, True, "GB")),
        ]
        headers = (
            f"{arguments.images} images, {arguments.time}",
            "taken",
            "target",
            "",
        )
        common.show(headers, rows)
        common.write(arguments.json, one)
        return
    if not arguments.data:
        parser.error("--data is needed for the table")
    table(arguments)


if __name__ == "__main__":
    main()
