"""A folder of the Hugging Face Hub: one file of weights, or an index of several."""

import functools
import json
import pathlib
import re
import typing
from collections.abc import Callable

from keras_resnets.errors import WeightsError
from keras_resnets.errors import printable
from keras_resnets.errors import some
from keras_resnets.weights.readers.checkpoint import Checkpoint

_SINGLE = ("model.safetensors", "pytorch_model.bin")
INDEX = ".index.json"
# Of the files that are taken from a folder, the first that is there.
FILES = (_SINGLE[0], _SINGLE[0] + INDEX, _SINGLE[1], _SINGLE[1] + INDEX)
_PART = re.compile(r"-\d{5}-of-(\d{5})(\.safetensors|\.bin)$")
# 50,000 tensors with names as networks have; the largest networks have hundreds of files.
_LONGEST_INDEX, _MOST_FILES = 8_000_000, 1000


def file_in(folder: pathlib.Path) -> pathlib.Path | None:
    """Returns the file or index of a hub's folder, or None for another folder."""
    paths = (folder / name for name in FILES)
    return next((path for path in paths if path.is_file()), None)


def check_whole(path: pathlib.Path) -> None:
    """Raises `WeightsError` for one of the parts that an index lists."""
    part = _PART.search(path.name)
    if part and int(part[1]) > 1:
        raise WeightsError(
            f"it is one of {int(part[1])} parts: pass their folder, or the file "
            f"{printable(path.name[: part.start()], 60)}{part[2]}{INDEX}"
        )


def read_index(
    path: pathlib.Path, read: Callable[[pathlib.Path], Checkpoint]
) -> Checkpoint:
    """Returns the `Checkpoint` of the files that an index lists.

    Args:
        path: the index, `model.safetensors.index.json` for example.
        read: reads one of the files, which lie beside it.

    Raises:
        WeightsError: an index that is damaged or names other places, or a tensor that is
            not in its file.
    """
    with open(path, encoding="utf-8") as file:
        text = file.read(_LONGEST_INDEX + 1)
    content = json.loads(text) if len(text) <= _LONGEST_INDEX else None
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not places:
        raise WeightsError("it has no weight_map of tensors and their files")
    files = list(dict.fromkeys(map(_checked, places.values())))
    if len(files) > _MOST_FILES:
        raise WeightsError(
            f"it lists {len(files):,} files; up to {_MOST_FILES:,} are read"
        )
    absent = [name for name in files if not path.with_name(name).is_file()]
    if absent:
        raise WeightsError(
            f"{len(absent)} of its {len(files)} files are missing ({some(absent)})"
        )
    parts = {name: read(path.with_name(name)) for name in files}
    makers: dict[str, Callable[..., typing.Any]] = {}
    for tensor, name in places.items():
        if tensor not in parts[name]:
            raise WeightsError(f"{printable(tensor, 100)} is not in {name}, as it says")
        makers[tensor] = functools.partial(parts[name].__getitem__, tensor)
    return Checkpoint(path, parts[files[0]].format, makers)


def _checked(name: typing.Any) -> str:
    """The name of a file in the same folder."""
    plain = isinstance(name, str) and re.fullmatch(r"[\w.-]{1,200}", name)
    if plain and name.endswith((".safetensors", ".bin")):
        return name
    raise WeightsError(
        f"its files must lie beside it; got {printable(str(name)[:200], 60)}"
    )
