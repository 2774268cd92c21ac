"""`keras-resnets export`: files that have been run and compared."""

import dataclasses
import functools
import typing
import warnings

from keras_resnets.cli import naming
from keras_resnets.cli import network
from keras_resnets.cli import options
from keras_resnets.cli import output
from keras_resnets.cli.network import say
from keras_resnets.errors import InvalidArgument
from keras_resnets.export import number_formats
from keras_resnets.export.formats import FORMATS
from keras_resnets.system.quiet import native_logs_hidden

# Images for ranges, at the most.
_COUNT = 500


@dataclasses.dataclass(frozen=True)
class _Own:
    """An option that not every format and not every number format has.

    Attributes:
        flag: what is typed.
        how: what the parser is told of it.
        numbers: words of `--quantize` that it belongs to; empty for all.
        what: what it is of those, for messages.
    """

    flag: str
    how: dict[str, typing.Any]
    numbers: tuple[str, ...] = ()
    what: str = ""


def _switch(text, value=True):
    return {"action": "store_const", "const": value, "help": text}


# By the name that the exporters have for it; `formats.FORMATS` says who has which.
_OPTIONS = {
    "batch": _Own(
        "--batch",
        {"type": options.batch, "help": "images at a time: number, or dynamic"},
    ),
    "source": _Own("--source", options.SOURCE),
    "metadata": _Own("--metadata", options.METADATA),
    "opset": _Own(
        "--opset", {"type": options.whole(13, 18), "help": "of the file (17)"}
    ),
    "layout": _Own(
        "--layout",
        {"choices": ("nhwc", "nchw"), "help": "of the file's input (nhwc)"},
    ),
    "io_dtype": _Own(
        "--io-dtype",
        {
            "choices": number_formats.IO_DTYPES,
            "help": "input and output of an int8 file (int8)",
        },
        ("int8",),
        "the type of the input and output of --quantize int8",
    ),
    "per_tensor": _Own(
        "--per-tensor",
        _switch("one scale a kernel, not a channel"),
        ("int8", "int16x8"),
        "how the weights of --quantize int8 and int16x8 are rounded",
    ),
    "packed": _Own(
        "--unpacked",
        _switch("int8 convolutions as the network has them: microcontrollers", False),
        ("int8",),
        "how the convolutions of --quantize int8 are arranged",
    ),
    "pooled_strides": _Own(
        "--pooled-strides",
        _switch("strided 1x1 convolutions as LiteRT's GPU accelerator computes them"),
        ("int8", "dynamic"),
        "how strided 1x1 convolutions of int8 weights are written",
    ),
    "sparse": _Own(
        "--sparse",
        _switch("kernels of many zeros, as prune leaves them, without these"),
        ("none", "int8"),
        "how the kernels of --quantize none and int8 are stored",
    ),
    "reduce_range": _Own(
        "--reduce-range",
        _switch("7-bit weights, for x86 without VNNI"),
        ("int8",),
        "how the weights of --quantize int8 are rounded",
    ),
    "symmetric": _Own(
        "--symmetric",
        _switch("int8 activations around 0, as TensorRT wants them"),
        ("int8",),
        "how the activations of --quantize int8 are stored",
    ),
}
_METHOD = _Own("--method", {}, ("int8",), "how the ranges of --quantize int8 are found")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(network.Network, network.Output):
    """What `keras-resnets export FORMAT` is asked for; see its help.

    None for what was not typed, and for what the format has not.
    """

    format: str
    quantize: str
    method: str | None
    calibration: str | None
    calibration_count: int | None
    seed: int
    batch: int | str | None
    opset: int | None
    layout: str | None
    io_dtype: str | None
    per_tensor: bool | None
    packed: bool | None
    source: tuple[int, int] | None
    metadata: bool | None
    pooled_strides: bool | None
    sparse: bool | None
    reduce_range: bool | None
    symmetric: bool | None
    include_preprocessing: bool
    logits: bool
    features: str | None
    heatmap: bool
    threads: int | None
    predict: str | None
    evaluate: str | None

    def __post_init__(self):
        super().__post_init__()
        network.check_photos(self)
        for name, option in {**_OPTIONS, "method": _METHOD}.items():
            given = getattr(self, name) is not None
            if given and option.numbers and self.quantize not in option.numbers:
                raise InvalidArgument(
                    f"{option.flag} is {option.what}; got --quantize {self.quantize}"
                )
        if self.features and (self.logits or self.predict):
            raise InvalidArgument(
                "--features puts out maps: it goes with neither --logits nor --predict"
            )
        self._check_heatmap()
        if self.features and self.has_own_ranges:
            raise InvalidArgument(f"--method {self.method} goes without --features")
        if self.evaluate is not None and self.weights is None:
            raise InvalidArgument(
                "--evaluate needs --weights: random ones know no classes"
            )
        if self.evaluate is not None and self.features:
            raise InvalidArgument(
                "--evaluate counts classes: it goes without --features"
            )
        if self.calibration is None and number_formats.find(self.quantize).calibrated:
            raise InvalidArgument(
                f"--quantize {self.quantize} needs --calibration FOLDER_OF_IMAGES"
            )
        if self.calibration is None and self.calibration_count is not None:
            raise InvalidArgument(
                "--calibration-count is how many images of --calibration are taken: "
                "give that too"
            )

    def _check_heatmap(self):
        if self.heatmap and (self.logits or self.features or self.predict):
            raise InvalidArgument(
                "--heatmap is put out beside the probabilities: it goes with neither "
                "--logits nor --features nor --predict (keras-resnets explain shows it)"
            )
        if self.heatmap and self.evaluate is not None:
            raise InvalidArgument(
                "--heatmap goes without --evaluate: keras-resnets evaluate takes the file"
            )

    @property
    def form(self):
        """The `Format`."""
        return FORMATS[self.format]

    @property
    def has_own_ranges(self):
        """Whether ranges are sought by this package: the exporter has no such way."""
        own = self.method not in (None, "minmax")
        return own and "method" not in self.form.options

    def for_exporter(self, preprocessing, calibration):
        """What the format's exporter is called with, besides model, path and images."""
        given = {name: getattr(self, name) for name in self.form.options}
        if self.form.methods:
            given |= {"quantize": self.quantize, "calibration": calibration}
        given["threads"] = self.threads
        given["features"] = self.features and self.features.split(",")
        given["preprocessing"] = preprocessing if self.include_preprocessing else None
        given = {name: value for name, value in given.items() if value is not None}
        return {**given, "overwrite": self.overwrite, "logits": self.logits}


def add_to(commands):
    """Adds the command to the parser's sub-commands."""
    export = commands.add_parser("export")
    formats = export.add_subparsers(title="formats", required=True, metavar="FORMAT")
    for form in FORMATS.values():
        parser = formats.add_parser(form.name, help=form.title)
        # What this format has not.
        unknown = {"method", "calibration", "calibration_count", "threads", *_OPTIONS}
        parser.set_defaults(**dict.fromkeys(unknown), quantize="none", format=form.name)
        _add_network(parser)
        _add_file(parser, form)
        if form.methods:
            _add_quantization(parser, form)
        _add_comparison(parser, form)
        examples = [
            f"resnet20 --weights cifar10 --output resnet20{form.ending}",
            f"run/ --include-preprocessing --output mine{form.ending}",
        ]
        if "int8" in form.numbers:
            examples[1] = "run/ --quantize int8 --calibration photos/"
        options.set_command(
            parser,
            Options,
            _export,
            facts={
                **network.FACTS,
                "top_five": "with --predict: (class, probability) of the model and of the "
                "file; else null",
            },
            examples=examples,
            report=True,
        )


def _add_network(parser):
    naming.add_model(parser)
    group = parser.add_argument_group("network")
    group.add_argument("--weights", help=f"{network.WEIGHTS}; random without")
    network.add_options(group)
    group.add_argument(
        "--seed", type=options.SEED, default=0, help="of random weights and choice (0)"
    )


def _add_file(parser, form):
    group = network.add_output(parser, f"default: MODEL[_QUANTIZE]{form.ending}")
    pixels = "take RGB pixels as uint8"
    if form.folder:
        pixels += ", by a second signature"
    group.add_argument("--include-preprocessing", action="store_true", help=pixels)
    group.add_argument("--logits", action="store_true", help="leave the softmax out")
    group.add_argument(
        "--features", metavar="STAGES", help="put out feature maps: stage2,stage4"
    )
    network.add_heatmap(group)
    _add_own(group, form, of_numbers=False)


def _add_own(group, form, of_numbers):
    """Adds the options that a format has: those of some number formats, or the others."""
    for name in form.options:
        option = _OPTIONS.get(name)
        if option is not None and bool(option.numbers) == of_numbers:
            group.add_argument(option.flag, dest=name, **option.how)


def _add_quantization(parser, form):
    group = parser.add_argument_group("quantization")
    group.add_argument(
        "--quantize",
        default="none",
        choices=form.numbers,
        help="none: float32; integers need --calibration",
    )
    group.add_argument("--calibration", metavar="FOLDER", help="folder of images")
    group.add_argument(
        "--calibration-count",
        type=options.COUNT,
        metavar="COUNT",
        help=f"most images to take ({_COUNT})",
    )
    group.add_argument("--method", choices=form.methods, help="of int8 ranges (minmax)")
    _add_own(group, form, of_numbers=True)


def _add_comparison(parser, form):
    group = parser.add_argument_group("comparison")
    group.add_argument(
        "--evaluate",
        metavar="DATA",
        help="compare the answers on labelled images: .npz (x_test) or folder",
    )
    group.add_argument("--predict", metavar="PHOTO", help="show both top fives for it")
    if form.has_threads:
        group.add_argument(
            "--threads", type=options.THREADS, help=f"of {form.runtime} (2)"
        )


def _export(asked):
    form, numbers = asked.form, number_formats.find(asked.quantize)
    with native_logs_hidden():
        from keras_resnets.cli import reports
        from keras_resnets.images import loading

        if asked.calibration is not None:
            loading.check_folder(asked.calibration)
        kind = "" if asked.quantize == "none" else f"_{asked.quantize}"
        path = asked.path(f"{kind}{form.ending}")
        form.room.check_output(path, asked.overwrite)
        model, _, source = network.build(asked, head_needed=not asked.features)
        wanted = model.preprocessing
        calibration = _calibration(asked, wanted)
        photo = asked.predict and loading.load_image(asked.predict, wanted)
        images = _images(model, source, asked, calibration)
        output.note(f"converting to {form.title.split()[0]} ({numbers.title}) ...")
        data = asked.evaluate and network.open_labelled(
            asked.evaluate, model, seed=asked.seed
        )
        exported = network.with_heatmap(model) if asked.heatmap else model
        report = _exporter(asked, wanted, calibration)(exported, path, images=images)
        kind = "calibration" if calibration is not None else "synthetic"
        network.say_export(report, kind)
        if data:
            threads = asked.threads or 2
            network.say_figures(model, report, data, threads, asked.logits)
        if photo is not None:
            say(reports.top_five(model, report, photo, asked.predict))


def _exporter(asked, preprocessing, calibration):
    """A function of the model, the path and `images` that writes the file."""
    given = asked.for_exporter(preprocessing, calibration)
    if not asked.has_own_ranges:
        return functools.partial(getattr(asked.form.room, asked.form.exporter), **given)
    from keras_resnets import quantization

    del given["quantize"]
    per_tensor = "_per_tensor" if given.pop("per_tensor", False) else ""
    return functools.partial(
        quantization.quantize,
        recipe=f"static_wi8_ai8{per_tensor}",
        engine="ranges",
        method=asked.method,
        seed=asked.seed,
        **given,
    )


def _calibration(asked, wanted):
    """The images of `--calibration`, which it prints lines about; None without."""
    from keras_resnets.images import calibration_checks
    from keras_resnets.images import files as image_files
    from keras_resnets.images import folders as image_folders
    from keras_resnets.images import loading

    if asked.calibration is None:
        return None
    loaded, skipped = loading.load_folder(
        asked.calibration,
        wanted,
        _COUNT if asked.calibration_count is None else asked.calibration_count,
        asked.seed,
    )
    count = len(loaded) + len(skipped)
    image_files.check_broken(skipped, count, asked.calibration)
    output.note(f"calibration  {len(loaded)} images from {asked.calibration}")
    few = calibration_checks.words_for_few(len(loaded))
    if few:
        warnings.simplefilter("ignore", calibration_checks.FewImages)
        output.note(f"             {few}")
    if skipped:
        names = image_files.some(skipped)
        output.note(f"             {len(skipped)} skipped, not readable: {names}")
    network.say_notes(image_folders.notes_of(asked.calibration))
    return loaded


def _images(model, source, asked, calibration):
    """Says what `model` is, and gives one without weights values that prove something.

    Returns:
        The images to compare on.
    """
    from keras_resnets.export import random_weights
    from keras_resnets.images import samples

    shape = tuple(model.inputs[0].shape[1:])
    images = samples.default_images(shape, calibration, model.preprocessing)
    origin = f"weights from {asked.weights}"
    if source is None:
        # A fresh network would make the comparison below an empty one.
        random_weights.settle(model, images, asked.seed)
        origin = f"random weights and BN statistics (seed {asked.seed})"
    output.note(
        f"{model.name}  {model.count_params():,} parameters, "
        f"{shape[0]} x {shape[1]} x {shape[2]} -> {model.output_shape[-1]} classes, "
        f"{origin}"
    )
    return images
