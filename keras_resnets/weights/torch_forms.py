"""Forms of torch's state dicts that name tensors otherwise than the network's class does.

Pruned tensors are multiplied by their masks here, and networks in an `nn.Sequential` get
the names of their modules back, as do modules that torch has wrapped one by one. Tensors
that a module computes from others are refused.
"""

import re
import typing

from keras_resnets.errors import WeightsError
from keras_resnets.errors import printable

if typing.TYPE_CHECKING:
    import numpy as np

    from keras_resnets.weights.readers.checkpoint import Checkpoint

# (module, field) -> names of the tensors in the file whose product it is.
Names = dict[tuple[str, str], tuple[str, ...]]

_PARAMETRIZED = re.compile(r"(?:^|\.)(parametrizations\.[^.]+(?:\.\d+)?)$")
# How a field of a computed tensor ends -> what computes it, what undoes that.
_COMPUTED = (
    (
        re.compile(r"^parametrizations\."),
        "a parametrization",
        'parametrize.remove_parametrizations(module, "weight")',
    ),
    (re.compile(r"_g$"), "weight_norm", "remove_weight_norm(module)"),
    (re.compile(r"_u$"), "spectral_norm", "remove_spectral_norm(module)"),
    (re.compile(r"_(orig|mask)$"), "prune", 'prune.remove(module, "weight")'),
)
# What torch.compile, FSDP and checkpointing put into the names of modules inside.
_WRAPPER = re.compile(
    r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)(\.|$)"
)
# `nn.Sequential(*network.children())`: the ReLU and the pooling are 2 and 3.
_CHILDREN = {"0": "conv1", "1": "bn1", **{str(n): f"layer{n - 3}" for n in range(4, 8)}}


def named(names: dict[tuple[str, str], str]) -> Names:
    """Returns the tensors of a dict under the names that the network's class gives them.

    Args:
        names: (module, field) -> the tensor's name in the file.

    Example:
        >>> named({("fc", "weight_orig"): "a", ("fc", "weight_mask"): "b"})
        {('fc', 'weight'): ('a', 'b')}
    """
    tensors: Names = {}
    names = _unwrapped(names)
    prefixes = _sequential({module for module, _ in names})
    for (module, field), name in names.items():
        inner = _PARAMETRIZED.search(module)
        if inner:
            module = module[: inner.start()]
            field = f"{inner[1]}.{field}"
        tensors[_renamed(module, prefixes), field] = (name,)
    for module, field in list(tensors):
        stem = field.removesuffix("_orig")
        mask = module, f"{stem}_mask"
        if stem != field and mask in tensors and (module, stem) not in tensors:
            tensors[module, stem] = tensors.pop((module, field)) + tensors.pop(mask)
    return tensors


def _unwrapped(names: dict[tuple[str, str], str]) -> dict[tuple[str, str], str]:
    """The same tensors, without the wrappers in their modules' names."""
    bare = {
        (_WRAPPER.sub("", module).removesuffix("."), field): name
        for (module, field), name in names.items()
    }
    # A network and its wrapped copy in one dict would become one.
    return bare if len(bare) == len(names) else names


def value(checkpoint: "Checkpoint", names: tuple[str, ...]) -> "np.ndarray":
    """Returns a tensor: as it is stored, or the product of a pruned one and its mask."""
    array = checkpoint[names[0]]
    for name in names[1:]:
        mask = checkpoint[name]
        if mask.shape != array.shape:
            raise WeightsError(
                f"{printable(name)} must have the shape {array.shape} of the tensor that "
                f"it prunes; got {mask.shape}"
            )
        array = array * mask.astype(array.dtype)
    return array


def check(tensors: "dict[tuple[str, str], np.ndarray]") -> None:
    """Raises if a module computes one of its tensors from others.

    Args:
        tensors: those of a network, by (module, field).

    Raises:
        WeightsError: a tensor under weight_norm, spectral_norm or a parametrization, or
            a network that torch has prepared for quantization.
    """
    fields: dict[str, set[str]] = {}
    for module, field in tensors:
        fields.setdefault(module, set()).add(field)
        if "fake_quant" in module:
            raise WeightsError(
                f"{printable(module, 100)}: torch has prepared the network for "
                "quantization-aware training; save the state_dict of the float network"
            )
    for module, own in fields.items():
        for pattern, by, undone in _COMPUTED:
            found = sorted(field for field in own if pattern.search(field))
            if found and "weight" not in own:
                shown = printable(f"{module}.{found[0]}", 100)
                raise WeightsError(
                    f"{shown}: {by} computes the weight of that module from it; call "
                    f"torch.nn.utils.{undone}, and save the state_dict again"
                )


def _sequential(modules: set[str]) -> list[str]:
    """The prefixes of networks whose modules are numbered."""
    last = ".7.0.conv1"
    stems = (module.removesuffix(last) for module in modules if module.endswith(last))
    found = [f"{stem}." for stem in stems]
    found += [""] * (last[1:] in modules)
    return [
        prefix for prefix in found if {f"{prefix}1", f"{prefix}4.0.conv1"} <= modules
    ]


def _renamed(module: str, prefixes: list[str]) -> str:
    for prefix in prefixes:
        if module.startswith(prefix):
            first, dot, rest = module.removeprefix(prefix).partition(".")
            if first.isdecimal():
                # What follows the pooling (8) is the classifier.
                return f"{prefix}{_CHILDREN.get(first, 'fc')}{dot}{rest}"
    return module
