"""The structure of an HDF5 file, read within bounds: groups, attributes, datasets.

HDF5's own library hangs and crashes on crafted files, and no other one stops at a structure
that repeats itself, so this package reads the part that files of weights use, by the
HDF5 File Format Specification 3.0: groups in symbol tables or in compact links, strings
as attributes, floats and whole numbers in contiguous, compact or chunked datasets. A
pointer out of the file, or another kind of storage, is refused. A valid file holds each
byte of its structure once, so that the file's size bounds everything that is read.
"""

import struct
import typing
from collections.abc import Iterator

from keras_resnets.errors import WeightsError
from keras_resnets.errors import printable
from keras_resnets.weights.readers.hdf5_bytes import UNDEFINED
from keras_resnets.weights.readers.hdf5_bytes import Content
from keras_resnets.weights.readers.hdf5_bytes import leaves
from keras_resnets.weights.readers.hdf5_values import Dataset

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_LONGEST_NAME = 1000
_DATASPACE, _LINK_INFO, _DATATYPE, _LINK, _EXTERNAL = 1, 2, 3, 6, 7
_LAYOUT, _GROUP_INFO, _FILTERS, _ATTRIBUTE = 8, 10, 11, 12
_CONTINUATION, _SYMBOL_TABLE = 16, 17


def open_root(data: typing.Any) -> "Group":
    """Returns the root `Group` of an HDF5 file.

    Args:
        data: `bytes` or `mmap.mmap` that begin with `SIGNATURE`.

    Raises:
        WeightsError: another kind of file, or one that was cut off.
    """
    content = Content(data)
    version, *sizes = content.unpack("8xB4xBB", 0)
    if version in (2, 3):
        sizes = list(content.unpack("BB", 9))
        base, _, end, root = content.unpack("4Q", 12)
    elif version in (0, 1):
        after = 24 if version == 0 else 28
        base, _, end, _, _, root = content.unpack("6Q", after)
    else:
        raise WeightsError(f"it is HDF5 with a superblock of version {version}: 0 to 3")
    if tuple(sizes) != (8, 8) or base:
        raise WeightsError(
            "it is HDF5 with other addresses than 8 bytes from its start"
        )
    if end > len(content):
        raise WeightsError(f"it was cut off: {len(content):,} of {end:,} bytes")
    return Group(_Objects(content), root, "")


class _Objects:
    """State that the groups of one file share: its content, and the opened objects."""

    def __init__(self, content: Content) -> None:
        self.content = content
        self._heaps: dict[int, typing.Any] = {}
        self._opened: set[int] = set()

    def messages(self, address: int, name: str) -> dict[int, list[tuple[int, bytes]]]:
        """Returns {type: [(flags, bytes)]} of an object; it can be opened once."""
        if address in self._opened:
            raise WeightsError(f"{name} is a link to what the file contains elsewhere")
        self._opened.add(address)
        messages: dict[int, typing.Any] = {}
        read = _new_messages if self.content.take(address, 1) == b"O" else _old_messages
        for kind, flags, data in read(self.content, address):
            messages.setdefault(kind, []).append((flags, data))
        return messages

    def text(
        self, messages: dict[int, list[tuple[int, bytes]]], name: str
    ) -> str | None:
        """Returns the string attribute `name` of an object; see `Group.text`."""
        for flags, data in messages.get(_ATTRIBUTE, []):
            is_it, value = _attribute(data, name) if not flags & 2 else (False, None)
            if is_it:
                if value is None:
                    raise WeightsError(f"its attribute {name} is not text")
                return self._string(*value)
        return None

    def _string(self, is_fixed: bool, data: bytes) -> str:
        if not is_fixed:
            length, heap, index = struct.unpack("<IQI", data)
            data = self._heap_object(heap, index)[:length]
        try:
            return bytes(data).rstrip(b"\0").decode()
        except UnicodeDecodeError:
            raise WeightsError("a text in it is not UTF-8") from None

    def _heap_object(self, address: int, index: int) -> bytes:
        if address not in self._heaps:
            self._heaps[address] = _global_heap(self.content, address)
        if index not in self._heaps[address]:
            raise WeightsError("a text in it is missing")
        return self._heaps[address][index]


class Group:
    """A group of a file.

    Args:
        objects: the shared state of the file.
        address: the address of its header.
        name: its path, for errors.

    Attributes:
        links: a dict from the name of each member to its address; None for a link to
            another place.
    """

    def __init__(
        self,
        objects: _Objects,
        address: int,
        name: str,
        messages: dict[int, list[tuple[int, bytes]]] | None = None,
    ) -> None:
        self._objects, self.name = objects, name
        self._messages = messages or objects.messages(address, name or "its root")
        self.links: dict[str, typing.Any] = {}
        for link, target in self._found_links():
            if link in self.links:
                raise WeightsError(f"{self._path(link)} is there twice")
            self.links[link] = target

    def __contains__(self, name: str) -> bool:
        return name in self.links

    def open(self, name: str) -> "Group | Dataset":
        """Opens the `Group` or `Dataset` called `name`; each can be opened once.

        Raises:
            WeightsError: a link, or neither of the two.
        """
        path, address = self._path(name), self.links[name]
        if address is None:
            raise WeightsError(
                f"{path} is a soft or external link: a file of weights has its values "
                "in itself"
            )
        messages = self._objects.messages(address, path)
        if messages.keys() & {_SYMBOL_TABLE, _LINK_INFO, _LINK, _GROUP_INFO}:
            return Group(self._objects, address, path, messages)
        if messages.keys() >= {_DATASPACE, _DATATYPE, _LAYOUT}:
            if _EXTERNAL in messages:
                raise WeightsError(
                    f"{path} has its values in another file: a file of weights has them "
                    "in itself"
                )
            filters = messages.get(_FILTERS)
            return Dataset(
                path,
                self._objects.content,
                self._objects.text(messages, "dtype") == "bfloat16",
                _own(path, messages[_DATASPACE]),
                _own(path, messages[_DATATYPE]),
                _own(path, messages[_LAYOUT]),
                _own(path, filters) if filters else None,
            )
        raise WeightsError(f"{path} is neither a group nor a dataset")

    def text(self, name: str) -> str | None:
        """Returns the string attribute `name`; None if there is none.

        Raises:
            WeightsError: an attribute that is not a string, damaged, or not UTF-8.
        """
        return self._objects.text(self._messages, name)

    def _path(self, name: str) -> str:
        path = f"{self.name}/{name}" if self.name else name
        return printable(path)

    def _found_links(self) -> Iterator[tuple[str, int | None]]:
        content = self._objects.content
        for _, data in self._messages.get(_SYMBOL_TABLE, []):
            yield from _symbols(content, *struct.unpack_from("<QQ", data))
        for _, data in self._messages.get(_LINK_INFO, []):
            heap = struct.unpack_from("<Q", data, 10 if data[1] & 1 else 2)[0]
            if heap != UNDEFINED:
                raise WeightsError(
                    "its groups are stored as libver='latest' stores big ones: write it "
                    "with h5py's or Keras' default"
                )
        for _, data in self._messages.get(_LINK, []):
            yield _link(content, data)


def _own(path: str, messages: list[tuple[int, bytes]]) -> bytes:
    """The bytes of the only message of its kind."""
    flags, data = messages[0]
    if flags & 2 or len(messages) > 1:
        raise WeightsError(f"{path} has its type elsewhere in the file")
    return data


def _old_messages(content: Content, address: int) -> Iterator[tuple[int, int, bytes]]:
    """(type, flags, bytes) of an object header of version 1."""
    version, count, _, size = content.unpack("BxHII", address)
    if version != 1:
        raise WeightsError(f"it has no object at {address:,}")
    blocks = [(address + 16, size)]
    while blocks:
        start, size = blocks.pop(0)
        block, place = content.take(start, size), 0
        while count and place + 8 <= size:
            kind, length, flags = struct.unpack_from("<HHB", block, place)
            data = block[place + 8 : place + 8 + length]
            _whole(data, length)
            if kind == _CONTINUATION:
                blocks.append(struct.unpack_from("<QQ", data))
            yield kind, flags, data
            content.spend(0)
            place, count = place + 8 + length, count - 1


def _new_messages(content: Content, address: int) -> Iterator[typing.Any]:
    """(type, flags, bytes) of an object header of version 2."""
    signature, version, flags = content.unpack("4sBB", address)
    if signature != b"OHDR" or version != 2:
        raise WeightsError(f"it has no object at {address:,}")
    start = address + 6 + (16 if flags & 32 else 0) + (4 if flags & 16 else 0)
    width = flags & 3
    (size,) = content.unpack("BHIQ"[width], start)
    head = 6 if flags & 4 else 4
    blocks = [(start + (1 << width), size)]
    while blocks:
        start, size = blocks.pop(0)
        block, place = content.take(start, size), 0
        while place + head <= size:
            kind, length, marks = struct.unpack_from("<BHB", block, place)
            data = block[place + head : place + head + length]
            _whole(data, length)
            if kind == _CONTINUATION:
                start, length = struct.unpack_from("<QQ", data)
                if content.take(start, 4) != b"OCHK" or length < 8:
                    raise WeightsError(f"it has no part of an object at {start:,}")
                blocks.append((start + 4, length - 8))
            yield kind, marks, data
            content.spend(0)
            place += head + len(data)


def _whole(data: bytes, length: int) -> None:
    if len(data) != length:
        raise WeightsError("a part of its structure ends too early")


def _symbols(
    content: Content, tree: int, heap: int
) -> Iterator[tuple[str, int | None]]:
    """(name, address or None) of the links in a symbol table."""
    signature, size, _, start = content.unpack("4s4xQQQ", heap)
    if signature != b"HEAP":
        raise WeightsError("the names of a group in it are missing")
    names = content.take(start, size)
    for table in leaves(content, tree, 0, "Q"):
        signature, count = content.unpack("4s2xH", table[1])
        if signature != b"SNOD":
            raise WeightsError("the links of a group in it are missing")
        entries = content.take(table[1] + 8, 40 * count)
        for place in range(0, 40 * count, 40):
            offset, address, kind = struct.unpack_from("<QQI", entries, place)
            end = names.find(b"\0", offset, offset + _LONGEST_NAME)
            if end < 0:
                raise WeightsError("the name of a link in it has no end")
            content.spend(end - offset)
            yield _name(names[offset:end]), address if kind in (0, 1) else None


def _link(content: typing.Any, data: typing.Any) -> typing.Any:
    """(name, address or None) of a link message."""
    version, flags = struct.unpack_from("<BB", data)
    if version != 1:
        raise WeightsError(f"it has links of version {version}: 1")
    place, kind = 2, 0
    if flags & 8:
        kind, place = data[place], place + 1
    place += (8 if flags & 4 else 0) + (1 if flags & 16 else 0)
    (length,) = struct.unpack_from("<" + "BHIQ"[flags & 3], data, place)
    place += 1 << (flags & 3)
    if length > _LONGEST_NAME:
        raise WeightsError(
            f"the name of a link in it has more than {_LONGEST_NAME} bytes"
        )
    content.spend(length)
    name = _name(data[place : place + length])
    return name, struct.unpack_from("<Q", data, place + length)[0] if not kind else None


def _name(data: bytes) -> str:
    try:
        name = bytes(data).decode()
    except UnicodeDecodeError:
        raise WeightsError(f"{printable(bytes(data))} in it is not a name") from None
    if not name or "/" in name:
        raise WeightsError(f"{printable(name)!r} in it is not a name")
    return name


def _attribute(data: bytes, attribute: str) -> tuple[bool, typing.Any]:
    """(whether a message is of `attribute`, (is of fixed length, bytes)).

    The second is None for an attribute that is not a single string.
    """
    version, _, name, kind, space = struct.unpack_from("<BBHHH", data)
    if version not in (1, 2, 3):
        raise WeightsError(f"it has attributes of version {version}: 1 to 3")
    place = 9 if version == 3 else 8
    if bytes(data[place : place + name]).rstrip(b"\0") != attribute.encode():
        return False, None
    starts = [place]
    for size in (name, kind, space):
        starts.append(starts[-1] + (-(-size // 8) * 8 if version == 1 else size))
    _, kind, space, value = starts
    bits, size = data[kind + 1], struct.unpack_from("<I", data, kind + 4)[0]
    form, is_scalar = data[kind] & 15, data[space + 1] == 0
    is_scalar = is_scalar and (data[space] == 1 or data[space + 3] == 0)
    is_text = form == 3 or (form == 9 and bits & 15 == 1)
    if not is_text or not is_scalar:
        return True, None
    size = size if form == 3 else 16
    _whole(data[value : value + size], size)
    return True, (form == 3, data[value : value + size])


def _global_heap(content: Content, address: int) -> dict[int, bytes]:
    """{index: bytes} of a global heap's collection."""
    signature, version, size = content.unpack("4sB3xQ", address)
    if signature != b"GCOL" or version != 1:
        raise WeightsError("a text in it is missing")
    block, place, objects = content.take(address, size), 16, {}
    while place + 16 <= size:
        index, length = struct.unpack_from("<H6xQ", block, place)
        if not index:
            break
        objects[index] = block[place + 16 : place + 16 + length]
        content.spend(0)
        place += 16 + -(-length // 8) * 8
    return objects
