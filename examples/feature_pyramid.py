"""A head of your own on our features: a feature pyramid that finds one shape's place.

    python examples/feature_pyramid.py            # about three minutes on two CPU cores
    python examples/feature_pyramid.py --smoke    # seconds

`feature_extractor` gives the maps of stages by name; a top-down pyramid (Lin 2017,
arXiv:1612.03144) joins them, and a head on its finest level says where the shape is.
The image's own size is free: everything is convolution.
"""

import argparse

import keras
import numpy as np
import shapes
from keras import layers

import keras_resnets

SIZE, STRIDE = 64, 8  # of an image and of stage2's cells, in pixels


def pyramid(maps, width=32):
    """The finest level of a top-down pyramid over feature maps, coarse to fine."""
    *finer, coarsest = maps
    level = layers.Conv2D(width, 1)(coarsest)
    for each in reversed(finer):
        level = layers.UpSampling2D(2)(level)
        level = layers.Add()([level, layers.Conv2D(width, 1)(each)])
    return layers.Conv2D(width, 3, padding="same", activation="relu")(level)


def build():
    backbone = keras_resnets.ResNet18D(include_top=False, input_shape=(SIZE, SIZE, 3))
    features = keras_resnets.feature_extractor(backbone, ["stage2", "stage3", "stage4"])
    level = pyramid(list(features.output.values()))
    # A map of one number a cell of 8 x 8 pixels: how likely the shape's centre is there.
    scores = layers.Flatten()(layers.Conv2D(1, 1)(level))
    return keras.Model(features.input, scores)


def scenes(count, seed):
    """Images with one shape somewhere, and the cell of its centre."""
    rng = np.random.default_rng(seed)
    small, _ = shapes.drawn_shapes(count, seed, size=32)
    images = rng.integers(0, 120, (count, SIZE, SIZE, 3), dtype="uint8")
    corners = rng.integers(0, SIZE - 32, (count, 2))
    for image, shape, (top, left) in zip(images, small, corners, strict=True):
        image[top : top + 32, left : left + 32] = shape
    # The shape is what is brighter than the noise; dark ones leave a trace of noise.
    bright = (images.max(axis=-1) > 119).astype("float32") + 1e-6
    rows, columns = np.arange(SIZE)[:, None], np.arange(SIZE)
    total = bright.sum(axis=(1, 2))
    y = (bright * rows).sum(axis=(1, 2)) / total
    x = (bright * columns).sum(axis=(1, 2)) / total
    cells = (y // STRIDE) * (SIZE // STRIDE) + x // STRIDE
    return keras_resnets.preprocess_input(images, "torch"), cells.astype("int64")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--smoke", action="store_true", help="one epoch of 64 images")
    options = parser.parse_args()
    count, epochs = (64, 1) if options.smoke else (2000, options.epochs)
    keras.utils.set_random_seed(0)
    model = build()
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(*scenes(count, 1), batch_size=32, epochs=epochs, verbose=2)
    loss, accuracy = model.evaluate(*scenes(64, 2), verbose=0)
    print(f"the right one of {model.output_shape[-1]} cells: {accuracy:.0%}")


if __name__ == "__main__":
    main()
