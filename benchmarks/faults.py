"""Signals at random moments of every command's life: what stays, and what is said.

    python benchmarks/faults.py --moments 20

Each command is run on a small network, whole once, to learn how long it takes and what it
says. Then it gets a signal at a moment after Python's own start, drawn by a seed; every
other time over a file of before. A try is well if the process ends in time
(10 s; on a busy machine, 10 s of its own work within a minute), by the exit code of the
signal, with one line more than it says anyway and no traceback; if what it writes is
whole, the file of before, or not there; and if no temporary file and no process is left
(SIGKILL may leave files under temporary names: nobody is there to take them away). A
training is resumed as well, and must end in the very weights of one that was left alone.
Ctrl-C goes to the process and its group, as from a terminal.

With --pairs, two processes also write one output: what is there must be whole, and a
process that did not write it refused in one line.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
import zipfile

import common

CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGKILL": -9}
WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated"}
# Seconds that a process and its children have for their end.
IN_TIME, BUSY, CHILDREN = 10.0, 60.0, 10.0
COMMANDS = {
    "train": "train resnet8 --data data.npz --recipe cifar_cosine --epochs 2 "
    "--batch-size 16 --validation 0.2 --deterministic --save-seconds 1 --output out/run",
    "quantize": "quantize resnet20 --weights cifar10 --data data.npz --count 60 "
    "--output out/a.tflite",
    "search": "search resnet20 --weights cifar10 --data data.npz --count 60 "
    "--max-drop 2 --held-out 200 --output out/a.tflite",
    "export": "export tflite --model resnet20 --weights cifar10 --recipe static_wi8_ai8 "
    "--calibration photos --output out/a.tflite",
    "export onnx": "export onnx --model resnet20 --weights cifar10 --recipe static_wi8_ai8 "
    "--calibration photos --output out/a.onnx",
    "export saved_model": "export saved_model --model resnet20 --weights cifar10 "
    "--output out/saved",
    "convert": "convert resnet20 cifar10 out/a.weights.h5",
    "convert keras": "convert resnet20 cifar10 out/a.keras",
    "prune": "prune resnet20 --weights cifar10 --sparsity 0.5 --output out/a.keras",
    "prune tfmot": "prune resnet20 --weights cifar10 --sparsity 0.5 --engine tfmot "
    "--data data.npz --epochs 1 --batch-size 32 --output out/a.keras",
    "cluster": "cluster resnet20 --weights cifar10 --data data.npz --epochs 1 "
    "--batch-size 32 --output out/a.keras",
    "benchmark": "benchmark a.tflite --runs 2000",
}


@dataclasses.dataclass
class Ended:
    """A process that has ended.

    Attributes:
        code: its exit code, or minus the signal.
        out, err: what it said.
        seconds: since the signal, by the clock.
        worked: the same of processor time, with its children's.
        left: numbers of children that are still there.
    """

    code: int
    out: str
    err: str
    seconds: float
    worked: float
    left: list


def prepare(folder, data):
    """Makes the images, and a file to be timed."""
    import numpy as np
    from PIL import Image

    if data:
        with np.load(data) as file:
            x, y = file["x_train"][:640], file["y_train"][:640].reshape(-1)
            x_test, y_test = file["x_test"][:100], file["y_test"][:100].reshape(-1)
    else:
        rng = np.random.default_rng(0)
        x, y = rng.integers(0, 256, (640, 32, 32, 3), "uint8"), np.arange(640) % 10
        x_test, y_test = x[:100], y[:100]
    np.savez(folder / "data.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    (folder / "photos").mkdir()
    for index in range(24):
        Image.fromarray(x[index]).save(folder / "photos" / f"{index}.png")
    command = "export tflite --model resnet20 --weights cifar10 --output a.tflite"
    ended = Tried(folder).run(command.split())
    if ended.code:
        raise SystemExit(f"{command}: {ended.err}")


class Tried:
    """A command in a folder of its own under `folder`, whose data it sees."""

    def __init__(self, folder, name=""):
        self.folder, self.name = folder, name
        self.temporary = folder / "tmp"
        for made in (folder / "out", self.temporary):
            made.mkdir(exist_ok=True)
        self.mark = f"KERAS_RESNETS_TRIED={uuid.uuid4()}"

    def run(self, words, name=None, after=None):
        """`Ended`; the signal `name` comes `after` seconds of listening to signals."""
        key, value = self.mark.split("=")
        environment = {**os.environ, key: value, "TMPDIR": str(self.temporary)}
        environment["PYTHONPATH"] = str(common.ROOT)
        with (
            open(self.folder / f"stdout{self.name}", "w+b") as out,
            open(self.folder / f"stderr{self.name}", "w+b") as err,
        ):
            process = subprocess.Popen(
                [sys.executable, "-m", "keras_resnets", *words],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            sent, before, spent = time.monotonic(), reaped(), 0.0
            try:
                if name:
                    wait_until_listening(process)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(after)
                    sent, spent = time.monotonic(), worked(process.pid)
                    send(process, name)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(2 * BUSY if name else 900)
                seconds = time.monotonic() - sent
                left = self.children(process.pid)
            finally:
                process.kill()
                process.wait()
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode(errors="replace"))
        work = reaped() - before - spent
        return Ended(process.returncode, *said, seconds, work, left)

    def children(self, own):
        """Processes that are still there when they have had time to end."""
        ends = time.monotonic() + CHILDREN
        while True:
            found = [number for number in marked(self.mark) if number != own]
            if not found or time.monotonic() > ends:
                break
            time.sleep(0.1)
        for number in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        return found


def wait_until_listening(process):
    """Waits for the end of Python's own start, which answers Ctrl-C by a traceback."""
    bit, ends = 1 << (signal.SIGTERM - 1), time.monotonic() + BUSY
    while process.poll() is None and time.monotonic() < ends:
        with contextlib.suppress(OSError):
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            caught = next(x for x in status.splitlines() if x.startswith("SigCgt:"))
            if int(caught.split()[1], 16) & bit:
                return
        time.sleep(0.002)


def send(process, name):
    """As a terminal sends Ctrl-C, and others what they send."""
    with contextlib.suppress(ProcessLookupError):
        if process.poll() is not None:
            return
        if name == "SIGINT":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(getattr(signal, name))


def worked(number):
    """Seconds of processor time of a process so far."""
    try:
        stat = pathlib.Path(f"/proc/{number}/stat").read_text()
    except OSError:
        return 0.0
    fields = stat.rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def reaped():
    """Seconds of processor time of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def marked(mark):
    """Numbers of the processes that have a variable in their environment."""
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    yield int(entry.name)


def one(folder, name, kind, after, whole, old):
    """What is wrong with a try, as a list of words; and the seconds it took to end."""
    place = new_place(folder)
    try:
        words = COMMANDS[name].split()
        if old:
            shutil.copytree(whole["folder"] / "out", place / "out")
            words += ["--overwrite"] if "run" not in words[-1] else []
        tried = Tried(place)
        before = digests(place / "out")
        ended = tried.run(words, kind, after)
        if name == "train":
            faults = check_run(tried, words, ended, kind, whole)
        else:
            faults = check_output(place / "out", before, ended, kind)
        faults += check_end(ended, kind, whole)
        if kind != "SIGKILL" and any(tried.temporary.iterdir()):
            faults.append(f"temporary: {sorted(os.listdir(tried.temporary))}")
        return faults, ended
    finally:
        shutil.rmtree(place, ignore_errors=True)


def pair(folder, name, apart, whole):
    """What is wrong where two processes write one output, begun `apart` seconds apart."""
    place = new_place(folder)
    try:
        tried = [Tried(place, str(index)) for index in range(2)]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            first = pool.submit(tried[0].run, COMMANDS[name].split())
            time.sleep(apart)
            second = pool.submit(tried[1].run, COMMANDS[name].split())
            both = [first.result(), second.result()]
        faults = check_output(place / "out", {}, both[0], "")
        if name == "train":
            weights = weights_of(place / "out" / "run" / "last.weights.h5")
            faults += ["other weights"] * (weights != whole["weights"])
        if sorted(ended.code for ended in both) not in ([0, 0], [0, 2]):
            faults.append(f"codes {[ended.code for ended in both]}")
        for ended in both:
            lines = [x for x in ended.err.splitlines() if x not in whole["lines"]]
            if len(lines) != bool(ended.code) or "Traceback" in ended.err:
                faults.append(f"said {ended.err[-300:]!r}")
        return faults
    finally:
        shutil.rmtree(place, ignore_errors=True)


def new_place(folder):
    """A folder for a try, with the data that all tries share."""
    place = pathlib.Path(tempfile.mkdtemp(dir=folder, prefix="try_"))
    for shared in ("data.npz", "photos", "a.tflite"):
        with contextlib.suppress(FileExistsError):
            os.symlink(folder / shared, place / shared)
    return place


def check_end(ended, kind, whole):
    """How it ended, and what it said."""
    faults = []
    if ended.left:
        faults.append(f"{len(ended.left)} children left")
    if ended.seconds > (IN_TIME if ended.worked > IN_TIME else BUSY):
        faults.append(f"{ended.seconds:.1f} s, {ended.worked:.1f} s of work")
    if "Traceback" in ended.err + ended.out:
        faults.append(f"traceback: {ended.err[-300:]!r}")
    if not ended.code:
        return faults
    if ended.code != CODES[kind]:
        faults.append(f"code {ended.code}: {ended.err[-300:]!r}")
    elif kind != "SIGKILL":
        lines = ended.err.splitlines()
        told = [line for line in lines if line.startswith("keras-resnets: ")]
        odd = [line for line in lines if line not in (*whole["lines"], *told)]
        if len(told) != 1 or WORDS[kind] not in told[0] or odd:
            faults.append(f"said {odd[:3] or told}")
    return faults


def digests(folder):
    """sha256 of each file in a folder, by its path."""
    return (
        {
            str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }
        if folder.exists()
        else {}
    )


def check_output(folder, before, ended, kind):
    """Whether what is there is whole, or what was there before."""
    found = digests(folder)
    hidden = [name for name in found if name.startswith((".", "keras_resnets_"))]
    faults = []
    if hidden and kind != "SIGKILL":
        faults.append(f"temporary {hidden[:3]}")
    found = {name: digest for name, digest in found.items() if name not in hidden}
    if found == before:
        return faults + ["nothing written"] * (not ended.code and "out" in found)
    for name in before:
        if name not in found:
            faults.append(f"lost {name}")
    for name in found:
        file = folder / name
        passport = folder / f"{name}.json"
        if file.suffix in (".tflite", ".onnx"):
            known = passport.exists() and json.loads(passport.read_text())["sha256"]
            if known != found[name]:
                faults.append(f"{name} without its passport")
        elif file.suffix == ".keras" and zipfile.ZipFile(file).testzip():
            faults.append(f"{name} is damaged")
        elif file.suffix == ".h5":
            import h5py

            h5py.File(file).close()
    return faults


def check_run(tried, words, ended, kind, whole):
    """Whether a training can be resumed, to the very end of one left alone."""
    run = tried.folder / "out" / "run"
    faults, begun = [], (run / "run.json").exists()
    if begun and ended.code and kind != "SIGKILL":
        status = json.loads((run / "run.json").read_text())["status"]
        if status not in ("interrupted", "done"):
            faults.append(f"status {status}")
        told = "--resume" in ended.err or status == "done"
        if ended.code == CODES[kind] and not told:
            faults.append(f"says not how to go on: {ended.err[-200:]!r}")
    if run.exists() and kind != "SIGKILL":
        hidden = [e.name for e in run.iterdir() if e.name.startswith(".")]
        if set(hidden) - {".keras_resnets.lock"}:
            faults.append(f"temporary {hidden}")
    again = tried.run([*words, *["--resume"] * begun])
    if again.code:
        return [*faults, f"resumed: {again.code} {again.err[-300:]!r}"]
    if weights_of(run / "last.weights.h5") != whole["weights"]:
        faults.append("resumed to other weights")
    return faults


def weights_of(path):
    """A digest of all values of a weights file."""
    import h5py

    whole = hashlib.sha256()

    def add(name, entry):
        if isinstance(entry, h5py.Dataset):
            whole.update(name.encode() + entry[()].tobytes())

    with h5py.File(path) as file:
        file.visititems(add)
    return whole.hexdigest()


def learn(folder, name):
    """How long a command takes, and what it says, left alone."""
    place = new_place(folder)
    began = time.monotonic()
    ended = Tried(place).run(COMMANDS[name].split())
    seconds = time.monotonic() - began
    if ended.code:
        raise SystemExit(f"{name}: {ended.code} {ended.err}")
    found = {"folder": place, "seconds": seconds, "lines": ended.err.splitlines()}
    if name == "train":
        found["weights"] = weights_of(place / "out" / "run" / "last.weights.h5")
    return found


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", help="CIFAR-10 as .npz; noise without")
    options.add_argument("--moments", type=int, default=5, help="of each signal")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--commands", default=",".join(COMMANDS))
    options.add_argument("--signals", default=",".join(CODES))
    options.add_argument(
        "--pairs", type=int, default=0, help="of processes on one output, besides"
    )
    options = options.parse_args()
    # A shell's background jobs ignore it, and so would what they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *given: sys.exit("ended early"))
    rows = collections.defaultdict(collections.Counter)
    try:
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            prepare(folder, options.data)
            learned = {}
            for name in options.commands.split(","):
                learned[name] = learn(folder, name)
                print(f"{name}: {learned[name]['seconds']:.1f} s whole", flush=True)
            # Turn by turn, so that each has as many where it is ended early.
            for index in range(max(options.moments, options.pairs)):
                for name, whole in learned.items():
                    try_once(folder, name, index, options, whole, rows[name])
    finally:
        table(rows)


def try_once(folder, name, index, options, whole, row):
    """Tries a command with each signal, and twice at once; counts in `row`."""
    kinds = [kind for kind in options.signals.split(",") if kind]
    for kind in kinds if index < options.moments else ():
        rng = random.Random(f"{options.seed} {name} {kind} {index}")
        after = rng.uniform(0, whole["seconds"])
        old = index % 2 == 1 and name not in ("train", "benchmark")
        faults, ended = one(folder, name, kind, after, whole, old)
        row["longest"] = max(row["longest"], ended.seconds)
        count(row, kind, f"{name} {kind} at {after:.2f} s", faults)
    if index < options.pairs and name != "benchmark":
        # At once, and so that one lands while the other is at it.
        apart = random.Random(f"{options.seed} {index}").uniform(0, whole["seconds"])
        apart *= index % 2
        faults = pair(folder, name, apart, whole)
        count(row, "two at once", f"{name} two, {apart:.2f} s apart", faults)


def count(row, kind, title, faults):
    """Counts a try of a kind, and says what was wrong."""
    row[kind, "tried"] += 1
    row[kind, "well"] += not faults
    print(f"  {title}: {'; '.join(faults) or 'well'}", flush=True)


def table(rows):
    """Prints tried and well by command and signal."""
    kinds = [*CODES, "two at once"]
    print("\n| command | " + " | ".join(kinds) + " | longest, s |")
    print("|---|" + "---|" * (len(kinds) + 1))
    for name, row in rows.items():
        cells = [f"{row[kind, 'tried']} / {row[kind, 'well']}" for kind in kinds]
        print(f"| {name} | {' | '.join(cells)} | {row['longest']:.1f} |")
    total = [
        sum(row[kind, what] for row in rows.values() for kind in kinds)
        for what in ("tried", "well")
    ]
    print(f"tried {total[0]}, well {total[1]}")


if __name__ == "__main__":
    main()
