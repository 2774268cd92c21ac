"""Where a training step goes: `train_step.py`'s contestants in bfloat16, by operator.

    python benchmarks/train_step_profile.py resnet50
    OTHER/bin/python benchmarks/train_step_profile.py resnet50 --torchvision

Milliseconds of a step by kind of operator, from the profilers of TensorFlow and PyTorch
(of torchvision, eager). TensorFlow runs two operators at a time, so that its sum is
larger than the wall time of a step, which is printed below.
"""

import collections
import pathlib
import tempfile

import common
import train_step

STEPS = 8
# The first that an operator's name begins with.
KINDS = {
    "_MklNativeConv2DBackprop": "convolutions, gradients",
    "aten::convolution_backward": "convolutions, gradients",
    "_MklNativeConv2D": "convolutions, outputs",
    "aten::mkldnn_convolution": "convolutions, outputs",
    "_MklMatMul": "matrix products",
    "_MklBatchMatMul": "matrix products",
    "_MklNativeFusedMatMul": "matrix products",
    "aten::mm": "matrix products",
    "aten::addmm": "matrix products",
    "_MklNativeFusedBatchNorm": "BN",
    "aten::native_batch_norm": "BN",
    "Cast": "casts, copies",
    "aten::copy_": "casts, copies",
    "ConcatV2": "casts, copies",
    "Slice": "casts, copies",
    "Pad": "casts, copies",
    "Relu": "ReLU",
    "aten::clamp_min": "ReLU",
    "aten::threshold_backward": "ReLU",
    "AddN": "additions of feature maps",
    "aten::add_": "additions of feature maps",
    "Mul": "optimizer, running statistics",
    "Sub": "optimizer, running statistics",
    "Assign": "optimizer, running statistics",
    "AddV2": "optimizer, running statistics",
    "aten::_foreach": "optimizer, running statistics",
}
REST = "the rest"


def kind_of(operator):
    return next((k for name, k in KINDS.items() if operator.startswith(name)), REST)


def tensorflow_operators(step):
    """(operator, milliseconds) of every operator that ran."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(STEPS):
                step()
        (file,) = pathlib.Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(file.read_bytes())
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                # "node:Operator", with "#details" behind; others are no operators.
                node, _, operator = name.partition("#")[0].rpartition(":")
                if node and node[-1] != ":" and not node.startswith("Eager"):
                    yield operator, event.duration_ps / 1e9


def torch_operators(step):
    import torch

    with torch.profiler.profile() as profile:
        for _ in range(STEPS):
            step()
    for event in profile.key_averages():
        if event.key.startswith("aten::"):
            yield event.key, event.self_cpu_time_total / 1e3


def main():
    parser = common.parser(__doc__)
    parser.add_argument("network", choices=train_step.MODELS)
    parser.add_argument("--torchvision", action="store_true")
    arguments = parser.parse_args()
    if arguments.torchvision:
        step = train_step.torch_step(arguments.network, "bfloat16", compiled=False)
        operators = torch_operators
    else:
        step = train_step.keras_step(arguments.network, "bfloat16")
        operators = tensorflow_operators
    for _ in range(train_step.WARM_UP):
        step()
    spent = collections.Counter()
    for operator, milliseconds in operators(step):
        spent[kind_of(operator)] += milliseconds / STEPS
    wall = 1e3 * min(common.seconds(step) for _ in range(2 * STEPS))
    total = sum(spent.values())
    lines = [(kind, ms, f"{ms / total:.0%}") for kind, ms in spent.most_common()]
    common.show(("kind", "ms", "share"), lines)
    common.show(("step", "ms"), [("sum", total), ("best step", wall)])
    common.write(arguments.json, {"wall": wall, **spent})


if __name__ == "__main__":
    main()
