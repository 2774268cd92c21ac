"""What a source of labelled images holds, before anything is looked at or held out."""

import hashlib
import json
import typing

from keras_resnets.images.datasets.listing import ArrayListing
from keras_resnets.images.datasets.listing import FileListing


class Opened:
    """What a source holds, before anything is looked at or held out.

    Attributes:
        name: of the source.
        names: (id, name) of each class that the source knows, or None.
        listings: by part.
        notes: lines about what was left out.
    """

    def __init__(
        self,
        name: str,
        names: tuple[typing.Any, ...] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.name, self.names, self.notes = name, names, tuple(notes)
        self.listings: dict[str, typing.Any] = {}
        self._digest = hashlib.sha256()

    def add(
        self, part: str, listing: ArrayListing | FileListing, *content: typing.Any
    ) -> None:
        """Adds a part; text and arrays that determine it go into the fingerprint."""
        self.listings[part] = listing
        for piece in (part, *content):
            # Names of files need not be UTF-8.
            is_text = isinstance(piece, str)
            words = piece.encode("utf-8", "surrogateescape") if is_text else piece.data
            self._digest.update(words)

    def fingerprint(self, *values: typing.Any) -> str:
        """The sha256 of all parts, and of what was chosen of them."""
        self._digest.update(json.dumps(values).encode())
        return self._digest.hexdigest()
