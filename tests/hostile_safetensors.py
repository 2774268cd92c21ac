"""Hostile safetensors and darknet files: headers that lie, and mutations of real ones."""

import functools
import json
import math
import pathlib
import struct
import tempfile

import numpy as np

DATA = pathlib.Path(__file__).parent / "data"


def entry(shape=(2, 2), start=0, stop=16, dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, stop]}


def packed(header, data=None):
    """A file of a header, an object or text, and its data."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    data = np.arange(4, dtype="<f4").tobytes() if data is None else data
    return len(header).to_bytes(8, "little") + header + data


@functools.cache
def bombs():
    """Label -> the bytes of a file that wants memory, time, or what is not its own."""
    many = {f"w{n}": entry((0,), 0, 0) for n in range(60_000)}
    big = "9" * 4_000
    shape = b'{"w":{"dtype":"F32","shape":[%s],"data_offsets":[0,16]}}'
    one = json.dumps(entry()).encode()
    dtype = "E1M" + "1" * 1_000_000 + "!"
    found = {
        "a product": packed(shape % b",".join([big.encode()] * 1_500)),
        "digits": packed(shape % (b"9" * 5_000_000)),
        "many axes": packed({"w": entry([1] * 1_000_000, 0, 4)}),
        "many sizes of none": packed({"w": entry([0] + [2**62] * 30, 0, 0)}, b""),
        "60,000 empty tensors": packed(many, b""),
        "deep": packed(b"[" * 4_000_000),
        "deep and closed": packed(b'{"w":' * 1_000_000 + b"1" + b"}" * 1_000_000),
        "empty dicts": packed(b"[" + b"{}," * 2_000_000 + b"{}]"),
        "many names": packed(
            b"{" + b",".join(b'"%05x":1' % n for n in range(700_000)) + b"}"
        ),
        "one name twice": packed(b'{"w":%s,"w":%s}' % (one, one)),
        "a key of an entry twice": packed(
            b'{"w":{"dtype":"F32","dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
        ),
        "a long name": packed({"w" * 3_000_000: entry()}),
        "an escape for a name": packed({"\x1b]0;owned\x07\n": entry()}),
        "a surrogate for a name": packed({"\ud800": entry()}),
        "a mark that turns the writing": packed({"\u202egnp": entry()}),
        "metadata of 7 MB": packed(
            {"__metadata__": {"a": "x" * 7_000_000}, "w": entry()}
        ),
        "metadata of 100 MB": packed(b"{" + b" " * 99_000_000 + b"}"),
        "metadata of numbers": packed({"__metadata__": {"a": 1}, "w": entry()}),
        "metadata of lists": packed({"__metadata__": [1], "w": entry()}),
        "a long number type": packed({"w": entry(dtype=dtype)}),
        "no number type": packed({"w": entry(dtype="\x1b[2J")}),
        "a negative size": packed({"w": entry((-2, -2))}),
        "a size of true": packed({"w": entry((True, 4))}),
        "a size of 4.0": packed({"w": entry((4.0,))}),
        "a size of NaN": packed(shape % b"NaN"),
        "a shape of text": packed({"w": {**entry(), "shape": "22"}}),
        "offsets of text": packed({"w": {**entry(), "data_offsets": "08"}}),
        "three offsets": packed({"w": {**entry(), "data_offsets": [0, 16, 16]}}),
        "another key": packed({"w": {**entry(), "more": [[[]]]}}),
        "a header that is a list": packed([1]),
        "a header that is a number": packed(b"7  "),
        "no header": packed(b""),
        "behind the file": packed({"w": entry((10**9,), 0, 4 * 10**9)}),
        "before the file": packed({"w": entry((4,), -16, 0)}),
        "overlap": packed({"v": entry(), "w": entry((2,), 8, 16)}),
        "a hole": packed({"v": entry((1,), 0, 4), "w": entry((2,), 8, 16)}),
        "another encoding": packed(json.dumps({"w": entry()}).encode("utf-32")),
        "a length of 2**63": struct.pack("<Q", 1 << 63) + b"{}",
    }
    darknet = struct.pack("<3i", 0, 2, 5)
    found["darknet: nothing behind its header"] = darknet + bytes(8)
    found["darknet: a part of a number"] = darknet + bytes(8 + 6)
    found["darknet: another version"] = struct.pack("<3i", 0, 3, 2**31 - 1) + bytes(80)
    return found


def seeds():
    """Real files: safetensors' own, and a small one in the format of darknet."""
    numbers = np.arange(100, dtype="<f4").tobytes()
    return [
        (DATA / "real.safetensors").read_bytes(),
        struct.pack("<3iq", 0, 2, 5, 7) + numbers,
    ]


_LIES = (
    0,
    1,
    2,
    3,
    4,
    16,
    255,
    2**31,
    2**53,
    2**62,
    2**64,
    10**30,
    -1,
    True,
    1.5,
    None,
)
_KINDS = ("F32", "F64", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "C64", "", "X")


def _lie(rng):
    kind = rng.integers(5)
    if kind == 0:
        return [int(n) for n in rng.integers(0, 99, rng.integers(0, 40))]
    if kind == 1:
        return _KINDS[rng.integers(len(_KINDS))]
    if kind == 2:
        return {"shape": []}
    return _LIES[rng.integers(len(_LIES))]


def mutated(content, rng):
    """A file whose header has other values, keys or tensors, by the grammar of JSON."""
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    for _ in range(rng.integers(1, 4)):
        if not header:
            break
        names = list(header)
        key = names[rng.integers(len(names))]
        other = header[names[rng.integers(len(names))]]
        found = header[key]
        match rng.integers(7):
            case 0:
                del header[key]
            case 1:
                header[key] = other
            case 2:
                header[f"{key}\x1b" if rng.integers(2) else ""] = found
            case 3:
                header[key] = _lie(rng)
            case 4 if isinstance(found, dict) and "shape" in found:
                header[key] = {**found, "dtype": _KINDS[rng.integers(len(_KINDS))]}
            case 5 if isinstance(found, dict) and "shape" in found:
                shape = [*found["shape"], _lie(rng)]
                header[key] = {**found, "shape": shape[rng.integers(2) :]}
            case _ if isinstance(found, dict) and "shape" in found:
                moved = [int(n) for n in rng.integers(-9, len(data) + 9, 2)]
                header[key] = {**found, "data_offsets": moved}
    return packed(header, data)


def damaged(content, rng):
    """A file with flipped bits, cut, or with a piece left out; most in its header."""
    content, end = bytearray(content), len(content)
    if rng.integers(2):
        end = min(end, 8 + int.from_bytes(content[:8], "little"))
    first, last = sorted(int(n) for n in rng.integers(end, size=2))
    match rng.integers(3):
        case 0:
            return bytes(content[:first])
        case 1:
            del content[first : min(last, first + 100)]
        case _:
            for _ in range(rng.integers(1, 9)):
                content[rng.integers(end)] ^= 1 << int(rng.integers(8))
    return bytes(content)


def generated(count, seed=0):
    """Yields `count` files."""
    rng = np.random.default_rng(seed)
    real, stream = seeds()
    for number in range(count):
        if number % 5 == 4:
            yield damaged(stream, rng)
        elif number % 5 > 1:
            yield mutated(real, rng)
        else:
            yield damaged(real, rng)


def read_and_check(content):
    """Reads a file; what comes out of it must lie in it, in a row.

    Raises:
        WeightsError: it was refused.
        LookupError: numbers from elsewhere.
    """
    from keras_resnets.errors import WeightsError
    from keras_resnets.weights.readers import read

    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        checkpoint = read(file.name)
        for key in checkpoint:
            try:
                array = checkpoint[key]
            except WeightsError:
                continue
            if array.nbytes and array.tobytes() not in content:
                raise LookupError(f"{key}: numbers that are not in the file")


def _row(shapes):
    """The header of tensors in a row, and how many bytes they have."""
    header, position = {}, 0
    for name, shape in shapes.items():
        size = 4 * math.prod(shape)
        header[name] = entry(shape, position, position + size)
        position += size
    return header, position


def networks():
    """Label -> (header, bytes of its data, which are holes) of a network's names."""
    stem = {"conv1.weight": (8, 3, 7, 7), "layer1.0.conv1.weight": (8, 8, 3, 3)}
    parts = ("conv1", "layer1.0.conv1", *(f"layer1.{n}.conv2" for n in range(900)))
    shapes = {
        "a kernel of 16 GB": {**stem, "conv1.weight": (1 << 32,)},
        "a bias and a mean that make a table": {
            **stem,
            "conv1.bias": (1 << 16, 1),
            "bn1.running_mean": (1 << 16,),
        },
        "a classifier of no inputs": {**stem, "fc.weight": (1 << 40, 0)},
        "20,000 heads": {**stem, **{f"fc{n}.weight": (1,) for n in range(20_000)}},
        "20,000 others": {**stem, **{f"x{n}.weight": (1,) for n in range(20_000)}},
        "20,000 networks": {
            f"p{n}.{part}.weight": (1,) for n in range(20_000) for part in parts[:2]
        },
        "networks in networks": {
            "a." * n + f"{part}.weight": (1,) for n in range(25) for part in parts
        },
        "20,000 stages": {f"layer{n}.0.weight": (1,) for n in range(20_000)},
        "20,000 numbers": {f"conv2d_{n}/kernel": (1,) for n in range(20_000)},
    }
    return {label: _row(names) for label, names in shapes.items()}


@functools.cache
def _model(name):
    import keras_resnets

    small = {"filters": (8, 16, 24, 32)}
    if name == "darknet53":
        small = {"filters": (4, 8, 16, 32, 64), "stem_filters": 2}
    return keras_resnets.create_model(
        name, input_shape=(64, 64, 3), kernel_initializer="zeros", classes=10, **small
    )


def load(case):
    """Reads a file and sets it into a small network; `case` is one of `networks`.

    A number of classes, for a case, is a darknet file with so many.
    """
    import warnings

    from keras_resnets.weights.file_source import FileSource

    with tempfile.NamedTemporaryFile() as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(case, int):
            model = _model("darknet53")
            floats = model.count_params() + 65 * (case - 10)
            head, size = struct.pack("<3iq", 0, 2, 5, 7), 4 * floats
        else:
            model = _model("resnet18")
            header, size = case
            head = packed(header, b"")
        file.write(head)
        file.truncate(len(head) + size)
        file.flush()
        FileSource(pathlib.Path(file.name)).load(model)
