"""Training on an accelerator against torchvision with torch.compile.

    KERAS_BACKEND=jax python benchmarks/accelerator.py

A training step (forward, loss, backward, SGD with momentum 0.9) in bfloat16 on synthetic
images that lie on the device: ours on the JAX backend, mixed_bfloat16, as
`keras-resnets train` compiles it; torchvision's in channels_last under autocast and
torch.compile. Each contestant has a process of its own; they take turns of `--steps`
steps, each turn ends when the device has finished, and the median turn counts. A turn
of ours is one `fit`, with all that it does before and after its steps.

`--settings NAME ...` has ours once more under each of these `SETTINGS` of XLA, in the same
turns, to see what each wins alone; `NAME+NAME` is both. The first turn of ours gives the
mean loss of 20 steps from the same start on the same images: a setting under which it
differs by more than 1e-3 computes something else.

Ours compiles first and alone, and keeps the kernels that XLA chose in a cache, so that
the others choose the same; then the others compile beside each other. At most
`--resident` processes live at a time; ours stays, the others come and go in groups.
`--seconds` ends the run with what is measured until then.

`--profile FOLDER` also writes a trace of some steps of ours under each setting, for
TensorBoard or Perfetto, and prints which kernels take the time in ours and under the
fastest setting.

Target: at least 1.15 times torchvision's images per second.
"""

import collections
import dataclasses
import itertools
import json
import os
import pathlib
import re
import statistics
import sys
import tempfile
import time

import common

MODELS = ("resnet50", "resnext50_32x4d")
OURS, THEIRS = "ours", "torchvision"
# Steps whose mean loss is compared, from the same start.
CHECKED = 20
TRACED = 5
RATE = 1e-3
# Values of $XLA_FLAGS; jaxlib 0.10.2 knows all of them, and refuses unknown ones.
SETTINGS = {
    "latency_hiding": "--xla_gpu_enable_latency_hiding_scheduler=true",
    "command_buffers": "--xla_gpu_enable_command_buffer="
    "FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL",
    "no_triton_gemm": "--xla_gpu_enable_triton_gemm=false",
    "cudnn_gemm_fusion": "--xla_gpu_cudnn_gemm_fusion_level=2",
    "exhaustive_tiling": "--xla_gpu_exhaustive_tiling_search=true",
    "multi_output_fusion": "--xla_gpu_unsupported_enable_triton_multi_output_fusion=true",
}
TABLE = ("network", "images/s", "of ours", "of torchvision", "target", "", "loss")


def keras_turn(name, batch, size):
    """A function that takes so many steps of ours and returns their mean loss."""
    import jax
    import keras
    import numpy as np

    import keras_resnets
    from keras_resnets.training import compiling
    from keras_resnets.training import get_recipe

    if keras.backend.backend() != "jax":
        raise SystemExit("set KERAS_BACKEND=jax")
    keras.utils.set_random_seed(0)
    model = keras_resnets.create_model(
        name,
        input_shape=(size, size, 3),
        dtype="mixed_bfloat16",
        classifier_activation=None,
    )
    # A high rate would magnify rounding until losses differ.
    recipe = dataclasses.replace(get_recipe("he2015_imagenet"), learning_rate=RATE)
    options = compiling.options(recipe, model, 1000, batch)
    options.pop("metrics")
    model.compile(**options, jit_compile=True)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, size, size, 3)).astype("float32")
    classes = model.output_shape[-1]
    targets = np.eye(classes, dtype="float32")[rng.integers(0, classes, batch)]
    both = jax.device_put(images), jax.device_put(targets)

    def turn(steps):
        feed = (both for _ in itertools.count())
        history = model.fit(feed, steps_per_epoch=steps, verbose=0).history
        if not np.isfinite(history["loss"]).all():
            raise SystemExit(f"{name}: the loss is {history['loss']}")
        return history["loss"][0]

    return turn


def torch_turn(name, batch, size):
    """The same of torchvision, whose loss is not compared."""
    import torch
    import torchvision

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    model = torchvision.models.get_model(name, weights=None).train().to(device)
    model = torch.compile(model.to(memory_format=torch.channels_last))
    optimizer = torch.optim.SGD(
        model.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=1e-4
    )
    criterion = torch.nn.CrossEntropyLoss()
    images = torch.randn(batch, 3, size, size, device=device)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(0, 1000, (batch,), device=device)

    def turn(steps):
        for _ in range(steps):
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16):
                loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
        # Waits for the device.
        loss.item()

    return turn


def work(contestant):
    """Answers a number of steps with the seconds of one, a folder with its kernels."""
    kind, name, batch, size = contestant.split("/")
    make = keras_turn if kind == OURS else torch_turn
    turn = make(name, int(batch), int(size))
    for line in sys.stdin:
        if not line.strip().isdigit():
            print(json.dumps({"kernels": trace(turn, line.strip())}), flush=True)
            continue
        steps = int(line)
        start = time.perf_counter()
        loss = turn(steps)
        best = (time.perf_counter() - start) / steps
        print(json.dumps({"best": best, "loss": loss}), flush=True)


def trace(turn, folder):
    """Writes a trace of some steps; returns (kind, ms a step, kernels a step) rows."""
    import jax

    with jax.profiler.trace(folder):
        turn(TRACED)
    traces = sorted(
        pathlib.Path(folder).rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime
    )
    taken, count = kernels(jax.profiler.ProfileData.from_file(str(traces[-1])))
    return [
        (kind, 1e-6 * spent / TRACED, count[kind] / TRACED)
        for kind, spent in taken.most_common()
    ]


def kernels(profile):
    """Nanoseconds on the device, and number of kernels, by kind of operation."""
    taken, count = collections.Counter(), collections.Counter()
    for plane in profile.planes:
        if not plane.name.startswith("/device:"):
            continue
        for line in plane.lines:
            if not line.name.startswith("Stream"):
                continue
            for event in line.events:
                operation = str(dict(event.stats).get("hlo_op", event.name))
                kind = re.sub(r"[.\d]+$", "", operation)
                taken[kind] += event.duration_ns
                count[kind] += 1
    return taken, count


def settings_of(kind, folder):
    """The environment of a contestant of ours."""
    flags = [] if kind == OURS else [SETTINGS[name] for name in kind.split("+")]
    return {
        # JAX would take most of the device's memory at once.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        # JAX keeps the kernels that XLA chose there too.
        "JAX_COMPILATION_CACHE_DIR": str(folder),
        "XLA_FLAGS": " ".join([os.environ.get("XLA_FLAGS", ""), *flags]),
    }


class Race:
    """The contestants of one network, their times, losses and kernels."""

    def __init__(self, name, arguments, deadline):
        self.name, self.arguments, self.deadline = name, arguments, deadline
        self.workers, self.logs = {}, {}
        self.taken, self.losses, self.tables = {}, {}, {}
        self.folder = pathlib.Path(arguments.cache) / name
        self.folder.mkdir(parents=True, exist_ok=True)

    def left(self):
        return max(0.0, self.deadline - time.monotonic())

    def start(self, kinds):
        """Starts processes, which import and build; none computes until it is asked."""
        arguments = self.arguments
        for kind in kinds:
            theirs = kind == THEIRS
            key = f"{THEIRS if theirs else OURS}/{self.name}"
            settings = {} if theirs else settings_of(kind, self.folder)
            self.logs[kind] = tempfile.NamedTemporaryFile("w+", suffix=".log")
            self.workers[kind] = common.Worker(
                __file__,
                f"{key}/{arguments.batch}/{arguments.size}",
                arguments.torch_python if theirs else sys.executable,
                errors=self.logs[kind],
                **settings,
            )

    def compile(self, kinds):
        """Lets some compile beside each other; drops those that fail."""
        began = time.monotonic()
        for kind in kinds:
            self.workers[kind].send(CHECKED)
        for kind in kinds:
            answer = self.receive(kind)
            if answer:
                self.losses[kind] = answer.get("loss")
                spent = time.monotonic() - began
                print(f"{self.name} {kind}: ready after {spent:.0f} s", flush=True)

    def receive(self, kind):
        """The answer of one; a dead or late one says why and is dropped."""
        answer = self.workers[kind].receive(self.left())
        if answer is None:
            self.logs[kind].seek(0)
            lines = self.logs[kind].read().strip().splitlines() or ["no message"]
            why = lines[-1] if self.left() else "no time left"
            print(f"{self.name} {kind}: dropped: {why[:500]}", flush=True)
            self.workers.pop(kind).kill()
        return answer

    def run(self, kinds):
        """Some turns of ours and of `kinds`, which end with them."""
        self.start([kind for kind in kinds if kind not in self.workers])
        self.compile(kinds)
        for _ in range(self.arguments.rounds):
            for kind in list(self.workers):
                if not self.left():
                    break
                self.workers[kind].send(self.arguments.steps)
                answer = self.receive(kind)
                if answer:
                    self.taken.setdefault(kind, []).append(answer["best"])
        for kind in list(self.workers):
            wanted = self.arguments.profile and kind not in self.tables
            if wanted and kind != THEIRS and self.left():
                folder = pathlib.Path(self.arguments.profile) / self.name / kind
                self.workers[kind].send(folder.absolute())
                answer = self.receive(kind)
                self.tables[kind] = answer and answer["kernels"]
        for kind in kinds:
            if kind in self.workers:
                self.workers.pop(kind).kill()

    def figures(self):
        """Median images a second, losses and kernels of all that was measured."""
        return {
            kind: {
                "images_per_second": self.arguments.batch / statistics.median(found),
                "turns": len(found),
                "loss": self.losses.get(kind),
                "kernels": self.tables.get(kind),
            }
            for kind, found in self.taken.items()
        }


def measure(name, arguments, deadline):
    """The figures of all contestants that could run until the deadline."""
    race = Race(name, arguments, deadline)
    others = [THEIRS, *arguments.settings]
    if arguments.without_torch:
        others.remove(THEIRS)
    step = max(1, arguments.resident - 1)
    groups = [others[at : at + step] for at in range(0, len(others), step)] or [[]]
    try:
        race.start([OURS, *groups[0]])
        race.compile([OURS])
        for group in groups:
            if race.left():
                race.run(group)
    finally:
        for worker in race.workers.values():
            worker.kill()
    return race.figures()


def show_times(name, found):
    """A table of the images a second, of their ratios and of the losses."""
    value = {kind: row["images_per_second"] for kind, row in found.items()}
    base, theirs = value.get(OURS), value.get(THEIRS)
    rows = []
    for kind, speed in value.items():
        won = common.times(speed / base) if base else "-"
        ratio = speed / theirs if theirs and kind != THEIRS else None
        cells = ("", "", "") if kind == THEIRS else common.target(ratio, 1.15, False)
        loss, wanted = found[kind]["loss"], found.get(OURS, {}).get("loss")
        words = "" if loss is None else f"{loss:.5f}"
        if loss is not None and wanted:
            words += f" ({loss / wanted - 1:+.1e})"
            words += " WRONG" if abs(loss / wanted - 1) > 1e-3 else ""
        rows.append((f"{name} {kind}", f"{speed:.0f}", won, *cells, words))
    common.show(TABLE, rows)


def show_kernels(name, found):
    """Tables of the kernels of ours and of the fastest setting."""
    traced = [kind for kind, row in found.items() if row["kernels"]]
    traced.sort(key=lambda kind: found[kind]["images_per_second"])
    for kind in dict.fromkeys([OURS, *traced[-1:]]):
        table = found.get(kind, {}).get("kernels") or []
        whole = sum(row[1] for row in table)
        rows = [(*row[:1], f"{row[1]:.2f}", f"{row[2]:.0f}") for row in table[:25]]
        rows.append(("all", f"{whole:.2f}", f"{sum(row[2] for row in table):.0f}"))
        common.show((f"{name} {kind}", "ms a step", "kernels"), rows)


def main():
    parser = common.parser(__doc__, rounds=5)
    parser.add_argument("--worker", help="(used by the script itself)")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--torch-python", metavar="PATH", default=sys.executable)
    parser.add_argument("--without-torch", action="store_true")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=224, help="pixels")
    parser.add_argument("--steps", type=int, default=20, help="in a turn")
    parser.add_argument(
        "--settings", nargs="+", default=[], metavar="NAME", help="NAME+NAME: both"
    )
    parser.add_argument("--resident", type=int, default=4, help="processes at a time")
    parser.add_argument("--seconds", type=float, default=3600, help="of the whole run")
    parser.add_argument(
        "--cache",
        metavar="FOLDER",
        default=str(pathlib.Path(tempfile.gettempdir()) / "accelerator_cache"),
        help="of compiled programs and chosen kernels",
    )
    parser.add_argument("--profile", metavar="FOLDER", help="trace ours")
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker)
        return
    for name in arguments.settings:
        if not set(name.split("+")) <= set(SETTINGS):
            parser.error(f"--settings takes {', '.join(SETTINGS)}; got {name}")
    deadline = time.monotonic() + arguments.seconds
    figures = {}
    for name in arguments.models:
        figures[name] = measure(name, arguments, deadline)
        show_times(name, figures[name])
        show_kernels(name, figures[name]) if arguments.profile else None
        common.write(arguments.json, figures)


if __name__ == "__main__":
    main()
