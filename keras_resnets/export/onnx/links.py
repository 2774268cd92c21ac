"""The producers and consumers of the tensors of an ONNX graph."""

import typing
from collections.abc import Iterator

import numpy as np

# Arrays that become initializers at the end, by name.
Constants = dict[str, np.ndarray]


class Links:
    """Indexes the producer and the consumers of each tensor, and the constants."""

    def __init__(self, graph: typing.Any, constants: Constants | None = None) -> None:
        from onnx import numpy_helper

        self._arrays = constants or {}

        self._makers = {name: node for node in graph.node for name in node.output}
        self._readers: dict[str, list[typing.Any]] = {}
        for node in graph.node:
            for name in reads(node):
                self._readers.setdefault(name, []).append(node)
        self._outputs = {output.name for output in graph.output}
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._array = numpy_helper.to_array

    def maker(self, name: str) -> typing.Any:
        """Returns the node that produces `name`, or None."""
        return self._makers.get(name)

    def readers(self, name: str) -> list[typing.Any]:
        """Returns the nodes that read `name`."""
        return self._readers.get(name, [])

    def feeds_only(self, name: str, node: typing.Any) -> bool:
        """Whether `node` is the only reader of `name`."""
        return name not in self._outputs and self.readers(name) == [node]

    def constant(self, name: str) -> typing.Any:
        """Returns the array of an initializer, or None."""
        if name in self._arrays:
            return self._arrays[name]
        tensor = self.initializer(name)
        return None if tensor is None else self._array(tensor)

    def initializer(self, name: str) -> typing.Any:
        """Returns the tensor of an initializer, whose values may be elsewhere, or None."""
        return self._constants.get(name)


def reads(node: typing.Any) -> list[str]:
    """Names that a node reads, including those that its inner graphs capture."""
    names = list(node.input)
    for inner in inner_graphs(node):
        own = {out for entry in inner.node for out in entry.output}
        own |= {value.name for value in (*inner.input, *inner.initializer)}
        outer = [name for entry in inner.node for name in reads(entry)]
        outer += [value.name for value in inner.output]
        names += [name for name in outer if name not in own]
    return names


def inner_graphs(node: typing.Any) -> Iterator[typing.Any]:
    """Yields the graphs in a node: the body of a loop, the branches of a condition."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
