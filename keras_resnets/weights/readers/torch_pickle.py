"""A pickle reader that builds torch tensors and plain containers, and nothing else."""

import collections
import dataclasses
import io
import math
import pickle
import pickletools

import numpy as np

from keras_resnets.errors import WeightsError
from keras_resnets.weights.readers.arrays import BFLOAT16

_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": BFLOAT16,
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
    # Named when such a tensor is asked for; never weights.
    "ComplexFloatStorage": "<c8",
    "ComplexDoubleStorage": "<c16",
    "QInt8Storage": "<i1",
    "QUInt8Storage": "<u1",
    "QInt32Storage": "<i4",
}
# Constants of torch that stand in checkpoints as their names.
_CONSTANTS = (
    "float16 bfloat16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 "
    "bool complex64 complex128 qint8 quint8 qint32 float8_e4m3fn float8_e4m3fnuz "
    "float8_e5m2 float8_e5m2fnuz per_tensor_affine per_tensor_symmetric "
    "per_channel_affine per_channel_symmetric strided"
).split()
# Dicts inside dicts that are looked into.
_DEEPEST = 4
# Their names, joined, which stand before the name of every tensor inside.
_LONGEST_PLACE = 500
# Far more than the names and shapes of any network need.
LARGEST_PICKLE = 8_000_000


def item_size(dtype):
    """Bytes of a number of `dtype`."""
    return np.dtype(dtype).itemsize


@dataclasses.dataclass(frozen=True)
class Storage:
    """Where a tensor's numbers lie: `numel` of `dtype`, under `key` of the file."""

    key: str
    dtype: str
    numel: int


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A view of a storage; `other` names numbers that are read by no one here."""

    storage: Storage
    offset: int
    shape: tuple
    strides: tuple
    other: str = ""

    def of(self, numbers):
        """The array, given all `numbers` of the storage."""
        if 0 in self.shape:
            return np.zeros(self.shape, self.storage.dtype)
        extent = 1 + sum(
            (size - 1) * stride
            for size, stride in zip(self.shape, self.strides, strict=True)
        )
        flat = numbers[self.offset : self.offset + extent]
        strides = [stride * flat.itemsize for stride in self.strides]
        view = np.lib.stride_tricks.as_strided(
            flat, self.shape, strides, writeable=False
        )
        return np.asarray(view, order="C")


class _Inert:
    """Stands for an object that no tensor needs: an option, a scalar of NumPy."""

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        pass


def _rebuild_tensor(storage, offset, shape, strides, *_):
    shape, strides = tuple(shape), tuple(strides)
    numbers = (offset, *shape, *strides)
    whole = all(type(n) is int and n >= 0 for n in numbers)
    if not isinstance(storage, Storage) or not whole or len(shape) != len(strides):
        raise WeightsError(f"a tensor has no whole shape: {shape}, strides {strides}")
    count = math.prod(shape)
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True) if n)
    if count and (last >= storage.numel or count > storage.numel):
        raise WeightsError(
            f"a tensor of shape {shape} lies outside its {storage.numel:,} numbers"
        )
    return Tensor(storage, offset, shape, strides)


def _rebuild_quantized(storage, offset, shape, strides, *_):
    tensor = _rebuild_tensor(storage, offset, shape, strides)
    return dataclasses.replace(tensor, other="quantized")


def _rebuild_by_name(storage, offset, _, __, ___, ____, dtype, *_____):
    """A tensor of a type that has no storage of its own: float8, uint16, ..."""
    # The text of anything else could be as long as it likes.
    kind = dtype if isinstance(dtype, str) else "unknown"
    return Tensor(storage, offset, (), (), other=kind)


_GLOBALS = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_by_name,
    ("torch._utils", "_rebuild_qtensor"): _rebuild_quantized,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    ("torch._utils", "_rebuild_parameter_with_state"): lambda tensor, *_: tensor,
    ("torch", "Size"): tuple,
    ("torch", "device"): _Inert,
    ("argparse", "Namespace"): _Inert,
    ("numpy.core.multiarray", "scalar"): _Inert,
    ("numpy._core.multiarray", "scalar"): _Inert,
    ("numpy", "dtype"): _Inert,
    ("_codecs", "encode"): _Inert,
    **{("torch", name): name for name in _CONSTANTS},
    **{("torch", name): dtype for name, dtype in _STORAGES.items()},
    ("torch.storage", "UntypedStorage"): "<u1",
}
# The copyreg registry, and objects out of band, are ways around `find_class`.
_REFUSED_OPCODES = {"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER", "PERSID"}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file, storages):
        super().__init__(file)
        self._storages = storages

    def find_class(self, module, name):
        try:
            return _GLOBALS[module, name]
        except KeyError:
            raise WeightsError(
                f"its pickle asks for {module}.{name}, which is no tensor: refused"
            ) from None

    def persistent_load(self, reference):
        kind, dtype, key, _, numel, *view = reference
        known = any(dtype is known for known in _STORAGES.values())
        known = known and type(numel) is int and numel >= 0
        if kind != "storage" or not known or any(part is not None for part in view):
            raise WeightsError(f"its pickle refers to {str(reference)[:100]}: refused")
        return self._storages.setdefault(str(key), Storage(str(key), dtype, numel))


def load(file, storages=None):
    """The object of the next pickle in `file`; leaves the position behind it.

    Args:
        file: open for reading bytes.
        storages: dict that gets every `Storage` that the pickle names, by key.

    Raises:
        WeightsError: a global that is no tensor's, or what a pickle of tensors has no
            need of. Other errors of damaged data come as Python raises them.
    """
    start = file.tell()
    # From memory: a file would allocate what a damaged length asks for.
    content = io.BytesIO(file.read(LARGEST_PICKLE))
    _scan(content)
    file.seek(start + content.tell())
    content.seek(0)
    return _Unpickler(content, {} if storages is None else storages).load()


def _scan(file):
    """Reads over a pickle without making anything of it.

    Two opcodes make Python allocate what a few bytes ask for: memo places, and strings.
    """
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.name in _REFUSED_OPCODES:
            raise WeightsError(f"its pickle uses the opcode {opcode.name}: refused")
        if opcode.name in ("LONG_BINPUT", "PUT") and argument > count + 1:
            raise WeightsError(f"its pickle numbers its memo {argument:,}: refused")


def tensors(loaded):
    """(name of the dict, name in it) -> `Tensor` of what torch.save was given.

    Dicts inside dicts are gone through, each once; their names are joined by dots.
    """
    if not isinstance(loaded, dict):
        raise WeightsError(
            f"it holds a {type(loaded).__name__}; a dict of tensors is needed"
        )
    found, seen = {}, set()
    _collect(loaded, "", found, seen)
    if not found:
        raise WeightsError("it holds no tensors by name")
    return found


def _collect(node, place, found, seen):
    # Each once: dicts that hold one another have no end.
    if id(node) in seen or place.count(".") > _DEEPEST:
        return
    seen.add(id(node))
    for name, value in node.items():
        if not isinstance(name, str):
            continue
        if isinstance(value, tuple) and value and isinstance(value[0], Tensor):
            # What a quantized layer packs.
            value = value[0] if value[0].other else None
        if isinstance(value, Tensor):
            found[place, name] = value
        elif isinstance(value, dict) and len(place) + len(name) < _LONGEST_PLACE:
            _collect(value, f"{place}.{name}" if place else name, found, seen)
