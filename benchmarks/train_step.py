"""Training speed.

    python benchmarks/train_step.py --torch-python OTHER/bin/python

One training step (forward, loss, backward, SGD with momentum 0.9) of compiled
models, batch 8 at 96 x 96, two threads, on the TensorFlow backend. Contestants:
ours, torchvision (eager, channels_last) and the same ResNeXt-50 with Keras' own
grouped Conv2D. Each lives in its own process; they take turns, and the best step
counts. torchvision runs in the interpreter that `--torch-python` names, or in this
one where it has torch.

Targets: at least 0.9 times torchvision's images per second, and 20 times those of
Keras' own grouped convolution.
"""

import importlib.util
import sys

import common

BATCH = 8
SIZE = 96
THREADS = 2
MODELS = ("resnet50", "resnext50_32x4d")


def keras_step(name, stock=False):
    common.quiet_tensorflow()
    import keras
    import numpy as np
    import tensorflow as tf

    import keras_resnets
    from keras_resnets.networks import layers

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)

    def stock_conv(layer):
        if type(layer) is layers.Conv2D:
            return keras.layers.Conv2D.from_config(layer.get_config())
        return type(layer).from_config(layer.get_config())

    keras.utils.set_random_seed(0)
    model = keras_resnets.create_model(
        name, input_shape=(SIZE, SIZE, 3), classifier_activation=None
    )
    if stock:
        model = keras.models.clone_model(model, clone_function=stock_conv)
    model.compile(
        keras.optimizers.SGD(0.001, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    rng = np.random.default_rng(0)
    images = rng.standard_normal((BATCH, SIZE, SIZE, 3)).astype("float32")
    labels = rng.integers(0, 1000, BATCH)
    return lambda: model.train_on_batch(images, labels)


def torch_step(name):
    import torch
    import torchvision

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None)
    model = model.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 0.001, momentum=0.9)
    criterion = torch.nn.CrossEntropyLoss()
    images = torch.randn(BATCH, 3, SIZE, SIZE)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(0, 1000, (BATCH,))

    def step():
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def work(contestant):
    kind, name = contestant.split("/")
    step = torch_step(name) if kind == "torchvision" else None
    common.serve(step or keras_step(name, stock=kind == "keras-conv"))


def measure(arguments):
    """Best seconds of each contestant by name; None for one that cannot run."""
    torch_python = arguments.torch_python
    if torch_python is None and importlib.util.find_spec("torchvision"):
        torch_python = sys.executable
    workers = []
    for name in MODELS:
        workers.append(common.Worker(__file__, f"ours/{name}"))
        if torch_python:
            workers.append(common.Worker(__file__, f"torchvision/{name}", torch_python))
    # The first steps trace, compile and choose kernels.
    alive = [worker for worker in workers if worker.ask(2) is not None]
    times = {worker.name: [] for worker in workers}
    for _ in range(arguments.rounds):
        for worker in alive:
            times[worker.name].append(worker.ask(arguments.steps))
    for worker in workers:
        worker.close()
    best = {name: min(found, default=None) for name, found in times.items()}
    if not arguments.skip_keras_conv:
        worker = common.Worker(__file__, f"keras-conv/{MODELS[1]}")
        worker.ask(1)
        best[worker.name] = worker.ask(1)
        worker.close()
    return best


def main():
    parser = common.parser(__doc__, rounds=5)
    parser.add_argument("--worker", help="(used by the script itself)")
    parser.add_argument("--torch-python", metavar="PATH", help="has torchvision")
    parser.add_argument("--steps", type=int, default=4, help="in a turn")
    parser.add_argument("--skip-keras-conv", action="store_true")
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker)
        return
    best = measure(arguments)
    rows, ratios = [], {}
    for name in MODELS:
        if best[f"ours/{name}"] is None:
            raise SystemExit(f"see why: echo 1 | train_step.py --worker ours/{name}")
        ours = BATCH / best[f"ours/{name}"]
        for kind, limit in (("torchvision", 0.9), ("keras-conv", 20)):
            key = f"{kind}/{name}"
            if key not in best:
                continue
            speed = BATCH / best[key] if best[key] else None
            ratio = ours / speed if speed else None
            cells = common.target(ratio, limit, at_most=False)
            rows.append((name, ours, kind, speed, *cells))
            ratios[key] = ratio
    if not any(key.startswith("torchvision/") and best[key] for key in best):
        print("torchvision skipped: name an interpreter that has it: --torch-python\n")
    headers = ("network", "ours", "against", "images/s", "ratio", "target", "")
    common.show(headers, rows)
    common.write(arguments.json, {"best_seconds": best, "ratios": ratios})


if __name__ == "__main__":
    main()
