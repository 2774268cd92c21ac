"""What `keras_resnets.export.tflite.strided` costs a processor, and saves or costs memory.

    python benchmarks/strided_convolutions.py [--threads 1]

Latency in LiteRT of our int8 files with their strided 1x1 convolutions as a 1x1 max pool
and a stride of 1, which LiteRT's GPU accelerator needs to be right, against the files as
the converter writes them: three trained networks for CIFAR-10's size, and resnet50 and
resnext50_32x4d at 224 x 224. Random inputs; the files take turns, one inference each, and
the best time and the median count.

Targets: at most 1.02 of the time as converted: what is above is an option, not the
default.
"""

import statistics

import common
import tflite_latency

NETWORKS = (
    "resnext20_4x16d_w16",
    "wrn_10_3_w8",
    "resnet29_w12",
    "resnet50",
    "resnext50_32x4d",
)


def files_of(name):
    """(as converted, rewritten) int8 files of a variant, both packed."""
    import keras_resnets
    from keras_resnets.export import random_weights
    from keras_resnets.export import session
    from keras_resnets.export.tflite import convert as tflite
    from keras_resnets.export.tflite import packing
    from keras_resnets.export.tflite import strided
    from keras_resnets.images import samples

    model = keras_resnets.create_model(name)
    shape = tuple(model.inputs[0].shape[1:])
    images = samples.default_images(shape)
    random_weights.settle(model, images)
    content = tflite.convert(session.make_ready(model, "int8", images), "int8")
    return packing.pack(content), packing.pack(strided.rewrite(content))


def calls_of(name, threads):
    """The two files as functions that infer once, by how they are written."""
    import numpy as np

    from keras_resnets.export.tflite import runner as tflite_runner

    converted, rewritten = files_of(name)
    shape = tflite_runner.TFLiteRunner(converted).input_shape
    image = np.random.default_rng(1).normal(size=(1, *shape[1:]))
    return {
        kind: tflite_latency.interpreter(content, image, threads)
        for kind, content in (("converted", converted), ("rewritten", rewritten))
    }


def measure(name, threads, rounds):
    """Cells of a row."""
    calls = calls_of(name, threads)
    common.interleave(calls, rounds=5)
    times = common.interleave(calls, rounds)
    best, median = (
        of(times["rewritten"]) / of(times["converted"])
        for of in (min, statistics.median)
    )
    return (
        name,
        f"{1e3 * min(times['converted']):.3f} ms",
        *common.target(best, 1.02, at_most=True),
        f"{median:.3f}",
    )


def main():
    parser = common.parser(__doc__, rounds=200)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    from keras_resnets.system.quiet import native_logs_hidden

    with native_logs_hidden():
        rows = [measure(name, arguments.threads, arguments.rounds) for name in NETWORKS]
    header = ("network", "converted", "rewritten / it", "target", "", "medians")
    common.show(header, rows)


if __name__ == "__main__":
    main()
