"""The options of a deployment, checked before anything heavy is imported."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from keras_resnets.deploy import option_checks
from keras_resnets.deploy import targets
from keras_resnets.deploy.target import Target
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_positive_int
from keras_resnets.errors import shown
from keras_resnets.export import recipes
from keras_resnets.export.formats import FORMATS


@dataclasses.dataclass(frozen=True)
class Spec:
    """The specification of an exported file.

    Attributes:
        format: format, a key of `export.formats.FORMATS`.
        recipe: name in `quantization.RECIPES`, or `"float32"`.
        io_dtype: type of the input and output of an int8 TFLite file.
        packed: whether convolutions are packed, see `export.tflite.packing`.
        batch: number of images in a batch, or `"dynamic"`.
        pixels: whether the file takes RGB pixels and includes the preprocessing.
        storage: storage of 4-bit weights, see `export.tflite.storage`.
        source: (height, width) of the photos that the file takes, or None.
        depthwise: whether a BN without a convolution before it becomes a depthwise
            convolution, see `export.tflite.depthwise`.
        export: further options of the exporter, as pairs.
    """

    format: str
    recipe: str
    io_dtype: str = "float32"
    packed: bool = True
    batch: int | str = 1
    pixels: bool = False
    storage: str = "int8"
    source: tuple[int, int] | None = None
    depthwise: bool = False
    export: tuple[tuple[str, Any], ...] = ()

    @property
    def file_name(self) -> str:
        """Name of the file, the same for all networks, so that an app can hard-code it."""
        form = FORMATS[self.format]
        return "saved_model" if form.folder else f"model{form.ending}"

    @property
    def quantize(self) -> str:
        """Name of the number format in `export.number_formats`."""
        if self.recipe == targets.FLOAT32:
            return "none"
        return recipes.RECIPES[self.recipe].quantize

    @property
    def integer(self) -> bool:
        """Whether the file computes in int8 or int16."""
        return self.quantize in ("int8", "int16x8")

    def advice(self, recipe: str) -> str:
        """What an error about an operator of this file suggests: `recipe`, if another."""
        if self.recipe == recipe:
            return "use other layers or activations"
        return f"use the recipe {recipe}"


@dataclasses.dataclass(frozen=True)
class Asked:
    """The options that apply to all targets of a run; see `session.deploy`."""

    recipe: str | None = None
    io_dtype: str | None = None
    include_preprocessing: bool = False
    storage: str | None = None
    ram: int | None = None
    flash: int | None = None
    unproven: bool = False
    source: tuple[int, int] | None = None

    def spec(self, target: Target) -> Spec:
        """Returns the specification of a target's file.

        Raises:
            InvalidArgument: the target does not support one of the options.
        """
        recipe = option_checks.check_recipe(target, self.recipe)
        io_dtype = option_checks.check_io(target, recipe, self.io_dtype)
        if self.include_preprocessing:
            option_checks.check_pixels(target, recipe)
        pixels = self.include_preprocessing or target.pixels
        option_checks.check_source(target, self.source, pixels)
        return Spec(
            target.format,
            recipe,
            io_dtype,
            target.layouts[0],
            target.batch,
            pixels,
            option_checks.check_storage(target, recipe, self.storage),
            None if self.source is None else (self.source[0], self.source[1]),
            export=target.export,
        )

    def check(self, rows: Sequence[Target]) -> None:
        """Checks that all targets support the options and that their toolchains exist.

        Args:
            rows: the targets.

        Raises:
            InvalidArgument: an option is not supported, or a toolchain is missing.
        """
        for row in rows:
            self.spec(row)
        for kind in ("ram", "flash"):
            size = getattr(self, kind)
            if size is None:
                continue
            check_positive_int(kind, size)
            if not any(kind in row.memory for row in rows):
                having = [x.name for x in targets.TARGETS.values() if kind in x.memory]
                raise InvalidArgument(
                    f"--{kind} applies to {', '.join(having) or 'no target'}; "
                    f"got {', '.join(row.name for row in rows)}"
                )
        unwritable = [text for row in rows if (text := row.unwritable())]
        if unwritable:
            raise InvalidArgument(
                f"{'; '.join(unwritable)} (also required with --unproven)"
            )
        lacking = [row.missing() for row in rows]
        missing = [text for text in lacking if text]
        if missing and not self.unproven:
            raise InvalidArgument(
                f"{'; '.join(missing)} (use --unproven to write the files without a proof)"
            )


def find_all(names: str | Sequence[str]) -> tuple[Target, ...]:
    """Returns the targets of one or several names, each once.

    Raises:
        InvalidArgument: there is no such target, or no name.
    """
    words = [names] if isinstance(names, str) else names
    if not isinstance(words, Sequence):
        raise InvalidArgument(
            f"target must be the name of a target or a list of names; got {shown(words)}"
        )
    if not words:
        raise InvalidArgument("target must name at least one target; got none")
    # A dict removes duplicates: targets have no hash.
    return tuple({word: targets.find(word) for word in words}.values())
