r"""The trainings that need an accelerator, as a queue that any session can go on with.

    python benchmarks/accelerator_queue.py list
    python benchmarks/accelerator_queue.py pack cifar10.npz FOLDER
    KERAS_BACKEND=jax python benchmarks/accelerator_queue.py work --data FOLDER \
        --folder WORK --output OUT --seconds 560
    python benchmarks/accelerator_queue.py unpack OUT WORK

`accelerator_queue.json` holds the trainings, the most wanted first; those in
docs/training/queue.csv are done. `pack` writes the training images as lossless WebP (83 MB
of 154), for a machine that has no network. `work` runs trainings beside each other, each in
a process of its own (device_training.py); a student waits for its teachers. When the time
is over every training saves its state, and `work` writes what is finished and what is not
to OUT, in pieces of at most 15 MB. `unpack` puts the pieces together again; the next `work`
in that folder goes on from there. accelerator_session.sh has the commands for a lent
machine, queue_runs.py makes of what is finished what ship_trained.py takes.
"""

import argparse
import csv
import json
import pathlib
import subprocess
import sys
import tarfile
import time

import common
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
        strip = images[start : start + STRIP].reshape(-1, device_training.SIDE, 3)
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
    """A process that trains, or that writes the table of a student's teachers.

    Args:
        tasks: the training; for a table, a student and its teachers.
        arguments: of the command.
    """

    def __init__(self, tasks, arguments):
        self.teaches = len(tasks) > 1
        student = tasks[0]
        self.name = student["name"]
        if self.teaches:
            self.name = device_training.table_name(student)
        self.start = time.time()
        command = [sys.executable, device_training.__file__, json.dumps(tasks)]
        command += ["--folder", str(arguments.folder), "--until", str(arguments.until)]
        for option in ("data", "images", "noise", "epochs"):
            value = getattr(arguments, option)
            command += [f"--{option}", str(value)] if value else []
        self.log = arguments.folder / f"{self.name}.log"
        settings = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "KERAS_BACKEND": "jax"}
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
        return f"{self.name}: {told}, {taken:.0f} s: {lines[-1]}"


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
            if not worker.teaches or code:
                self.over.add(worker.name)

    def _start(self):
        while len(self.running) < self.arguments.beside:
            tasks = self._next() if time.time() < self.arguments.until else None
            if tasks is None:
                return
            if self.running and (tasks[0].get("alone") or self._one_is_alone()):
                return
            self.running.append(Worker(tasks, self.arguments))

    def _one_is_alone(self):
        names = [worker.name for worker in self.running]
        return any(
            self.tasks[name].get("alone") for name in names if name in self.tasks
        )

    def _next(self):
        """The tasks of the next worker; None where all run, are over or wait."""
        busy = {worker.name for worker in self.running}
        for name, task in self.tasks.items():
            if name in busy or name in self.over:
                continue
            if self.arguments.noise or not task.get("teachers"):
                return [task]
            table = device_training.table_name(task)
            if (self.arguments.folder / f"{table}.npy").exists():
                return [task]
            taught = all(self._is_done(teacher) for teacher in task["teachers"])
            if taught and table not in busy and table not in self.over:
                return [task, *(self.tasks[teacher] for teacher in task["teachers"])]
        return None


def show(tasks, folder):
    """Prints the queue, and how far each training is in a folder."""
    rows, done = [], finished()
    for task in tasks:
        path = folder / f"{task['name']}.npz" if folder else None
        known = path is not None and path.exists()
        epochs = task["epochs"] if task["name"] in done else 0
        epochs = len(device_training.load_state(path)[1]) if known else epochs
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
    work.add_argument("--only", nargs="+", help="these trainings")
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
            tasks = [task for task in tasks if task["name"] in arguments.only]
        if arguments.noise:
            tasks = [{**task, "alone": False} for task in tasks]
        Queue(tasks, arguments).work()
        show(tasks, arguments.folder)
        if arguments.output:
            write_pieces(arguments.folder, arguments.output)


if __name__ == "__main__":
    main()
