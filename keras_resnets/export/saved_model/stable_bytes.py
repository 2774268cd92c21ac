"""Makes the bytes of a SavedModel depend only on its functions and variables.

TensorFlow numbers its functions by a counter of the process, lists them in the order of
a hash table, and gives each folder a random identifier.
"""

import hashlib
import pathlib
import re
import typing
from collections.abc import Iterable

_CONTENT = "saved_model.pb"
_FINGERPRINT = "fingerprint.pb"
_ARGUMENT = "_user_specified_name"
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
        _rename_objects(graph.object_graph_def, names)
    path.write_bytes(content.SerializeToString(deterministic=True))
    _settle_fingerprint(folder)


def _counted(name: str) -> tuple[str, int]:
    """Returns a function's name, and the counter at its end."""
    match = _COUNTED.fullmatch(name)
    return (match[1], int(match[2])) if match else (name, 0)


def _numbered(names: Iterable[str]) -> dict[str, str]:
    """Returns new names by old ones, numbered among functions of the same name."""
    counts: dict[str, int] = {}
    new: dict[str, str] = {}
    for name in names:
        base, _ = _counted(name)
        new[name] = f"{base}_{counts.setdefault(base, 0)}"
        counts[base] += 1
    return new


def _rename_functions(graph: typing.Any, names: dict[str, str]) -> None:
    bodies = [function.node_def for function in graph.library.function]
    attributes = [function.attr for function in graph.library.function]
    attributes += [node.attr for body in (graph.node, *bodies) for node in body]
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


def _rename_objects(graph: typing.Any, names: dict[str, str]) -> None:
    functions = graph.concrete_functions
    for name in sorted(functions, key=_counted):
        # Never the name of a later one: numbers only become smaller.
        if names[name] != name:
            functions[names[name]].CopyFrom(functions[name])
            del functions[name]
    for node in graph.nodes:
        # Writing the field would turn another kind of node into a function.
        if node.HasField("function"):
            several = node.function.concrete_functions
            several[:] = [names[name] for name in several]
        elif node.HasField("bare_concrete_function"):
            bare = node.bare_concrete_function
            bare.concrete_function_name = names[bare.concrete_function_name]


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
