"""`keras-resnets verify` and `keras-resnets benchmark`: compare exported files."""

import contextlib
import dataclasses
import functools
import json
import pathlib
import typing
from collections.abc import Callable
from collections.abc import Sequence

from keras_resnets.cli.arguments import network
from keras_resnets.cli.arguments import options
from keras_resnets.cli.arguments import parsing
from keras_resnets.cli.arguments.network import say
from keras_resnets.cli.pages import page
from keras_resnets.cli.pages import page_compare
from keras_resnets.cli.printing import output
from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.system import progress
from keras_resnets.system.quiet import native_logs_hidden

if typing.TYPE_CHECKING:
    import numpy as np

    from keras_resnets.export.compare import verify as verifying
    from keras_resnets.images.preprocessing import Preprocessing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verification:
    """The options of `keras-resnets verify`; see its help."""

    first: str
    second: str
    data: str | None
    count: int
    seed: int
    mode: str | None
    layers: bool
    threads: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """The options of `keras-resnets benchmark`; see its help."""

    files: tuple[str, ...]
    threads: int
    runs: int
    output: str | None
    plot: str | None

    def __post_init__(self) -> None:
        for file in self.files:
            if file.endswith(".json"):
                raise InvalidArgument(
                    f"{file} is not a file to time; figures are written to "
                    f"--output {file}, and --json prints them"
                )


def add_to(commands: parsing.Commands) -> None:
    """Adds both commands."""
    verify = commands.add_parser("verify")
    verify.add_argument("first", metavar="A", help="the reference")
    verify.add_argument("second", metavar="B", help="the file to compare with it")
    verify.add_argument(
        "--data",
        help="data set as for evaluate, or folder of images; default: synthetic images",
    )
    verify.add_argument(
        "--count",
        type=options.COUNT,
        default=100,
        help="largest number of images, the same share of every class",
    )
    options.add_seed(verify, "seed of their choice")
    verify.add_argument("--mode", help="preprocessing; default: the passports'")
    verify.add_argument(
        "--layers", action="store_true", help="also show the error of each layer"
    )
    options.add_threads(verify, "threads of each runtime")
    options.set_command(
        verify,
        Verification,
        _verify,
        facts={
            "images": "number of images",
            "outputs": "parity: max_error, relative_error, rmse, sqnr, cosine, top1, top5, "
            "labels (share of equal labels with several labels per image, or null)",
            "logits": "the same for the input of the softmax; null if it cannot be read",
            "accuracies": "top-1 shares of A and B on labelled data (mean average "
            "precisions with several labels per image); else null",
            "layers": "with --layers: name, sqnr and lost (dB) of each layer; else null",
            "tolerance": "the number format whose tolerance applies; null if none does",
            "failures": "messages about exceeded tolerances; exit code 1 if there are any",
        },
        examples=(
            "resnet20.keras resnet20.tflite",
            "resnet20.tflite resnet20_int8.tflite --data cifar10.npz --layers",
        ),
        report=True,
    )
    _add_benchmark(commands)


def _add_benchmark(commands: parsing.Commands) -> None:
    """Adds the `benchmark` command."""
    benchmark = commands.add_parser("benchmark")
    benchmark.add_argument(
        "files", nargs="+", metavar="FILE", help="exported files, timed in turns"
    )
    options.add_threads(benchmark, "threads of each runtime")
    benchmark.add_argument(
        "--runs", type=options.whole(1, 1_000_000), default=50, help="runs of each file"
    )
    group = benchmark.add_argument_group("output")
    group.add_argument(
        "--output", metavar="FILE", help="also write the figures to a JSON file"
    )
    group.add_argument("--plot", metavar="PNG", help="draw a bar chart")
    options.set_command(
        benchmark,
        Timing,
        _benchmark,
        facts={
            "files": "one object per file: path, size and memory in bytes, load, median "
            "and p95 in seconds, batch",
        },
        examples=(
            "resnet20.tflite resnet20_int8.tflite",
            "resnet20_int8.tflite --threads 1 --runs 200 --json",
        ),
        report=True,
    )


def _verify(asked: Verification) -> None:
    with native_logs_hidden():
        from keras_resnets.cli.printing import tables
        from keras_resnets.export import passport
        from keras_resnets.export.compare import isolated
        from keras_resnets.export.compare import verify
        from keras_resnets.images.labels import MULTI_LABEL

        paths = (asked.first, asked.second)
        if asked.layers:
            verify.check_layers(paths)
        passports = [passport.read(path) for path in paths]
        # Each file is opened once, in a process of its own.
        opener = functools.cache(isolated.open_apart)
        preprocessing, shape = _expected(asked, passports, opener)
        names = _names(passports)
        several = any(facts and facts.get("task") == MULTI_LABEL for facts in passports)
        batches, labels = _images(asked, preprocessing, shape, names, several)
        watcher = page_compare.Verified(paths, preprocessing, names, several)
        with progress.step("running both files"):
            result = verify.verify(
                *paths,
                batches,
                labels,
                asked.threads,
                preprocessing=preprocessing,
                opener=opener,
                watch=watcher.add,
            )
        watcher.show(result)
        output.keep(
            images=result.count,
            outputs=result.outputs,
            logits=result.logits,
            accuracies=result.accuracies,
        )
        say(tables.verification_table(*paths, result))
        if asked.layers:
            with progress.step("comparing layer by layer"):
                losses = verify.layer_losses(
                    *paths, batches[0][:4], preprocessing, opener
                )
            output.keep(layers=losses)
            say(tables.loss_table(losses))
            page_compare.losses(losses)
        _judge(result, passports)


def _judge(
    result: "verifying.Verification", passports: Sequence[dict[str, typing.Any] | None]
) -> None:
    """Checks the difference of two files against the tolerance of the second's format."""
    from keras_resnets.export import number_formats
    from keras_resnets.export import parity

    quantize = next((facts["quantize"] for facts in passports[::-1] if facts), None)
    if quantize is None:
        say("no passport records the format: no tolerance is checked")
        page.set_summary("No passport records the format: no tolerance is checked.")
        return
    numbers = number_formats.find(quantize)
    if result.logits is None and quantize != "none":
        say(
            f"{numbers.title} files are compared by their logits, and those of one file "
            "cannot be read: no tolerance is checked"
        )
        page.set_summary(
            "The logits of one file cannot be read: no tolerance is checked."
        )
        return
    failures = parity.excesses(
        numbers, result.probabilities, result.logits, result.largest_logit
    )
    output.keep(tolerance=quantize, failures=failures)
    output.keep_on_failure()
    if failures:
        raise ExportError(
            f"the two files differ by more than the tolerance of {numbers.title}: "
            f"{'; '.join(failures)}"
        )
    say(f"within the tolerance of {numbers.title}")
    page.set_summary(f"The two agree within the tolerance of {numbers.title}.", True)


def _expected(
    asked: Verification,
    passports: Sequence[dict[str, typing.Any] | None],
    opener: Callable[..., typing.Any],
) -> "tuple[Preprocessing | None, tuple[int, ...]]":
    """Returns (`Preprocessing` or None, (height, width, channels)) of the two files."""
    from keras_resnets.images.preprocessing import Preprocessing

    shapes = [
        opener(path, asked.threads).input_shape[1:]
        for path in (asked.first, asked.second)
    ]
    shape = next((shape for shape in shapes if None not in shape), None)
    if shape is None:
        raise InvalidArgument(
            "at least one of the two files must have a fixed image size; got two "
            "dynamic sizes"
        )
    settings = next(
        (p["preprocessing"] for p in passports if p and p["preprocessing"]), None
    )
    if asked.mode:
        settings = {"mode": asked.mode}
    return settings and Preprocessing(**{**settings, "size": shape[:2]}), shape


def _names(
    passports: Sequence[dict[str, typing.Any] | None],
) -> tuple[tuple[str, ...], ...]:
    """Returns (id, name) of each class, or () if no passport lists them."""
    from keras_resnets.images import labels

    class_labels = next((p["labels"] for p in passports if p and p.get("labels")), ())
    return (
        labels.class_names(labels.count(class_labels), class_labels)
        if class_labels
        else ()
    )


def _images(
    asked: Verification,
    preprocessing: "Preprocessing | None",
    shape: tuple[int, ...],
    names: Sequence[tuple[str, ...]],
    several: bool,
) -> "tuple[list[np.ndarray], np.ndarray | None]":
    """Returns (batches, labels or None) of the selected images, preprocessed."""
    from keras_resnets.images import evaluation
    from keras_resnets.images import files as image_files
    from keras_resnets.images import folders as image_folders
    from keras_resnets.images import loading
    from keras_resnets.images import samples
    from keras_resnets.images.datasets import table_files
    from keras_resnets.images.preprocessing import MODES

    if asked.data is None:
        generated = samples.default_images(
            shape, preprocessing=preprocessing, count=asked.count
        )
        kind = "noise, since no passport records the preprocessing (--mode)"
        if preprocessing is not None:
            kind = f"synthetic images in mode {preprocessing.mode!r}"
        output.note(f"compared on {kind}; use --data for real images")
        return [generated], None
    if preprocessing is None:
        raise InvalidArgument(
            f"no passport records the preprocessing: give --mode {', '.join(MODES)}"
        )
    folder, seed = pathlib.Path(asked.data), asked.seed
    labelled = several and table_files.tables_of(folder)
    if folder.is_dir() and not labelled and not image_folders.class_folders(folder):
        loaded, skipped = loading.load_folder(folder, preprocessing, asked.count, seed)
        image_files.check_broken(skipped, len(loaded) + len(skipped), folder)
        network.say_notes(image_folders.notes_of(folder, tuple(skipped)))
        return [loaded], None
    data = evaluation.open_data(
        asked.data,
        preprocessing,
        asked.count,
        tuple(names),
        seed=seed,
        multi_label=several,
    )
    network.say_notes(data.notes)
    return list(data.batches(100)), data.labels


def _benchmark(asked: Timing) -> None:
    with native_logs_hidden():
        from keras_resnets.cli.printing import tables
        from keras_resnets.export.compare import benchmark
        from keras_resnets.io import files

        _check_places(asked)
        with progress.step("timing the files in turns"):
            timings = benchmark.benchmark(asked.files, asked.threads, asked.runs)
        output.keep(files=timings)
        say(tables.timing_table(timings))
        page_compare.timings(timings)
        if asked.output:
            figures = [dataclasses.asdict(timing) for timing in timings]
            with files.atomic_file(asked.output) as temporary:
                temporary.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
        if asked.plot:
            first = asked.output
            with files.after_writing(first) if first else contextlib.nullcontext():
                benchmark.plot(timings, asked.plot)
            say(f"drew {asked.plot}")


def _check_places(asked: Timing) -> None:
    """Raises `InvalidArgument` before the work if the figures cannot be written."""
    from keras_resnets.io import files
    from keras_resnets.io import plots

    taken = {pathlib.Path(file).resolve(): "a file to time" for file in asked.files}
    for option in ("output", "plot"):
        place = getattr(asked, option)
        if place is None:
            continue
        if option == "plot":
            plots.check_place(place)
        else:
            files.check_destination(place, "", overwrite=True)
        other = taken.setdefault(pathlib.Path(place).resolve(), f"--{option}")
        if other != f"--{option}":
            raise InvalidArgument(
                f"--{option} {place} is also {other}: choose another path"
            )
