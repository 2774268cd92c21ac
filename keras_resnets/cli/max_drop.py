"""`keras-resnets quantize --max-drop`: the smallest mix within a drop of top-1."""

import pathlib

from keras_resnets.cli import network
from keras_resnets.cli import options
from keras_resnets.cli.network import say
from keras_resnets.errors import InvalidArgument


def add_options(parser):
    """Adds what belongs to `--max-drop`."""
    parser.add_argument(
        "--max-drop",
        type=options.number(0.001, 100, below=True),
        metavar="POINTS",
        help="find the smallest mix of int8, int16 and float layers that loses no more "
        "top-1: 0.2",
    )
    parser.add_argument(
        "--held-out",
        type=options.COUNT,
        default=5000,
        metavar="COUNT",
        help="labelled training pictures to choose the mix by (5000)",
    )
    parser.add_argument(
        "--precisions",
        default="int8,int16,float",
        help="what the layers of a mix may be: int8,float",
    )
    parser.add_argument(
        "--plot", metavar="PNG", help="draw what each layer costs, and what it became"
    )


def check(arguments):
    """Raises `InvalidArgument` before anything slow is done."""
    if arguments.max_drop is None:
        if arguments.plot:
            raise InvalidArgument("--plot draws a mix: it belongs to --max-drop")
        return
    from keras_resnets.io import plots
    from keras_resnets.quantization.search import accuracy_gate
    from keras_resnets.quantization.search import operators

    accuracy_gate.check_drop(arguments.max_drop)
    operators.check_precisions(_precisions(arguments))
    if arguments.sensitivity:
        raise InvalidArgument("give one of --sensitivity and --max-drop")
    if arguments.engine not in (None, "ranges"):
        raise InvalidArgument(
            f"--max-drop goes with the engine 'ranges'; got {arguments.engine!r}"
        )
    if arguments.plot:
        plots.check_place(arguments.plot)


def run(arguments, model, chosen, recipe, path):
    """Finds the mix, writes it and explains it; returns the `ExportReport`."""
    from keras_resnets import quantization
    from keras_resnets.cli import tables
    from keras_resnets.images import labels
    from keras_resnets.io import files
    from keras_resnets.quantization.search import plots

    _check_room(arguments, chosen, chosen.available - chosen.taken)
    names = labels.class_names(model.output_shape[-1], model.labels)
    held = quantization.hold_out(
        arguments.data, model.preprocessing, chosen, arguments.held_out, names
    )
    _check_room(arguments, chosen, len(held.labels))
    say(
        f"held out     {len(held.labels):,} other labelled training pictures of "
        f"{pathlib.Path(arguments.data).name} to choose the mix by"
    )
    network.say_notes(held.notes)
    stages = _Stages()
    try:
        mix = quantization.find_mix(
            model,
            chosen,
            held,
            arguments.max_drop,
            recipe,
            precisions=_precisions(arguments),
            method=arguments.method,
            percentile=arguments.percentile,
            seed=arguments.seed,
            io_dtype=arguments.io_dtype,
            threads=arguments.threads,
            progress=stages,
        )
    finally:
        stages.close()
    say(tables.mix_table(mix))
    report = mix.write(path, arguments.overwrite, arguments.threads, arguments.packed)
    if arguments.plot:
        with files.stands_already(path):
            plots.plot(mix, arguments.plot, model.name)
        say(f"plot         {arguments.plot}")
    return report


def _check_room(arguments, chosen, left):
    """Raises `InvalidArgument` where too few images are left to choose the mix by.

    Args:
        arguments: the options of the command.
        chosen: the `CalibrationSet`.
        left: labelled images that it has not.
    """
    from keras_resnets.images import calibration_checks
    from keras_resnets.quantization.search import accuracy_gate

    drop, needed = arguments.max_drop, accuracy_gate.fewest_for(arguments.max_drop)
    if min(left, arguments.held_out) >= needed:
        return
    if left >= needed:
        advice = f"give --held-out {needed:,} or more; got {arguments.held_out:,}"
    else:
        everything = chosen.taken + left
        room, most = everything - needed, everything - calibration_checks.FEWEST
        advice = (
            f"{pathlib.Path(arguments.data).name} has {everything:,}, of which the "
            f"calibration takes {chosen.taken:,} (--count {arguments.count}): "
        )
        if room >= calibration_checks.FEWEST:
            advice += f"--count {room} makes room"
        elif most >= 2:
            advice += (
                f"--count {calibration_checks.FEWEST} --max-drop {100 / most + 0.005:.2f} "
                "makes room, or more images"
            )
        else:
            advice += "give more images"
    raise InvalidArgument(
        f"--max-drop {drop:g} shows on {needed:,} labelled images or more beside those "
        f"of the calibration; {advice}"
    )


def _precisions(arguments):
    return [word.strip() for word in arguments.precisions.split(",")]


class _Stages:
    """A progress bar for one stage after the other."""

    def __init__(self):
        self._stage, self._bar = None, None

    def __call__(self, stage, done, total):
        from keras_resnets.system.progress import ProgressBar

        if stage != self._stage:
            self.close()
            unit = "layers" if stage == "layers" else f"pictures: {stage}"
            self._stage, self._bar = stage, ProgressBar(total, unit)
        self._bar(done)

    def close(self):
        """Wipes the bar away."""
        if self._bar is not None:
            self._bar.close()
