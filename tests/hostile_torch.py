"""Hostile torch checkpoints: pickles by hand, and mutations of real ones by a grammar."""

import functools
import io
import pathlib
import pickle
import pickletools
import struct
import tempfile
import zipfile

import numpy as np

DATA = pathlib.Path(__file__).parent / "data"
STREAM_START = b"".join(
    pickle.dumps(part, 2)
    for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
)
NUMBERS = np.arange(1, 5, dtype="<f4").tobytes()


def text(value):
    value = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(value)) + value


def whole(number):
    if -(2**31) <= number < 2**31:
        return b"J" + struct.pack("<i", number)
    size = number.bit_length() // 8 + 1
    head = b"\x8a" + bytes([size]) if size < 256 else b"\x8b" + struct.pack("<i", size)
    return head + number.to_bytes(size, "little", signed=True)


def name(module, what):
    return f"c{module}\n{what}\n".encode()


def several(*items):
    return b"(" + b"".join(items) + b"t"


def storage(key="0", numel=4, kind="FloatStorage"):
    parts = text("storage"), name("torch", kind), text(key), text("cpu"), whole(numel)
    return several(*parts) + b"Q"


def tensor(stored=None, offset=0, shape=(2, 2), strides=(2, 1), how="_v2"):
    """The opcodes of one tensor; shape and strides may be opcodes of their own."""
    shape, strides = (
        value if isinstance(value, bytes) else several(*map(whole, value))
        for value in (shape, strides)
    )
    parts = stored or storage(), whole(offset), shape, strides, b"\x89", b"N"
    return name("torch._utils", f"_rebuild_tensor{how}") + several(*parts) + b"R"


def state(**values):
    items = b"".join(text(key) + value for key, value in values.items())
    return b"\x80\x02}(" + items + b"u."


def doubled(times):
    """A tuple of two of itself, through the memo: 2**times leaves."""
    return b")" + b"".join(
        b"r" + struct.pack("<I", n) + b"j" + struct.pack("<I", n) + b"\x86"
        for n in range(times)
    )


def zipped(content, entries=(("a/data/0", NUMBERS),), **options):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", **options) as archive:
        archive.writestr("a/data.pkl", content)
        for entry, data in entries:
            archive.writestr(entry, data)
    return memory.getvalue()


def stream(content, keys=None, tail=None):
    keys = keys or pickle.dumps(["0"], 2)
    return STREAM_START + content + keys + (tail or struct.pack("<q", 4) + NUMBERS)


def changed(tensor_or_storage, **attributes):
    """BUILD with new attributes, on what stands before."""
    items = b"".join(text(key) + value for key, value in attributes.items())
    return tensor_or_storage + b"}(" + items + b"ub"


@functools.cache
def bombs():
    """Label -> the bytes of a file that wants memory, time, or what is not its own."""
    pairs = b"".join(text(f"k{n}") + b"N\x86" for n in range(20_000))
    numbers = b"".join(whole(n) + b"N\x86" for n in range(100_000))
    ordered = name("collections", "OrderedDict")
    many = b"(" + b"N" * 1_000_000 + b"tq\x00"
    views = b"".join(
        text(f"w{n}") + tensor(storage("0", 250_000), 0, (250_000,), (1,))
        for n in range(1_000)
    )
    views_memo = text("w") + tensor() + b"q\x01"
    flags = several(whole(3), text("<"), b"N", b"N", b"N", *map(whole, (2, 2, 63)))
    pickles = {
        "BUILD of a tensor's shape": state(
            w=changed(tensor(), shape=several(whole(1 << 20), whole(64)))
        ),
        "BUILD of an offset": state(w=changed(tensor(), offset=whole(-4))),
        "BUILD of a storage": state(w=tensor(changed(storage(), numel=whole(1 << 40)))),
        "BUILD of a number type": state(
            x=name("torch", "BFloat16Storage") + flags + b"b", w=tensor()
        ),
        "BUILD of a function": state(
            x=name("torch._utils", "_rebuild_parameter")
            + several(b"N", b"}(" + text("__defaults__") + b")u")
            + b"b",
            w=tensor(),
        ),
        "INST": b"\x80\x02(" + text("x") + b"ios\nsystem\n.",
        "OBJ": b"\x80\x02(" + name("os", "system") + text("x") + b"o.",
        "EXT1": b"\x80\x02\x82\x01.",
        "PERSID": b"\x80\x02Pos.system\n.",
        "NEWOBJ": b"\x80\x02" + name("torch._utils", "_rebuild_tensor") + b")\x81.",
        "items of a tensor": state(w=tensor() + text("a") + b"Ns"),
        "hash of a doubled tuple": b"\x80\x02}" + doubled(60) + b"Ns.",
        "text of a doubled tuple": b"\x80\x02"
        + several(text("x"), b"N", doubled(60), b"N", whole(1))
        + b"Q.",
        "doubled shape": state(w=tensor(shape=doubled(60))),
        "doubled arguments": b"\x80\x02"
        + name("torch._utils", "_rebuild_parameter")
        + doubled(60)
        + b"R.",
        "deep tuples": b"\x80\x02)" + b"\x85" * 5_000_000 + b".",
        "deep lists": b"\x80\x02" + b"]" * 3_000_000 + b"a" * 2_999_999 + b".",
        "a dict in itself": b"\x80\x02}q\x00X\x00\x00\x00\x00h\x00s.",
        "OrderedDict of many pairs, often": b"\x80\x02}"
        + text("x")
        + b"("
        + (ordered + b"q\x00(" + numbers + b"l\x85q\x01")
        + b"h\x00h\x01R" * 100_000
        + b"ls.",
        "OrderedDict of names, often": b"\x80\x02}"
        + text("x")
        + b"("
        + (ordered + b"q\x00(" + pairs + b"l\x85q\x01")
        + b"h\x00h\x01R" * 100_000
        + b"ls.",
        "a million arguments, often": b"\x80\x02"
        + many
        + name("torch", "device")
        + b"q\x01"
        + b"h\x01h\x00R0" * 500_000
        + b".",
        "a long Size, often": b"\x80\x02("
        + b"N" * 1_000_000
        + b"lq\x00\x85q\x02"
        + name("torch", "Size")
        + b"q\x01"
        + b"h\x01h\x02R" * 500_000
        + b".",
        "many empty dicts": b"\x80\x02(" + b"}" * 7_000_000 + b"l.",
        "many names of one dict": b"\x80\x02}("
        + b"".join(b"\x8c\x04%04x" % n + b"N" for n in range(60_000)) * 15
        + b"u.",
        "marks": b"\x80\x02" + b"(" * 7_900_000 + b".",
        "memo": b"\x80\x04N" + b"\x94" * 7_900_000 + b".",
        "memo by numbers": b"\x80\x02}"
        + b"".join(b"r" + struct.pack("<I", n + 2) for n in range(1_500_000))
        + b".",
        "far memo": b"\x80\x02}r\xff\xff\xff\x7f.",
        "a long number": state(w=b"\x8b" + struct.pack("<i", 7 << 20) + bytes(7 << 20)),
        "a negative length": b"\x80\x02\x8b" + struct.pack("<i", -5) + b".",
        "a long text": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"x.",
        "digits": b"\x80\x02I" + b"9" * 4_000 + b"\n.",
        "product": state(
            w=tensor(
                shape=several(*[whole(1 << 1990)] * 7_000),
                strides=several(*[whole(0)] * 7_000),
            )
        ),
        "zero strides": state(w=tensor(shape=(10**6, 10**6), strides=(0, 0))),
        "offset": state(w=tensor(offset=2**63 - 1)),
        "an offset": state(w=tensor(offset=1)),
        "rebuilt by itself": b"\x80\x02"
        + (name("torch._tensor", "_rebuild_from_type_v2") + b"q\x00")
        + several(b"h\x00", b"N", b")")
        + b"R.",
        "no numbers, huge": state(w=tensor(shape=(0, 2**62), strides=(1, 1))),
        "huge stride of one": state(w=tensor(shape=(1, 4), strides=(2**62, 1))),
        "33 axes": state(w=tensor(shape=(1,) * 33, strides=(1,) * 33)),
        "numel": state(w=tensor(storage(numel=2**50))),
        "names of 2 MB, often": b"\x80\x02}("
        + (text("n" * 2_000_000) + b"q\x00" + tensor() + b"q\x01")
        + b"".join(b"\x8c\x05%05x}h\x00h\x01s" % n for n in range(50_000))
        + b"u.",
        "many names of a tensor": b"\x80\x02}("
        + views_memo
        + b"".join(b"\x8c\x05%05xh\x01" % n for n in range(400_000))
        + b"u.",
        "names of an escape": state(**{"\x1b]0;owned\x07": tensor()}),
        "names of a surrogate": state(**{"\ud800": tensor()}),
        "a global of surrogates": b"\x80\x04"
        + text("\ud800w")
        + text("\ud800")
        + b"\x93.",
        "a key of an escape": state(w=tensor(storage("\x1b[2J"))),
        "conjugated": state(
            w=name("torch._utils", "_rebuild_tensor_v2")
            + several(
                storage(),
                whole(0),
                *[several(whole(4)), several(whole(1))],
                *[b"\x89", b"}", b"}" + text("conj") + b"\x88s"],
            )
            + b"R"
        ),
    }
    found = {label: zipped(content) for label, content in pickles.items()}
    found["1,000 views of a storage"] = zipped(
        b"\x80\x02}(" + views + b"u.", [("a/data/0", bytes(1_000_000))]
    )
    found["a list of files of 8 MB"] = zipped(
        state(w=tensor()), [(f"a/{n:050}", b"") for n in range(80_000)]
    )
    found["two files of one name"] = _doubled_entry()
    found["compressed"] = zipped(
        state(w=tensor()), [("a/data/0", bytes(10**8))], compression=8
    )
    one = state(w=tensor())
    nothing = state(w=tensor(storage(numel=0), shape=(0,), strides=(1,)))
    keys = b"\x80\x02(" + text("0") + b"q\x00" + b"h\x00" * 3_000_000 + b"l."
    found["stream: keys of a doubled tuple"] = stream(
        one, b"\x80\x02]" + doubled(60) + b"a."
    )
    found["stream: one key, often"] = stream(nothing, keys, bytes(8 * 3_000_001))
    for label, numel in {"negative": -1, "huge": 2**62, "none": 0}.items():
        tail = struct.pack("<q", numel) + NUMBERS
        found[f"stream: {label} count"] = stream(one, tail=tail)
    found["stream: other keys"] = stream(one, pickle.dumps(["7"], 2))
    found["stream: a number for the keys"] = stream(one, pickle.dumps(7, 2))
    found["stream: doubled system"] = (
        pickle.dumps(0x1950A86A20F9469CFC6C, 2)
        + pickle.dumps(1001, 2)
        + (b"\x80\x02" + doubled(60) + b".")
    )
    return found


def _doubled_entry():
    names = ("a/data/0", "a/data/1")
    content = zipped(state(w=tensor()), [(entry, NUMBERS) for entry in names])
    return content.replace(*(entry.encode() for entry in names[::-1]))


def seeds():
    """Label -> a small real checkpoint of torch, as bytes."""
    return {
        "zip": (DATA / "torch_zip.pth").read_bytes(),
        "stream": (DATA / "torch_stream.pth").read_bytes(),
    }


def pickled(content):
    """(part before, pickle, part behind) of a checkpoint; for a zip, its data.pkl."""
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            (place,) = (n for n in archive.namelist() if n.endswith("/data.pkl"))
            return b"", archive.read(place), b""
    file = io.BytesIO(content)
    for _ in range(3):
        list(pickletools.genops(file))
    start = file.tell()
    list(pickletools.genops(file))
    return content[:start], content[start : file.tell()], content[file.tell() :]


def with_pickle(content, new):
    """A checkpoint with another pickle, whose CRC is right."""
    if not content.startswith(b"PK"):
        before, _, behind = pickled(content)
        return before + new + behind
    memory = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(memory, "w") as to,
    ):
        for entry in old.namelist():
            to.writestr(entry, new if entry.endswith("/data.pkl") else old.read(entry))
    return memory.getvalue()


def split(content):
    """The opcodes of a pickle, each with its argument, as bytes."""
    places = [place for _, _, place in pickletools.genops(content)]
    return [
        content[a:b] for a, b in zip(places, [*places[1:], len(content)], strict=True)
    ]


# Whole numbers that lie about shapes, strides, offsets and counts.
_LIES = (0, 1, 2, 3, 5, 8, 64, 127, 255, 256, 65_535, 2**31 - 1, -1, -4, 2**40, 2**63)
_OPCODES = b"".join(
    code.code.encode("latin-1") for code in pickletools.opcodes if code.arg is None
)
_TEXTS = ("", "0", "1", "storage", "shape", "offset", "__class__", "numel", "\x1b[2J")
_GLOBALS = (
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_tensor_v3"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_qtensor"),
    ("torch", "Size"),
    ("torch", "DoubleStorage"),
    ("torch", "ByteStorage"),
    ("torch", "BFloat16Storage"),
    ("torch.storage", "UntypedStorage"),
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("argparse", "Namespace"),
    ("numpy", "dtype"),
    ("os", "system"),
)


def any_opcode(rng):
    """An opcode with an argument of its kind."""
    kind = rng.integers(6)
    if kind == 0:
        return whole(int(rng.choice(_LIES[:-2]))) if rng.integers(4) else whole(2**63)
    if kind == 1:
        return text(_TEXTS[rng.integers(len(_TEXTS))])
    if kind == 2:
        return name(*_GLOBALS[rng.integers(len(_GLOBALS))])
    if kind == 3:
        return b"h" + bytes([rng.integers(256)])
    if kind == 4:
        return b"q" + bytes([rng.integers(256)])
    return bytes([_OPCODES[rng.integers(len(_OPCODES))]])


def _lied(part, rng):
    """The opcode with another argument."""
    if part[:1] in b"KMJ\x8a":
        return whole(int(_LIES[rng.integers(len(_LIES))]))
    if part[:1] in b"X\x8c":
        return text(_TEXTS[rng.integers(len(_TEXTS))])
    if part[:1] == b"c":
        return name(*_GLOBALS[rng.integers(len(_GLOBALS))])
    if part[:1] in b"hq":
        return part[:1] + bytes([rng.integers(256)])
    return part


def mutated(parts, rng):
    """A pickle of opcodes that were put in, left out, swapped, repeated, or lie."""
    parts = list(parts)
    for _ in range(rng.integers(1, 6)):
        place, other = (int(n) for n in rng.integers(len(parts), size=2))
        match rng.integers(8):
            case 0:
                parts.insert(place, any_opcode(rng))
            case 1:
                del parts[place]
            case 2:
                parts[place], parts[other] = parts[other], parts[place]
            case 3:
                parts[place:place] = [parts[place]] * int(rng.integers(1, 50))
            case 4:
                parts[place] = any_opcode(rng)
            case 5:
                parts[place:place] = parts[other : other + int(rng.integers(1, 40))]
            case _:
                numbers = [n for n, part in enumerate(parts) if part[:1] in b"KMJ\x8a"]
                place = numbers[rng.integers(len(numbers))] if numbers else place
                parts[place] = _lied(parts[place], rng)
        if not parts:
            return b""
    return b"".join(parts)


def damaged(content, rng):
    """A file with flipped bits, cut, or with a piece left out or doubled."""
    content = bytearray(content)
    first, last = sorted(int(n) for n in rng.integers(len(content), size=2))
    match rng.integers(4):
        case 0:
            return bytes(content[:first])
        case 1:
            del content[first : min(last, first + 200)]
        case 2:
            content[first:first] = content[first : min(last, first + 200)]
        case _:
            for _ in range(rng.integers(1, 9)):
                content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    return bytes(content)


def generated(count, seed=0):
    """Yields `count` files: two in three by the grammar, the others damaged."""
    rng = np.random.default_rng(seed)
    known = [(content, split(pickled(content)[1])) for content in seeds().values()]
    for number in range(count):
        content, parts = known[number % len(known)]
        if number % 3:
            yield with_pickle(content, mutated(parts, rng))
        else:
            yield damaged(content, rng)


def stored(content):
    """(bytes of each storage, step between numbers) of a checkpoint.

    Of a file that is damaged itself, and of a stream: all that lies in it.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [entry for entry in archive.namelist() if "/data/" in entry]
            return [archive.read(entry) for entry in names], None
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, OSError):
        return [content], 1


def windows(parts, size, step):
    """The set of all runs of `size` bytes in `parts`, every `step` bytes."""
    return {
        part[place : place + size]
        for part in parts
        for place in range(0, len(part) - size + 1, step)
    }


def read_and_check(content):
    """Reads a file; every number that comes out of it must lie in its storages.

    Raises:
        WeightsError: it was refused.
        LookupError: numbers from elsewhere.
    """
    from keras_resnets.errors import WeightsError
    from keras_resnets.weights.readers import read

    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        file.write(content)
        file.flush()
        checkpoint, arrays = read(file.name), {}
        for key in checkpoint:
            try:
                arrays[key] = checkpoint[key]
            except WeightsError:
                continue
        parts, step = stored(content)
        known = {}
        for key, array in arrays.items():
            size = array.dtype.itemsize
            if size not in known:
                known[size] = windows(parts, size, step or size)
            packed = np.ascontiguousarray(array).tobytes()
            if not windows([packed], size, size) <= known[size]:
                raise LookupError(f"{key}: numbers that are in no storage")
