"""`keras-resnets deploy` and `keras-resnets targets`: files and code for a device."""

import argparse
import dataclasses
import typing
from collections.abc import Callable
from collections.abc import Sequence

from keras_resnets.cli.arguments import calibration
from keras_resnets.cli.arguments import network
from keras_resnets.cli.arguments import options
from keras_resnets.cli.arguments import parsing
from keras_resnets.cli.arguments.network import say
from keras_resnets.cli.pages import page_deploy
from keras_resnets.cli.printing import output
from keras_resnets.cli.printing import output_kinds
from keras_resnets.deploy import destination
from keras_resnets.deploy import options as asking
from keras_resnets.deploy import targets
from keras_resnets.export import number_formats
from keras_resnets.export import recipes
from keras_resnets.export.tflite import storage
from keras_resnets.system.quiet import native_logs_hidden

if typing.TYPE_CHECKING:
    from keras_resnets.deploy.outcome import Deployment
    from keras_resnets.deploy.outcome import TargetsFailed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(network.Network, calibration.Calibration):
    """The options of `keras-resnets deploy`; see its help."""

    data: str
    count: int
    target: tuple[str, ...]
    output: str
    overwrite: bool
    unproven: bool
    recipe: str | None
    io_dtype: str | None
    include_preprocessing: bool
    source: tuple[int, int] | None
    storage: str | None
    ram: int | None
    flash: int | None
    compare: int | None
    min_agreement: float
    threshold: float | tuple[tuple[str | None, float], ...] | None
    threads: int

    def __post_init__(self) -> None:
        super().__post_init__()
        asking.Asked(
            self.recipe,
            self.io_dtype,
            self.include_preprocessing,
            self.storage,
            self.ram,
            self.flash,
            self.unproven,
            self.source,
        ).check(asking.find_all(self.target))

    def check_free(self) -> None:
        """Raises `InvalidArgument` for folders of the targets that exist."""
        destination.check(self.output, asking.find_all(self.target), self.overwrite)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing:
    """The options of `keras-resnets targets`; see its help."""


def add_to(commands: parsing.Commands) -> None:
    """Adds both commands."""
    parser = commands.add_parser(
        "deploy",
        usage="%(prog)s MODEL --weights W --target T[,T] --data IMAGES --output FOLDER ...",
    )
    network.add_trained(parser)
    group = parser.add_argument_group("target")
    group.add_argument(
        "--target",
        required=True,
        type=_names,
        metavar="T[,T]",
        help="targets, as keras-resnets targets lists them",
    )
    for kind, what in (("ram", "RAM"), ("flash", "flash")):
        group.add_argument(
            f"--{kind}",
            type=options.byte_count,
            metavar="SIZE",
            help=f"{what} of the device, as 256kB or 256KiB; larger networks are refused",
        )
    group.add_argument(
        "--unproven",
        action="store_true",
        help="write the files also if a toolchain is missing, marked as not proven",
    )
    calibration.add_options(parser)
    _add_file(parser)
    group = parser.add_argument_group("output")
    group.add_argument(
        "--output", required=True, metavar="FOLDER", help="writes FOLDER/TARGET"
    )
    group.add_argument("--overwrite", action="store_true", help="replace FOLDER/TARGET")
    options.set_command(
        parser,
        Options,
        _deploy,
        facts={
            "targets": "one object per target: folder, and its report (proven, agreement, "
            "the figures of the toolchain, ...)",
        },
        examples=(
            "resnet20 --weights cifar10 --target android --data cifar10.npz --output app",
            "run/ --target microcontroller --data photos/ --ram 256kB --output device",
        ),
        report=True,
    )

    listing = commands.add_parser("targets")
    options.set_command(
        listing,
        Listing,
        _list,
        facts={"targets": "one object per row of the table"},
        examples=("", "--json"),
    )


def _add_file(parser: argparse.ArgumentParser) -> None:
    """Adds the options that override the target's defaults, and the comparison."""
    group = parser.add_argument_group("file")
    group.add_argument(
        "--recipe",
        choices=(*recipes.RECIPES, targets.FLOAT32),
        metavar="NAME",
        help="quantization recipe, or float32; default: the target's",
    )
    group.add_argument(
        "--io-dtype",
        choices=number_formats.IO_DTYPES,
        help="type of an int8 file's input and output; default: the target's",
    )
    group.add_argument(
        "--include-preprocessing", action="store_true", help="take RGB pixels"
    )
    group.add_argument("--source", **options.SOURCE)
    group.add_argument(
        "--storage",
        choices=storage.STORAGES,
        help="storage of the 4-bit weights of static_wi4_ai8; default: the target's",
    )
    group = parser.add_argument_group("comparison")
    group.add_argument(
        "--compare",
        type=options.COUNT,
        metavar="COUNT",
        help="images of --data to compare on (100, fewer if they are large)",
    )
    group.add_argument(
        "--min-agreement",
        type=options.number(0, 1),
        default=0.9,
        metavar="SHARE",
        help="required share of images with the prediction of predict (0.9)",
    )
    options.add_threshold(group)
    options.add_threads(group, "threads of runtimes (2)")


def _names(text: str) -> tuple[str, ...]:
    """Returns the names of `--target`, in lower case and without spaces."""
    words = [word.strip().lower() for word in text.split(",")]
    return tuple(word for word in words if word)


def _deploy(asked: Options) -> None:
    with native_logs_hidden():
        from keras_resnets import deploy
        from keras_resnets.export.session import check_backend

        check_backend()
        model, _, _ = network.build(asked)
        output_kinds.note_two_outputs(model, asked.model)
        if model.labels is None:
            output.note(
                "note: the names of the classes are not known: labels.txt has "
                '"class 0", ...; --labels cat,dog,... names them'
            )
        threshold = options.asked_threshold(asked.threshold)
        chosen = calibration.choose(asked, model)
        watcher = page_deploy.Deployed(model, threshold)

        def write() -> "list[Deployment]":
            return deploy.deploy(
                model,
                asked.target,
                asked.output,
                chosen,
                recipe=asked.recipe,
                io_dtype=asked.io_dtype,
                include_preprocessing=asked.include_preprocessing,
                source=asked.source,
                storage=asked.storage,
                ram=asked.ram,
                flash=asked.flash,
                compare=asked.compare,
                min_agreement=asked.min_agreement,
                threads=asked.threads,
                unproven=asked.unproven,
                overwrite=asked.overwrite,
                threshold=threshold,
                progress=output.note,
                watch=watcher.add,
            )

        deployments, failure = _outcome(write)
        output.keep(targets=deployments)
        for deployment in deployments:
            say(_line(deployment))
        watcher.show(deployments, tuple(failure.failures) if failure else ())
        if failure is not None:
            output.keep_on_failure()
            raise failure


def _outcome(
    write: Callable[[], "list[Deployment]"],
) -> "tuple[Sequence[Deployment], TargetsFailed | None]":
    """Returns the written folders, and the error if only some targets failed."""
    from keras_resnets.deploy.outcome import TargetsFailed

    try:
        return write(), None
    except TargetsFailed as error:
        if not error.deployments:
            raise
        return error.deployments, error


def _line(deployment: "Deployment") -> str:
    """Returns one line about the folder of a target."""
    report = deployment.report
    if not report["proven"]:
        return f"{deployment.folder}  NOT PROVEN: {report['reason']}"
    if report["compared"] is False:
        return (
            f"{deployment.folder}  {report['proof']}: shapes and kernels equal the "
            "network's"
        )
    text = f"{deployment.folder}  proven by {report['proof']}: "
    text += (
        f"{report['agreement']:.1%} of {report['compared']} images agree with predict"
    )
    if "label_agreement" in report:
        text += f" ({report['label_agreement']:.2%} of labels)"
    if report["outputs"]:
        outputs = report["outputs"]
        text += (
            f", {outputs['equal']} equal to {outputs['against']}, {outputs['one_step']} "
            "within one rounding step"
        )
    figures = [
        f"{name} {value:,}"
        for name, value in report.items()
        if name.endswith(_SHOWN) and isinstance(value, int | float)
    ]
    return f"{text}\n  {', '.join(figures)}"


# Suffixes of the figures that are shown in the line.
_SHOWN = ("_bytes", "_ms", "_percent", "cycles")


def _list(asked: Listing) -> None:
    from keras_resnets.system.text_table import text_table

    rows = list(targets.TARGETS.values())
    output.keep(targets=[targets.record(row) for row in rows])
    say(
        text_table(
            ("target", "device or runtime", "file", "default", "proven by", "here"),
            [
                (
                    row.name,
                    row.title,
                    row.format,
                    row.recipes[0],
                    row.proof if row.toolchain else "-",
                    "no" if row.missing() else "yes",
                )
                for row in rows
            ],
        )
    )
