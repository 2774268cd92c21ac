"""What is asked of targets, checked before anything heavy is imported."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from keras_resnets.deploy import allowed
from keras_resnets.deploy import targets
from keras_resnets.deploy.row import Target
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_positive_int
from keras_resnets.errors import shown
from keras_resnets.export import recipes
from keras_resnets.export.formats import FORMATS


@dataclasses.dataclass(frozen=True)
class Spec:
    """What an exported file is to be.

    Attributes:
        format: key of `export.formats.FORMATS`.
        recipe: name in `quantization.RECIPES`, or `"float32"`.
        io_dtype: of an int8 TFLite file.
        packed: see `export.tflite.packing`.
        batch: images at a time, or `"dynamic"`.
        pixels: whether the preprocessing is inside.
        storage: of weights of 4 bits, see `export.tflite.storage`.
        source: (height, width) of the photos that go in, or None.
        depthwise: whether a BN without a convolution before it is a depthwise
            convolution, see `export.tflite.depthwise`.
        export: options of the exporter besides, as pairs.
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
        """Of the file in the folder of every target: an app need not know the network."""
        form = FORMATS[self.format]
        return "saved_model" if form.folder else f"model{form.ending}"

    @property
    def quantize(self) -> str:
        """The word of `export.number_formats`."""
        if self.recipe == targets.FLOAT32:
            return "none"
        return recipes.RECIPES[self.recipe].quantize

    @property
    def integer(self) -> bool:
        """Whether it computes in int8 or int16."""
        return self.quantize in ("int8", "int16x8")


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is asked of all targets of one run alike; see `session.deploy`."""

    recipe: str | None = None
    io_dtype: str | None = None
    include_preprocessing: bool = False
    storage: str | None = None
    ram: int | None = None
    flash: int | None = None
    unproven: bool = False
    source: tuple[int, int] | None = None

    def spec(self, target: Target) -> Spec:
        """What the file of a target is to be.

        Raises:
            InvalidArgument: something that the target does not take.
        """
        recipe = allowed.check_recipe(target, self.recipe)
        io_dtype = allowed.check_io(target, recipe, self.io_dtype)
        if self.include_preprocessing:
            allowed.check_pixels(target, recipe)
        pixels = self.include_preprocessing or target.pixels
        allowed.check_source(target, self.source, pixels)
        return Spec(
            target.format,
            recipe,
            io_dtype,
            target.layouts[0],
            target.batch,
            pixels,
            allowed.check_storage(target, recipe, self.storage),
            None if self.source is None else (self.source[0], self.source[1]),
            export=target.export,
        )

    def check(self, rows: Sequence[Target]) -> None:
        """Raises `InvalidArgument` for what a target does not take, or cannot be proven.

        Args:
            rows: of the table.
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
                    f"--{kind} is what a device has, of {', '.join(having) or 'none'}; "
                    f"got {', '.join(row.name for row in rows)}"
                )
        unwritable = [text for row in rows if (text := row.unwritable())]
        if unwritable:
            raise InvalidArgument(f"{'; '.join(unwritable)} (--unproven needs it too)")
        lacking = [row.missing() for row in rows]
        missing = [text for text in lacking if text]
        if missing and not self.unproven:
            raise InvalidArgument(
                f"{'; '.join(missing)} (--unproven writes the files all the same)"
            )


def find_all(names: str | Sequence[str]) -> tuple[Target, ...]:
    """The rows of one name or several, each once.

    Raises:
        InvalidArgument: a name that no row has, or none.
    """
    words = [names] if isinstance(names, str) else names
    if not isinstance(words, Sequence):
        raise InvalidArgument(
            f"target must be a name of the table or several; got {shown(words)}"
        )
    if not words:
        raise InvalidArgument(
            "target must name at least one row of the table; got none"
        )
    # A row holds mappings, which have no hash.
    return tuple({word: targets.find(word) for word in words}.values())
