"""`keras-resnets weights` and `keras-resnets convert`: list weights, convert files."""

import dataclasses
import pathlib

from keras_resnets.cli.arguments import model_argument
from keras_resnets.cli.arguments import network
from keras_resnets.cli.arguments import options
from keras_resnets.cli.arguments import parsing
from keras_resnets.cli.arguments.network import say
from keras_resnets.cli.printing import output
from keras_resnets.errors import InvalidArgument
from keras_resnets.io import files
from keras_resnets.system.quiet import native_logs_hidden


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing:
    """The options of `keras-resnets weights`."""

    model: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conversion(network.Network):
    """The options of `keras-resnets convert`; see its help."""

    output: str
    overwrite: bool

    def check_free(self) -> None:
        """Raises `InvalidArgument` for a file to write that exists."""
        if pathlib.Path(self.output).is_file():
            files.check_free(pathlib.Path(self.output), self.overwrite)


def add_to(commands: parsing.Commands) -> None:
    """Adds both commands."""
    listing = commands.add_parser("weights")
    model_argument.add_model(listing, "variant (keras-resnets list)")
    options.set_command(
        listing,
        Listing,
        _weights,
        facts={
            "weights": "one object per record, the default of its data set first: tag, "
            "dataset, top1, top5 (percent), size (pixels), licence, location, ...",
        },
        examples=("resnet50", "resnet20 --json"),
    )

    convert = commands.add_parser("convert")
    convert.add_argument("model", metavar="MODEL", help="variant (keras-resnets list)")
    convert.add_argument("weights", metavar="IN", help=network.WEIGHTS)
    convert.add_argument(
        "output", metavar="OUT", help="file.weights.h5, .keras or .safetensors"
    )
    convert.add_argument("--overwrite", action="store_true", help="replace the output")
    network.add_options(convert.add_argument_group("network"))
    convert.set_defaults(mode=None, labels=None)
    options.set_command(
        convert,
        Conversion,
        _convert,
        facts={
            "path": "the file that was written",
            "size": "size of the file in bytes",
            "values": "number of values in the file",
            "layout": "the library whose tensor names it has; null for this package",
        },
        examples=(
            "resnet20 cifar10 resnet20.safetensors",
            "resnet50 resnet50-11ad3fa6.pth resnet50.weights.h5",
        ),
    )


def _weights(asked: Listing) -> None:
    from keras_resnets.cli.printing import tables
    from keras_resnets.models import registry
    from keras_resnets.weights import records
    from keras_resnets.weights import store

    registry.get_architecture(asked.model)
    public = records.records_of(registry.canonical_name(asked.model))
    if not public:
        raise InvalidArgument(f"there are no public weights for {asked.model}")
    output.keep(weights=public)
    say(tables.weights_table(public, [store.proof_of(record) for record in public]))
    say("")
    for dataset in dict.fromkeys(record.dataset for record in public):
        default = next((r for r in public if r.dataset == dataset and r.free), None)
        if default:
            why = (
                "they are part of this package"
                if default.shipped
                else "the most accurate ones whose licence allows any use"
            )
            say(f"weights={dataset!r} selects {default.tag}: {why}")
    for record in public:
        say(f"{record.tag}: {record.location}")


def _convert(asked: Conversion) -> None:
    with native_logs_hidden():
        from keras_resnets.weights import saving

        path = saving.check_output(asked.output, asked.overwrite)
        # A new classifier or adapted channels would not be the weights of the file.
        model, architecture, source = network.build(asked, strict=True)
        layout = saving.save(model, path, source, architecture, asked.overwrite)
        output.keep(
            path=path,
            size=path.stat().st_size,
            values=model.count_params(),
            layout=layout,
        )
        say(
            f"wrote {path}  {path.stat().st_size / 1e6:,.2f} MB, "
            f"{model.count_params():,} values of {model.name}"
            + (f", tensors named as in {layout}" if layout else "")
        )
