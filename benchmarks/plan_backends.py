"""What executes a precision plan: our editor of int8 files, or LiteRT's own quantizer.

    python benchmarks/plan_backends.py --data cifar10.npz

Both get the same network with the same ranges, kernels and corrected biases. The editor
changes operators of the int8 file that TensorFlow's converter makes; the quantizer
(package ai-edge-quantizer) works on the float file of the same network, by rules for
names of tensors, with the ranges given to it. Files are compared with the network that
computes in fake quantization, number by number: *equal* is the share of logits that are
the same integer, *steps* the largest difference. *Again* are the seconds for another
plan of the same network, as a search needs many: the editor has its int8 file, the
quantizer makes the float file anew, as biases go with the plan. Latency is of files
that take turns. int16 is judged on a tenth of the images: XNNPACK has no such
convolutions.
"""

import importlib
import json
import pathlib
import re
import sys
import tempfile
import time

import common
import fine_tuning

sys.path.insert(0, str(common.ROOT / "tests"))

CASES = {
    "int8": "static_wi8_ai8",
    "int16": "static_wi8_ai8",
    "mixed": "static_wi8_ai8",
    "4-bit weights": "static_wi4_ai8",
}
HEADERS = (
    "network",
    "case",
    "backend",
    "equal",
    "steps",
    "top-1",
    "operators",
    "bytes",
    "seconds",
    "again",
    "latency",
)


class Subject:
    """A trained network, quantized by one recipe, and the images to judge files by.

    Args:
        name: `NETWORK` or `NETWORK=WEIGHTS`.
        arguments: of the command line.
    """

    def __init__(self, name, arguments):
        import numpy as np

        import keras_resnets
        from keras_resnets import quantization

        self.name, _, weights = name.partition("=")
        self.model = keras_resnets.create_model(self.name, weights=weights or "cifar10")
        with np.load(arguments.data) as file:
            pixels, labels = file["x_test"], np.ravel(file["y_test"])
        given = self.model.preprocessing
        self.images = given.normalize(pixels[: arguments.count], "channels_last")
        self.labels = labels[: arguments.count]
        self.compared = self.images[: arguments.compared]
        self.chosen = quantization.choose(arguments.data, given, 500, seed=0)
        self.recipe = None

    def rounded(self, recipe):
        """Sets `ready`, the fake-quantized network and its graph of operators."""
        if self.recipe and self.recipe.name == recipe:
            return
        from keras_resnets.export import session
        from keras_resnets.quantization import operators
        from keras_resnets.quantization.backends import engines
        from keras_resnets.quantization.options import Options

        self.ready = session.make_ready(self.model, "int8", self.chosen.images)
        options, self.content = Options.of(recipe), None
        self.recipe = options.plan.recipe
        self.network, *facts = engines.ranged(self.ready, options)
        self.graph = operators.read(self.network, self.ready.shape, *facts)

    def plan(self, case):
        """The precision of each operator that is not int8, by its name."""
        names = [x.name for x in self.graph.operators]
        if case == "int16":
            return dict.fromkeys(names, "int16")
        if case == "mixed":
            return dict.fromkeys(names[1::4], "float")
        return {}

    def reference(self, plan):
        """Logits of the fake-quantized network."""
        from mixed_simulation import computing

        from keras_resnets.quantization.search.sensitivity import measurable

        with computing(self.graph, plan):
            return measurable(self.network).predict(self.compared, 100, verbose=0)


def by_editor(subject, plan):
    """Bytes of the file that our editor makes."""
    from keras_resnets.export.tflite import int4
    from keras_resnets.quantization.backends import engines
    from keras_resnets.quantization.backends import mixed_file

    if subject.content is None:
        subject.content = bytes(
            engines.from_fake_quantized(subject.network, subject.ready, "int8")
        )
    content = subject.content
    if subject.recipe.weight_bits == 4:
        return int4.store(content)[0]
    return mixed_file.mix(content, subject.graph, plan)


def by_litert(subject, plan):
    """Bytes of the file that LiteRT's quantizer makes of the float file."""
    from keras_resnets.quantization.backends import mixed_file

    content = float_file(subject, plan)
    file = mixed_file._Mixer(content, subject.graph, {})
    bits = subject.recipe.weight_bits
    package = importlib.import_module("ai_edge_quantizer.quantizer")
    grids = grids_of(file, subject.graph)
    chosen = rules(file, subject.graph, grids, plan, bits)
    made = package.Quantizer(content, chosen).quantize(
        ranges(file, subject, grids, plan),
        enable_progress_bar=False,
        enable_progress_report=False,
    )
    return bytes(made.quantized_model)


def float_file(subject, plan):
    """Bytes of the float file, with the biases that the plan's precisions go with."""
    import contextlib
    import dataclasses

    from keras_resnets.export.tflite import convert
    from keras_resnets.quantization import bias_correction
    from keras_resnets.quantization import ranges as observed

    free = {
        x.weights.name
        for x in subject.graph.operators
        if x.weights is not None and plan.get(x.name) == "float"
    }
    biases = {k: v for k, v in subject.graph.biases.items() if k in free}
    ready = dataclasses.replace(
        subject.ready,
        model=subject.network,
        reference=subject.network,
        calibration=None,
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(observed.float_arithmetic(subject.network))
        stack.enter_context(bias_correction.replaced(subject.network, biases))
        return bytes(convert.convert(ready, "none"))


def grids_of(file, graph):
    """The `FakeQuantize` of the tensors of a float file, by their index."""
    names = {id(op): name for name, op in file.found.items()}
    known = {x.name: x for x in graph.operators}
    grids = dict.fromkeys(file.graph.inputs, graph.fixed[0])
    for op in file.graph.operators:
        operator = known.get(names.get(id(op)))
        grid = operator.output if operator else grids.get(op.inputs[0])
        # A softmax has a range of its own, but the quantizer asks for one.
        grids[op.outputs[0]] = grid
    return grids


def rules(file, graph, grids, plan, bits):
    """A rule for the operators of each kind, and one for each that the plan raises."""
    qtyping = importlib.import_module("ai_edge_quantizer.qtyping")
    manager = importlib.import_module("ai_edge_quantizer.recipe_manager").RecipeManager
    names = {id(op): name for name, op in file.found.items()}
    made, grain = manager(), qtyping.QuantGranularity
    every, dense = qtyping.TFLOperationName.ALL_SUPPORTED, "FULLY_CONNECTED"
    made.add_static_config(".*", every, 8, 8)

    def static(scope, code, activation_bits):
        # As TensorFlow's converter has it, a classifier has one scale.
        granularity = grain.TENSORWISE if code == dense else grain.CHANNELWISE
        symmetric = activation_bits == 16
        made.add_quantization_config(
            scope,
            qtyping.TFLOperationName(code),
            qtyping.OpQuantizationConfig(
                activation_tensor_config=qtyping.TensorQuantizationConfig(
                    activation_bits, symmetric=symmetric
                ),
                weight_tensor_config=qtyping.TensorQuantizationConfig(
                    bits if code in ("CONV_2D", dense) else 8, granularity=granularity
                ),
                compute_precision=qtyping.ComputePrecision.INTEGER,
                explicit_dequantize=False,
            ),
        )

    for code in sorted({file.code(op) for op in file.found.values()}):
        static(".*", code, 8)
    for op in file.graph.operators:
        made_by = re.escape(file.graph.tensors[op.outputs[0]].name.decode())
        grid = grids.get(op.outputs[0])
        wanted = plan.get(names.get(id(op)))
        if id(op) not in names and grid is not None:
            # What only moves values computes in what they are kept in.
            wanted = graph.precision_of(grid, plan)
        if wanted == "int16":
            static(made_by, file.code(op), 16)
        elif wanted == "float":
            made.add_quantization_config(made_by, every, algorithm_key="no_quantize")
    return made.get_quantization_recipe()


def ranges(file, subject, grids, plan):
    """Least and largest value of every tensor, by its name, as the quantizer has them."""
    import numpy as np

    graph, tensors = subject.graph, file.graph.tensors
    known = {x.name: x.weights for x in graph.operators}
    found = {}
    for name, op in file.found.items():
        if hasattr(known[name], "kernel_radius"):
            half = half_range(known[name], subject.recipe, file.code(op))
            found[tensors[op.inputs[1]].name.decode()] = {"min": -half, "max": half}
    for index, grid in grids.items():
        if grid is None:
            continue
        low, high = float(grid.low), float(grid.high)
        if graph.precision_of(grid, plan) == "int16":
            low, high = -graph.largest(grid), graph.largest(grid)
        sizes = (1,) * len(tensors[index].shape)
        found[tensors[index].name.decode()] = {
            "min": np.full(sizes, low, "float64"),
            "max": np.full(sizes, high, "float64"),
        }
    return found


def half_range(layer, recipe, code):
    """That of a frozen kernel, of the rank that the quantizer wants."""
    import keras
    import numpy as np

    radius = keras.ops.convert_to_numpy(layer.kernel_radius).astype("float64")
    # A frozen kernel of 4 bits has the 127 steps of one of 8.
    radius = radius * (7 / 127 if recipe.weight_bits == 4 else 1)
    if radius.ndim:
        return radius.reshape(-1, 1, 1, 1)
    return np.full((1,) * (4 if code == "CONV_2D" else 2), radius)


BACKENDS = {"editor": by_editor, "litert": by_litert}


def judged(subject, content, expected, path, count):
    """Figures of one file, which is written to `path` as the exporter writes it."""
    import numpy as np

    from keras_resnets.export.tflite import convert
    from keras_resnets.export.tflite.file_options import FileOptions
    from keras_resnets.export.tflite.runner import TFLiteRunner
    from keras_resnets.export.tflite.runner import operators
    from keras_resnets.export.tflite.storage import Storage

    options = FileOptions(storage=Storage("int8"))
    convert.write_checked(content, path, options, integer=False)
    runner = TFLiteRunner(path, 2, logits=True)
    logits = runner(subject.images[:count])
    (details,) = runner._outputs.values()
    step = details["quantization"][0] or np.nan
    steps = np.abs(logits[: len(expected)] - expected) / step
    return {
        "equal": float((steps < 0.5).mean()),
        "steps": float(steps.max()),
        "top1": float((logits.argmax(axis=1) == subject.labels[:count]).mean()),
        "count": len(logits),
        "operators": operators(path.read_bytes()),
        "bytes": path.stat().st_size,
    }


def measure(subject, case, folder):
    """Figures of both backends for one case."""
    plan, found, subject.content = subject.plan(case), {}, None
    expected = subject.reference(plan)
    count = len(subject.images) // (10 if case == "int16" else 1)
    for name, make in BACKENDS.items():
        begun, path = time.perf_counter(), folder / f"{name}.tflite"
        try:
            content = make(subject, plan)
            seconds = time.perf_counter() - begun
            found[name] = judged(subject, content, expected[:count], path, count)
            found[name]["seconds"] = seconds
            begun = time.perf_counter()
            make(subject, plan)
            found[name]["again"] = time.perf_counter() - begun
        except Exception as error:
            # A backend that fails is a result.
            found[name] = {"failed": f"{type(error).__name__}: {str(error)[:200]}"}
    add_latency(found, folder)
    return found


def add_latency(found, folder):
    """Adds the latency of each file over the editor's, from one interleaved run."""
    from keras_resnets.export.compare import benchmark

    names = [name for name in found if "failed" not in found[name]]
    paths = [folder / f"{name}.tflite" for name in names]
    timings = benchmark.benchmark(paths, runs=100) if paths else []
    for name, timing in zip(names, timings, strict=True):
        found[name]["latency"] = timing.median / timings[0].median


def row(network, case, backend, found):
    """A line of the table."""
    if "failed" in found:
        return (network, case, backend, found["failed"], *[""] * (len(HEADERS) - 4))
    return (
        network,
        case,
        backend,
        f"{found['equal']:.2%}",
        f"{found['steps']:.1f}",
        f"{found['top1']:.2%}",
        str(sum(found["operators"].values())),
        f"{found['bytes']:,}",
        f"{found['seconds']:.1f}",
        f"{found['again']:.2f}",
        common.times(found["latency"]),
    )


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--data", required=True, help=".npz file")
    parser.add_argument("--networks", nargs="+", default=fine_tuning.PLAIN_NETWORKS)
    parser.add_argument("--cases", nargs="+", default=tuple(CASES), choices=CASES)
    parser.add_argument("--count", type=int, default=10_000, help="images for top-1")
    parser.add_argument(
        "--compared", type=int, default=1000, help="images to compare number by number"
    )
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    from keras_resnets.system.quiet import native_logs_hidden

    every = {}
    with native_logs_hidden(), tempfile.TemporaryDirectory() as folder:
        for name in arguments.networks:
            subject = Subject(name, arguments)
            for case in arguments.cases:
                subject.rounded(CASES[case])
                found = measure(subject, case, pathlib.Path(folder))
                every.setdefault(name, {})[case] = found
                rows = [row(subject.name, case, *item) for item in found.items()]
                common.show(HEADERS, rows)
                print(json.dumps({name: {case: found}}), flush=True)
    common.write(arguments.json, every)


if __name__ == "__main__":
    main()
