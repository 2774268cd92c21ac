"""Deterministic names and order of an ONNX graph.

tf2onnx numbers nodes in an order that changes from process to process, and keeps the
name of any of several equal constants: the same model would give different bytes each
time.
"""

import re
import typing
from collections.abc import Iterable
from collections.abc import Iterator

import numpy as np

from keras_resnets.export.onnx.links import inner_graphs
from keras_resnets.export.onnx.links import reads

# The suffix that tf2onnx adds to make a name unique.
_NUMBER = re.compile(r"__\d+")


def settle(model: typing.Any, constants: dict[str, np.ndarray]) -> None:
    """Sorts and names the nodes and tensors of `model`, in place.

    A node keeps its name without tf2onnx's numbers; a tensor is named after the node that
    produces it, and a constant after the first node that reads it and its input.

    Args:
        model: an `onnx.ModelProto`.
        constants: arrays by name that are beside it, see `simplify.tidy`; in place.
    """
    sort(model)
    graph, taken = model.graph, {value.name for value in _ends(model.graph)}
    nodes = _unique(_names(graph))
    tensors = {name: name for name in (*taken, "")}
    for node, name in zip(graph.node, nodes, strict=True):
        node.name = name
        new_outputs = [out for out in node.output if out not in tensors]
        for out in new_outputs:
            suffix = f":{list(node.output).index(out)}" if len(node.output) > 1 else ""
            tensors[out] = _free(f"{name}{suffix}", taken)
    held = {*constants, *(tensor.name for tensor in graph.initializer)}
    for node in graph.node:
        for place, read in enumerate(node.input):
            if read in held and read not in tensors:
                tensors[read] = _free(f"{node.name}/{_role(node, place)}", taken)
    _rename(graph, tensors)
    renamed = {tensors.get(name, name): array for name, array in constants.items()}
    constants.clear()
    places = {name: place for place, name in enumerate(tensors.values())}
    constants.update(
        (name, renamed[name]) for name in sorted(renamed, key=places.__getitem__)
    )
    # It holds the numbered name of a TensorFlow function.
    graph.ClearField("doc_string")


def _names(graph: typing.Any) -> Iterator[str]:
    """The names of the nodes without numbers; for a nameless one its reader's scope."""
    readers = {read: node for node in reversed(graph.node) for read in node.input}
    for node in graph.node:
        name = _NUMBER.sub("", node.name)
        if "/" not in name:
            reader = readers.get(node.output[0], node)
            scope = _NUMBER.sub("", reader.name).rpartition("/")[0]
            name = f"{scope}/{node.op_type}" if scope else node.op_type
        yield name


def sort(model: typing.Any) -> None:
    """Sorts nodes and initializers of `model` in order of first use, in place."""
    graph = model.graph
    makers = {out: node for node in graph.node for out in node.output}
    order: list[typing.Any] = []
    done: set[int] = set()
    for value in graph.output:
        _visit(makers.get(value.name), makers, order, done)
    nodes = [_copy(node) for node in order]
    del graph.node[:]
    graph.node.extend(nodes)
    places: dict[str, int] = {}
    for node in nodes:
        for name in (*reads(node), *node.output):
            places.setdefault(name, len(places))
    for entries in (graph.initializer, graph.value_info):
        for entry in [entry for entry in entries if entry.name not in places]:
            entries.remove(entry)
        entries.sort(key=lambda entry: places[entry.name])


def _visit(
    first: typing.Any, makers: typing.Any, order: typing.Any, done: typing.Any
) -> None:
    """Appends `first` after its dependencies; without recursion, for deep networks."""
    stack = [(first, False)]
    while stack:
        node, ready = stack.pop()
        if node is None or id(node) in done:
            continue
        if ready:
            done.add(id(node))
            order.append(node)
            continue
        stack.append((node, True))
        stack += [(makers.get(name), False) for name in reversed(reads(node))]


def _rename(graph: typing.Any, tensors: dict[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [tensors.get(name, name) for name in node.input]
        node.output[:] = [tensors.get(name, name) for name in node.output]
        for inner in inner_graphs(node):
            _rename(inner, tensors)
    for entry in (*graph.initializer, *graph.value_info, *graph.output):
        entry.name = tensors.get(entry.name, entry.name)


def _role(node: typing.Any, place: int) -> str:
    if node.op_type in ("Conv", "Gemm") and place:
        return ("kernel", "bias")[place - 1]
    return f"input{place}"


def _ends(graph: typing.Any) -> tuple[typing.Any, ...]:
    return (*graph.input, *graph.output)


def _copy(node: typing.Any) -> typing.Any:
    import onnx

    copied = onnx.NodeProto()
    copied.CopyFrom(node)
    return copied


def _unique(names: Iterable[str]) -> list[str]:
    taken: set[str] = set()
    return [_free(name, taken) for name in names]


def _free(name: str, taken: set[str]) -> str:
    """`name`, or the first of `name_2`, `name_3` that is not in `taken`; adds it."""
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    taken.add(free)
    return free
