"""The graph of a model as a list of steps."""

import dataclasses

import keras

from keras_resnets.analysis import nodes_in_order


@dataclasses.dataclass
class Step:
    """One layer of the network that is read.

    Attributes:
        layer: the Keras layer.
        inputs: keys of the tensors it reads.
        output: key of the tensor it makes.
    """

    layer: keras.layers.Layer
    inputs: list
    output: int


def read_steps(model):
    """(steps in their order, keys of the outputs) of a functional or Sequential model.

    Models inside it are unfolded. The key of an input is the `id` of its tensor.
    """
    steps = []
    return steps, _read(graph_of(model), None, steps)


def graph_of(model):
    """The functional model inside a Sequential one, or the model."""
    return getattr(model, "_functional", None) or model


def _read(graph, inputs, steps):
    """Appends the steps of `graph`; returns the keys of its outputs."""
    keys = {}
    if inputs is not None:
        keys.update(zip(map(id, graph.inputs), inputs, strict=True))
    for node in nodes_in_order(graph):
        given = [keys.get(id(t), id(t)) for t in node.input_tensors]
        operation = node.operation
        if isinstance(operation, keras.Model):
            made = _read(graph_of(operation), given, steps)
            keys.update(zip(map(id, node.output_tensors), made, strict=True))
            continue
        # A layer that is applied twice makes two tensors.
        steps.append(Step(operation, given, id(node.output_tensors[0])))
    return [keys.get(id(tensor), id(tensor)) for tensor in graph.outputs]
