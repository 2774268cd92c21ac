"""`keras-resnets explain`: heat maps of a class in a photo, of a network and its files."""

import argparse
import dataclasses
import pathlib
import sys
import typing
from collections.abc import Sequence

from keras_resnets.cli.arguments import keras_file
from keras_resnets.cli.arguments import mode_and_labels
from keras_resnets.cli.arguments import model_argument
from keras_resnets.cli.arguments import network
from keras_resnets.cli.arguments import network_or_file
from keras_resnets.cli.arguments import options
from keras_resnets.cli.arguments import parsing
from keras_resnets.cli.arguments import photos
from keras_resnets.cli.arguments.network import say
from keras_resnets.cli.printing import output
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import printable
from keras_resnets.errors import shown as shown_value
from keras_resnets.io import files
from keras_resnets.system.quiet import native_logs_hidden

if typing.TYPE_CHECKING:
    import keras
    import numpy as np
    from PIL import Image

    from keras_resnets.export.compare.classifier import FileClassifier
    from keras_resnets.graph.heatmaps import Explanation
    from keras_resnets.images.preprocessing import Preprocessing


METHODS = ("cam", "grad-cam")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(network_or_file.Subject):
    """The options of `keras-resnets explain`; see its help."""

    photo: str
    image: int | None
    bands: tuple[int, ...] | None
    file: tuple[str, ...]
    target: str | None
    method: str | None
    layer: str | None
    output: str | None
    overwrite: bool

    def check_free(self) -> None:
        """Raises `InvalidArgument` for an image to write that exists."""
        files.check_destination(self.place(), ".png", self.overwrite)

    def place(self) -> str:
        """Returns the path of the PNG file; by default named after the photo."""
        return self.output or f"{pathlib.Path(self.photo).stem}_explained.png"


def add_to(commands: parsing.Commands) -> None:
    """Adds the command."""
    parser = commands.add_parser("explain")
    network_or_file.add_options(parser)
    parser.add_argument(
        "photo",
        metavar="PHOTO",
        help="image file: a photo, .npy or TIFF; or a data set as predict takes it",
    )
    parser.add_argument(
        "--image",
        type=options.COUNT,
        metavar="N",
        help="of a data set, or of an .npy file of several images: which one (1)",
    )
    parser.add_argument(
        "--bands",
        type=_bands,
        metavar="B[,B,B]",
        help="of images of several channels: one or three to draw, as 4,3,2 (1,2,3)",
    )
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
    parser.add_argument(
        "--layer",
        metavar="LAYER",
        help="for grad-cam: the layer whose feature map is used, or stage1, stage2, ... "
        "(the last)",
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
            "run/ scene.tif --bands 4,3,2",
        ),
    )


def _explain(asked: Options) -> None:
    with native_logs_hidden():
        from keras_resnets.graph import heatmaps
        from keras_resnets.images import labels

        place = files.check_destination(asked.place(), ".png", asked.overwrite)
        if asked.layer is not None:
            heatmaps.check_layer(asked.method)
        model = _opened(asked)
        names = labels.class_names(_classes(model), model.labels)
        index = None if asked.target is None else _class_of(asked.target, names)
        picture, seen = _picture(asked, model)
        if _is_file(model):
            _check_method(asked, model.name)
            first = _of_file(model, asked, index)
        else:
            first = heatmaps.explain_input(
                model, _input(asked, model), index, asked.method, asked.layer
            )
        shown = [(model, first)]
        for path in asked.file:
            opened = network_or_file.open_file(path, asked)
            shown.append((opened, _of_file(opened, asked, first.index)))
        _say(shown, names)
        drawn = _drawn(picture, seen, shown, names)
        with files.atomic_file(place) as temporary:
            drawn.save(temporary, format="png")
        say(f"drew {place}")
        output.keep(output=str(place))


def _opened(asked: Options) -> "keras.Model | FileClassifier":
    """Opens MODEL: of the exported files, a `.keras` file contains a network."""
    if not model_argument.is_own(asked.model):
        return network_or_file.open_subject(asked)
    import keras

    from keras_resnets.graph import heatmaps
    from keras_resnets.graph import outputs
    from keras_resnets.graph import provenance

    # The names of the classes are those of the output that is left.
    model, _, _ = keras_file.build(dataclasses.replace(asked, labels=None), {})
    tensors = outputs.outputs(model)
    if tensors.pop(heatmaps.HEATMAP, None) is not None:
        # Written with --heatmap: that output is computed again.
        plain = keras.Model(model.inputs, list(tensors.values()), name=model.name)
        provenance.inherit(plain, model)
        model = plain
    mode_and_labels.set_labels(model, asked.labels)
    heatmaps.check_classifier(model)
    return model


def _is_file(model: "keras.Model | FileClassifier") -> bool:
    return hasattr(model, "outputs_by_name")


def _classes(model: "keras.Model | FileClassifier") -> int:
    """Returns the number of classes, two of a network with one output."""
    from keras_resnets.graph import binary

    return model.output_shape[-1] if _is_file(model) else binary.classes(model)


def _bands(text: str) -> tuple[int, ...]:
    """Reads `--bands`: numbers of channels from 1 on."""
    try:
        numbers = tuple(options.CHANNELS(word) for word in text.split(","))
    except argparse.ArgumentTypeError:
        numbers = ()
    if len(numbers) not in (1, 3):
        raise argparse.ArgumentTypeError(
            f"must be one or three numbers of channels, as 4,3,2; got {shown_value(text)}"
        )
    return numbers


def _input(asked: Options, model: "keras.Model | FileClassifier") -> "np.ndarray":
    """Returns the image as `model` takes it: float32 (height, width, channels)."""
    from keras_resnets.images import loading

    if not photos.is_data_set(asked.photo):
        return loading.load_image(asked.photo, model.preprocessing)
    number, seen = asked.image or 1, 0
    # All of them: a smaller count would take the same share of every class.
    for seen, (_, image) in enumerate(
        photos.of_data_set(asked.photo, model, sys.maxsize), start=1
    ):
        if seen == number:
            return image
    raise InvalidArgument(
        f"--image must be one of the {seen} images of {asked.photo}; got {number}"
    )


def _picture(
    asked: Options, model: "keras.Model | FileClassifier"
) -> "tuple[Image.Image, Preprocessing]":
    """Returns the image to draw on, and how the network's input is cut out of it.

    Of a data set that is the input itself.
    """
    from keras_resnets.images import channel_files
    from keras_resnets.images import channels
    from keras_resnets.images import loading

    preprocessing = model.preprocessing
    whole = dataclasses.replace(preprocessing, crop_fraction=1.0, letterbox=False)
    is_set = photos.is_data_set(asked.photo)
    if asked.image is not None and not is_set:
        raise InvalidArgument(
            f"--image is for a data set or an array of several images; {asked.photo} is "
            "one image"
        )
    if is_set:
        inputs = _input(asked, model)
        array = preprocessing.pixels(inputs) if _is_colour(preprocessing) else inputs
        return channels.picture(array, asked.bands), whole
    if loading.is_of_channels(asked.photo, preprocessing.channels):
        array = channel_files.read(asked.photo)
        array = channels.fitted(array, preprocessing.channels)
        return channels.picture(array, asked.bands), preprocessing
    if asked.bands is not None:
        raise InvalidArgument(
            "--bands is for images of other channels than a photo's; "
            f"{pathlib.Path(asked.photo).name} is drawn in its colours"
        )
    photo = loading.open_photo(asked.photo)
    return photo.convert("L") if preprocessing.channels == 1 else photo, preprocessing


def _is_colour(preprocessing: "Preprocessing") -> bool:
    """Whether inputs can be shown as the pixels of a photo."""
    return preprocessing.channels == 3 and preprocessing.takes_pixels


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


def _check_method(asked: Options, name: str) -> None:
    """Raises `InvalidArgument` for a method that an exported file does not have."""
    if asked.layer is not None or asked.method == "grad-cam":
        raise InvalidArgument(
            f"grad-cam requires a network; {name} is an exported file, which has the "
            "class activation map of --heatmap only"
        )


def _of_file(
    opened: "FileClassifier", asked: Options, index: int | None
) -> "Explanation":
    """Returns the `Explanation` computed by an exported file."""
    from keras_resnets.graph import heatmaps
    from keras_resnets.images.labels import MULTI_LABEL

    if not opened.has_heatmap:
        raise InvalidArgument(
            f"{opened.name} has no heat map output: export or quantize it with --heatmap"
        )
    outputs = opened.outputs_by_name(_input(asked, opened)[None])
    return heatmaps.of_outputs(outputs, index, opened.task == MULTI_LABEL)


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
            f"{model.name:<{width}}  {printable(label)} {explanation.probability:.2%}, "
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
        if explanation.heatmap.max() <= 0:
            output.note(
                f"note: nothing in the image is evidence for {printable(label)} to "
                f"{model.name}: nothing is drawn on it"
            )
    output.keep(shown=facts)


def _drawn(
    photo: "Image.Image",
    seen: "Preprocessing",
    shown: "Sequence[tuple[keras.Model | FileClassifier, Explanation]]",
    names: Sequence[tuple[str, ...]],
) -> "Image.Image":
    """Returns an image of the photo beside the photo under each heat map."""
    from keras_resnets.images import overlay

    # Maps of the same method share the network's scale.
    largest = float(shown[0][1].heatmap.max())
    panels, titles = [photo.convert("RGB")], ["image"]
    for model, explanation in shown:
        same = explanation.method == shown[0][1].method
        top = largest if same and largest > 0 else None
        panels.append(overlay.draw(photo, explanation.heatmap, seen, largest=top))
        label, share = printable(names[explanation.index][1]), explanation.probability
        if not overlay.can_write(label):
            label = f"class {explanation.index}"
        titles.append(f"{model.name}\n{label} {share:.1%} ({explanation.method})")
    return overlay.side_by_side(panels, titles)
