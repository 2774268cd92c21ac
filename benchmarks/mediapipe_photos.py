"""What MediaPipe's ImageClassifier says of plain photos, beside `predict`.

    python benchmarks/mediapipe_photos.py [--python OTHER/bin/python] [--images 1000]

One file a size (`to_tflite(..., source=..., metadata=True)`) of a trained network; images
of five sizes: enlarged CIFAR-10 test images and parts of photos. A Python that has
mediapipe classifies them; `predict` gets the same pixels. Then what the resize in the
file costs: milliseconds in LiteRT, two threads, and bytes, beside the file that takes
the network's pixels.

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


def measure(model, python, size, images, folder):
    """Cells of a row, and (count of another class, largest difference)."""
    import numpy as np

    from keras_resnets.export import to_tflite
    from keras_resnets.images import labels

    wanted, path = model.preprocessing, folder / "photos.tflite"
    names = [name for _, name in labels.class_names(10, model.labels)]
    given = {"preprocessing": wanted, "metadata": True, "overwrite": True}
    plain = to_tflite(model, folder / "pixels.tflite", **given)
    report = to_tflite(model, path, source=size, **given)
    expected = model.predict(
        np.stack([wanted(image) for image in images]), batch_size=64, verbose=0
    )
    pixels = np.stack([np.asarray(image) for image in images])
    np.savez(folder / "given.npz", images=pixels, labels=names)
    order = [python, "-P", WORKER, path, folder / "given.npz", folder / "made.npz"]
    subprocess.run(order, check=True, stderr=subprocess.DEVNULL)
    with np.load(folder / "made.npz") as made:
        scores = made["scores"]
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
    header = ("photo", "images", "other class", "largest", "pixels", "photo", "bytes")
    common.show(header, [row for row, _, _ in rows])
    wrong, largest = sum(x[1] for x in rows), max(x[2] for x in rows)
    print(f"\n{wrong} of {count * len(SIZES)} other classes; largest {largest:.4f}")


if __name__ == "__main__":
    main()
