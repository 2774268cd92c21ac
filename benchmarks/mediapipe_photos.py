"""What MediaPipe's ImageClassifier says of plain photos, beside `predict`.

    python benchmarks/mediapipe_photos.py [--python OTHER/bin/python] [--images 1000]

One file a size (`to_tflite(..., source=..., metadata=True)`) of a trained network; images
of five sizes: enlarged CIFAR-10 test images and parts of photos. A Python that has
mediapipe classifies them; `predict` gets the same pixels. Then what the resize in the
file costs: milliseconds in LiteRT, two threads, and bytes, beside the file that takes
the network's pixels.

Then the sample photos as JPEG files, which MediaPipe's `Image.create_from_file` decodes by
stb_image and Pillow by libjpeg-turbo: how far the pixels differ, and the scores, with each
decoder's pixels on both sides and with MediaPipe's on one.

Targets: the same likeliest class of all images, scores within 0.02.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import common

SIZES = ((480, 640), (640, 480), (300, 300), (720, 1280), (227, 401))
WORKER = common.ROOT / "keras_resnets" / "deploy" / "mediapipe_worker.py"
# What MediaPipe decodes by itself, as the worker's input has it.
DECODE = """
import sys
import mediapipe
import numpy as np
path, labels, made = sys.argv[1:]
image = mediapipe.Image.create_from_file(path)
pixels = image.numpy_view()[None, ..., :3]
np.savez(made, images=pixels, labels=np.load(labels)["labels"])
"""


def photos(folder, size, count, seed):
    """uint8 images of a size: CIFAR-10's enlarged, and parts of photos."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(seed)
    sheet = Image.open(folder / "cifar10" / "test_batch.png")
    cifar = np.asarray(sheet).reshape(-1, 32, 32, 3)
    whole = [Image.open(p).convert("RGB") for p in sorted(folder.glob("photos/*.jpg"))]
    made = []
    for index in range(count):
        if index % 2:
            image = Image.fromarray(cifar[rng.integers(len(cifar))])
            made.append(image.resize(size[::-1], Image.Resampling.LANCZOS))
            continue
        image = whole[rng.integers(len(whole))]
        width, height = (int(side * rng.uniform(0.4, 1)) for side in image.size)
        left = rng.integers(image.width - width + 1)
        top = rng.integers(image.height - height + 1)
        part = image.crop((left, top, left + width, top + height))
        made.append(part.resize(size[::-1], Image.Resampling.BICUBIC))
    return made


def classified(python, path, pixels, names, folder):
    """MediaPipe's scores (images, classes) of uint8 pixels."""
    import numpy as np

    np.savez(folder / "given.npz", images=pixels, labels=names)
    order = [python, "-P", WORKER, path, folder / "given.npz", folder / "made.npz"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(order, check=True, **quiet)
    with np.load(folder / "made.npz") as made:
        return made["scores"]


def class_names(model):
    """The names of a model's classes, in the order of its outputs."""
    from keras_resnets.images import labels

    classes = labels.class_names(model.output_shape[-1], model.labels)
    return [name for _, name in classes]


def measure(model, python, size, images, folder):
    """Cells of a row, and (count of another class, largest difference)."""
    import numpy as np

    from keras_resnets.export import to_tflite

    wanted, path = model.preprocessing, folder / "photos.tflite"
    given = {"preprocessing": wanted, "metadata": True, "overwrite": True}
    plain = to_tflite(model, folder / "pixels.tflite", **given)
    report = to_tflite(model, path, source=size, **given)
    expected = predicted(model, images)
    pixels = np.stack([np.asarray(image) for image in images])
    scores = classified(python, path, pixels, class_names(model), folder)
    wrong = int((scores.argmax(1) != expected.argmax(1)).sum())
    largest = float(np.abs(scores - expected).max())
    row = (
        f"{size[0]} x {size[1]}",
        len(images),
        wrong,
        f"{largest:.4f}",
        f"{1e3 * plain.latency:.2f} ms",
        f"{1e3 * report.latency:.2f} ms",
        f"{report.size - plain.size:,}",
    )
    return row, wrong, largest


def predicted(model, images):
    """Probabilities that `predict` shows of Pillow images."""
    import numpy as np

    values = np.stack([model.preprocessing(image) for image in images])
    return model.predict(values, batch_size=64, verbose=0)


def decoded(model, python, photo, folder):
    """Cells of a row about one JPEG file: both decoders' pixels and scores."""
    import numpy as np
    from PIL import Image

    from keras_resnets.export import to_tflite

    image, names = Image.open(photo).convert("RGB"), class_names(model)
    path, theirs = folder / "photo.tflite", folder / "decoded.npz"
    given = {"preprocessing": model.preprocessing, "metadata": True, "overwrite": True}
    to_tflite(model, path, source=image.size[::-1], **given)
    ours = classified(python, path, np.asarray(image)[None], names, folder)
    order = [python, "-P", "-c", DECODE, photo, folder / "given.npz", theirs]
    subprocess.run(order, check=True, stderr=subprocess.DEVNULL)
    with np.load(theirs) as made:
        pixels = made["images"]
    apart = np.abs(pixels[0].astype(int) - np.asarray(image))
    own = classified(python, path, pixels, names, folder)
    expected, same = (
        predicted(model, [image]),
        predicted(model, map(Image.fromarray, pixels)),
    )
    return (
        photo.name,
        f"{(apart > 0).mean():.1%}",
        int(apart.max()),
        f"{np.abs(ours - expected).max():.4f}",
        f"{np.abs(own - same).max():.4f}",
        f"{np.abs(own - expected).max():.4f}",
        f"{np.abs(same - expected).max():.4f}",
        "same" if own.argmax() == expected.argmax() else "another",
    )


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument(
        "--python", default=os.environ.get("KERAS_RESNETS_MEDIAPIPE_PYTHON")
    )
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    import keras_resnets
    from keras_resnets.system.quiet import native_logs_hidden

    data = pathlib.Path(os.environ["KERAS_RESNETS_DATA"])
    rows, count = [], arguments.images // len(SIZES)
    with native_logs_hidden(), tempfile.TemporaryDirectory() as folder:
        model = keras_resnets.create_model(arguments.model, weights="cifar10")
        for seed, size in enumerate(SIZES):
            images = photos(data, size, count, seed)
            found = measure(
                model,
                arguments.python or sys.executable,
                size,
                images,
                pathlib.Path(folder),
            )
            rows.append(found)
        jpegs = [
            decoded(
                model,
                arguments.python or sys.executable,
                photo,
                pathlib.Path(folder),
            )
            for photo in sorted(data.glob("photos/*.jpg"))
        ]
    header = ("photo", "images", "other class", "largest", "pixels", "photo", "bytes")
    common.show(header, [row for row, _, _ in rows])
    wrong, largest = sum(x[1] for x in rows), max(x[2] for x in rows)
    print(f"\n{wrong} of {count * len(SIZES)} other classes; largest {largest:.4f}\n")
    header = (
        "photo",
        "values differ",
        "by at most",
        "Pillow's pixels: MediaPipe, predict",
        "MediaPipe's pixels: MediaPipe, predict",
        "each its own",
        "predict: MediaPipe's pixels, Pillow's",
        "class",
    )
    common.show(header, jpegs)


if __name__ == "__main__":
    main()
