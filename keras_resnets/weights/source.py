"""The base class of every opened `weights` argument."""

import pathlib
import typing

from keras_resnets.images.preprocessing import Preprocessing

if typing.TYPE_CHECKING:
    import keras

    from keras_resnets.weights.layouts import Layout


class Source:
    """Weights that are opened, but not loaded yet.

    Attributes:
        path: the file.
        origin: where it came from: an address, or the file's name.
        axes: axes that the architecture must have for these weights.
        mode: mode of `preprocess_input` that they expect; None: the variant's own.
        preprocessing: the complete `Preprocessing` if it is known, else None.
        classes: the number of classes of its classifier; None if it has none, or if
            the classifier's values can only be located with a network.
        count: the number of values that the file has for a network, or None.
        labels: the order of the classes (`keras_resnets.images.labels`); None: unknown.
        confidence: see `graph.provenance`; None: unknown.
        task: see `graph.provenance`.
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
        self.task: str | None = None
        self.layout: Layout | None = None

    def load(self, model: "keras.Model") -> bool:
        """Sets every variable of `model`.

        Returns:
            Whether the classifier was loaded from the checkpoint.

        Raises:
            WeightsError: values that do not fit; nothing was set.
        """
        raise NotImplementedError
