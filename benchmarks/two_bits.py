"""What 2-bit weights cost trained networks without training.

    python benchmarks/two_bits.py --data cifar10.npz [--networks NAME[=WEIGHTS] ...]

Kernels are integers from -1 to 1, with a step for each output channel, in every layer
(`all`) or in all but the first and the classifier, which have 8 (`inner`); activations have
8 bits; rounding is of the second order, or `--rounding learned`. 500 training images, the
first `--count` test images. Networks compute in fake quantization; there is no recipe of
2 bits.
"""

import common
import fine_tuning

HEADERS = ("network", "layers of 2 bits", "float top-1, %", "top-1, %", "lost")
RECIPE = "static_wi4_ai8"


def rounded(subject, inner, arguments):
    """The network in fake quantization."""
    from keras_resnets.quantization import RECIPES
    from keras_resnets.quantization import ranges
    from keras_resnets.quantization.qat.freeze import freeze
    from keras_resnets.quantization.qat.layers import KERNELS
    from keras_resnets.quantization.qat.rewrite import rewrite
    from keras_resnets.quantization.rounding.methods import round_kernels

    recipe = RECIPES[RECIPE].with_rounding(arguments.rounding, arguments.steps)
    made = rewrite(subject.model, recipe)
    kernels = [layer for layer in made.layers if isinstance(layer, KERNELS)]
    for layer in kernels:
        layer.weight_bits = 2
    if inner:
        kernels[0].weight_bits = kernels[-1].weight_bits = 8
    ranges.set_ranges(made, subject.chosen.images)
    round_kernels(made, subject.chosen.images, recipe)
    return freeze(made)


def main():
    import numpy as np

    parser = common.parser(__doc__)
    parser.add_argument("--data", required=True, metavar="NPZ")
    parser.add_argument("--networks", nargs="*", metavar="NAME[=WEIGHTS]")
    parser.add_argument("--rounding", default="second-order")
    parser.add_argument("--steps", type=int, help="of --rounding learned")
    parser.add_argument("--count", type=int, default=2000, help="test images")
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    with np.load(arguments.data) as file:
        pixels = file["x_test"][: arguments.count].astype("float32")
        labels = np.ravel(file["y_test"])[: arguments.count]
    rows = []
    for name in arguments.networks or fine_tuning.shipped():
        subject = fine_tuning.Subject(name, arguments.data, ".")
        images = subject.model.preprocessing.normalize(pixels, "channels_last")

        def top1(model, images=images):
            answers = model.predict(images, batch_size=100, verbose=0).argmax(1)
            return 100 * float((answers == labels).mean())

        whole = top1(subject.model)
        for inner in (False, True):
            found = top1(rounded(subject, inner, arguments))
            told = (f"{whole:.2f}", f"{found:.2f}", f"{whole - found:.2f}")
            rows.append((name, "inner" if inner else "all", *told))
            print(*rows[-1], flush=True)
    common.show(HEADERS, rows)


if __name__ == "__main__":
    main()
