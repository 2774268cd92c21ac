"""Opens and recognizes files of weights, and loads them into a model."""

import functools
import pathlib
import typing
import warnings

from keras_resnets.errors import WeightsError
from keras_resnets.networks.layers import IdentityPadShortcut
from keras_resnets.weights import contents
from keras_resnets.weights import darknet_stream
from keras_resnets.weights import layouts
from keras_resnets.weights import lookalikes
from keras_resnets.weights import metadata
from keras_resnets.weights import topology
from keras_resnets.weights.assign import Chosen
from keras_resnets.weights.assign import assign
from keras_resnets.weights.readers import read
from keras_resnets.weights.readers.checkpoint import damage_reported
from keras_resnets.weights.readers.keras_file import SCALINGS
from keras_resnets.weights.readers.keras_zip import CONFIG
from keras_resnets.weights.readers.keras_zip import parsed
from keras_resnets.weights.source import Source
from keras_resnets.weights.values import named_values
from keras_resnets.weights.values import numbered_values

if typing.TYPE_CHECKING:
    import keras


class FileSource(Source):
    """A checkpoint of this package or of another library; see `Source`."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__(path)
        checkpoint = read(path)
        self._floats: typing.Any = None
        self._network: typing.Any = None
        if checkpoint.format == "darknet":
            self._floats = checkpoint["floats"]
            self.labels = "imagenet_darknet"
            return
        self._kinds = checkpoint.kinds
        self._config = checkpoint.metadata.get("config")
        with damage_reported(path):
            self._network = contents.find(checkpoint)
        layout = self._network.layout
        self.mode, self.labels = layout.preprocessing, layout.labels
        self.axes, self.classes = layout.axes, self._network.classes
        self.count = sum(array.size for array in self._network.tensors.values())
        if layout.name != layouts.NUMBERED.name:
            self.layout = layout
        metadata.apply(self, checkpoint.metadata.get(metadata.KEY))
        self._say(self._network.remarks)

    def load(self, model: "keras.Model") -> bool:
        """Sets every variable of `model`; see `assign`."""
        try:
            values, unused = self._values(model)
        except WeightsError as error:
            raise WeightsError(f"{self.path}: {error}") from None
        layout = self.layout
        check = None
        if layout is not None:
            check = functools.partial(self._check_computation, model, layout)
        return assign(model, values, unused, self.path, check)

    def _check_computation(
        self, model: "keras.Model", layout: "layouts.Layout"
    ) -> None:
        """Raises if tensors that fit are those of a network that computes otherwise."""
        with damage_reported(self.path):
            if layout.name != layouts.NATIVE.name:
                remarks = lookalikes.check(model, layout, self._kinds)
                return self._say([] if "downsample_in" in self.axes else remarks)
            config = parsed(self._config, CONFIG) if self._config else None
            topology.check(model, self._kinds, config)

    def _values(self, model: "keras.Model") -> tuple[typing.Any, ...]:
        if self._floats is not None:
            values, remarks = darknet_stream.stream_values(model, self._floats)
            self._say(remarks)
            return values, []
        network = self._network
        if self.layout is None:
            return numbered_values(model, network.tensors)
        self._check_padding(model, self.layout)
        lookalikes.check_stem(model, self.layout)
        self._say(self._scalings(model))
        return named_values(model, network.tensors, self.layout)

    def _scalings(self, model: "keras.Model") -> list[typing.Any]:
        """Remarks on image scaling that the file's network has and the model lacks."""
        names = {layer.name for layer in model.layers}
        return [
            f"its layer {name} ({kind}) scales the images and is ignored"
            for name, kind in self._kinds.items()
            if kind in SCALINGS and name.rpartition(".")[2] not in names
        ]

    def _say(self, remarks: list[typing.Any] | tuple[typing.Any, ...]) -> None:
        for remark in remarks:
            warnings.warn(f"{self.path}: {remark}", Chosen, stacklevel=4)

    def _check_padding(self, model: "keras.Model", layout: "layouts.Layout") -> None:
        position = layout.axes.get("identity_pad_position")
        for layer in model.layers:
            if position and isinstance(layer, IdentityPadShortcut):
                if layer.position != position:
                    raise WeightsError(
                        f"it needs identity_pad_position={position!r}; {model.name} has "
                        f"{layer.position!r}"
                    )
