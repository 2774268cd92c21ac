"""`keras-resnets recommend`: the best networks within the limits of a device."""

import dataclasses
import typing
from collections.abc import Sequence

from keras_resnets.cli.arguments import options
from keras_resnets.cli.arguments import parsing
from keras_resnets.cli.printing import output
from keras_resnets.cli.printing.output import say
from keras_resnets.errors import InvalidArgument

if typing.TYPE_CHECKING:
    from keras_resnets.models.costs import Cost


_DATASETS = ("imagenet", "cifar10", "cifar100")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The options of `keras-resnets recommend`; see its help."""

    target: str
    ms: float | None
    size: int | None
    ram: int | None
    classes: int | None
    input_size: int | None
    dataset: str | None
    count: int

    def __post_init__(self) -> None:
        from keras_resnets.errors import check_choice
        from keras_resnets.models import costs

        check_choice("--target", self.target, tuple(costs.SPEEDS))


def add_to(commands: parsing.Commands) -> None:
    """Adds the command."""
    parser = commands.add_parser("recommend")
    _add_limits(parser.add_argument_group("device"))
    _add_network(parser.add_argument_group("network"))
    options.set_command(
        parser,
        Options,
        _recommend,
        facts={
            "target": "title, and basis: the measured and the estimated figures",
            "networks": "the best first: name, top1 (percent), dataset, weights, "
            "input_size (pixels), mega_macs, size (bytes), ms, measured (whether ms "
            "is measured or estimated), ram (bytes, with --ram; else null)",
            "next": "the next command for the first network",
        },
        examples=(
            "--target raspberry-pi --ms 50 --classes 5",
            "--target microcontroller --flash 256kB --ram 128kB --ms 500 --json",
        ),
    )


def _add_limits(group: parsing.Group) -> None:
    group.add_argument(
        "--target",
        required=True,
        metavar="NAME",
        help="linux-x86 (measured), raspberry-pi, raspberry-pi-4 or microcontroller "
        "(estimated)",
    )
    group.add_argument(
        "--ms",
        type=options.number(0, 1e9, above=True),
        help="largest latency of one image in ms, on one thread; default: no limit",
    )
    group.add_argument(
        "--size",
        "--flash",
        dest="size",
        type=options.byte_count,
        metavar="BYTES",
        help="largest int8 file, as 256kB or 1MiB; default: no limit",
    )
    group.add_argument(
        "--ram",
        type=options.byte_count,
        metavar="BYTES",
        help="largest memory of the int8 activations; default: no limit",
    )


def _add_network(group: parsing.Group) -> None:
    group.add_argument(
        "--classes",
        type=options.CLASSES,
        help="number of classes of your data; default: the weights'",
    )
    group.add_argument(
        "--input-size",
        type=options.whole(8, 4096),
        help="image size in pixels; default: the variant's",
    )
    group.add_argument(
        "--dataset",
        choices=_DATASETS,
        help="data set of the initial weights; default: imagenet, or cifar10 if none "
        "fits",
    )
    group.add_argument(
        "--count",
        type=options.whole(1, 200),
        default=5,
        help="number of networks to show",
    )


def _recommend(asked: Options) -> None:
    from keras_resnets.models import costs

    speed = costs.SPEEDS[asked.target]
    chosen = _chosen(asked)
    command = _next(chosen[0][0])
    output.keep(
        target={"title": speed.title, "basis": speed.basis},
        networks=[{**dataclasses.asdict(cost), "ram": ram} for cost, ram in chosen],
        next=command,
    )
    say(f"{speed.title}: int8 files, one thread")
    say(_table(chosen, asked.ram is not None))
    say(f"ms: {speed.basis}")
    say(f"next: {command}")


def _next(best: "Cost") -> str:
    """Returns the command that trains the network of a `Cost`."""
    return (
        f"keras-resnets train {best.name} --weights {best.dataset} --data photos/ "
        "--recipe finetune --output run"
    )


def _chosen(asked: Options) -> "list[tuple[Cost, int | None]]":
    """Returns (`Cost`, bytes of RAM or None) of the best networks within the limits."""
    from keras_resnets.models import costs
    from keras_resnets.models import registry

    names = registry.list_models()
    costs_of_all = [
        costs.cost(name, asked.target, asked.classes, asked.input_size)
        for name in names
        if registry.model_info(name).weights
    ]
    fitting = [cost for cost in costs_of_all if _fits(asked, cost)]
    datasets = (asked.dataset,) if asked.dataset else _DATASETS
    for dataset in datasets:
        ranked = [cost for cost in fitting if cost.dataset == dataset]
        ranked.sort(key=lambda cost: -(cost.top1 or 0.0))
        kept = _with_room(asked, ranked)
        if kept:
            return kept
    least = min(costs_of_all, key=lambda cost: cost.ms)
    raise InvalidArgument(
        f"no network with public weights is within these limits on {asked.target}: the "
        f"fastest, {least.name}, takes {least.ms:.3g} ms and {least.size / 1e3:,.0f} kB; "
        "increase the limits, or reduce --input-size"
    )


def _fits(asked: Options, cost: "Cost") -> bool:
    fits_time = asked.ms is None or cost.ms <= asked.ms
    return fits_time and (asked.size is None or cost.size <= asked.size)


def _with_room(
    asked: Options, ranked: "Sequence[Cost]"
) -> "list[tuple[Cost, int | None]]":
    """Returns the first `--count` networks whose activations fit in the RAM."""
    if asked.ram is None:
        return [(cost, None) for cost in ranked[: asked.count]]
    from keras_resnets.system.progress import ProgressBar
    from keras_resnets.system.quiet import native_logs_hidden

    kept: list[tuple[Cost, int | None]] = []
    with native_logs_hidden(), ProgressBar(len(ranked), "networks built") as bar:
        for done, cost in enumerate(ranked, 1):
            ram = _ram(cost)
            bar(done)
            if ram <= asked.ram:
                kept.append((cost, ram))
            if len(kept) == asked.count:
                break
    return kept


def _ram(cost: "Cost") -> int:
    """Returns the peak size in bytes of a network's int8 activations."""
    from keras_resnets.graph import analysis
    from keras_resnets.models import creation

    side = cost.input_size
    model = creation.create_model(
        cost.name, input_shape=(side, side, 3), kernel_initializer="zeros"
    )
    return int(analysis.analyze(model).peak_activations)


def _table(chosen: "Sequence[tuple[Cost, int | None]]", has_ram: bool) -> str:
    from keras_resnets.system.text_table import text_table

    headers = ["name", "top-1", "of", "input", "M MACs", "kB", "ms", ""]
    if has_ram:
        headers.append("RAM kB")
    rows = []
    for cost, ram in chosen:
        row = [
            cost.name,
            f"{cost.top1:.2f}",
            cost.dataset,
            cost.input_size,
            f"{cost.mega_macs:,.0f}",
            f"{cost.size / 1e3:,.0f}",
            f"{cost.ms:.3g}",
            "measured" if cost.measured else "estimated",
        ]
        if ram is not None:
            row.append(f"{ram / 1e3:,.0f}")
        rows.append(row)
    return text_table(headers, rows)
