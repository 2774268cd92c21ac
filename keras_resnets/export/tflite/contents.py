"""Reads and checks the contents of a TFLite file without an interpreter.

A runtime trusts a file: a wrong offset, index or size makes it read other memory of the
process. This module checks each of them before a runtime opens the file.
"""

import collections
import dataclasses
import os
import pathlib
import typing

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import printable
from keras_resnets.export import protobuf
from keras_resnets.export.contents import Contents
from keras_resnets.export.contents import Port
from keras_resnets.export.tflite import flatbuffer
from keras_resnets.export.tflite import runner as tflite_runner
from keras_resnets.export.tflite import versions

# TensorType: NumPy's name, bits of a value.
_TYPES = (
    ("float32", 32),
    ("float16", 16),
    ("int32", 32),
    ("uint8", 8),
    ("int64", 64),
    ("bytes", 0),
    ("bool", 8),
    ("int16", 16),
    ("complex64", 64),
    ("int8", 8),
    ("float64", 64),
    ("complex128", 128),
    ("uint64", 64),
    ("resource", 0),
    ("variant", 0),
    ("uint32", 32),
    ("uint16", 16),
    ("int4", 4),
    ("bfloat16", 16),
    ("int2", 2),
    ("uint4", 4),
)
# BuiltinOptions: bytes per value of each vector, by the number of its field. All other
# options have only numbers, which are checked with the table itself.
_OPTIONS = {
    3: {1: 4, 2: 4},  # ConcatEmbeddings
    8: {5: 1},  # FullyConnected
    17: {0: 4},  # Reshape
    30: {0: 4},  # Squeeze
    111: {0: 1, 1: 1},  # VarHandle
    115: {0: 4},  # Bucketize
}
# BuiltinOptions2: composites, which other kernels implement. Image networks have no
# others, and few runtimes support them.
_OPTIONS_2 = {0: {}, 20: {}, 21: {0: 1, 2: 1}, 22: {}}
# Bytes of a tensor: far more than any network of this package needs.
_TENSOR = 1 << 31
_SIDES = 8
_CUSTOM = 32
_CONVOLUTIONS, _NARROW = ("CONV_2D", "DEPTHWISE_CONV_2D"), ("int4", "int2")
_ENDLESS = ("WHILE", "STABLEHLO_WHILE")


def read(path: str | os.PathLike[str]) -> Contents:
    """The `Contents` of a TFLite file, including the release of TFLite that it needs.

    Raises:
        InvalidArgument: the file is damaged, is not a TFLite file, or has an offset
            outside itself.

    Example:
        >>> import keras_resnets, tempfile
        >>> from keras_resnets.export import to_tflite
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = to_tflite(keras_resnets.ResNet8(), f"{folder}/a.tflite")
        ...     read(report.path).inputs[0].shape
        (1, 32, 32, 3)
    """
    contents = _read(path)
    with tflite_runner.opened(path) as content:
        release = versions.needed(content) or "unknown"
    return dataclasses.replace(contents, runtime=release)


def _read(path: str | os.PathLike[str]) -> Contents:
    return _opened(path).contents()


def _opened(path: str | os.PathLike[str]) -> "_Model":
    path = pathlib.Path(path)
    try:
        return _Model(protobuf.opened(path))
    except protobuf.Damaged as error:
        raise InvalidArgument(f"{path} cannot be read as a .tflite: {error}") from None


def has_narrow_convolutions(path: str | os.PathLike[str]) -> bool:
    """Whether a file has convolutions with kernels of 4 or 2 bits, see `TFLiteRunner`."""
    return any(graph.has_narrow_convolutions for graph in _opened(path).graphs)


def check(path: str | os.PathLike[str]) -> None:
    """Raises `InvalidArgument` unless a TFLite file is safe to run, without loops.

    Args:
        path: of the file.
    """
    for name in sorted(_read(path).inner):
        if name in _ENDLESS or name.startswith("Flex"):
            raise InvalidArgument(
                f"{path} is not run: files of image networks have no loops and no "
                f"TensorFlow operators; this one has {printable(name, 60)!r}"
            )


class _Model:
    def __init__(self, content: typing.Any) -> None:
        self._size = len(content)
        self._root = flatbuffer.File(content, b"TFL3").root
        self._buffers = [self._buffer(table) for table in self._root.tables(4)]
        self._codes = [self._code(table) for table in self._root.tables(1)]
        self._root.text(3)
        self._root.numbers(5)
        if any(
            table.number(1, "I") >= len(self._buffers) for table in self._metadata()
        ):
            raise protobuf.Damaged("its metadata name a buffer that does not exist")
        if self._root.tables(8) or self._root.tables(9):
            raise protobuf.Damaged("it keeps its weights in other files")
        graphs = self._root.tables(2)
        if not graphs:
            raise protobuf.Damaged("it has no graph in it")
        self.graphs = [_Graph(table, self) for table in graphs]
        self._signatures = self._root.tables(7)
        for signature in self._signatures:
            self._check_signature(signature)

    def contents(self) -> Contents:
        main = self.graphs[0]
        names = {}
        if self._signatures:
            for field in (0, 1):
                for entry in self._signatures[0].tables(field):
                    names[entry.number(1, "I")] = entry.text(0)
        counts = collections.Counter(main.operators)
        inputs, outputs = (
            tuple(main.port(i, names) for i in ends) for ends in main.ends
        )
        return Contents(
            inputs=inputs,
            outputs=outputs,
            operators=dict(counts.most_common()),
            inner=frozenset(n for graph in self.graphs for n in graph.operators),
        )

    def buffer_size(self, index: int) -> int:
        """Bytes of a buffer."""
        if not 0 <= index < len(self._buffers):
            raise protobuf.Damaged(f"it has no buffer {index:,}")
        return self._buffers[index]

    def operator(self, index: int) -> str:
        """The name of an operator by the index of its code."""
        if index >= len(self._codes):
            raise protobuf.Damaged(
                f"an operator has the code {index:,}, which does not exist"
            )
        return self._codes[index]

    def _metadata(self) -> typing.Any:
        tables = self._root.tables(6)
        for table in tables:
            table.text(0)
        return tables

    def _buffer(self, table: flatbuffer.Table) -> int:
        offset, size = table.number(1, "Q"), table.number(2, "Q")
        if offset > 1:
            # Behind the flatbuffer, in files over 2 GB.
            if offset + size > self._size:
                raise protobuf.Damaged("a buffer ends after the end of the file")
            return size
        return table.length(0)

    def _code(self, table: flatbuffer.Table) -> str:
        number = max(table.number(0, "b"), table.number(3, "i"))
        custom = table.text(1, 200)
        if number == _CUSTOM:
            return custom
        names = tflite_runner.operator_names(tflite_runner.schema())
        if number not in names:
            raise protobuf.Damaged(
                f"it has the operator {number}, which does not exist"
            )
        return names[number]

    def _check_signature(self, signature: flatbuffer.Table) -> None:
        signature.text(2)
        graph = signature.number(4, "I")
        if graph >= len(self.graphs):
            raise protobuf.Damaged("a signature names a graph that does not exist")
        for field in (0, 1):
            for entry in signature.tables(field):
                entry.text(0)
                self.graphs[graph].check_index(entry.number(1, "I"))


class _Graph:
    def __init__(self, table: flatbuffer.Table, model: "_Model") -> None:
        self._model = model
        self._tensors = table.tables(0)
        self._checked = [_Tensor(tensor, model) for tensor in self._tensors]
        table.text(4)
        self.ends = table.numbers(1), table.numbers(2)
        for index in (*self.ends[0], *self.ends[1]):
            self.check_index(index)
        written = {i for i, x in enumerate(self._checked) if x.has_values}
        written |= {-1, *self.ends[0]}
        self.has_narrow_convolutions = False
        self.operators = [self._operator(op, written) for op in table.tables(3)]
        # Tensors that no operator writes would show earlier contents of the memory.
        for index in self.ends[1]:
            self._check_written(index, written)

    def check_index(self, index: int, lowest: int = 0) -> None:
        """Raises if a tensor does not exist; -1 is an input that is left out."""
        if not lowest <= index < len(self._tensors):
            raise protobuf.Damaged(
                f"it names tensor {index:,} of {len(self._tensors):,} in its graph"
            )

    def port(self, index: int, names: dict[int, str]) -> Port:
        """The `Port` of a tensor."""
        tensor = self._checked[index]
        return Port(names.get(index, tensor.name), *tensor.facts)

    def _operator(self, op: flatbuffer.Table, written: set[int]) -> str:
        name = self._model.operator(op.number(0, "I"))
        inputs, outputs = op.numbers(1), op.numbers(2)
        for index in (*inputs, *outputs, *op.numbers(8)):
            self.check_index(index, -1)
        for index in inputs:
            self._check_written(index, written)
        if name in _CONVOLUTIONS and len(inputs) > 1:
            self.has_narrow_convolutions |= self._checked[inputs[1]].facts[1] in _NARROW
        written.update(outputs)
        op.length(5)
        op.length(7)
        self._check_options(op, name)
        return name

    def _check_written(self, index: int, written: set[int]) -> None:
        if index not in written:
            raise protobuf.Damaged(
                f"the tensor {printable(self._checked[index].name, 60)!r} is read before "
                "it is written"
            )

    def _check_options(self, op: flatbuffer.Table, name: str) -> None:
        kind, options = op.number(3, "B"), op.table(4)
        if options is not None:
            for field, size in _OPTIONS.get(kind, {}).items():
                options.length(field, size)
        kind, options = op.number(11, "B"), op.table(12)
        if kind not in _OPTIONS_2:
            raise protobuf.Damaged(
                f"it has the operator {printable(name, 60)}, which is not supported"
            )
        if options is not None:
            for field, size in _OPTIONS_2[kind].items():
                options.length(field, size)


class _Tensor:
    """Attributes: `name`; `facts` (shape, dtype, scale, zero point); `has_values`."""

    def __init__(self, table: flatbuffer.Table, model: "_Model") -> None:
        self.name = table.text(3)
        shape, signature = table.numbers(0), table.numbers(7)
        number = table.number(1, "b")
        if not 0 <= number < len(_TYPES):
            raise protobuf.Damaged(
                f"{self._title()} has the type {number}, which does not exist"
            )
        dtype, bits = _TYPES[number]
        sides = max(len(shape), len(signature))
        if (
            sides > _SIDES
            or any(side < 0 for side in shape)
            or any(s < -1 for s in signature)
        ):
            raise protobuf.Damaged(f"{self._title()} has an impossible shape")
        size = -(-protobuf.product(shape) * bits // 8)
        if size > _TENSOR:
            raise protobuf.Damaged(
                f"{self._title()} takes {size:,} bytes; {_TENSOR:,} at most"
            )
        stored = model.buffer_size(table.number(2, "I"))
        is_sparse = self._check_sparse(table.table(6))
        if stored and bits and not is_sparse and stored != size:
            raise protobuf.Damaged(
                f"{self._title()} takes {size:,} bytes; its buffer has {stored:,}"
            )
        is_variable = table.number(5, "b")
        self.has_values = bool(stored or is_variable or not size)
        scale = self._quantization(table.table(4), shape)
        self.facts = (self._sides(shape, signature), dtype, *scale)
        for part in table.tables(9):
            part.numbers(0)

    def _title(self) -> str:
        return f"the tensor {printable(self.name, 60)!r}"

    def _sides(
        self, shape: tuple[int, ...], signature: tuple[int, ...]
    ) -> tuple[int | None, ...]:
        return tuple(None if side < 0 else side for side in signature or shape)

    def _quantization(
        self, table: flatbuffer.Table | None, shape: tuple[int, ...]
    ) -> typing.Any:
        """(scale, zero point) of a tensor with one of each; else (None, None)."""
        if table is None:
            return None, None
        table.length(0, 4)
        table.length(1, 4)
        scales, points = table.length(2, 4), table.numbers(3, "q")
        details = table.table(5)
        axis = table.number(6, "i")
        if scales and (
            len(points) not in (1, scales)
            or (scales > 1 and not (0 <= axis < len(shape) and shape[axis] == scales))
        ):
            raise protobuf.Damaged(
                f"{self._title()} has {scales:,} scales and {len(points):,} zero points, "
                "which do not fit its shape"
            )
        if details is not None:
            details.length(0)
        if scales != 1:
            return None, None
        (scale,) = table.numbers(2, "f")
        return (scale, points[0]) if scale else (None, None)

    def _check_sparse(self, table: flatbuffer.Table | None) -> bool:
        """Whether the tensor is stored without its zeros."""
        if table is None:
            return False
        table.numbers(0)
        table.numbers(1)
        for dim in table.tables(2):
            for kind, field in ((2, 3), (4, 5)):
                inner = dim.table(field)
                width = {1: 4, 2: 2, 3: 1}.get(dim.number(kind, "B"), 4)
                if inner is not None:
                    inner.length(0, width)
        return True
