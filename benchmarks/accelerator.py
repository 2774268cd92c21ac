"""Training on an accelerator against torchvision with torch.compile.

    KERAS_BACKEND=jax python benchmarks/accelerator.py

A training step (forward, loss, backward, SGD with momentum 0.9) in bfloat16 on synthetic
pictures that lie on the device: ours on the JAX backend, mixed_bfloat16, as
`keras-resnets train` compiles it; torchvision's in channels_last under autocast and
torch.compile. Each contestant has a process of its own; they take turns of `--steps`
steps, each turn ends when the device has finished, and the median turn counts. Steps are
called through `train_on_batch`, so that ours pays for fetching the loss in every step
and torchvision only once a turn.

`--profile FOLDER` writes a trace of our steps for TensorBoard or Perfetto.

Target: at least 1.0 times torchvision's pictures per second.
"""

import statistics
import sys

import common

MODELS = ("resnet50", "resnext50_32x4d")


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
    images, targets = jax.device_put(images), jax.device_put(targets)

    def turn(steps):
        for _ in range(steps):
            loss = float(model.train_on_batch(images, targets))
        if not np.isfinite(loss):
            raise SystemExit(f"{name}: the loss is {loss}")

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
    """Writes a trace of some of our steps, behind the first."""
    import jax

    turn = keras_turn(name, arguments.batch, arguments.size)
    turn(3)
    with jax.profiler.trace(f"{arguments.profile}/{name}"):
        turn(arguments.steps)


def measure(name, arguments):
    """Median pictures a second of ours and torchvision's; None for what cannot run."""
    # JAX would take most of the device's memory at once.
    settings = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    pythons = {"ours": sys.executable, "torchvision": arguments.torch_python}
    workers = {}
    for kind, python in pythons.items():
        key = f"{kind}/{name}/{arguments.batch}/{arguments.size}"
        workers[kind] = common.Worker(__file__, key, python, **settings)
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
    headers = ("network", "ours, pictures/s", "torchvision's", "ratio", "target", "")
    common.show(headers, rows)
    common.write(arguments.json, figures)


if __name__ == "__main__":
    main()
