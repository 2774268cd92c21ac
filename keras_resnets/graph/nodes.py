"""The graph of a model as a list of steps, with nested models unfolded."""

import collections
import dataclasses
import inspect
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
        path: names of the models that contain it, and its own: `encoder/conv`.
        inputs: keys of its input tensors.
        outputs: keys of its output tensors.
        arguments: the arguments of the call, see `called_with`.
        training: the `training` argument of the models that contain it; None if none.
    """

    layer: keras.layers.Layer
    path: str
    inputs: list[typing.Any]
    outputs: list[typing.Any]
    arguments: typing.Any
    training: bool | None = None

    @property
    def output(self) -> typing.Any:
        """Key of its first output tensor."""
        return self.outputs[0]

    def called_with(self, tensors: typing.Any) -> typing.Any:
        """Returns (arguments, keyword arguments) with its inputs replaced by `tensors`."""
        originals = self.arguments.keras_tensors
        places = {id(old): new for old, new in zip(originals, tensors, strict=True)}
        return self.arguments.fill_in(places)


def called(step: Step, tensors: Sequence[typing.Any]) -> list[typing.Any]:
    """Computes a step in inference mode from `tensors`, those of its inputs."""
    arguments, options = step.called_with(tensors)
    layer = step.layer
    is_layer = isinstance(layer, keras.layers.Layer)
    if is_layer and "training" in inspect.signature(layer.call).parameters:
        options = {**options, "training": False}
    return list(keras.tree.flatten(layer(*arguments, **options)))


def split(step: Step, layers: Sequence[typing.Any]) -> list[Step]:
    """Returns a step for each of `layers`, which compute in turn what `step` computes.

    Args:
        step: a step with one input tensor.
        layers: new layers, built or without weights. A shared layer's applications may
            have the same ones.
    """
    (tensor,) = step.arguments.keras_tensors
    keys, arguments, steps = step.inputs, step.arguments, []
    place = step.path.removesuffix(step.layer.name)
    for layer in layers:
        after = step.outputs if layer is layers[-1] else [(id(layer), step.output)]
        path = place + layer.name
        steps.append(Step(layer, path, keys, after, arguments, step.training))
        tensor = layer.compute_output_spec(tensor)
        arguments, keys = type(step.arguments)(tensor), after
    return steps


def read_steps(model: keras.Model) -> tuple[list[Step], list[typing.Any]]:
    """Returns (steps in order, keys of the outputs) of a functional or Sequential model.

    Nested models are unfolded once for each call, since every call has its own tensors.
    The key of an input of `model` is the `id` of its tensor.
    """
    unfolder = _Unfolder()
    outputs = unfolder.read(graph_of(model), None, "", None)
    return unfolder.steps, outputs


def graph_of(model: keras.Model) -> typing.Any:
    """Returns the functional model inside a Sequential one, or the model."""
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
            # The tensors of an inner model are the same in every call of it.
            return keys.get(id(tensor), (call, id(tensor)) if call else id(tensor))

        for node in nodes_in_order(graph):
            operation, input_keys = node.operation, [key(t) for t in node.input_tensors]
            path = f"{prefix}{operation.name}"
            inner = graph_of(operation)
            if isinstance(inner, keras.Model) and getattr(inner, "operations", None):
                mode = node.arguments.kwargs.get("training", training)
                output_keys = self.read(inner, input_keys, f"{path}/", mode)
                keys.update(zip(map(id, node.output_tensors), output_keys, strict=True))
                continue
            output_keys = [key(tensor) for tensor in node.output_tensors]
            self.steps.append(
                Step(operation, path, input_keys, output_keys, node.arguments, training)
            )
        return [key(tensor) for tensor in graph.outputs]


def layers_of(model: keras.Model) -> list[tuple[typing.Any, tuple[str, ...]]]:
    """Returns the layers of `model` in the order of their first application, each once.

    Layers of nested models and sublayers are included.

    Args:
        model: a built `keras.Model`; without a graph the order is that of creation.

    Returns:
        A list of (layer, paths): the paths under which it is called, as in `Step`.
    """
    graph, layers = graph_of(model), {}
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
            layers[id(layer)] = layer
            if path not in paths[id(layer)]:
                paths[id(layer)].append(path)
    return [(layer, tuple(paths[key])) for key, layer in layers.items()]


def applications(steps: Sequence[Step]) -> dict[int, list[Step]]:
    """Returns the steps of each layer, in order, by the layer's `id`."""
    steps_by_layer: dict[int, list[Step]] = collections.defaultdict(list)
    for step in steps:
        steps_by_layer[id(step.layer)].append(step)
    return steps_by_layer


def unique_names(steps: Sequence[Step]) -> dict[int, str]:
    """Returns a unique name for the layer of every step, by the layer's `id`.

    It is the layer's own name, unless an earlier layer has it: then the names of the
    models that contain the layer precede it.
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
    """Returns `name`, numbered if the set `taken` holds it, and adds it to `taken`."""
    numbered = (f"{name}_{count}" for count in itertools.count(2))
    unused = next(x for x in itertools.chain([name], numbered) if x not in taken)
    taken.add(unused)
    return unused


def rebuilt(
    model: keras.Model, make: Callable[..., typing.Any]
) -> tuple[keras.Model, typing.Any]:
    """Returns a flat functional model with the graph of `model` and other layers.

    Args:
        model: a functional or Sequential `keras.Model`; it is not changed.
        make: function of a layer and the name that its copy must have; it is called
            once for each layer, however often the layer is applied.

    Returns:
        (the new model, a dict from the `id` of each layer of `model` to the new layer).
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
        results = keras.tree.flatten(copies[id(layer)](*arguments, **options))
        tensors.update(zip(step.outputs, results, strict=True))
    inputs = keras.tree.map_structure(lambda x: tensors[id(x)], graph.input)
    results = [tensors[key] for key in outputs]
    results = keras.tree.pack_sequence_as(graph.output, results)
    return keras.Model(inputs, results, name=model.name), copies
