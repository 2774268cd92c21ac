"""What a person waits for before a command does anything, and what its help hides.

python benchmarks/start_time.py [--rounds 5]

Prints the least of several starts, each a process of its own: seconds, and the CPU seconds
that no other work on the machine changes; beside them Python alone and the package's
import. Then how many arguments the commands have, how many of
them say nothing, and how many hide a default.
"""

import argparse
import re
import resource
import subprocess
import sys
import time

# What is started -> seconds that it may take.
STARTS = {
    ("--help",): 0.3,
    ("list",): 0.5,
    ("list", "--max-macs", "50M", "--weights", "--sort", "accuracy"): 0.5,
    ("quantize", "--help"): 0.5,
    ("quantize", "resnet20"): 1.0,
    ("export", "tflite", "--model", "resnet21"): 1.0,
    ("exprot",): 1.0,
}


def seconds(words, rounds):
    """(seconds, CPU seconds) of a process, the least of several runs."""
    took, used = [], []
    for _ in range(rounds):
        began, before = time.perf_counter(), _cpu()
        subprocess.run(words, capture_output=True, check=False)
        took.append(time.perf_counter() - began)
        used.append(_cpu() - before)
    return min(took), min(used)


def _cpu():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def commands(parser):
    """Every parser that runs something."""
    inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not inner:
        yield parser
    for action in inner:
        for child in action.choices.values():
            yield from commands(child)


def arguments():
    """(arguments, without help, with a default that help does not show)."""
    from keras_resnets.cli import main

    count = silent = hidden = 0
    for parser in commands(main._parser("keras-resnets")):
        shown = " ".join(parser.format_all().split())
        for action in parser._actions:
            if action.dest in ("help", "help_all", "json", "quiet", "verbose"):
                continue
            if action.help is argparse.SUPPRESS:
                continue
            count += 1
            silent += not action.help
            default = action.default
            none = (None, [], argparse.SUPPRESS)
            if action.nargs == 0 or action.required or default in none:
                continue
            name = (action.option_strings or [action.metavar or action.dest])[-1]
            text = format(default, "g") if isinstance(default, float) else str(default)
            part = re.split(r" --?\w", shown.split(f" {name} ", 1)[-1], maxsplit=1)[0]
            hidden += text not in part
    return count, silent, hidden


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="starts of each (5)")
    asked = parser.parse_args()
    python = [sys.executable]
    for title, words in (
        ("python alone", [*python, "-c", ""]),
        ("import keras_resnets", [*python, "-c", "import keras_resnets"]),
    ):
        print(
            "{:6.2f} s {:6.2f} CPU s  {}".format(*seconds(words, asked.rounds), title)
        )
    for words, limit in STARTS.items():
        took, used = seconds([*python, "-m", "keras_resnets", *words], asked.rounds)
        print(
            f"{took:6.2f} s {used:6.2f} CPU s  keras-resnets {' '.join(words)}  "
            f"(at most {limit:g} s)"
        )
    count, silent, hidden = arguments()
    print(f"{count} arguments, {silent} without help, {hidden} with hidden defaults")


if __name__ == "__main__":
    main()
