"""The table of export formats, and the interface of their modules.

The module or package `keras_resnets.export.<name>` of a format is imported on access. It
has
    to_<name>(model, path, ...)        the exporter, which calls `session.begin`, `land`
    check_output(path, overwrite)      checks the path to write to, and returns it
    Runner(path, threads, logits)      runs a file, see `compare.open_runner`
    read(path)                         reads a file: `contents.Contents`
    check(path)                        raises `InvalidArgument` for a file that its
                                       runtime must not open
    load_runtime()                     imports the runtime of the files
"""

import dataclasses
import importlib
import os
import pathlib
from collections.abc import Callable
from typing import Any

from keras_resnets import lazy
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_path
from keras_resnets.export import number_formats
from keras_resnets.export import recipes


def room(
    package: str, runner: str
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """Returns `__all__`, `__getattr__` and `__dir__` of the package of a format.

    Args:
        package: `__name__` of the package, which has `convert`, `runner` and `contents`.
        runner: name of the class in the module `runner`.
    """
    modules = {
        "Runner": f".runner:{runner}",
        "check": ".contents",
        "check_output": ".convert",
        "load_runtime": ".runner",
        "read": ".contents",
        f"to_{package.rpartition('.')[2]}": ".convert",
    }
    return list(modules), *lazy.attributes(package, modules)


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of exported files.

    Attributes:
        name: name in reports and passports, of the sub-command of `export`, and of the
            package.
        title: name in help.
        runtime: name of the runtime.
        ending: suffix of the files; for a folder the default suffix.
        folder: for a format that is a folder: the files that the exporter writes, first
            the one by which the folder is recognized; no other folder is replaced.
        recipes: the recipes that its exporter takes, the default first.
        methods: the calibration methods of the exporting command for an int8 file.
        options: options of the exporting command that are passed to the exporter.
        has_threads: whether its runtime takes a number of threads for each file.
        is_program: whether a file can do anything to the process that runs it:
            untrusted ones are run in a separate process.
        shows_logits: whether the input of the softmax can be read in its files.
        packages: what its exporter imports of the extra that has its name.
    """

    name: str
    title: str
    runtime: str
    ending: str
    folder: tuple[str, ...] = ()
    recipes: tuple[str, ...] = (number_formats.FLOAT32,)
    methods: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    has_threads: bool = True
    is_program: bool = True
    shows_logits: bool = True
    packages: tuple[str, ...] = ()

    @property
    def room(self) -> Any:
        """Imports and returns its module or package."""
        return importlib.import_module(f"keras_resnets.export.{self.name}")

    @property
    def numbers(self) -> tuple[str, ...]:
        """The number formats of its files."""
        formats = map(recipes.format_of, self.recipes)
        return tuple(dict.fromkeys(numbers.name for numbers in formats))

    @property
    def exporter(self) -> str:
        """The name of its function."""
        return f"to_{self.name}"


_ALL = (
    Format(
        "tflite",
        "TFLite for LiteRT",
        "LiteRT",
        ".tflite",
        recipes=(number_formats.FLOAT32, *recipes.RECIPES),
        methods=("mse", "minmax", "percentile"),
        options=(
            "batch",
            "io_dtype",
            "packed",
            "pooled_strides",
            "sparse",
            "source",
            "metadata",
        ),
    ),
    Format(
        "onnx",
        "ONNX",
        "ONNX Runtime",
        ".onnx",
        recipes=("float32", "float16", "static_wi8_ai8"),
        methods=("minmax", "percentile"),
        options=(
            "batch",
            "opset",
            "layout",
            "method",
            "reduce_range",
            "symmetric",
            "full_range",
        ),
        packages=("tf2onnx", "onnx", "onnxruntime"),
    ),
    Format(
        "saved_model",
        "SavedModel for TensorFlow Serving",
        "TensorFlow",
        "_saved_model",
        # The files that any release of TensorFlow writes: nothing else is replaced, and
        # no assets.
        folder=(
            "saved_model.pb",
            "fingerprint.pb",
            "keras_metadata.pb",
            "variables/variables.index",
            "variables/variables.data-?????-of-?????",
            "assets/",
        ),
        options=("batch",),
        has_threads=False,
        shows_logits=False,
    ),
    Format(
        "keras",
        "Keras file that loads without this package",
        "Keras",
        ".keras",
        has_threads=False,
        is_program=False,
    ),
)
FORMATS = {form.name: form for form in _ALL}
# The suffixes of files, in the order of messages.
ENDINGS = tuple(form.ending for form in _ALL if not form.folder)


def looks_exported(path: str | os.PathLike[str]) -> bool:
    """Whether a path is an exported file by its name, or by the contents of a folder."""
    path = pathlib.Path(path)
    return path.suffix.lower() in ENDINGS or _folder_format(path) is not None


def format_of(path: str | os.PathLike[str]) -> Format:
    """Returns the `Format` of an exported file or folder.

    Raises:
        InvalidArgument: the path does not exist, or is of no such format.
    """
    path = check_path("path", path)
    # Unlike path.exists(), false for a name that is too long.
    if not os.path.exists(path):
        raise InvalidArgument(f"there is no file or folder {str(path)!r}")
    if path.is_dir():
        form = _folder_format(path)
        if form is None:
            marks = " or a ".join(form.folder[0] for form in _ALL if form.folder)
            raise InvalidArgument(f"{path} is a folder without a {marks} in it")
        return form
    suffix = path.suffix.lower()
    form = next((form for form in _ALL if form.ending == suffix), None)
    if form is None or form.folder:
        words = f"{', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}"
        folders = [form.title.split()[0] for form in _ALL if form.folder]
        raise InvalidArgument(
            f"{path} must be a {words} file, or the folder of a {' or '.join(folders)}"
        )
    if not path.is_file():
        # A pipe or a device may have no end.
        raise InvalidArgument(f"{path} is not a regular file")
    return form


def _folder_format(path: pathlib.Path) -> Format | None:
    folders = (form for form in _ALL if form.folder)
    return next((form for form in folders if (path / form.folder[0]).is_file()), None)
