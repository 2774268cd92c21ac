"""TFLite metadata of an image classifier: the range of its pixels and its class names.

Without metadata MediaPipe's tasks refuse float32 files, and show numbers instead of class
names for others. No dependency of this package has Google's schema
(`metadata_schema.fbs`, identifier M001): the few tables needed are written by the numbers
of their fields.
"""

import io
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_resnets.export.tflite import file_editor
from keras_resnets.images.labels import as_lines

LABELS = "labels.txt"
_KEY, _IDENTIFIER = b"TFLITE_METADATA", b"M001"
# The first version of MediaPipe's parser; no newer field is used.
_PARSER = "1.0.0"
# Members of the unions and enumerations of the schema.
_FEATURE, _IMAGE = 1, 2
_RGB = 1
_NORMALIZATION = 1
_AXIS_LABELS = 2
# A fixed time stamp, the earliest of zip files: equal files have equal bytes.
_MOMENT = (1980, 1, 1, 0, 0, 0)


def add(
    content: bytes, name: str, labels: Sequence[str] | None, output: str = "score"
) -> bytes:
    """Adds metadata to a file that takes RGB pixels from 0 to 255; returns its bytes.

    Args:
        content: bytes of the file, of one input and one output.
        name: of the network.
        labels: class names, in the order of the output; None if they are not known.
        output: name of the output.
    """
    editor = file_editor.Editor(content)
    buffer = editor.add_buffer(np.frombuffer(encoded(name, labels, output), "uint8"))
    entry = editor.schema.MetadataT()
    entry.name, entry.buffer = _KEY, buffer
    others = [other for other in editor.model.metadata or [] if other.name != _KEY]
    editor.model.metadata = [*others, entry]
    flatbuffer = editor.finished()
    if labels is None:
        return flatbuffer
    # Associated files are members of a zip archive behind the flatbuffer.
    file = io.BytesIO(flatbuffer)
    file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(zipfile.ZipInfo(LABELS, _MOMENT), as_lines(labels))
    return file.getvalue()


def encoded(name: str, labels: Sequence[str] | None, output: str = "score") -> bytes:
    """The flatbuffer of the metadata; see `add`."""
    import flatbuffers

    builder = flatbuffers.Builder(512)
    # Pixels are not scaled: (x - 0) / 1.
    normalization = _table(builder, {0: [0.0], 1: [1.0]})
    unit = _table(builder, {0: ("int8", _NORMALIZATION), 1: normalization})
    image = _table(builder, {0: ("int8", _RGB)})
    pixels = _table(builder, {0: ("int8", _IMAGE), 1: image})
    stats = _table(builder, {0: [255.0], 1: [0.0]})
    image_input = _table(builder, {0: "image", 3: pixels, 4: [unit], 5: stats})
    score = _table(builder, {0: ("int8", _FEATURE), 1: _table(builder, {})})
    described = {0: output, 3: score, 5: _table(builder, {0: [1.0], 1: [0.0]})}
    if labels is not None:
        described[6] = [_table(builder, {0: LABELS, 2: ("int8", _AXIS_LABELS)})]
    graph = _table(builder, {2: [image_input], 3: [_table(builder, described)]})
    root = {0: name, 3: [graph], 7: _PARSER}
    builder.Finish(int(_table(builder, root)), _IDENTIFIER)
    return bytes(builder.Output())


class _Offset(int):
    """The offset of a table in a builder."""


def _table(builder: Any, fields: dict[int, Any]) -> _Offset:
    """Writes a table by the numbers of its fields; returns its offset.

    Fields are strings, tables (`_Offset`), lists of tables or of floats, or
    ("int8", number).
    """
    values = {
        number: value if isinstance(value, tuple) else _offset(builder, value)
        for number, value in fields.items()
    }
    builder.StartObject(max(fields, default=-1) + 1)
    for number, value in values.items():
        if isinstance(value, tuple):
            builder.PrependInt8Slot(number, value[1], 0)
        else:
            builder.PrependUOffsetTRelativeSlot(number, int(value), 0)
    return _Offset(builder.EndObject())


def _offset(builder: Any, value: Any) -> int:
    """The offset of a string, table or list; writes strings and lists."""
    if isinstance(value, _Offset):
        return value
    if isinstance(value, str):
        return int(builder.CreateString(value))
    tables = isinstance(value[0], _Offset)
    builder.StartVector(4, len(value), 4)
    for item in reversed(value):
        if tables:
            builder.PrependUOffsetTRelative(int(item))
        else:
            builder.PrependFloat32(item)
    return int(builder.EndVector())
