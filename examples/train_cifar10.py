"""Trains a CIFAR-10 network by a paper's recipe, and goes on where it was stopped.

    python examples/train_cifar10.py --data cifar10.npz --output run     # 164 epochs
    python examples/train_cifar10.py --data cifar10.npz --output run --resume

ResNet-20 takes about two minutes an epoch on two CPU cores, seconds on a GPU. Keras'
own loader downloads the images with `--data cifar10`. `--smoke` trains for seconds on
made-up images. The same from a shell:

    keras-resnets train resnet20 --data cifar10.npz --recipe he2015_cifar --output run
"""

import argparse
import pathlib
import tempfile

import keras
import shapes

import keras_resnets
from keras_resnets.training import get_recipe
from keras_resnets.training import open_dataset
from keras_resnets.training import train


def main():
    options = parse()
    recipe = get_recipe(options.recipe)
    if options.epochs:
        recipe = recipe.replace(epochs=options.epochs)
    data = open_dataset(options.data, validation=0.1)
    keras.utils.set_random_seed(options.seed)
    model = keras_resnets.create_model(
        options.model,
        classes=len(data.classes),
        classifier_activation=None,
        **recipe.axes,
    )
    run = train(
        model,
        data,
        recipe,
        options.output,
        seed=options.seed,
        resume=options.resume,
        batch_size=options.batch_size,
        verbose=2,
    )
    print(f"test accuracy {run.figures['test_accuracy']:.2%}")
    print(f"weights in {run.folder.weights('best')}")


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help=".npz file, or cifar10")
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--recipe", default="he2015_cifar")
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="seconds, made-up images")
    options = parser.parse_args()
    if options.smoke:
        folder = pathlib.Path(tempfile.mkdtemp())
        options.data = shapes.write_npz(folder / "shapes.npz")
        options.model, options.epochs, options.batch_size = "resnet8", 2, 32
        options.output = options.output or folder / "run"
    if not options.data or not options.output:
        parser.error("--data and --output are needed (or --smoke)")
    return options


if __name__ == "__main__":
    main()
