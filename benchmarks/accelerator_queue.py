r"""The trainings that need an accelerator, as a queue that any session can go on with.

    python benchmarks/accelerator_queue.py list
    python benchmarks/accelerator_queue.py pack cifar10.npz FOLDER
    KERAS_BACKEND=jax python benchmarks/accelerator_queue.py work --data FOLDER \
        --folder WORK --output OUT --seconds 560
    python benchmarks/accelerator_queue.py unpack OUT WORK

`accelerator_queue.json` holds the trainings, the most wanted first; those in
docs/training/queue.csv are done. `pack` writes the training images as lossless WebP (83 MB
of 154), for a machine that has no network. `work` runs trainings beside each other, each in
a process of its own (device_training.py), and up to `--stack` trainings that differ in
their seeds alone as one wide network in one process; a student waits for its teachers.
When the time is over every training saves its state, and `work` writes what is finished
and what is not to OUT, in pieces of at most 15 MB. `unpack` puts the pieces together
again; the next `work` in that folder goes on from there. accelerator_session.sh has the
commands for a lent machine, queue_runs.py makes of what is finished what ship_trained.py
takes.
"""

import argparse
import csv
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import time

import common
import device_data
import device_training

RESULTS = common.ROOT / "docs" / "training" / "queue.csv"
QUEUE = pathlib.Path(__file__).with_suffix(".json")
PIECE = 15_000_000
STRIP = 500
# For the processes to save their states and to end, and for the pieces.
ENDING_SECONDS = 20


def read_queue(path=QUEUE):
    """The trainings, with the defaults filled in."""
    read = json.loads(path.read_text("utf-8"))
    return [{**read["defaults"], **task} for task in read["trainings"]]


def finished():
    """Names of the trainings that earlier sessions finished."""
    if not RESULTS.exists():
        return set()
    with RESULTS.open(newline="", encoding="utf-8") as file:
        return {row["training"] for row in csv.DictReader(file)}


def pack(data, folder):
    """Writes labels and lossless strips of the training images."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    with np.load(data) as file:
        images, labels = file["x_train"], file["y_train"].reshape(-1)
    np.save(folder / "labels.npy", labels.astype("uint8"))
    for start in range(0, len(images), STRIP):
        strip = images[start : start + STRIP].reshape(-1, device_data.SIDE, 3)
        path = folder / f"strip_{start:05d}.webp"
        Image.fromarray(strip).save(path, lossless=True, quality=80, method=4)


def write_pieces(folder, output):
    """Writes states, histories and logs of a folder as pieces of one archive."""
    output.mkdir(parents=True, exist_ok=True)
    whole = folder / "pieces.tar"
    with tarfile.open(whole, "w") as archive:
        for path in sorted(folder.iterdir()):
            if path.suffix in (".npz", ".log", ".json") and ".part" not in path.name:
                archive.add(path, path.name)
    content = whole.read_bytes()
    for number, start in enumerate(range(0, len(content), PIECE)):
        piece = output / f"piece_{number:02d}"
        piece.write_bytes(content[start : start + PIECE])
    whole.unlink()


def unpack(output, folder):
    """Puts what `write_pieces` wrote into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / "pieces.tar"
    pieces = sorted(output.glob("piece_*"))
    whole.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    with tarfile.open(whole) as archive:
        archive.extractall(folder, filter="data")
    whole.unlink()


class Worker:
    """A process that trains a stack, or that writes the table of a student's teachers.

    Args:
        tasks: trainings of one stack; for a table, a student and its teachers.
        teaches: whether it writes a table.
        arguments: of the command.
        plainly: without the settings of XLA in $XLA_FLAGS.
    """

    def __init__(self, tasks, teaches, arguments, plainly=False):
        self.teaches = teaches
        self.tasks, self.plainly = tasks, plainly
        self.names = [task["name"] for task in tasks]
        if teaches:
            self.names = [device_data.table_name(tasks[0])]
        self.start = time.time()
        command = [sys.executable, device_training.__file__, json.dumps(tasks)]
        command += ["--folder", str(arguments.folder), "--until", str(arguments.until)]
        command += ["--teach"] if teaches else []
        command += ["--whole"] if arguments.whole else []
        for option in ("data", "images", "noise", "epochs"):
            value = getattr(arguments, option)
            command += [f"--{option}", str(value)] if value else []
        self.log = arguments.folder / f"{self.names[0]}.log"
        settings = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "KERAS_BACKEND": "jax"}
        if plainly:
            settings["XLA_FLAGS"] = ""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=common.environment(**settings)
            )

    def report(self, code):
        """One line on how it ended."""
        lines = self.log.read_text("utf-8", "replace").splitlines() or [""]
        words = {0: "done", device_training.UNFINISHED: "not finished"}
        told = words.get(code, f"FAILED, exit code {code}")
        taken = time.time() - self.start
        return f"{', '.join(self.names)}: {told}, {taken:.0f} s: {lines[-1]}"


class Queue:
    """Which training can begin, which run, which are over.

    Args:
        tasks: of `read_queue`.
        arguments: of the command.
    """

    def __init__(self, tasks, arguments):
        self.tasks = {task["name"]: task for task in tasks}
        self.arguments = arguments
        self.running = []
        self.results = finished()
        # Those that this session tries no more, whatever their reason.
        self.over = {name for name in self.tasks if self._is_done(name)}

    def _is_done(self, name):
        path = self.arguments.folder / f"{name}.npz"
        if path.exists():
            return device_training.load_state(path)[2]
        return name in self.results and not self.arguments.noise

    def work(self):
        """Runs until all is done or the time is over."""
        while True:
            self._collect()
            self._start()
            if not self.running:
                return
            if time.time() > self.arguments.until + ENDING_SECONDS:
                for worker in self.running:
                    worker.process.kill()
            time.sleep(0.2)

    def _collect(self):
        for worker in list(self.running):
            code = worker.process.poll()
            if code is None:
                continue
            self.running.remove(worker)
            print(worker.report(code), flush=True)
            failed = code not in (0, device_training.UNFINISHED)
            in_time = time.time() < self.arguments.until
            if (
                failed
                and in_time
                and os.environ.get("XLA_FLAGS")
                and not worker.plainly
            ):
                # cuDNN refused to be part of a CUDA graph in two of nine networks.
                again = Worker(
                    worker.tasks, worker.teaches, self.arguments, plainly=True
                )
                self.running.append(again)
                continue
            if not worker.teaches or code:
                self.over.update(worker.names)

    def _start(self):
        while len(self.running) < self.arguments.beside:
            found = self._next() if time.time() < self.arguments.until else None
            if found is None:
                return
            tasks, teaches = found
            if self.arguments.tables and not teaches:
                return
            if self.running and (tasks[0].get("alone") or self._one_is_alone()):
                return
            self.running.append(Worker(tasks, teaches, self.arguments))

    def _busy(self):
        return {name for worker in self.running for name in worker.names}

    def _one_is_alone(self):
        return any(self.tasks.get(name, {}).get("alone") for name in self._busy())

    def _next(self):
        """(tasks, whether to write a table) of the next worker, or None.

        None where all trainings run, are over or wait for their teachers.
        """
        busy = self._busy()
        for name, task in self.tasks.items():
            if name in busy or name in self.over:
                continue
            if self.arguments.noise or not task.get("teachers"):
                return self._stack(task), False
            table = device_data.table_name(task)
            if (self.arguments.folder / f"{table}.npy").exists():
                return self._stack(task), False
            taught = all(self._is_done(teacher) for teacher in task["teachers"])
            if taught and table not in busy and table not in self.over:
                return [
                    task,
                    *(self.tasks[teacher] for teacher in task["teachers"]),
                ], True
        return None

    def _stack(self, first):
        """The first training with those that differ in name and seed alone."""
        out, done = self._busy() | self.over, self._epochs(first)
        same = [
            task
            for task in self.tasks.values()
            if task["name"] not in out
            and self._kind(task) == self._kind(first)
            and self._epochs(task) == done
        ]
        return same[: self.arguments.stack]

    @staticmethod
    def _kind(task):
        return {key: task[key] for key in task if key not in ("name", "seed")}

    def _epochs(self, task):
        return epochs_in(self.arguments.folder, task) or 0


def epochs_in(folder, task):
    """Epochs of a training's state in a folder; None where there is none."""
    path = folder / f"{task['name']}.npz"
    return len(device_training.load_state(path)[1]) if path.exists() else None


def only(tasks, names):
    """The named trainings and their teachers, whose answers they need."""
    named = [task for task in tasks if task["name"] in names]
    teachers = {name for task in named for name in task.get("teachers", ())}
    return [task for task in tasks if task["name"] in teachers.union(names)]


def show(tasks, folder):
    """Prints the queue, and how far each training is in a folder."""
    rows, done = [], finished()
    for task in tasks:
        epochs = epochs_in(folder, task) if folder else None
        if epochs is None:
            epochs = task["epochs"] if task["name"] in done else 0
        teachers = ", ".join(task.get("teachers", ()))
        rows.append((task["name"], task["model"], epochs, task["epochs"], teachers))
    common.show(("training", "network", "done", "epochs", "teachers"), rows)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queue", type=pathlib.Path, default=QUEUE, help="JSON")
    commands = parser.add_subparsers(dest="command", required=True)
    listed = commands.add_parser("list", help="the queue")
    listed.add_argument("--folder", type=pathlib.Path, help="of `work`")
    packed = commands.add_parser("pack", help="images for a machine without a network")
    packed.add_argument("cifar10", type=pathlib.Path)
    packed.add_argument("folder", type=pathlib.Path)
    together = commands.add_parser("unpack", help="puts pieces together")
    together.add_argument("output", type=pathlib.Path)
    together.add_argument("folder", type=pathlib.Path)
    work = commands.add_parser("work", help="train")
    work.add_argument("--data", type=pathlib.Path, help="of `pack`")
    work.add_argument("--folder", type=pathlib.Path, required=True)
    work.add_argument("--output", type=pathlib.Path, help="for the pieces")
    work.add_argument("--seconds", type=float, default=float("inf"))
    work.add_argument("--beside", type=int, default=8, help="processes at once")
    work.add_argument("--stack", type=int, default=3, help="trainings in one process")
    work.add_argument(
        "--whole", action="store_true", help="give up early what would not end in time"
    )
    work.add_argument("--tables", action="store_true", help="of teachers alone")
    work.add_argument("--only", nargs="+", help="these trainings, and teachers")
    work.add_argument("--images", type=int, help="the first so many alone")
    work.add_argument("--noise", type=int, help="so many images of noise, to time")
    work.add_argument("--epochs", type=int, help="stop each after so many")
    return parser.parse_args()


def main():
    arguments = parse()
    tasks = read_queue(arguments.queue)
    if arguments.command == "pack":
        pack(arguments.cifar10, arguments.folder)
    elif arguments.command == "unpack":
        unpack(arguments.output, arguments.folder)
    elif arguments.command == "list":
        show(tasks, arguments.folder)
    else:
        arguments.until = time.time() + arguments.seconds - ENDING_SECONDS
        arguments.folder.mkdir(parents=True, exist_ok=True)
        if arguments.only:
            tasks = only(tasks, arguments.only)
        if arguments.noise:
            tasks = [{**task, "alone": False} for task in tasks]
        Queue(tasks, arguments).work()
        show(tasks, arguments.folder)
        if arguments.output:
            write_pieces(arguments.folder, arguments.output)


if __name__ == "__main__":
    main()
