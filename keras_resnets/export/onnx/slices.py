"""Leaves the axes that a slice takes whole out of it.

tf2onnx names every axis, and writes 1,000,000,000 for "to the end". tract refuses such an
end on an axis whose length is open, as the batch's is.
"""

import typing

import numpy as np

from keras_resnets.export.onnx.links import Constants
from keras_resnets.export.onnx.links import Links

# From here on an end is that of the axis, whatever its length.
_TO_THE_END = 1_000_000_000


def narrow(graph: typing.Any, constants: Constants) -> None:
    """Shortens the slices of `graph`, in place; their new bounds go to `constants`."""
    links = Links(graph, constants)
    for node in graph.node:
        if node.op_type != "Slice" or len(node.input) != 5:
            continue
        bounds = [links.constant(name) for name in node.input[1:]]
        if any(bound is None for bound in bounds):
            continue
        starts, ends, _, steps = bounds
        cut = (starts != 0) | (steps != 1) | (ends < _TO_THE_END)
        if cut.all() or not cut.any():
            continue
        for place, bound in enumerate(bounds, 1):
            name = f"{node.output[0]}/bound{place}"
            constants[name] = np.ascontiguousarray(bound[cut])
            node.input[place] = name
