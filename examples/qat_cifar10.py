"""Quantizes a trained network, after training and in training, and scores the files.

    python examples/qat_cifar10.py --data cifar10.npz --weights FILE --epochs 2
    python examples/qat_cifar10.py --smoke      # made-up images, to see that it runs

The .npz file has uint8 images x_train and x_test (count, 32, 32, 3) and integer labels
y_train and y_test. Everything is calibrated and trained on training images alone.
"""

import argparse
import pathlib

import keras
import numpy as np

import keras_resnets
from keras_resnets import quantization
from keras_resnets.export.tflite.runner import TFLiteRunner


def main():
    options = parse()
    keras.utils.set_random_seed(options.seed)
    # Short training must do with BN statistics of few batches.
    axes = {"bn_momentum": 0.9} if options.smoke else {}
    model = keras_resnets.create_model(options.model, weights=options.weights, **axes)
    x, y, x_test, y_test = load(options, model.preprocessing)
    if options.weights is None:
        train(model, x, y, options.epochs * 2, options.rate * 10)
    chosen = quantization.CalibrationSet(x[:500], "x_train")
    scores = {"float": accuracy(model.predict(x_test, verbose=0), y_test)}

    after = quantization.quantize(
        model,
        options.output / f"{model.name}_after.tflite",
        options.recipe,
        chosen,
        overwrite=True,
    )
    scores["quantized after training"] = file_accuracy(after, x_test, y_test)

    aware = quantization.quantize_aware(model, options.recipe, chosen)
    late = max(options.epochs * 2 // 3, 1)
    train(aware, x, y, options.epochs, options.rate, [quantization.FreezeRanges(late)])
    aware.save(options.output / f"{model.name}_aware.keras")
    inside = quantization.to_tflite(
        aware,
        options.output / f"{model.name}_aware.tflite",
        images=x[:8],
        overwrite=True,
    )
    scores["quantized in training"] = file_accuracy(inside, x_test, y_test)
    for name, score in scores.items():
        print(f"{name:<26}{score:7.2%} of {len(y_test):,} unseen images")


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, help=".npz file")
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--weights", help="what create_model takes; without: train")
    parser.add_argument("--recipe", default="static_wi4_ai8")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rate", type=float, default=0.003, help="learning rate")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("."))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="tiny and made up")
    options = parser.parse_args()
    if options.smoke:
        options.model, options.weights, options.epochs = "resnet8", None, 3
    elif options.data is None:
        parser.error("give --data, or --smoke")
    return options


def load(options, preprocessing):
    """(x_train, y_train, x_test, y_test), images preprocessed."""
    if options.smoke:
        arrays = [*stripes(600, 1), *stripes(200, 2)]
    else:
        with np.load(options.data) as file:
            arrays = [file[k] for k in ("x_train", "y_train", "x_test", "y_test")]
    x, y, x_test, y_test = arrays
    x, x_test = (preprocessing.normalize(z, "channels_last") for z in (x, x_test))
    return x, np.ravel(y), x_test, np.ravel(y_test)


def stripes(count, seed):
    """Noise with stripes of four directions."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    rows, columns = np.mgrid[:32, :32]
    waves = np.stack([rows, columns, rows + columns, rows - columns]) % 8 < 4
    images = rng.integers(0, 160, (count, 32, 32, 3)) + 95 * waves[labels][..., None]
    return images.astype("uint8"), labels


def train(model, x, y, epochs, rate, callbacks=()):
    """SGD with a cosine schedule; images are mirrored by chance."""
    mirrored = np.random.default_rng(0).random(len(x)) < 0.5
    x = np.where(mirrored[:, None, None, None], x[:, :, ::-1], x)
    batch = min(128, max(len(x) // 40, 1))
    steps = epochs * int(np.ceil(len(x) / batch))
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=rate, warmup_steps=max(1, steps // 10)
    )
    model.compile(
        keras.optimizers.SGD(schedule, momentum=0.9),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.fit(
        x, y, batch_size=batch, epochs=epochs, verbose=2, callbacks=list(callbacks)
    )


def file_accuracy(report, x, y):
    return accuracy(TFLiteRunner(report.path.read_bytes())(x), y)


def accuracy(outputs, labels):
    return float((outputs.argmax(axis=-1) == labels).mean())


if __name__ == "__main__":
    main()
