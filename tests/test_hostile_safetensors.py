"""Hostile safetensors and darknet files: refused in a line, or read as they are."""

import confined
import hostile_safetensors as hostile
import numpy as np
import pytest

from keras_resnets import WeightsError
from keras_resnets.weights.readers import read

SLOW_CASES, QUICK_CASES = 2_500, 150


def check(cases, record_property, function=hostile.read_and_check, warm=None):
    warm = warm or hostile.packed({"w": hostile.entry()})
    confined.check(function, cases, (WeightsError,), record_property, warm)


@pytest.mark.costly
def test_headers_that_lie(record_property):
    check(hostile.bombs().items(), record_property)


@pytest.mark.parametrize(
    "count", [QUICK_CASES, pytest.param(SLOW_CASES, marks=pytest.mark.slow)]
)
def test_mutations_give_what_lies_in_the_file(count, record_property):
    check(enumerate(hostile.generated(count)), record_property)


@pytest.mark.costly
def test_names_and_shapes_that_a_network_is_looked_for_in(record_property):
    """Up to the model: time, memory, and files of which most is a hole."""
    darknet = {f"darknet of {classes} classes": classes for classes in (1 << 27, 10)}
    cases = {**hostile.networks(), **darknet}
    check(cases.items(), record_property, hostile.load, 10)


@pytest.mark.parametrize(
    "label, said",
    [
        ("60,000 empty tensors", "more than 50,000 tensors"),
        ("a product", "no whole shape"),
        ("many axes", "32 axes"),
        ("a long name", "500 printable characters"),
        ("an escape for a name", r"\x1b]0;owned\x07"),
        ("metadata of 100 MB", "up to 8,000,000 are read"),
        ("metadata of numbers", "not a table of strings"),
        ("a long number type", "unknown dtype"),
        ("overlap", "overlap"),
        ("a hole", "have a hole"),
        ("before the file", "two data_offsets"),
        ("another key", "or others"),
    ],
)
def test_refused_by_the_rule(label, said, tmp_path):
    (tmp_path / "a").write_bytes(hostile.bombs()[label])
    with pytest.raises(WeightsError) as caught:
        read(tmp_path / "a")
    assert said in str(caught.value) and str(caught.value).isprintable()


def test_honest_headers(tmp_path):
    """Thousands of tensors, empty ones, metadata, types that are named when asked for."""
    header = {f"w{n}": hostile.entry((1,), 4 * n, 4 * n + 4) for n in range(20_000)}
    header["none"] = hostile.entry((3, 0), 80_000, 80_000)
    header["eights"] = hostile.entry((4,), 80_000, 80_004, "F8_E4M3")
    header["__metadata__"] = {"format": "pt", "notes": "\u00e9\n" * 100_000}
    data = np.arange(20_001, dtype="<f4")
    (tmp_path / "a").write_bytes(hostile.packed(header, data.tobytes()))
    found = read(tmp_path / "a")
    assert len(found) == 20_002 and found["none"].shape == (3, 0)
    assert all(found[f"w{n}"] == n for n in range(20_000))
    assert found.metadata["notes"].startswith("\u00e9\n")
    with pytest.raises(WeightsError, match="eights contains F8_E4M3"):
        found["eights"]


def test_a_huge_sparse_file_is_not_read(tmp_path):
    for head in (hostile.packed({"w": hostile.entry()}), b"\x00\x00\x00\x00\x02"):
        path = tmp_path / "a.safetensors"
        with open(path, "wb") as file:
            file.write(head)
            file.truncate(1 << 36)
        with pytest.raises(WeightsError):
            read(path)
        path.unlink()
