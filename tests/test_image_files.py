"""What the values of image files mean, and which files are whole."""

import io
import struct
import zlib

import numpy as np
import pytest
from hostile_images import spoilt
from PIL import Image

from keras_resnets import InvalidArgument
from keras_resnets.images import files as image_files
from keras_resnets.images import loading
from keras_resnets.images.datasets import encoded
from keras_resnets.images.preprocessing import Preprocessing

RAW = Preprocessing("raw", (30, 40), 1.0)
GREY = np.linspace(0, 1, 30 * 40).reshape(30, 40)


def loaded(path):
    """The first channel of an image, 0 to 255."""
    return loading.load_image(path, RAW)[..., 0]


def png(values, colours):
    """The bytes of a PNG of 16 bits, as Pillow cannot write it in colours."""
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[colours]
    height, width = values.shape[:2]
    rows = values.astype(">u2").reshape(height, -1).view("uint8").reshape(height, -1)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data
        + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )  # fmt: skip


def pgm(values, most):
    height, width = values.shape
    return f"P5\n{width} {height}\n{most}\n".encode() + values.astype(">u2").tobytes()


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_grey_of_16_bits_is_scaled_by_its_range(ending, tmp_path):
    values = (GREY * 65535).round().astype("uint16")
    path = tmp_path / f"a.{ending}"
    if ending == "pgm":
        path.write_bytes(pgm(values, 65535))
    else:
        Image.fromarray(values).save(path)
    np.testing.assert_allclose(loaded(path), GREY * 255, atol=1)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_fewer_bits_in_16_are_scaled_where_the_file_says_so_else_refused(
    bits, tmp_path
):
    """Today they were nearly black."""
    most = 2**bits - 1
    values = (GREY * most).round().astype("uint16")
    (tmp_path / "stated.pgm").write_bytes(pgm(values, most))
    np.testing.assert_allclose(loaded(tmp_path / "stated.pgm"), GREY * 255, atol=1)
    Image.fromarray(values).save(tmp_path / "stated.tif", tiffinfo={281: most})
    np.testing.assert_allclose(loaded(tmp_path / "stated.tif"), GREY * 255, atol=1)
    Image.fromarray(values).save(tmp_path / "a.png")
    Image.fromarray(values).save(tmp_path / "a.tif")
    (tmp_path / "a.pgm").write_bytes(pgm(values, 65535))
    Image.fromarray(values.astype("int32")).save(tmp_path / "b.tif")
    for name in ("a.png", "a.tif", "a.pgm", "b.tif"):
        with pytest.raises(InvalidArgument, match=rf"0\.\.65535.* largest is {most}"):
            loaded(tmp_path / name)


@pytest.mark.parametrize("colours", [1, 2, 3, 4])
def test_colours_of_16_bits(colours, tmp_path):
    """Pillow keeps the upper eight bits of colours; alpha does not count."""
    full = np.repeat((GREY * 65535).round()[..., None], colours, axis=2)
    low = full // 16
    if colours in (2, 4):
        full[..., -1] = low[..., -1] = 65535
    (tmp_path / "full.png").write_bytes(png(full, colours))
    np.testing.assert_allclose(loaded(tmp_path / "full.png"), GREY * 255, atol=1)
    (tmp_path / "low.png").write_bytes(png(low, colours))
    with pytest.raises(InvalidArgument, match="convert the image to 8 bits"):
        loaded(tmp_path / "low.png")


def test_an_image_that_is_black_is_black(tmp_path):
    Image.fromarray(np.zeros((30, 40), "uint16")).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((30, 40), "float32")).save(tmp_path / "a.tif")
    for name in ("a.png", "a.tif"):
        assert (loaded(tmp_path / name) == 0).all()


@pytest.mark.parametrize(
    "low, high, said",
    [
        (0, 1, None),
        (0.2, 0.5, None),
        (0, 255, None),
        (0, 100, None),
        (0, 30, "largest is 30"),
        (-1, 1, "floats in 0..1 or 0..255; got -1..1"),
        (0, 4095, "got 0..4095"),
        (0, np.nan, "finite"),
    ],
)
def test_floats_are_scaled_by_their_range(low, high, said, tmp_path):
    values = (low + GREY * (high - low)).astype("float32")
    path = tmp_path / "a.tif"
    Image.fromarray(values).save(path)
    if said:
        with pytest.raises(InvalidArgument, match=said):
            loaded(path)
        return
    expected = values * (255 if high <= 1 else 1)
    np.testing.assert_allclose(loaded(path), expected, atol=1)


@pytest.fixture(scope="module")
def jpeg():
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (30, 40, 3), "uint8")).resize(
        (320, 240)
    )
    exif, small = Image.Exif(), io.BytesIO()
    noise.resize((32, 24)).save(small, "JPEG")
    # A thumbnail, with an end of its own, within the header.
    exif[0x9286] = small.getvalue()
    files = {}
    for name, options in (("plain", {}), ("progressive", {"progressive": True})):
        stream = io.BytesIO()
        noise.save(stream, "JPEG", quality=92, exif=exif, **options)
        files[name] = stream.getvalue()
    assert files["plain"].count(b"\xff\xd9") == 2
    return files


def examined(tmp_path, content, thorough=False):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"before" + content + b"after")
    size, reason = encoded._size(str(path), 6, len(content), thorough)
    assert bool(reason) == (size == (0, 0))
    return size


TRAILERS = {
    "nothing": b"",
    "a phone's": b"\0\0Image_UTC_Data1700000000000" * 40 + b"SEFT",
    "a motion photo's": b"\0\0\0\x18ftypmp42" + b"\xff\xd8\xff\xe0 mdat" * 900,
    "zeros": bytes(5000),
    "an end of line": b"\r\n",
}


@pytest.mark.parametrize("kind", ["plain", "progressive"])
@pytest.mark.parametrize("trailer", TRAILERS)
def test_jpegs_with_bytes_behind_their_end_are_whole(kind, trailer, jpeg, tmp_path):
    whole = jpeg[kind] + TRAILERS[trailer]
    for thorough in (False, True):
        assert examined(tmp_path, whole, thorough) == (240, 320)


@pytest.mark.parametrize("kind", ["plain", "progressive"])
@pytest.mark.parametrize("trailer", TRAILERS)
@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_jpegs_that_break_off_are_not(kind, trailer, share, jpeg, tmp_path):
    content = jpeg[kind]
    scan = content.index(b"\xff\xda", content.rindex(b"\xff\xc4"))
    cut = content[: scan + 12 + int(share * (len(content) - scan - 20))]
    # A film holds markers by chance; half a photo with one behind it is not to be told.
    behind = TRAILERS[trailer] if "motion" not in trailer else b"\0\0\0\x18ftypmp42"
    assert examined(tmp_path, cut + behind) == (0, 0)
    assert examined(tmp_path, content[: scan - 5] + behind) == (0, 0)


def test_what_breaks_only_when_it_is_decoded(jpeg, tmp_path):
    broken = spoilt(jpeg["plain"])
    assert examined(tmp_path, broken) == (240, 320)
    assert examined(tmp_path, broken, thorough=True) == (0, 0)


def test_how_many_broken_images_are_tolerated():
    assert [image_files.tolerated(count) for count in (3, 299, 300, 1000)] == [
        2,
        2,
        3,
        10,
    ]
    image_files.check_broken(("a", "b"), 50, "here")
    image_files.check_broken((), 0, "here")
    with pytest.raises(
        InvalidArgument, match=r"3 of 50 in here are: a, b, c \(a: odd\)"
    ):
        image_files.check_broken(("a", "b", "c"), 50, "here", "odd")
    with pytest.raises(InvalidArgument, match="1 of 1"):
        image_files.check_broken(("a",), 1, "here")
