"""Parameters, MACs, activations, output stride and receptive field of any Keras model.

The model's graph is walked symbolically at the requested input size; nothing is
computed, and no weight is copied.
"""

import dataclasses
import math
import typing
from collections.abc import Iterable
from collections.abc import Sequence

import keras

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_type
from keras_resnets.graph import anatomy
from keras_resnets.graph.analysis_report import Analysis
from keras_resnets.graph.analysis_report import LayerReport

# Operations of `keras.ops` whose products are not counted.
_PRODUCTS = (
    "Conv",
    "ConvTranspose",
    "DepthwiseConv",
    "Dot",
    "DotProductAttention",
    "Einsum",
    "Matmul",
    "SeparableConv",
    "Tensordot",
)
GLOBAL_POOLS = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)


def analyze(model: keras.Model, input_shape: Sequence[int] | None = None) -> Analysis:
    """Analyses a functional or Sequential model with one input.

    Args:
        model: a built `keras.Model`; nested models are included.
        input_shape: (height, width, channels), required if the model's input leaves
            height or width open; by default the model's input shape.

    Returns:
        An `Analysis`.

    Raises:
        InvalidArgument: a model without a graph, or an open input size.

    Example:
        >>> import keras_resnets
        >>> analyze(keras_resnets.create_model("resnet20")).macs
        40551040
    """
    graph = _functional(model)
    shape = _input_shape(graph, input_shape)
    walker = _Walker(graph)
    walker.run(graph, [_Known(shape, 1.0, 1.0)], prefix="")
    return walker.report(model, shape)


def _functional(model: typing.Any) -> typing.Any:
    graph = getattr(model, "_functional", None) or model
    if not isinstance(graph, keras.Model) or not getattr(graph, "operations", None):
        raise InvalidArgument(
            "analyze requires a built functional or Sequential keras.Model; "
            f"got {anatomy.type_and_remedy(model)}"
        )
    if len(graph.inputs) != 1:
        raise InvalidArgument(
            "analyze requires a model with one input; "
            f"{model.name} has {len(graph.inputs)}"
        )
    return graph


def _input_shape(graph: typing.Any, requested: Sequence[int] | None) -> tuple[int, ...]:
    own = tuple(graph.inputs[0].shape[1:])
    if requested is not None:
        check_type("input_shape", requested, (tuple, list), "(height, width, channels)")
    shape = own if requested is None else tuple(requested)
    fits = len(shape) == len(own) and all(
        want is None or have == want for have, want in zip(shape, own, strict=True)
    )
    if not fits:
        raise InvalidArgument(f"input_shape must fit the model's {own}; got {shape}")
    if None in shape:
        raise InvalidArgument(
            f"the model's input size is open ({own}): give input_shape=(height, width, "
            "channels)"
        )
    return shape


@dataclasses.dataclass(frozen=True)
class _Known:
    """Facts about a tensor: shape without batch, stride, receptive field."""

    shape: tuple[int, ...]
    stride: float | None
    field: float | None

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class _Walker:
    def __init__(self, graph: typing.Any) -> None:
        self.reports: list[LayerReport] = []
        self.seen: set[int] = set()
        self.steps: list[tuple[list[_Known], list[_Known]]] = []
        self.last_map: _Known | None = None

    def run(self, graph: typing.Any, inputs: list[_Known], prefix: str) -> list[_Known]:
        """Walks `graph` from `inputs`; returns the facts about its outputs."""
        tensors = dict(zip(map(id, graph.inputs), inputs, strict=True))
        for node in nodes_in_order(graph):
            operation = node.operation
            sources = [tensors[id(tensor)] for tensor in node.input_tensors]
            name = f"{prefix}{operation.name}"
            if getattr(operation, "operations", None) or _is_sequential(operation):
                outputs = self.run(_functional(operation), sources, f"{name}/")
            else:
                outputs = self.apply(operation, node, tensors, sources, name)
            tensors.update(zip(map(id, node.output_tensors), outputs, strict=True))
        return [tensors[id(tensor)] for tensor in graph.outputs]

    def apply(
        self,
        operation: typing.Any,
        node: typing.Any,
        tensors: dict[int, _Known],
        sources: list[_Known],
        name: str,
    ) -> list[_Known]:
        shapes = _output_shapes(operation, node, tensors)
        stride, field = _geometry(operation, sources, shapes[0])
        outputs = [_Known(shape, stride, field) for shape in shapes]
        first = id(operation) not in self.seen
        self.seen.add(id(operation))
        weights = getattr(operation, "weights", []) if first else []
        trainable = getattr(operation, "trainable_weights", []) if first else []
        self.reports.append(
            LayerReport(
                name=name,
                kind=type(operation).__name__,
                output_shape=outputs[0].shape,
                trainable_params=_values(trainable),
                total_params=_values(weights),
                macs=_macs(operation, sources[0], outputs[0]),
                activations=sum(output.size for output in outputs),
                stride=stride,
                receptive_field=field,
            )
        )
        self.steps.append((list(sources), outputs))
        if stride is not None and field not in (None, math.inf):
            self.last_map = outputs[0]
        return outputs

    def report(self, model: keras.Model, shape: tuple[int, ...]) -> Analysis:
        counted = [
            r for r in self.reports if _is_conv_kind(r.kind) or r.kind.endswith("Dense")
        ]
        convs = sum(_is_conv_kind(report.kind) for report in self.reports)
        return Analysis(
            input_shape=shape,
            layers=tuple(self.reports),
            trainable_params=_values(model.trainable_weights),
            total_params=model.count_params(),
            macs=sum(report.macs or 0 for report in self.reports),
            activations=sum(report.activations for report in counted),
            peak_activations=self._peak(shape),
            convs=convs,
            dense=len(counted) - convs,
            output_stride=self.last_map.stride if self.last_map else None,
            receptive_field=self.last_map.field if self.last_map else None,
            uncounted=tuple(r.name for r in self.reports if r.macs is None),
        )

    def _peak(self, shape: tuple[int, ...]) -> int:
        """The peak of live values over the layers in order; one `_Known` is one tensor."""
        last_use = {}
        for step, (sources, outputs) in enumerate(self.steps):
            for tensor in (*sources, *outputs):
                last_use[id(tensor)] = step
        alive, peak = {}, math.prod(shape)
        for step, (sources, outputs) in enumerate(self.steps):
            for tensor in (*sources, *outputs):
                alive[id(tensor)] = tensor.size
            peak = max(peak, sum(alive.values()))
            alive = {key: size for key, size in alive.items() if last_use[key] > step}
        return peak


def _is_sequential(operation: typing.Any) -> bool:
    return getattr(operation, "_functional", None) is not None


def nodes_in_order(graph: typing.Any) -> list[typing.Any]:
    """Returns the nodes that produce `graph`'s outputs, in topological order."""
    order, done = [], {id(tensor) for tensor in graph.inputs}
    pending = list(graph.outputs)
    while pending:
        tensor = pending[-1]
        if id(tensor) in done:
            pending.pop()
            continue
        operation, index, _ = tensor._keras_history
        node = operation._inbound_nodes[index]
        missing = [t for t in node.input_tensors if id(t) not in done]
        if missing:
            pending.extend(reversed(missing))
            continue
        done.update(id(t) for t in node.output_tensors)
        order.append(node)
    return order


def _output_shapes(
    operation: typing.Any, node: typing.Any, tensors: dict[int, _Known]
) -> list[tuple[int, ...]]:
    """Output shapes without batch, by the operation's own symbolic rule."""

    def concrete(value: typing.Any) -> typing.Any:
        if isinstance(value, keras.KerasTensor) and id(value) in tensors:
            return keras.KerasTensor((1, *tensors[id(value)].shape), dtype=value.dtype)
        return value

    arguments = keras.tree.map_structure(concrete, list(node.arguments.args))
    keywords = keras.tree.map_structure(concrete, dict(node.arguments.kwargs))
    specs = operation.compute_output_spec(*arguments, **keywords)
    return [tuple(spec.shape[1:]) for spec in keras.tree.flatten(specs)]


def _values(weights: Iterable[typing.Any]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


def _is_conv_kind(kind: str) -> bool:
    return "Conv" in kind


def _macs(operation: typing.Any, source: _Known, output: _Known) -> int | None:
    """Multiply-adds without biases; None if they are unknown."""
    if isinstance(operation, keras.layers.SpectralNormalization):
        return _macs(operation.layer, source, output)
    if isinstance(operation, keras.layers.TimeDistributed):
        step, out = (_Known(known.shape[1:], None, None) for known in (source, output))
        one = _macs(operation.layer, step, out)
        return None if one is None else one * source.shape[0]
    if isinstance(operation, keras.layers.Dense):
        return output.size * operation.kernel.shape[0]
    if isinstance(operation, keras.layers.SeparableConv2D):
        pixels = output.size // operation.filters
        depthwise = math.prod(operation.depthwise_kernel.shape)
        return pixels * (depthwise + math.prod(operation.pointwise_kernel.shape))
    if isinstance(
        operation, (keras.layers.DepthwiseConv2D, keras.layers.DepthwiseConv1D)
    ):
        return output.size * math.prod(operation.kernel.shape[:-2])
    if isinstance(
        operation, (keras.layers.Conv2DTranspose, keras.layers.Conv1DTranspose)
    ):
        # Every input value is multiplied with every weight of its channel.
        channels = operation.kernel.shape[-1]
        return source.size // channels * math.prod(operation.kernel.shape)
    if _is_conv_kind(type(operation).__name__) and hasattr(operation, "kernel"):
        return output.size * math.prod(operation.kernel.shape[:-1])
    free = isinstance(operation, keras.layers.Layer) and (
        isinstance(operation, keras.layers.BatchNormalization)
        or "Normalization" in type(operation).__name__
        or not [w for w in operation.weights if "seed" not in w.path]
    )
    if not isinstance(operation, keras.layers.Layer):
        return None if type(operation).__name__ in _PRODUCTS else 0
    return 0 if free else None


def _geometry(
    operation: typing.Any, sources: list[_Known], shape: tuple[int, ...]
) -> tuple[float | None, float | None]:
    """(stride, receptive field) of the output of `operation`."""
    strides = [source.stride for source in sources if source.stride is not None]
    fields = [source.field for source in sources if source.field is not None]
    if isinstance(operation, GLOBAL_POOLS):
        return None, math.inf
    if not strides or not fields:
        return None, (max(fields) if fields else None)
    stride, field = max(strides), max(fields)
    rank_kept = len(shape) == len(sources[0].shape) and len(shape) >= 2
    if not rank_kept:
        return None, math.inf
    if type(operation).__name__ in ("Resizing", "Resize"):
        return stride * _reduction(operation, sources[0].shape, shape), field
    kernel, step, dilation = _window(operation)
    if kernel is None:
        return None, None
    return stride * step, field + (kernel - 1) * dilation * stride


def _reduction(
    operation: typing.Any, old: tuple[int, ...], new: tuple[int, ...]
) -> float:
    """Input pixels per output pixel of a resizing, along the first spatial axis."""
    first = 1 if operation.data_format == "channels_first" else 0
    ratios = [old[axis] / new[axis] for axis in (first, first + 1)]
    if operation.crop_to_aspect_ratio:
        return min(ratios)
    return max(ratios) if operation.pad_to_aspect_ratio else ratios[0]


def _window(operation: typing.Any) -> tuple[typing.Any, typing.Any, typing.Any]:
    """(kernel, stride, dilation) along the first spatial axis; (1, 1, 1) pointwise."""
    pool = getattr(operation, "pool_size", None)
    if pool is not None:
        return _first(pool), _first(operation.strides or pool), 1
    if isinstance(operation, keras.layers.UpSampling2D):
        return 1, 1 / operation.size[0], 1
    name = type(operation).__name__
    # keras.ops.transpose has no kernel.
    if name.endswith("Transpose") and hasattr(operation, "kernel_size"):
        return operation.kernel_size[0], 1 / operation.strides[0], 1
    if _is_conv_kind(name) and hasattr(operation, "kernel_size"):
        return (
            operation.kernel_size[0],
            operation.strides[0],
            operation.dilation_rate[0],
        )
    return 1, _first(getattr(operation, "strides", 1)), 1


def _first(value: typing.Any) -> typing.Any:
    return value[0] if isinstance(value, (tuple, list)) else value
