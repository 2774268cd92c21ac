"""SavedModel latency per multiply-add.

    python benchmarks/saved_model_latency.py

One image of 224 x 224 through the SavedModels of resnet50 and resnext50_32x4d in
TensorFlow, in turns, with random weights.

Target: a multiply-add of resnext50_32x4d costs at most 1.2 times one of resnet50.
"""

import pathlib
import statistics
import tempfile

import common

SHAPE = (224, 224, 3)
MODELS = ("resnet50", "resnext50_32x4d")


def measure(rounds):
    """(multiply-adds, seconds of every turn) by name."""
    import keras_resnets
    from keras_resnets.export import random_weights
    from keras_resnets.export import to_saved_model
    from keras_resnets.export.compare import open_runner as runners
    from keras_resnets.images import samples
    from keras_resnets.system.quiet import native_logs_hidden

    images, calls, macs = samples.default_images(SHAPE), {}, {}
    with native_logs_hidden(), tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            model = keras_resnets.create_model(name)
            random_weights.settle(model, images)
            path = pathlib.Path(folder, name)
            to_saved_model(model, path)
            runner = runners.open_runner(path)
            calls[name] = lambda run=runner: run(images[:1])
            macs[name] = keras_resnets.analyze(model, SHAPE).macs
        common.interleave(calls, rounds=5)
        return macs, common.interleave(calls, rounds)


def main():
    arguments = common.parser(__doc__, rounds=60).parse_args()
    common.quiet_tensorflow()
    macs, times = measure(arguments.rounds)
    best = {name: 1e3 * min(found) for name, found in times.items()}
    rows = [
        (
            name,
            f"{macs[name] / 1e9:.2f}",
            f"{best[name]:.1f}",
            f"{1e3 * statistics.median(times[name]):.1f}",
        )
        for name in MODELS
    ]
    common.show(("SavedModel", "GMACs", "best ms", "median ms"), rows)
    plain, grouped = (best[name] / macs[name] for name in MODELS)
    cells = common.target(grouped / plain, 1.2, at_most=True)
    common.show(
        ("latency per multiply-add", "of the best", "target", ""),
        [("resnext50_32x4d / resnet50", *cells)],
    )
    common.write(arguments.json, {"best_ms": best, "macs": macs})


if __name__ == "__main__":
    main()
