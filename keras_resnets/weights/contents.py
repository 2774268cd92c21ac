"""Finds the network in a checkpoint, whatever was wrapped around it.

One rule for files of all kinds. A network is recognized by its own names (`layouts`), so
whatever precedes them is its prefix, however it came about: `module.` (DDP), `_orig_mod.`
(torch.compile), `model.` (Lightning), `backbone.`, `module.encoder_q.`, a nested model
of Keras. Of several networks in a file one is taken, and a warning says which.
"""

import dataclasses
import re
import typing
from collections.abc import Iterator

from keras_resnets.errors import WeightsError
from keras_resnets.errors import counted
from keras_resnets.errors import printable
from keras_resnets.errors import some
from keras_resnets.weights import layer_numbers
from keras_resnets.weights import layouts
from keras_resnets.weights import torch_forms

if typing.TYPE_CHECKING:
    import numpy as np

    from keras_resnets.weights.layouts import Layout
    from keras_resnets.weights.readers.checkpoint import Checkpoint


# Averages of the weights are what was evaluated; a teacher is an average in DINO.
_FIRST = re.compile(r"(^|[._])(ema|averaged?|teacher)([._]|$)")
# The networks beside the one that learns in MoCo, BYOL and DINO.
_LAST = re.compile(
    r"(^|[._])(encoder_k|key_encoder|momentum(_encoder|_net)?|student|"
    r"target(_network|_encoder|_net)?)([._]|$)"
)
# Their last layers are projections for a loss, not classifiers.
_CONTRASTIVE = re.compile(
    r"(^|[._])(encoder_[qk]|base_encoder|momentum_encoder|key_encoder|"
    r"(online|target)(_network|_encoder|_net)?)([._]|$)"
)
# The order of preference for dicts whose names say nothing of averages or teachers.
_CONTAINERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "")
# In one dict of tensors; each is looked for among all its names.
_MOST_NETWORKS = 50
# Buffers of a module in front, which `Preprocessing` has to do.
_NORMALIZED = ": images must be normalized by them"
# First part of the names of last layers.
_HEADS = re.compile(
    r"(last_)?(fc|linear|head|heads|classifier|predictions|predictions_conv|dense|"
    r"projection_head|projector|prototypes|mlp|top|logits|cls_head|output|out)\d*"
)


@dataclasses.dataclass(frozen=True)
class Network:
    """The contents of a checkpoint for one of this package's networks.

    Attributes:
        tensors: (module, field) -> array, without prefix; the classifier under the
            layout's name.
        layout: `layouts.Layout` of the names.
        classes: of the classifier; None where there is no single linear layer.
        remarks: sentences on what was not taken from the file.
    """

    tensors: "dict[tuple[str, str], np.ndarray]"
    layout: layouts.Layout
    classes: int | None
    remarks: tuple[str, ...]


def find(checkpoint: "Checkpoint") -> Network:
    """Returns the `Network` in a `readers.Checkpoint` whose tensors have names.

    Raises:
        WeightsError: names of no layout, several networks without a preferred one, or
            a tensor that cannot be read.
    """
    stored: dict[str, typing.Any] = {}
    for name in checkpoint:
        container, inner = checkpoint.containers[name]
        if not inner.endswith("num_batches_tracked"):
            stored.setdefault(container, {})[module_and_field(inner)] = name
    groups = {
        container: torch_forms.named(names) for container, names in stored.items()
    }
    places = [
        _Place(container, prefix, layout)
        for container, names in groups.items()
        for prefix, layout in _layouts(names)
    ]
    if not places:
        names: typing.Any = max(groups.values(), key=len, default={})
        raise layouts.unknown({module for module, _ in names})
    place = _chosen(places)
    names = groups[place.container]
    rivals = [p.prefix for p in places if p.container == place.container]
    inside, outside = {}, {}
    for (module, field), parts in names.items():
        owner = max((p for p in rivals if module.startswith(p)), key=len, default=None)
        if owner == place.prefix:
            array = torch_forms.value(checkpoint, parts)
            inside[module.removeprefix(owner), field] = array
        elif owner is None and (array := torch_forms.value(checkpoint, parts)).ndim:
            # Counters, such as that of torch's AveragedModel, are not weights.
            outside[module, field] = array
    torch_forms.check(inside)
    return _network(place, inside, outside, places)


@dataclasses.dataclass(frozen=True)
class _Place:
    """The location of a network in a checkpoint: its dict and its prefix."""

    container: str
    prefix: str
    layout: layouts.Layout

    def __str__(self) -> str:
        words = (self.container, self.prefix.rstrip("._"))
        name = ".".join(word for word in words if word)
        return printable(name, 100) or "the file's own names"

    @property
    def rank(self) -> int:
        path = f"{self.container}.{self.prefix}"
        return 2 * bool(_LAST.search(path)) - bool(_FIRST.search(path))


def module_and_field(name: str) -> tuple[str, str]:
    """The module and field of a tensor: ("layer1.0.bn1", "weight")."""
    if "/" in name:
        module, _, field = name.rpartition("/")
        return module.replace("/", "."), field.removesuffix(":0")
    module, _, field = name.rpartition(".")
    return module, field


def _layouts(names: torch_forms.Names) -> "Iterator[tuple[str, Layout]]":
    modules = {module: None for module, _ in names}
    prefixes = layouts.prefixes(modules)
    if len(prefixes) > _MOST_NETWORKS:
        raise WeightsError(f"it seems to hold {len(prefixes)} networks: too many")
    for prefix in prefixes:
        inner = {m.removeprefix(prefix) for m in modules if m.startswith(prefix)}
        layout = layouts.match(inner)
        if layout is not None:
            yield prefix, layout


def _listed(places: typing.Any) -> str:
    return f"{len(places)} networks ({some(places, 4)})"


def _chosen(places: list[_Place]) -> _Place:
    """The preferred network: by the words in its name, then by the name of its dict."""

    def order(place: _Place) -> tuple[int, int]:
        first = place.container.partition(".")[0]
        is_usual = first in _CONTAINERS
        return place.rank, _CONTAINERS.index(first) if is_usual else len(_CONTAINERS)

    best, *others = sorted(places, key=order)
    if others and order(others[0]) == order(best):
        raise WeightsError(
            f"it contains {_listed(places)} without a preferred one: save the network alone"
        )
    return best


def _network(
    place: _Place,
    inside: "dict[tuple[str, str], np.ndarray]",
    outside: "dict[tuple[str, str], np.ndarray]",
    places: list[_Place],
) -> Network:
    layout, remarks = place.layout, []
    if layout is layouts.NUMBERED:
        inside, layout = layer_numbers.named(inside)
    if len(places) > 1:
        remarks.append(f"it contains {_listed(places)}; {place} is used")
    torch = layout.fitted(inside).torch
    heads, head = _classifier(place, inside, outside, layout, torch)
    ours, tensors, left = layout.head(inside), {}, set(heads)
    uncalled = {m for m, _ in inside if m.partition(".")[0] == layout.unused}
    if uncalled:
        left |= uncalled
        remarks.append(f"its {layout.unused} is ignored: its network never calls it")
    for (module, field), array in inside.items():
        if module == head:
            tensors[ours, field] = array
        elif module not in left:
            tensors[module, field] = array
    if heads and head is None:
        remarks.append(
            f"its head ({some(heads, 6)}) is not a linear classifier and is ignored"
        )
    if outside:
        names = [".".join(key) for key in outside]
        remarks.append(
            f"{counted(len(names), 'tensor')} outside {place} "
            f"{'is' if len(names) == 1 else 'are'} ignored ({some(names)})"
            + _NORMALIZED
            * any(field in ("mean", "std") for _, field in outside)
        )
    classes = None
    if head is not None:
        weight = tensors[ours, "weight" if torch else "kernel"]
        classes = weight.shape[0 if torch else -1]
    return Network(tensors, layout.fitted(tensors), classes, (*remarks,))


def _classifier(
    place: _Place,
    inside: "dict[tuple[str, str], np.ndarray]",
    outside: "dict[tuple[str, str], np.ndarray]",
    layout: "Layout",
    torch: bool,
) -> tuple[list[str], str | None]:
    """(modules of the head, the linear classifier among them or None).

    A classifier beside the network is moved from `outside` to `inside`.
    """
    heads = _heads(inside, layout, torch)
    if _CONTRASTIVE.search(f"{place.container}.{place.prefix}"):
        return heads, None
    if not heads:
        heads = _heads_outside(outside, torch)
        taken = [key for key in outside if key[0] in heads]
        inside.update({key: outside.pop(key) for key in taken})
    linear = len(heads) == 1 and _is_linear(inside, heads[0], torch)
    return heads, heads[0] if linear else None


def _heads(
    tensors: "dict[tuple[str, str], np.ndarray]", layout: "Layout", torch: bool
) -> list[str]:
    """Returns the modules after the last feature map, in the file's order."""
    ours = layout.head(tensors)
    modules: dict[str, typing.Any] = {}
    for (module, field), array in tensors.items():
        # In a custom Keras model the last layer may have any name.
        dense = not torch and field == "kernel" and array.ndim == 2
        named = _HEADS.fullmatch(module.partition(".")[0])
        if dense or named or module == ours or module.startswith(f"{ours}."):
            modules[module] = None
    return list(modules)


def _heads_outside(
    tensors: "dict[tuple[str, str], np.ndarray]", torch: bool
) -> list[str]:
    """A classifier beside its network, if it is the only one there.

    Weights of a loss and constants of a normalization may be beside it.
    """
    modules = list(dict.fromkeys(module for module, _ in tensors))
    if torch:
        modules = [m for m in modules if any(map(_HEADS.fullmatch, m.split(".")))]
    alone = len(modules) == 1 and _is_linear(tensors, modules[0], torch)
    return modules if alone else []


def _is_linear(
    tensors: "dict[tuple[str, str], np.ndarray]", module: str, torch: bool
) -> bool:
    weight = tensors.get((module, "weight" if torch else "kernel"))
    if weight is None:
        return False
    spatial = weight.shape[2:] if torch else weight.shape[:-2]
    return weight.ndim in (2, 4) and set(spatial) <= {1}
