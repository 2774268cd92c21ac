"""`keras-resnets calibrate-confidence`: fits a temperature for the probabilities."""

import dataclasses
import typing

from keras_resnets.cli.arguments import network
from keras_resnets.cli.arguments import options
from keras_resnets.cli.arguments import parsing
from keras_resnets.cli.arguments.network import say
from keras_resnets.cli.printing import output
from keras_resnets.errors import InvalidArgument
from keras_resnets.system.quiet import native_logs_hidden

if typing.TYPE_CHECKING:
    import keras
    import numpy as np

    from keras_resnets.images.evaluation import Labelled


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(network.Network, network.Output):
    """The options of `keras-resnets calibrate-confidence`; see its help."""

    data: str
    part: str
    count: int | None
    seed: int
    false_rejections: float

    @property
    def ending(self) -> str:
        """The end of the default path."""
        return f"_calibrated{'.keras' if self.is_own else '.safetensors'}"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.is_own and str(self.output).endswith(".safetensors"):
            raise InvalidArgument(
                f"{self.model} is not a variant: --output must be a .keras file; got "
                f"{self.output}"
            )


def add_to(commands: parsing.Commands) -> None:
    """Adds the command."""
    parser = commands.add_parser("calibrate-confidence")
    network.add_trained(parser)
    group = parser.add_argument_group("held-out images")
    group.add_argument(
        "--data",
        required=True,
        help="labelled images that the network was not trained on, as for evaluate",
    )
    group.add_argument(
        "--part",
        choices=("test", "train"),
        default="test",
        help="part of the data; default: test, or validation if there is no test part",
    )
    group.add_argument(
        "--count", type=options.COUNT, help="number of images; default: all"
    )
    options.add_seed(group, "seed of their choice, and of the split into halves (0)")
    group.add_argument(
        "--false-rejections",
        type=options.number(0, 1, below=True),
        default=0.05,
        help="share of these images that the threshold may reject (0.05)",
    )
    network.add_output(
        parser,
        "default: MODEL_calibrated.safetensors; for a .keras MODEL .keras",
    )
    options.set_command(
        parser,
        Options,
        _calibrate,
        facts={
            "path": "the weight file",
            "confidence": "temperature, threshold, false_rejections, ece_before, ece and "
            "count",
        },
        examples=(
            "resnet14d --weights cifar10 --data cifar10.npz",
            "resnet20 --weights run/best.weights.h5 --data photos/validation",
        ),
    )


def _calibrate(asked: Options) -> None:
    with native_logs_hidden():
        from keras_resnets.graph import temperature
        from keras_resnets.images import confidence
        from keras_resnets.weights import saving

        place = asked.path()
        saving.check_output(place, asked.overwrite)
        model, architecture, source = network.build_one_class(
            asked, "calibrate-confidence", strict=True
        )
        earlier = getattr(model, "confidence", None)
        if earlier is not None:
            raise InvalidArgument(
                f"{asked.weights} is already calibrated (temperature "
                f"{earlier['temperature']:.3g}): use the original weights"
            )
        data = network.open_labelled(
            asked.data, model, asked.count, asked.seed, asked.part
        )
        logits = _logits(model, data)
        fit = confidence.calibrate(
            logits, data.labels, asked.false_rejections, asked.seed
        )
        temperature.calibrated(model, fit)
        saving.save(model, place, source, architecture, asked.overwrite)
        output.keep(path=str(place), confidence=dataclasses.asdict(fit))
        say(
            f"temperature  {fit.temperature:.3f}, from {fit.count:,} images\n"
            f"ECE          {fit.ece_before:.4f} -> {fit.ece:.4f} (each half with the "
            "temperature of the other)\n"
            f"threshold    {fit.threshold:.4f}: lower probabilities mean none of these; "
            f"it rejects {fit.false_rejections:.1%} of these images\n"
            f"wrote        {place}"
        )


def _logits(model: "keras.Model", data: "Labelled") -> "np.ndarray":
    """Returns the logits of `model` for each image."""
    import keras
    import numpy as np

    from keras_resnets.graph import outputs
    from keras_resnets.system.progress import ProgressBar

    logits = outputs.logits_of(model)
    classifier = model if logits is None else keras.Model(model.inputs, logits)
    batches = []
    with ProgressBar(len(data.labels), "images") as bar:
        for images in data.batches(100):
            batches.append(classifier.predict_on_batch(images))
            bar(sum(map(len, batches)))
    return np.concatenate(batches)
