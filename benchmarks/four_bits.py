"""Weights of 4 bits in FULLY_CONNECTED: bytes and latency beside int8, and the cost table.

    python benchmarks/four_bits.py [--networks resnet50 resnext50_32x4d resnet18]
    python benchmarks/four_bits.py --table

Files of `quantize --recipe static_wi4_ai8` at 224 x 224, random weights with settled
statistics: stored as int8, as FULLY_CONNECTED int4 by the cost table (`latency`), all of
them (`size`), and as CONV_2D int4. They take turns, one inference each; *ratio* is the
median of a file's time over the int8 file's in the same round. With one thread, with
two, and with two while a second process spins: there the slowest inference tells of
stalls.

`--table` measures single convolutions and dense layers both ways and writes
`keras_resnets/export/tflite/costs.csv`, which the writer decides by: microseconds, the
best of all turns in all passes, for one and two threads.

Targets: at most 1.05 times the int8 file's latency; ResNet-50 and ResNeXt-50 at most
15.0 MB, ResNet-18 at most 6.6 MB.
"""

import csv
import io
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

import common
import tflite_latency

# Bytes that a file may have by default.
LARGEST = {"resnet50": 15.0e6, "resnext50_32x4d": 15.0e6, "resnet18": 6.6e6}
STORAGES = {
    "int8": {"storage": "int8"},
    "latency": {},
    "size": {"prefer": "size"},
    "conv_int4": {"storage": "conv_int4"},
}
TABLE = "keras_resnets/export/tflite/costs.csv"
# (side of the output, stride, kernel, channels in, channels out) of the family's networks
# at 224 x 224 and of those for CIFAR, and some between.
ONE = (
    (56, 64, 64),
    (56, 64, 256),
    (56, 256, 64),
    (56, 256, 128),
    (56, 128, 256),
    (28, 512, 128),
    (28, 128, 512),
    (28, 512, 256),
    (28, 256, 512),
    (14, 1024, 256),
    (14, 256, 1024),
    (14, 1024, 512),
    (14, 512, 1024),
    (7, 2048, 512),
    (7, 512, 2048),
    (7, 2048, 1024),
    (7, 1024, 2048),
    (32, 16, 64),
    (32, 64, 16),
    (16, 32, 128),
    (16, 128, 32),
    (8, 64, 256),
    (8, 256, 64),
)
ONE_STRIDED = (
    (28, 64, 128),
    (28, 256, 512),
    (14, 128, 256),
    (14, 512, 1024),
    (7, 256, 512),
    (7, 1024, 2048),
    (16, 64, 128),
    (8, 128, 256),
    (16, 16, 32),
    (8, 32, 64),
)
THREE = (
    (56, 64, 64),
    (56, 128, 128),
    (28, 128, 128),
    (28, 256, 256),
    (14, 256, 256),
    (14, 512, 512),
    (7, 512, 512),
    (7, 1024, 1024),
    (32, 16, 16),
    (32, 64, 64),
    (16, 32, 32),
    (16, 128, 128),
    (8, 64, 64),
    (8, 256, 256),
)
THREE_STRIDED = (
    (28, 64, 128),
    (28, 128, 128),
    (14, 128, 256),
    (14, 256, 256),
    (7, 256, 512),
    (7, 512, 512),
    (16, 16, 32),
    (16, 64, 128),
    (8, 32, 64),
    (8, 128, 256),
)
SHAPES = [
    (*row[:1], stride, kernel, *row[1:])
    for rows, stride, kernel in (
        (ONE, 1, 1),
        (ONE_STRIDED, 2, 1),
        (THREE, 1, 3),
        (THREE_STRIDED, 2, 3),
    )
    for row in rows
]
DENSE = ((64, 10), (256, 100), (512, 1000), (2048, 1000))


def layer_file(side, stride, kernel, inputs, outputs):
    """An int8 file of one convolution behind "same" padding; of a dense layer: side 0."""
    import numpy as np

    from keras_resnets.export.tflite import runner as tflite_runner

    schema, rng = tflite_runner.schema(), np.random.default_rng(0)
    is_dense = side == 0
    given = (1, inputs) if is_dense else (1, side * stride, side * stride, inputs)
    made = (1, outputs) if is_dense else (1, side, side, outputs)
    weights = (outputs, inputs) if is_dense else (outputs, kernel, kernel, inputs)
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, graph.tensors = 3, [schema.BufferT()], []

    def tensor(name, shape, scale, zero=0, data=None):
        made = schema.TensorT()
        made.name, made.shape, made.buffer = name, list(shape), 0
        made.type = schema.TensorType.INT8
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale = np.atleast_1d(scale).astype("float32")
        made.quantization.zeroPoint = np.full(np.size(scale), zero, "int64")
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), "uint8")
            model.buffers.append(buffer)
            made.buffer = len(model.buffers) - 1
            if data.dtype == np.int32:
                made.type = schema.TensorType.INT32
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    scales = np.full(1 if is_dense else outputs, 0.02)
    tensors = [
        tensor("image", given, 0.05, -128),
        tensor(
            "kernel", weights, scales, 0, rng.integers(-7, 8, weights).astype("int8")
        ),
        tensor("bias", (outputs,), scales * 0.05, 0, np.zeros(outputs, "int32")),
        tensor("layer/made", made, 5.0, -128),
    ]
    graph.inputs, graph.outputs = tensors[:1], tensors[3:]
    graph.operators = [operator(schema, is_dense, stride, tensors)]
    code = schema.OperatorCodeT()
    name = "FULLY_CONNECTED" if is_dense else "CONV_2D"
    code.builtinCode = getattr(schema.BuiltinOperator, name)
    code.deprecatedBuiltinCode, code.version = code.builtinCode, 4 if is_dense else 3
    model.operatorCodes, model.subgraphs = [code], [graph]
    model.signatureDefs = [signature(schema)]
    return packed_model(model)


def operator(schema, is_dense, stride, tensors):
    """The one operator."""
    op = schema.OperatorT()
    op.opcodeIndex, op.inputs, op.outputs = 0, tensors[:3], tensors[3:]
    if is_dense:
        op.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
        op.builtinOptions = schema.FullyConnectedOptionsT()
        return op
    op.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
    how = op.builtinOptions = schema.Conv2DOptionsT()
    how.strideH = how.strideW = stride
    how.dilationHFactor = how.dilationWFactor = 1
    how.padding = schema.Padding.SAME
    how.fusedActivationFunction = schema.ActivationFunctionType.RELU
    return op


def signature(schema):
    """The names of both ends."""
    made = schema.SignatureDefT()
    made.signatureKey, made.inputs, made.outputs = "serving_default", [], []
    for ends, name, index in ((made.inputs, "image", 0), (made.outputs, "made", 3)):
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, index
        ends.append(entry)
    return made


def packed_model(model):
    """Its bytes."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def write_table(arguments):
    """Measures all shapes and writes `costs.csv`.

    Several passes over all of them, of which the best time counts: a neighbour on the
    same core slows what computes on 4 bits more than int8.
    """
    shapes = [*SHAPES, *((0, 1, 1, *row) for row in DENSE)]
    best = {}
    for done in range(arguments.passes):
        for shape in shapes:
            for name, time in layer_times(shape, arguments.rounds).items():
                best[shape, name] = min(time, best.get((shape, name), time))
        slower = [best[x, "int4_1"] / best[x, "int8_1"] for x in shapes]
        print(f"pass {done + 1}: {statistics.geometric_mean(slower):.3f}x", flush=True)
        write_rows(shapes, best)


def layer_times(shape, rounds):
    """Best microseconds of a layer, by int8 or int4 and threads."""
    import numpy as np

    from keras_resnets.export.tflite import fully_connected

    side, stride, kernel, inputs, outputs = shape
    content = layer_file(side, stride, kernel, inputs, outputs)
    stored, _ = fully_connected.store(content, "everything")
    given = (1, side * stride, side * stride, inputs) if side else (1, inputs)
    image = np.random.default_rng(1).normal(size=given)
    calls = {
        f"{name}_{threads}": tflite_latency.interpreter(file, image, threads)
        for name, file in (("int8", content), ("int4", stored))
        for threads in (1, 2)
    }
    common.interleave(calls, 3)
    times = common.interleave(calls, rounds)
    return {name: 1e6 * min(found) for name, found in times.items()}


def write_rows(shapes, best):
    """Writes the table of best times by (shape, column)."""
    text = io.StringIO()
    columns = ("int8_1", "int8_2", "int4_1", "int4_2")
    sides = ("kind", "taps", "stride", "pixels", "inputs", "outputs")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*sides, *columns))
    for shape in shapes:
        side, stride, kernel, inputs, outputs = shape
        kind, pixels = "conv" if side else "dense", max(side, 1) ** 2
        row = (kind, kernel * kernel * inputs, stride, pixels, inputs, outputs)
        writer.writerow((*row, *(f"{best[shape, name]:.1f}" for name in columns)))
    head = f"# Microseconds on {processor()}, by benchmarks/four_bits.py --table\n"
    (common.ROOT / TABLE).write_text(head + text.getvalue())


def processor():
    """What the machine calls its processor."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    flags = next((x for x in lines if x.startswith("flags")), "").split()
    names = [x.split(":")[1].strip() for x in lines if x.startswith("model name")]
    known = [x for x in ("avx512_vnni", "avx_vnni", "avx2") if x in flags][:1]
    return ", ".join([*names[:1], *known]) or platform.processor()


def network_files(name, folder):
    """The bytes of each storage's file, by its word."""
    import keras

    import keras_resnets
    from keras_resnets import quantization
    from keras_resnets.export import random_weights
    from keras_resnets.export.tflite import packing
    from keras_resnets.export.tflite import storage
    from keras_resnets.images import samples

    images = samples.default_images(tflite_latency.SHAPE, count=10)
    keras.utils.set_random_seed(0)
    model = keras_resnets.create_model(name)
    random_weights.settle(model, images)
    path = pathlib.Path(folder) / f"{name}.tflite"
    # Size and time do not depend on how kernels are rounded.
    options = {"method": "minmax", "rounding": "nearest", "packed": False}
    options["storage"] = "int8"
    quantization.quantize(model, path, "static_wi4_ai8", images, **options)
    content = path.read_bytes()
    stored = {word: storage.choose(**x) for word, x in STORAGES.items()}
    return {word: packing.pack(x.store(content)[0]) for word, x in stored.items()}


def measure(name, files, arguments):
    """Rows of the table of a network."""
    import numpy as np

    from keras_resnets.export.tflite import runner as tflite_runner

    shape = tflite_runner.TFLiteRunner(files["int8"]).input_shape
    image = np.random.default_rng(1).normal(size=shape)
    rows = []
    for load in ("1 thread", "2 threads", "2 threads, a process spinning"):
        threads = int(load[0])
        calls = {
            word: tflite_latency.interpreter(content, image, threads)
            for word, content in files.items()
        }
        with spinning("spinning" in load):
            common.interleave(calls, 3)
            times = common.interleave(calls, arguments.rounds)
        for word, found in times.items():
            ratio = statistics.median(
                a / b for a, b in zip(found, times["int8"], strict=True)
            )
            median, most = 1e3 * statistics.median(found), 1e3 * max(found)
            limit = common.target(ratio, 1.05, at_most=True)
            cells = limit if word == "latency" else (common.times(ratio), "", "")
            rows.append((load, word, f"{median:.2f}", f"{most:.1f}", *cells))
    return rows


class spinning:  # noqa: N801
    """A second process that computes, meanwhile."""

    def __init__(self, is_wanted):
        self._wanted = is_wanted

    def __enter__(self):
        endless = [sys.executable, "-c", "while True: pass"]
        self._process = subprocess.Popen(endless) if self._wanted else None

    def __exit__(self, *_):
        if self._process:
            self._process.kill()
            self._process.wait()


def main():
    parser = common.parser(__doc__, rounds=60)
    parser.add_argument("--networks", nargs="+", default=list(LARGEST))
    parser.add_argument("--table", action="store_true", help="write costs.csv")
    parser.add_argument("--passes", type=int, default=5, help="of --table")
    arguments = parser.parse_args()
    if arguments.table:
        write_table(arguments)
        return
    from keras_resnets.system.quiet import native_logs_hidden

    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.networks:
            with native_logs_hidden():
                files = network_files(name, folder)
            sizes = [size_row(name, word, content) for word, content in files.items()]
            common.show(("network", "storage", "bytes", "target", ""), sizes)
            rows = measure(name, files, arguments)
            common.show(
                ("load", "storage", "median ms", "most ms", "ratio", "target", ""), rows
            )


def size_row(name, word, content):
    """Cells of the first table."""
    size = f"{len(content) / 1e6:.2f} MB"
    if word != "latency" or name not in LARGEST:
        return (name, word, size, "", "")
    verdict = "reached" if len(content) <= LARGEST[name] else "MISSED"
    return (name, word, size, f"<= {LARGEST[name] / 1e6:.1f} MB", verdict)


if __name__ == "__main__":
    main()
