"""Made-up images for the examples: three shapes that a network can tell apart."""

import pathlib

import numpy as np
from PIL import Image
from PIL import ImageDraw

NAMES = ("disc", "square", "triangle")


def drawn_shapes(count, seed, size=32):
    """Discs, squares and triangles of random colour, place and size on noise."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 120, (count, size, size, 3), dtype="uint8")
    labels = rng.integers(0, 3, count)
    for index, label in enumerate(labels):
        image = Image.fromarray(images[index])
        draw = ImageDraw.Draw(image)
        radius = rng.integers(5, 12)
        x, y = rng.integers(radius, size - radius, 2)
        colour = tuple(int(value) for value in rng.integers(90, 256, 3))
        box = [x - radius, y - radius, x + radius, y + radius]
        if label == 0:
            draw.ellipse(box, fill=colour)
        elif label == 1:
            draw.rectangle(box, fill=colour)
        else:
            draw.polygon(
                [(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)],
                fill=colour,
            )
        images[index] = np.asarray(image)
    return images, labels


def write_npz(path, train=256, test=64):
    """An .npz file as `keras-resnets train` takes it."""
    (x_train, y_train), (x_test, y_test) = drawn_shapes(train, 1), drawn_shapes(test, 2)
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


def write_photos(folder, count=24):
    """A folder with one sub-folder per class of JPEG files."""
    for index, (image, label) in enumerate(zip(*drawn_shapes(count, 3), strict=True)):
        path = pathlib.Path(folder) / NAMES[label] / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).resize((96, 80)).save(path)
    return folder
