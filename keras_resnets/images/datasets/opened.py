"""An opened source: its classes and listings, before images are read or held out."""

import hashlib
import json
import typing

from keras_resnets.images.datasets.listing import ArrayListing
from keras_resnets.images.datasets.listing import FileListing


class Opened:
    """The contents of a source, before images are read or held out.

    Attributes:
        name: name of the source.
        names: (id, name) of each class; None if the source does not name them.
        listings: listings by part.
        notes: lines about what was skipped.
        is_by_folder: whether the folder of an image tells its class.
    """

    def __init__(
        self,
        name: str,
        names: tuple[typing.Any, ...] | None = None,
        notes: tuple[str, ...] = (),
        is_by_folder: bool = False,
    ) -> None:
        self.name, self.names, self.notes = name, names, tuple(notes)
        self.is_by_folder = is_by_folder
        self.listings: dict[str, typing.Any] = {}
        self._digest = hashlib.sha256()

    def add(
        self, part: str, listing: ArrayListing | FileListing, *content: typing.Any
    ) -> None:
        """Adds a part, and the text and arrays that determine it to the fingerprint."""
        self.listings[part] = listing
        for piece in (part, *content):
            # File names need not be valid UTF-8.
            is_text = isinstance(piece, str)
            words = piece.encode("utf-8", "surrogateescape") if is_text else piece.data
            self._digest.update(words)

    def fingerprint(self, *values: typing.Any) -> str:
        """Returns the sha256 of all parts and of `values`."""
        self._digest.update(json.dumps(values).encode())
        return self._digest.hexdigest()
