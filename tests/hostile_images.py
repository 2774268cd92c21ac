"""Small images of every format, and what can be wrong with them, by a seed."""

import io
import struct
import zlib

import numpy as np
from PIL import Image
from PIL import features

# Format -> how files of it are written; several of some.
WRITERS = {
    "JPEG": ({}, {"progressive": True}, {"exif": 6}),
    "PNG": ({}, {"exif": 8}),
    "WEBP": ({}, {"lossless": True}, {"frames": 3}),
    "GIF": ({}, {"frames": 3}),
    "BMP": ({},),
    "TIFF": ({}, {"compression": "tiff_lzw"}, {"compression": "jpeg"}),
    "AVIF": ({"speed": 10},),
    "PPM": ({},),
    "TGA": ({}, {"compression": "tga_rle"}),
    "JPEG2000": ({},),
}
SUFFIXES = {"JPEG2000": ".jp2"}
_OPTIONAL = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}


def image(seed=0, size=(48, 36), mode="RGB"):
    """A smooth image with some noise."""
    chance = np.random.default_rng(seed)
    coarse = chance.integers(0, 256, (4, 5, 3), "uint8")
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)


def encoded(name, exif=None, frames=1, **options):
    """The bytes of a file of a format."""
    if exif:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = exif
    if frames > 1:
        options.update(
            save_all=True, append_images=[image(n) for n in range(1, frames)]
        )
    content = io.BytesIO()
    image().save(content, name, **options)
    return content.getvalue()


def qoi(width=16, height=12):
    """A QOI file, which Pillow reads and does not write: runs of one colour."""
    head = b"qoif" + struct.pack(">IIBB", width, height, 3, 0)
    return (
        head + b"\xfe\x10\x80\x40" + b"\xc9" * (width * height // 10) + bytes(7) + b"\1"
    )


def originals():
    """(suffix, bytes) of whole images."""
    found = [(".qoi", qoi()), (".ppm", b"P3\n2 2\n255\n" + b"9 " * 12)]
    for name, choices in WRITERS.items():
        if name not in _OPTIONAL or features.check(_OPTIONAL[name]):
            suffix = SUFFIXES.get(name, f".{name.lower()}")
            found += [(suffix, encoded(name, **options)) for options in choices]
    return found


def mutated(content, chance):
    """Bytes with one fault: flipped bits, a cut, lies in the header, a part repeated."""
    content, kind = bytearray(content), int(chance.integers(6))
    at = int(chance.integers(len(content)))
    head = int(chance.integers(min(len(content), 64)))
    if kind == 0:
        for place in chance.integers(len(content), size=int(chance.integers(1, 9))):
            content[place] ^= 1 << int(chance.integers(8))
    elif kind == 1:
        del content[at:]
    elif kind == 2:
        # Sizes, counts and offsets are numbers of two and four bytes.
        lies = (b"\xff\xff", b"\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\x10\0\0\1")
        lie = lies[int(chance.integers(len(lies)))]
        content[head : head + len(lie)] = lie
    elif kind == 3:
        content[head] = int(chance.integers(256))
    elif kind == 4:
        end = at + int(chance.integers(1, 200))
        content[at:at] = bytes(content[at:end]) * int(chance.integers(1, 50))
    else:
        end = at + int(chance.integers(1, 64))
        content[at:end] = chance.bytes(end - at)
    return bytes(content)


def cases(folder, count, seed=0):
    """Writes `count` damaged images of all formats in turns; their paths."""
    chance, whole, paths = np.random.default_rng(seed), originals(), []
    for index in range(count):
        suffix, content = whole[index % len(whole)]
        paths.append(folder / f"{index:05}{suffix}")
        paths[-1].write_bytes(mutated(content, chance))
    return paths


def png(width, height, data=None, mode=(8, 2), chunks=()):
    """A PNG that says any size, whatever is in it."""
    data = zlib.compress(bytes(100)) if data is None else data
    head = struct.pack(">IIBBBBB", width, height, *mode, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))
        for t, d in parts
    )


def _zeros(count):
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(1_000_000)) for _ in range(count // 1_000_000)]
    return b"".join(parts) + packer.flush()


def _scans(size, count):
    content = bytearray(encoded("JPEG", progressive=True))
    frame, last = content.find(b"\xff\xc2"), content.rfind(b"\xff\xda")
    content[frame + 5 : frame + 9] = struct.pack(">HH", size, size)
    return bytes(content[:-2]) + bytes(content[last:-2]) * count + b"\xff\xd9"


def _channel_scans(count):
    """A sequential JPEG whose scans have a channel each."""
    content = bytearray(encoded("JPEG", subsampling=0))
    frame, scan = content.find(b"\xff\xc0"), content.find(b"\xff\xda")
    content[frame + 5 : frame + 9] = struct.pack(">HH", 8000, 8000)
    one = b"\xff\xda\0\x08\1\1\0\0\x3f\0" + bytes(content[scan + 14 : -2])
    return bytes(content[:scan]) + one * count + b"\xff\xd9"


def _sized_jpeg(width, height):
    content = bytearray(encoded("JPEG"))
    frame = content.find(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def _tiff(**tags):
    """A TIFF of one strip with changed tags."""
    content = bytearray(encoded("TIFF"))
    start = int.from_bytes(content[4:8], "little")
    for index in range(int.from_bytes(content[start : start + 2], "little")):
        entry = start + 2 + 12 * index
        tag = str(int.from_bytes(content[entry : entry + 2], "little"))
        if f"t{tag}" in tags:
            content[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, tags[f"t{tag}"])
    return bytes(content)


def _jpeg2000_of_tiles():
    content = bytearray(encoded("JPEG2000"))
    start = content.find(b"\xff\x4f\xff\x51")
    content[start + 8 : start + 16] = struct.pack(">II", 250, 250)
    content[start + 24 : start + 32] = struct.pack(">II", 1, 1)
    return bytes(content)


def _webp(width, height):
    content = io.BytesIO()
    Image.new("RGB", (width, height)).save(content, "WEBP", lossless=True)
    return content.getvalue()


def _segments(count):
    content = encoded("JPEG")
    return content[:2] + b"\xff\xe5\0\2" * count + content[2:]


def bombs():
    """Small files that would take much to decode: (name, bytes) by what they do."""
    row = bytes(36 * 49)
    small = zlib.compress(row)
    packed = b"a\0\0" + zlib.compress(bytes(1 << 26), 9)
    found = {
        "wide.png": lambda: png(170_000_000, 1, _zeros(510_000_000)),
        "high.png": lambda: png(1, 170_000_000, _zeros(680_000_000)),
        "square.png": lambda: png(13000, 13000, _zeros(507_000_000)),
        "claims.png": lambda: png(2**31 - 1, 2**31 - 1),
        "nothing.png": lambda: png(0, 0),
        "text.png": lambda: png(16, 36, small, chunks=[(b"zTXt", packed)] * 20),
        "profile.png": lambda: png(16, 36, small, chunks=[(b"iCCP", packed)]),
        "chunks.png": lambda: png(16, 36, small, chunks=[(b"abCd", b"")] * 900_000),
        "strip.png": lambda: png(60_000, 1, zlib.compress(bytes(180_001))),
        "scans.jpg": lambda: _scans(12000, 3000),
        "some_scans.jpg": lambda: _scans(6000, 90),
        "channels.jpg": lambda: _channel_scans(2000),
        "claims.jpg": lambda: _sized_jpeg(65535, 65535),
        "square.jpg": lambda: _sized_jpeg(13000, 13000),
        "padded.jpg": lambda: _sized_jpeg(60_000, 3) + bytes(1000),
        "segments.jpg": lambda: _segments(700_000),
        "screen.gif": lambda: encoded("GIF")[:6] + b"\xff" * 4 + encoded("GIF")[10:],
        "comments.gif": lambda: b"".join(
            (
                encoded("GIF")[:13],
                b"\0" * 768,
                b"!\xfe",
                (b"\xff" + b"a" * 255) * 40_000,
            )
        ),
        "frames.gif": lambda: encoded("GIF", frames=2000),
        "huge.bmp": lambda: b"".join(
            (encoded("BMP")[:18], struct.pack("<ii", 100_000, 100_000), bytes(100))
        ),
        "size.tiff": lambda: _tiff(t256=60_000, t257=60_000),
        "strips.tiff": lambda: _tiff(t278=1, t279=2**31),
        "plain.ppm": lambda: b"P3\n13000 13000\n255\n" + b"1 " * 1000,
        "raw.ppm": lambda: b"P6\n9000 9000\n255\n" + bytes(100),
        "comment.ppm": lambda: b"P6\n#" + b"a" * 9_000_000,
        "runs.qoi": lambda: qoi(9000, 9000)[:14] + b"\xfd" * 1_310_000,
    }
    if features.check("webp"):
        found["canvas.webp"] = lambda: _webp(16383, 8000)
    if features.check("jpg_2000"):
        found["tiles.jp2"] = _jpeg2000_of_tiles
    return found


def spoilt(content):
    """A JPEG with header and end, whose Huffman table makes no sense."""
    changed = bytearray(content)
    table = content.rindex(b"\xff\xc4", 0, content.rindex(b"\xff\xda"))
    changed[table + 5 : table + 21] = b"\xff" * 16
    return bytes(changed)
