"""What timm's and transformers' `config.json` say of the weights in the same folder.

Some of it changes what the network computes, and no tensor shows it: the place of the
stride, the activation, the dilation, the kind of pooling.
"""

import dataclasses
import typing
from collections.abc import Collection

from keras_resnets.errors import WeightsError
from keras_resnets.errors import shown
from keras_resnets.weights import lookalikes

# timm's names of activations -> ours.
_ACTIVATIONS = {"relu": "relu", "silu": "silu", "swish": "silu", "gelu": "gelu"}
# Pillow's numbers.
_RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
# From this size on, ConvNextImageProcessor shows the whole image.
_WHOLE = 384


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a configuration says of weights.

    Attributes:
        axes: axes that the architecture must have.
        preprocessing: arguments of `Preprocessing`; None if unknown.
        labels: names of the classes in their order; None if unknown.
    """

    axes: dict[str, typing.Any]
    preprocessing: dict[str, typing.Any] | None
    labels: list[str] | None


def of_timm(content: dict[str, typing.Any], place: object) -> Facts:
    """Returns what timm's `config.json` says.

    Args:
        content: the object in the file.
        place: the file, for messages.

    Raises:
        WeightsError: a network whose outputs no network of this package has.
    """
    lookalikes.check_name(content.get("architecture"), place)
    arguments = _dict(content.get("model_args"))
    pool = arguments.get("global_pool") or content.get("global_pool")
    for what, value, allowed in (
        ("aa_layer", arguments.get("aa_layer"), ()),
        ("global_pool", pool, ("avg", "fast", "fastavg")),
    ):
        if value and value not in allowed:
            raise WeightsError(
                f"{place}: no network of this package has {what}={shown(value, 40)}; its "
                "weights would fit, and give other outputs"
            )
    axes = _activation(arguments.get("act_layer"), place, _ACTIVATIONS)
    if arguments.get("output_stride", 32) != 32:
        axes["output_stride"] = arguments["output_stride"]
    config = _dict(content.get("pretrained_cfg"))
    labels = content.get("label_names") or config.get("label_names")
    return Facts(axes, _timm_images(config), _told(labels))


def _timm_images(config: dict[str, typing.Any]) -> dict[str, typing.Any] | None:
    if "mean" not in config:
        return None
    images = {"mode": "torch", "mean": config["mean"], "std": config.get("std")}
    size = config.get("input_size", (3, 224, 224))
    images["size"] = size[-2:] if isinstance(size, (list, tuple)) else size
    for theirs, ours in (("crop_pct", "crop_fraction"), ("interpolation",) * 2):
        if config.get(theirs) is not None:
            images[ours] = config[theirs]
    return images


def of_transformers(
    content: dict[str, typing.Any], processor: dict[str, typing.Any], place: object
) -> Facts:
    """Returns what `config.json` and `preprocessor_config.json` of transformers say.

    Args:
        content: the object in `config.json`, whose `model_type` is `"resnet"`.
        processor: that in `preprocessor_config.json`; empty if there is none.
        place: `config.json`, for messages.

    Raises:
        WeightsError: an activation that no network of this package has.
    """
    # transformers applies another one to the stem alone.
    axes = _activation(content.get("hidden_act"), place, ("relu",))
    if content.get("layer_type", "bottleneck") == "bottleneck":
        early = content.get("downsample_in_bottleneck") is True
        axes["downsample_in"] = "1x1" if early else "3x3"
    depths = content.get("depths")
    if content.get("downsample_in_first_stage") is True and isinstance(depths, list):
        axes["strides"] = (2,) * len(depths)
    names = _dict(content.get("id2label"))
    labels = [names.get(str(number)) for number in range(len(names))]
    return Facts(axes, _processor_images(processor), _told(labels))


def _processor_images(processor: dict[str, typing.Any]) -> dict[str, typing.Any] | None:
    """Arguments of `Preprocessing` for an image processor of transformers."""
    if "image_mean" not in processor or processor.get("do_rescale") is False:
        return None
    images = {"mode": "torch", "mean": processor["image_mean"]}
    images["std"] = processor.get("image_std")
    if processor.get("do_normalize") is False:
        images = {"mode": "darknet"}
    edge = _edge(processor.get("size"))
    crop = (
        _edge(processor.get("crop_size")) if processor.get("do_center_crop") else None
    )
    part = processor.get("crop_pct")
    if crop and edge:
        images["size"], images["crop_fraction"] = (crop, crop), min(1.0, crop / edge)
    elif edge:
        whole = part is None or edge >= _WHOLE
        images["size"], images["crop_fraction"] = (edge, edge), 1.0 if whole else part
    if processor.get("resample") in _RESAMPLING:
        images["interpolation"] = _RESAMPLING[processor["resample"]]
    return images


def _edge(size: object) -> int | None:
    """The side of a square, which is told as a number or as a dict."""
    if isinstance(size, dict):
        size = size.get("shortest_edge") or size.get("height")
    return size if type(size) is int and size > 0 else None


def _activation(
    name: object, place: object, allowed: Collection[str]
) -> dict[str, typing.Any]:
    if name is None:
        return {}
    if not isinstance(name, str) or name not in allowed:
        raise WeightsError(
            f"{place}: the activation must be one of {', '.join(allowed)}; got "
            f"{shown(name, 40)}"
        )
    return {} if name == "relu" else {"activation": _ACTIVATIONS[name]}


def _told(labels: object) -> list[str] | None:
    """The names of classes; None if there are none, or ImageNet's."""
    if not isinstance(labels, list) or not all(isinstance(x, str) for x in labels):
        return None
    # transformers numbers classes without names; this package has ImageNet's.
    is_known = labels[:1] in ([], ["LABEL_0"], ["tench, Tinca tinca"])
    return None if is_known else labels


def _dict(value: object) -> dict[str, typing.Any]:
    return value if isinstance(value, dict) else {}
