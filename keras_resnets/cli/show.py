"""`keras-resnets list` and `keras-resnets info`: tables of variants and layers."""

import dataclasses

from keras_resnets.cli import network
from keras_resnets.cli import options
from keras_resnets.errors import InvalidArgument
from keras_resnets.system.quiet import native_logs_hidden


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing:
    """What `keras-resnets list` is asked for; see its help."""

    pattern: str
    family: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Info(network.Network):
    """What `keras-resnets info` is asked for; see its help."""

    weights: None = None
    layers: bool


def add_to(commands):
    """Adds both commands to the parser's sub-commands."""
    listing = commands.add_parser("list", help="list the variants with their figures")
    listing.add_argument("pattern", nargs="?", default="*", help="wildcard: 'drn_*'")
    listing.add_argument("--family", help="one family: resnet, drn, ...")
    options.set_command(listing, Listing, _list)

    info = commands.add_parser("info", help="tell everything about one variant")
    info.add_argument("model", metavar="NAME")
    info.add_argument("--layers", action="store_true", help="one row a layer as well")
    network.add_options(info)
    info.set_defaults(weights=None)
    options.set_command(info, Info, _info)


def _list(asked):
    from keras_resnets.cli import tables
    from keras_resnets.models import registry

    names = registry.list_models(asked.pattern, asked.family)
    if not names:
        raise InvalidArgument(f"no model matches {asked.pattern!r}")
    print(tables.model_table([registry.model_info(name) for name in names]))
    print(f"{len(names)} variants; parameters are the trainable ones")


def _info(asked):
    from keras_resnets.cli import tables
    from keras_resnets.models import creation
    from keras_resnets.models import registry

    architecture, size, classes = network.find(asked)
    with native_logs_hidden():
        from keras_resnets.graph import analysis
        from keras_resnets.graph import analysis_report

        model = creation.create_model(
            asked.model,
            input_shape=(*size, 3),
            classes=classes,
            kernel_initializer="zeros",
            data_format="channels_last",
            **network.axes_of(asked.set),
        )
        found = analysis.analyze(model)
    print(f"{registry.canonical_name(asked.model)} ({architecture.family})")
    print(tables.paper_table(architecture, size, classes))
    print()
    print(analysis_report.figures_text(found))
    if asked.layers:
        print()
        print(analysis_report.layers_text(found))
