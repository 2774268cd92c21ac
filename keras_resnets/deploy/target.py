"""The record of one deployment target: its device, its files and its toolchain."""

import dataclasses
import importlib
import importlib.util
import os
import shutil
from collections.abc import Mapping
from typing import Any

from keras_resnets.deploy import environment
from keras_resnets.export.formats import FORMATS


def module_of(name: str) -> Any:
    """Returns a module of `toolchains`, imported."""
    return importlib.import_module(f"keras_resnets.deploy.toolchains.{name}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """A device or runtime, and the requirements of its files.

    Attributes:
        name: name on the command line, and of the target's folder.
        title: description for people.
        format: format of the file, a key of `export.formats.FORMATS`.
        recipes: number formats that the target runs: names in `quantization.RECIPES`, or
            `"float32"`; the first is the default.
        refused: reason why a recipe is not supported, by its name.
        io_dtypes: types of the input and output of an int8 file; the first is the
            default.
        layouts: whether int8 convolutions are packed (`export.tflite.packing`); if both
            are listed, the toolchain chooses the faster one by its own estimate.
        batch: number of images in a batch, or `"dynamic"`.
        storages: supported storages of 4-bit weights, from `export.tflite.storage`;
            the first is the default.
        no_storage: reason why the other storages are not supported.
        pixels: whether the file always takes RGB pixels.
        no_pixels: reason why the file cannot take RGB pixels; empty if it can.
        float_pixels: whether a float file can take uint8 pixels.
        photos: whether the file can take photos of another size, and crop and resize
            them itself, see `export.tflite.source`.
        no_photos: reason why it cannot.
        operators: names of all supported operators, as in the file; empty if the
            toolchain checks them.
        export: further options of the exporter, as pairs: `(("layout", "nchw"),)`.
        toolchain: module of `keras_resnets.deploy` that runs the file; None if there is
            none.
        proof: description of the toolchain, or the reason why there is none.
        module: Python module that the toolchain needs.
        program: program on the PATH that the toolchain needs.
        variable: environment variable that names a Python interpreter or a folder that
            the toolchain needs.
        imports: modules that this interpreter must be able to import.
        holds: paths that must exist in this folder.
        install: command that installs the toolchain.
        tools: module of `keras_resnets.deploy` whose `missing(name)` checks for
            requirements other than Python modules.
        files: patterns of the files that are in this target's folder only.
        settings: settings of the toolchain.
        takes: name of the toolchain in error messages.
        checks: module of `keras_resnets.deploy` whose `check(job, exported)` checks the
            rules of a toolchain without running it.
        quantizes: whether the toolchain itself quantizes a float file; then only the
            predicted classes are compared.
        exact: whether its integer kernels equal LiteRT's reference kernels. XNNPACK's
            round differently: in a deep network a difference of one step before the
            softmax can become twenty steps after it, if two classes are about equally
            likely.
        within: largest difference of the outputs that counts as one rounding step,
            for kernels that compute integer operators in floats.
        memory: figures of the report that `--ram` and `--flash` are compared with.
    """

    name: str
    title: str
    format: str = "tflite"
    recipes: tuple[str, ...] = ("static_wi8_ai8",)
    refused: Mapping[str, str] = dataclasses.field(default_factory=dict)
    io_dtypes: tuple[str, ...] = ("int8", "uint8", "float32")
    layouts: tuple[bool, ...] = (True,)
    batch: int | str = 1
    storages: tuple[str, ...] = ("int8", "conv_int4", "fully_connected")
    no_storage: str = ""
    pixels: bool = False
    no_pixels: str = ""
    float_pixels: bool = True
    photos: bool = False
    no_photos: str = "it takes images of the network's size"
    operators: frozenset[str] = frozenset()
    export: tuple[tuple[str, Any], ...] = ()
    toolchain: str | None = None
    proof: str = ""
    module: str | None = None
    program: str | None = None
    variable: str | None = None
    imports: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()
    install: str = ""
    tools: str | None = None
    files: tuple[str, ...] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    takes: str = ""
    checks: str | None = None
    quantizes: bool = False
    exact: bool = False
    within: float = 0.0
    memory: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def room(self) -> Any:
        """The imported module of the toolchain; None if there is none."""
        if self.toolchain is None:
            return None
        return importlib.import_module(
            f"keras_resnets.deploy.toolchains.{self.toolchain}"
        )

    def unwritable(self) -> str | None:
        """Returns why the file cannot be exported here and what to install, or None."""
        packages = FORMATS[self.format].packages
        lacking = [name for name in packages if importlib.util.find_spec(name) is None]
        if not lacking:
            return None
        return (
            f"{self.name} takes a file of {FORMATS[self.format].title}, and writing one "
            f"requires {', '.join(lacking)}, which is missing: "
            f'pip install "keras-resnets[{self.format}]"'
        )

    def missing(self) -> str | None:
        """Returns why the toolchain cannot run here and what to install, or None."""
        if self.toolchain is None:
            return f"{self.name}: {self.proof}"
        if reason := self.unwritable():
            return reason
        if self.tools is not None:
            tools = importlib.import_module(
                f"keras_resnets.deploy.toolchains.{self.tools}"
            )
            lacking = tools.missing(self.name)
            return lacking and f"{self.name} is proven by {lacking}"
        if (
            (self.module is None or importlib.util.find_spec(self.module) is not None)
            and (self.program is None or shutil.which(self.program) is not None)
            and (self.variable is None or os.environ.get(self.variable))
        ):
            unusable = self._unusable()
            return unusable and f"{self.name}: {unusable}: {self.install}"
        return (
            f"{self.name} is proven by {self.proof}, which is missing: {self.install}"
        )

    def _unusable(self) -> str | None:
        """Returns why the value of `variable` cannot be used, or None."""
        if self.variable is None:
            return None
        if self.imports:
            return environment.unusable_python(self.variable, self.imports)
        return environment.unusable_folder(self.variable, self.holds)
