"""Damaged and lying images: each answered in time and memory, and in one line."""

import ast
import os
import shutil
import socket
import struct

import hostile_images as hostile
import numpy as np
import pytest
from confined import faults_by_name
from PIL import Image

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import TrainingError
from keras_resnets.images import evaluation
from keras_resnets.images import files as image_files
from keras_resnets.images import labels
from keras_resnets.images import limits as image_limits
from keras_resnets.images import loading
from keras_resnets.images import resizing
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.training.augmentation import Augmentation
from keras_resnets.training.data import batches
from keras_resnets.training.data import open_dataset
from keras_resnets.training.data.pipeline import own_errors

WANTED = Preprocessing("torch", (64, 64))
EXPECTED = (InvalidArgument, TrainingError)


def look_at(path):
    loading.load_image(path, WANTED)


def _read_folder(folder, changes):
    """All batches of a folder, without a `fit` around them."""
    split = open_dataset(folder, 0).train
    data = batches(split, WANTED, 4, augmentation=changes, classes=2)
    with own_errors(data):
        for _ in data:
            pass


def train_on(folder):
    _read_folder(folder, Augmentation(crop="inception", flip=True))


def evaluate(folder):
    names = labels.class_names(2, ["a", "b"])
    for _ in evaluation.open_data(folder, WANTED, names=names).batches(8):
        pass


FUNCTIONS = {"look_at": look_at, "train_on": train_on, "evaluate": evaluate}


def answer(case):
    """What is done with a case, (name of a function, path)."""
    name, path = case
    FUNCTIONS[name](path)


def faults(cases, warm, record_property):
    return faults_by_name(answer, cases, EXPECTED, record_property, warm)


def class_folders(root, damaged, whole):
    """A folder of two classes for each damaged image, with eleven whole ones."""
    found = []
    for path in damaged:
        folder = root / f"with_{path.name}"
        for index in range(11):
            to = folder / "ab"[index % 2]
            to.mkdir(parents=True, exist_ok=True)
            os.link(whole, to / f"{index}.jpg")
        shutil.copy(path, folder / "a")
        found.append(folder)
    return found


@pytest.fixture
def whole(tmp_path):
    path = tmp_path / "whole.jpg"
    path.write_bytes(hostile.encoded("JPEG"))
    return path


# Small to make; of the others each takes a second or two.
QUICK = (
    *("claims.png", "nothing.png", "profile.png", "strip.png", "scans.jpg"),
    *("claims.jpg", "square.jpg", "segments.jpg", "screen.gif", "size.tiff"),
    *("comment.ppm", "raw.ppm", "huge.bmp"),
)


def _bombs(folder, names):
    made, found = hostile.bombs(), []
    for name in names:
        found.append(folder / name)
        found[-1].write_bytes(made[name]())
    return found


def _among_others(damaged, folder, whole):
    folders = class_folders(folder, damaged, whole)
    return [(name, folder) for name in ("train_on", "evaluate") for folder in folders]


def _warm(tmp_path, whole):
    return "train_on", class_folders(tmp_path / "warm", [whole], whole)[0]


@pytest.mark.costly
def test_a_sample(tmp_path, whole, record_property):
    damaged = hostile.cases(tmp_path, 200, 1)
    bombs = _bombs(tmp_path, QUICK)
    cases = [("look_at", path) for path in damaged + bombs]
    cases += _among_others(damaged[:8] + bombs[4:6], tmp_path, whole)
    assert not faults(cases, _warm(tmp_path, whole), record_property)


@pytest.mark.slow
def test_damaged_images(tmp_path, whole, record_property):
    cases = [("look_at", path) for path in hostile.cases(tmp_path, 2600, 2)]
    assert not faults(cases, _warm(tmp_path, whole), record_property)


@pytest.mark.slow
def test_damaged_images_among_others(tmp_path, whole, record_property):
    damaged = hostile.cases(tmp_path, 300, 3)
    cases = _among_others(damaged, tmp_path, whole)
    assert not faults(cases, _warm(tmp_path, whole), record_property)


@pytest.mark.slow
def test_images_that_would_take_too_much(tmp_path, whole, record_property):
    bombs = _bombs(tmp_path, hostile.bombs())
    cases = [("look_at", path) for path in bombs]
    cases += _among_others(bombs, tmp_path, whole)
    assert not faults(cases, _warm(tmp_path, whole), record_property)


def _stated(width, height, size):
    """A JPEG's beginning that states a size, and as many bytes as an image may have."""
    content = hostile._sized_jpeg(width, height)
    return content + bytes(size - len(content))


@pytest.mark.parametrize(
    "content, said",
    [
        (
            hostile.png(20_000, 20_000),
            "at most 250,000,000 pixels; got 20,000",
        ),
        (hostile.png(13_000, 13_000), r"or 256 MB; 13,000 x 13,000 pixels from"),
        (hostile._scans(400, 101), "at most 100 scans"),
        (
            hostile._scans(9000, 60),
            "scans of a JPEG may have at most 4,000,000,000 pixels",
        ),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "format is not supported"),
        (b"", r"it is empty \(0 bytes\)"),
    ],
)
def test_a_limit_is_said(content, said, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(InvalidArgument, match=said):
        loading.load_image(path, WANTED)


@pytest.mark.parametrize("size", [(16_320, 12_240), (11_648, 8_736)])
@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_cameras_of_200_and_100_megapixels_open(size, rate, tmp_path):
    """By their headers: files of a photo's size, which states so many pixels."""
    path = tmp_path / "a.jpg"
    path.write_bytes(_stated(*size, int(size[0] * size[1] * rate)))
    with image_files.opened(path) as stream:
        opened = image_files.open_image(stream)
        assert opened.size == size


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_what_is_said_of_scans(options):
    content = hostile.encoded("JPEG", **options)
    scans = [m for m, _ in image_limits.markers(content, 0, len(content)) if m == 0xDA]
    assert len(scans) == content.count(b"\xff\xda")
    # A thumbnail's are not counted.
    segment = b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
    inside = content[:2] + segment + content[2:]
    found = [m for m, _ in image_limits.markers(inside, 0, len(inside)) if m == 0xDA]
    assert len(found) == len(scans)


def test_strips_are_cropped_as_they_always_were():
    """Resizing the part that is kept alone gives the same pixels, but for rounding."""
    strip = hostile.image(size=(4000, 30))
    whole = resizing.resize_and_crop(strip, (64, 64), 0.875, "bilinear")
    limit, resizing._STRETCHED = resizing._STRETCHED, 1
    try:
        part = resizing.resize_and_crop(strip, (64, 64), 0.875, "bilinear")
    finally:
        resizing._STRETCHED = limit
    assert whole.shape == part.shape == (64, 64, 3)
    assert np.abs(whole.astype(int) - part).max() <= 1


def test_letterboxes_of_photos_take_no_minutes():
    """An order of sums that nobody noticed on small images took 120 s for this one."""
    image = np.asarray(hostile.image(size=(640, 480)))
    boxed = resizing.letterbox(image, (256, 256), np)
    assert boxed.shape == (256, 256, 3) and boxed.dtype == np.float32
    # The corners of the image are those of the result.
    assert (boxed[32, [0, -1]] == image[0, [0, -1]]).all()
    assert (boxed[0] == 127.5).all() and (boxed[-33, -1] == image[-1, -1]).all()


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.jpg"))
        for name in ("pipe.jpg", "socket.jpg", "/dev/zero", ".", "x" * 5000):
            with pytest.raises(InvalidArgument) as caught:
                loading.load_image(tmp_path / name, WANTED)
            assert str(caught.value).isprintable()
        assert image_files.scan(tmp_path) == ([], [])


def test_sparse_files_are_not_read(tmp_path):
    """A hundred gigabytes that take no room on the disk."""
    for name, begin in (
        ("a.jpg", hostile.encoded("JPEG")),
        ("a.webp", hostile.encoded("WEBP")),
        ("a.bmp", hostile.encoded("BMP")),
    ):
        path = tmp_path / name
        path.write_bytes(begin)
        os.truncate(path, 100 << 30)
        with pytest.raises(InvalidArgument, match="may have"):
            loading.load_image(path, WANTED)


def test_names_of_any_bytes(tmp_path, capsys):
    """Names that are no UTF-8, that a terminal would obey, and that are long."""
    root = os.fsencode(tmp_path / "data")
    for name in (b"a\xff\x1b[2J", b"b\nc", b"d" * 250):
        os.makedirs(root + b"/" + name)
        for index in range(4):
            with open(root + b"/" + name + b"/%d\xfe.jpg" % index, "wb") as file:
                file.write(hostile.encoded("JPEG"))
    with open(root + b"/b\nc/\x1b\xfd.jpg", "wb") as file:
        file.write(b"\xff\xd8\xff")
    os.symlink("self", root + b"/self")
    os.symlink(".", root + b"/d\xff")
    os.unlink(root + b"/d\xff")
    data = open_dataset(os.fsdecode(root), 0)
    assert len(data.classes) == 3 and data.train.count == 12
    assert len(data.skipped) == 1 and len(data.fingerprint) == 64
    said = image_files.skipped_note(data.skipped)
    assert said.isprintable() and r"\x1b" in said
    with pytest.raises(InvalidArgument) as caught:
        open_dataset(os.fsdecode(root), 0, classes=["cat", "dog", "cow"])
    assert str(caught.value).isprintable() and r"\x1b" in str(caught.value)


def test_files_that_go_away(tmp_path, whole):
    folder = class_folders(tmp_path, [whole], whole)[0]
    listed = image_files.scan(folder)[0]
    (folder / "a" / "whole.jpg").unlink()
    from keras_resnets.images.datasets.encoded import stretches_of

    names, places = stretches_of(folder, listed)
    assert len(names) == 12 and (places[:, 2] == 0).sum() == 1


def test_many_large_images_are_decoded_in_turns():
    turns = image_limits.Turns(100)
    with turns.take(60), turns.take(40):
        assert turns._taken == 100
    with turns.take(1000):
        assert turns._taken == 1000
    assert turns._taken == 0


def test_every_open_of_pillow_is_ours():
    """No module of the package opens images itself."""
    import pathlib

    import keras_resnets

    package = pathlib.Path(keras_resnets.__file__).parent
    for path in package.rglob("*.py"):
        # Not the text of programs that a deployed folder has.
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            for words in ("Image.open", "decode_jpeg", "decode_image", "load_img"):
                assert not called.endswith(words), (path, words)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16", "F"])
def test_what_decoding_costs_is_at_least_what_it_takes(mode):
    """The bytes that are counted are those of the images that exist at a time."""
    made = Image.new("I;16" if mode == "I;16" else mode, (50, 40))
    each = {"1": 1, "L": 1, "P": 1, "I;16": 2}.get(mode, 4)
    assert image_limits.cost(made) >= 50 * 40 * (each + 4)
