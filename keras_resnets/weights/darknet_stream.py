"""Darknet's stream of numbers, which the network alone assigns to layers.

For every convolution: biases, BN, then weights. What follows the network is its
classifier, nothing (a file that the program cut off: `darknet53.conv.74`), or the head
of a detector that was built on it, recognized by its exact count of numbers.
"""

import dataclasses
import typing

import keras
import numpy as np

from keras_resnets.errors import WeightsError
from keras_resnets.weights.readers.arrays import checked
from keras_resnets.weights.values import keras_axes
from keras_resnets.weights.values import weighted

# Any length divides into the rows of some classifier; ImageNet-21k has 21,843.
_MOST_CLASSES = 100_000


@dataclasses.dataclass(frozen=True)
class _Detector:
    """A detector's head: (inputs, outputs, kernel) with BN, and its box outputs.

    `boxes` are the inputs of the last convolutions, without BN, each of `anchors` times
    (5 + classes) outputs. All for a network whose last convolution has 1,024 outputs.
    """

    name: str
    body: tuple[tuple[int, int, int], ...]
    boxes: tuple[int, ...]
    anchors: int


def _five(inputs: int, width: int) -> tuple[tuple[int, int, int], ...]:
    """Six alternating 1x1 and 3x3 convolutions, as YOLOv3 has at each of its scales."""
    narrow, wide = (width, 2 * width, 3), (2 * width, width, 1)
    return ((inputs, width, 1), narrow, wide, narrow, wide, narrow)


_COARSE, _MIDDLE = (512, 256, 1), (256, 128, 1)
_FINE = (_COARSE, *_five(768, 256), _MIDDLE, *_five(384, 128))
_SPP = ((1024, 512, 1), (512, 1024, 3), (1024, 512, 1), *_five(2048, 512)[:4])
_DETECTORS = (
    # yolov3.cfg, yolov3-spp.cfg and yolov2.cfg of the darknet program.
    _Detector("YOLOv3", (*_five(1024, 512), *_FINE), (1024, 512, 256), 3),
    _Detector("YOLOv3-SPP", (*_SPP, *_FINE), (1024, 512, 256), 3),
    _Detector(
        "YOLOv2",
        ((1024, 1024, 3), (1024, 1024, 3), (512, 64, 1), (1280, 1024, 3)),
        (1024,),
        5,
    ),
)


@dataclasses.dataclass(frozen=True)
class _Rest:
    """Describes what follows the network: `classes`, or the head of a `detector`."""

    classes: int | None = None
    detector: str | None = None


def _rest(count: int, features: int) -> _Rest | None:
    """The `_Rest` of `count` numbers after a network of `features`, or None."""
    if count == 0:
        return _Rest()
    for detector in _DETECTORS:
        boxes = _boxes(count, features, detector)
        if boxes is not None:
            return _Rest(detector=f"{detector.name} of {boxes} classes")
    # A bias and a row of weights for each class.
    classes, more = divmod(count, 1 + features)
    return None if count < 0 or more or classes > _MOST_CLASSES else _Rest(classes)


def _boxes(count: int, features: int, detector: _Detector) -> typing.Any:
    if features % 16:
        return None
    scale = features / 1024
    body = sum(
        int(outputs * scale) * (4 + int(inputs * scale) * kernel**2)
        for inputs, outputs, kernel in detector.body
    )
    row = detector.anchors * sum(1 + int(inputs * scale) for inputs in detector.boxes)
    values, more = divmod(count - body, row)
    return values - 5 if values > 5 and not more else None


def stream_values(model: keras.Model, floats: np.ndarray) -> tuple[typing.Any, ...]:
    """Values by layer for darknet's stream.

    Args:
        model: a DarkNet of this package.
        floats: all numbers of the file.

    Returns:
        (values, remarks): see `values.named_values`; sentences on what was not taken.

    Raises:
        WeightsError: a count of numbers that no such network has.
    """
    layers = weighted(model)
    norms = {
        layer.name: following
        for layer, following in zip(layers, layers[1:], strict=False)
        if isinstance(following, keras.layers.BatchNormalization)
    }
    body = [layer for layer in layers if layer.name in norms]
    normed = {norm.name for norm in norms.values()}
    heads = [la for la in layers if la.name not in norms and la.name not in normed]
    if not body or len(heads) > 1:
        raise WeightsError(f"a darknet file requires a DarkNet; got {model.name}")
    shapes = [layer.kernel.shape for layer in body]
    channels, rest = _channels(shapes, len(floats))
    if rest is None:
        raise WeightsError(
            f"it contains {len(floats):,} numbers, which do not fit {model.name} "
            f"({model.count_params():,}) with a classifier, without, or with YOLO's head"
        )
    stream, values = _Stream(floats), {}
    for layer in body:
        *kernel, inputs, outputs = layer.kernel.shape
        inputs = channels if layer is body[0] else inputs
        norm = norms[layer.name]
        values[norm.name] = {
            field: stream.take(f"{norm.name}/{field}", outputs)
            for field in ("beta", "gamma", "moving_mean", "moving_variance")
        }
        weight = stream.take(f"{layer.name}/kernel", outputs, inputs, *kernel)
        values[layer.name] = {"kernel": keras_axes(layer, "kernel", weight)}
    for head in heads:
        values[head.name] = {}
        if rest.classes:
            inputs = head.kernel.shape[-2]
            bias = stream.take(f"{head.name}/bias", rest.classes)
            weight = stream.take(f"{head.name}/kernel", rest.classes, inputs, 1, 1)
            values[head.name] = {
                "bias": bias,
                "kernel": keras_axes(head, "kernel", weight),
            }
    dropped = rest.detector
    return values, [f"the head of {dropped} is ignored"] if dropped else []


def _channels(shapes: list[typing.Any], count: int) -> tuple[int, _Rest | None]:
    """(input channels of the file, its `_Rest` or None): the model's channels, else RGB."""
    for channels in dict.fromkeys((int(shapes[0][-2]), 3)):
        body = 0
        for index, (*kernel, inputs, outputs) in enumerate(shapes):
            inputs = inputs if index else channels
            body += outputs * (4 + inputs * int(np.prod(kernel)))
        rest = _rest(count - body, int(shapes[-1][-1]))
        if rest is not None:
            return channels, rest
    return 3, None


class _Stream:
    """Numbers that are consumed from the front."""

    def __init__(self, floats: np.ndarray) -> None:
        self._floats, self._position = floats, 0

    def take(self, name: str, *shape: typing.Any) -> np.ndarray:
        """Returns the next numbers, in `shape`; `name` is for the error."""
        count = int(np.prod(shape))
        self._position += count
        taken = self._floats[self._position - count : self._position]
        variance = name.endswith("/moving_variance")
        return checked(name, np.reshape(taken, shape), variance)
