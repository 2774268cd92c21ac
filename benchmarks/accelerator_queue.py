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
import difflib
import fcntl
import json
import os
import pathlib
import subprocess
import sys
import time

import common
import device_data
import device_state
import device_training
import papers
import queue_pieces

RESULTS = common.ROOT / "docs" / "training" / "queue.csv"
QUEUE = pathlib.Path(__file__).with_suffix(".json")
# For the processes to save their states and to end, and for the pieces.
ENDING_SECONDS = 20


def read_queue(path=QUEUE):
    """The trainings, with the defaults filled in.

    Raises:
        SystemExit: a file that is no queue, two trainings of one name, or a teacher
            that is no training.
    """
    try:
        read = json.loads(path.read_text("utf-8"))
        tasks = [{**read["defaults"], **task} for task in read["trainings"]]
        names = [task["name"] for task in tasks]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(
            f"{path} is no queue: {type(error).__name__} {error}"
        ) from None
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SystemExit(f"{path} has two trainings with the name {twice[0]}")
    for task in tasks:
        check_names(task.get("teachers", ()), names)
    return tasks


def check_names(asked, names):
    """Raises `SystemExit` for a name that no training has."""
    for name in asked:
        if name not in names:
            near = difflib.get_close_matches(name, names, 3) or list(names)[:3]
            raise SystemExit(
                f"no training of the queue is called {name!r}; near: {', '.join(near)}"
            )


def finished():
    """Names of the trainings that earlier sessions finished."""
    return {row["training"] for row in papers.read_results(RESULTS)}


def pack(data, folder):
    """Writes labels and lossless strips of the training images."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    with np.load(data) as file:
        images, labels = file["x_train"], file["y_train"].reshape(-1)
    np.save(folder / "labels.npy", labels.astype("uint8"))
    for start in range(0, len(images), device_data.STRIP):
        strip = images[start : start + device_data.STRIP].reshape(
            -1, device_data.SIDE, 3
        )
        path = folder / f"strip_{start:05d}.webp"
        Image.fromarray(strip).save(path, lossless=True, quality=80, method=4)


def lock(folder):
    """Lets one `work` at a time into a folder; returns the open file.

    Its trainings inherit it: they may outlive a `work` that was killed.

    Raises:
        SystemExit: another one is there.
    """
    file = (folder / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise SystemExit(
            f"another `work`, or a training that it started, is at work in {folder}"
        ) from None
    return file


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
                command,
                stdout=log,
                stderr=log,
                env=common.environment(**settings),
                pass_fds=[arguments.lock.fileno()],
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
        self.failed = set()
        # Those that this session tries no more, whatever their reason.
        self.over = {name for name in self.tasks if self._is_damaged(name)}
        self.over |= {name for name in self.tasks if self._is_done(name)}

    def _is_damaged(self, name):
        """Whether a state cannot be gone on with; says so, and the others go on."""
        path = self.arguments.folder / f"{name}.npz"
        try:
            if path.exists():
                device_state.progress(path, self.tasks[name])
        except SystemExit as error:
            print(error, flush=True)
            self.failed.add(name)
        return name in self.failed

    def _is_done(self, name):
        path = self.arguments.folder / f"{name}.npz"
        if name in self.failed:
            return False
        if path.exists():
            return device_state.progress(path)[1]
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
            if failed:
                self.failed.update(worker.names)
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
    try:
        return device_state.progress(path)[0] if path.exists() else None
    except SystemExit:
        return 0


def only(tasks, names):
    """The named trainings, their teachers, whose answers they need, and so on."""
    known = {task["name"]: task for task in tasks}
    check_names(names, known)
    wanted, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += known[name].get("teachers", ())
    return [task for task in tasks if task["name"] in wanted]


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
        queue_pieces.unpack(arguments.output, arguments.folder)
    elif arguments.command == "list":
        show(tasks, arguments.folder)
    else:
        return work(tasks, arguments)
    return 0


def work(tasks, arguments):
    """Trains, shows how far it came and writes the pieces; the exit code."""
    arguments.until = time.time() + arguments.seconds - ENDING_SECONDS
    if arguments.only:
        tasks = only(tasks, arguments.only)
    if arguments.noise:
        tasks = [{**task, "alone": False} for task in tasks]
    else:
        device_data.check_pack(arguments.data)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    arguments.lock = lock(arguments.folder)
    queue = Queue(tasks, arguments)
    queue.work()
    show(tasks, arguments.folder)
    if arguments.output:
        queue_pieces.write(arguments.folder, arguments.output)
    return 1 if queue.failed else 0


if __name__ == "__main__":
    sys.exit(main())
