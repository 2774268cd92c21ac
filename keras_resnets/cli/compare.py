"""`keras-resnets verify` and `keras-resnets benchmark`: exported files side by side."""

import contextlib
import functools
import json
import pathlib

from keras_resnets.cli import network
from keras_resnets.cli import options
from keras_resnets.cli.network import say
from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.system.quiet import native_logs_hidden


def add_to(commands):
    """Adds both commands to the parser's sub-commands."""
    verify = commands.add_parser("verify", help="compare two exported files")
    verify.add_argument("first", metavar="A", help="the reference")
    verify.add_argument("second", metavar="B", help="what is judged")
    verify.add_argument(
        "--data", help="what evaluate takes, or a folder of images; synthetic without"
    )
    verify.add_argument(
        "--count",
        type=options.COUNT,
        default=100,
        help="most images to take, of every class the same share",
    )
    verify.add_argument("--seed", type=options.SEED, default=0, help="of their choice")
    verify.add_argument("--mode", help="pre-processing; default: of the passports")
    verify.add_argument(
        "--layers", action="store_true", help="where an integer TFLite file loses most"
    )
    verify.add_argument("--threads", type=options.THREADS, default=2)
    verify.set_defaults(run=_verify)

    benchmark = commands.add_parser("benchmark", help="time exported files in turns")
    benchmark.add_argument("files", nargs="+", metavar="FILE")
    benchmark.add_argument("--threads", type=options.THREADS, default=2)
    benchmark.add_argument(
        "--runs", type=options.whole(1, 1_000_000), default=50, help="of each file"
    )
    benchmark.add_argument("--json", metavar="FILE", help="write the figures here too")
    benchmark.add_argument("--plot", metavar="PNG", help="draw a bar chart")
    benchmark.set_defaults(run=_benchmark)


def _verify(arguments):
    with native_logs_hidden():
        from keras_resnets.cli import tables
        from keras_resnets.export import number_formats
        from keras_resnets.export import parity
        from keras_resnets.export import passport
        from keras_resnets.export.compare import isolated
        from keras_resnets.export.compare import verify

        paths = (arguments.first, arguments.second)
        if arguments.layers:
            verify.check_layers(paths)
        passports = [passport.read(path) for path in paths]
        # Each file in one process of its own, whoever asks for it.
        opener = functools.cache(isolated.open_apart)
        wanted, shape = _expected(arguments, passports, opener)
        names = _names(passports)
        batches, labels = _pictures(arguments, wanted, shape, names)
        found = verify.verify(
            *paths,
            batches,
            labels,
            arguments.threads,
            preprocessing=wanted,
            opener=opener,
        )
        say(tables.verification_table(*paths, found))
        if arguments.layers:
            losses = verify.layer_losses(*paths, batches[0][:4], wanted, opener)
            say(tables.loss_table(losses))
        quantize = next((known["quantize"] for known in passports[::-1] if known), None)
        if quantize is None:
            say("no passport says the format: nothing is judged")
            return
        numbers = number_formats.find(quantize)
        if found.logits is None and quantize != "none":
            say(
                f"the logits of one cannot be read, by which {numbers.title} files are "
                "judged: nothing is judged"
            )
            return
        failures = parity.excesses(numbers, found.probabilities, found.logits)
        if failures:
            raise ExportError(
                f"the two differ by more than {numbers.title} files may: "
                f"{'; '.join(failures)}"
            )
        say(f"within the tolerance of {numbers.title}")


def _expected(arguments, passports, opener):
    """(`Preprocessing` or None, (height, width, channels)) of the two files."""
    from keras_resnets.images.preprocessing import Preprocessing

    shapes = [
        opener(path, arguments.threads).input_shape[1:]
        for path in (arguments.first, arguments.second)
    ]
    shape = next((shape for shape in shapes if None not in shape), None)
    if shape is None:
        raise InvalidArgument("both files leave the size of their pictures open")
    known = next(
        (p["preprocessing"] for p in passports if p and p["preprocessing"]), None
    )
    if arguments.mode:
        known = {"mode": arguments.mode}
    return known and Preprocessing(**{**known, "size": shape[:2]}), shape


def _names(passports):
    """(id, name) of each class, or () where no passport knows them."""
    from keras_resnets.images import labels

    known = next((p["labels"] for p in passports if p and p.get("labels")), ())
    return labels.class_names(labels.count(known), known) if known else ()


def _pictures(arguments, wanted, shape, names):
    """(batches, labels or None) that the options ask for, in the network's own way."""
    from keras_resnets.images import evaluation
    from keras_resnets.images import files as image_files
    from keras_resnets.images import folders as image_folders
    from keras_resnets.images import loading
    from keras_resnets.images import samples
    from keras_resnets.images.preprocessing import MODES

    if arguments.data is None:
        made = samples.default_images(
            shape, preprocessing=wanted, count=arguments.count
        )
        kind = "noise, since no passport says the pre-processing (--mode)"
        if wanted is not None:
            kind = f"synthetic images as mode {wanted.mode!r} gives them"
        say(f"compared on {kind}; --data takes real ones")
        return [made], None
    if wanted is None:
        raise InvalidArgument(
            "no passport says what the pictures must look like: give --mode "
            f"{', '.join(MODES)}"
        )
    folder, seed = pathlib.Path(arguments.data), arguments.seed
    if folder.is_dir() and not image_folders.class_folders(folder):
        loaded, skipped = loading.load_folder(folder, wanted, arguments.count, seed)
        image_files.check_broken(skipped, len(loaded) + len(skipped), folder)
        network.say_notes(image_folders.notes_of(folder, skipped))
        return [loaded], None
    data = evaluation.open_data(
        arguments.data, wanted, arguments.count, names, seed=seed
    )
    network.say_notes(data.notes)
    return list(data.batches(100)), data.labels


def _benchmark(arguments):
    with native_logs_hidden():
        import dataclasses

        from keras_resnets.cli import tables
        from keras_resnets.export.compare import benchmark
        from keras_resnets.io import files

        _check_places(arguments)
        found = benchmark.benchmark(arguments.files, arguments.threads, arguments.runs)
        say(tables.timing_table(found))
        if arguments.json:
            figures = [dataclasses.asdict(timing) for timing in found]
            with files.atomic_file(arguments.json) as temporary:
                temporary.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
        if arguments.plot:
            first = arguments.json
            with files.stands_already(first) if first else contextlib.nullcontext():
                benchmark.plot(found, arguments.plot)
            say(f"drew {arguments.plot}")


def _check_places(arguments):
    """Raises `InvalidArgument` where the figures cannot be written, before the work."""
    from keras_resnets.io import files
    from keras_resnets.io import plots

    taken = {pathlib.Path(file).resolve(): "a file to time" for file in arguments.files}
    for option in ("json", "plot"):
        place = getattr(arguments, option)
        if place is None:
            continue
        if option == "plot":
            plots.check_place(place)
        else:
            files.check_destination(place, "", overwrite=True)
        other = taken.setdefault(pathlib.Path(place).resolve(), f"--{option}")
        if other != f"--{option}":
            raise InvalidArgument(f"--{option} {place} is {other} too; name another")
