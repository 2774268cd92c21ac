"""`keras-resnets list` and `keras-resnets info`: figures of variants and layers."""

import dataclasses
import math
import pathlib
import typing

from keras_resnets.cli.arguments import axis_values
from keras_resnets.cli.arguments import keras_file
from keras_resnets.cli.arguments import model_argument
from keras_resnets.cli.arguments import network
from keras_resnets.cli.arguments import options
from keras_resnets.cli.arguments import parsing
from keras_resnets.cli.printing import output
from keras_resnets.cli.printing.output import say
from keras_resnets.errors import InvalidArgument
from keras_resnets.system.quiet import native_logs_hidden

if typing.TYPE_CHECKING:
    import keras

    from keras_resnets.models.registry import ModelInfo


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing:
    """The options of `keras-resnets list`; see its help."""

    pattern: str
    family: str | None
    max_macs: float | None
    max_parameters: float | None
    dataset: str | None
    weights: bool
    sort: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Info(network.Network):
    """The options of `keras-resnets info`; see its help."""

    layers: bool


# Values of --sort -> sort keys.
_ORDERS = {
    "table": None,
    "accuracy": lambda info: -(info.top1 or 0.0),
    "macs": lambda info: info.mega_macs or math.inf,
    "parameters": lambda info: info.trainable_params or math.inf,
    "name": lambda info: info.name,
}


def add_to(commands: parsing.Commands) -> None:
    """Adds both commands."""
    listing = commands.add_parser("list")
    listing.add_argument("pattern", nargs="?", default="*", help="wildcard: 'drn_*'")
    group = listing.add_argument_group("filter")
    group.add_argument("--family", help="one family: resnet, drn, ...; default: all")
    group.add_argument(
        "--max-macs",
        type=options.amount,
        metavar="N",
        help="largest multiply-adds of one image, as 50M or 4G; default: no limit",
    )
    group.add_argument(
        "--max-parameters",
        type=options.amount,
        metavar="N",
        help="most trainable parameters, as 300k or 25M; default: no limit",
    )
    group.add_argument(
        "--weights", action="store_true", help="only variants with public weights"
    )
    group.add_argument(
        "--dataset",
        choices=("imagenet", "cifar10", "cifar100"),
        help="data set of the weights; default: any",
    )
    listing.add_argument_group("order").add_argument(
        "--sort",
        choices=tuple(_ORDERS),
        default="table",
        help="accuracy: highest first; others: smallest first",
    )
    options.set_command(
        listing,
        Listing,
        _list,
        facts={
            "models": "one object per model: name, family, input_size (pixels), classes, "
            "trainable_params, total_params, mega_macs, convs, dense, source; weights, "
            "dataset and top1 (percent) of the default weights, or null",
        },
        examples=(
            "'drn_*'",
            "--max-macs 50M --weights --sort accuracy",
        ),
    )
    _add_info(commands)


def _add_info(commands: parsing.Commands) -> None:
    """Adds the `info` command."""
    info = commands.add_parser("info")
    model_argument.add_model(info)
    group = info.add_argument_group("network")
    group.add_argument("--layers", action="store_true", help="also show each layer")
    network.add_options(group)
    info.set_defaults(weights=None, mode=None, labels=None)
    options.set_command(
        info,
        Info,
        _info,
        facts={
            "model": "name of the network",
            "family": "family of the network; null for your own network",
            "input_size": "[height, width] in pixels",
            "classes": "number of classes",
            "figures": "parameters, MACs, bytes of the tensors between layers, ...",
            "layers": "with --layers: one object per layer; else null",
        },
        examples=("resnet50", "drn_c_26 --input-size 512x1024 --layers"),
    )


def _list(asked: Listing) -> None:
    from keras_resnets.cli.printing import tables
    from keras_resnets.models import registry

    names = registry.list_models(asked.pattern, asked.family)
    if not names:
        raise InvalidArgument(f"no model matches {asked.pattern!r}")
    infos = [registry.model_info(name) for name in names]
    infos = [info for info in infos if _passes(asked, info)]
    if not infos:
        raise InvalidArgument(
            f"none of the {len(names)} variants passes the filters: allow more MACs or "
            "parameters, or leave out a filter"
        )
    order = _ORDERS[asked.sort]
    if order is not None:
        infos.sort(key=order)
    output.keep(models=[_plain(info) for info in infos])
    say(tables.model_table(infos))
    say(
        f"{len(infos)} variants; trainable parameters; top-1 accuracy of the default "
        "weights"
    )


def _passes(asked: Listing, info: "ModelInfo") -> bool:
    """Whether a variant passes the filters."""
    if (
        asked.max_macs is not None
        and (info.mega_macs or math.inf) * 1e6 > asked.max_macs
    ):
        return False
    parameters = info.trainable_params or math.inf
    if asked.max_parameters is not None and parameters > asked.max_parameters:
        return False
    if asked.dataset is not None and info.dataset != asked.dataset:
        return False
    return info.weights is not None or not asked.weights


def _plain(info: "ModelInfo") -> dict[str, typing.Any]:
    facts = {
        field.name: getattr(info, field.name) for field in dataclasses.fields(info)
    }
    del facts["architecture"]
    return facts


def _info(asked: Info) -> None:
    with native_logs_hidden():
        from keras_resnets.graph import analysis
        from keras_resnets.graph import analysis_report

        model, title, table = _described(asked)
        figures = analysis.analyze(model)
        size = tuple(model.inputs[0].shape[1:3])
    output.keep(
        model=title[0],
        family=title[1],
        input_size=size,
        classes=model.output_shape[-1],
        figures={
            field.name: getattr(figures, field.name)
            for field in dataclasses.fields(figures)
            if field.name != "layers"
        },
        layers=figures.layers if asked.layers else None,
    )
    say(f"{title[0]} ({title[1] or 'a model of its own'})")
    if table:
        say(table)
    say("")
    say(analysis_report.figures_text(figures))
    if asked.layers:
        say("")
        say(analysis_report.layers_text(figures))


def _described(asked: Info) -> "tuple[keras.Model, tuple[str, str | None], str | None]":
    """Returns (model, (name, family or None), the paper's table or None)."""
    from keras_resnets.cli.printing import tables
    from keras_resnets.models import creation
    from keras_resnets.models import registry

    if asked.is_own:
        from keras_resnets.export import prepare
        from keras_resnets.export.keras import safe_loading

        model = safe_loading.load_model(pathlib.Path(asked.model))
        if asked.input_size is not None:
            size = axis_values.size_of(asked.input_size)
            model = prepare.of_fixed_size(model, size)
            prepare.input_shape(model, size)
        elif len(model.inputs) == 1 and None in model.inputs[0].shape[1:3]:
            raise keras_file.size_is_open(pathlib.Path(asked.model))
        return model, (model.name, None), None
    name = registry.canonical_name(asked.model)
    if asked.weights is not None:
        # The classes and axes come from the run or the file.
        model, _, _ = network.build(asked)
        shape, classes = model.inputs[0].shape, model.output_shape[-1]
        table = tables.paper_table(model.architecture, tuple(shape[1:3]), classes)
        return model, (name, model.architecture.family), table
    architecture, size, classes = network.find(asked)
    model = creation.create_model(
        asked.model,
        input_shape=(*size, asked.channels or 3),
        classes=classes,
        kernel_initializer="zeros",
        data_format="channels_last",
        **axis_values.axes_of(asked.set),
    )
    table = tables.paper_table(architecture, size, classes)
    return model, (name, architecture.family), table
