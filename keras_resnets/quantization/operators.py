"""A rounded network as the operators of its file, each of which can have a precision."""

import collections
import dataclasses
import functools
import typing
from collections.abc import Sequence

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.graph.analysis import analyze
from keras_resnets.graph.analysis import nodes_in_order
from keras_resnets.graph.nodes import applications
from keras_resnets.graph.nodes import read_steps
from keras_resnets.graph.operations import as_layer
from keras_resnets.quantization.choices import PRECISIONS
from keras_resnets.quantization.plan import PrecisionPlan
from keras_resnets.quantization.qat import layer_kinds
from keras_resnets.quantization.qat import layers as quantized
from keras_resnets.quantization.qat import zeros
from keras_resnets.quantization.qat.layer_kinds import AVERAGING
from keras_resnets.quantization.qat.layer_kinds import PASSING
from keras_resnets.quantization.qat.layers import FakeQuantize

_STAYING = (*PASSING, *AVERAGING)


@dataclasses.dataclass(frozen=True, eq=False)
class Operator:
    """An operator of a file: a computation between rounded tensors.

    Attributes:
        name: name of the layer whose output is rounded, also in the file.
        kind: class of the layer that computes: `"Conv2D"`, `"Add"`, ...
        of: names of the layers of the float model that it replaces.
        weights: the layer with rounded weights, or None.
        inputs: the `FakeQuantize` layers of its inputs.
        output: the `FakeQuantize` layer of its output.
        macs: multiply-adds per image.
    """

    name: str
    kind: str
    of: tuple[str, ...]
    weights: typing.Any
    inputs: tuple[FakeQuantize, ...]
    output: FakeQuantize
    macs: int

    @property
    def label(self) -> str:
        """The layer of the float model that computes, for reports."""
        if self.weights is None or isinstance(self.weights, quantized.KERNELS):
            return self.of[0]
        # Half of a BN.
        return self.weights.name


@dataclasses.dataclass(frozen=True)
class Graph:
    """The operators of a network.

    Attributes:
        operators: in order.
        fixed: `FakeQuantize` layers of the tensors that always stay int8: the network's
            input and output.
        seen: (minimum, maximum) of a tensor in calibration, by name of its
            `FakeQuantize`.
        biases: biases for float kernels, by name of the layer; the biases in the model
            are corrected for rounded kernels.
    """

    operators: tuple[Operator, ...]
    fixed: tuple[FakeQuantize, ...]
    seen: dict[str, tuple[float, float]]
    biases: dict[str, np.ndarray]

    @functools.cached_property
    def names(self) -> dict[str, str]:
        """Returns the operator's name for each layer that can have bits of its own.

        The key is the label of the operator, or its name if several have that label.
        """
        count = collections.Counter(x.label for x in self.operators)
        return {
            x.label if count[x.label] == 1 else x.name: x.name for x in self.operators
        }

    def largest(self, grid: FakeQuantize) -> float:
        """Returns the amax of a tensor as int16.

        An 8-bit range clips rare values. With 16 bits, one bit is kept as a reserve for
        values larger than those of the calibration.
        """
        low, high = self.seen.get(grid.name) or grid.bounds()
        return 2 * max(-low, high)

    def precision_of(self, grid: FakeQuantize, precisions: dict[str, str]) -> str:
        """Returns the precision of a tensor: the coarsest of its producer and readers.

        Args:
            grid: its `FakeQuantize`.
            precisions: by name of an operator; int8 where there is none.
        """
        if grid in self.fixed:
            return PRECISIONS[0]
        around = [x for x in self.operators if grid is x.output or grid in x.inputs]
        return min(
            (precisions.get(x.name, PRECISIONS[0]) for x in around),
            key=PRECISIONS.index,
        )

    def touching(self, layer: keras.layers.Layer) -> tuple[str, ...]:
        """Returns the operators whose precision must rise for `layer` to round less."""
        return tuple(
            x.name
            for x in self.operators
            if layer is x.weights or layer is x.output or layer in x.inputs
        )


def check_model(model: keras.Model) -> None:
    """Raises `InvalidArgument` if a layer of a float `model` rules out mixed precision."""
    steps, outputs = read_steps(model)
    if len(outputs) != 1:
        raise InvalidArgument(
            "mixed precision requires a classifier with one output; "
            f"{model.name} has {len(outputs)}"
        )
    for nodes in applications(steps).values():
        layer, path = as_layer(nodes[0]), nodes[0].path
        if len(nodes) > 1 and getattr(layer, "weights", None):
            raise InvalidArgument(
                f"mixed precision requires layers that are applied once; {path} is "
                f"applied {len(nodes)} times: use the same precision for all layers"
            )
        if isinstance(layer, keras.layers.Concatenate):
            raise InvalidArgument(
                "mixed precision does not support Concatenate; got the layer "
                f"{path}: use the same precision for all layers"
            )


def set_weight_bits(
    model: keras.Model, plan: PrecisionPlan, shape: Sequence[int]
) -> PrecisionPlan:
    """Sets the weight bits of a model of `rewrite` by a plan.

    Args:
        model: a `keras.Model`, changed in place.
        plan: a `PrecisionPlan` with rules for layers.
        shape: (height, width, channels) of an image.

    Returns:
        The plan with the layer names of the model.

    Raises:
        InvalidArgument: the model does not have a layer of the plan, or a layer cannot
            have the plan's sparsity.
    """
    plan = plan.fitted(read(model, shape).names)
    for layer in model.layers:
        if isinstance(layer, quantized.KERNELS) and layer.replaces[0] in plan.layers:
            bits = plan.layers[layer.replaces[0]]
            # A float kernel must not be rounded to fewer bits first.
            layer.weight_bits = bits.weight_bits or 8
            zeros.set_sparsity(layer, bits.sparsity)
    return plan


def read(
    model: keras.Model,
    shape: Sequence[int],
    observed: dict[str, tuple[float, float]] | None = None,
    biases: dict[str, np.ndarray] | None = None,
) -> Graph:
    """Reads the `Graph` of a model of `rewrite`.

    Args:
        model: a `keras.Model`.
        shape: (height, width, channels) of an image.
        observed: the result of `ranges.set_ranges`.
        biases: see `Graph`.
    """
    network_operators, fixed = _Reader(model, shape).run()
    return Graph(network_operators, fixed, observed or {}, biases or {})


class _Reader:
    def __init__(self, model: keras.Model, shape: Sequence[int]) -> None:
        self._model = model
        analyzed = analyze(model, shape).layers
        self._macs = {layer.name: layer.macs or 0 for layer in analyzed}
        # By tensor: its `FakeQuantize`, or the operator in progress.
        self._grids: dict[int, FakeQuantize] = {}
        self._chains: dict[int, tuple[tuple[typing.Any, ...], ...]] = {}
        self._operators: list[Operator] = []
        self._seen: set[FakeQuantize] = set()
        self._kept8: list[FakeQuantize] = []

    def run(self) -> tuple[tuple[Operator, ...], tuple[FakeQuantize, ...]]:
        for node in nodes_in_order(self._model):
            self._visit(node)
        ends = [self._grids_of(tensor) for tensor in self._model.outputs]
        fixed = [*self._kept8, *(grid for grids in ends for grid in grids)]
        return tuple(self._operators), tuple(dict.fromkeys(fixed))

    def _visit(self, node: typing.Any) -> None:
        layer, inputs = node.operation, node.input_tensors
        output = id(node.output_tensors[0])
        if isinstance(layer, FakeQuantize):
            self._settle(layer, inputs[0])
            self._grids[output] = layer
        elif isinstance(layer, _STAYING) and id(inputs[0]) in self._grids:
            self._grids[output] = self._grids[id(inputs[0])]
        elif layer_kinds.activation(layer) in layer_kinds.BOUNDED:
            # These operators are int8 only, as are the tensors on both sides.
            self._kept8.extend(grid for x in inputs for grid in self._grids_of(x))
        else:
            before = [self._chains.get(id(tensor), ((), ())) for tensor in inputs]
            grids = [grid for tensor in inputs for grid in self._grids_of(tensor)]
            layers = [member for _, chain in before for member in chain]
            self._chains[output] = (tuple(dict.fromkeys(grids)), (*layers, layer))
            if layer_kinds.is_int8_only(layer):
                self._kept8.extend(grids)

    def _grids_of(self, tensor: typing.Any) -> tuple[FakeQuantize, ...]:
        grid = self._grids.get(id(tensor))
        if grid is not None:
            return (grid,)
        return self._chains.get(id(tensor), ((), ()))[0]

    def _settle(self, grid: FakeQuantize, tensor: typing.Any) -> None:
        """Ends an operator, unless a mean has the scale of its input."""
        if grid in self._seen:
            return
        self._seen.add(grid)
        if id(tensor) not in self._chains:
            self._kept8.append(grid)
            return
        inputs, chain = self._chains[id(tensor)]
        if layer_kinds.is_int8_only(chain[-1]):
            self._kept8.append(grid)
        weights = [
            member for member in chain if isinstance(member, quantized.QUANTIZED)
        ]
        kind = type((weights or chain)[0]).__name__.removeprefix("Quantized")
        self._operators.append(
            Operator(
                name=chain[-1].name,
                kind=kind,
                of=grid.replaces,
                weights=weights[0] if weights else None,
                inputs=inputs,
                output=grid,
                macs=sum(self._macs.get(member.name, 0) for member in chain),
            )
        )
