"""Pins a download by its hash, so that a later file cannot silently differ.

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
    """A file without a complete published hash was downloaded, and its hash was kept."""


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
    """Returns the `Pin` of a file as it is now."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Pin(digest, file.tell())


def read(place: pathlib.Path) -> Pin | None:
    """Reads the `Pin` in a file; None if there is no file.

    Raises:
        WeightsError: the file is not a pin.
    """
    try:
        with open(place, "rb") as file:
            fields = json.loads(file.read(_LONGEST))
        pin = Pin(fields["sha256"], fields["size"])
        if re.fullmatch("[0-9a-f]{64}", pin.sha256) and type(pin.size) is int:
            return pin
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    raise WeightsError(
        f"{place} is not the record of a download: delete it, and also the file beside "
        "it if that may not be the right one"
    )


def check(path: pathlib.Path, place: pathlib.Path, note: str = "") -> None:
    """Compares a file with its pin, or pins it if it has none.

    Args:
        path: the file.
        place: the path of its pin.
        note: what to warn about when a file is pinned now; empty for no warning.

    Raises:
        WeightsError: the file is not the one that was downloaded first.
    """
    pin, current = read(place), of(path)
    if pin is None:
        with files.atomic_file(place) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(current)) + os.linesep)
        if note:
            warnings.warn(
                f"{note}: this file is kept to from now on (sha256 "
                f"{current.sha256[:16]}..., {current.size:,} bytes)",
                Pinned,
                stacklevel=2,
            )
    elif pin != current:
        raise WeightsError(
            f"{path} is not the file that was downloaded first (sha256 "
            f"{pin.sha256[:16]}..., {pin.size:,} bytes; got {current.sha256[:16]}..., "
            f"{current.size:,}): delete it to download it again, and {place.name} too if "
            "the publisher changed it"
        )
