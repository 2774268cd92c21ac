"""Lists the files in a zip, before anything in it is read."""

import io
import pathlib
import zipfile

from keras_resnets.errors import WeightsError
from keras_resnets.errors import printable

# The directory of 60,000 files as torch names them; Python makes an object of each.
_LONGEST_DIRECTORY = 6_000_000


class _Directory(io.FileIO):
    """A file from which the directory of a zip is read, in bounded pieces."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            # The longest record at the end of a zip.
            size = 1 << 17
        if size > _LONGEST_DIRECTORY:
            raise WeightsError(
                f"its list of files is longer than {_LONGEST_DIRECTORY:,} bytes"
            )
        return super().read(size)


def entries(path: pathlib.Path) -> dict[str, zipfile.ZipInfo]:
    """Returns the files in a zip: a dict from name to `zipfile.ZipInfo`.

    Raises:
        WeightsError: more files than weights have, or a duplicate name.
    """
    infos = {}
    with _Directory(path) as file, zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.filename in infos:
                raise WeightsError(f"it contains {printable(info.filename, 100)} twice")
            infos[info.filename] = info
    return infos
