"""`keras-resnets explain`: heat maps of a class in a photo, of a network and its files."""

import dataclasses
import pathlib
import typing
from collections.abc import Sequence

from keras_resnets.cli import network
from keras_resnets.cli import options
from keras_resnets.cli import output
from keras_resnets.cli import parsing
from keras_resnets.cli import subject
from keras_resnets.cli.network import say
from keras_resnets.errors import InvalidArgument
from keras_resnets.system.quiet import native_logs_hidden

if typing.TYPE_CHECKING:
    import keras
    from PIL import Image

    from keras_resnets.export.compare.classifier import FileClassifier
    from keras_resnets.graph.heatmaps import Explanation
    from keras_resnets.images.preprocessing import Preprocessing


METHODS = ("cam", "grad-cam")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(subject.Subject):
    """The options of `keras-resnets explain`; see its help."""

    photo: str
    file: tuple[str, ...]
    target: str | None
    method: str | None
    output: str | None
    overwrite: bool

    def place(self) -> str:
        """Returns the path of the PNG file; by default named after the photo."""
        return self.output or f"{pathlib.Path(self.photo).stem}_explained.png"


def add_to(commands: parsing.Commands) -> None:
    """Adds the command."""
    parser = commands.add_parser("explain")
    subject.add_options(parser)
    parser.add_argument("photo", metavar="PHOTO", help="image file")
    parser.add_argument(
        "--file",
        action="append",
        default=[],
        metavar="FILE",
        help="exported file to compare, written with --heatmap; can be repeated",
    )
    parser.add_argument(
        "--class",
        dest="target",
        metavar="CLASS",
        help="name or number of the class; default: the one that MODEL predicts",
    )
    parser.add_argument(
        "--method",
        choices=METHODS,
        help="cam: class activation map, exact; grad-cam: for networks without a global "
        "average pooling (default: cam if possible)",
    )
    network.add_output(parser, "default: PHOTO_explained.png")
    options.set_command(
        parser,
        Options,
        _explain,
        facts={
            "shown": "one object for the network and each file: name, class, probability, "
            "method, and correlation of its heat map with the network's",
            "output": "the written PNG file",
        },
        examples=(
            "resnet20 dog.jpg --weights cifar10",
            "resnet20 dog.jpg --weights cifar10 --class dog --file resnet20_int8.tflite",
        ),
    )


def _explain(asked: Options) -> None:
    with native_logs_hidden():
        from keras_resnets.graph import heatmaps
        from keras_resnets.images import labels
        from keras_resnets.io import files

        place = files.check_destination(asked.place(), ".png", asked.overwrite)
        model = subject.open_subject(asked)
        names = labels.class_names(model.output_shape[-1], model.labels)
        index = None if asked.target is None else _class_of(asked.target, names)
        photo = _opened(asked.photo, model.preprocessing)
        if hasattr(model, "outputs_by_name"):
            first = _of_file(model, photo, index)
        else:
            first = heatmaps.explain(model, photo, index, asked.method)
        shown = [(model, first)]
        for path in asked.file:
            opened = subject.open_file(path, asked)
            shown.append((opened, _of_file(opened, photo, first.index)))
        _say(shown, names)
        picture = _drawn(photo, shown, names)
        with files.atomic_file(place) as temporary:
            picture.save(temporary, format="png")
        say(f"drew {place}")
        output.keep(output=str(place))


def _opened(path: str, preprocessing: "Preprocessing") -> "Image.Image":
    """Opens the photo as a Pillow image."""
    from keras_resnets.images import loading

    if loading.is_of_channels(path, preprocessing.channels):
        raise InvalidArgument(
            "explain draws on photos, which have 1 or 3 channels; got "
            f"{preprocessing.channels} channels in {pathlib.Path(path).name}: export the "
            "network with --heatmap, which returns the map as an output"
        )
    return loading.open_photo(path)


def _class_of(text: str, names: Sequence[tuple[str, ...]]) -> int:
    """Returns the index of the class with the name, id or number given by `--class`."""
    matches = [{text} & {name, identity} for identity, name in names]
    if any(matches):
        return next(index for index, match in enumerate(matches) if match)
    if text.isdecimal() and int(text) < len(names):
        return int(text)
    from keras_resnets.errors import nearest

    near = nearest(text, [name for _, name in names], count=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise InvalidArgument(
        f"--class must be a name of the network's {len(names)} classes or a number in "
        f"0..{len(names) - 1}; got {text!r}{hint}"
    )


def _of_file(
    opened: "FileClassifier", photo: "Image.Image", index: int | None
) -> "Explanation":
    """Returns the `Explanation` computed by an exported file."""
    from keras_resnets.graph import heatmaps

    if not opened.has_heatmap:
        raise InvalidArgument(
            f"{opened.name} has no heat map output: export or quantize it with --heatmap"
        )
    outputs = opened.outputs_by_name(opened.preprocessing(photo)[None])
    return heatmaps.of_outputs(outputs, index)


def _say(
    shown: "Sequence[tuple[keras.Model | FileClassifier, Explanation]]",
    names: Sequence[tuple[str, ...]],
) -> None:
    """Prints a line for the network and each file: class, probability, correlation."""
    from keras_resnets.images import overlay

    width = max(len(model.name) for model, _ in shown)
    facts: list[dict[str, typing.Any]] = []
    for model, explanation in shown:
        rows, columns = explanation.heatmap.shape
        same = overlay.correlation(shown[0][1].heatmap, explanation.heatmap)
        alike = f", correlation with {shown[0][0].name}'s {same:.4f}" if facts else ""
        label = names[explanation.index][1]
        say(
            f"{model.name:<{width}}  {label} {explanation.probability:.2%}, "
            f"{explanation.method} of {rows} x {columns}{alike}"
        )
        facts.append(
            {
                "name": model.name,
                "class": label,
                "probability": explanation.probability,
                "method": explanation.method,
                "correlation": same,
            }
        )
    output.keep(shown=facts)


def _drawn(
    photo: "Image.Image",
    shown: "Sequence[tuple[keras.Model | FileClassifier, Explanation]]",
    names: Sequence[tuple[str, ...]],
) -> "Image.Image":
    """Returns an image of the photo beside the photo under each heat map."""
    from keras_resnets.images import overlay

    # Maps of the same method share the network's scale.
    largest = float(shown[0][1].heatmap.max())
    panels, titles = [photo], ["photo"]
    for model, explanation in shown:
        same = explanation.method == shown[0][1].method
        top = largest if same and largest > 0 else None
        panels.append(
            overlay.draw(photo, explanation.heatmap, model.preprocessing, largest=top)
        )
        label, share = names[explanation.index][1], explanation.probability
        titles.append(f"{model.name}\n{label} {share:.1%} ({explanation.method})")
    return overlay.side_by_side(panels, titles)
