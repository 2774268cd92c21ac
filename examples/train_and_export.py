"""Trains a small ResNet, exports it as int8 TFLite, and scores both on unseen images.

    python examples/train_and_export.py                        # drawn shapes, a minute
    python examples/train_and_export.py --data cifar10.npz --model resnet20 --epochs 10

An .npz file has uint8 images x_train and x_test (count, height, width, 3) and integer
labels y_train and y_test.
"""

import argparse
import pathlib

import keras
import numpy as np
from shapes import drawn_shapes

import keras_resnets
from keras_resnets.export import to_tflite
from keras_resnets.export.tflite.runner import TFLiteRunner


def main():
    options = parse()
    keras.utils.set_random_seed(options.seed)
    x_train, y_train, x_test, y_test = load(options)
    classes = int(y_train.max()) + 1
    model = keras_resnets.create_model(
        options.model,
        input_shape=x_train.shape[1:],
        classes=classes,
        dtype=options.dtype,
    )
    print(f"{model.name}: {model.count_params():,} parameters, {classes} classes")
    train(model, x_train, y_train, options)
    model.save(options.output / f"{model.name}.keras")

    report = to_tflite(
        model,
        options.output / f"{model.name}_int8.tflite",
        recipe="static_wi8_ai8",
        calibration=x_train[:200],
        images=x_test[:50],
        overwrite=True,
    )
    file_outputs = TFLiteRunner(report.path.read_bytes())(x_test)
    keras_outputs = model.predict(x_test, verbose=0)
    print(f"wrote {report.path} ({report.size / 1e3:,.0f} kB)")
    print(f"accuracy on {len(x_test)} images that neither has seen")
    print(f"  Keras {options.dtype:<15} {accuracy(keras_outputs, y_test):7.2%}")
    print(f"  TFLite int8           {accuracy(file_outputs, y_test):7.2%}")


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, help=".npz file; else shapes")
    parser.add_argument("--model", default="resnet8")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--dtype", default="mixed_bfloat16", help="dtype policy")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("."))
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def load(options):
    """(x_train, y_train, x_test, y_test), images preprocessed."""
    if options.data is None:
        train, test = drawn_shapes(2000, seed=1), drawn_shapes(500, seed=2)
        arrays = (*train, *test)
    else:
        with np.load(options.data) as file:
            arrays = [file[k] for k in ("x_train", "y_train", "x_test", "y_test")]
    x_train, y_train, x_test, y_test = arrays
    prepared = (keras_resnets.preprocess_input(x, "cifar") for x in (x_train, x_test))
    x_train, x_test = prepared
    return x_train, np.ravel(y_train), x_test, np.ravel(y_test)


def train(model, x, y, options):
    steps = options.epochs * int(np.ceil(len(x) / options.batch_size))
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=0.05, warmup_steps=max(1, steps // 10)
    )
    model.compile(
        keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.fit(x, y, batch_size=options.batch_size, epochs=options.epochs, verbose=2)


def accuracy(outputs, labels):
    return float((outputs.argmax(axis=-1) == labels).mean())


if __name__ == "__main__":
    main()
