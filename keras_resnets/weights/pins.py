"""What was downloaded once, by its hash: nobody gives us another file later.

Most public files have no published hash, or eight digits of it. The first download is
trusted; its SHA-256 and size go into a small file beside it, and every later use is
compared with that. Hashing 100 MB takes 0.06 s, so it is done each time.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import re
import warnings

from keras_resnets.errors import WeightsError
from keras_resnets.io import files

SUFFIX = ".pin.json"
# Far more than a pin has.
_LONGEST = 4096


class Pinned(UserWarning):
    """A file without a whole published hash was downloaded, and its own was kept."""


@dataclasses.dataclass(frozen=True)
class Pin:
    """The file that was downloaded first.

    Attributes:
        sha256: its hash, 64 hex digits.
        size: its bytes.
    """

    sha256: str
    size: int


def of(path: pathlib.Path) -> Pin:
    """The `Pin` of a file as it is now."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Pin(digest, file.tell())


def read(place: pathlib.Path) -> Pin | None:
    """The `Pin` that stands in a file; None where there is none.

    Raises:
        WeightsError: what is there is no pin.
    """
    try:
        with open(place, "rb") as file:
            told = json.loads(file.read(_LONGEST))
        pin = Pin(told["sha256"], told["size"])
        if re.fullmatch("[0-9a-f]{64}", pin.sha256) and type(pin.size) is int:
            return pin
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    raise WeightsError(
        f"{place} is no record of a download: delete it, and the file beside it if that "
        "may not be the right one"
    )


def check(path: pathlib.Path, place: pathlib.Path, note: str = "") -> None:
    """Compares a file with its pin, or pins it.

    Args:
        path: the file.
        place: of its pin.
        note: what to say of a file that is pinned now; empty for nothing.

    Raises:
        WeightsError: the file is another one than was downloaded first.
    """
    known, found = read(place), of(path)
    if known is None:
        with files.atomic_file(place) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(found)) + os.linesep)
        if note:
            warnings.warn(
                f"{note}: this file is kept to from now on (sha256 {found.sha256[:16]}..., "
                f"{found.size:,} bytes)",
                Pinned,
                stacklevel=2,
            )
    elif known != found:
        raise WeightsError(
            f"{path} is not the file that was downloaded first (sha256 "
            f"{known.sha256[:16]}..., {known.size:,} bytes; got {found.sha256[:16]}..., "
            f"{found.size:,}): delete it to download it again, and {place.name} too if "
            "the publisher changed it"
        )
