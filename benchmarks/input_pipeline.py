"""Augmented batches of JPEG photos, over torchvision's; and of CIFAR's arrays.

    python benchmarks/input_pipeline.py --torch-python PYTHON [--photos FOLDER]

PYTHON is an interpreter with torch and torchvision; without them only our rates are
shown. The JPEG files, of 500x375 pixels and quality 90, are made from the photos of
FOLDER (or of the tests' real data, see CONTRIBUTING.md). Each contestant makes one
epoch of batches of 64 at 224x224, by a random resized crop, a flip and normalization,
with two workers on two cores, in turns and each in a process of its own:
torchvision's transforms on Pillow images in a DataLoader, against `batches` with the
TensorFlow and with the JAX backend. A ratio is the median of those of the rounds: the
machine is not as fast in one as in the next. An epoch of a few batches alone would
measure how it begins.
"""

import functools
import os
import pathlib
import random
import statistics
import sys
import tempfile

from common import ROOT
from common import Worker
from common import parser
from common import serve
from common import show
from common import target
from common import write

LIMIT, CIFAR_LIMIT = 1.5, 30_000
BATCH, WORKERS, CIFAR = 64, 2, 50_000
SIZE, QUALITY = (500, 375), 90


def make_photos(source, folder, count):
    """Writes `count` JPEG files in two class folders, cut out of the photos."""
    from PIL import Image

    chance = random.Random(0)
    photos = [Image.open(path).convert("RGB") for path in sorted(source.glob("*.jpg"))]
    if not photos:
        sys.exit(f"no .jpg photos in {source}: give --photos")
    for index in range(count):
        photo = photos[index % len(photos)]
        most = min(photo.width, photo.height * 4 // 3)
        width = round(most * chance.uniform(0.6, 1))
        height = width * 3 // 4
        left = chance.randint(0, photo.width - width)
        top = chance.randint(0, photo.height - height)
        box = (left, top, left + width, top + height)
        to = folder / "ab"[index % 2] / f"{index:04}.jpg"
        to.parent.mkdir(exist_ok=True)
        photo.resize(SIZE, Image.Resampling.BICUBIC, box).save(to, quality=QUALITY)


def two_cores():
    """Leaves this process, and what it starts, two cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])


def exhaust(batches):
    for _ in batches:
        pass


def ours(folder):
    from keras_resnets.images.preprocessing import Preprocessing
    from keras_resnets.training.augmentation import Augmentation
    from keras_resnets.training.data import batches
    from keras_resnets.training.data import open_dataset

    data = open_dataset(folder, validation=0)
    changes = Augmentation(crop="inception", flip=True)
    made = batches(
        data.train,
        Preprocessing(),
        BATCH,
        augmentation=changes,
        classes=2,
        workers=WORKERS,
    )
    serve(lambda: exhaust(made))


def cifar(_):
    import numpy as np

    from keras_resnets.images.datasets.split import ArrayImages
    from keras_resnets.images.preprocessing import Preprocessing
    from keras_resnets.training.augmentation import Augmentation
    from keras_resnets.training.data import Split
    from keras_resnets.training.data import batches

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (CIFAR, 32, 32, 3), "uint8")
    labels = rng.integers(0, 10, CIFAR)
    made = batches(
        Split(labels, ArrayImages(pixels), np.arange(CIFAR)),
        Preprocessing("cifar", (32, 32), 1.0),
        128,
        augmentation=Augmentation(crop="pad", flip=True),
        classes=10,
        workers=WORKERS,
    )
    serve(lambda: exhaust(made))


def torchs(folder):
    import torch
    import torchvision
    from torchvision import transforms

    change = transforms.Compose(
        [
            transforms.RandomResizedCrop(224),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    loader = torch.utils.data.DataLoader(
        torchvision.datasets.ImageFolder(folder, change),
        BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=WORKERS,
        persistent_workers=True,
    )
    serve(lambda: exhaust(loader))


def measure(workers, rounds):
    """Seconds of an epoch in each round, by contestant; the first round warms up."""
    found = {worker.name: [] for worker in workers}
    for index in range(rounds + 1):
        for worker in workers:
            seconds = worker.ask(1)
            if index:
                found[worker.name].append(seconds)
    for worker in workers:
        worker.close()
    return {name: took if None not in took else None for name, took in found.items()}


def report(seconds, count):
    """Rates by contestant, printed beside their targets."""
    photos = count // BATCH * BATCH
    seconds = {name.partition(" ")[0]: took for name, took in seconds.items()}
    rates, rows = {}, []
    for name, took in seconds.items():
        items = CIFAR // 128 * 128 if name.startswith("cifar") else photos
        rates[name] = took and items / statistics.median(took)
        row = ("-", "", "")
        if name.startswith("ours"):
            row = target(ratio(seconds["torchvision"], took), LIMIT, False)
        elif name.startswith("cifar"):
            row = target(rates[name], CIFAR_LIMIT, False, "images/s")
        rate = f"{rates[name]:,.0f}" if rates[name] else "-"
        rows.append((name, rate, *row))
    show(("contestant", "images/s", "ratio", "target", ""), rows)
    return rates


def ratio(theirs, ours):
    """How many times as fast as theirs; None where one of them did not run."""
    if theirs is None or ours is None:
        return None
    return statistics.median(x / y for x, y in zip(theirs, ours, strict=True))


def main():
    arguments = parser(__doc__, rounds=12)
    arguments.add_argument("--torch-python", default=sys.executable)
    arguments.add_argument("--photos", type=pathlib.Path)
    arguments.add_argument("--count", type=int, default=1536)
    arguments.add_argument("--worker", nargs=1)
    options = arguments.parse_args()
    if options.worker:
        two_cores()
        kind, _, folder = options.worker[0].partition(" ")
        kinds = {"ours": ours, "cifar": cifar, "torchvision": torchs}
        return kinds[kind.partition("-")[0]](folder)
    data = os.environ.get("KERAS_RESNETS_DATA", ROOT.parent / "shared/data")
    with tempfile.TemporaryDirectory() as folder:
        source = options.photos or pathlib.Path(data) / "photos"
        make_photos(source, pathlib.Path(folder), options.count)
        start = functools.partial(Worker, __file__)
        workers = [start(f"torchvision {folder}", python=options.torch_python)]
        for backend in ("tensorflow", "jax"):
            for kind in ("ours", "cifar"):
                name = f"{kind}-{backend} {folder}"
                workers.append(start(name, KERAS_BACKEND=backend))
        seconds = measure(workers, options.rounds)
    return write(options.json, report(seconds, options.count))


if __name__ == "__main__":
    main()
