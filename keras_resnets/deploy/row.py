"""A row of the table of targets: a device, what its files must be, what proves them."""

import dataclasses
import importlib
import importlib.util
import os
import shutil
from collections.abc import Mapping
from typing import Any

from keras_resnets.deploy import variables
from keras_resnets.export.formats import FORMATS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """A device or runtime, and what a file must be for it.

    Attributes:
        name: on the command line; the name of its folder.
        title: what people call it.
        format: key of `export.formats.FORMATS`.
        recipes: what its file may compute in: names of `quantization.RECIPES`, or
            `"float32"`; the first is the default.
        refused: why another recipe is not allowed, by its name.
        io_dtypes: input and output of its int8 file; the first is the default.
        layouts: whether its int8 convolutions are packed (`export.tflite.packing`); of
            several the toolchain takes the one that its own figures call faster.
        batch: images at a time, or `"dynamic"`.
        storages: how its file may store weights of 4 bits, of `export.tflite.storage`;
            the first is the default.
        no_storage: why not otherwise, where something is to be said.
        pixels: whether its file takes RGB pixels, asked for or not.
        no_pixels: why its file cannot take RGB pixels, where it cannot.
        float_pixels: whether a file that computes in floats may take uint8 pixels.
        photos: whether its file may take photos of another size, and crop and resize
            them itself, see `export.tflite.source`.
        no_photos: why not otherwise.
        operators: the names of all that it runs, in a file's own words; empty where the
            toolchain tells.
        export: options of the exporter besides, as pairs: `(("layout", "nchw"),)`.
        toolchain: module of `keras_resnets.deploy` that proves a file; None: none does.
        proof: what proves a file, for people; or why nothing does.
        module: what must be importable for that.
        program: what must be on the path for it.
        variable: of the environment, that must name what else it needs: a Python of its
            own, or a folder.
        imports: modules that this Python must have.
        holds: paths that this folder must have.
        install: what to type where it is not.
        tools: module of `keras_resnets.deploy` whose `missing(name)` tells what lacks
            besides, where that is no module of Python.
        files: patterns of the files that its folder has besides those of all targets.
        settings: of its toolchain.
        takes: what refuses a file there, in messages.
        checks: module of `keras_resnets.deploy` whose `check(job, exported)` tells, without
            its toolchain, what that would refuse.
        quantizes: whether its toolchain rounds a float file by itself: classes are
            compared then, and no outputs.
        exact: whether its integer kernels are those that LiteRT calls the reference, and
            not XNNPACK's, which round otherwise: in a deep network a step of a softmax
            becomes twenty where two classes are about as likely.
        within: the largest difference of outputs that is a step of rounding there,
            where its kernels compute integers in floats.
        memory: figures of its report that `--ram` and `--flash` are compared with.
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
        """Its toolchain, imported now; None without one."""
        if self.toolchain is None:
            return None
        return importlib.import_module(f"keras_resnets.deploy.{self.toolchain}")

    def unwritable(self) -> str | None:
        """Why its file cannot even be written here, and what to do; None where it can."""
        packages = FORMATS[self.format].packages
        lacking = [name for name in packages if importlib.util.find_spec(name) is None]
        if not lacking:
            return None
        return (
            f"{self.name} takes a file of {FORMATS[self.format].title}; of what writes "
            f"one {', '.join(lacking)} is missing: "
            f'pip install "keras-resnets[{self.format}]"'
        )

    def missing(self) -> str | None:
        """Why nothing can prove a file here, and what to do; None where it can."""
        if self.toolchain is None:
            return f"{self.name}: {self.proof}"
        if reason := self.unwritable():
            return reason
        if self.tools is not None:
            tools = importlib.import_module(f"keras_resnets.deploy.{self.tools}")
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
        """Why what `variable` names cannot be used; None where it can."""
        if self.variable is None:
            return None
        if self.imports:
            return variables.unusable_python(self.variable, self.imports)
        return variables.unusable_folder(self.variable, self.holds)
