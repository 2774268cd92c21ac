"""`keras-resnets weights` and `keras-resnets convert`: what there is, and its format."""

import dataclasses

from keras_resnets.cli import network
from keras_resnets.cli import options
from keras_resnets.cli.network import say
from keras_resnets.errors import InvalidArgument
from keras_resnets.system.quiet import native_logs_hidden


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing:
    """What `keras-resnets weights` is asked for."""

    model: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conversion(network.Network):
    """What `keras-resnets convert` is asked for; see its help."""

    output: str
    overwrite: bool


def add_to(commands):
    """Adds both commands to the parser's sub-commands."""
    listing = commands.add_parser(
        "weights", help="list the public weights of a variant"
    )
    listing.add_argument("model", metavar="NAME")
    options.set_command(listing, Listing, _weights)

    convert = commands.add_parser("convert", help="write weights in another format")
    convert.add_argument("model", metavar="MODEL")
    convert.add_argument("weights", metavar="IN", help=network.WEIGHTS)
    convert.add_argument(
        "output", metavar="OUT", help="file.weights.h5, .keras or .safetensors"
    )
    convert.add_argument("--overwrite", action="store_true", help="replace the output")
    network.add_options(convert)
    options.set_command(convert, Conversion, _convert)


def _weights(asked):
    from keras_resnets.cli import tables
    from keras_resnets.models import registry
    from keras_resnets.weights import records
    from keras_resnets.weights import store

    registry.get_architecture(asked.model)
    found = records.records_of(registry.canonical_name(asked.model))
    if not found:
        raise InvalidArgument(f"there are no public weights for {asked.model}")
    print(tables.weights_table(found, [store.proof_of(record) for record in found]))
    print()
    for dataset in dict.fromkeys(record.dataset for record in found):
        default = next((r for r in found if r.dataset == dataset and r.free), None)
        if default:
            why = (
                "it comes with this package"
                if default.shipped
                else "the most accurate whose licence lets anybody use it"
            )
            print(f"weights={dataset!r} takes {default.tag}: {why}")
    for record in found:
        print(f"{record.tag}: {record.location}")


def _convert(asked):
    with native_logs_hidden():
        from keras_resnets.weights import saving

        path = saving.check_output(asked.output, asked.overwrite)
        # A new classifier or fitted channels would be another network's weights.
        model, architecture, source = network.build(asked, strict=True)
        layout = saving.save(model, path, source, architecture, asked.overwrite)
        say(
            f"wrote {path}  {path.stat().st_size / 1e6:,.2f} MB, "
            f"{model.count_params():,} values of {model.name}"
            + (f", tensors named as in {layout}" if layout else "")
        )
