"""`keras-resnets export`: writes a file, runs it and compares it with the network."""

import argparse
import dataclasses
import pathlib
import typing

from keras_resnets.cli.arguments import calibration
from keras_resnets.cli.arguments import mode_and_labels
from keras_resnets.cli.arguments import model_argument
from keras_resnets.cli.arguments import network
from keras_resnets.cli.arguments import options
from keras_resnets.cli.arguments import parsing
from keras_resnets.cli.arguments.network import say
from keras_resnets.cli.commands import quantize
from keras_resnets.cli.printing import output
from keras_resnets.cli.printing import output_kinds
from keras_resnets.errors import InvalidArgument
from keras_resnets.export import number_formats
from keras_resnets.export import recipes
from keras_resnets.export.formats import FORMATS
from keras_resnets.export.formats import Format
from keras_resnets.io import files
from keras_resnets.system.quiet import native_logs_hidden

if typing.TYPE_CHECKING:
    import keras
    import numpy as np

    from keras_resnets.export.landing import ExportReport
    from keras_resnets.images.calibration import CalibrationSet
    from keras_resnets.images.preprocessing import Preprocessing
    from keras_resnets.weights.source import Source


@dataclasses.dataclass(frozen=True)
class _FormatOption:
    """An option that only some formats or number formats have.

    Attributes:
        flag: name of the option, such as `"--batch"`.
        how: arguments of `add_argument`.
        numbers: number formats that it applies to; empty for all.
        what: description of what it sets, for messages.
    """

    flag: str
    how: dict[str, typing.Any]
    numbers: tuple[str, ...] = ()
    what: str = ""


# By the name of the exporters' argument; `formats.FORMATS` lists the options of a format.
_OPTIONS = {
    "batch": _FormatOption("--batch", options.BATCH),
    "source": _FormatOption("--source", options.SOURCE),
    "metadata": _FormatOption("--metadata", options.METADATA),
    "opset": _FormatOption(
        "--opset", {"type": options.whole(13, 18), "help": "ONNX opset (17)"}
    ),
    "layout": _FormatOption(
        "--layout",
        {"choices": ("nhwc", "nchw"), "help": "layout of the input (nhwc)"},
    ),
    "io_dtype": _FormatOption(
        "--io-dtype",
        options.IO_DTYPE,
        ("int8",),
        "the type of the input and output of int8 files",
    ),
    "packed": _FormatOption(
        "--unpacked",
        options.UNPACKED,
        ("int8",),
        "the arrangement of convolutions in int8 files",
    ),
    "pooled_strides": _FormatOption(
        "--pooled-strides",
        options.switch("write strided 1x1 convolutions for LiteRT's GPU accelerator"),
        ("int8", "dynamic"),
        "the form of strided 1x1 convolutions of int8 weights",
    ),
    "sparse": _FormatOption(
        "--sparse",
        options.SPARSE,
        ("none", "int8"),
        "the storage of kernels in float32 and int8 files",
    ),
    "reduce_range": _FormatOption(
        "--reduce-range",
        options.switch("7-bit weights, as ONNX Runtime's quantizer has them"),
        ("int8",),
        "the range of the weights of int8 files",
    ),
    "full_range": _FormatOption(
        "--full-range",
        options.switch("8-bit weights, which overflow on x86 without VNNI"),
        ("int8",),
        "the range of the weights of int8 files",
    ),
    "symmetric": _FormatOption(
        "--symmetric",
        options.switch("symmetric int8 activations, as TensorRT requires"),
        ("int8",),
        "the storage of activations in int8 files",
    ),
}
_METHOD = _FormatOption(
    "--method", {}, ("int8",), "the calibration method of int8 files"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(network.Network, network.Output, calibration.Calibration):
    """The options of `keras-resnets export FORMAT`; see its help.

    Options that were not given, or that the format does not have, are None.
    """

    format: str
    recipe: str
    word: str
    method: str | None
    batch: int | str | None
    opset: int | None
    layout: str | None
    io_dtype: str | None
    packed: bool | None
    source: tuple[int, int] | None
    metadata: bool | None
    pooled_strides: bool | None
    sparse: bool | None
    reduce_range: bool | None
    full_range: bool | None
    symmetric: bool | None
    include_preprocessing: bool
    logits: bool
    features: str | None
    heatmap: bool
    threads: int | None
    predict: str | None
    evaluate: str | None

    @property
    def ending(self) -> str:
        """The end of the default path."""
        is_float = self.recipe == number_formats.FLOAT32
        return f"{'' if is_float else f'_{self.word}'}{self.form.ending}"

    def check_free(self) -> None:
        """Raises `InvalidArgument` for a file or folder to write that exists."""
        super().check_free()
        if self.form.folder and pathlib.Path(self.path()).exists():
            files.check_folder(self.path(), self.form.folder, self.overwrite)

    def __post_init__(self) -> None:
        super().__post_init__()
        network.check_photos(self)
        if self.reduce_range and self.full_range:
            raise InvalidArgument(
                "--reduce-range and --full-range are two ranges of int8 weights: give "
                "one of them"
            )
        if not self.is_own:
            self.check_numbers(self.numbers)
        if self.features and (self.logits or self.predict):
            raise InvalidArgument(
                "--features returns feature maps: leave out --logits and --predict"
            )
        self._check_heatmap()
        if self.evaluate is not None and self.weights is None and not self.is_own:
            raise InvalidArgument(
                "--evaluate requires --weights: random weights cannot predict classes"
            )
        if self.evaluate is not None and self.features:
            raise InvalidArgument(
                "--evaluate compares predicted classes: leave out --features"
            )
        if self.data is None and self.numbers.calibrated:
            raise InvalidArgument(
                f"--recipe {self.recipe} requires --calibration IMAGES"
            )
        if self.data is None and self.count is not None:
            raise InvalidArgument(
                "--calibration-count is the number of images of --calibration, which is "
                "missing"
            )

    def check_numbers(self, numbers: number_formats.NumberFormat) -> None:
        """Raises `InvalidArgument` for an option of other number formats.

        That of a quantization-aware `.keras` file is known when it is loaded.
        """
        for name, option in {**_OPTIONS, "method": _METHOD}.items():
            is_set = getattr(self, name) is not None
            if is_set and option.numbers and numbers.name not in option.numbers:
                raise InvalidArgument(
                    f"{option.flag} sets {option.what}; got --recipe {self.recipe}"
                )

    def _check_heatmap(self) -> None:
        if self.heatmap and (self.logits or self.features or self.predict):
            raise InvalidArgument(
                "--heatmap adds an output beside the probabilities: leave out --logits, "
                "--features and --predict (keras-resnets explain shows heat maps)"
            )
        if self.heatmap and self.evaluate is not None:
            raise InvalidArgument(
                "--heatmap adds an output: leave out --evaluate, and use keras-resnets "
                "evaluate on the file"
            )

    @property
    def form(self) -> Format:
        """The `Format` of the file."""
        return FORMATS[self.format]

    @property
    def numbers(self) -> number_formats.NumberFormat:
        """The `NumberFormat` of the file."""
        return recipes.format_of(self.recipe)

    def for_exporter(
        self, preprocessing: "Preprocessing | None"
    ) -> dict[str, typing.Any]:
        """Returns the exporter's arguments, besides model, path and images."""
        arguments = {name: getattr(self, name) for name in self.form.options}
        arguments["threads"] = self.threads
        arguments["method"] = self.method
        arguments["features"] = self.features and self.features.split(",")
        arguments["preprocessing"] = (
            preprocessing if self.include_preprocessing else None
        )
        arguments = {
            name: value for name, value in arguments.items() if value is not None
        }
        return {**arguments, "overwrite": self.overwrite, "logits": self.logits}


def add_to(commands: parsing.Commands) -> None:
    """Adds the command."""
    export = commands.add_parser("export")
    formats = export.add_subparsers(title="formats", required=True, metavar="FORMAT")
    for form in FORMATS.values():
        parser = formats.add_parser(form.name, help=form.title)
        # Options that this format does not have.
        unknown = {"method", "data", "count", "threads", "quantize", *_OPTIONS}
        parser.set_defaults(**dict.fromkeys(unknown), per_tensor=False)
        parser.set_defaults(recipe=None, format=form.name)
        _add_network(parser)
        _add_file(parser, form)
        if form.methods:
            _add_quantization(parser, form)
            calibration.add_options(parser, required=False, count=None)
        else:
            group = parser.add_argument_group("random weights")
            options.add_seed(group, "of random weights (0)")
        _add_comparison(parser, form)
        examples = [
            f"resnet20 --weights cifar10 --output resnet20{form.ending}",
            f"run/ --include-preprocessing --output mine{form.ending}",
        ]
        if form.methods:
            examples[1] = "run/ --recipe static_wi8_ai8 --calibration photos/"
        options.set_command(
            parser,
            Options,
            _export,
            facts={
                **network.FACTS,
                "top_five": "with --predict: (class, probability) of the model and the "
                "file; else null",
            },
            examples=examples,
            report=True,
            prepare=_replace_old_words,
        )


def _add_network(parser: argparse.ArgumentParser) -> None:
    model_argument.add_model(parser)
    group = parser.add_argument_group("network")
    group.add_argument("--weights", help=f"{network.WEIGHTS}; default: random")
    mode_and_labels.add_options(group)
    network.add_options(group)


def _add_file(parser: argparse.ArgumentParser, form: Format) -> None:
    group = network.add_output(parser, f"default: MODEL[_RECIPE]{form.ending}")
    pixels = "take RGB pixels as uint8"
    if form.folder:
        pixels += ", in a second signature"
    group.add_argument("--include-preprocessing", action="store_true", help=pixels)
    group.add_argument("--logits", action="store_true", help="omit the softmax")
    group.add_argument(
        "--features", metavar="STAGES", help="return feature maps: stage2,stage4"
    )
    network.add_heatmap(group)
    _add_format_options(group, form, of_numbers=False)


def _add_format_options(group: parsing.Group, form: Format, of_numbers: bool) -> None:
    """Adds the options of a format that depend on the number format, or the others."""
    for name in form.options:
        option = _OPTIONS.get(name)
        if option is not None and bool(option.numbers) == of_numbers:
            group.add_argument(option.flag, dest=name, **option.how)


def _add_quantization(parser: argparse.ArgumentParser, form: Format) -> None:
    group = parser.add_argument_group("quantization")
    quantize.add_recipe(group, form.recipes, None, number_formats.FLOAT32)
    # The former name of `--recipe`, and a former switch.
    group.add_argument(
        "--quantize",
        choices=(*number_formats.OLD_WORDS, *form.recipes),
        help=argparse.SUPPRESS,
    )
    if form.name == "tflite":
        group.add_argument("--per-tensor", action="store_true", help=argparse.SUPPRESS)
    group.add_argument(
        "--method",
        choices=form.methods,
        help=f"calibration method of int8 ({form.methods[0]})",
    )
    _add_format_options(group, form, of_numbers=True)


def _replace_old_words(namespace: argparse.Namespace) -> None:
    """Replaces former options by their new names, and prints a note."""
    old, typed = namespace.quantize, namespace.recipe
    recipe = number_formats.OLD_WORDS.get(old, old) or typed or number_formats.FLOAT32
    namespace.word = old or recipe
    if old and typed and recipe != typed:
        raise InvalidArgument(
            f"--quantize {old} is --recipe {recipe}: give one of both"
        )
    words = [f"--quantize {old}"] if old else []
    if namespace.per_tensor:
        whole = f"{recipe}_per_tensor"
        if whole not in FORMATS[namespace.format].recipes:
            raise InvalidArgument(
                "--per-tensor applies to the weights of int8 and int16 files; "
                f"got --recipe {recipe}"
            )
        words, recipe = [*words, "--per-tensor"], whole
    if words:
        output.note(
            f"note: {' '.join(words)} is --recipe {recipe} now; the old options will be "
            "removed in the next version"
        )
    namespace.recipe = recipe


def _add_comparison(parser: argparse.ArgumentParser, form: Format) -> None:
    group = parser.add_argument_group("comparison")
    group.add_argument(
        "--evaluate",
        metavar="DATA",
        help="compare the accuracy on labelled images: .npz (x_test) or folder",
    )
    group.add_argument(
        "--predict", metavar="PHOTO", help="show the top five of both for a photo"
    )
    if form.has_threads:
        group.add_argument(
            "--threads", type=options.THREADS, help=f"threads of {form.runtime} (2)"
        )


def _export(asked: Options) -> None:
    form = asked.form
    with native_logs_hidden():
        from keras_resnets.cli.printing import reports
        from keras_resnets.export import model_kinds
        from keras_resnets.images import loading

        path = asked.path()
        form.room.check_output(path, asked.overwrite)
        model, _, source = network.build(asked, head_needed=not asked.features)
        kind = model_kinds.kind_of(model)
        asked.check_numbers(kind.numbers if kind else asked.numbers)
        preprocessing = model.preprocessing
        chosen = photo = None
        if asked.data is not None:
            chosen = calibration.choose(asked, model, fewest=1)
        if asked.predict is not None:
            photo = loading.load_image(asked.predict, preprocessing)
        images = _images(
            model, source, asked, None if chosen is None else chosen.images
        )
        numbers = kind.numbers.title if kind else asked.recipe
        output.note(f"converting to {form.title.split()[0]} ({numbers}) ...")
        data = quantize.labelled(asked.evaluate, model)
        exported = network.with_heatmap(model) if asked.heatmap else model
        report = _make(asked, exported, path, images, chosen)
        network.say_export(report, "calibration" if chosen else "synthetic")
        network.say_figures(model, report, data, asked.threads or 2, asked.logits)
        if photo is not None and asked.predict is not None:
            say(reports.top_five(model, report, photo, asked.predict))


def _make(
    asked: Options,
    model: "keras.Model",
    path: str | pathlib.Path,
    images: "np.ndarray",
    chosen: "CalibrationSet | None",
) -> "ExportReport":
    """Writes the file; returns its `ExportReport`."""
    form, arguments = asked.form, asked.for_exporter(model.preprocessing)
    if form.name == "tflite" and asked.recipe != number_formats.FLOAT32:
        from keras_resnets import quantization

        arguments |= {"images": images, "seed": asked.seed}
        with quantize.progress_of(chosen) as bar:
            return quantization.quantize(
                model, path, asked.recipe, chosen, progress=bar, **arguments
            )
    if form.methods:
        arguments |= {"recipe": asked.recipe, "calibration": chosen and chosen.images}
    return getattr(form.room, form.exporter)(model, path, images=images, **arguments)


def _images(
    model: "keras.Model",
    source: "Source | None",
    asked: Options,
    chosen: "np.ndarray | None",
) -> "np.ndarray":
    """Returns the images to compare on; prints a line about the model.

    A model with random weights is settled first, see `export.random_weights`.
    """
    from keras_resnets.export import random_weights
    from keras_resnets.images import samples

    shape = tuple(model.inputs[0].shape[1:])
    images = samples.default_images(shape, chosen, model.preprocessing)
    origin = f"weights from {asked.weights or asked.model}"
    if source is None:
        # The outputs of an untrained network hardly depend on its input.
        random_weights.settle(model, images, asked.seed)
        origin = f"random weights and BN statistics (seed {asked.seed})"
    output.note(
        f"{model.name}  {model.count_params():,} parameters, "
        f"{shape[0]} x {shape[1]} x {shape[2]} -> {output_kinds.text(model)}, {origin}"
    )
    return images
