"""Latency in LiteRT.

    python benchmarks/tflite_latency.py

One image of 224 x 224 through int8 (int8 in, int8 out) and float32 files of our
resnet50 and resnet50v1 and of keras.applications.ResNet50, two threads, all written
by `keras_resnets.export.tflite.convert.convert`. The weights are random, the BN statistics
settled. The files take turns, one inference each.

Targets: our resnet50 in int8 at most 1.05 times keras.applications', and at least 3
times faster than in float32. resnet50 is v1.5, with the stride in the 3x3
convolution and more multiply-adds; resnet50v1 is keras.applications' network.
"""

import statistics

import common

SHAPE = (224, 224, 3)
STOCK = "keras.applications/resnet50"


def networks():
    import keras

    import keras_resnets

    return {
        "ours/resnet50": lambda: keras_resnets.create_model("resnet50"),
        "ours/resnet50v1": lambda: keras_resnets.create_model("resnet50v1"),
        STOCK: lambda: keras.applications.ResNet50(weights=None),
    }


def convert(make, images):
    """The multiply-adds of a network, and its files by format."""
    import keras

    import keras_resnets
    from keras_resnets.export import random_weights
    from keras_resnets.export import session
    from keras_resnets.export.tflite import convert as tflite

    keras.utils.set_random_seed(0)
    model = make()
    random_weights.settle(model, images)
    macs = keras_resnets.analyze(model, SHAPE).macs
    return macs, {
        "int8": tflite.convert(session.make_ready(model, "int8", images), "int8"),
        "float32": tflite.convert(session.make_ready(model)),
    }


def interpreter(content, image, threads):
    """The `invoke` of a file's bytes, or of a view of them, with an image in place."""
    try:
        from ai_edge_litert import interpreter
    except ImportError:
        from tensorflow.lite.python import interpreter
    from keras_resnets.export.tflite import runner as tflite_runner

    made = interpreter.Interpreter(model_content=bytes(content), num_threads=threads)
    made.allocate_tensors()
    details = made.get_input_details()[0]
    made.set_tensor(details["index"], tflite_runner.quantize(image, details))
    return made.invoke


def measure(arguments):
    from keras_resnets.export.tflite import runner as tflite_runner
    from keras_resnets.images import samples
    from keras_resnets.system.quiet import native_logs_hidden

    images = samples.default_images(SHAPE, count=arguments.calibration)
    invokes, macs, pads = {}, {}, {}
    with native_logs_hidden():
        for name, make in networks().items():
            count, contents = convert(make, images)
            for form, content in contents.items():
                key = f"{name}/{form}"
                invokes[key] = interpreter(content, images[:1], arguments.threads)
                macs[key] = count
                pads[key] = tflite_runner.operators(content).get("PAD", 0)
        common.interleave(invokes, rounds=3)
        times = common.interleave(invokes, arguments.rounds)
    return {
        name: {
            "giga_macs": macs[name] / 1e9,
            "pads": pads[name],
            "best_ms": 1e3 * min(times[name]),
            "median_ms": 1e3 * statistics.median(times[name]),
            "ms": [1e3 * seconds for seconds in times[name]],
        }
        for name in invokes
    }


def compare(found, label, over, under, **limit):
    """A table's row for the latency of `over` in units of that of `under`."""
    best = found[over]["best_ms"] / found[under]["best_ms"]
    cells = common.target(best, **limit) if limit else (common.times(best), "", "")
    # Within a round both were disturbed alike.
    rounds = zip(found[over]["ms"], found[under]["ms"], strict=True)
    paired = statistics.median(a / b for a, b in rounds)
    return (label, *cells, common.times(paired))


def main():
    parser = common.parser(__doc__, rounds=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--calibration", type=int, default=4, help="images")
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    found = measure(arguments)
    columns = ("pads", "best_ms", "median_ms")
    rows = [
        (name, f"{row['giga_macs']:.2f}", *(row[column] for column in columns))
        for name, row in found.items()
    ]
    common.show(("file", "GMACs", "PADs", "best ms", "median ms"), rows)
    rows = []
    for form in ("int8", "float32"):
        for name in ("resnet50", "resnet50v1"):
            judged = (form, name) == ("int8", "resnet50")
            limit = {"limit": 1.05, "at_most": True} if judged else {}
            over, under = f"ours/{name}/{form}", f"{STOCK}/{form}"
            rows.append(compare(found, f"{over} / {STOCK}", over, under, **limit))
    for name in ("ours/resnet50", "ours/resnet50v1", STOCK):
        limit = {"limit": 3, "at_most": False} if name == "ours/resnet50" else {}
        label = f"{name}: float32 / int8"
        rows.append(compare(found, label, f"{name}/float32", f"{name}/int8", **limit))
    headers = ("latencies", "of the best", "target", "", "median of the rounds")
    common.show(headers, rows)
    ratios = {label: float(best.rstrip("x")) for label, best, *_ in rows}
    common.write(arguments.json, {"files": found, "ratios": ratios})


if __name__ == "__main__":
    main()
