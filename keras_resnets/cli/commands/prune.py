"""`keras-resnets prune`: sets weights to zero, or removes channels."""

import dataclasses
import typing

from keras_resnets.cli.arguments import network
from keras_resnets.cli.arguments import options
from keras_resnets.cli.arguments import parsing
from keras_resnets.cli.arguments import tuning
from keras_resnets.cli.arguments.network import say
from keras_resnets.cli.printing import output
from keras_resnets.errors import InvalidArgument
from keras_resnets.system.quiet import native_logs_hidden

if typing.TYPE_CHECKING:
    import keras


ENGINES = ("native", "tfmot")
# Those of `keras_resnets.pruning.patterns`.
PATTERNS = ("unstructured", "1x4", "2:4", "vw-2:4")
# A share of 0 would prune nothing, 1 everything.
_SHARE = options.number(0, 1, above=True, below=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(network.Network, network.Output, tuning.Tuning):
    """The options of `keras-resnets prune`; see its help."""

    sparsity: float | None
    shrink: float | None
    pattern: str
    multiple: int
    engine: str
    evaluate: str | None

    @property
    def ending(self) -> str:
        """The end of the default path."""
        return "_pruned.keras"

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.sparsity is None) == (self.shrink is None):
            raise InvalidArgument("give one of --sparsity and --shrink")
        if self.output is not None and not self.output.endswith((".keras", ".tflite")):
            raise InvalidArgument(
                f"prune writes a .keras or .tflite file; got {self.output!r}"
            )
        if self.engine == "native" and self.data:
            raise InvalidArgument(
                "--data requires --engine tfmot, which fine-tunes; --engine native prunes "
                "without training"
            )
        if self.engine == "tfmot":
            self._check_tfmot()

    def _check_tfmot(self) -> None:
        if self.shrink is not None or self.pattern != "unstructured":
            raise InvalidArgument(
                "--engine tfmot supports --sparsity with --pattern unstructured only; "
                "--shrink and other patterns require --engine native"
            )
        if not self.data:
            raise InvalidArgument(
                "--engine tfmot requires training images: give --data"
            )


def add_to(commands: parsing.Commands) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "prune",
        usage="%(prog)s MODEL --weights WEIGHTS (--sparsity S | --shrink S) [options]",
    )
    network.add_trained(parser)
    group = parser.add_argument_group("pruning")
    group.add_argument("--sparsity", type=_SHARE, help="share of zeros: 0.5")
    group.add_argument(
        "--pattern",
        default="unstructured",
        choices=PATTERNS,
        help="pattern of the zeros; vw-2:4: eight outputs share the positions of 2:4 "
        "(unstructured)",
    )
    group.add_argument(
        "--shrink", type=_SHARE, help="share of the blocks' inner channels to remove"
    )
    group.add_argument(
        "--multiple",
        type=options.whole(1, 65_536),
        default=1,
        help="keep a multiple of this number of channels (1)",
    )
    group.add_argument(
        "--engine",
        default="native",
        choices=ENGINES,
        help="tfmot: fine-tune with tensorflow-model-optimization (native)",
    )
    tuning.add_options(parser, required=False, note=" (--engine tfmot)")
    network.add_output(parser, ".keras, or sparse .tflite; default: MODEL_pruned.keras")
    tuning.add_evaluation(parser)
    options.set_command(
        parser,
        Options,
        _prune,
        facts=tuning.FACTS,
        examples=(
            "resnet20 --weights cifar10 --sparsity 0.5 --pattern 2:4",
            "run/ --shrink 0.25 --multiple 8 --evaluate photos/",
        ),
    )


def _prune(asked: Options) -> None:
    with native_logs_hidden():
        from keras_resnets import pruning
        from keras_resnets.cli.printing import tables
        from keras_resnets.export.keras import convert as keras_file
        from keras_resnets.export.tflite import convert as tflite

        path = asked.path()
        is_tflite = str(path).endswith(".tflite")
        (tflite if is_tflite else keras_file).check_output(path, asked.overwrite)
        model, _, _ = network.build(asked)
        before = pruning.pruning_report(model)
        pruned = _pruned(asked, model)
        after = pruning.pruning_report(pruned)
        if is_tflite:
            tflite.to_tflite(pruned, path, overwrite=asked.overwrite, sparse=True)
        else:
            keras_file.to_keras(pruned, path, overwrite=asked.overwrite)
        output.keep(path=path, before=before, after=after)
        say(tables.pruning_table(before, after))
        tuning.say_accuracy(asked, model, pruned)
        tuned = "" if asked.engine == "tfmot" else "; the network was not fine-tuned"
        say(f"wrote {path}{tuned}")


def _pruned(asked: Options, model: "keras.Model") -> "keras.Model":
    from keras_resnets import pruning
    from keras_resnets.graph import copies
    from keras_resnets.graph import provenance

    if asked.engine == "tfmot":
        return _by_tfmot(asked, model)
    if asked.shrink is not None:
        return pruning.shrink(model, asked.shrink, asked.multiple)
    copy = copies.clone(model)
    provenance.inherit(copy, model)
    pruning.prune(copy, asked.sparsity, asked.pattern)
    return copy


def _by_tfmot(asked: Options, model: "keras.Model") -> "keras.Model":
    from keras_resnets import tfmot

    settings = asked.for_tfmot()
    data = tuning.training_data(asked, model)
    with tuning.Bar(data, settings) as bar:
        return tfmot.tfmot_prune(
            model, data, asked.sparsity, settings, bar.progress, bar.tell
        )
