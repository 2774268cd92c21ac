"""What every opened `weights` argument has."""

import pathlib
import typing

from keras_resnets.images.preprocessing import Preprocessing

if typing.TYPE_CHECKING:
    import keras

    from keras_resnets.weights.layouts import Layout


class Source:
    """Weights that were opened, and are not set yet.

    Attributes:
        path: the file.
        origin: where it came from: an address, or the file's name.
        axes: what the architecture must be like for these weights.
        mode: of `preprocess_input` that they expect; None: the variant's own.
        preprocessing: the whole `Preprocessing` where it is known, else None.
        classes: how many classes its classifier has; None where it has none, or where
            only a network tells which values are its classifier.
        count: values in all that the file has for a network, or None.
        labels: the order of the classes (`keras_resnets.images.labels`); None: not known.
        confidence: see `graph.provenance`; None: not known.
        layout: the `layouts.Layout` of the tensors' names, or None.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.origin = path.name
        self.axes: dict[str, typing.Any] = {}
        self.mode: str | None = None
        self.preprocessing: Preprocessing | None = None
        self.classes: int | None = None
        self.count: int | None = None
        self.labels: str | tuple[str, ...] | None = None
        self.confidence: typing.Any = None
        self.layout: Layout | None = None

    def load(self, model: "keras.Model") -> bool:
        """Sets every variable of `model`.

        Returns:
            Whether the classifier is the checkpoint's.

        Raises:
            WeightsError: values that do not fit; nothing was set.
        """
        raise NotImplementedError
