"""What 2-bit weights cost trained networks without training.

    python benchmarks/two_bits.py --data cifar10.npz [--networks NAME[=WEIGHTS] ...]

Kernels are integers from -1 to 1, with a step for each output channel, in every layer
(`all`) or in all but the first and the classifier, which have 8 (`inner`); activations have
8 bits; rounding is of the second order, or `--rounding learned`. 500 training images, the
first `--count` test images. Networks compute in fake quantization. `--files` measures the
files of the recipe `static_wi2_ai8` (`inner`) in LiteRT instead, beside those of 8 and 4
bits: bytes, top-1, and latency over the int8 file's, one thread.
"""

import common
import fine_tuning

HEADERS = ("network", "layers of 2 bits", "float top-1, %", "top-1, %", "lost")
RECIPE = "static_wi2_ai8"
FILES = {
    "int8": ("static_wi8_ai8", {}),
    "4 bits, latency": ("static_wi4_ai8", {}),
    "4 bits, size": ("static_wi4_ai8", {"prefer": "size"}),
    "2 bits, latency": (RECIPE, {}),
    "2 bits, size": (RECIPE, {"prefer": "size"}),
}


def rounded(subject, inner, arguments):
    """The network in fake quantization."""
    from keras_resnets.quantization import RECIPES
    from keras_resnets.quantization import ranges
    from keras_resnets.quantization.qat.freeze import freeze
    from keras_resnets.quantization.qat.rewrite import rewrite
    from keras_resnets.quantization.rounding.methods import round_kernels

    recipe = RECIPES[RECIPE].with_rounding(arguments.rounding, arguments.steps)
    if not inner:
        recipe = recipe.replace(end_bits=None)
    made = rewrite(subject.model, recipe)
    ranges.set_ranges(made, subject.chosen.images)
    round_kernels(made, subject.chosen.images, recipe)
    return freeze(made)


def measure_files(subject, images, labels):
    """Prints bytes, top-1 and latency of the network's files, which take turns."""
    import numpy as np

    from keras_resnets.export.compare import benchmark
    from keras_resnets.export.tflite.runner import TFLiteRunner

    paths, rows = [], []
    for title, (recipe, options) in FILES.items():
        kind = title.replace(" ", "_").replace(",", "")
        paths.append(subject.quantized(kind, recipe, **options))
        answers = np.asarray(TFLiteRunner(paths[-1], 2, True)(images)).argmax(1)
        top1 = 100 * float((answers == labels).mean())
        rows.append([title, f"{paths[-1].stat().st_size:,}", f"{top1:.2f}"])
        print(subject.name, *rows[-1], flush=True)
    timings = benchmark.benchmark(paths, threads=1, runs=100)
    for row, timing in zip(rows, timings, strict=True):
        row.append(f"{timing.median / timings[0].median:.2f}x")
    common.show((subject.name, "bytes", "top-1, %", "latency"), rows)


def main():
    import numpy as np

    parser = common.parser(__doc__)
    parser.add_argument("--data", required=True, metavar="NPZ")
    parser.add_argument("--networks", nargs="*", metavar="NAME[=WEIGHTS]")
    parser.add_argument("--rounding", default="second-order")
    parser.add_argument("--steps", type=int, help="of --rounding learned")
    parser.add_argument("--count", type=int, default=2000, help="test images")
    parser.add_argument("--files", metavar="FOLDER", help="measure files, kept here")
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    with np.load(arguments.data) as file:
        pixels = file["x_test"][: arguments.count].astype("float32")
        labels = np.ravel(file["y_test"])[: arguments.count]
    rows = []
    for name in arguments.networks or fine_tuning.shipped():
        subject = fine_tuning.Subject(name, arguments.data, arguments.files or ".")
        images = subject.model.preprocessing.normalize(pixels, "channels_last")
        if arguments.files:
            measure_files(subject, images, labels)
            continue

        def top1(model, images=images):
            answers = model.predict(images, batch_size=100, verbose=0).argmax(1)
            return 100 * float((answers == labels).mean())

        whole = top1(subject.model)
        for inner in (False, True):
            found = top1(rounded(subject, inner, arguments))
            told = (f"{whole:.2f}", f"{found:.2f}", f"{whole - found:.2f}")
            rows.append((name, "inner" if inner else "all", *told))
            print(*rows[-1], flush=True)
    if rows:
        common.show(HEADERS, rows)


if __name__ == "__main__":
    main()
