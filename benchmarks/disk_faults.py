"""Every command that writes, on disks that are full, small or read-only.

    python benchmarks/disk_faults.py --tries 4

Each command runs once undisturbed, and then with faults drawn by a seed: an output folder
with room for so many bytes or files, with and without an older output there, a small
folder for temporary files, a read-only one, a quota for each file. Well is: exit code 1
(2 where it is known before the work), one line, no new file, the older output as it was,
nothing temporary, no process left. Linux, with user namespaces (`unshare -rm`).
"""

import argparse
import atexit
import hashlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
_NET = "--weights @/net.weights.h5"
_DATA = f"{_NET} --data @/data.npz"
# What each command is called with; @ is the folder of inputs, and it runs in its output.
COMMANDS = {
    "convert .weights.h5": "convert resnet8 @/net.weights.h5 a.weights.h5",
    "convert .keras": "convert resnet8 @/net.weights.h5 a.keras",
    "convert .safetensors": "convert resnet8 @/net.weights.h5 a.safetensors",
    "export tflite": f"export tflite --model resnet8 {_NET} --output a.tflite",
    "export tflite int8": f"export tflite --model resnet8 {_NET} --output a.tflite "
    "--recipe static_wi8_ai8 --calibration @/photos",
    "export onnx": f"export onnx --model resnet8 {_NET} --output a.onnx",
    "export onnx int8": f"export onnx --model resnet8 {_NET} --output a.onnx "
    "--recipe static_wi8_ai8 --calibration @/photos",
    "export saved_model": f"export saved_model --model resnet8 {_NET} --output saved",
    "export keras": f"export keras --model resnet8 {_NET} --output a.keras",
    "export .weights.h5": f"export keras --model resnet8 {_NET} --output a.weights.h5",
    "quantize": f"quantize resnet8 {_DATA} --count 20",
    "search": f"search resnet8 {_DATA} --count 20 --evaluate @/data.npz "
    "--max-drop 90 --plot mix.png",
    "qat tfmot": f"qat resnet8 {_DATA} --engine tfmot",
    "prune": f"prune resnet8 {_NET} --sparsity 0.5",
    "prune tfmot": f"prune resnet8 {_DATA} --sparsity 0.5 --engine tfmot",
    "cluster": f"cluster resnet8 {_DATA} --clusters 8",
    "benchmark": "benchmark @/a.tflite --runs 2 --output a.json --plot a.png",
    "verify": "verify @/a.tflite @/a.onnx --count 4",
    "inspect": "inspect @/a.tflite",
    "predict": "predict @/a.tflite @/photos/0.png",
    "train": "train resnet8 --data @/data.npz --recipe cifar_cosine --epochs 2 --quiet "
    "--output run --batch-size 20 --precision float32",
}
# Those without an option to replace what is there.
_ONCE = ("benchmark", "verify", "inspect", "predict", "train")
FAULTS = ("room", "files", "older", "temporary", "quota", "read-only", "no temporary")


def main():
    """Runs all, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--tries", type=int, default=4, help="of each command and fault"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="commands with this in their name")
    parser.add_argument("--faults", default=",".join(FAULTS))
    arguments = parser.parse_args()
    if os.environ.get("KERAS_RESNETS_ROOM") != "1":
        inside = {**os.environ, **_QUIET, "KERAS_RESNETS_ROOM": "1"}
        words = ["unshare", "-rm", sys.executable, *sys.argv]
        sys.exit(subprocess.run(words, env=inside).returncode)
    # Not a TemporaryDirectory: every child would remove it at its end.
    folder = pathlib.Path(tempfile.mkdtemp())
    try:
        _all(arguments, Room(folder))
    finally:
        shutil.rmtree(folder)


def _all(arguments, room):
    faults = arguments.faults.split(",")
    print(f"{'':22}" + "".join(f"{fault:>14}" for fault in faults))
    whole, bad = [0, 0], []
    for name, words in COMMANDS.items():
        if arguments.only not in name:
            continue
        clean = room.run(name, words, "none", None)
        if clean.code:
            print(f"{name:22}fails undisturbed: {clean.said}")
            continue
        cells = []
        for fault in faults:
            draw = random.Random(f"{arguments.seed} {name} {fault}")
            tried = well = 0
            for size in sizes(draw, fault, clean, arguments.tries, name):
                tried += 1
                found = room.run(name, words, fault, size).judged(clean)
                well += not found
                if found:
                    bad.append(f"{name}, {fault} {size}: {found}")
            cells.append(f"{tried} / {well}" if tried else "")
            whole = [whole[0] + tried, whole[1] + well]
        print(f"{name:22}" + "".join(f"{cell:>14}" for cell in cells), flush=True)
    print(f"tried / well: {whole[0]} / {whole[1]}", *bad, sep="\n")


def sizes(draw, fault, clean, tries, name):
    """How large each fault is: kilobytes or files; from nothing to more than enough."""
    if fault == "older" and name in _ONCE:
        return []
    most = {"files": 12, "temporary": max(clean.temporary >> 10, 100)}
    most = most.get(fault, max(clean.written >> 10, 20))
    if fault in ("read-only", "no temporary"):
        return [0]
    return [4, *(draw.randint(4, int(1.1 * most) + 4) for _ in range(tries - 1))]


class Outcome:
    """What came of one run of a command."""

    def __init__(self, code, said, before, after, left, written, temporary, once):
        self.code, self.said, self.before, self.after = code, said, before, after
        self.left, self.written, self.temporary = left, written, temporary
        self._once = once

    def judged(self, clean):
        """What is wrong, in a few words; empty for what went well."""
        lines = [line for line in self.said.splitlines() if line.strip()]
        if self.left:
            return f"left: {self.left}"
        if self.code == 0:
            missing = set(clean.after) - set(self.after)
            return f"exit 0 without {sorted(missing)}" if missing else ""
        if self.code not in (1, 2):
            return f"exit {self.code}: {self.said[-300:]}"
        if len(lines) != 1 or "Traceback" in self.said:
            return f"{len(lines)} lines: {self.said[-600:]}"
        if self._once:
            # A run's folder keeps what was finished before.
            odd = [name for name in self.after if pathlib.Path(name).name[0] == "."]
            empty = [name for name, digest in self.after.items() if digest == _EMPTY]
            return f"half-written: {odd + empty}" if odd or empty else ""
        if self.after != self.before:
            odd = set(self.after.items()) ^ set(self.before.items())
            # A first output stands where the second fails, if the line says so.
            told = [
                n
                for n, _ in odd
                if f"{n.removesuffix('.json')} was written" in lines[0]
            ]
            odd = sorted(pair for pair in odd if pair[0] not in told)
            if not odd:
                return ""
            return f"changed: {odd}; {lines[0]}"
        return ""


# What ONNX Runtime keeps for itself.
_FOREIGN = {".ses"}
_EMPTY = hashlib.sha256().hexdigest()


class Room:
    """Runs commands in mounts of their own, from a process that has all imported."""

    def __init__(self, folder):
        self._inputs, self._out = folder / "in", folder / "out"
        self._temporary, self._logs = folder / "tmp", folder / "logs"
        for made in (self._inputs, self._out, self._temporary, self._logs):
            made.mkdir()
        _import()
        code = _forked(lambda: _inputs(self._inputs), self._logs / "inputs")
        if code:
            sys.exit((self._logs / "inputs.err").read_text())

    def run(self, name, words, fault, size):
        """Runs a command with a fault; returns an `Outcome`."""
        words = words.replace("@", str(self._inputs)).split()
        room = {"room": f"size={size}k", "files": f"nr_inodes={size}"}.get(fault)
        with (
            _mounted(self._out, room),
            _mounted(
                self._temporary, f"size={size}k" if fault == "temporary" else None
            ),
        ):
            if fault == "older":
                _forked(self._command(words), self._logs / "older")
                _remount(self._out, f"size={(_used(self._out) >> 10) + size}k")
            if fault == "older":
                words = [*words, "--overwrite"]
            if fault == "read-only":
                _remount(self._out, "ro")
            if fault == "no temporary":
                _remount(self._temporary, "ro")
            before = _listed(self._out)
            log, quota = self._logs / "log", size << 10 if fault == "quota" else None
            watched = Watched(self._temporary)
            code = _forked(self._command(words, quota), log, watched)
            said = log.with_suffix(".err").read_text(errors="replace")
            left = [f"processes {watched.left}"] if watched.left else []
            if fault != "no temporary":
                names = {path.name for path in self._temporary.iterdir()}
                left += sorted(names - _FOREIGN)
            after, written = _listed(self._out), _used(self._out)
        once = words[0] in _ONCE
        return Outcome(code, said, before, after, left, written, watched.most, once)

    def _command(self, words, quota=None):
        def run():
            os.chdir(self._out)
            os.environ["TMPDIR"], tempfile.tempdir = str(self._temporary), None
            if quota is not None:
                import resource

                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (quota, quota))
            from keras_resnets.cli import main as cli

            return cli.main(words)

        return run


class Watched:
    """The most that a folder held while a process ran, and whom it left behind."""

    def __init__(self, folder):
        self._folder, self.most, self.left = folder, 0, []

    def look(self):
        self.most = max(self.most, _used(self._folder))


def _forked(function, log, watched=None, seconds=300):
    """The exit code of a function in a process of its own session."""
    child = os.fork()
    if not child:
        code = 99
        try:
            os.setsid()
            for number, suffix in ((1, ".out"), (2, ".err")):
                place = log.with_suffix(suffix)
                os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            code = function() or 0
        except SystemExit as error:
            code = error.code
        except BaseException:
            traceback.print_exc()
        # As Python does it where it ends; what this process has yet to do is not its.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if watched:
            watched.look()
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            end += seconds
        time.sleep(0.02)
    if watched:
        watched.left = _session(child)
    return os.waitstatus_to_exitcode(status)


def _session(leader):
    """Processes of a session that are still there, ended by now."""
    found = []
    for place in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(place.parent.name))
            os.kill(found[-1], signal.SIGKILL)
    return found


class _mounted:
    """A file system in memory at a folder."""

    def __init__(self, folder, options):
        self._folder, self._options = folder, options or "size=200m"

    def __enter__(self):
        words = ["mount", "-t", "tmpfs", "-o", self._options, "none", self._folder]
        subprocess.run(words, check=True)

    def __exit__(self, *error):
        subprocess.run(["umount", "-l", self._folder], check=True)


def _remount(folder, options):
    words = ["mount", "-o", f"remount,{options}", folder]
    subprocess.run(words, check=True)


def _used(folder):
    found = os.statvfs(folder)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def _listed(folder):
    """The sha256 of every file by its path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _import():
    import h5py  # noqa: F401
    import keras  # noqa: F401
    import tensorflow  # noqa: F401

    from keras_resnets.cli import main as cli  # noqa: F401


def _inputs(folder):
    """Writes what the commands read."""
    import keras
    import numpy as np
    from PIL import Image

    import keras_resnets
    from keras_resnets import export

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (100, 32, 32, 3), dtype="uint8")
    names = ("x_train", "y_train", "x_test", "y_test")
    labels = np.arange(100) % 10
    arrays = (pixels[:80], labels[:80], pixels[80:], labels[80:])
    np.savez(folder / "data.npz", **dict(zip(names, arrays, strict=True)))
    (folder / "photos").mkdir()
    for index, image in enumerate(pixels[:20]):
        Image.fromarray(image).save(folder / "photos" / f"{index}.png")
    model = keras_resnets.create_model("resnet8", bn_momentum=0.9)
    x = model.preprocessing.normalize(pixels, "channels_last")
    model.compile(keras.optimizers.SGD(0.01, 0.9), "sparse_categorical_crossentropy")
    model.fit(x, labels, batch_size=10, epochs=3, verbose=0)
    model.save_weights(folder / "net.weights.h5")
    export.to_tflite(model, folder / "a.tflite")
    export.to_onnx(model, folder / "a.onnx")


if __name__ == "__main__":
    main()
