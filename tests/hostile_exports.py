"""Damaged and lying exported files and passports, made by seeded functions."""

import json
import pathlib
import random
import shutil
import struct

from keras_resnets.cli.printing import tables
from keras_resnets.errors import printable
from keras_resnets.export import passport
from keras_resnets.export.compare import inspection
from keras_resnets.export.compare import open_runner as runners

_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)


def look(path):
    """Reads and shows an exported file, as `inspect` does."""
    found = inspection.inspect(path)
    shown = [tables.port_table(found.inputs, found.outputs)]
    shown += [printable(name) for name in found.operators]
    known = passport.read(path)
    if known:
        shown.append(tables.passport_text(known))
    check_shown(shown)


def check_shown(texts):
    """Raises where a text would do something to a terminal."""
    for line in "\n".join(texts).split("\n"):
        if not line.isprintable():
            raise RuntimeError(f"shown as it came: {line!r}")


def run(path):
    """Opens an exported file and runs it on one image."""
    import numpy as np

    runner = runners.open_runner(path, threads=1)
    shape = [side or 32 for side in runner.input_shape[1:]]
    runner(np.zeros((1, *shape), "float32"))


def mutated(content, generator):
    """The bytes of a file with some damage.

    Args:
        content: bytes.
        generator: a `random.Random`.
    """
    kinds = (_flip, _flip, _lie, _lie, _lie, _cut, _splice, _insert, _zeros)
    return generator.choice(kinds)(bytearray(content), generator)


def _place(content, generator, size=1):
    """Structure stands at the ends of a file, weights in between."""
    length = max(1, len(content) - size)
    near = min(length, 6000)
    start = generator.choice((0, 0, length - near, generator.randrange(length)))
    return min(start + generator.randrange(near), length - 1)


def _flip(content, generator):
    for _ in range(generator.choice((1, 1, 1, 2, 8, 64))):
        content[_place(content, generator)] ^= 1 << generator.randrange(8)
    return bytes(content)


def _lie(content, generator):
    """Another number where one of 16, 32 or 64 bits may stand."""
    for _ in range(generator.choice((1, 1, 2, 5))):
        form, size = generator.choice((("<H", 2), ("<I", 4), ("<I", 4), ("<Q", 8)))
        place = _place(content, generator, size) // size * size
        known = struct.unpack_from(form, content, place)[0]
        near = known + generator.choice((-4, -1, 1, 2, 4, 8, 64))
        other = generator.choice((*_NUMBERS, len(content), near, near, near))
        struct.pack_into(form, content, place, other % (1 << 8 * size))
    return bytes(content)


def _cut(content, generator):
    return bytes(content[: generator.randrange(len(content))])


def _splice(content, generator):
    """A part of the file in the place of another."""
    size = generator.choice((1, 4, 16, 256))
    source, target = (_place(content, generator, size) for _ in range(2))
    content[target : target + size] = content[source : source + size]
    return bytes(content)


def _insert(content, generator):
    place = _place(content, generator)
    content[place:place] = generator.randbytes(generator.choice((1, 2, 4, 100)))
    return bytes(content)


def _zeros(content, generator):
    place, size = _place(content, generator), generator.choice((4, 64, 4096))
    content[place : place + size] = bytes(len(content[place : place + size]))
    return bytes(content)


def varint(number):
    """A number as protobuf writes it."""
    parts = bytearray()
    while True:
        number, low = number >> 7, number & 127
        parts.append(low | (128 if number else 0))
        if not number:
            return bytes(parts)


def field(number, value):
    """A field of a message: an int, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def message(generator, depth=0):
    """A message of random fields, of the numbers that ONNX and SavedModels have."""
    parts = []
    for _ in range(generator.randrange(1, 6)):
        number = generator.choice(
            (1, 1, 2, 3, 4, 5, 5, 7, 8, 9, 10, 11, 12, 13, 20, 25)
        )
        kind = generator.random()
        if kind < 0.5 and depth < 12:
            parts.append(field(number, message(generator, depth + 1)))
        elif kind < 0.7:
            parts.append(
                field(number, generator.choice((0, 1, 5, 2**31, 2**63, 2**64 - 1)))
            )
        elif kind < 0.95:
            parts.append(
                field(number, generator.choice((b"", b"x", b"\x1b[2J", b"Loop")))
            )
        else:
            parts.append(generator.randbytes(5))
    return b"".join(parts)


def bombs():
    """(name, bytes) of files that are small, or large and hollow, and say much more."""
    graph = b""
    for _ in range(3000):
        graph = field(1, field(5, field(6, graph)))
    yield "deep.onnx", field(7, graph + field(12, b""))
    yield "nodes.onnx", field(7, field(1, b"") * 2_000_000 + field(12, b""))
    dims = field(1, 1 << 40) + field(1, 1 << 40) + field(2, 1)
    yield "huge.onnx", field(7, field(5, dims) + field(12, b""))
    yield "raw.onnx", field(7, field(5, dims + field(9, b"1234")) + field(12, b""))
    sparse = field(1, field(1, 1) + field(2, 1) + field(9, b"1234"))
    sparse += field(3, 1 << 20) + field(3, 1 << 20)
    yield "sparse.onnx", field(7, field(15, sparse) + field(12, b""))
    functions = b"".join(
        field(25, field(1, b"f%d" % i) + field(7, field(4, b"f%d" % (i + 1))) * 50)
        for i in range(8)
    )
    called = field(1, field(4, b"f0"))
    yield "laughs.onnx", functions + field(7, called + field(12, b""))
    itself = field(25, field(1, b"f") + field(7, field(4, b"f")))
    yield "itself.onnx", itself + field(7, field(1, field(4, b"f")) + field(12, b""))
    outside = (b"../../../etc/passwd", b"/etc/passwd", b"..\\x", b"C:\\x", b"", b".")
    for index, where in enumerate(outside):
        entry = field(13, field(1, b"location") + field(2, where))
        tensor = field(1, 4) + field(2, 1) + entry + field(14, 1)
        yield f"external{index}.onnx", field(7, field(5, tensor) + field(12, b""))
    yield "empty.onnx", b""
    yield "empty.tflite", b""
    yield "name.tflite", b"\x08\0\0\0TFL3" + b"\xff" * 100
    yield "short.tflite", b"\x08\0\0\0TFL3"


def json_value(generator, depth=0):
    """Any value of JSON, mostly what nobody expects."""
    kind = generator.randrange(9)
    if kind == 0 and depth < 4:
        return [json_value(generator, depth + 1) for _ in range(generator.randrange(4))]
    if kind == 1 and depth < 4:
        keys = ("mode", "size", "max_error", "compared", "\x1b[2J", "sha256", "")
        return {
            generator.choice(keys): json_value(generator, depth + 1)
            for _ in range(generator.randrange(4))
        }
    values = (None, True, False, 0, -1, 10**30, 1e308, -0.5, "", "inf", "nan", "torch")
    return generator.choice(
        (*values, "\x1b]0;owned\x07", "\u202egnp", "\ud800", "x\ny")
    )


def passports(known, generator):
    """The text of a passport that was changed in some places."""
    content = json.loads(json.dumps(known))
    for _ in range(generator.choice((1, 1, 1, 2, 4))):
        place, key = content, generator.choice(sorted(content))
        while generator.random() < 0.6 and isinstance(place[key], dict) and place[key]:
            place = place[key]
            key = generator.choice(sorted(place))
        if generator.random() < 0.2:
            del place[key]
        else:
            place[key] = json_value(generator)
        if not content:
            break
    text = json.dumps(content)
    return (
        mutated(text.encode(), generator) if generator.random() < 0.3 else text.encode()
    )


def damaged_folder(source, target, generator):
    """A copy of a SavedModel's folder with one of its files damaged, or gone."""
    shutil.copytree(source, target)
    files = sorted(file for file in target.rglob("*") if file.is_file())
    file = generator.choice([*files, target / "saved_model.pb", *files[-2:]])
    kind = generator.randrange(12)
    if kind == 0:
        file.unlink()
    elif kind == 1:
        file.unlink()
        file.mkdir()
    elif kind == 2:
        file.unlink()
        file.symlink_to(generator.choice(("/etc/passwd", "/dev/zero", "nowhere", ".")))
    else:
        file.write_bytes(mutated(file.read_bytes(), generator))
    return target


def seeded(seed):
    """A generator of random numbers; the same for the same seed."""
    return random.Random(seed)


def written(folder, name, content):
    """The path of a new file."""
    path = pathlib.Path(folder, name)
    path.write_bytes(content)
    return path
