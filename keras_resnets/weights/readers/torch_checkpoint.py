"""Both formats of torch.save: the zip archive, and the older stream."""

import functools
import pathlib
import struct
import typing
import zipfile
import zlib

from keras_resnets.errors import WeightsError
from keras_resnets.errors import printable
from keras_resnets.weights.readers import torch_pickle
from keras_resnets.weights.readers.arrays import MappedFile
from keras_resnets.weights.readers.arrays import refuse_numbers
from keras_resnets.weights.readers.checkpoint import Checkpoint
from keras_resnets.weights.readers.pickle_machine import SAVE_STATE

if typing.TYPE_CHECKING:
    import numpy as np

    from keras_resnets.weights.readers.torch_pickle import Storage
    from keras_resnets.weights.readers.torch_pickle import Tensor


# The number that a stream begins with, and where its pickle ends at the latest.
_MAGIC, _MAGIC_END = (0x1950A86A20F9469CFC6C).to_bytes(10, "little"), 24
_PROTOCOL = 1001
_LOCAL_HEADER = 30
# Bits of a zip's flags.
_ENCRYPTED = 0x41
# The tensors together may have this many times the file's size: tied weights are stored
# once. The most shared networks in use apply one block at twelve places.
_MOST_VIEWS, _LEAST_VIEWS = 16, 1 << 20


def read_zip(path: pathlib.Path, entries: dict[str, typing.Any]) -> Checkpoint:
    """Returns the `Checkpoint` of a file in the format of torch 1.6 and later.

    Args:
        path: the file.
        entries: its `zipfile.ZipInfo` by name; see `archive.entries`.
    """
    pickles = [name for name in entries if name.endswith("/data.pkl")]
    if not pickles:
        raise WeightsError(
            "it is a zip of neither torch (data.pkl) nor Keras 3 (config.json)"
            + _other_zip(entries)
        )
    if len(pickles) != 1:
        raise WeightsError(
            f"a zip of torch contains one data.pkl; this one {len(pickles)} of "
            f"{len(entries)} files"
        )
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in entries:
        raise WeightsError(
            f"it is a program of TorchScript (torch.jit.save): {SAVE_STATE}"
        )
    for name, info in entries.items():
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & _ENCRYPTED:
            raise WeightsError(
                f"{printable(name, 100)} is compressed or encrypted, as torch never does"
            )
    mapped = MappedFile(path)
    order = entries.get(f"{root}byteorder")
    if order and mapped.bytes(*_place(mapped, order, 100)) != b"little":
        raise WeightsError("its numbers are big-endian; little-endian is read")
    start, size = _place(mapped, entries[pickles[0]], torch_pickle.LARGEST_PICKLE)
    content = mapped.bytes(start, size)
    # torch can be configured not to compute checksums: then they are 0.
    if entries[pickles[0]].CRC not in (0, zlib.crc32(content)):
        raise WeightsError("its data.pkl is damaged: the CRC-32 differs")
    tensors = torch_pickle.tensors(torch_pickle.load(content, 0, size)[0])

    @functools.cache
    def place(key: str) -> tuple[int, int]:
        info = entries.get(f"{root}data/{key}")
        if info is None:
            raise WeightsError(f"it has no file data/{printable(key, 50)}")
        return _place(mapped, info)

    return _checkpoint(path, mapped, tensors, place)


def _other_zip(entries: dict[str, typing.Any]) -> str:
    """What a zip is that no reader takes; "" if that is unknown."""
    if all(name.endswith(".npy") for name in entries):
        return ": it is an archive of NumPy; write its arrays with safetensors.numpy"
    if any(name.rpartition("/")[2] == "archive_format" for name in entries):
        return f": it is a program of torch.export; {SAVE_STATE}"
    return ": unpack it, and pass the file of weights in it"


def _place(
    mapped: MappedFile, info: typing.Any, largest: int | None = None
) -> tuple[int, int]:
    """(first byte, count of bytes) of a file in the zip."""
    shown, size = printable(info.filename, 100), info.file_size
    if largest is not None and size > largest:
        raise WeightsError(
            f"its {shown} has {size:,} bytes; up to {largest:,} are read"
        )
    header = mapped.bytes(info.header_offset, _LOCAL_HEADER)
    name, extra = struct.unpack("<HH", header[26:])
    if not header.startswith(b"PK\x03\x04"):
        raise WeightsError(f"its {shown} is not where the zip's directory says")
    start = info.header_offset + _LOCAL_HEADER + name + extra
    if start + size > len(mapped):
        raise WeightsError(f"its {shown} of {size:,} bytes ends behind the file")
    return start, size


def read_stream(path: pathlib.Path) -> Checkpoint:
    """Returns the `Checkpoint` of a file in the format of torch before 1.6."""
    mapped, position, parts = MappedFile(path), 0, []
    storages: dict[str, typing.Any] = {}
    if _MAGIC not in bytes(mapped.content[:_MAGIC_END]):
        # Of arrays as Detectron2 and PaddlePaddle write it, or of anything else.
        raise WeightsError(
            "it is a pickle, but not of torch.save: load it with its own program, and "
            f"{SAVE_STATE}, or safetensors.numpy.save_file(arrays, FILE) of a dict of "
            "arrays by name"
        )
    for _ in range(5):
        part, position = torch_pickle.load(
            mapped.content, position, len(mapped), storages
        )
        parts.append(part)
    _, protocol, system, loaded, keys = parts
    if type(protocol) is not int or protocol != _PROTOCOL:
        raise WeightsError(f"torch.save's protocol is {_PROTOCOL}; this is another")
    if type(system) is not dict or system.get("little_endian") is not True:
        raise WeightsError("its numbers are big-endian; little-endian is read")
    tensors = torch_pickle.tensors(loaded)
    places = _stream_places(mapped, position, keys, storages)

    def place(key: str) -> tuple[int, int]:
        if key not in places:
            raise WeightsError(f"storage {printable(key, 50)} is not in it")
        return places[key]

    return _checkpoint(path, mapped, tensors, place)


def _stream_places(
    mapped: MappedFile, position: int, keys: list[str], storages: "dict[str, Storage]"
) -> dict[str, tuple[int, int]]:
    """Key -> (first byte, count of bytes) of the storages, which are contiguous."""
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise WeightsError("its list of storages is damaged")
    places = {}
    for key in keys:
        shown = printable(key, 50)
        if key in places or key not in storages:
            raise WeightsError(f"storage {shown} is named twice, or by no tensor")
        (numel,) = struct.unpack("<q", mapped.bytes(position, 8))
        count = numel * storages[key].dtype.itemsize
        if not 0 <= count <= len(mapped) - position - 8:
            raise WeightsError(f"storage {shown} claims {numel:,} numbers: too many")
        places[key] = (position + 8, count)
        position += 8 + count
    return places


def _checkpoint(
    path: pathlib.Path,
    mapped: MappedFile,
    tensors: "dict[tuple[str, str], Tensor]",
    place: typing.Any,
) -> Checkpoint:
    makers: dict[str, typing.Any] = {}
    containers, total = {}, 0
    for (container, inner), tensor in tensors.items():
        name = f"{container}.{inner}" if container else inner
        if name in makers:
            raise WeightsError(f"it names {printable(name)} twice")
        containers[name] = (container, inner)
        if tensor.other:
            makers[name] = functools.partial(refuse_numbers, name, tensor.other)
            continue
        array = _view(mapped, printable(name, 100), tensor, place(tensor.storage.key))
        total += array.nbytes
        if total > _MOST_VIEWS * len(mapped) + _LEAST_VIEWS:
            raise WeightsError(
                f"its tensors share their numbers: together they have more than "
                f"{_MOST_VIEWS} times the file's {len(mapped):,} bytes"
            )
        makers[name] = functools.partial(_itself, array)
    return Checkpoint(path, "torch", makers, containers=containers)


def _view(
    mapped: MappedFile, name: str, tensor: "Tensor", place: tuple[int, int]
) -> "np.ndarray":
    storage, (start, size) = tensor.storage, place
    if storage.size > size:
        raise WeightsError(f"{name} needs {storage.numel:,} numbers; fewer are stored")
    return mapped.view(
        name,
        (start, storage.size),
        storage.dtype,
        tensor.shape,
        tensor.strides,
        tensor.offset,
    )


def _itself(array: "np.ndarray") -> "np.ndarray":
    return array
