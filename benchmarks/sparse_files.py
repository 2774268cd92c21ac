"""What pruned kernels cost as TFLite files with and without their zeros.

    python benchmarks/sparse_files.py [--network resnet20=keras_resnets_cifar10_plain]

A trained network whose smallest weights are made zero at once (bytes, latency and bits do
not depend on what was trained after that), in int8 and float32, as a dense file and by
TFLite's sparsity encoding (`export.tflite.sparse`, `prune --output`, `--sparse`): bytes,
latency in LiteRT of the two files that take turns, one inference each, and whether they
put out the same bits for `--images` inputs, in XNNPACK and in the built-in kernels.

Targets: of int8, 75 % of 1x4 at most 0.45 of the dense bytes, vector-wise 2:4 (vw-2:4) at
most 0.65 (plain 2:4 cannot shrink in int8); at most 1.02 of the latency (by medians);
equal bits.
"""

import pathlib
import statistics
import tempfile

import common
import tflite_latency

# (pattern, share of zeros, most of the dense bytes in int8).
CASES = (
    ("1x4", 0.75, 0.45),
    ("vw-2:4", 0.5, 0.65),
    ("2:4", 0.5, None),
    ("unstructured", 0.75, None),
)
LATENCY = 1.02


def outputs(content, images, built_in):
    """The bytes that a file puts out, image by image."""
    from keras_resnets.export.tflite import runner as tflite_runner

    litert = tflite_runner.litert()
    kernels = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    options = {"experimental_op_resolver_type": kernels} if built_in else {}
    made = litert.Interpreter(model_content=content, num_threads=1, **options)
    made.allocate_tensors()
    given, put = made.get_input_details()[0], made.get_output_details()[0]
    found = []
    for image in images:
        made.set_tensor(given["index"], tflite_runner.quantize(image[None], given))
        made.invoke()
        found.append(made.get_tensor(put["index"]).tobytes())
    return found


def measure(network, pattern, share, quantize, arguments):
    """The figures of a case."""
    import numpy as np

    import keras_resnets
    from keras_resnets import pruning
    from keras_resnets.export import to_tflite
    from keras_resnets.export.tflite import sparse
    from keras_resnets.images import samples

    name, _, weights = network.partition("=")
    model = keras_resnets.create_model(name, weights=weights or "cifar10")
    pruning.prune(model, share, pattern)
    shape = tuple(model.inputs[0].shape[1:])
    images = samples.default_images(shape, None, model.preprocessing, 50)
    calibration = images if quantize == "int8" else None
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "dense.tflite"
        to_tflite(model, path, quantize, calibration, images=images[:4])
        dense = path.read_bytes()
    found = bytes(sparse.store(dense))
    some = np.asarray(images[: arguments.images], "float32")
    calls = {
        kind: tflite_latency.interpreter(content, some[:1], arguments.threads)
        for kind, content in (("dense", dense), ("sparse", found))
    }
    common.interleave(calls, rounds=10)
    times = common.interleave(calls, arguments.rounds)
    return {
        "dense": len(dense),
        "sparse": len(found),
        "best": min(times["sparse"]) / min(times["dense"]),
        "median": statistics.median(times["sparse"])
        / statistics.median(times["dense"]),
        "equal": all(
            outputs(dense, some, kernels) == outputs(found, some, kernels)
            for kernels in (False, True)
        ),
    }


def row(label, one, limit):
    """Cells of a case."""
    ratio = one["sparse"] / one["dense"]
    size = common.target(ratio, limit, True) if limit else (f"{ratio:.3f}x", "", "")
    return (
        label,
        f"{one['dense']:,}",
        f"{one['sparse']:,}",
        *size,
        *common.target(one["median"], LATENCY, at_most=True),
        f"{one['best']:.3f}",
        "equal" if one["equal"] else "DIFFERENT",
    )


def main():
    parser = common.parser(__doc__, rounds=300)
    parser.add_argument(
        "--network",
        metavar="NAME[=WEIGHTS]",
        default="resnet20=keras_resnets_cifar10_plain",
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=int, default=20)
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    from keras_resnets.system.quiet import native_logs_hidden

    rows, kept = [], {}
    for quantize in ("int8", "none"):
        for pattern, share, limit in CASES:
            label = f"{quantize}, {share:.0%} {pattern}"
            with native_logs_hidden():
                one = measure(arguments.network, pattern, share, quantize, arguments)
            kept[label] = one
            rows.append(row(label, one, limit if quantize == "int8" else None))
            print(rows[-1], flush=True)
    headers = (
        "",
        "dense",
        "sparse",
        "bytes",
        "",
        "",
        "latency",
        "",
        "",
        "best",
        "bits",
    )
    common.show(headers, rows)
    common.write(arguments.json, kept)


if __name__ == "__main__":
    main()
