"""Training speed by precision, with and without XLA.

    python benchmarks/precision.py [--models resnet20 resnet50] [--steps 100]

Images a second of training steps on synthetic data (forward, loss, backward, SGD with
Nesterov momentum), as `keras-resnets train` compiles them: ResNet-20 in batches of 128 at
32 x 32, ResNet-50 in batches of 8 at 96 x 96 on a CPU and of 128 at 224 x 224 on an
accelerator. Every contestant has a process of its own; they take turns of ten steps until
each has had `--steps`, and the mean of all counts. The backend is that of KERAS_BACKEND.

What it is for: `training.devices.safe_precision` is the fastest that is safe.
"""

import sys

import common

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
TURN = 10


def step_of(contestant):
    """A function that takes a training step."""
    common.quiet_tensorflow()
    import keras
    import numpy as np

    import keras_resnets
    from keras_resnets.training import compiling
    from keras_resnets.training import devices
    from keras_resnets.training import get_recipe

    name, precision, xla = contestant.split("/")
    batch, size = (128, 32) if name == "resnet20" else (8, 96)
    if name != "resnet20" and devices.accelerated():
        batch, size = 128, 224
    keras.utils.set_random_seed(0)
    model = keras_resnets.create_model(
        name,
        input_shape=(size, size, 3),
        dtype=precision,
        classifier_activation=None,
    )
    recipe = get_recipe("wrn_cifar", learning_rate=1e-4)
    options = compiling.options(recipe, model, 100, batch)
    model.compile(**options, jit_compile=xla == "xla")
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, size, size, 3)).astype("float32")
    targets = np.eye(model.output_shape[-1], dtype="float32")
    targets = targets[rng.integers(0, len(targets), batch)]

    def step():
        loss = float(model.train_on_batch(images, targets)[0])
        if not np.isfinite(loss):
            sys.exit(f"{contestant}: the loss is {loss}")

    return step, batch


def work(contestant):
    """Answers with the mean seconds of so many steps, and the batch size."""
    import json

    step, batch = step_of(contestant)
    for line in sys.stdin:
        count = int(line)
        taken = sum(common.seconds(step) for _ in range(count)) / count
        print(json.dumps({"best": taken / batch}), flush=True)


def measure(name, steps):
    """Mean images a second of each precision, without and with XLA."""
    workers = [
        common.Worker(__file__, f"{name}/{precision}/{xla}")
        for precision in PRECISIONS
        for xla in ("plain", "xla")
    ]
    # The first steps trace, compile and choose kernels.
    alive = [worker for worker in workers if worker.ask(2) is not None]
    taken = {worker.name: [] for worker in alive}
    for _ in range(-(-steps // TURN)):
        for worker in alive:
            taken[worker.name].append(worker.ask(TURN))
    for worker in workers:
        worker.close()
    return {
        key: len(found) / sum(found) if None not in found else None
        for key, found in taken.items()
    }


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--worker", help="(used by the script itself)")
    parser.add_argument("--models", nargs="+", default=["resnet20", "resnet50"])
    parser.add_argument("--steps", type=int, default=100, help="of each contestant")
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker)
        return
    figures = {}
    for name in arguments.models:
        figures.update(measure(name, arguments.steps))
        base = figures.get(f"{name}/float32/plain")
        rows = []
        for precision in PRECISIONS:
            cells = [
                figures.get(f"{name}/{precision}/{xla}") for xla in ("plain", "xla")
            ]
            ratios = [common.times(cell / base) if cell else "-" for cell in cells]
            rows.append((precision, cells[0], ratios[0], cells[1], ratios[1]))
        headers = (name, "images/s", "over float32", "with XLA", "over float32")
        common.show(headers, rows)
    common.write(arguments.json, figures)


if __name__ == "__main__":
    main()
