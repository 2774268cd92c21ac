"""TFLite metadata of an image classifier: what its pixels are, and its classes' names.

MediaPipe's tasks refuse a file without (float32 ones), or show numbers instead of names.
Google's schema (`metadata_schema.fbs`, identifier M001) comes in no package that this
one needs: the few tables of it that are written here are told by the numbers of their
fields.
"""

import io
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_resnets.export.tflite import file_editor

LABELS = "labels.txt"
_KEY, _IDENTIFIER = b"TFLITE_METADATA", b"M001"
# The first version of MediaPipe's parser; nothing newer is used.
_PARSER = "1.0.0"
# Members of the unions and enumerations of the schema.
_FEATURE, _IMAGE = 1, 2
_RGB = 1
_NORMALIZATION = 1
_AXIS_LABELS = 2
# A moment that zip files can tell: the same file has the same bytes.
_MOMENT = (1980, 1, 1, 0, 0, 0)


def add(
    content: bytes, name: str, labels: Sequence[str] | None, output: str = "score"
) -> bytes:
    """The bytes of a file that takes RGB pixels of 0 to 255, with metadata.

    Args:
        content: bytes of the file, of one input and one output.
        name: of the network.
        labels: name of each class, in the order of the output; None: not known.
        output: what the output is called.
    """
    editor = file_editor.Editor(content)
    buffer = editor.add_buffer(np.frombuffer(encoded(name, labels, output), "uint8"))
    entry = editor.schema.MetadataT()
    entry.name, entry.buffer = _KEY, buffer
    others = [one for one in editor.model.metadata or [] if one.name != _KEY]
    editor.model.metadata = [*others, entry]
    made = editor.finished()
    if labels is None:
        return made
    # An associated file is one of a zip archive behind the flatbuffer.
    whole = io.BytesIO(made)
    whole.seek(0, io.SEEK_END)
    with zipfile.ZipFile(whole, "a") as archive:
        text = "".join(f"{label}\n" for label in labels)
        archive.writestr(zipfile.ZipInfo(LABELS, _MOMENT), text)
    return whole.getvalue()


def encoded(name: str, labels: Sequence[str] | None, output: str = "score") -> bytes:
    """The flatbuffer of the metadata; see `add`."""
    import flatbuffers

    builder = flatbuffers.Builder(512)
    # A pixel goes in as it is: (x - 0) / 1.
    normalization = _table(builder, {0: [0.0], 1: [1.0]})
    unit = _table(builder, {0: ("int8", _NORMALIZATION), 1: normalization})
    image = _table(builder, {0: ("int8", _RGB)})
    pixels = _table(builder, {0: ("int8", _IMAGE), 1: image})
    stats = _table(builder, {0: [255.0], 1: [0.0]})
    given = _table(builder, {0: "image", 3: pixels, 4: [unit], 5: stats})
    score = _table(builder, {0: ("int8", _FEATURE), 1: _table(builder, {})})
    made = {0: output, 3: score, 5: _table(builder, {0: [1.0], 1: [0.0]})}
    if labels is not None:
        made[6] = [_table(builder, {0: LABELS, 2: ("int8", _AXIS_LABELS)})]
    graph = _table(builder, {2: [given], 3: [_table(builder, made)]})
    root = {0: name, 3: [graph], 7: _PARSER}
    builder.Finish(int(_table(builder, root)), _IDENTIFIER)
    return bytes(builder.Output())


class _Place(int):
    """Where a table stands in a builder."""


def _table(builder: Any, fields: dict[int, Any]) -> _Place:
    """Writes a table by the numbers of its fields; returns its place.

    Fields are texts, tables (`_Place`), lists of tables or of floats, or
    ("int8", number).
    """
    placed = {
        number: value if isinstance(value, tuple) else _place(builder, value)
        for number, value in fields.items()
    }
    builder.StartObject(max(fields, default=-1) + 1)
    for number, value in placed.items():
        if isinstance(value, tuple):
            builder.PrependInt8Slot(number, value[1], 0)
        else:
            builder.PrependUOffsetTRelativeSlot(number, int(value), 0)
    return _Place(builder.EndObject())


def _place(builder: Any, value: Any) -> int:
    """Where a text, a table or a list stands; texts and lists are written first."""
    if isinstance(value, _Place):
        return value
    if isinstance(value, str):
        return int(builder.CreateString(value))
    tables = isinstance(value[0], _Place)
    builder.StartVector(4, len(value), 4)
    for one in reversed(value):
        if tables:
            builder.PrependUOffsetTRelative(int(one))
        else:
            builder.PrependFloat32(one)
    return int(builder.EndVector())
