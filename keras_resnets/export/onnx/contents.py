"""Reads the contents of an ONNX file within bounds, without ONNX.

Before a parser opens a file, this module checks the sizes that it claims, its nesting depth
and the other files that it names.
"""

import collections
import pathlib
import typing

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import printable
from keras_resnets.export import protobuf
from keras_resnets.export.contents import Contents
from keras_resnets.export.contents import Port

# Protobuf holds no more.
_LARGEST = (1 << 31) - 1
# Networks for images nest no graphs; others have branches inside branches.
_DEPTH = 8
# A node takes a few hundred bytes of memory once it is parsed.
_NODES = 200_000
# Bytes of a small constant: a shape, an axis.
_SMALL = 1 << 20

# Operators whose number of steps is a number in the file.
_ENDLESS = ("Loop", "Scan", "SequenceMap")

# TensorProto.DataType: NumPy's name, bits per value.
_TYPES = {
    1: ("float32", 32),
    2: ("uint8", 8),
    3: ("int8", 8),
    4: ("uint16", 16),
    5: ("int16", 16),
    6: ("int32", 32),
    7: ("int64", 64),
    8: ("object", 0),
    9: ("bool", 8),
    10: ("float16", 16),
    11: ("float64", 64),
    12: ("uint32", 32),
    13: ("uint64", 64),
    14: ("complex64", 64),
    15: ("complex128", 128),
    16: ("bfloat16", 16),
    17: ("float8_e4m3fn", 8),
    18: ("float8_e4m3fnuz", 8),
    19: ("float8_e5m2", 8),
    20: ("float8_e5m2fnuz", 8),
    21: ("uint4", 4),
    22: ("int4", 4),
    23: ("float4_e2m1fn", 4),
    24: ("float8_e8m0fnu", 8),
    25: ("uint2", 2),
    26: ("int2", 2),
}
_EXTERNAL = 1
# ModelProto
_GRAPH, _FUNCTIONS = 7, 25
# GraphProto; the nodes of a FunctionProto
_NODE, _INITIALIZER, _INPUT, _OUTPUT, _SPARSE, _BODY = 1, 5, 11, 12, 15, 7


def read(path: pathlib.Path) -> Contents:
    """Reads the `Contents` of an ONNX file.

    Args:
        path: the file.

    Raises:
        InvalidArgument: a file that is damaged or not ONNX, that claims more than it
            holds, or refers to files outside its folder.

    Example:
        >>> import keras_resnets, tempfile
        >>> from keras_resnets.export import to_onnx
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = to_onnx(keras_resnets.ResNet8(), f"{folder}/a.onnx")
        ...     read(report.path).inputs[0].shape
        (1, 32, 32, 3)
    """
    path = pathlib.Path(path)
    size = path.stat().st_size
    if size > _LARGEST:
        raise InvalidArgument(
            f"{path} is not an ONNX file: one has at most {_LARGEST:,} bytes; it has "
            f"{size:,}"
        )
    try:
        return _Reader(path).contents()
    except protobuf.Damaged as error:
        raise InvalidArgument(
            f"{path} cannot be read as an ONNX file: {error}"
        ) from None


def check(path: pathlib.Path) -> None:
    """Raises `InvalidArgument` unless an ONNX file is complete and has no loops.

    Args:
        path: the file.
    """
    contents = read(path)
    for name in _ENDLESS:
        if name in contents.operators or name in contents.inner:
            raise InvalidArgument(
                f"{path} is not run: a network for images has no loops; it has the "
                f"operator {name!r}"
            )


class _Reader:
    def __init__(self, path: pathlib.Path) -> None:
        self._model = protobuf.Message(protobuf.opened(path))
        self._folder, self._size = path.parent, path.stat().st_size
        self._nodes, self._dense = 0, 0
        self._inner: set[typing.Any] = set()

    def contents(self) -> Contents:
        graph = self._model.part(_GRAPH).grouped()
        if not graph.get(_OUTPUT):
            raise protobuf.Damaged("it has no outputs")
        functions = self._functions()
        counted, called = self._graph(graph, 0)
        self._check_expansion(called, functions)
        inputs, outputs = (
            tuple(_port(value) for value in graph.get(kind, ()))
            for kind in (_INPUT, _OUTPUT)
        )
        return Contents(
            inputs=inputs,
            outputs=outputs,
            operators=dict(counted.most_common()),
            inner=frozenset(self._inner),
        )

    def _graph(self, graph: typing.Any, depth: int) -> typing.Any:
        """Checks a graph's parts; returns counts of operators and (domain, operator)."""
        if depth > _DEPTH:
            raise protobuf.Damaged(f"its graphs are nested more than {_DEPTH} deep")
        for tensor in graph.get(_INITIALIZER, ()):
            self._check_tensor(tensor)
        for tensor in graph.get(_SPARSE, ()):
            self._check_sparse(tensor)
        return self._nodes_of(graph.get(_NODE, ()), depth)

    def _nodes_of(self, nodes: typing.Any, depth: int) -> typing.Any:
        self._nodes += len(nodes)
        if self._nodes > _NODES:
            raise protobuf.Damaged(f"it has more than {_NODES:,} operators")
        counted: collections.Counter[str] = collections.Counter()
        called: collections.Counter[typing.Any] = collections.Counter()
        for node in nodes:
            name = node.text(4, 200)
            counted[name] += 1
            called[node.text(7, 200), name] += 1
            for attribute in node.parts(5):
                for number, value in attribute.fields():
                    if isinstance(value, int):
                        continue
                    # One or several tensors, sparse tensors, or graphs.
                    if number in (5, 10):
                        self._check_tensor(value)
                    elif number in (22, 23):
                        self._check_sparse(value)
                    elif number in (6, 11):
                        inner, theirs = self._graph(value.grouped(), depth + 1)
                        self._inner |= set(inner)
                        called += theirs
        return counted, called

    def _functions(self) -> typing.Any:
        """The operators that each function of the file calls, by (domain, name)."""
        calls_by_function = {}
        for function in self._model.parts(_FUNCTIONS):
            counted, called = self._nodes_of(function.parts(_BODY), 1)
            self._inner |= set(counted)
            calls_by_function[function.text(10, 200), function.text(1, 200)] = called
        return calls_by_function

    def _check_expansion(self, called: typing.Any, functions: typing.Any) -> None:
        """Checks the number of operators after functions are inlined, as runtimes do."""
        sizes = {}

        def size_of(key: typing.Any, depth: int) -> int:
            if key not in functions:
                return 1
            if depth > _DEPTH:
                raise protobuf.Damaged(
                    f"its functions call each other more than {_DEPTH} deep"
                )
            if key not in sizes:
                inner = functions[key].items()
                sizes[key] = sum(n * size_of(callee, depth + 1) for callee, n in inner)
            return sizes[key]

        if sum(count * size_of(key, 0) for key, count in called.items()) > _NODES:
            raise protobuf.Damaged(
                f"its functions come to more than {_NODES:,} operators"
            )

    def _check_tensor(self, tensor: protobuf.Message) -> None:
        """Raises if a tensor's claims differ from its contents."""
        dims = tensor.numbers(1)
        kind, name = tensor.number(2), printable(tensor.text(8), 60)
        if kind not in _TYPES or any(side < 0 for side in dims):
            raise protobuf.Damaged(f"the tensor {name!r} has no valid type or shape")
        count = protobuf.product(dims)
        expected_bytes = -(-count * _TYPES[kind][1] // 8)
        raw = tensor.parts(9)
        if tensor.number(14) == _EXTERNAL:
            self._check_external(tensor, name, expected_bytes)
        elif raw and len(raw[-1]):
            if len(raw[-1]) != expected_bytes:
                raise protobuf.Damaged(
                    f"the tensor {name!r} has {len(raw[-1]):,} bytes; its shape and type "
                    f"take {expected_bytes:,}"
                )
        elif expected_bytes > max(_SMALL, 64 * self._size):
            # Single values, which the library itself counts.
            raise protobuf.Damaged(
                f"the tensor {name!r} takes {expected_bytes:,} bytes, in a file of "
                f"{self._size:,}"
            )

    def _check_sparse(self, tensor: protobuf.Message) -> None:
        """Raises for a tensor that is small in the file and large when it is used."""
        values, dims = tensor.part(1), tensor.numbers(3)
        self._check_tensor(values)
        bits = _TYPES[values.number(2)][1]
        self._dense += protobuf.product(dims) * bits // 8
        if any(side < 0 for side in dims) or self._dense > 16 * self._size + _SMALL:
            raise protobuf.Damaged(
                f"its sparse tensors come to more than {16 * self._size + _SMALL:,} bytes"
            )

    def _check_external(
        self, tensor: protobuf.Message, name: str, expected_bytes: typing.Any
    ) -> None:
        """Raises unless the values are completely in a file of the folder."""
        entries = {e.text(1, 200): e.text(2, 4096) for e in tensor.parts(13)}
        location = entries.get("location", "")
        file = _inside(self._folder, location)
        if file is None:
            raise protobuf.Damaged(
                f"the values of {name!r} must lie in a file of its own folder, not a "
                f"link; it names {printable(location, 80)!r}"
            )
        digits = [entries.get(key, "0") for key in ("offset", "length")]
        if not all(text.isdecimal() and len(text) < 19 for text in digits):
            raise protobuf.Damaged(
                f"the values of {name!r} have no place in {file.name!r}"
            )
        offset, length = map(int, digits)
        room = file.stat().st_size - offset
        length = length if "length" in entries else expected_bytes
        if length != expected_bytes or length > room:
            raise protobuf.Damaged(
                f"the tensor {name!r} takes {expected_bytes:,} bytes; "
                f"{printable(file.name, 80)!r} has {max(0, min(length, room)):,} for it"
            )


def _inside(folder: pathlib.Path, location: str) -> pathlib.Path | None:
    """Returns the file inside a folder that a location names; None for other places."""
    words = location.replace("\\", "/").split("/")
    # Drives, absolute paths and parent folders are refused.
    if not all(words) or ".." in words or ":" in words[0]:
        return None
    file = folder
    try:
        for word in words:
            file = file / word
            if file.is_symlink():
                return None
        return file if file.is_file() else None
    except (OSError, ValueError):
        return None


def _port(value: protobuf.Message) -> Port:
    """Returns the `Port` of an input or output."""
    tensor = value.part(2).part(1)
    shape = []
    for dim in tensor.part(2).parts(1):
        size = dim.number(1)
        shape.append(size if size > 0 else None)
        if len(shape) > 64:
            raise protobuf.Damaged("a shape has more than 64 sides")
    dtype = _TYPES.get(tensor.number(1), ("unknown", 0))[0]
    return Port(value.text(1), tuple(shape), dtype)
