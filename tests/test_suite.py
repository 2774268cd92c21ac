"""The suite's own rules: every room has tests in the default run, CI runs the others."""

import ast
import functools
import re
import types

import parts
import pytest
from conftest import ROOT

TESTS = ROOT / "tests"
# What README.md says of the rooms: | `room` | `file.py::test`, ... |
ROW = re.compile(r"^\| `(\w+)` \| (.*::.*) \|$", re.MULTILINE)
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


def rooms():
    """(room, [(file, test), ...]) of the table of the default run."""
    text = (TESTS / "README.md").read_text("utf-8")
    return [(room, NAMED.findall(cell)) for room, cell in ROW.findall(text)]


@functools.cache
def functions(name):
    """Name -> (words of its decorators, its arguments), of the tests in a file."""
    tree = ast.parse((TESTS / name).read_text("utf-8"))
    return {
        node.name: (
            [ast.unparse(decorator) for decorator in node.decorator_list],
            [argument.arg for argument in node.args.args],
        )
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }


def test_every_room_is_in_the_table_of_the_default_run():
    folders = {path.parent.name for path in ROOT.glob("keras_resnets/*/__init__.py")}
    assert {room for room, _ in rooms()} == folders


@pytest.mark.parametrize("room, tests", rooms())
def test_a_rooms_tests_run_by_default(room, tests):
    assert len(tests) >= 3
    for name, test in tests:
        marks, arguments = functions(name)[test]
        assert not {"pytest.mark.costly", "pytest.mark.slow"} & set(marks), test
        assert "foreign_files" not in arguments, test


def test_ci_runs_every_part():
    ci = (ROOT / ".ci" / "run").read_text("utf-8")
    parts = re.findall(r"pytest.* -m (\"[^\"]+\"|\w+)", ci)
    assert {'"costly and not slow"', "slow", "torch"} <= set(parts)
    default = re.search(r"-m '([^']+)'", (ROOT / "pyproject.toml").read_text("utf-8"))
    assert default[1] == "not slow and not costly"


def test_nothing_is_patched_that_is_everybodys():
    """No collector of garbage made lazy, no object made past its own door."""
    pattern = re.compile(r"\bgc\.\w+ = |\bobject\.__new__\(")
    for path in TESTS.glob("*.py"):
        if path.name != "test_suite.py":
            assert not pattern.findall(path.read_text("utf-8")), path.name


class Item:
    """What `parts` asks of a test with one parameter."""

    def __init__(self, name, identity, *marks, fixtures=()):
        self.nodeid = f"{name}[{identity}]"
        self.callspec = types.SimpleNamespace(id=identity)
        self.fixturenames = fixtures
        self.marks = {mark.name: mark for mark in marks}
        self.costly = False

    def get_closest_marker(self, name):
        return self.marks.get(name)

    def add_marker(self, mark):
        self.costly = mark.name == "costly"


def test_costly_but_keeps_the_named_parameters():
    mark = pytest.mark.costly_but("50", "a b").mark
    identities = ("50", "50-V2", "501", "a b", "a")
    items = [Item("test_x", identity, mark) for identity in identities]
    assert parts.mark_costly(items) == []
    assert [item.costly for item in items] == [False, False, True, False, True]
    slow = Item("test_x", "c", mark, pytest.mark.slow.mark)
    others = Item("test_y", "c", fixtures=["foreign_files"])
    (line,) = parts.mark_costly([items[0], slow, others])
    assert (slow.costly, others.costly) == (False, True)
    assert line.startswith("test_x: costly_but names ['a b']")


def test_every_turn_tries_each_test_and_begins_elsewhere(monkeypatch):
    items = [Item("test_x", str(number)) for number in range(5)]
    items += [Item(name, "") for name in "abc"]
    first, parameters = set(), set()
    for turn in range(20):
        monkeypatch.setenv(parts.TURN, str(turn))
        ordered = list(items)
        parts.Budget(1).pytest_collection_modifyitems(ordered)
        assert sorted(map(id, ordered)) == sorted(map(id, items))
        assert len({item.nodeid.partition("[")[0] for item in ordered[:4]}) == 4
        first.add(ordered[0].nodeid.partition("[")[0])
        parameters |= {item.nodeid for item in ordered[:4]}
    assert len(first) == 4 and len(parameters) == len(items)
    monkeypatch.setenv(parts.FILES, "1")
    files = [Item(f"{name}.py::test_x", str(n)) for name in "abc" for n in range(3)]
    first = set()
    for turn in range(3):
        monkeypatch.setenv(parts.TURN, str(turn))
        ordered = list(files)
        parts.Budget(1).pytest_collection_modifyitems(ordered)
        names = [item.nodeid[0] for item in ordered]
        assert names == sorted(names, key=names.index) and len(set(names)) == 3
        first.add(names[0])
    assert len(first) == 3
    parts.Budget(1).pytest_runtest_setup(None)
    with pytest.raises(pytest.skip.Exception, match="minutes"):
        parts.Budget(-1).pytest_runtest_setup(None)
