"""A `.keras` file whose bytes follow from its model: no dates, no addresses in memory."""

import json
import os
import shutil
import zipfile

# The first day that a zip archive can name.
_DATE = (1980, 1, 1, 0, 0, 0)
_SAVED = "1980-01-01@00:00:00"


def settle(path):
    """Takes out of a `.keras` file what changes from one writing to the next, in place.

    That is the date in its metadata, those of the archive's entries, and the addresses
    by which Keras tells that two layers share an object; these are numbered instead.

    Args:
        path: a `pathlib.Path` of the file.
    """
    other = path.with_name(f"{path.name}.settled")
    try:
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
            for entry in old.infolist():
                settled = zipfile.ZipInfo(entry.filename, _DATE)
                settled.compress_type = entry.compress_type
                settled.external_attr = entry.external_attr
                settled.file_size = entry.file_size
                with old.open(entry) as source, new.open(settled, "w") as target:
                    if entry.filename in ("metadata.json", "config.json"):
                        target.write(_settled(json.load(source)))
                    else:
                        shutil.copyfileobj(source, target, 1 << 20)
        os.replace(other, path)
    finally:
        other.unlink(missing_ok=True)


def _settled(content):
    if "date_saved" in content:
        content["date_saved"] = _SAVED
    return json.dumps(_numbered(content, {})).encode()


def _numbered(value, numbers):
    """`value` with each address that Keras calls `shared_object_id` as a number."""
    if isinstance(value, list):
        return [_numbered(entry, numbers) for entry in value]
    if not isinstance(value, dict):
        return value
    return {
        key: numbers.setdefault(entry, len(numbers) + 1)
        if key == "shared_object_id"
        else _numbered(entry, numbers)
        for key, entry in value.items()
    }
