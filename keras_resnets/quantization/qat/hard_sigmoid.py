"""Hard sigmoids as layers that the rewriter knows: TFLite has no operator for them."""

import typing
from collections.abc import Collection
from collections.abc import Sequence

import keras

from keras_resnets.graph import activations
from keras_resnets.graph import copies
from keras_resnets.graph import operations
from keras_resnets.graph.nodes import Step
from keras_resnets.graph.nodes import split
from keras_resnets.quantization.qat import layer_kinds


def apart(steps: Sequence[Step], outputs: Collection[typing.Any]) -> list[Step]:
    """Returns `steps` with relu6(x + 3) / 6 for each hard sigmoid.

    The sum, with the ReLU6 fused into it, and the product are operators of a file.

    Args:
        steps: steps in order.
        outputs: keys of the outputs of the model. A hard sigmoid that computes one is
            kept, since the output in front of it is the logits.
    """
    made: dict[int, list[typing.Any]] = {}
    found = []
    for step in steps:
        if not _is_one(step) or step.output in outputs:
            found.append(step)
            continue
        if id(step.layer) not in made:
            made[id(step.layer)] = _parts(step)
        found += split(step, made[id(step.layer)])
    return found


def _is_one(step: Step) -> bool:
    layer = operations.as_plain_layer(step)
    if type(layer) in layer_kinds.WITH_KERNEL:
        layer = activations.inside(layer)
    function = getattr(layer, "activation", None)
    return function is keras.activations.hard_sigmoid


def _parts(step: Step) -> list[typing.Any]:
    """Returns the layers of a step; the first is its convolution, if it is one."""
    layer, parts = step.layer, []
    options = {"dtype": layer_kinds.policy(step)}
    end = layer.name
    if type(layer) in layer_kinds.WITH_KERNEL:
        linear = copies.blank(layer, activation="linear")
        linear.build(step.arguments.keras_tensors[0].shape)
        linear.set_weights(layer.get_weights())
        parts, end = [linear], f"{layer.name}_hard_sigmoid"
    return [
        *parts,
        keras.layers.Rescaling(1.0, 3.0, name=f"{layer.name}_sum", **options),
        keras.layers.ReLU(6.0, name=f"{layer.name}_relu6", **options),
        keras.layers.Rescaling(1 / 6, name=end, **options),
    ]
