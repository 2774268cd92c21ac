"""JPEG photos decoded no further down than a crop needs: the crop stays the same."""

import io

import data_sources as sources
import numpy as np
import pytest
from PIL import Image

from keras_resnets.images.datasets import encoded
from keras_resnets.images.datasets.jpeg import cut_short
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.training.augmentation import NUMBERS
from keras_resnets.training.augmentation import Augmentation
from keras_resnets.training.data import open_dataset
from keras_resnets.training.data.batch_loader import Loader
from keras_resnets.training.data.sampler import Order

SIZE = (160, 120)
# Kind of file -> (options of Pillow's writer, whether it can be cut short).
KINDS = {
    "halves": ({"subsampling": "4:2:0"}, True),
    "wide halves": ({"subsampling": "4:2:2"}, True),
    "full colours": ({"subsampling": "4:4:4"}, True),
    "restarts": ({"restart_marker_rows": 1}, True),
    "grey": ({"mode": "L"}, True),
    "four colours": ({"mode": "CMYK"}, True),
    "upright": ({"orientation": 1}, True),
    "on its side": ({"orientation": 6}, False),
    "upside down": ({"orientation": 3}, False),
    "progressive": ({"progressive": True}, False),
}


def jpeg(size=SIZE, mode="RGB", orientation=None, **options):
    """The bytes of a JPEG file of coarse noise, whose rows all differ."""
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (size[1] // 4, size[0] // 4, 3), "uint8")
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    if orientation:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = orientation
    stream = io.BytesIO()
    picture.convert(mode).save(stream, "JPEG", quality=92, **options)
    return stream.getvalue()


def decoded(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), int)


def shortened(content, rows):
    """(what `cut_short` made of a file, what it returned)."""
    changed = bytearray(content)
    restore = cut_short(memoryview(changed), rows)
    return changed, restore


@pytest.mark.parametrize("kind", KINDS)
def test_rows_above_the_cut_stay_the_same(kind):
    options, _ = KINDS[kind]
    whole = jpeg(**options)
    for rows in (8, 24, 40, 56, 88):
        changed, restore = shortened(whole, rows)
        if kind == "progressive":
            assert restore is None and changed == whole
            continue
        short = decoded(changed)
        assert len(short) == rows
        np.testing.assert_array_equal(short[:-2], decoded(whole)[: rows - 2])
        restore()
        assert changed == whole


def test_what_cannot_be_cut_is_left_alone():
    whole = jpeg()
    for rows in (0, SIZE[1], 500):
        changed, restore = shortened(whole, rows)
        assert restore is None and changed == whole
    png = io.BytesIO()
    Image.fromarray(sources.picture(0, (40, 40))).save(png, "PNG")
    scan = whole.index(b"\xff\xda")
    one_colour = bytearray(whole)
    one_colour[scan + 4] = 1
    behind = bytearray(whole)
    frame = whole.index(b"\xff\xc0")
    behind[frame + 5 : frame + 7] = b"\0\0"
    pieces = [whole[:end] for end in (0, 1, 2, 3, 20, frame + 4, scan)]
    for content in (png.getvalue(), bytes(one_colour), bytes(behind), *pieces):
        changed, restore = shortened(content, 8)
        assert restore is None and changed == content


def test_a_thumbnail_is_not_taken_for_the_picture():
    whole, thumbnail = jpeg(), jpeg((32, 32))
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2) + thumbnail
    # Bytes of 0xFF may stand before any marker.
    changed, restore = shortened(whole[:2] + segment + b"\xff\xff" + whole[2:], 40)
    assert restore and thumbnail in changed
    np.testing.assert_array_equal(decoded(changed)[:38], decoded(whole)[:38])


def crops(split, preprocessing, epoch):
    """The pixels that the pictures of an epoch's only step are made of."""
    order = Order(split.count, split.count, 5, True, True)
    changes = Augmentation(crop="inception")
    indices = split.indices[order.indices(epoch, 0)]
    numbers = order.numbers(epoch, 0, NUMBERS)
    plan = changes.plan(numbers, split.images.sizes(indices))
    loader = Loader(split, preprocessing, changes, order, 2, "float32", True)
    portions, finish = loader.start(epoch, 0)
    for portion in portions:
        portion()
    return finish()[0], plan.boxes


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Upright, tall, and large ones that are reduced while they are decoded."""
    folder = tmp_path_factory.mktemp("photos")
    for index, (kind, (options, _)) in enumerate(KINDS.items()):
        for size in (SIZE, (90, 200), (420, 300)):
            file = folder / "ab"[index % 2] / f"{kind} {size[0]}.jpg"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(jpeg(size, **options))
    return open_dataset(folder, validation=0).train


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "nearest"])
def test_crops_of_photos_cut_short_are_the_same(photos, monkeypatch, interpolation):
    wanted = Preprocessing("raw", (48, 40), interpolation=interpolation)
    cuts = []

    def watched(content, rows):
        cuts.append(cut_short(content, rows))
        return cuts[-1]

    for epoch in range(2):
        monkeypatch.setattr(encoded, "cut_short", watched)
        found, boxes = crops(photos, wanted, epoch)
        found = found.copy()
        monkeypatch.setattr(encoded, "cut_short", lambda content, rows: None)
        expected, _ = crops(photos, wanted, epoch)
        assert len(np.unique(boxes, axis=0)) > 20
        np.testing.assert_array_equal(found, expected)
    assert sum(cut is not None for cut in cuts) > 12


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_of_fewer_rows_is_opened_where_that_saves(tmp_path, kind):
    options, shorter = KINDS[kind]
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.jpg").write_bytes(jpeg((320, 240), **options))
    pictures = open_dataset(tmp_path, validation=0).train.images
    high, wide = pictures.sizes([0])[0].tolist()
    opened = pictures.open(0, rows=33)
    assert opened.size == (wide, 40 if shorter else high)
    reduced = pictures.open(0, (wide / 2, high / 2), 33)
    assert reduced.size == (wide // 2, 20 if shorter else high // 2)
    assert pictures.open(0, rows=500).size == (wide, high)
