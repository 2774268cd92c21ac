"""The passport of an exported file, `<file>.json`: how it was made and compared."""

import contextlib
import dataclasses
import hashlib
import json
import operator
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_path
from keras_resnets.export import passport_text
from keras_resnets.export.contents import Contents
from keras_resnets.graph import provenance
from keras_resnets.images.labels import MULTI_LABEL
from keras_resnets.io import files
from keras_resnets.io import untrusted
from keras_resnets.system import interrupts
from keras_resnets.version import __version__

# The schema of a precision plan, `<file>.plan.json`.
PLAN_SCHEMA = "keras_resnets.precision_plan"
_PACKAGES = (
    "keras",
    "tensorflow",
    "ai-edge-litert",
    "ai-edge-quantizer",
    "tf2onnx",
    "onnx",
    "onnxruntime",
    "numpy",
)


def path_of(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the path of the passport of the file or folder at `path`."""
    path = check_path("path", path)
    if not path.name:
        raise InvalidArgument(f"{path} is a folder that has no name of its own")
    return path.with_name(path.name + ".json")


def plan_of(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the path of the plan beside the file at `path`: `net.tflite.plan.json`."""
    path = pathlib.Path(path)
    return path.with_name(path.name + ".plan.json")


def is_plan(place: pathlib.Path) -> bool:
    """Whether a file has the schema of a precision plan; it may be edited and invalid."""
    try:
        text = untrusted.read_text(place, "a precision plan")
        content = untrusted.parse_json(text, place, "a precision plan")
    except InvalidArgument:
        return False
    return isinstance(content, dict) and content.get("schema") == PLAN_SCHEMA


def check_place(path: str | os.PathLike[str]) -> None:
    """Raises `InvalidArgument` if a file that is not a passport has its name."""
    place = path_of(path)
    if not place.exists():
        return
    try:
        passport_text.loaded(place)["sha256"]
    except (OSError, InvalidArgument, KeyError, TypeError):
        raise InvalidArgument(
            f"{place} is not a passport and would be replaced by one: move it away"
        ) from None


@contextlib.contextmanager
def beside(
    path: pathlib.Path,
    overwrite: bool,
    landing: contextlib.AbstractContextManager[pathlib.Path],
) -> Iterator[tuple[pathlib.Path, pathlib.Path]]:
    """Writes a file together with its passport: both are complete before either is moved.

    Args:
        path: the file or folder.
        overwrite: whether `path` may exist.
        landing: `files.atomic_file` or `files.atomic_folder` for `path`.

    Yields:
        The temporary file or folder to write into, and the passport's.

    Raises:
        InvalidArgument: `path` has appeared in the meantime.
    """
    place = path_of(path)
    with (
        contextlib.ExitStack() as lock,
        files.atomic_file(place) as temporary_passport,
        landing as temporary,
    ):
        yield temporary, temporary_passport
        # Held until both are moved.
        lock.enter_context(files.alone(path.parent))
        lock.enter_context(interrupts.held())
        files.check_free(path, overwrite)
        # A new file must never be beside an old passport, or beside the plan of the
        # file that it replaces.
        place.unlink(missing_ok=True)
        if path.exists() and is_plan(plan_of(path)):
            plan_of(path).unlink()


def write(
    place: pathlib.Path,
    file: pathlib.Path,
    report: Any,
    model: Any,
    recipe: dict[str, Any],
    contents: Contents,
) -> None:
    """Writes the passport of a file.

    Args:
        place: the path to write.
        file: the exported file.
        report: the `ExportReport`.
        model: the exported `keras.Model`; one of `create_model` has its architecture,
            weights, preprocessing and classes as attributes.
        recipe: the options of the conversion, as names and plain values.
        contents: the file's `contents.Contents`.
    """
    # Reading passports must not import Keras.
    from keras_resnets.graph import outputs

    record = provenance.of(model)
    content = {
        "model": model.name,
        "architecture": _plain(record.architecture),
        "weights": record.weights_origin,
        "preprocessing": _plain(record.preprocessing),
        "labels": record.labels,
        "task": MULTI_LABEL if outputs.is_multi_label(model) else None,
        "confidence": record.confidence and dict(record.confidence),
        "parameters": model.count_params(),
        "format": report.format,
        "quantize": report.quantize,
        "recipe": recipe,
        "input_shape": report.input_shape,
        "inputs": [_plain(port) for port in contents.inputs],
        "outputs": [_plain(port) for port in contents.outputs],
        "operators": report.operators,
        "min_runtime_version": contents.runtime,
        "parity": {
            "compared": report.compared,
            "outputs": _plain(report.outputs),
            "logits": _plain(report.logits),
        },
        "size": report.size,
        "sha256": sha256(file),
        "versions": {"keras_resnets": __version__, **versions()},
    }
    # JSON has no infinity: the SQNR of equal outputs is written as a string.
    place.write_text(_text(_finite(content)), "utf-8")


def read(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Reads the passport of the file at `path`; None if it has none.

    Raises:
        InvalidArgument: the passport is damaged, or belongs to another file.
    """
    place = path_of(path)
    if not place.is_file():
        return None
    content = passport_text.parse(place)
    if content["sha256"] != sha256(path):
        raise InvalidArgument(
            f"{place} is the passport of another file: the sha256 differs; delete "
            f"it if {pathlib.Path(path).name} is the file that you want"
        )
    return content


def add(path: str | os.PathLike[str], **facts: Any) -> None:
    """Adds keys to the passport of the file at `path`, which was just written."""
    place = path_of(path)
    content = {**json.loads(place.read_text("utf-8")), **facts}
    with files.atomic_file(place) as temporary:
        temporary.write_text(_text(content), "utf-8")


def add_recipe(path: str | os.PathLike[str], **facts: Any) -> None:
    """Adds options of the conversion to a passport, see `add`."""
    content = json.loads(path_of(path).read_text("utf-8"))
    add(path, recipe={**content["recipe"], **facts})


def _text(content: dict[str, Any]) -> str:
    # Arguments may be integers of NumPy.
    text = json.dumps(content, indent=1, allow_nan=False, default=operator.index)
    return text + "\n"


def sha256(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of a file, or of a folder's file names and contents in order."""
    path = pathlib.Path(path)
    if path.is_file():
        with open(path, "rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    whole = hashlib.sha256()
    for file in sorted(entry for entry in path.rglob("*") if entry.is_file()):
        whole.update(f"{file.relative_to(path).as_posix()}\0{sha256(file)}\n".encode())
    return whole.hexdigest()


def _plain(record: Any) -> dict[str, Any] | None:
    return None if record is None else dataclasses.asdict(record)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    unbounded = isinstance(value, float) and value in (float("inf"), float("-inf"))
    return str(value) if unbounded else value


def versions() -> dict[str, str]:
    """Returns the versions of the packages that an export uses, by name."""
    # Commands import this module for their help, and must start fast.
    import importlib.metadata

    versions_by_package = {}
    for name in _PACKAGES:
        try:
            versions_by_package[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions_by_package
