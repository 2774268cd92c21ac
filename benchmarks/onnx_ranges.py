"""Accuracy of int8 ONNX files by the range of their weights.

    python benchmarks/onnx_ranges.py --data cifar10.npz --networks NAME[=WEIGHTS] ...

Each network (by default those in this package) as an int8 ONNX file whose weights have the
default range, the full one (full_range), and 7 bits (reduce_range), from 500 training
images (seed 0). The files run in ONNX Runtime on all test images: exactly, and as a session
does it by default, which overflows on x86 processors without VNNI. Prints top-1, agreement
with the float network, and root mean square error of the logits divided by their standard
deviation.
"""

import tempfile
from unittest import mock

import common
import fine_tuning

RANGES = ("default", "full_range", "reduce_range")
HEADERS = ("network (float top-1)", "weights", "exact", "default session")


def figures_of(subject, kind):
    """The figures of one file, exact and as a default session has them."""
    from keras_resnets.export import to_onnx
    from keras_resnets.export.onnx import overflow

    path = subject.folder / "file.onnx"
    to_onnx(
        subject.model,
        path,
        "static_wi8_ai8",
        calibration=subject.chosen.images,
        images=subject.images,
        overwrite=True,
        batch="dynamic",
        **({} if kind == "default" else {kind: True}),
    )
    found = {"exact": subject.measured(path)}
    with mock.patch.object(overflow, "concerns", lambda file: False):
        found["default"] = subject.measured(path)
    return found


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--data", required=True, metavar="NPZ")
    parser.add_argument("--networks", nargs="*", metavar="NAME[=WEIGHTS]")
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    rows, figures = [], {}
    for network in arguments.networks or fine_tuning.shipped():
        with tempfile.TemporaryDirectory() as folder:
            subject = fine_tuning.Subject(network, arguments.data, folder)
            for kind in RANGES:
                found = figures_of(subject, kind)
                figures[f"{network} {kind}"] = found
                label = f"{network} ({100 * found['exact']['float']:.2f})"
                shown = map(fine_tuning.said, (found["exact"], found["default"]))
                rows.append((label, kind, *shown))
                print(*rows[-1], sep=" | ", flush=True)
    common.show(HEADERS, rows)
    common.write(arguments.json, figures)


if __name__ == "__main__":
    main()
