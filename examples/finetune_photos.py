"""Fine-tunes a public ImageNet network on a folder of photos, and exports the result.

    python examples/finetune_photos.py PHOTOS --output run

PHOTOS has one sub-folder per class. A thousand photos take about ten minutes with ResNet-50
on two CPU cores. `--smoke` takes made-up photos and a network of CIFAR-10. The same from a
shell:

    keras-resnets train resnet50 --weights imagenet --data PHOTOS --recipe finetune \
        --output run
    python export/to_tflite.py --model resnet50 --weights run/best.weights.h5 \
        --recipe static_wi8_ai8 --calibration PHOTOS
"""

import argparse
import pathlib
import tempfile

import keras
import shapes

import keras_resnets
from keras_resnets.export import to_tflite
from keras_resnets.images import loading
from keras_resnets.training import best_weights
from keras_resnets.training import get_recipe
from keras_resnets.training import open_dataset
from keras_resnets.training import train


def main():
    options = parse()
    data = open_dataset(options.photos, validation=0.2)
    print(f"{data.train.count} photos of {', '.join(name for _, name in data.classes)}")
    recipe = get_recipe("finetune")
    if options.epochs:
        recipe = recipe.replace(epochs=options.epochs)
    keras.utils.set_random_seed(0)
    # The classifier of ImageNet is dropped, which is said.
    model = keras_resnets.create_model(
        options.model,
        weights=options.weights,
        classes=len(data.classes),
        classifier_activation=None,
        input_shape=(options.size, options.size, 3),
    )
    run = train(
        model, data, recipe, options.output, batch_size=options.batch_size, verbose=2
    )
    # What is kept did best on photos that were held out: it may be the network as it came.
    print(best_weights.sentence(recipe, run.figures, data.validation.count))

    # The file that is exported ends in a softmax, and knows its classes.
    tuned = keras_resnets.create_model(
        options.model,
        weights=run.folder.weights("best"),
        input_shape=(options.size, options.size, 3),
    )
    calibration, _ = loading.load_folder(options.photos, tuned.preprocessing, 100)
    report = to_tflite(
        tuned,
        options.output / f"{options.model}.tflite",
        recipe="static_wi8_ai8",
        calibration=calibration,
        preprocessing=tuned.preprocessing,
    )
    print(f"wrote {report.path} ({report.size / 1e6:,.2f} MB), which takes RGB bytes")


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", nargs="?", type=pathlib.Path)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--size", type=int, default=224, help="of the input in pixels")
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--smoke", action="store_true", help="seconds, made-up photos")
    options = parser.parse_args()
    if options.smoke:
        folder = pathlib.Path(tempfile.mkdtemp())
        options.photos = shapes.write_photos(folder / "photos")
        options.model, options.weights, options.size = "resnet20", "cifar10", 32
        options.epochs, options.batch_size = 4, 8
        options.output = options.output or folder / "run"
    if not options.photos or not options.output:
        parser.error("PHOTOS and --output are needed (or --smoke)")
    return options


if __name__ == "__main__":
    main()
