"""Which tests the default run leaves to the others, and how many of those CI takes.

`@pytest.mark.costly` leaves a whole test to `-m costly`. `@pytest.mark.costly_but("a")`
does for all parameters but those whose ids are one of the names, or begin with one and
a hyphen. Tests of files that other people's tools write wait for them half a minute.
"""

import collections
import itertools
import os
import time

import pytest

WRITTEN_BY_OTHERS = "foreign_files"
MINUTES = "KERAS_RESNETS_TEST_MINUTES"
TURN = "KERAS_RESNETS_TEST_TURN"
FILES = "KERAS_RESNETS_TEST_WHOLE_FILES"
# A prime: turn after turn it comes to every place of a list of another length.
STEP = 97
# The smaller part of the golden section.
SECTION = 0.382


def _kept(identity, names):
    return [name for name in names if f"{identity}-".startswith(f"{name}-")]


def mark_costly(items):
    """Marks those of `items` that are left to the second part.

    Returns:
        Lines on names of `costly_but` that no parameter of their test has.
    """
    unknown = {}
    for item in items:
        costly = WRITTEN_BY_OTHERS in item.fixturenames
        if (mark := item.get_closest_marker("costly_but")) is not None:
            test = item.nodeid.partition("[")[0]
            kept = _kept(item.callspec.id, mark.args)
            unknown.setdefault(test, set(mark.args)).difference_update(kept)
            costly = costly or not kept
        if costly and item.get_closest_marker("slow") is None:
            item.add_marker(pytest.mark.costly)
    return [
        f"{test}: costly_but names {sorted(names)}, which no parameter is called"
        for test, names in unknown.items()
        if names
    ]


def in_turn(items, turn):
    """Returns `items` in order of a turn: one parameter of each test, then another.

    Each turn starts with other tests, and with other parameters of each test. So the first
    minutes of a turn run every test once, and many turns run every parameter.
    """
    tests = collections.defaultdict(list)
    for item in items:
        tests[item.nodeid.partition("[")[0]].append(item)
    groups = [_from(group, turn) for group in tests.values()]
    rounds = itertools.zip_longest(*_from(groups, turn * STEP))
    return [item for round_ in rounds for item in round_ if item is not None]


def files_in_turn(items, turn):
    """Returns `items` file by file, which share fixtures; each turn starts at another.

    A turn starts a golden section after the one before, so that a few turns that each run
    a third of the files run all of them.
    """
    files = collections.defaultdict(list)
    for item in items:
        files[item.nodeid.partition("::")[0]].append(item)
    first = turn * round(SECTION * len(files))
    return [item for file in _from([*files.values()], first) for item in file]


def _from(values, number):
    first = number % max(len(values), 1)
    return values[first:] + values[:first]


class Budget:
    """Skips what is left after so many minutes; the turn says what comes first."""

    def __init__(self, minutes):
        self.end = time.monotonic() + 60 * float(minutes)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        # Every worker must see the same order: by a number that all are given.
        order = files_in_turn if os.environ.get(FILES) else in_turn
        items[:] = order(items, int(os.environ.get(TURN, 0)))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item):
        if time.monotonic() > self.end:
            pytest.skip(f"the minutes of {MINUTES} are over")
