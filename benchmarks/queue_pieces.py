"""What a session of accelerator_queue.py leaves, in pieces that can be carried."""

import hashlib
import io
import os
import pathlib
import tarfile
import tempfile

import device_state

PIECE = 15_000_000
# Beside the pieces: the sha256 of all of them.
WHOLE = "pieces.sha256"


def write(folder, output):
    """Writes states, histories and logs of a folder as pieces of one archive."""
    output.mkdir(parents=True, exist_ok=True)
    whole = folder / "pieces.tar"
    with tarfile.open(whole, "w") as archive:
        for path in sorted(folder.iterdir()):
            if path.suffix in (".npz", ".log", ".json") and ".part" not in path.name:
                archive.add(path, path.name)
    content = whole.read_bytes()
    for old in output.glob("piece_*"):
        old.unlink()
    for number, start in enumerate(range(0, len(content), PIECE)):
        piece = output / f"piece_{number:02d}"
        piece.write_bytes(content[start : start + PIECE])
    (output / WHOLE).write_text(hashlib.sha256(content).hexdigest(), "utf-8")
    whole.unlink()


def unpack(output, folder):
    """Puts what `write` wrote into a folder.

    A state that is further in the folder stays.

    Raises:
        SystemExit: pieces that are missing or damaged; the folder stays as it is.
    """
    pieces = sorted(output.glob("piece_*"))
    content = b"".join(piece.read_bytes() for piece in pieces)
    known = output / WHOLE
    if (
        known.is_file()
        and known.read_text("utf-8") != hashlib.sha256(content).hexdigest()
    ):
        raise SystemExit(f"{output}: of its pieces, one is missing or damaged")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        try:
            with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
                for member in filter(tarfile.TarInfo.isfile, archive):
                    name = pathlib.PurePosixPath(member.name).name
                    content_of = archive.extractfile(member).read()
                    pathlib.Path(work, name).write_bytes(content_of)
        except tarfile.TarError as error:
            raise SystemExit(
                f"{output} has no whole archive in its {len(pieces)} pieces: {error}"
            ) from None
        for path in sorted(pathlib.Path(work).iterdir()):
            place = folder / path.name
            if is_further(place, path):
                print(f"{place} is further than the state in {output}: it stays")
            else:
                os.replace(path, place)


def is_further(place, path):
    """Whether the state at `place` is there and further than that at `path`."""
    if path.suffix != ".npz" or not place.exists():
        return False
    return reached(place) > reached(path)


def reached(path):
    """(epochs that are over, done) of a state; (-1, False) of a damaged one."""
    try:
        return device_state.progress(path)
    except SystemExit:
        return -1, False
