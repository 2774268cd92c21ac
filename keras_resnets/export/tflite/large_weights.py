"""Large weights go around TFLite's converter, which would hold five copies of them.

The kernels of convolutions are inputs of the graph that it gets, where each BN behind
one is nothing but a bias; in the file that it made they become constants, with the BN
folded in.
"""

import dataclasses
import math

import keras
import numpy as np

from keras_resnets.errors import ExportError
from keras_resnets.export import signature as ends
from keras_resnets.export.prepare import all_layers
from keras_resnets.export.tflite import file_editor
from keras_resnets.export.tflite import runner as tflite_runner
from keras_resnets.networks import layers
from keras_resnets.system import quiet

# What may follow a convolution whose kernel is not there yet: nothing that the
# converter would fold into it.
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
    """The kernel of a convolution, and the BN that is folded into it, or None."""

    layer: keras.layers.Conv2D
    norm: keras.layers.BatchNormalization | None

    def values(self):
        """(height, width, inputs, outputs) as float32, times what the BN multiplies by."""
        kernel = keras.ops.convert_to_numpy(self.layer.kernel)
        if self.norm is None:
            return kernel
        return (kernel * self._scale()).astype("float32")

    def replacements(self):
        """(variable, value) pairs that leave a bias of the BN."""
        if self.norm is None:
            return []
        norm, ones = self.norm, np.ones(self.layer.filters, "float32")
        shift = -_array(norm.moving_mean)
        found = [(norm.moving_mean, 0 * ones)]
        if self.layer.use_bias:
            shift = shift + _array(self.layer.bias)
            found.append((self.layer.bias, 0 * ones))
        shift = shift * self._scale()
        if norm.center:
            found.append((norm.beta, (shift + _array(norm.beta)).astype("float32")))
        if norm.scale:
            found.append((norm.gamma, ones))
        return [*found, (norm.moving_variance, ones * _one_without(norm.epsilon))]

    def _scale(self):
        norm = self.norm
        scale = 1 / np.sqrt(_array(norm.moving_variance) + norm.epsilon)
        return scale * _array(norm.gamma) if norm.scale else scale


def _array(variable):
    return keras.ops.convert_to_numpy(variable).astype("float64")


def _one_without(epsilon):
    """The float32 that is exactly 1 with `epsilon` added."""
    epsilon = np.float32(epsilon)
    near = np.float32(1) - epsilon
    steps = (near, *(np.nextafter(near, np.float32(end)) for end in (0, 2)))
    return next(value for value in steps if value + epsilon == 1)


def kernels_of(model):
    """A `Kernel` for each convolution of `model` that can do without, by input name."""
    found, ends = {}, _outputs(model)
    for layer in all_layers(model):
        # Of no other class: that may do something else with its kernel.
        if type(layer) in (keras.layers.Conv2D, layers.Conv2D):
            followers = {id(n.operation): n.operation for n in layer._outbound_nodes}
            made = (id(t) for node in layer._inbound_nodes for t in node.output_tensors)
            if not ends.isdisjoint(made):
                # Somebody reads what it makes itself, whatever else follows.
                followers["end"] = None
            kernel = _kernel(layer, list(followers.values()))
            if kernel is not None:
                found[f"weight_{len(found)}"] = kernel
    return found


def _outputs(model):
    """The `id`s of the outputs of `model` and of all models inside it."""
    found = {id(tensor) for tensor in model.outputs}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found |= _outputs(layer)
    return found


def _kernel(layer, followers):
    if not any(variable is layer.kernel for variable in layer.weights):
        # A sum of a kernel and what was learnt on top of it.
        return None
    if len(followers) == 1 and _folds(layer, followers[0]):
        return Kernel(layer, followers[0])
    if all(isinstance(follower, _FOLLOWERS) for follower in followers):
        return Kernel(layer, None)
    return None


def _folds(layer, norm):
    """Whether `norm` is a BN of the channels of this one convolution."""
    if not isinstance(norm, keras.layers.BatchNormalization) or not norm.center:
        return False
    givers = {id(n.parent_nodes[0].operation) for n in norm._inbound_nodes}
    linear = layer.activation is keras.activations.linear
    return linear and norm.axis in (-1, 3) and givers == {id(layer)}


def write(model, kernels, folder, shape, dtype):
    """Writes a SavedModel that takes the kernels as further inputs.

    Args:
        model: puts out a dict.
        kernels: what `kernels_of` returned.
        folder: where to write it.
        shape: (batch, height, width, channels); None for an open batch.
        dtype: of the input.
    """
    import tensorflow as tf

    from keras_resnets.networks.tensorflow_ops import native_convolution

    # Variables cost the converter more time than constants do, and less memory.
    fixed = [
        (variable, keras.ops.convert_to_numpy(variable))
        for variable in model.variables
        if len(variable.shape) == 1 and variable.dtype == "float32"
    ]
    fixed += [pair for kernel in kernels.values() for pair in kernel.replacements()]
    own = [kernel.layer.kernel for kernel in kernels.values()]

    def serve(image, *given):
        values = [(variable, tf.constant(value)) for variable, value in fixed]
        with keras.StatelessScope([*values, *zip(own, given, strict=True)]):
            return model(image, training=False)

    signature = [tf.TensorSpec(shape, dtype, name=ends.INPUT_NAME)]
    signature += [
        tf.TensorSpec(variable.shape, "float32", name=name)
        for name, variable in zip(kernels, own, strict=True)
    ]
    holder = tf.Module()
    function = tf.function(serve, input_signature=signature, autograph=False)
    with native_convolution(), quiet.loggers_hidden("tensorflow"):
        concrete = function.get_concrete_function()
        # What it reads must belong to what is saved.
        holder.serve, holder.values = function, list(concrete.variables)
        tf.saved_model.save(
            holder, str(folder), signatures={"serving_default": concrete}
        )


def filled(content, kernels, outputs):
    """The file `content` with the inputs that are kernels turned into constants.

    Args:
        content: bytes of a TFLite file that came of `write`.
        kernels: what `kernels_of` returned.
        outputs: names in the order that they shall have.

    Returns:
        The whole file, as a view of its bytes.

    Raises:
        ExportError: a kernel that the converter used in another way than expected.
    """
    import flatbuffers

    schema, root = tflite_runner.parse(content)
    model = schema.ModelT.InitFromObj(root)
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    by_name = {entry.name.decode(): entry.tensorIndex for entry in signature.inputs}
    constants = {by_name[name]: kernel for name, kernel in kernels.items()}
    perms = _transposed(schema, model, constants)
    # One that nobody reads, as in DRN-C-58, is in nobody's way.
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


def _transposed(schema, model, constants):
    """Takes the transposition behind each kernel away; how it turned, by tensor."""
    graph, perms, turned = model.subgraphs[0], {}, {}
    kept = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        source = operator.inputs[0]
        if code.builtinCode == schema.BuiltinOperator.TRANSPOSE and source in constants:
            perm = model.buffers[graph.tensors[operator.inputs[1]].buffer].data
            perms[source] = np.asarray(perm, "uint8").view("int32").tolist()
            turned[operator.outputs[0]] = source
        else:
            kept.append(operator)
    for operator in kept:
        operator.inputs = [turned.get(index, index) for index in operator.inputs]
        if constants.keys() - perms.keys() & set(operator.inputs):
            raise ExportError(
                "TFLite's converter did not turn a kernel as it should; nothing was "
                "written"
            )
    graph.operators = kept
    return perms


class _Constant:
    """A buffer that computes its content when it is written, and forgets it then."""

    def __init__(self, schema, kernel, perm):
        self._schema, self._kernel, self._perm = schema, kernel, perm

    def Pack(self, builder):  # noqa: N802
        values = np.ascontiguousarray(self._kernel.values().transpose(self._perm))
        data = values.reshape(-1).view("uint8")
        return file_editor.write_buffer(self._schema, builder, data)
