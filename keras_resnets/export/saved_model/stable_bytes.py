"""Makes the bytes of a SavedModel depend only on its functions and variables.

TensorFlow numbers its functions by a counter of the process, lists them in the order of
a hash table, and gives each folder a random identifier.
"""

import copy
import hashlib
import pathlib
import re
import typing
from collections.abc import Iterable
from collections.abc import Iterator

_CONTENT = "saved_model.pb"
_FINGERPRINT = "fingerprint.pb"
_ARGUMENT = "_user_specified_name"
_GRADIENT = "_gradient_op_type"
_GRADIENT_TYPE = "CustomGradient-{}"  # As TensorFlow calls it.
_COUNTED = re.compile(r"(.*)_(\d+)")


def settle(folder: pathlib.Path) -> None:
    """Names and sorts the functions of a SavedModel, in place.

    Args:
        folder: a `pathlib.Path` written by `tf.saved_model.save`.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / _CONTENT
    content = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for graph in content.meta_graphs:
        functions = graph.graph_def.library.function
        functions.sort(key=lambda function: _counted(function.signature.name))
        names = _numbered(function.signature.name for function in functions)
        _rename_functions(graph.graph_def, names)
        _rename_gradients(graph.graph_def.library, names)
        _rename_objects(graph.object_graph_def, names)
    path.write_bytes(content.SerializeToString(deterministic=True))
    _settle_fingerprint(folder)


def _counted(name: str) -> tuple[str, int]:
    """Returns a function's name, and the counter at its end."""
    match = _COUNTED.fullmatch(name)
    return (match[1], int(match[2])) if match else (name, 0)


def _numbered(names: Iterable[str]) -> dict[str, str]:
    """Returns new names by old ones, each with a number of its own.

    The hash of a fingerprint takes functions of equal numbers in any order.
    """
    return {name: f"{_counted(name)[0]}_{i}" for i, name in enumerate(names)}


def _rename_functions(graph: typing.Any, names: dict[str, str]) -> None:
    attributes = [function.attr for function in graph.library.function]
    attributes += [node.attr for node in (*graph.node, *_body_nodes(graph.library))]
    for attribute in (value for mapping in attributes for value in mapping.values()):
        for function in (attribute.func, *attribute.list.func):
            if function.name in names:
                function.name = names[function.name]
    for function in graph.library.function:
        function.signature.name = names[function.signature.name]
        for place, argument in function.arg_attr.items():
            # The name of a variable that a function reads is the counter.
            if argument.attr[_ARGUMENT].s.isdigit():
                argument.attr[_ARGUMENT].s = str(place).encode()


def _body_nodes(library: typing.Any) -> Iterator[typing.Any]:
    return (node for function in library.function for node in function.node_def)


def _rename_gradients(library: typing.Any, names: dict[str, str]) -> None:
    """Names the functions of custom gradients, such as that of swish, as they are now.

    Operators name such a gradient by a type, which has a counter of its own.
    """
    for gradient in library.gradient:
        gradient.function_name = names[gradient.function_name]
        gradient.gradient_func = names[gradient.gradient_func]
    gradients = library.registered_gradients
    gradients.sort(key=lambda gradient: _counted(gradient.gradient_func))
    kinds: dict[bytes, bytes] = {}
    for gradient in gradients:
        gradient.gradient_func = names[gradient.gradient_func]
        kind = gradient.registered_op_type
        gradient.registered_op_type = _GRADIENT_TYPE.format(len(kinds))
        kinds[kind.encode()] = gradient.registered_op_type.encode()
    for node in _body_nodes(library):
        if _GRADIENT in node.attr:
            kind = node.attr[_GRADIENT].s
            node.attr[_GRADIENT].s = kinds.get(kind, kind)


def _rename_objects(graph: typing.Any, names: dict[str, str]) -> None:
    functions = graph.concrete_functions
    # One's new name may be another's old one.
    copies = {name: copy.deepcopy(function) for name, function in functions.items()}
    functions.clear()
    for name, function in copies.items():
        functions[names[name]].CopyFrom(function)
    for node in graph.nodes:
        # Writing the field would turn another kind of node into a function.
        if node.HasField("function"):
            several = node.function.concrete_functions
            several[:] = [names[name] for name in several]
        elif node.HasField("bare_concrete_function"):
            bare = node.bare_concrete_function
            bare.concrete_function_name = names[bare.concrete_function_name]
        elif node.HasField("captured_tensor"):
            captured = node.captured_tensor
            captured.concrete_function = names[captured.concrete_function]


def _settle_fingerprint(folder: pathlib.Path) -> None:
    """Writes the hashes of the folder's contents, without a random identifier."""
    from tensorflow.core.protobuf import fingerprint_pb2
    from tensorflow.python.saved_model.pywrap_saved_model import fingerprinting

    encoded = fingerprinting.CreateFingerprintDef(str(folder))
    fingerprint = fingerprint_pb2.FingerprintDef.FromString(encoded)
    fingerprint.ClearField("uuid")
    digest = hashlib.sha256(fingerprint.SerializeToString(deterministic=True)).digest()
    # As TensorFlow writes it: 128 bits as a decimal number.
    fingerprint.uuid = str(int.from_bytes(digest[:16], "big"))
    content = fingerprint.SerializeToString(deterministic=True)
    (folder / _FINGERPRINT).write_bytes(content)
