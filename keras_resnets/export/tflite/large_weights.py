"""Keeps large weights away from TFLite's converter, which would hold five copies of them.

The converter gets a graph whose inputs include the kernels of convolutions, and in which
each BN after a convolution is only a bias. In the file that it returns the kernels
become constants, with the BN folded in.
"""

import dataclasses
import math
import os
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_resnets.errors import ExportError
from keras_resnets.export import signature as ends
from keras_resnets.export.prepare import all_layers
from keras_resnets.export.tflite import file_editor
from keras_resnets.export.tflite import runner as tflite_runner
from keras_resnets.networks import layers
from keras_resnets.system import shared

# Layers that may follow a convolution whose kernel is an input: the converter folds none
# of them into it.
_FOLLOWERS = (
    keras.layers.Activation,
    keras.layers.Add,
    keras.layers.Conv2D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.LeakyReLU,
    keras.layers.ReLU,
    keras.layers.ZeroPadding2D,
)


@dataclasses.dataclass(frozen=True)
class Kernel:
    """The kernel of a convolution, and the BN to fold into it, or None."""

    layer: keras.layers.Conv2D
    norm: keras.layers.BatchNormalization | None

    def values(self) -> np.ndarray:
        """(height, width, inputs, outputs) as float32, times the factors of the BN."""
        kernel: np.ndarray = keras.ops.convert_to_numpy(self.layer.kernel)
        if self.norm is None:
            return kernel
        return (kernel * _factors(self.norm)).astype("float32")

    def replacements(self) -> list[tuple[keras.Variable, np.ndarray]]:
        """(variable, value) pairs that reduce the BN to a bias."""
        if self.norm is None:
            return []
        norm, ones = self.norm, np.ones(self.layer.filters, "float32")
        shift = -_array(norm.moving_mean)
        replaced = [(norm.moving_mean, 0 * ones)]
        if self.layer.use_bias:
            shift = shift + _array(self.layer.bias)
            replaced.append((self.layer.bias, 0 * ones))
        shift = shift * _factors(norm)
        if norm.center:
            replaced.append((norm.beta, (shift + _array(norm.beta)).astype("float32")))
        if norm.scale:
            replaced.append((norm.gamma, ones))
        return [*replaced, (norm.moving_variance, ones * _one_minus(norm.epsilon))]


def _factors(norm: keras.layers.BatchNormalization) -> np.ndarray:
    """Returns the factor by which a BN multiplies each channel."""
    scale = 1 / np.sqrt(_array(norm.moving_variance) + norm.epsilon)
    return scale * _array(norm.gamma) if norm.scale else scale


def _array(variable: keras.Variable) -> np.ndarray:
    values: np.ndarray = keras.ops.convert_to_numpy(variable).astype("float64")
    return values


def _one_minus(epsilon: float) -> np.float32:
    """The float32 that is exactly 1 when `epsilon` is added to it."""
    addend = np.float32(epsilon)
    near = np.float32(1) - addend
    candidates = (near, *(np.nextafter(near, np.float32(end)) for end in (0, 2)))
    return next(value for value in candidates if value + addend == 1)


def kernels_of(model: keras.Model) -> dict[str, Kernel]:
    """Input name -> `Kernel` of each convolution that the converter can do without."""
    kernels: dict[str, Kernel] = {}
    ends = _outputs(model)
    for layer in all_layers(model):
        # Of no other class: that may do something else with its kernel.
        if type(layer) in layers.CONVOLUTIONS:
            followers = {id(n.operation): n.operation for n in layer._outbound_nodes}
            tensors = (t for node in layer._inbound_nodes for t in node.output_tensors)
            if not ends.isdisjoint(map(id, tensors)):
                # Its own output is an output of the model, whatever else follows.
                followers[0] = None
            kernel = _kernel(layer, list(followers.values()))
            if kernel is not None:
                kernels[f"weight_{len(kernels)}"] = kernel
    return kernels


def _outputs(model: keras.Model) -> set[int]:
    """The `id`s of the outputs of `model` and of all models inside it."""
    # A subclassed model inside has none.
    outputs = {id(tensor) for tensor in getattr(model, "outputs", None) or ()}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            outputs |= _outputs(layer)
    return outputs


def _kernel(layer: keras.layers.Conv2D, followers: list[Any]) -> Kernel | None:
    if not any(variable is layer.kernel for variable in layer.weights):
        # LoRA: `kernel` is the sum of a weight and a low-rank update.
        return None
    if len(followers) == 1 and _folds(layer, followers[0]):
        return Kernel(layer, followers[0])
    if all(isinstance(follower, _FOLLOWERS) for follower in followers):
        return Kernel(layer, None)
    return None


def _folds(layer: keras.layers.Conv2D, norm: Any) -> bool:
    """Returns whether `norm` is a BN over the channels of this convolution only."""
    if not isinstance(norm, keras.layers.BatchNormalization) or not norm.center:
        return False
    sources = {id(n.parent_nodes[0].operation) for n in norm._inbound_nodes}
    linear = layer.activation is keras.activations.linear
    return linear and norm.axis in (-1, 3) and sources == {id(layer)}


def write(
    model: keras.Model,
    kernels: Mapping[str, Kernel],
    folder: str | os.PathLike[str],
    shape: Sequence[int | None],
    dtype: str,
) -> None:
    """Writes a SavedModel that takes the kernels as further inputs.

    Args:
        model: its output is a dict.
        kernels: what `kernels_of` returned.
        folder: where to write it.
        shape: (batch, height, width, channels); None for an open batch.
        dtype: of the input.
    """
    import tensorflow as tf

    from keras_resnets.networks.tensorflow_ops import native_convolution

    # Variables take the converter more time than constants do, and less memory.
    fixed = [
        (variable, keras.ops.convert_to_numpy(variable))
        for variable in model.variables
        if len(variable.shape) == 1 and variable.dtype == "float32"
    ]
    fixed += [pair for kernel in kernels.values() for pair in kernel.replacements()]
    variables = [kernel.layer.kernel for kernel in kernels.values()]

    def serve(image: Any, *inputs: Any) -> Any:
        values = [(variable, tf.constant(value)) for variable, value in fixed]
        with keras.StatelessScope([*values, *zip(variables, inputs, strict=True)]):
            return model(image, training=False)

    signature = [tf.TensorSpec(shape, dtype, name=ends.INPUT_NAME)]
    signature += [
        tf.TensorSpec(variable.shape, "float32", name=name)
        for name, variable in zip(kernels, variables, strict=True)
    ]
    holder = tf.Module()
    function = tf.function(serve, input_signature=signature, autograph=False)
    with native_convolution(), shared.loggers_hidden("tensorflow"):
        concrete = function.get_concrete_function()
        # The variables that it reads must belong to the object that is saved.
        holder.serve, holder.values = function, list(concrete.variables)
        tf.saved_model.save(
            holder, str(folder), signatures={"serving_default": concrete}
        )


def filled(
    content: bytes, kernels: Mapping[str, Kernel], outputs: Sequence[str]
) -> memoryview:
    """Turns the inputs of a file that are kernels into constants.

    Args:
        content: bytes of the TFLite file, converted from what `write` wrote.
        kernels: what `kernels_of` returned.
        outputs: names of the outputs, in the order to write.

    Returns:
        The file, as a view of its bytes.

    Raises:
        ExportError: the converter used a kernel in an unexpected way.
    """
    import flatbuffers

    schema, root = tflite_runner.parse(content)
    model = schema.ModelT.InitFromObj(root)
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    by_name = {entry.name.decode(): entry.tensorIndex for entry in signature.inputs}
    constants = {by_name[name]: kernel for name, kernel in kernels.items()}
    perms = _transposed(schema, model, constants)
    # Kernels that no operator reads, as in DRN-C-58, are left out.
    for index, perm in perms.items():
        tensor, kernel = graph.tensors[index], constants[index]
        tensor.name = kernel.layer.name.encode()
        tensor.shape = [kernel.layer.kernel.shape[axis] for axis in perm]
        model.buffers[tensor.buffer] = _Constant(schema, kernel, perm)
    graph.inputs = [index for index in graph.inputs if index not in constants]
    signature.inputs = [e for e in signature.inputs if e.tensorIndex not in constants]
    file_editor.name_ends(model, outputs)
    file_editor.drop_unused(model)
    sizes = [math.prod(kernel.layer.kernel.shape) for kernel in kernels.values()]
    size = len(content) + sum(4 * size + 2 * file_editor.ALIGNMENT for size in sizes)
    builder = flatbuffers.Builder(size)
    builder.Finish(model.Pack(builder), file_editor.IDENTIFIER)
    # builder.Output() would be one more copy.
    return memoryview(builder.Bytes)[builder.Head() :]


def _transposed(
    schema: Any, model: Any, constants: Mapping[int, Kernel]
) -> dict[int, list[int]]:
    """Removes the TRANSPOSE of each kernel; returns tensor -> its permutation."""
    graph = model.subgraphs[0]
    perms: dict[int, list[int]] = {}
    sources: dict[int, int] = {}
    others = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        source = operator.inputs[0]
        if code.builtinCode == schema.BuiltinOperator.TRANSPOSE and source in constants:
            perm = model.buffers[graph.tensors[operator.inputs[1]].buffer].data
            perms[source] = np.asarray(perm, "uint8").view("int32").tolist()
            sources[operator.outputs[0]] = source
        else:
            others.append(operator)
    for operator in others:
        operator.inputs = [sources.get(index, index) for index in operator.inputs]
        if constants.keys() - perms.keys() & set(operator.inputs):
            raise ExportError(
                "TFLite's converter did not transpose a kernel as expected; nothing "
                "was written"
            )
    graph.operators = others
    return perms


class _Constant:
    """A buffer that computes its content when it is written, and does not keep it."""

    def __init__(self, schema: Any, kernel: Kernel, perm: Sequence[int]) -> None:
        self._schema, self._kernel, self._perm = schema, kernel, perm

    def Pack(self, builder: Any) -> Any:  # noqa: N802
        values = np.ascontiguousarray(self._kernel.values().transpose(self._perm))
        data = values.reshape(-1).view("uint8")
        return file_editor.write_buffer(self._schema, builder, data)
