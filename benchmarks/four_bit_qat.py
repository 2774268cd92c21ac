r"""What a short quantization-aware training leaves of the loss of 4-bit weights.

    python benchmarks/four_bit_qat.py --data cifar10.npz [--networks NAME[=WEIGHTS] ...]
    python benchmarks/four_bit_qat.py --data cifar10.npz --images 50000 --epochs 3
    python benchmarks/four_bit_qat.py --data cifar10.npz --recipe static_wi4_ai8_ends_wi8 \
        --calibration 2000

Each network (by default those in this package) begins from kernels that are
rounded by the second order, is trained on a few training images with the float network as
its teacher, and becomes a TFLite file with 4-bit weights and 8-bit activations, run in
LiteRT on all test images of CIFAR-10. Nothing is chosen by test images: the setting is
the same for all.

Rows are kept in `--results` (JSON) as they come, and not made again; the page is written
from them. Target: at most 0.2 points below float.
"""

import pathlib
import tempfile
import textwrap
import time

import common
import fine_tuning

PAGE = common.ROOT / "docs" / "qat_table.md"
RESULTS = common.ROOT / "docs" / "qat_table.json"
# 4 bits in every layer, or in all but the first kernel and the classifier.
RECIPES = ("static_wi4_ai8", "static_wi4_ai8_ends_wi8")
CALIBRATION = 500
LIMIT = 0.2
HEADERS = (
    "network",
    "ends",
    "calibration",
    "images",
    "float top-1, %",
    "4 bits, %",
    "lost",
    "agreement, %",
    "RMSE",
    "minutes",
)
HEAD = (
    """`python benchmarks/four_bit_qat.py --data cifar10.npz` writes this page. The
TFLite files have 4-bit weights and 8-bit activations, after quantization-aware training
from second-order rounding. *Ends* are the bits of the first kernel and of the classifier
(8: the recipe `static_wi4_ai8_ends_wi8`). *Calibration* is the number of training images
for ranges and rounding. They run in LiteRT on all 10,000
test images of CIFAR-10. The training uses the float network as the teacher, SGD with
Nesterov momentum 0.9, batch 128, a cosine schedule from 0.0002, crops and horizontal
flips. *Images* is the number of training images, far fewer than the 50,000 of an epoch.
*Lost* is in points of top-1 (negative values are gains). *Agreement* is the share of
images with the prediction of the float network. *RMSE* is that of the logits divided by
their standard deviation. *Minutes* are wall-clock minutes on two shared cores.
Differences of 0.1 to 0.2 in top-1 are chance.
The rows of pre-activation networks (ResNet-14-V2, WRN) with 500 images were measured
before channels were scaled (`quantization/equalization.py`).
"""
    + fine_tuning.PLAIN_NOTE
)


def key_of(network, arguments):
    """The name of a row."""
    added = []
    if arguments.recipe != RECIPES[0]:
        added.append(arguments.recipe)
    if arguments.calibration != CALIBRATION:
        added.append(f"{arguments.calibration} images")
    return " ".join([network, *added])


def measured(network, arguments):
    """The figures of one network."""
    with tempfile.TemporaryDirectory() as folder:
        subject = fine_tuning.Subject(
            network, arguments.data, folder, arguments.images, arguments.calibration
        )
        start = time.perf_counter()
        aware = subject.trained(arguments.recipe, arguments.epochs, arguments.rate)
        path = subject.file_of("aware", aware)
        seconds = time.perf_counter() - start
        found = subject.figures(path)
        return {
            "network": network,
            "recipe": arguments.recipe,
            "calibration": arguments.calibration,
            "images": arguments.images,
            "epochs": arguments.epochs,
            "rate": arguments.rate,
            "float": found.model_top1,
            "top1": found.file_top1,
            "agreement": found.agreement,
            "rmse": found.rmse,
            "bytes": path.stat().st_size,
            "seconds": seconds,
        }


def page(kept):
    """The table in Markdown."""
    lines = [f"| {' | '.join(HEADERS)} |", "|" + "---|" * len(HEADERS)]
    for name, one in kept.items():
        cells = (
            one.get("network", name).replace("=", ", "),
            "8" if one.get("recipe", RECIPES[0]) == RECIPES[1] else "4",
            f"{one.get('calibration', CALIBRATION):,}",
            f"{one['images'] * one['epochs']:,}",
            f"{100 * one['float']:.2f}",
            f"{100 * one['top1']:.2f}",
            f"{100 * (one['float'] - one['top1']):.2f}",
            f"{100 * one['agreement']:.2f}",
            f"{one['rmse']:.4f}",
            f"{one['seconds'] / 60:.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    title = "# Quantization-aware training of 4-bit weights"
    return f"{title}\n\n{textwrap.fill(HEAD, 90)}\n\n" + "\n".join(lines) + "\n"


def main():
    parser = common.parser(__doc__)
    fine_tuning.add_arguments(parser, epochs=1)
    parser.set_defaults(images=6400)
    parser.add_argument("--networks", nargs="*", metavar="NAME[=WEIGHTS]")
    parser.add_argument("--recipe", choices=RECIPES, default=RECIPES[0])
    parser.add_argument("--calibration", type=int, default=CALIBRATION)
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--page", type=pathlib.Path, default=PAGE)
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    from keras_resnets.system.quiet import native_logs_hidden

    kept = common.kept_rows(arguments.results)
    for network in arguments.networks or fine_tuning.shipped():
        key = key_of(network, arguments)
        if key not in kept:
            with native_logs_hidden():
                kept[key] = measured(network, arguments)
            print(key, kept[key], flush=True)
            common.keep_rows(arguments.results, kept)
            arguments.page.write_text(page(kept), "utf-8")
    rows = []
    for name, one in kept.items():
        lost = 100 * (one["float"] - one["top1"])
        rows.append((name, *common.target(lost, LIMIT, True, "points")))
    common.show(("network", "lost", "target", ""), rows)


if __name__ == "__main__":
    main()
