"""A network rewritten so that it computes as its int8 file will.

The graph is read into a list of steps, BN and ReLU join the layer in front of them
where a converter joins them, and every tensor that the file will hold as integers gets
a `FakeQuantize`.
"""

import dataclasses

import keras

from keras_resnets import layers
from keras_resnets.compression import folding
from keras_resnets.compression import layers as quantized
from keras_resnets.compression.steps import graph_of
from keras_resnets.compression.steps import read_steps
from keras_resnets.errors import InvalidArgument

# They move, choose or drop values, which stay on the grid that they are on.
PASSING = (
    keras.layers.ZeroPadding2D,
    keras.layers.MaxPooling2D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Dropout,
    keras.layers.SpatialDropout2D,
    layers.IdentityPadShortcut,
    layers.StochasticDepth,
)
# They make new values, which get a range of their own.
MAKING = (
    keras.layers.Add,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.LeakyReLU,
)
_FUSED = ("relu", "relu6")


@dataclasses.dataclass(frozen=True)
class Made:
    """A tensor of the new graph.

    Attributes:
        tensor: symbolic.
        positive: whether none of its values is negative.
        grid: the `FakeQuantize` on whose grid it lies; None behind a softmax.
    """

    tensor: keras.KerasTensor
    positive: bool
    grid: keras.layers.Layer | None


def rewrite(model, recipe):
    """`model` as a new functional model of the layers of `compression.layers`.

    Args:
        model: a functional or Sequential `keras.Model` with one image input; models
            inside it are unfolded.
        recipe: a `Recipe`.

    Returns:
        A `keras.Model` with the same outputs, whose ranges are not known yet; `model`
        is not changed.

    Raises:
        InvalidArgument: a layer that cannot be computed in integers; it is named.
    """
    return _Rewriter(model, recipe).run()


class _Rewriter:
    def __init__(self, model, recipe):
        self._model, self._recipe = model, recipe
        # Keys of what joined the layer in front of it.
        self._made, self._joined = {}, set()
        self._steps, self._outputs = read_steps(model)
        self._readers = {}
        for step in self._steps:
            for key in step.inputs:
                self._readers.setdefault(key, []).append(step)

    def run(self):
        """The new model."""
        graph = graph_of(self._model)
        (image,) = graph.inputs
        new = keras.Input(image.shape[1:], dtype=image.dtype, name="image")
        self._made[id(image)] = self._ranged(
            new, "image_range", ["image"], False, self._steps[0].layer
        )
        for step in self._steps:
            if step.output not in self._joined:
                self._emit(step)
        outputs = [self._made[key].tensor for key in self._outputs]
        outputs = keras.tree.pack_sequence_as(graph.output, outputs)
        return keras.Model(new, outputs, name=self._model.name)

    def _emit(self, step):
        layer = step.layer
        if isinstance(layer, layers.Discard):
            self._made[step.output] = self._made[step.inputs[0]]
        elif isinstance(layer, PASSING):
            self._pass(step)
        elif isinstance(layer, keras.layers.AveragePooling2D):
            self._average(step)
        elif _is_kernel(layer):
            self._kernel(step)
        elif isinstance(layer, keras.layers.BatchNormalization):
            self._alone(step)
        elif isinstance(layer, MAKING) or _activation(layer) in _FUSED:
            made = self._copy(layer)(self._tensors(step))
            self._finish(step, made, [layer.name], self._stays_positive(step))
        elif _activation(layer) == "linear":
            self._made[step.output] = self._made[step.inputs[0]]
        elif _activation(layer) in ("softmax", "sigmoid"):
            made = self._copy(layer)(self._tensors(step))
            self._made[step.output] = Made(made, True, None)
        else:
            raise _unsupported(layer)

    def _pass(self, step):
        made = self._copy(step.layer)(self._tensors(step))
        given = self._made[step.inputs[0]]
        self._made[step.output] = dataclasses.replace(given, tensor=made)

    def _average(self, step):
        """TFLite's AVERAGE_POOL_2D rounds to the grid of its input.

        A mean of four whole numbers is half of one often: how that is rounded matters.
        """
        given = self._made[step.inputs[0]]
        made = self._copy(step.layer)(given.tensor)
        # The mean says nothing new about the range, which the input alone moves.
        made = given.grid(made, training=False, halves_to_even=True)
        self._made[step.output] = dataclasses.replace(given, tensor=made)

    def _stays_positive(self, step):
        if _activation(step.layer) in _FUSED:
            return True
        if isinstance(step.layer, keras.layers.LeakyReLU):
            return False
        return all(self._made[key].positive for key in step.inputs)

    def _kernel(self, step):
        """A convolution or dense layer, with the BN and the ReLU behind it."""
        layer, norm, end = step.layer, None, step
        activation = layer.activation.__name__
        follower = self._only_reader(end) if activation == "linear" else None
        if follower and isinstance(follower.layer, keras.layers.BatchNormalization):
            _check_norm(follower.layer)
            norm, end = follower.layer, follower
            self._joined.add(end.output)
        names = [layer.name] + ([norm.name] if norm else [])
        new = self._rounding(layer, names)
        made = new(self._tensors(step))
        _fill(new, layer, norm)
        if activation == "linear":
            self._finish(end, made, names)
            return
        # What was inside the layer becomes one of its own.
        outside = _outside(layer, activation)
        positive = activation in _FUSED
        if positive:
            made = outside(made)
        made = self._ranged(made, f"{layer.name}_range", names, positive, layer)
        if not positive:
            made = Made(outside(made.tensor), True, None)
        self._made[end.output] = made

    def _rounding(self, layer, names):
        config = {**layer.get_config(), "activation": None, "use_bias": True}
        config.pop("lora_rank", None), config.pop("quantization_config", None)
        # The values are set; drawing random ones would take time.
        config |= {"kernel_initializer": "zeros", "replaces": names}
        config |= {
            "weight_bits": self._recipe.weight_bits,
            "weight_ranges": self._recipe.weight_ranges,
        }
        if isinstance(layer, keras.layers.Dense):
            name = f"{layer.name}_linear" if _has_end(layer) else layer.name
            config |= {"name": name, "per_channel": False}
            return quantized.QuantizedDense.from_config(config)
        if _has_end(layer):
            config["name"] = f"{layer.name}_linear"
        config["per_channel"] = self._recipe.per_channel
        return quantized.QuantizedConv2D.from_config(config)

    def _alone(self, step):
        """BN that no layer in front takes in: a product and a sum, both rounded."""
        layer = step.layer
        _check_norm(layer)
        scale, offset = folding.scale_and_offset(layer)
        policy, name = layer.dtype_policy, layer.name
        product = quantized.ChannelScale([name], name=f"{name}_scale", dtype=policy)
        made = product(self._tensors(step))
        made = self._ranged(made, f"{name}_scale_range", [name], False, layer).tensor
        summand = quantized.ChannelOffset([name], name=f"{name}_offset", dtype=policy)
        made = summand(made)
        product.set_values(scale, folding.inverse_deviation(layer))
        summand.values.assign(offset.astype("float32"))
        self._finish(step, made, [name])

    def _finish(self, step, made, names, positive=False):
        """Puts the ReLU that alone reads a tensor, and the range, behind it."""
        follower = self._only_reader(step)
        if follower and _activation(follower.layer) in _FUSED:
            made = self._copy(follower.layer)(made)
            names, step, positive = [*names, follower.layer.name], follower, True
            self._joined.add(step.output)
        name = f"{names[-1]}_range"
        self._made[step.output] = self._ranged(made, name, names, positive, step.layer)

    def _ranged(self, tensor, name, names, positive, layer):
        """A tensor behind `layer`, rounded on a grid of its own."""
        grid = quantized.FakeQuantize(
            bits=self._recipe.activation_bits,
            ranges=self._recipe.activation_ranges,
            positive=positive,
            replaces=names,
            name=name,
            dtype=layer.dtype_policy,
        )
        return Made(grid(tensor), positive, grid)

    def _only_reader(self, step):
        """The step that alone reads what `step` makes, if nobody else does."""
        readers = self._readers.get(step.output, [])
        if len(readers) == 1 and step.output not in self._outputs:
            return readers[0]
        return None

    def _tensors(self, step):
        found = [self._made[key].tensor for key in step.inputs]
        return found if len(found) > 1 else found[0]

    def _copy(self, layer):
        return type(layer).from_config(layer.get_config())


def _is_kernel(layer):
    if isinstance(layer, keras.layers.Dense):
        known = (keras.layers.Dense,)
    else:
        known = (keras.layers.Conv2D, layers.Conv2D)
    inside = ("linear", *_FUSED, "softmax", "sigmoid")
    return type(layer) in known and layer.activation.__name__ in inside


def _has_end(layer):
    return layer.activation.__name__ in ("softmax", "sigmoid")


def _outside(layer, activation):
    """The activation of a layer as a layer, which has its name where it ends the net."""
    name = layer.name if _has_end(layer) else f"{layer.name}_{activation}"
    make = keras.layers.Activation
    return make(activation, name=name, dtype=layer.dtype_policy)


def _activation(layer):
    """The name of the function that an activation layer applies; None for others."""
    if type(layer) is keras.layers.ReLU:
        plain = not layer.negative_slope and not layer.threshold
        limits = {None: "relu", 6.0: "relu6"}
        return limits.get(layer.max_value) if plain else None
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    if isinstance(layer, keras.layers.Activation):
        return layer.activation.__name__
    return None


def _check_norm(layer):
    if layer.axis not in (-1, 3):
        raise InvalidArgument(
            f"quantization takes BN over the last axis; {layer.name} has {layer.axis}"
        )


def _fill(new, layer, norm):
    kernel, bias = folding.fold(layer, norm)
    new.set_kernel(kernel, None if norm is None else folding.scale_and_offset(norm)[0])
    new.bias.assign(bias)
    new.kernel_radius.assign(quantized.largest_radius(kernel, new.per_channel))


def _unsupported(layer):
    if isinstance(layer, quantized.QUANTIZED):
        return InvalidArgument(
            f"the model is quantized already: {layer.name} is a {type(layer).__name__}; "
            "give the float model that it was made of"
        )
    kind = type(layer).__name__
    name = getattr(layer, "activation", None)
    if name is not None:
        kind = f"{kind} with {name.__name__}"
    return InvalidArgument(
        f"no integer form is known for layer {layer.name} ({kind}): use relu, relu6 or "
        "leaky_relu, Conv2D, Dense, BatchNormalization, Add, pooling and padding in its "
        "place, or quantize after training with the engine 'converter'"
    )
