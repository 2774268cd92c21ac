"""4-bit weights without training beside other tools: AIMET, Sony's MCT, LiteRT's quantizer.

    python benchmarks/beside_others.py --data cifar10.npz --checkpoint DEPTH=FILE ...

The networks are akamaster's of CIFAR-10: 20=resnet20-12fca82f.th, for one. Every tool
gets the same 500 training images, 4-bit weights in every layer and 8-bit activations, and
is judged on the same test images (`--count`, all 10,000 by default) beside the same float
network: top-1, agreement with float, RMSE of the logits over their standard deviation, and
seconds until its network is there. Ours and LiteRT's are TFLite files in LiteRT; the others
are run in their own simulation, each in a Python of its own, which an environment variable
names; without it, a line says so:

    AIMET_PYTHON    with aimet-onnx: AdaRound, `--iterations` a layer
    MCT_PYTHON      with model-compression-toolkit and torch

Results are kept in `--results` (JSON), and what is there is not made again.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import common

RESULTS = common.ROOT / "docs" / "beside_others.json"
RECIPE = "static_wi4_ai8"
FOREIGN = {
    "AIMET, nearest": "AIMET_PYTHON",
    "AIMET, AdaRound": "AIMET_PYTHON",
    "MCT": "MCT_PYTHON",
}
OWN = ("ours, second-order", "ours, learned", "ai-edge-quantizer")
HEADERS = ("network", "tool", "top-1, %", "agreement, %", "RMSE", "seconds")
BATCH = 100


class Subject:
    """akamaster's network of a depth, the images, and what it puts out in float."""

    def __init__(self, depth, checkpoint, arguments):
        import numpy as np

        import keras_resnets
        from keras_resnets import quantization

        self.name, self.checkpoint = f"resnet{depth}", checkpoint
        self.model = keras_resnets.create_model(
            self.name, weights=checkpoint, classifier_activation=None
        )
        with np.load(arguments.data) as file:
            pixels = file["x_test"][: arguments.count]
            self.labels = np.ravel(file["y_test"])[: arguments.count]
        given = self.model.preprocessing
        self.images = given.normalize(pixels.astype("float32"), "channels_last")
        self.chosen = quantization.choose(arguments.data, given, 500, seed=0)
        self.float = self.model.predict(self.images, BATCH, verbose=0)

    def figures(self, logits, seconds):
        """What the table says of a network that puts out `logits`."""
        import numpy as np

        answers = logits.argmax(1)
        off = np.sqrt(np.mean(np.square(logits - self.float))) / self.float.std()
        return {
            "top1": float(np.mean(answers == self.labels)),
            "agreement": float(np.mean(answers == self.float.argmax(1))),
            "rmse": float(off),
            "seconds": seconds,
        }

    def by_file(self, path):
        """Logits of a TFLite file."""
        import numpy as np

        from keras_resnets.export.tflite.runner import TFLiteRunner

        return np.asarray(TFLiteRunner(path)(self.images))

    def write(self, folder):
        """What the other tools read: images, and the network as ONNX in float."""
        import numpy as np

        from keras_resnets import export

        np.save(folder / "images.npy", np.asarray(self.images, "float32"))
        np.save(folder / "chosen.npy", np.asarray(self.chosen.images, "float32"))
        path = folder / "float.onnx"
        export.to_onnx(self.model, path, batch="dynamic", images=self.images[:8])


def ours(subject, path, rounding, steps):
    """Writes this package's file."""
    from keras_resnets import quantization

    recipe = quantization.RECIPES[RECIPE].with_rounding(rounding, steps)
    quantization.quantize(
        subject.model, path, recipe, subject.chosen, images=subject.images[:8]
    )


def by_litert(subject, path):
    """Writes the file of LiteRT's quantizer: least and largest value, by channel."""
    from keras_resnets.export import session
    from keras_resnets.export.tflite import convert
    from keras_resnets.quantization.backends import litert
    from keras_resnets.quantization.options import Options

    images = subject.chosen.images
    ready = session.make_ready(subject.model, "int8", images, images[:8])
    content = bytes(convert.convert(ready, "none"))
    _, found = litert._load()
    chosen = found["recipe"].static_wi8_ai8()
    for entry in chosen:
        entry["op_config"]["weight_tensor_config"]["num_bits"] = 4
    quantizer = found["quantizer"].Quantizer(content, chosen)
    options = Options.of("static_wi4_ai8")
    results = litert._calibrate(found, content, quantizer, ready, options)
    made = quantizer.quantize(
        results, enable_progress_bar=False, enable_progress_report=False
    )
    path.write_bytes(bytes(made.quantized_model))


def own(subject, tool, arguments):
    """Figures of a tool that runs in this Python."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "made.tflite"
        start = time.perf_counter()
        if tool == "ai-edge-quantizer":
            by_litert(subject, path)
        else:
            rounding = tool.split(", ")[1]
            steps = arguments.steps if rounding == "learned" else None
            ours(subject, path, rounding, steps)
        seconds = time.perf_counter() - start
        return subject.figures(subject.by_file(path), seconds)


def foreign(subject, tool, arguments):
    """Figures of a tool in its own Python; None where there is none."""
    import numpy as np

    python = os.environ.get(FOREIGN[tool])
    if python is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        subject.write(place)
        words = [place, tool, subject.checkpoint, arguments.iterations]
        command = [python, __file__, "--worker", *map(str, words)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": ""})
        told = json.loads((place / "told.json").read_text("utf-8"))
        return subject.figures(np.load(place / "logits.npy"), told["seconds"])


def work(folder, tool, checkpoint, iterations):
    """Runs in another Python, without this package: leaves logits and seconds."""
    import numpy as np

    images = np.load(folder / "images.npy")
    chosen = np.load(folder / "chosen.npy")
    make = by_mct if tool == "MCT" else by_aimet
    start = time.perf_counter()
    run = make(folder, chosen, tool, checkpoint, int(iterations))
    seconds = time.perf_counter() - start
    parts = [run(images[n : n + BATCH]) for n in range(0, len(images), BATCH)]
    np.save(folder / "logits.npy", np.concatenate(parts))
    (folder / "told.json").write_text(json.dumps({"seconds": seconds}), "utf-8")


def by_aimet(folder, chosen, tool, checkpoint, iterations):
    """The network as AIMET simulates it: ranges by MSE search, weights by channel."""
    import aimet_onnx
    import onnx
    from aimet_onnx.common import quantsim_config
    from aimet_onnx.common.defs import QuantScheme

    settings = pathlib.Path(quantsim_config.__file__).parent
    model = onnx.load(folder / "float.onnx")
    sim = aimet_onnx.QuantizationSimModel(
        model,
        param_type=aimet_onnx.int4,
        activation_type=aimet_onnx.int8,
        quant_scheme=QuantScheme.post_training_tf_enhanced,
        config_file=str(settings / "default_config_per_channel.json"),
    )
    name = model.graph.input[0].name
    batches = [{name: chosen[n : n + 50]} for n in range(0, len(chosen), 50)]
    if tool == "AIMET, AdaRound":
        aimet_onnx.apply_adaround(sim, batches, num_iterations=iterations)
    sim.compute_encodings(batches)
    return lambda images: sim.session.run(None, {name: images})[0]


def by_mct(folder, chosen, tool, checkpoint, iterations):
    """The network as MCT quantizes it for its target imx500, weights set to 4 bits."""
    import model_compression_toolkit as mct
    import numpy as np
    import torch

    network = torch_network(checkpoint)
    core = mct.core.CoreConfig()
    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    filters = [mct.core.network_editor.NodeTypeFilter(kind) for kind in kinds]
    core.bit_width_config.set_manual_weights_bit_width(filters, 4, "weight")

    def samples():
        for start in range(0, len(chosen), 50):
            part = chosen[start : start + 50].transpose(0, 3, 1, 2)
            yield [np.ascontiguousarray(part)]

    made, _ = mct.ptq.pytorch_post_training_quantization(
        network, samples, core_config=core
    )
    device = next(made.parameters()).device

    def run(images):
        with torch.no_grad():
            given = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(device)
            return made(given).cpu().numpy()

    return run


def torch_network(checkpoint):
    """The network in PyTorch with the weights of his file."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, inputs, width, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.narrows, self.missing = stride > 1, (width - inputs) // 2

        def forward(self, x):
            y = nn.functional.relu(self.bn1(self.conv1(x)))
            y = self.bn2(self.conv2(y))
            if self.narrows:
                pad = (0, 0, 0, 0, self.missing, self.missing)
                x = nn.functional.pad(x[:, :, ::2, ::2], pad)
            return nn.functional.relu(x + y)

    class Network(nn.Module):
        def __init__(self, depth):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(16)
            inputs = 16
            for stage, width in enumerate((16, 32, 64)):
                blocks = []
                for number in range(depth):
                    stride = 2 if stage and not number else 1
                    blocks.append(Block(inputs, width, stride))
                    inputs = width
                setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
            self.linear = nn.Linear(64, 10)

        def forward(self, x):
            x = nn.functional.relu(self.bn1(self.conv1(x)))
            x = self.layer3(self.layer2(self.layer1(x)))
            return self.linear(x.mean((2, 3)))

    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    weights = {
        name.removeprefix("module."): value
        for name, value in content["state_dict"].items()
    }
    depth = len([x for x in weights if x.startswith("layer1.") and "conv1" in x])
    made = Network(depth)
    made.load_state_dict(weights)
    return made.eval()


def rows(kept):
    """Cells of the table."""
    for network, by_tool in kept.items():
        for tool, one in by_tool.items():
            yield (
                network,
                tool,
                f"{100 * one['top1']:.2f}",
                f"{100 * one['agreement']:.2f}",
                f"{one['rmse']:.4f}",
                f"{one['seconds']:.0f}",
            )


def main():
    if sys.argv[1:2] == ["--worker"]:
        work(pathlib.Path(sys.argv[2]), *sys.argv[3:])
        return
    parser = common.parser(__doc__)
    parser.add_argument("--data", required=True, metavar="NPZ")
    parser.add_argument(
        "--checkpoint", action="append", required=True, metavar="DEPTH=FILE"
    )
    parser.add_argument("--count", type=int, default=10_000, help="test images")
    parser.add_argument("--iterations", type=int, default=15_000, help="of AdaRound")
    parser.add_argument("--steps", type=int, help="of learned rounding, a block")
    tools = (*OWN, *FOREIGN)
    parser.add_argument("--tools", nargs="*", choices=tools, default=tools)
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS)
    arguments = parser.parse_args()
    common.quiet_tensorflow()

    kept = {}
    with contextlib.suppress(FileNotFoundError):
        kept = json.loads(arguments.results.read_text("utf-8"))
    for word in arguments.checkpoint:
        depth, _, checkpoint = word.partition("=")
        subject = Subject(depth, checkpoint, arguments)
        found = kept.setdefault(f"resnet{depth}", {})
        top1 = float((subject.float.argmax(1) == subject.labels).mean())
        found["float"] = {"top1": top1, "agreement": 1.0, "rmse": 0.0, "seconds": 0.0}
        for tool in arguments.tools:
            if tool in found:
                continue
            one = (foreign if tool in FOREIGN else own)(subject, tool, arguments)
            if one is None:
                print(f"{tool}: {FOREIGN[tool]} names no Python", flush=True)
                continue
            found[tool] = one
            print(subject.name, tool, one, flush=True)
            text = json.dumps(kept, indent=1) + "\n"
            arguments.results.write_text(text, "utf-8")
    common.show(HEADERS, list(rows(kept)))


if __name__ == "__main__":
    main()
