"""`Layout`: the names that another library gives to the layers of our networks.

A layout is a table from the parts of our layer names (`stage2_block1_conv1` is the
`conv` numbered 1 of block 1 of stage 2) to a foreign module's name. Our names come
from the blueprint, so every variant that it can describe is covered, and no list
of a variant's tensors is kept. `layouts.match` recognizes a checkpoint's layout.
"""

import dataclasses
import re
import typing

if typing.TYPE_CHECKING:
    import numpy as np


# Name of the layout whose names are Keras' own numbers.
NUMBERED = "numbers of Keras"
_NAME = re.compile(
    r"(?:(?P<stage>stage\d+)_)?(?:block(?P<block>\d+)_)?"
    r"(?P<part>(?:stem|stem_pool|downsample|shortcut|post)_(?:conv|bn)|conv|bn|"
    r"predictions_conv|predictions)(?P<number>\d*)$"
)


@dataclasses.dataclass(frozen=True)
class Layout:
    """A naming scheme.

    Attributes:
        name: the layout's name in messages.
        names: part of our layer name -> template of the foreign module's name; the
            most specific key wins: `stage1_conv`, then `conv1`, then `conv`. Templates
            use `{stage}`, `{block}` and `{number}` from 1, `{stage0}`, `{block0}`
            and `{number0}` from 0, `{stage2}` from 2; `{conv3}` and `{bn3}`, `{inner3}`
            and `{inner_bn3}` are the positions of a block, and of a number, in a
            Sequential of convolution, BN and ReLU. Empty: names are ours, or numbers.
        torch: whether arrays are torch's (OIHW, `weight`) or Keras' (HWIO, `kernel`).
        epsilon: of the BN layers that the weights were trained with; None: ours.
        axes: axes that the architecture must have for these weights.
        preprocessing: mode of `preprocess_input`; None: the variant's own.
        labels: order of the classes (`keras_resnets.images.labels`); None: unknown.
        conv_head: whether the classifier is stored as a 1x1 convolution.
        by_classes: number of classes -> other values of these attributes.
        unused: module of the other library's class that it never calls; None: none has.
    """

    name: str
    names: dict[str, str]
    torch: bool = True
    epsilon: float | None = None
    axes: dict[str, object] = dataclasses.field(default_factory=dict)
    preprocessing: str | None = None
    labels: str | None = "imagenet"
    conv_head: bool = False
    by_classes: dict[int, dict[str, typing.Any]] = dataclasses.field(
        default_factory=dict
    )
    unused: str | None = None

    def fitted(self, tensors: "dict[tuple[str, str], np.ndarray]") -> "Layout":
        """Completes this layout from `tensors`, a dict by (module, field)."""
        torch = not any(field in ("kernel", "gamma") for _, field in tensors)
        head = tensors.get((self.head(tensors), "weight"))
        changes = {} if head is None else self.by_classes.get(head.shape[0], {})
        conv_head = head is not None and head.ndim == 4
        return dataclasses.replace(self, torch=torch, conv_head=conv_head, **changes)

    def head(self, tensors: "dict[tuple[str, str], np.ndarray]") -> str:
        """Returns the module of the classifier in `tensors`, a dict by (module, field)."""
        if self.names:
            return self.names["predictions"]
        if self.name == NUMBERED:
            return "dense"
        ours = any(module == "predictions_conv" for module, _ in tensors)
        return "predictions_conv" if ours else "predictions"

    def module(self, layer_name: str) -> str | None:
        """Returns the foreign module of our layer, or None if the layout has none."""
        name_match = _NAME.search(layer_name)
        if not name_match:
            return None
        if not self.names:
            return name_match[0]
        part, number = name_match["part"], name_match["number"]
        keys = (f"{name_match['stage']}_{part}", part + number, part)
        template = next((self.names[key] for key in keys if key in self.names), None)
        if template is None:
            return None
        stage = int((name_match["stage"] or "stage0").removeprefix("stage"))
        block, number = int(name_match["block"] or 1), int(number or 1)
        return template.format(
            stage=stage,
            stage0=stage - 1,
            stage2=stage + 1,
            block=block,
            block0=block - 1,
            number=number,
            number0=number - 1,
            conv3=3 * (block - 1),
            bn3=3 * (block - 1) + 1,
            inner3=3 * (number - 1),
            inner_bn3=3 * (number - 1) + 1,
        )


def torchvision(pooled_shortcut: bool = False, **names: typing.Any) -> Layout:
    """The names of torchvision, and of timm for the same networks, ResNet-C and -D.

    Args:
        pooled_shortcut: whether a pooling is the shortcut's first module (timm, D).
        **names: entries of `Layout.names` to change.
    """
    block = "layer{stage}.{block0}."
    conv, bn = (1, 2) if pooled_shortcut else (0, 1)
    table = {
        "stem_conv": "conv1",
        "stem_bn": "bn1",
        # The deep stem is a Sequential; its last BN is outside of it.
        "stem_conv1": "conv1.0",
        "stem_bn1": "conv1.1",
        "stem_conv2": "conv1.3",
        "stem_bn2": "conv1.4",
        "stem_conv3": "conv1.6",
        "stem_bn3": "bn1",
        "conv": block + "conv{number}",
        "bn": block + "bn{number}",
        "shortcut_conv": f"{block}downsample.{conv}",
        "shortcut_bn": f"{block}downsample.{bn}",
        "predictions": "fc",
    }
    return Layout("torchvision", {**table, **names})
