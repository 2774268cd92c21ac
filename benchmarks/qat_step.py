"""What quantization-aware training costs.

    python benchmarks/qat_step.py

One training step (forward, loss, backward, SGD with momentum 0.9) of a float network
and of its quantization-aware model, compiled, on the TensorFlow backend with two
threads. Each lives in a process of its own; they take turns, and the best step counts.

Target: at most 2.0 times the float step.
"""

import common

THREADS = 2
# (network, side in pixels, batch)
NETWORKS = (("resnet20", 32, 128), ("resnet50", 96, 8), ("resnext50_32x4d", 96, 8))
RECIPES = ("static_wi8_ai8", "static_wi4_ai8")


def work(contestant):
    common.quiet_tensorflow()
    import keras
    import numpy as np
    import tensorflow as tf

    import keras_resnets
    from keras_resnets.quantization import quantize_aware

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    recipe, name = contestant.split("/")
    _, size, batch = next(row for row in NETWORKS if row[0] == name)
    keras.utils.set_random_seed(0)
    model = keras_resnets.create_model(
        name, input_shape=(size, size, 3), classifier_activation=None
    )
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (max(batch, 10), size, size, 3), dtype="uint8")
    images = model.preprocessing.normalize(pixels, "channels_last")
    if recipe != "float":
        model = quantize_aware(model, recipe, calibration=images)
    model.compile(
        keras.optimizers.SGD(1e-4, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    images = images[:batch]
    labels = rng.integers(0, model.output_shape[-1], batch)
    common.serve(lambda: model.train_on_batch(images, labels))


def measure(name, arguments):
    """Best seconds of a step by contestant."""
    contestants = ["float", *RECIPES]
    workers = [common.Worker(__file__, f"{kind}/{name}") for kind in contestants]
    for worker in workers:
        # The first steps trace and choose kernels.
        if worker.ask(2) is None:
            raise SystemExit(
                f"see why: echo 1 | {__file__} --worker {worker.name}",
            )
    found = {kind: [] for kind in contestants}
    for _ in range(arguments.rounds):
        for kind, worker in zip(contestants, workers, strict=True):
            found[kind].append(worker.ask(arguments.steps))
    for worker in workers:
        worker.close()
    return {kind: min(times) for kind, times in found.items()}


def main():
    parser = common.parser(__doc__, rounds=7)
    parser.add_argument("--worker", help="(used by the script itself)")
    parser.add_argument("--steps", type=int, default=3, help="in a turn")
    parser.add_argument("--network", action="append", help="only these")
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker)
        return
    rows, figures = [], {}
    for name, size, batch in NETWORKS:
        if arguments.network and name not in arguments.network:
            continue
        best = figures[name] = measure(name, arguments)
        for recipe in RECIPES:
            ratio = best[recipe] / best["float"]
            cells = common.target(ratio, 2.0, at_most=True)
            rows.append((name, f"{batch} x {size}", recipe, best["float"], *cells))
    headers = ("network", "batch", "recipe", "float s", "ratio", "target", "")
    common.show(headers, rows)
    common.write(arguments.json, figures)


if __name__ == "__main__":
    main()
