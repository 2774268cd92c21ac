"""Interprets the pickles of torch.save: tensors and plain containers, nothing else."""

import dataclasses
import functools
import typing

import numpy as np

from keras_resnets.errors import WeightsError
from keras_resnets.errors import printable
from keras_resnets.weights.readers.arrays import BFLOAT16
from keras_resnets.weights.readers.checkpoint import MOST_TENSORS
from keras_resnets.weights.readers.checkpoint import check_name
from keras_resnets.weights.readers.checkpoint import too_many
from keras_resnets.weights.readers.opcodes import MOST_ARGUMENTS
from keras_resnets.weights.readers.opcodes import read_pickle
from keras_resnets.weights.readers.pickle_machine import INERT
from keras_resnets.weights.readers.pickle_machine import SAVE_STATE
from keras_resnets.weights.readers.pickle_machine import Name

if typing.TYPE_CHECKING:
    from keras_resnets.weights.readers.pickle_machine import Machine


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
    # Named in errors when such a tensor is read; never weights.
    "ComplexFloatStorage": "<c8",
    "ComplexDoubleStorage": "<c16",
    "QInt8Storage": "<i1",
    "QUInt8Storage": "<u1",
    "QInt32Storage": "<i4",
}
# Constants of torch that checkpoints store as names.
_CONSTANTS = (
    "float16 bfloat16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 "
    "bool complex64 complex128 qint8 quint8 qint32 float8_e4m3fn float8_e4m3fnuz "
    "float8_e5m2 float8_e5m2fnuz per_tensor_affine per_tensor_symmetric "
    "per_channel_affine per_channel_symmetric strided"
).split()
# Objects that checkpoints hold beside tensors: options, logs, random states.
_PLAIN = {
    "argparse": "Namespace",
    "torch": "device",
    "collections": "Counter",
    "datetime": "date datetime time timedelta timezone",
    "pathlib": "PosixPath WindowsPath PurePosixPath PureWindowsPath",
    "numpy": "dtype ndarray",
    "numpy.core.multiarray": "scalar _reconstruct",
    "numpy.core.numeric": "_frombuffer",
    "numpy._core.multiarray": "scalar _reconstruct",
    "numpy._core.numeric": "_frombuffer",
    "_codecs": "encode",
    "builtins": "set frozenset complex bytearray slice range",
    "__builtin__": "set frozenset complex bytearray slice xrange",
}
# Default factories of a defaultdict.
_FACTORIES = "list dict int float str tuple bool"
# The deepest nesting of dicts that is searched.
_DEEPEST = 5
# Length of their joined names, which precede the name of every tensor inside.
_LONGEST_PLACE = 500
# Bytes of memory that a storage or a tensor takes here.
_RECORD = 120
# Bytes; far more than the names and shapes of any network need.
LARGEST_PICKLE = 12_000_000


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Storage:
    """A storage of tensor values: `numel` of `dtype`, under `key` in the file."""

    key: str
    dtype: np.dtype
    numel: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.numel * self.dtype.itemsize


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Tensor:
    """A view of a storage, as the file claims it; `MappedFile.view` checks it.

    `other` names a kind of numbers that is not read.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    other: str = ""


def _rebuild_tensor(
    reader: "Machine",
    storage: Storage,
    offset: int,
    shape: tuple[typing.Any, ...],
    strides: tuple[typing.Any, ...],
    *rest: typing.Any,
    other: str = "",
) -> Tensor:
    reader.spend(_RECORD)
    if type(storage) is not Storage:
        raise WeightsError("a tensor of its pickle has no storage")
    # `rest` holds: whether it has a gradient, its hooks, and bits that change its values.
    if len(rest) > 2 and type(rest[2]) is dict and rest[2]:
        other = other or "conjugated or negated"
    return Tensor(storage, offset, shape, strides, other)


def _rebuild_quantized(
    reader: typing.Any,
    storage: typing.Any,
    offset: int,
    shape: typing.Any,
    strides: typing.Any,
    *rest: typing.Any,
) -> typing.Any:
    return _rebuild_tensor(reader, storage, offset, shape, strides, other="quantized")


def _rebuild_by_name(
    reader: typing.Any,
    storage: typing.Any,
    offset: int,
    shape: typing.Any,
    strides: typing.Any,
    _: typing.Any,
    __: typing.Any,
    dtype: typing.Any,
    *rest: typing.Any,
) -> typing.Any:
    """A tensor of a type without its own class of storage: float8, uint16, ..."""
    is_named = type(dtype) is Name and type(dtype.value) is str
    kind = dtype.value if is_named else "unknown"
    return _rebuild_tensor(reader, storage, offset, (), (), other=kind)


def _parameter(_: "Machine", tensor: Tensor, *rest: typing.Any) -> Tensor:
    return tensor


def _rebuild_from_type(
    reader: typing.Any,
    function: typing.Any,
    _: typing.Any,
    arguments: typing.Any,
    *rest: typing.Any,
) -> typing.Any:
    """A tensor with additional attributes."""
    if type(function) is not Name or function.call not in _REBUILDERS:
        raise WeightsError("a tensor of its pickle is rebuilt by an unknown function")
    if type(arguments) is not tuple or len(arguments) > MOST_ARGUMENTS:
        raise WeightsError("a tensor of its pickle is rebuilt from no arguments")
    return function.call(reader, *arguments)


_REBUILDERS = (_rebuild_tensor, _rebuild_by_name, _rebuild_quantized, _parameter)


def _size(reader: typing.Any, shape: typing.Any = ()) -> typing.Any:
    if type(shape) not in (tuple, list):
        raise WeightsError("a torch.Size of its pickle is not made of a tuple")
    if type(shape) is list:
        reader.spend(8 * len(shape))
    return tuple(shape)


def _dict(
    reader: "Machine", pairs: tuple[typing.Any, ...] = ()
) -> dict[typing.Any, typing.Any]:
    """An OrderedDict; older files make it from a list of pairs."""
    if type(pairs) not in (tuple, list):
        pairs = ()
    if not all(type(pair) in (tuple, list) and len(pair) == 2 for pair in pairs):
        raise WeightsError("a dict of its pickle is not made of pairs")
    reader.stack.append({})
    reader.entries([pair[0] for pair in pairs], [pair[1] for pair in pairs])
    return reader.stack.pop()


def _default_dict(_: typing.Any, *rest: typing.Any) -> typing.Any:
    return {}


def _inert(_: typing.Any, *rest: typing.Any) -> typing.Any:
    return INERT


_NAMES = {
    ("collections", "OrderedDict"): Name(call=_dict, is_class=True),
    ("collections", "defaultdict"): Name(call=_default_dict, is_class=True),
    ("torch._utils", "_rebuild_tensor"): Name(call=_rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): Name(call=_rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): Name(call=_rebuild_by_name),
    ("torch._utils", "_rebuild_qtensor"): Name(call=_rebuild_quantized),
    ("torch._utils", "_rebuild_parameter"): Name(call=_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): Name(call=_parameter),
    ("torch._tensor", "_rebuild_from_type_v2"): Name(call=_rebuild_from_type),
    ("torch", "Tensor"): Name(),
    ("torch.nn.parameter", "Parameter"): Name(),
    ("torch", "Size"): Name(call=_size, is_class=True),
    **{
        (module, name): Name(call=_inert, is_class=True)
        for module, names in _PLAIN.items()
        for name in names.split()
    },
    **{
        (module, name): Name()
        for module in ("builtins", "__builtin__")
        for name in _FACTORIES.split()
    },
    **{("torch", name): Name(name) for name in _CONSTANTS},
    **{("torch", name): Name(np.dtype(dtype)) for name, dtype in _STORAGES.items()},
    ("torch.storage", "UntypedStorage"): Name(np.dtype("<u1")),
}


def _refer(
    storages: dict[str, Storage], reader: "Machine", reference: tuple[typing.Any, ...]
) -> Storage:
    """The `Storage` of a persistent reference; a known key returns the same one."""
    if type(reference) is not tuple or len(reference) not in (5, 6):
        raise WeightsError(
            "its pickle refers to something that is not a storage: refused"
        )
    kind, dtype, key, _, numel, *view = reference
    dtype = dtype.value if type(dtype) is Name else None
    whole = type(numel) is int and 0 <= numel < 1 << 60
    if kind != "storage" or not isinstance(dtype, np.dtype) or view not in ([], [None]):
        raise WeightsError(
            "its pickle refers to something that is not a storage: refused"
        )
    if type(key) not in (str, int) or not whole:
        raise WeightsError("a storage of its pickle has no key and count of numbers")
    reader.spend(_RECORD)
    storage = storages.setdefault(str(key), Storage(str(key), dtype, numel))
    if (storage.dtype, storage.numel) != (dtype, numel):
        raise WeightsError(f"its pickle has two storages {printable(str(key), 50)}")
    return storage


def load(
    content: typing.Any,
    start: int,
    stop: int,
    storages: dict[str, Storage] | None = None,
) -> tuple[typing.Any, ...]:
    """Returns the object of one pickle.

    Args:
        content: bytes or a `mmap.mmap`.
        start: where the pickle begins in it.
        stop: where `content` ends for it; at most `LARGEST_PICKLE` bytes are read.
        storages: dict that every `Storage` in the pickle is added to, by key.

    Returns:
        (object, position after its pickle).

    Raises:
        WeightsError: a pickle of anything but tensors and plain data, or damage.
    """
    storages = {} if storages is None else storages
    stop = min(stop, start + LARGEST_PICKLE)
    return read_pickle(
        content, start, stop, _NAMES, functools.partial(_refer, storages)
    )


def tensors(
    loaded: dict[str, dict[str, Tensor] | int | Tensor],
) -> dict[tuple[str, str], Tensor]:
    """Returns (name of the dict, name in it) -> `Tensor` for the object that was saved.

    Nested dicts are searched, each once; their names are joined by dots.
    """
    if type(loaded) is not dict:
        kind = "single tensor" if type(loaded) is Tensor else type(loaded).__name__
        raise WeightsError(
            f"it contains a {kind}; a dict of tensors is needed: {SAVE_STATE}"
        )
    tensors_by_name: dict[tuple[str, str], Tensor] = {}
    _collect(loaded, "", 0, tensors_by_name, set())
    if not tensors_by_name:
        raise WeightsError(f"it contains no tensors by name: {SAVE_STATE}")
    return tensors_by_name


def _collect(
    node: dict[str, typing.Any],
    place: str,
    depth: int,
    tensors_by_name: dict[typing.Any, typing.Any],
    seen: set[int],
) -> None:
    # Each once: dicts that contain one another have no end.
    if id(node) in seen or depth > _DEEPEST:
        return
    seen.add(id(node))
    for name, value in node.items():
        if type(value) is tuple and value and type(value[0]) is Tensor:
            # What a quantized layer packs.
            value = value[0] if value[0].other else None
        if type(value) is Tensor:
            check_name(name)
            tensors_by_name[place, name] = value
            if len(tensors_by_name) > MOST_TENSORS:
                raise too_many()
        elif type(value) is dict and len(place) + len(name) < _LONGEST_PLACE:
            inner = f"{place}.{name}" if place else name
            _collect(value, inner, depth + 1, tensors_by_name, seen)
