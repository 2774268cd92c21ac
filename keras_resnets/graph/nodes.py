"""The graph of a model as a list of steps, models inside it unfolded."""

import collections
import dataclasses
import itertools
import typing
from collections.abc import Callable
from collections.abc import Sequence

import keras

from keras_resnets.graph.analysis import nodes_in_order


@dataclasses.dataclass(eq=False)
class Step:
    """One application of a layer or of an operation of `keras.ops`.

    Attributes:
        layer: the Keras layer or operation. One that is applied twice has two steps.
        path: names of the models that it is in, and its own: `encoder/conv`.
        inputs: keys of the tensors it reads.
        outputs: keys of the tensors it makes.
        arguments: what it is called with, see `called_with`.
        training: what the models that it is in are called with; None for nothing.
    """

    layer: keras.layers.Layer
    path: str
    inputs: list
    outputs: list
    arguments: typing.Any
    training: bool | None = None

    @property
    def output(self) -> typing.Any:
        """Key of the tensor it makes, the first of several."""
        return self.outputs[0]

    def called_with(self, tensors: typing.Any) -> typing.Any:
        """(arguments, keyword arguments) with `tensors` in place of those it reads."""
        given = self.arguments.keras_tensors
        places = {id(old): new for old, new in zip(given, tensors, strict=True)}
        return self.arguments.fill_in(places)


def read_steps(model: keras.Model) -> tuple[list[Step], list[typing.Any]]:
    """(steps in their order, keys of the outputs) of a functional or Sequential model.

    Models inside it are unfolded, once for each time that they are called: every call
    makes tensors of its own. The key of an input of `model` is the `id` of its tensor.
    """
    unfolder = _Unfolder()
    outputs = unfolder.read(graph_of(model), None, "", None)
    return unfolder.steps, outputs


def graph_of(model: keras.Model) -> typing.Any:
    """The functional model inside a Sequential one, or the model."""
    return getattr(model, "_functional", None) or model


class _Unfolder:
    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._calls = itertools.count()

    def read(
        self,
        graph: typing.Any,
        inputs: typing.Any,
        prefix: str,
        training: bool | None,
    ) -> list[typing.Any]:
        """Appends the steps of `graph`; returns the keys of its outputs."""
        call = next(self._calls)
        keys: dict[int, typing.Any] = {}
        if inputs is not None:
            keys.update(zip(map(id, graph.inputs), inputs, strict=True))

        def key(tensor: typing.Any) -> typing.Any:
            # Of an inner model the tensors are the same in every call of it.
            return keys.get(id(tensor), (call, id(tensor)) if call else id(tensor))

        for node in nodes_in_order(graph):
            operation, given = node.operation, [key(t) for t in node.input_tensors]
            path = f"{prefix}{operation.name}"
            inner = graph_of(operation)
            if isinstance(inner, keras.Model) and getattr(inner, "operations", None):
                mode = node.arguments.kwargs.get("training", training)
                made = self.read(inner, given, f"{path}/", mode)
                keys.update(zip(map(id, node.output_tensors), made, strict=True))
                continue
            made = [key(tensor) for tensor in node.output_tensors]
            self.steps.append(
                Step(operation, path, given, made, node.arguments, training)
            )
        return [key(tensor) for tensor in graph.outputs]


def layers_of(model: keras.Model) -> list[tuple[typing.Any, tuple[str, ...]]]:
    """The layers of `model` in the order in which they are first applied, each once.

    Also those of models inside it, and those that a layer is composed of.

    Args:
        model: a built `keras.Model`; one without a graph gives them as it made them.

    Returns:
        A list of (layer, paths): by which names it is called, as in `Step`.
    """
    graph, found = graph_of(model), {}
    paths: dict[int, list[str]] = collections.defaultdict(list)
    if not getattr(graph, "operations", None):
        inner = model._flatten_layers(include_self=False)
        return [(layer, (layer.name,)) for layer in inner]
    for step in read_steps(model)[0]:
        if not isinstance(step.layer, keras.layers.Layer):
            continue
        for layer in step.layer._flatten_layers():
            own = layer is step.layer
            path = step.path if own else f"{step.path}/{layer.name}"
            found[id(layer)] = layer
            if path not in paths[id(layer)]:
                paths[id(layer)].append(path)
    return [(layer, tuple(paths[key])) for key, layer in found.items()]


def applications(steps: Sequence[Step]) -> dict[int, list[Step]]:
    """The steps of each layer, in order, by the layer's `id`."""
    found: dict[int, list[Step]] = collections.defaultdict(list)
    for step in steps:
        found[id(step.layer)].append(step)
    return found


def unique_names(steps: Sequence[Step]) -> dict[int, str]:
    """A name for the layer of every step, by the layer's `id`.

    It is the layer's own, unless a layer before it has that one: then those of the
    models that it is in come first.
    """
    names: dict[int, str] = {}
    taken: set[str] = set()
    for step in steps:
        if id(step.layer) in names:
            continue
        name = step.layer.name
        if name in taken:
            name = step.path.replace("/", "_")
        names[id(step.layer)] = free_name(name, taken)
    return names


def free_name(name: str, taken: set[str]) -> str:
    """`name`, numbered if it is in the set `taken`, to which it is added."""
    numbered = (f"{name}_{count}" for count in itertools.count(2))
    found = next(x for x in itertools.chain([name], numbered) if x not in taken)
    taken.add(found)
    return found


def rebuilt(
    model: keras.Model, make: Callable[..., typing.Any]
) -> tuple[keras.Model, typing.Any]:
    """A flat functional model of the graph of `model`, made of other layers.

    Args:
        model: a functional or Sequential `keras.Model`; it is not changed.
        make: function of a layer and the name that its copy must have; it is called
            once for each layer, however often that is applied.

    Returns:
        (the new model, its layer for the `id` of each of `model`).
    """
    graph = graph_of(model)
    steps, outputs = read_steps(model)
    names, copies, tensors = unique_names(steps), {}, {}
    for tensor in graph.inputs:
        name = tensor._keras_history.operation.name
        tensors[id(tensor)] = keras.Input(
            tensor.shape[1:], None, tensor.dtype, name=name
        )
    for step in steps:
        layer = step.layer
        if id(layer) not in copies:
            copies[id(layer)] = make(layer, names[id(layer)])
        arguments, options = step.called_with([tensors[key] for key in step.inputs])
        made = keras.tree.flatten(copies[id(layer)](*arguments, **options))
        tensors.update(zip(step.outputs, made, strict=True))
    inputs = keras.tree.map_structure(lambda x: tensors[id(x)], graph.input)
    made = [tensors[key] for key in outputs]
    made = keras.tree.pack_sequence_as(graph.output, made)
    return keras.Model(inputs, made, name=model.name), copies
