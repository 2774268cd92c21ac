"""Checkpoints of other libraries: opened, recognized, and set into a model."""

from keras_resnets.errors import WeightsError
from keras_resnets.layers import IdentityPadShortcut
from keras_resnets.weights import layouts
from keras_resnets.weights import notes
from keras_resnets.weights.assign import assign
from keras_resnets.weights.readers import read
from keras_resnets.weights.source import Source
from keras_resnets.weights.values import named_values
from keras_resnets.weights.values import numbered_values
from keras_resnets.weights.values import stream_values


class ForeignSource(Source):
    """A checkpoint of another library; see `Source`."""

    def __init__(self, path):
        super().__init__(path)
        checkpoint = read(path)
        self._floats, self._tensors = None, {}
        if checkpoint.format == "darknet":
            self._floats = checkpoint["floats"]
            self.labels = "imagenet_darknet"
            return
        self._tensors = {
            _module_and_field(name): checkpoint[name]
            for name in checkpoint
            if not name.endswith("num_batches_tracked")
        }
        modules = [module for module, _ in self._tensors]
        if "conv2d_1" in modules:
            self.mode, self.labels = "raw", "cifar10"
            return
        try:
            self.layout = layouts.find(modules).fitted(self._tensors)
        except WeightsError as error:
            raise WeightsError(f"{path}: {error}") from None
        self.axes, self.mode = self.layout.axes, self.layout.preprocessing
        self.labels = self.layout.labels
        notes.apply(self, notes.of_metadata(checkpoint.metadata))

    def load(self, model):
        """Sets every variable of `model`; see `assign`."""
        if self._floats is not None:
            values, rest = stream_values(model, self._floats, self.path)
            unused = [f"{rest:,} numbers"] if rest else []
        elif self.layout is None:
            values, unused = numbered_values(model, self._tensors)
        else:
            _check_padding(model, self.layout, self.path)
            values, unused = named_values(model, self._tensors, self.layout)
        return assign(model, values, unused, self.path)


def _module_and_field(name):
    """("layer1.0.bn1", "weight"), ("conv1_conv", "kernel"): whose tensor, and which."""
    if "/" in name:
        module, _, field = name.rpartition("/")
        return module.rpartition("/")[2], field.removesuffix(":0")
    module, _, field = name.rpartition(".")
    return module, field


def _check_padding(model, layout, path):
    wanted = layout.axes.get("identity_pad_position")
    for layer in model.layers:
        if wanted and isinstance(layer, IdentityPadShortcut):
            if layer.position != wanted:
                raise WeightsError(
                    f"{path} needs identity_pad_position={wanted!r}; {model.name} has "
                    f"{layer.position!r}"
                )
