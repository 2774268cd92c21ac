"""Training on an accelerator against torchvision with torch.compile.

    KERAS_BACKEND=jax python benchmarks/accelerator.py

A training step (forward, loss, backward, SGD with momentum 0.9) in bfloat16 on synthetic
images that lie on the device: ours on the JAX backend, mixed_bfloat16, as
`keras-resnets train` compiles it; torchvision's in channels_last under autocast and
torch.compile. Each contestant has a process of its own; they take turns of `--steps`
steps, each turn ends when the device has finished, and the median turn counts. A turn
of ours is one `fit`, with all that it does before and after its steps.

`--profile FOLDER` writes a trace of our steps for TensorBoard or Perfetto instead, and
prints which kernels take the time.

`--settings NAME ...` has ours once more under each of these settings of XLA (`SETTINGS`),
in the same turns, to see what each wins alone.

Target: at least 1.0 times torchvision's images per second.
"""

import collections
import itertools
import pathlib
import re
import statistics
import sys

import common

MODELS = ("resnet50", "resnext50_32x4d")
# Values of $XLA_FLAGS; jaxlib 0.10.2 knows all of them, and refuses unknown ones.
SETTINGS = {
    "latency_hiding": "--xla_gpu_enable_latency_hiding_scheduler=true",
    "command_buffers": "--xla_gpu_enable_command_buffer="
    "FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL",
    "no_triton_gemm": "--xla_gpu_enable_triton_gemm=false",
    "cudnn_gemm_fusion": "--xla_gpu_cudnn_gemm_fusion_level=2",
    "exhaustive_tiling": "--xla_gpu_exhaustive_tiling_search=true",
    "multi_output_fusion": "--xla_gpu_unsupported_enable_triton_multi_output_fusion=true",
}


def keras_turn(name, batch, size):
    """A function that takes so many steps of ours."""
    import jax
    import keras
    import numpy as np

    import keras_resnets
    from keras_resnets.training import compiling
    from keras_resnets.training import get_recipe

    if keras.backend.backend() != "jax":
        raise SystemExit("set KERAS_BACKEND=jax")
    keras.utils.set_random_seed(0)
    model = keras_resnets.create_model(
        name,
        input_shape=(size, size, 3),
        dtype="mixed_bfloat16",
        classifier_activation=None,
    )
    options = compiling.options(get_recipe("he2015_imagenet"), model, 1000, batch)
    options.pop("metrics")
    model.compile(**options, jit_compile=True)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, size, size, 3)).astype("float32")
    classes = model.output_shape[-1]
    targets = np.eye(classes, dtype="float32")[rng.integers(0, classes, batch)]
    both = jax.device_put(images), jax.device_put(targets)

    def turn(steps):
        feed = (both for _ in itertools.count())
        history = model.fit(feed, steps_per_epoch=steps, verbose=0).history
        if not np.isfinite(history["loss"]).all():
            raise SystemExit(f"{name}: the loss is {history['loss']}")

    return turn


def torch_turn(name, batch, size):
    """The same of torchvision."""
    import torch
    import torchvision

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    model = torchvision.models.get_model(name, weights=None).train().to(device)
    model = torch.compile(model.to(memory_format=torch.channels_last))
    optimizer = torch.optim.SGD(
        model.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=1e-4
    )
    criterion = torch.nn.CrossEntropyLoss()
    images = torch.randn(batch, 3, size, size, device=device)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(0, 1000, (batch,), device=device)

    def turn(steps):
        for _ in range(steps):
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16):
                loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
        # Waits for the device.
        loss.item()

    return turn


def work(contestant):
    """Answers each number of steps with the seconds of one."""
    import json

    kind, name, batch, size = contestant.split("/")
    make = keras_turn if kind == "ours" else torch_turn
    turn = make(name, int(batch), int(size))
    for line in sys.stdin:
        steps = int(line)
        taken = common.seconds(lambda steps=steps: turn(steps)) / steps
        print(json.dumps({"best": taken}), flush=True)


def trace(name, arguments):
    """Writes a trace of some of our steps, behind the first, and prints a table."""
    import jax

    folder = pathlib.Path(arguments.profile) / name
    turn = keras_turn(name, arguments.batch, arguments.size)
    turn(3)
    with jax.profiler.trace(folder):
        turn(arguments.steps)
    traces = sorted(folder.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime)
    taken = kernels(jax.profiler.ProfileData.from_file(str(traces[-1])))
    whole = sum(taken.values())
    rows = [
        (kind, f"{1e-6 * spent / arguments.steps:.2f}", f"{spent / whole:.1%}")
        for kind, spent in taken.most_common(20)
    ]
    common.show((name, "ms a step", "share"), rows)


def kernels(profile):
    """Nanoseconds on the device by kind of operation."""
    taken = collections.Counter()
    for plane in profile.planes:
        if not plane.name.startswith("/device:"):
            continue
        for line in plane.lines:
            if not line.name.startswith("Stream"):
                continue
            for event in line.events:
                operation = str(dict(event.stats).get("hlo_op", event.name))
                taken[re.sub(r"[.\d]+$", "", operation)] += event.duration_ns
    return taken


def measure(name, arguments):
    """Median images a second of all contestants; None for what cannot run."""
    # JAX would take most of the device's memory at once.
    settings = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    kinds = ["ours", *arguments.settings, "torchvision"]
    workers = {}
    for kind in kinds:
        who = "torchvision" if kind == "torchvision" else "ours"
        python = arguments.torch_python if who == "torchvision" else sys.executable
        key = f"{who}/{name}/{arguments.batch}/{arguments.size}"
        flags = {"XLA_FLAGS": SETTINGS[kind]} if kind in SETTINGS else {}
        workers[kind] = common.Worker(
            __file__, key, python, errors=None, **settings, **flags
        )
        # The first steps trace, compile and choose kernels.
        workers[kind].ask(3)
    taken = {kind: [] for kind in workers}
    for _ in range(arguments.rounds):
        for kind, worker in workers.items():
            taken[kind].append(worker.ask(arguments.steps))
    for worker in workers.values():
        worker.close()
    return {
        kind: None if None in found else arguments.batch / statistics.median(found)
        for kind, found in taken.items()
    }


def main():
    parser = common.parser(__doc__, rounds=5)
    parser.add_argument("--worker", help="(used by the script itself)")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--torch-python", metavar="PATH", default=sys.executable)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=224, help="pixels")
    parser.add_argument("--steps", type=int, default=20, help="in a turn")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=[])
    parser.add_argument("--profile", metavar="FOLDER", help="trace ours, time nothing")
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker)
        return
    if arguments.profile:
        for name in arguments.models:
            trace(name, arguments)
        return
    figures, rows = {}, []
    for name in arguments.models:
        figures[name] = found = measure(name, arguments)
        both = None not in found.values()
        ratio = found["ours"] / found["torchvision"] if both else None
        cells = common.target(ratio, 1.0, at_most=False)
        rows.append((name, found["ours"], found["torchvision"], *cells))
        for setting in arguments.settings:
            value = found[setting]
            won = common.times(value / found["ours"]) if value else "-"
            rows.append((f"  {setting}", value, "", won, "of ours", ""))
    headers = ("network", "ours, images/s", "torchvision's", "ratio", "target", "")
    common.show(headers, rows)
    common.write(arguments.json, figures)


if __name__ == "__main__":
    main()
