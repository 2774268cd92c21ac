"""Both formats of torch.save: the zip archive, and the stream that came before it."""

import functools
import os
import struct
import zipfile

from keras_resnets.errors import WeightsError
from keras_resnets.weights.readers import torch_pickle
from keras_resnets.weights.readers.arrays import MappedFile
from keras_resnets.weights.readers.arrays import refuse_numbers
from keras_resnets.weights.readers.checkpoint import Checkpoint

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_LOCAL_HEADER = 30


def read_zip(path):
    """The `Checkpoint` of a file that torch has written since 1.6."""
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in entries if name.endswith("/data.pkl")]
        if not pickles:
            raise WeightsError(
                "it is a zip of neither torch (data.pkl) nor Keras 3 (config.json)"
            )
        if len(pickles) != 1:
            raise WeightsError(
                f"a zip of torch holds one data.pkl; this one {len(pickles)} of "
                f"{len(entries)} files"
            )
        root = pickles[0].removesuffix("data.pkl")
        for info in entries.values():
            if info.compress_type != zipfile.ZIP_STORED:
                raise WeightsError(
                    f"{info.filename} is compressed, as torch never does"
                )
        if entries[pickles[0]].file_size > torch_pickle.LARGEST_PICKLE:
            raise WeightsError("its data.pkl is too long for a dict of tensors")
        order = entries.get(f"{root}byteorder")
        if order and archive.read(order) != b"little":
            raise WeightsError("its numbers are big-endian; little-endian is read")
        with archive.open(pickles[0]) as file:
            tensors = torch_pickle.tensors(torch_pickle.load(file))
    mapped = MappedFile(path)

    def place(storage):
        info = entries[f"{root}data/{storage.key}"]
        header = mapped.bytes(info.header_offset, _LOCAL_HEADER)
        name, extra = struct.unpack("<HH", header[26:30])
        return info.header_offset + _LOCAL_HEADER + name + extra, info.file_size

    return _checkpoint(path, mapped, tensors, place)


def read_stream(path):
    """The `Checkpoint` of a file that torch wrote before 1.6."""
    with open(path, "rb") as file:
        if torch_pickle.load(file) != _MAGIC or torch_pickle.load(file) != _PROTOCOL:
            raise WeightsError("it is a pickle, but none of torch.save")
        system = torch_pickle.load(file)
        if not system.get("little_endian", False):
            raise WeightsError("its numbers are big-endian; little-endian is read")
        storages = {}
        tensors = torch_pickle.tensors(torch_pickle.load(file, storages))
        keys = torch_pickle.load(file)
        position, size = file.tell(), os.fstat(file.fileno()).st_size
    mapped = MappedFile(path)
    places = {}
    for key in keys:
        (numel,) = struct.unpack("<q", mapped.bytes(position, 8))
        count = numel * torch_pickle.item_size(storages[str(key)].dtype)
        if not 0 <= count <= size - position - 8:
            raise WeightsError(f"storage {key} claims {numel:,} numbers: too many")
        places[str(key)] = (position + 8, count)
        position += 8 + count
    return _checkpoint(path, mapped, tensors, lambda storage: places[storage.key])


def _checkpoint(path, mapped, tensors, place):
    makers, containers = {}, {}
    for (container, inner), tensor in tensors.items():
        name = f"{container}.{inner}" if container else inner
        if name in makers:
            raise WeightsError(f"it names {name} twice")
        containers[name] = (container, inner)
        if tensor.other:
            makers[name] = functools.partial(refuse_numbers, name, tensor.other)
            continue
        storage = tensor.storage
        start, size = place(storage)
        if storage.numel * torch_pickle.item_size(storage.dtype) > size:
            raise WeightsError(
                f"{name} needs {storage.numel:,} numbers; fewer are stored"
            )
        numbers = mapped.array(start, storage.dtype, (storage.numel,))
        makers[name] = functools.partial(tensor.of, numbers)
    return Checkpoint(path, "torch", makers, containers=containers)
