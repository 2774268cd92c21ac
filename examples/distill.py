"""Distils a small CIFAR-10 network from a large one (He 2019, section 5.3).

    python examples/distill.py --data cifar10.npz --teacher-weights resnet56.th --output run

ResNet-20 from ResNet-56 takes about five minutes an epoch on two CPU cores. `--smoke`
trains a teacher of its own on made-up images, in seconds. The same from a shell:

    keras-resnets train resnet20 --data cifar10.npz --recipe cifar_cosine \
        --teacher resnet56 --teacher-weights cifar10 --change temperature=4 --output run
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
    data = open_dataset(options.data, validation=0.1)
    recipe = get_recipe(
        "cifar_cosine", epochs=options.epochs, temperature=4.0, ema=None
    )
    keras.utils.set_random_seed(0)
    teacher = build(options.teacher, data, options.teacher_weights)
    if options.smoke:
        train(
            teacher, data, recipe, options.output / "teacher", batch_size=32, verbose=0
        )
    student = build(options.student, data)
    run = train(
        student,
        data,
        recipe,
        options.output / "student",
        # A teacher sees the images as the student does.
        preprocessing=teacher.preprocessing,
        teacher=teacher,
        batch_size=options.batch_size,
        verbose=2,
    )
    print(f"student's test accuracy {run.figures['test_accuracy']:.2%}")


def build(name, data, weights=None):
    return keras_resnets.create_model(
        name, weights=weights, classes=len(data.classes), classifier_activation=None
    )


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help=".npz file, or cifar10")
    parser.add_argument("--student", default="resnet20")
    parser.add_argument("--teacher", default="resnet56")
    parser.add_argument("--teacher-weights", default="cifar10")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--smoke", action="store_true", help="seconds, made-up images")
    options = parser.parse_args()
    if options.smoke:
        folder = pathlib.Path(tempfile.mkdtemp())
        options.data = shapes.write_npz(folder / "shapes.npz")
        options.teacher, options.teacher_weights = "resnet8", None
        options.student, options.epochs, options.batch_size = "resnet8", 1, 32
        options.output = options.output or folder / "run"
    if not options.data or not options.output:
        parser.error("--data and --output are needed (or --smoke)")
    return options


if __name__ == "__main__":
    main()
