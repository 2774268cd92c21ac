"""Reads the contents of a SavedModel, without TensorFlow and without running it.

Its graph and functions are a message in `saved_model.pb`; its variables are listed in
`variables/variables.index`.
"""

import collections
import pathlib
import typing
from collections.abc import Iterable

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import printable
from keras_resnets.export import protobuf
from keras_resnets.export.contents import Contents
from keras_resnets.export.contents import Port
from keras_resnets.export.saved_model import checkpoint_index
from keras_resnets.export.saved_model import safe_operators

CONTENT = "saved_model.pb"
# Protobuf holds no more.
_LARGEST = (1 << 31) - 1
# Bytes of constants beyond the file's size: several zeros may be stored as one.
_SPREAD = 64 << 20
# The prefix of TensorFlow's internal signatures.
_OWN = "__saved_model_"
# Operators that compute nothing.
_PLUMBING = frozenset(
    "Const Identity NoOp Placeholder PartitionedCall ReadVariableOp "
    "StatefulPartitionedCall VarHandleOp".split()
)
_VARIABLES = frozenset(("VarHandleOp", "Variable", "VariableV2"))
# AttrValue
_LIST, _TENSOR, _FUNCTION = 1, 8, 10


def read(folder: pathlib.Path) -> Contents:
    """Reads the `Contents` of a SavedModel, without running it.

    Inputs and outputs are sorted as TensorFlow sorts them.

    Args:
        folder: the SavedModel's folder.

    Raises:
        InvalidArgument: a folder that is damaged, or that claims more than it holds.
    """
    return _opened(folder).contents()


def check(folder: pathlib.Path) -> None:
    """Raises `InvalidArgument` unless a SavedModel is complete and only computes.

    TensorFlow's graphs are programs: some operators read and write files or start Python
    functions. Operators that save and restore variables may name files, only in the
    functions for that.

    Args:
        folder: the SavedModel's folder.
    """
    opened = _opened(folder)
    opened.contents()
    opened.check_operators()


def _opened(folder: pathlib.Path) -> "_SavedModel":
    folder = pathlib.Path(folder)
    try:
        return _SavedModel(folder)
    except protobuf.Damaged as error:
        raise InvalidArgument(
            f"{folder} cannot be read as a SavedModel: {error}"
        ) from None


class _Node:
    """A node of a graph or function: its operator, inputs and called functions."""

    __slots__ = ("calls", "inputs", "name", "op", "size")

    def __init__(self, message: protobuf.Message) -> None:
        self.inputs: list[str] = []
        self.calls: list[str] = []
        self.size = 0
        self.name = self.op = ""
        for number, value in message.fields():
            if isinstance(value, int):
                continue
            if number == 1:
                self.name = _name(value)
            elif number == 2:
                self.op = _name(value)
            elif number == 3:
                self.inputs.append(_node_name(_name(value)))
            elif number == 5:
                self._attribute(value)

    def _attribute(self, entry: protobuf.Message) -> None:
        for number, value in entry.part(2).fields():
            if isinstance(value, int):
                continue
            if number == _FUNCTION:
                self.calls.append(value.text(1))
            elif number == _LIST:
                self._list(value)
            elif number == _TENSOR:
                self.size += _size(value)

    def _list(self, values: protobuf.Message) -> None:
        for number, value in values.fields():
            if not isinstance(value, int) and number == 9:
                self.calls.append(value.text(1))
            elif not isinstance(value, int) and number == _TENSOR:
                self.size += _size(value)


def _name(message: protobuf.Message) -> str:
    return message.bytes().decode("utf-8", "backslashreplace")


def _node_name(reference: str) -> str:
    """Returns the name of the node in an input `^name`, `name:0` or `name:output:0`."""
    return reference.lstrip("^").partition(":")[0]


def _size(tensor: protobuf.Message) -> int:
    """Returns the bytes of a constant in memory; a file may store one value for all."""
    dims = [dim.number(1) for dim in tensor.part(2).parts(2)]
    if any(side < 0 for side in dims) or len(dims) > 64:
        raise protobuf.Damaged("a constant has an invalid shape")
    return protobuf.product(dims) * checkpoint_index.size_of(tensor.number(1), 1)


class _Graph:
    """One graph of a SavedModel with its functions."""

    def __init__(self, meta: protobuf.Message) -> None:
        graph = meta.part(2)
        self.nodes = {}
        for message in graph.parts(1):
            node = _Node(message)
            self.nodes[node.name] = node
        self.functions = {
            function.part(1).text(1): [_Node(node) for node in function.parts(3)]
            for function in graph.part(2).parts(1)
        }
        self.signatures = dict(meta.entries(5))
        self._saver = meta.part(3)
        objects = meta.part(7)
        self._objects = [name for name, _ in objects.entries(2)]
        self._first_ops = [
            _node_name(_name(name))
            for key, collection in meta.entries(4)
            if key in ("saved_model_main_op", "legacy_init_op")
            for name in collection.part(1).parts(1)
        ]

    def size(self) -> int:
        """Returns the bytes of all constants."""
        bodies = [self.nodes.values(), *self.functions.values()]
        return sum(node.size for body in bodies for node in body)

    def behind(self, roots: Iterable[str]) -> "dict[str, _Node]":
        """Returns `roots` and the nodes of the main graph that they need, by name."""
        needed, left = {}, list(roots)
        while left:
            name = left.pop()
            if name in self.nodes and name not in needed:
                needed[name] = self.nodes[name]
                left += self.nodes[name].inputs
        return needed

    def called(self, nodes: typing.Any, more: Iterable[str] = ()) -> typing.Any:
        """Returns the functions that nodes call, directly and indirectly."""
        functions, left = set(), list(more)
        left += [name for node in nodes for name in self._calls(node)]
        while left:
            name = left.pop()
            if name in self.functions and name not in functions:
                functions.add(name)
                for node in self.functions[name]:
                    left += self._calls(node)
        return functions

    def _calls(self, node: typing.Any) -> list[str]:
        return [*node.calls, node.op]

    def ends(self, signature: protobuf.Message) -> list[str]:
        """Returns the nodes that produce the outputs of a signature."""
        return [_node_name(info.text(1)) for _, info in signature.entries(2)]

    def operators(self, name: str) -> dict[str, int]:
        """Returns counts of the operators of a signature, by name."""
        counted: collections.Counter[str] = collections.Counter()
        nodes = self.behind(self.ends(self.signatures[name])).values()
        bodies = [nodes, *(self.functions[function] for function in self.called(nodes))]
        for body in bodies:
            counted.update(node.op for node in body)
        for op in _PLUMBING | set(self.functions):
            counted.pop(op, None)
        return dict(sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])))

    def forbidden(self) -> str | None:
        """Returns an operator that is not allowed, or None."""
        savers = [
            _node_name(self._saver.text(number))
            # The tensor with the file's name, and the operators that save and restore.
            for number in (1, 2, 3)
        ]
        roots = [*self._first_ops]
        for signature in self.signatures.values():
            roots += self.ends(signature)
        run = self.behind(roots).values()
        saved = self.behind(savers).values()
        reached = self.called(run, self._objects)
        exempt = self.called(saved) - reached
        bodies = [run, *(b for n, b in self.functions.items() if n not in exempt)]
        saving = [saved, *(self.functions[name] for name in exempt)]
        allowed = safe_operators.PURE | set(self.functions)
        for parts, permitted in (
            (bodies, allowed),
            (saving, allowed | safe_operators.SAVING),
        ):
            for part in parts:
                for node in part:
                    if node.op not in permitted:
                        return node.op
        return None


class _SavedModel:
    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        has_variables = checkpoint_index.check_folder(folder)
        path = folder / CONTENT
        if path.stat().st_size > _LARGEST:
            raise protobuf.Damaged(f"{CONTENT} has more than {_LARGEST:,} bytes")
        self._size = path.stat().st_size
        content = protobuf.Message(protobuf.opened(path))
        self._graphs = [_Graph(meta) for meta in content.parts(2)]
        if not self._graphs:
            raise protobuf.Damaged(f"{CONTENT} has no graph in it")
        kinds = {node.op for graph in self._graphs for node in graph.nodes.values()}
        if not has_variables and not kinds.isdisjoint(_VARIABLES):
            raise protobuf.Damaged(f"it has no variables/{checkpoint_index.INDEX}")
        held = sum(graph.size() for graph in self._graphs)
        if held > _SPREAD + self._size:
            raise protobuf.Damaged(
                f"its constants take {held:,} bytes, in a file of {self._size:,}"
            )

    def contents(self) -> Contents:
        graph = self._graphs[0]
        names = [name for name in graph.signatures if not name.startswith(_OWN)]
        if not names:
            raise InvalidArgument(
                f"{self._folder} is a SavedModel without a signature to call"
            )
        names.sort(key=lambda name: (name != "serving_default", name))
        ports_by_signature = {}
        for name in names:
            signature = graph.signatures[name]
            input_ports, output_ports = (
                tuple(_port(*entry) for entry in sorted(signature.entries(number)))
                for number in (1, 2)
            )
            ports_by_signature[name] = (input_ports, output_ports)
        inputs, outputs = ports_by_signature[names[0]]
        return Contents(
            inputs=inputs,
            outputs=outputs,
            operators=graph.operators(names[0]),
            signatures=ports_by_signature,
        )

    def check_operators(self) -> None:
        for graph in self._graphs:
            operator = graph.forbidden()
            if operator is not None:
                raise InvalidArgument(
                    f"{self._folder} is not run: a SavedModel must only compute; it has "
                    f"the operator {printable(operator, 60)!r}"
                )


def _port(name: str, info: protobuf.Message) -> Port:
    shape = info.part(3)
    dims = [dim.number(1) for dim in shape.parts(2)]
    if len(dims) > 64:
        raise protobuf.Damaged("a shape has more than 64 sides")
    sides = tuple(None if side < 0 else side for side in dims)
    return Port(name, sides, checkpoint_index.name_of(info.number(2)))
