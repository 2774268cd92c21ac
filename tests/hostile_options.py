"""Bad values for every option of every command, as the parsers themselves list them."""

import argparse
import random

from keras_resnets.cli import main as cli
from keras_resnets.cli.arguments import options
from keras_resnets.networks.architecture import AXES
from keras_resnets.training import recipes

# What is no number of any option: words, no numbers at all, floats, digits without end.
NO_NUMBERS = (
    *("", " ", "x", "nan", "inf", "-inf", "1e9999", "None", "true", "[]", "()", "0x10"),
    *(
        "1_0",
        "1,5",
        "--",
        "1;2",
        "٣٣",
        "²",
        "\x1b[2J",
        "\n",
        "\x00",
        "\udcff",
        "é" * 300,
    ),
    *("9" * 5000, "-" + "9" * 5000, "1." + "0" * 400 + "x", "(" * 2000, "1e", "+", "-"),
)
# Numbers that no option takes, but for those of options whose values can be as large.
TOO_LARGE = (str(10**10), str(2**70), "1e12", "-1", "-1e9", "-0.5", "1e300")
LARGE = {
    options.byte_count: {str(10**10)},
    options.amount: {str(10**10), "1e12"},
}
# Not to be set, whatever the value: no axis, another option's, or no name.
NO_AXES = (
    *("self", "cls", "classes", "input_size", "model_name", "name", "weights", "dtype"),
    *("", " ", "=", "axes", "__class__", "__init__", "depthss", "STEM_BN", "stem-bn"),
    *(
        "\x1b[2J",
        "\udcff",
        "\n",
        "a" * 3000,
        "include_top",
        "num_classes",
        "pretrained",
    ),
)
# Values of a wrong type for every axis or field, whatever it is.
NO_VALUES = (
    *("", "nan", "inf", "-inf", "-1", "[[1]]", "{}", "1e9", str(10**9), "9" * 5000),
    *("None,None", "(", ")", "(((", "lambda: 0", "__import__('os')", "\x1b[2J", "\x00"),
    *("é" * 500, "\udcff", "1,2", "[,]", ",", "(1,(2,3))", "1j", "x" * 5000),
)

FIELDS = {**recipes.FIELDS, **recipes.AUGMENTATION_FIELDS}


def commands():
    """(words of the command, its parser) of every command and sub-command."""
    yield from _leaves(cli._parser("keras-resnets"), [])


def _leaves(parser, words):
    inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not inner:
        yield words, parser
    for action in inner:
        for name, child in action.choices.items():
            yield from _leaves(child, [*words, name])


def needed(parser):
    """Words for all that a command requires, by destination."""
    usual = {"model": "resnet8", "weights": "w.h5", "recipe": "cifar_cosine"}
    words = {}
    if parser.get_default("weights_needed") is not None:
        words["model"] = [usual["model"]]
    if parser.get_default("weights_needed"):
        words["weights"] = ["--weights", usual["weights"]]
    for action in parser._actions:
        positional = not action.option_strings
        if positional and action.nargs not in ("?", "*"):
            words[action.dest] = [usual.get(action.dest, "a")]
        elif action.required and action.dest not in words:
            words[action.dest] = [
                action.option_strings[-1],
                usual.get(action.dest, "a"),
            ]
    return words


def cases():
    """Lists of words, each with one thing in it that no command may take."""
    for words, parser in commands():
        fixed = needed(parser)
        base = [*words, *(word for part in fixed.values() for word in part)]
        yield [*words, "--no-such-option"]
        yield [*base, "--no-such-option\x1b[2J"]
        for action in parser._actions:
            if action.option_strings and action.nargs != 0:
                yield from _of_option(base, action)
        if "model" in fixed:
            yield from _of_model(words, fixed)


def _of_option(base, action):
    option = action.option_strings[-1]
    yield [*base, option]
    values = ()
    if action.type is not None:
        right = LARGE.get(action.type, ())
        values = (*NO_NUMBERS, *(x for x in TOO_LARGE if x not in right))
    if option == "--input-size":
        values = (*NO_NUMBERS, *TOO_LARGE, "0", "1x", "x1", "1x2x3", "60000")
    for value in values:
        yield [*base, f"{option}={value}"]
    if option == "--set":
        yield from _settings(base, option, AXES)
    if option == "--change":
        yield from _settings(base, option, FIELDS)


def _of_model(words, fixed):
    option = fixed["model"][:-1]
    rest = [word for key, part in fixed.items() if key != "model" for word in part]
    for name in MODELS:
        if option:
            yield [*words, f"{option[0]}={name}", *rest]
        elif not name.startswith("-"):
            yield [*words, name, *rest]


# Names that no grammar has, or that name what no machine holds.
MODELS = (
    *("", " ", "resnet1000000", "darknet99999", "wrn_40_100000", "wrn_40_65000"),
    *("cifar_resnet99999998", "resnext101_32x100000d", "resnext50_60000x60000d"),
    *(
        "wrn_" + "9" * 5000 + "_1",
        "wrn_٤٠_١٠",
        "resnet50\x1b[2J",
        "resnet50\n",
        "\udcff",
    ),
    *("x" * 100_000, "*", "resnet50.a1_in1k" * 100, "../resnet50", "__class__"),
)


def _settings(base, option, rules):
    for name in rules:
        for value in NO_VALUES:
            yield [*base, option, f"{name}={value}"]
        yield [*base, option, f"{name}"]
        yield [*base, option, f"{name}=", option, f"{name}="]
    for name in NO_AXES:
        yield [*base, option, f"{name}=1"]


def takes(words):
    """Whether a case is one of the few whose value is allowed after all.

    A text may be anything; `None`, `1,2` and the like are right for some.
    """
    setting = words[-1] if words[-2] in ("--set", "--change") else ""
    name, _, value = setting.partition("=")
    rules = {**FIELDS, **AXES}
    if name not in rules:
        return False
    try:
        rules[name].read(name, value)
    except ValueError:
        return False
    return True


def sample(count, seed=0):
    """So many of the cases, of every command its share."""
    found = [case for case in cases() if not takes(case)]
    return random.Random(seed).sample(found, min(count, len(found)))
