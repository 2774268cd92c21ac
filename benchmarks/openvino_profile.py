"""Where LiteRT's time goes, and where OpenVINO's does.

    python benchmarks/openvino_profile.py --torch-python PYTHON

The files of `openvino_latency.py`, operator by operator: OpenVINO counts the time of
each of its layers; LiteRT gives the whole graph to XNNPACK and counts nothing, so that
each operator of our file (with a padding in front of it) becomes a file of its own and
is timed alone. Times are the least of many runs, grouped by the kind of layer; each
column is shares of its own sum. What LiteRT's operators take alone is less than what
they take together, so that shares tell more than the ratio of a line; the last line
compares the whole files.
"""

import argparse
import collections
import json
import pathlib
import subprocess
import sys
import tempfile

import common
import openvino_latency

KINDS = ("7x7", "1x1", "3x3", "3x3 grouped", "addition", "pooling", "the rest")


def conv_kind(height, groups):
    """What a convolution is called."""
    name = f"{height}x{height}"
    return name if groups == 1 else f"{name} grouped"


def parts(content):
    """(kind, content of a file) for each operator of a TFLite file."""
    import flatbuffers

    from keras_resnets.export.tflite import runner as tflite_runner

    schema, root = tflite_runner.parse(content)
    names = {code: name for name, code in vars(schema.BuiltinOperator).items()}
    count = root.Subgraphs(0).OperatorsLength()
    pads = []
    for index in range(count):
        model = schema.ModelT.InitFromObj(root)
        graph = model.subgraphs[0]
        operator = graph.operators[index]
        name = names[model.operatorCodes[operator.opcodeIndex].builtinCode]
        if name == "PAD":
            pads.append(operator)
            continue
        used = [pad for pad in pads if pad.outputs[0] in operator.inputs] + [operator]
        yield (
            part_kind(name, graph, operator),
            isolated(model, used, flatbuffers.Builder(1 << 24)),
        )


def part_kind(name, graph, operator):
    """One of `KINDS` for an operator of a TFLite file."""
    if name == "CONV_2D":
        given, kernel = (graph.tensors[i].shape for i in operator.inputs[:2])
        return conv_kind(kernel[1], given[3] // kernel[3])
    return {"ADD": "addition", "MAX_POOL_2D": "pooling", "MEAN": "pooling"}.get(
        name, "the rest"
    )


def isolated(model, operators, builder):
    """Bytes of a file with those operators of `model` alone."""
    graph = model.subgraphs[0]
    inside = {index for operator in operators for index in operator.outputs}
    read = {i for operator in operators for i in operator.inputs} - inside
    # An input that is left out.
    read.discard(-1)
    holds = {
        i: model.buffers[graph.tensors[i].buffer].data is not None
        and len(model.buffers[graph.tensors[i].buffer].data) > 0
        for i in read
    }
    kept = {graph.tensors[i].buffer for i in read}
    for index, buffer in enumerate(model.buffers):
        if index not in kept:
            buffer.data = None
    graph.inputs = [index for index in read if not holds[index]]
    graph.outputs = list(operators[-1].outputs)
    graph.operators, model.signatureDefs, model.metadata = operators, None, None
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def our_times(path, runs):
    """Least seconds of each kind in a TFLite file, and of the whole."""
    content = path.read_bytes()
    whole = least(content, runs)
    found = collections.Counter()
    for kind, part in parts(content):
        found[kind] += least(part, runs)
    return dict(found), whole


def least(content, runs):
    """Least seconds of a file's inference."""
    import numpy as np

    from keras_resnets.export.tflite import runner as tflite_runner

    made = tflite_runner.litert().Interpreter(
        model_content=content, num_threads=openvino_latency.THREADS
    )
    made.allocate_tensors()
    rng = np.random.default_rng(0)
    for details in made.get_input_details():
        noise = rng.standard_normal(details["shape"]).astype("float32")
        made.set_tensor(details["index"], tflite_runner.quantize(noise, details))
    return min(common.seconds(made.invoke) for _ in range(runs))


def their_times(path, runs):
    """The same of an OpenVINO file; runs in the other interpreter."""
    import numpy as np
    import openvino

    options = openvino_latency.OPTIONS | {"PERF_COUNT": True}
    core = openvino.Core()
    kinds = {}
    for node in core.read_model(str(path)).get_ops():
        if node.get_type_name() in ("Convolution", "GroupConvolution"):
            shape = list(node.input(1).get_shape())
            groups = shape[0] if len(shape) == 5 else 1
            kinds[node.get_friendly_name()] = conv_kind(shape[-1], groups)
    request = core.compile_model(str(path), "CPU", options).create_infer_request()
    image = np.load(path.with_name("images.npy"))[:1].transpose(0, 3, 1, 2)
    request.set_input_tensor(openvino.Tensor(np.ascontiguousarray(image)))
    layers, whole = collections.defaultdict(list), []
    for _ in range(runs):
        whole.append(common.seconds(request.infer))
        for info in request.get_profiling_info():
            layers[info.node_name, info.node_type].append(info.real_time)
    found = collections.Counter()
    for (name, kind), times in layers.items():
        others = {"Add": "addition", "Eltwise": "addition", "Pooling": "pooling"}
        others |= {"MaxPool": "pooling", "Reduce": "pooling", "ReduceMean": "pooling"}
        found[kinds.get(name) or others.get(kind, "the rest")] += min(
            times
        ).total_seconds()
    return dict(found), min(whole)


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--torch-python", metavar="PATH", help="has OpenVINO")
    parser.add_argument("--theirs", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.theirs:
        print(json.dumps(their_times(pathlib.Path(arguments.theirs), arguments.runs)))
        return
    if not arguments.torch_python:
        parser.error("--torch-python is needed")
    common.quiet_tensorflow()
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        openvino_latency.write_ours(pathlib.Path(folder))
        words = [arguments.torch_python, openvino_latency.__file__, "--write", folder]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        for name in openvino_latency.MODELS:
            for form in openvino_latency.FORMS:
                path = pathlib.Path(folder, f"{name}_{form}")
                figures[path.name] = compare(path, arguments)
    common.write(arguments.json, figures)


def compare(path, arguments):
    """Measures one network in one form, and prints its table."""
    words = [arguments.torch_python, __file__, "--runs", str(arguments.runs)]
    words += ["--theirs", f"{path}.xml"]
    run = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    theirs, their_whole = json.loads(run.stdout.splitlines()[-1])
    ours, our_whole = our_times(path.with_name(f"{path.name}.tflite"), arguments.runs)
    sums = sum(ours.values()), sum(theirs.values())
    rows = []
    for kind in KINDS:
        a, b = ours.get(kind, 0), theirs.get(kind, 0)
        if a or b:
            ratio = common.times(a / b) if b else "-"
            rows.append((kind, f"{a / sums[0]:.1%}", f"{b / sums[1]:.1%}", ratio))
    rows.append(("all of them", "", "", common.times(sums[0] / sums[1])))
    rows.append(("the whole file", "", "", common.times(our_whole / their_whole)))
    common.show((path.name, "LiteRT", "OpenVINO", "ratio"), rows)
    figures = {"ours": ours, "theirs": theirs}
    return figures | {"our_whole": our_whole, "their_whole": their_whole}


if __name__ == "__main__":
    sys.exit(main())
