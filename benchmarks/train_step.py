"""Training speed.

    python benchmarks/train_step.py --torch-python OTHER/bin/python

One training step (forward, loss, backward, SGD with momentum 0.9) of compiled
models, batch 8 at 96 x 96, two threads, in float32 and in bfloat16. Contestants: ours
on the TensorFlow backend, in bfloat16 on PyTorch's too, torchvision (channels_last,
eager and under `torch.compile`; in bfloat16 by autocast) and the same ResNeXt-50 with
Keras' own grouped Conv2D. Each lives in its own process; they take turns. The best step
of each counts, and the median is printed beside it. torchvision and our PyTorch run in
the interpreter that `--torch-python` names, or in this one where it has torch;
`torch.compile` needs a C++ compiler.

Targets: in float32 at least 0.9 times torchvision's eager images per second, the
better of our precisions at least as fast as the best of torchvision's four, and 20
times Keras' own grouped convolution.
"""

import importlib.util
import statistics
import sys

import common

BATCH = 8
SIZE = 96
THREADS = 2
WARM_UP = 3
MODELS = ("resnet50", "resnext50_32x4d")
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
# A contestant is KIND/PRECISION/NETWORK.
OURS = "ours"
OURS_ON_TORCH = "ours-on-torch"
EAGER = "torchvision"
COMPILED = "torch.compile"
KERAS_CONV = "keras-conv"


def keras_step(name, precision, stock=False):
    common.quiet_tensorflow()
    import keras
    import numpy as np

    import keras_resnets
    from keras_resnets.networks import layers

    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(THREADS)
    else:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(THREADS)
        tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    keras.mixed_precision.set_global_policy(POLICIES[precision])

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


def torch_step(name, precision, compiled):
    import torch
    import torchvision

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None)
    model = model.train().to(memory_format=torch.channels_last)
    forward = torch.compile(model) if compiled else model
    optimizer = torch.optim.SGD(model.parameters(), 0.001, momentum=0.9)
    criterion = torch.nn.CrossEntropyLoss()
    images = torch.randn(BATCH, 3, SIZE, SIZE)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(0, 1000, (BATCH,))
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")

    def step():
        optimizer.zero_grad()
        with autocast:
            loss = criterion(forward(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def work(contestant):
    kind, precision, name = contestant.split("/")
    if kind in (EAGER, COMPILED):
        common.serve(torch_step(name, precision, kind == COMPILED))
    else:
        common.serve(keras_step(name, precision, stock=kind == KERAS_CONV))


def contestants(name, torch_python):
    """(name of the contestant, its interpreter, its settings) of one network."""
    for precision in POLICIES:
        yield f"{OURS}/{precision}/{name}", sys.executable, {}
        for kind in (EAGER, COMPILED) if torch_python else ():
            yield f"{kind}/{precision}/{name}", torch_python, {}
    if torch_python:
        backend = {"KERAS_BACKEND": "torch"}
        yield f"{OURS_ON_TORCH}/bfloat16/{name}", torch_python, backend


def measure(arguments, name):
    """The best seconds of each turn, by contestant; none for one that cannot run."""
    torch_python = arguments.torch_python
    if torch_python is None and importlib.util.find_spec("torchvision"):
        torch_python = sys.executable
    workers = [
        common.Worker(__file__, contestant, python, **settings)
        for contestant, python, settings in contestants(name, torch_python)
    ]
    # The first steps trace, compile and choose kernels.
    ready = [worker for worker in workers if worker.ask(WARM_UP) is not None]
    turns = {worker.name: [] for worker in workers}
    for _ in range(arguments.rounds):
        for worker in ready:
            turns[worker.name].append(worker.ask(arguments.steps))
    for worker in workers:
        worker.close()
    return turns


def measure_keras_conv(name):
    """Seconds of a step with Keras' own grouped convolution, which is slow."""
    worker = common.Worker(__file__, f"{KERAS_CONV}/float32/{name}")
    worker.ask(1)
    seconds = worker.ask(1)
    worker.close()
    return seconds


def speeds(turns, choose=min):
    """Images per second by contestant, of those that ran."""
    return {name: BATCH / choose(each) for name, each in turns.items() if each}


def ratios(speed, name):
    """{what is compared: ratio of images per second}, where both sides ran."""
    ours = {p: speed[f"{OURS}/{p}/{name}"] for p in POLICIES}
    theirs = {key: value for key, value in speed.items() if not key.startswith(OURS)}
    compared = {}
    for precision in POLICIES:
        eager = theirs.get(f"{EAGER}/{precision}/{name}")
        if eager:
            compared[f"{precision} over {EAGER}"] = ours[precision] / eager
    if theirs:
        best = max(value for key, value in speed.items() if key not in theirs)
        compared["best over best"] = best / max(theirs.values())
    return compared


def main():
    parser = common.parser(__doc__, rounds=5)
    parser.add_argument("--worker", help="(used by the script itself)")
    parser.add_argument("--torch-python", metavar="PATH", help="has torchvision")
    parser.add_argument("--steps", type=int, default=4, help="in a turn")
    parser.add_argument("--network", choices=MODELS, help="only this one")
    parser.add_argument("--skip-keras-conv", action="store_true")
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker)
        return
    limits = {f"float32 over {EAGER}": 0.9, "best over best": 1.0, KERAS_CONV: 20}
    lines, verdicts, figures = [], [], {}
    for name in [arguments.network] if arguments.network else MODELS:
        turns = measure(arguments, name)
        best, median = speeds(turns), speeds(turns, statistics.median)
        ours = f"{OURS}/float32/{name}"
        if ours not in best:
            raise SystemExit(f"see why: echo 1 | train_step.py --worker {ours}")
        for contestant in turns:
            kind, precision, _ = contestant.split("/")
            cells = best.get(contestant), median.get(contestant)
            lines.append((name, kind, precision, *cells))
        compared = ratios(best, name)
        if name == MODELS[1] and not arguments.skip_keras_conv:
            compared[KERAS_CONV] = best[ours] * measure_keras_conv(name) / BATCH
        for what, ratio in compared.items():
            limit = limits.get(what)
            cells = (common.times(ratio), "", "")
            if limit:
                cells = common.target(ratio, limit, at_most=False)
            verdicts.append((name, what, *cells))
        figures[name] = {"best": best, "median": median, "ratios": compared}
    common.show(("network", "", "", "images/s, best", "median"), lines)
    common.show(("network", "ours", "ratio", "target", ""), verdicts)
    common.write(arguments.json, figures)


if __name__ == "__main__":
    main()
