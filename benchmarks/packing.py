"""What int8 TFLite files gain by `keras_resnets.export.tflite.packing`.

    python benchmarks/packing.py

Latency in LiteRT, two threads, of our int8 files of resnet50 and resnext50_32x4d at
224 x 224, arranged by it against unarranged; then of single grouped convolutions as
ResNeXt-50 has them, in int8 and float32, by how many groups are made one. Random weights;
the files take turns, one inference each, and the best time counts. The ratios say
whether `merged_groups` chooses right on this processor.

Targets: an arranged file takes at most the time of the unarranged one.
"""

import common
import tflite_latency

NETWORKS = ("resnet50", "resnext50_32x4d")
# Height, channels, groups: the 3x3 convolutions of ResNeXt-50 32x4d, by stage.
CONVOLUTIONS = ((56, 128, 32), (28, 256, 32), (14, 512, 32), (7, 1024, 32))
COUNTS = (1, 2, 4, 8)


def network_files(name):
    """(unarranged, arranged) int8 files of a variant."""
    import keras_resnets
    from keras_resnets.export import random_weights
    from keras_resnets.export import session
    from keras_resnets.export.tflite import convert as tflite
    from keras_resnets.export.tflite import packing
    from keras_resnets.images import samples

    images = samples.default_images(tflite_latency.SHAPE)
    model = keras_resnets.create_model(name)
    random_weights.settle(model, images)
    content = tflite.convert(session.make_ready(model, "int8", images), "int8")
    return content, packing.pack(content)


def convolution_file(form, size, channels, groups, count):
    """The file of one grouped convolution, `count` of whose groups are one."""
    import keras
    import numpy as np

    from keras_resnets.export import session
    from keras_resnets.export.tflite import convert as tflite
    from keras_resnets.export.tflite import packing

    layer = keras.layers.Conv2D(channels, 3, padding="same", groups=groups // count)
    given = keras.Input((size, size, channels))
    model = keras.Model(given, layer(given))
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(channels, 3, 3, channels // groups)).astype("float32")
    merged = packing.block_diagonal(kernel, groups, count)
    layer.kernel.assign(merged.transpose(1, 2, 3, 0))
    images = rng.normal(size=(4, size, size, channels)).astype("float32")
    quantize = "int8" if form == "int8" else "none"
    calibration = images if form == "int8" else None
    ready = session.make_ready(model, quantize, calibration, images)
    return tflite.convert(ready, quantize)


def best_times(contents, rounds):
    """Milliseconds of each file, by name."""
    import numpy as np

    from keras_resnets.export.tflite import runner as tflite_runner

    calls = {}
    for name, content in contents.items():
        shape = tflite_runner.TFLiteRunner(content).input_shape
        image = np.random.default_rng(1).normal(size=(1, *shape[1:]))
        calls[name] = tflite_latency.interpreter(content, image, 2)
    common.interleave(calls, rounds=5)
    times = common.interleave(calls, rounds)
    return {name: 1e3 * min(found) for name, found in times.items()}


def measure_networks(rounds):
    """Cells of the first table."""
    files = {}
    for name in NETWORKS:
        files[name, "unarranged"], files[name, "arranged"] = network_files(name)
    found = best_times(files, rounds)
    return [
        (
            name,
            *common.target(
                found[name, "arranged"] / found[name, "unarranged"], 1.0, at_most=True
            ),
        )
        for name in NETWORKS
    ]


def measure_convolutions(rounds):
    """Cells of the second table."""
    rows = []
    for form in ("int8", "float32"):
        for size, channels, groups in CONVOLUTIONS:
            files = {
                count: convolution_file(form, size, channels, groups, count)
                for count in COUNTS
            }
            found = best_times(files, rounds)
            label = f"{form}, {channels // groups} channels a group, {size} x {size}"
            rows.append(
                (label, *(f"{found[count] / found[1]:.2f}" for count in COUNTS))
            )
    return rows


def main():
    arguments = common.parser(__doc__, rounds=100).parse_args()
    common.quiet_tensorflow()
    from keras_resnets.system.quiet import native_logs_hidden

    with native_logs_hidden():
        networks = measure_networks(arguments.rounds)
        convolutions = measure_convolutions(arguments.rounds)
    common.show(("arranged / unarranged", "of the best", "target", ""), networks)
    print()
    common.show(("groups made one", *map(str, COUNTS)), convolutions)


if __name__ == "__main__":
    main()
