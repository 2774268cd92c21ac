"""Files that are no weights, recognized by how they begin, with what to do instead."""

import pathlib
import struct

# The first bytes of a file to look at: the sign of a tar archive stands at 257.
BYTES = 512
_UNPACK = "unpack it, and pass the file of weights in it"
_BEGINNINGS = (
    (
        b"version https://git-lfs",
        "it is a pointer of Git LFS, not the file: download that with git lfs pull",
    ),
    (b"\x1f\x8b", f"it is compressed by gzip: {_UNPACK}"),
    (b"BZh", f"it is compressed by bzip2: {_UNPACK}"),
    (b"\xfd7zXZ\x00", f"it is compressed by xz: {_UNPACK}"),
    (b"(\xb5/\xfd", f"it is compressed by zstd: {_UNPACK}"),
    (b"7z\xbc\xaf\x27\x1c", f"it is an archive of 7-Zip: {_UNPACK}"),
    (b"Rar!\x1a\x07", f"it is a RAR archive: {_UNPACK}"),
    (b"\x93NUMPY", "it is an array of NumPy, not the tensors of a network"),
    (b"GGUF", "it is a GGUF file of a language model"),
    # List of named arrays, as of GluonCV.
    (
        struct.pack("<QQ", 0x112, 0),
        "it is a file of MXNet, which this package does not read: timm has networks of "
        "GluonCV (weights gluon_in1k)",
    ),
)
_EXPORTED = "it is an exported {} file: pass the weights that it was made from"
_RESAVE = "load it with its own program and write model.save_weights('FILE.weights.h5')"
_SAFETENSORS = (
    "load it with its own program, and write its arrays with the names and shapes of "
    "timm, torchvision or this package by safetensors.numpy.save_file(arrays, FILE)"
)
_CHECKPOINT = f"it is a checkpoint of TensorFlow: {_RESAVE}"
# A file in a folder -> what the folder is.
_FOLDERS = {
    "saved_model.pb": f"it is a SavedModel: {_RESAVE}",
    "checkpoint": _CHECKPOINT,
    "_METADATA": f"it is a checkpoint of Orbax: {_SAFETENSORS}",
    "manifest.ocdbt": f"it is a checkpoint of Orbax: {_SAFETENSORS}",
    "Manifest.json": _EXPORTED.format("Core ML"),
    ".metadata": "it is a distributed checkpoint of torch: make one file of it by torch."
    "distributed.checkpoint.format_utils.dcp_to_torch_save(FOLDER, FILE)",
}
# End of a file's name -> what the file is.
_SUFFIXES = {
    ".caffemodel": "it is a Caffe file, which this package does not read: convert it to "
    "torch",
    ".msgpack": f"it is a file of Flax: {_SAFETENSORS}",
}


def reason(head: bytes, suffix: str) -> str:
    """Returns what a file is that no reader takes, and what to pass instead.

    Args:
        head: its first `BYTES` bytes, or all of a shorter one.
        suffix: the end of its name, such as `.onnx`.

    Returns:
        A clause; "" for a file that this module does not know.

    Example:
        >>> reason(b"<!DOCTYPE html>", ".pth")
        'it is a web page, not the file behind it: download the file itself'
    """
    if not head:
        return "it is empty"
    for beginning, said in _BEGINNINGS:
        if head.startswith(beginning):
            return said
    if head[257:262] == b"ustar":
        return f"it is a tar archive: {_UNPACK}"
    if head[4:8] == b"TFL3":
        return _EXPORTED.format("TFLite")
    if suffix.lower() == ".onnx" and head[:1] == b"\x08":
        return _EXPORTED.format("ONNX")
    if suffix == ".index" or suffix.startswith(".data-"):
        return _CHECKPOINT
    if suffix.lower() == ".xml" and b"<net" in head:
        return _EXPORTED.format("OpenVINO")
    return _SUFFIXES.get(suffix.lower()) or _reason_of_text(head)


def reason_of_folder(path: pathlib.Path) -> str:
    """Returns what a folder is that no reader takes, and what to pass instead.

    Args:
        path: a folder, or the name that the files of a TensorFlow checkpoint begin with.

    Returns:
        A clause; "" for others.
    """
    if path.name and path.with_name(f"{path.name}.index").is_file():
        return _CHECKPOINT
    if not path.is_dir():
        return ""
    return next(
        (said for name, said in _FOLDERS.items() if (path / name).is_file()), ""
    )


def is_text(head: bytes) -> bool:
    """Returns whether a file begins as text does: no file of weights does."""
    return bool(head) and b"\0" not in head[:16]


def _reason_of_text(head: bytes) -> str:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"<"):
        return "it is a web page, not the file behind it: download the file itself"
    if start.startswith(b"{") and is_text(head):
        return (
            "it is JSON, as of a configuration: pass the file of weights beside it, or "
            "the folder"
        )
    return ""
