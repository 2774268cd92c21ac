"""What LiteRT's GPU accelerator computes of an int8 file, by network and by layer.

    python benchmarks/gpu_int8.py --data cifar10.npz [--layers resnet20]

For each trained network the largest difference of its probabilities between accelerator,
CPU (XNNPACK), LiteRT's reference kernels and float network. With `--layers`, of one
network, each activation as the accelerator has it: the share of its values that lie on the
integer grid of the file (whether it rounds there), and the steps by which it differs from
the reference kernels'. Needs a GPU, or Debian's chromium (SwiftShader).
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import common
import targets_table

NETWORKS = [name for name in targets_table.NETWORKS if name != "resnet8"]
# In a process of its own: at some files the accelerator ends it.
RUN = """
import sys
import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.hardware_accelerator import HardwareAccelerator
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.options import Options
path, given, made, *flags = sys.argv[1:]
images = np.load(given)
options = Options(hardware_accelerators=HardwareAccelerator.GPU)
for flag in flags:
    setattr(options.gpu_options, flag, True)
(one,) = Interpreter(path).get_output_details()
model = CompiledModel.from_file(path, options=options)
inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)
found = []
for image in images:
    inputs[0].write(np.ascontiguousarray(image).ravel())
    model.run_by_index(0, inputs, outputs)
    values = outputs[0].read(int(np.prod(one["shape"])), one["dtype"])
    found.append(np.array(values).reshape(one["shape"][1:]))
np.save(made, np.stack(found))
"""


def accelerated(path, images, folder, *flags):
    """The outputs of a file in the accelerator; None where it does not take it."""
    import numpy as np

    from keras_resnets.deploy.toolchains import gpu_tools

    np.save(folder / "given.npy", images)
    order = [sys.executable, "-c", RUN, path, folder / "given.npy", folder / "made.npy"]
    done = subprocess.run(
        [*order, *flags],
        env=common.environment(**gpu_tools.environment(folder)),
        capture_output=True,
        check=False,
    )
    return np.load(folder / "made.npy") if done.returncode == 0 else None


def on_cpu(path, images, reference=False):
    """The outputs of a file by XNNPACK, or the reference kernels."""
    import numpy as np

    from keras_resnets.export.tflite import runner

    module = runner.litert()
    kind = module.OpResolverType
    resolver = kind.BUILTIN_REF if reference else kind.AUTO
    interpreter = module.Interpreter(str(path), experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    (made,) = interpreter.get_output_details()
    found = []
    for image in images:
        interpreter.set_tensor(given["index"], image[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(made["index"])[0])
    return np.stack(found)


def exported(name, data, folder):
    """(path of the int8 file as the target gpu has it, images, the network's answers)."""
    import keras_resnets
    from keras_resnets import quantization

    model = keras_resnets.create_model(name, weights="cifar10")
    chosen = quantization.choose(data, model.preprocessing, 500, seed=0)
    path = folder / f"{name}.tflite"
    quantization.quantize(
        model,
        path,
        calibration=chosen,
        io_dtype="float32",
        pooled_strides=True,
        overwrite=True,
    )
    return path, chosen.images, model.predict(chosen.images, verbose=0)


def cut(content, index):
    """The bytes of a file that puts out one of its integer tensors, as float32."""
    from keras_resnets.export.tflite import file_editor

    editor = file_editor.Editor(content)
    graph, schema = editor.graph, editor.schema
    tensor = schema.TensorT()
    tensor.name, tensor.type = b"cut", schema.TensorType.FLOAT32
    tensor.shape, tensor.buffer = list(graph.tensors[index].shape), 0
    made = editor.add_tensor(tensor)
    op = schema.OperatorT()
    op.opcodeIndex = editor.operator_code("DEQUANTIZE", 2)
    op.inputs, op.outputs = [index], [made]
    makers = [i for i, one in enumerate(graph.operators) if index in one.outputs]
    graph.operators = [*graph.operators[: makers[0] + 1], op]
    for entry in editor.model.signatureDefs[0].outputs:
        entry.tensorIndex = made
    graph.outputs = [made]
    return editor.finished()


def layers(path, images, folder):
    """Yields a row for each integer activation of a file."""
    import numpy as np

    from keras_resnets.export.tflite import file_editor

    content = path.read_bytes()
    editor = file_editor.Editor(content)
    for op in editor.graph.operators:
        tensor = editor.graph.tensors[op.outputs[0]]
        if tensor.type != editor.schema.TensorType.INT8:
            continue
        scale = float(tensor.quantization.scale[0])
        place = folder / "cut.tflite"
        place.write_bytes(cut(content, op.outputs[0]))
        found = accelerated(place, images, folder)
        if found is None:
            yield editor.code(op), "-", "not taken", "-", "-"
            continue
        steps = found / scale
        off = np.abs(steps - np.rint(steps))
        apart = np.abs(found - on_cpu(place, images, reference=True)) / scale
        yield (
            editor.code(op),
            f"{scale:.5f}",
            f"{(off < 0.01).mean():.1%}",
            f"{(apart > 0.5).mean():.2%}",
            f"{apart.max():.2f}",
        )


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--data", required=True, metavar="NPZ", help="CIFAR-10")
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--layers", metavar="NETWORK", help="its activations")
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    import numpy as np

    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        for name in [arguments.layers] if arguments.layers else arguments.networks:
            path, images, predicted = exported(name, arguments.data, folder)
            images, predicted = (
                images[: arguments.images],
                predicted[: arguments.images],
            )
            if arguments.layers:
                for row in layers(path, images[:2], folder):
                    print("| " + " | ".join(row) + " |", flush=True)
                continue
            cpu, plain = on_cpu(path, images), on_cpu(path, images, reference=True)
            row = {
                "CPU, float network": np.abs(cpu - predicted).max(),
                "CPU, reference kernels": np.abs(cpu - plain).max(),
            }
            for flags in ((), ("enforce_f32",)):
                gpu = accelerated(path, images, folder, *flags)
                words = " ".join(("GPU", *flags))
                if gpu is None:
                    row[words] = "not taken"
                    continue
                row[f"{words}, reference kernels"] = np.abs(gpu - plain).max()
                row[f"{words}, CPU"] = np.abs(gpu - cpu).max()
                row[f"{words}, float network"] = np.abs(gpu - predicted).max()
                row[f"{words}, classes"] = (gpu.argmax(1) == cpu.argmax(1)).mean()
            found[name] = {
                key: value if isinstance(value, str) else round(float(value), 4)
                for key, value in row.items()
            }
            print(name, found[name], flush=True)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
