"""Small labelled sources of every kind, and streams of batches from them."""

import numpy as np
from PIL import Image

from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.training.augmentation import Augmentation
from keras_resnets.training.data import batches
from keras_resnets.training.data import open_dataset

INPUT = Preprocessing("torch", (16, 16))
CIFAR_LIKE = Augmentation(crop="pad", padding=3, flip=True)
EVERYTHING = Augmentation(
    crop="inception",
    flip=True,
    jitter=(0.4, 0.4, 0.4, 0.1),
    lighting=0.1,
    rand_augment=(2, 6),
    mixup=0.2,
    cutmix=1.0,
    erase=0.25,
)
WITHOUT_MIXING = Augmentation(
    **{**vars(EVERYTHING), "mixup": 0.0, "cutmix": 0.0, "erase": 0.0}
)


def picture(seed, size=(24, 30)):
    """A smooth picture of its own, uint8 (height, width, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), "uint8")
    return np.asarray(
        Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)
    )


def write_npz(path, count=22, size=(16, 16)):
    """Three classes, of which the last is rare; four pictures for the test."""
    pixels = np.stack([picture(seed, size) for seed in range(count + 4)])
    labels = np.minimum(np.arange(count + 4) % 4, 2)
    np.savez(
        path,
        x_train=pixels[:count],
        y_train=labels[:count],
        x_test=pixels[count:],
        y_test=labels[count:, None],
    )
    return path


def write_folder(folder, count=22, names=("ant", "bee", "cat"), start=0):
    """JPEG files of many sizes, and a PNG of every class."""
    for index in range(count):
        to = folder / names[index % len(names)]
        to.mkdir(parents=True, exist_ok=True)
        suffix = ".png" if index < len(names) else ".jpg"
        pixels = picture(start + index, (20 + index % 30, 60 - index % 30))
        Image.fromarray(pixels).save(to / f"{index:03}{suffix}", quality=95)
    return folder


def message(number, *parts):
    """A field of a protocol buffer message with other messages or bytes in it."""
    content = b"".join(parts)
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value):
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def example(features):
    """A serialized tf.train.Example of bytes and integers."""
    entries = []
    for name, value in features.items():
        if isinstance(value, bytes):
            feature = message(1, message(1, value))
        else:
            feature = message(3, message(1, varint(value)))
        entries.append(message(1, message(1, name.encode()), message(2, feature)))
    return message(1, *entries)


def write_records(folder, source, keys=("image/encoded", "image/class/label"), first=1):
    """The files of a folder of classes as two shards; checksums are not looked at."""
    folder.mkdir()
    shards = [b"", b""]
    for index, path in enumerate(sorted(source.rglob("*.*"))):
        label = sorted({p.parent.name for p in source.rglob("*.*")}).index(
            path.parent.name
        )
        record = example(
            {"image/height": 7, keys[1]: label + first, keys[0]: path.read_bytes()}
        )
        shards[index % 2] += len(record).to_bytes(8, "little") + b"sums" + record
        shards[index % 2] += b"sums"
    for index, content in enumerate(shards):
        (folder / f"train-{index:05}-of-00002").write_bytes(content)
    return folder


def write_all(root):
    """One source of each kind, by kind."""
    folder = write_folder(root / "folder")
    return {
        "arrays": write_npz(root / "small.npz"),
        "files": folder,
        "records": write_records(root / "records", folder),
    }


def stream(source, changes, epochs, **options):
    """All batches of some epochs, as NumPy."""
    split = open_dataset(source, validation=0).train
    options = {"classes": 3, "seed": 5, "augmentation": changes, **options}
    found = options.pop("make", batches)(split, INPUT, 4, **options)
    return [tuple(map(np.asarray, pair)) for _ in range(epochs) for pair in found]


def same(first, second):
    """Whether two streams are equal to the bit."""
    return len(first) == len(second) and all(
        a.dtype == b.dtype and a.tobytes() == b.tobytes()
        for left, right in zip(first, second, strict=True)
        for a, b in zip(left, right, strict=True)
    )
