"""Rewrites a network with fake quantization, so that it simulates its int8 file.

The graph is read into a list of steps; BN and ReLU are fused into the preceding layer
wherever a converter fuses them, and a `FakeQuantize` is inserted for every tensor that
has integers in the file.
"""

import dataclasses
import typing
from collections.abc import Callable

import keras
import numpy as np

from keras_resnets.export.recipes import Recipe
from keras_resnets.graph import activations
from keras_resnets.graph import anatomy
from keras_resnets.graph import bn_folding
from keras_resnets.graph import copies
from keras_resnets.graph import operations
from keras_resnets.graph.nodes import Step
from keras_resnets.graph.nodes import applications
from keras_resnets.graph.nodes import free_name
from keras_resnets.graph.nodes import graph_of
from keras_resnets.graph.nodes import read_steps
from keras_resnets.graph.nodes import unique_names
from keras_resnets.networks import layers
from keras_resnets.quantization.qat import by_channel
from keras_resnets.quantization.qat import fake_quant
from keras_resnets.quantization.qat import hard_sigmoid
from keras_resnets.quantization.qat import layer_kinds
from keras_resnets.quantization.qat import layers as quantized
from keras_resnets.quantization.qat import separable
from keras_resnets.quantization.qat import zeros

# Up to this number of channels, the scaling of an image is one convolution.
_COLORS = 4


@dataclasses.dataclass(frozen=True)
class Made:
    """A tensor of the new graph.

    Attributes:
        tensor: the symbolic tensor.
        positive: whether its values are never negative.
        grid: the `FakeQuantize` whose scale and zero point it has; None after a softmax.
    """

    tensor: keras.KerasTensor
    positive: bool
    grid: typing.Any


def rewrite(model: keras.Model, recipe: Recipe) -> keras.Model:
    """Returns a copy of `model` made of the layers of `qat.layers`.

    Args:
        model: a functional or Sequential `keras.Model` with one image input; nested
            models are flattened. It is not changed.
        recipe: a `Recipe`.

    Returns:
        A functional `keras.Model` with the same outputs, whose ranges are not set yet.

    Raises:
        InvalidArgument: a layer has no integer form; the message names it.
    """
    return _Rewriter(model, recipe).run()


class _Rewriter:
    def __init__(self, model: keras.Model, recipe: Recipe) -> None:
        self._model, self._recipe = model, recipe
        self._bits: int = recipe.activation_bits or 8
        steps, self._outputs = read_steps(model)
        self._steps = hard_sigmoid.apart(separable.apart(steps), self._outputs)
        self._applied = applications(self._steps)
        self._layers = {
            id(step): operations.as_plain_layer(step) for step in self._steps
        }
        self._names = unique_names(self._steps)
        self._taken = set(self._names.values())
        self._used: set[str] = set()
        # Keys of fused steps; and new layers with weights by the layers that they
        # replace, which may be applied more than once.
        self._made: dict[typing.Any, Made] = {}
        self._joined: set[typing.Any] = set()
        self._kept: dict[int, typing.Any] = {}
        # New layers of kernels, in order.
        self._kernels: list[typing.Any] = []
        self._readers: dict[typing.Any, list[Step]] = {}
        for step in self._steps:
            for key in step.inputs:
                self._readers.setdefault(key, []).append(step)

    def run(self) -> keras.Model:
        """Builds and returns the new model."""
        graph = graph_of(self._model)
        (image,) = graph.inputs
        name = free_name("image", self._taken)
        new = keras.Input(image.shape[1:], dtype=image.dtype, name=name)
        policy = layer_kinds.policy(self._steps[0]) if self._steps else "float32"
        self._image = self._ranged(new, name, [name], False, policy)
        self._made[id(image)] = self._image
        for step in self._steps:
            if step.output not in self._joined:
                self._emit(step)
        outputs = [self._made[key].tensor for key in self._outputs]
        outputs = keras.tree.pack_sequence_as(graph.output, outputs)
        for kernel in {*self._kernels[:1], *self._kernels[-1:]}:
            kernel.weight_bits = self._recipe.end_bits or kernel.weight_bits
        return keras.Model(new, outputs, name=self._model.name)

    def _emit(self, step: Step) -> None:
        layer = self._layers[id(step)]
        if operations.affine_of(step):
            self._affine(step)
        elif layer is None:
            raise operations.refused(step)
        elif (
            isinstance(layer, layers.Discard)
            or layer_kinds.activation(layer) == "linear"
        ):
            self._made[step.output] = self._made[step.inputs[0]]
        else:
            self._way_of(layer)(step)

    def _way_of(self, layer: typing.Any) -> Callable[[Step], None]:
        """Returns the method for a layer; it raises if there is no integer form."""
        methods = {
            "passing": self._pass,
            "averaging": self._average,
            "merging": self._merge,
            "making": self._make,
            "kernel": self._kernel,
            "norm": self._alone,
            "bounded": self._bound,
            "curve": self._curve,
            "unknown": self._refuse,
        }
        return methods[layer_kinds.kind_of(layer)]

    def _make(self, step: Step) -> None:
        output = self._apply(self._copy(step), step)
        self._finish(step, output, [self._name(step)], self._stays_positive(step))

    def _bound(self, step: Step) -> None:
        output, layer = self._apply(self._copy(step), step), self._layers[id(step)]
        self._made[step.output] = Made(output, layer_kinds.is_positive(layer), None)

    def _curve(self, step: Step) -> None:
        source, names = self._read(step.inputs[0]), [self._name(step)]
        policy = layer_kinds.policy(step)
        layer = self._layers[id(step)]
        output = self._curved(source.tensor, layer, self._own(step), policy)
        self._made[step.output] = self._ranged(output, names[0], names, False, policy)

    def _curved(
        self, tensor: typing.Any, layer: typing.Any, name: str, policy: typing.Any
    ) -> typing.Any:
        """Applies one of `CURVED`; TFLite's form of swish is LOGISTIC and MUL."""
        if layer_kinds.activation(layer) != "silu":
            return copies.copied(layer, name=name)(tensor)
        gate = keras.layers.Activation(
            "sigmoid", name=free_name(f"{name}_sigmoid", self._taken), dtype=policy
        )
        factor = self._bounded(Made(gate(tensor), True, None))
        return keras.layers.Multiply(name=name, dtype=policy)([tensor, factor.tensor])

    def _refuse(self, step: Step) -> None:
        raise layer_kinds.unsupported(step)

    def _pass(self, step: Step) -> None:
        source = self._read(step.inputs[0])
        if step.training is False and isinstance(step.layer, operations.IDLE):
            # In a frozen model it does nothing in training either.
            self._made[step.output] = source
            return
        output = self._apply(self._copy(step), step)
        self._made[step.output] = dataclasses.replace(source, tensor=output)

    def _average(self, step: Step) -> None:
        """Adds average pooling or resizing, which rounds to the scale of its input.

        The mean of four integers is often a tie, so the rounding of ties matters.
        """
        source = self._read(step.inputs[0])
        output = self._apply(self._copy(step), step)
        # The mean does not update the range, which belongs to the input.
        output = source.grid(output, training=False, halves_to_even=True)
        self._made[step.output] = dataclasses.replace(source, tensor=output)

    def _stays_positive(self, step: Step) -> bool:
        layer = self._layers[id(step)]
        if layer_kinds.activation(layer) in layer_kinds.FUSED:
            return True
        if isinstance(layer, (keras.layers.LeakyReLU, keras.layers.Subtract)):
            return False
        return all(self._read(key).positive for key in step.inputs)

    def _merge(self, step: Step) -> None:
        """Adds a merge; more than two inputs take several operators, each with a range."""
        first, *others = [self._read(key).tensor for key in step.inputs]
        positive, name = self._stays_positive(step), self._name(step)
        if isinstance(self._layers[id(step)], keras.layers.Concatenate):
            first, others = self._copy(step)([first, *others]), []
        while others:
            first = self._copy(step)([first, others.pop(0)])
            if others:
                merged = self._ranged(
                    first, name, [name], positive, layer_kinds.policy(step)
                )
                first = merged.tensor
        self._finish(step, first, [name], positive)

    def _kernel(self, step: Step) -> None:
        """Adds a convolution or dense layer with its following BN and ReLU."""
        layer, name = step.layer, self._name(step)
        behind = self._norm_behind(step)
        end, names = step, [name]
        if behind:
            end, names = behind, [name, self._name(behind)]
            self._joined.add(end.output)
        if id(layer) in self._kept:
            output = self._apply(self._kept[id(layer)], step)
        else:
            new = self._kept[id(layer)] = self._rounding(step, names)
            output = self._apply(new, step)
            _fill(new, layer, behind and behind.layer)
        if layer_kinds.is_linear(layer):
            self._finish(end, output, names)
        else:
            self._made[end.output] = self._activated(step, output, names)

    def _activated(self, step: Step, output: typing.Any, names: list[str]) -> Made:
        """Applies the activation inside a kernel layer, as a layer named after it."""
        inside, policy = activations.inside(step.layer), step.layer.dtype_policy
        if layer_kinds.has_end(step.layer):
            outside = copies.copied(inside, name=self._own(step))
            source = self._ranged(output, names[0], names, False, policy)
            return Made(outside(source.tensor), layer_kinds.is_positive(inside), None)
        function = anatomy.function_of(step.layer)
        name = free_name(f"{names[0]}_{function}", self._taken)
        if layer_kinds.is_curve(inside):
            source = self._ranged(output, names[0], names, False, policy)
            output = self._curved(source.tensor, inside, name, policy)
            return self._ranged(output, name, [name], False, policy)
        output = copies.copied(inside, name=name)(output)
        return self._ranged(output, names[0], names, True, policy)

    def _norm_behind(self, step: Step) -> Step | None:
        """Returns the step of the BN that is folded into a kernel, or None.

        It must be the same at every application of the layer, which has one kernel.
        """
        norms = [self._own_norm(x) for x in self._applied[id(step.layer)]]
        if len({id(x.layer) if x else None for x in norms}) > 1:
            return None
        return self._own_norm(step)

    def _own_norm(self, step: Step) -> Step | None:
        linear = layer_kinds.is_linear(step.layer)
        follower = self._only_reader(step) if linear else None
        if not follower or not layer_kinds.is_norm(follower.layer):
            return None
        layer_kinds.check_norm(follower.layer)
        return follower

    def _rounding(self, step: Step, names: list[str]) -> keras.layers.Layer:
        layer, recipe = step.layer, self._recipe
        config = {**layer.get_config(), "activation": None, "use_bias": True}
        config.pop("lora_rank", None), config.pop("quantization_config", None)
        # The values are set below; drawing random ones would take time.
        config |= {"kernel_initializer": "zeros", "replaces": names}
        config |= {x: getattr(recipe, x) for x in ("weight_bits", "weight_ranges")}
        if layer_kinds.has_end(layer):
            config["name"] = free_name(f"{names[0]}_linear", self._taken)
        else:
            config["name"] = self._own(step)
        is_dense = isinstance(layer, keras.layers.Dense)
        config["per_channel"] = recipe.per_channel and not is_dense
        made = quantized.QuantizedDense if is_dense else quantized.QuantizedConv2D
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            made, config = separable.in_groups(layer, config)
        self._kernels.append(made.from_config(config))
        return self._kernels[-1]

    def _alone(self, step: Step) -> None:
        """Adds a BN that is not folded."""
        layer_kinds.check_norm(step.layer)
        numbers = by_channel.Numbers.of_norm(step.layer)
        self._by_channel(step, step, [self._name(step)], numbers)

    def _affine(self, step: Step) -> None:
        """Adds a layer that scales and shifts, together with those that follow it."""
        first, names = step, [self._name(step)]
        scale, offset = operations.affine_of(step) or ()
        while follower := self._only_reader(step):
            more = operations.affine_of(follower)
            if not more:
                break
            scale, offset = scale * more[0], offset * more[0] + more[1]
            step, names = follower, [*names, self._name(follower)]
            self._joined.add(step.output)
        source = self._made[first.inputs[0]]
        channels = source.tensor.shape[-1]
        scale, offset = (np.broadcast_to(x, (channels,)) for x in (scale, offset))
        numbers = by_channel.Numbers(scale, offset, scale, trained=False)
        of_image = source.grid is self._image.grid and len(source.tensor.shape) == 4
        if of_image and channels <= _COLORS:
            affine = by_channel.of_image(
                numbers, self._recipe.per_channel, **self._options(step, names)
            )
            self._finish(step, affine(source.tensor), names)
        else:
            self._by_channel(first, step, names, numbers)

    def _by_channel(
        self, first: Step, last: Step, names: list[str], numbers: by_channel.Numbers
    ) -> None:
        """Adds a multiplication and an addition per channel in place of some steps.

        With one scale per channel they are one operator in a file. With a single scale,
        a multiplication and an addition round less than a kernel.
        """
        source = self._read(first.inputs[0]).tensor
        shared, key = self._kept, id(last.layer)
        if len(source.shape) == 4 and self._recipe.per_channel:
            if key not in shared:
                shared[key] = by_channel.affine(numbers, **self._options(last, names))
            self._finish(last, shared[key](source), names)
            return
        policy, name = layer_kinds.policy(last), names[-1]
        if key not in shared:
            both = [free_name(f"{name}_{x}", self._taken) for x in ("scale", "offset")]
            shared[key] = by_channel.product_and_sum(numbers, names, both, policy)
        product, summand = shared[key]
        scaled = self._ranged(product(source), f"{name}_scale", names, False, policy)
        self._finish(last, summand(scaled.tensor), names)

    def _options(self, step: Step, names: list[str]) -> dict[str, typing.Any]:
        """Returns the arguments of a new layer that replaces that of a step."""
        policy = layer_kinds.policy(step)
        return {"replaces": names, "name": self._own(step), "dtype": policy}

    def _finish(
        self, step: Step, output: typing.Any, names: list[str], positive: bool = False
    ) -> None:
        """Adds the ReLU, if it is the only reader of a tensor, and the range."""
        follower, policy = self._only_reader(step), layer_kinds.policy(step)
        if (
            follower
            and layer_kinds.activation(self._layers[id(follower)]) in layer_kinds.FUSED
        ):
            output = self._copy(follower)(output)
            names = [*names, self._name(follower)]
            step, positive = follower, True
            self._joined.add(step.output)
        output = self._ranged(output, names[-1], names, positive, policy)
        self._made[step.output] = output

    def _ranged(
        self,
        tensor: typing.Any,
        name: str,
        names: list[str],
        positive: bool,
        policy: typing.Any,
    ) -> Made:
        """Rounds the output of the layer `name` with a `FakeQuantize` of its own."""
        grid = quantized.FakeQuantize(
            bits=self._bits,
            ranges=self._recipe.activation_ranges,
            positive=positive,
            replaces=names,
            name=free_name(f"{name}_range", self._taken),
            dtype=policy,
        )
        return Made(grid(tensor), positive, grid)

    def _read(self, key: typing.Any) -> Made:
        """Returns an input of a step, rounded; a sigmoid's output is rounded here."""
        if self._made[key].grid is None:
            self._made[key] = self._bounded(self._made[key])
        return self._made[key]

    def _bounded(self, source: Made) -> Made:
        layer = source.tensor._keras_history.operation
        grid = quantized.FakeQuantize(
            bits=self._bits,
            ranges="fixed",
            positive=source.positive,
            replaces=[layer.name],
            name=free_name(f"{layer.name}_range", self._taken),
            dtype=layer.dtype_policy,
        )
        made = Made(grid(source.tensor), source.positive, grid)
        # LOGISTIC and SOFTMAX have a scale of 1/256, TANH has 1/128.
        low = 0.0 if source.positive else -1.0
        grid.set_range(low, 1.0 - (1.0 - low) / 2**self._bits)
        return made

    def _only_reader(self, step: Step) -> Step | None:
        """Returns the only step that reads the output of `step`, or None."""
        readers = self._readers.get(step.output, [])
        if len(readers) == 1 and step.output not in self._outputs:
            return readers[0]
        return None

    def _apply(self, layer: keras.layers.Layer, step: Step) -> typing.Any:
        """Applies `layer` to the inputs of a step, with the arguments of its call."""
        tensors = [self._read(key).tensor for key in step.inputs]
        if operations.is_operation(step.layer):
            return layer(tensors if len(tensors) > 1 else tensors[0])
        arguments, options = step.called_with(tensors)
        return layer(*arguments, **options)

    def _copy(self, step: Step) -> keras.layers.Layer:
        """Copies a layer without weights, one copy per application."""
        return copies.copied(self._layers[id(step)], name=self._own(step))

    def _name(self, step: Step) -> str:
        return self._names[id(step.layer)]

    def _own(self, step: Step) -> str:
        """Returns the name of a step's layer, numbered from the second application on."""
        name = self._name(step)
        if name in self._used:
            return free_name(name, self._taken)
        self._used.add(name)
        return name


def _fill(new: typing.Any, layer: typing.Any, norm: keras.layers.Layer | None) -> None:
    kernel, bias = bn_folding.fold(layer, norm)
    new.set_kernel(
        kernel, None if norm is None else bn_folding.scale_and_offset(norm)[0]
    )
    new.bias.assign(bias)
    new.kernel_radius.assign(fake_quant.largest_amax(kernel, new.per_channel))
    new.keeps_zeros = zeros.of_pruned(keras.ops.convert_to_numpy(layer.kernel))
