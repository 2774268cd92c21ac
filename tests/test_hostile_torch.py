"""Hostile torch checkpoints: refused in a line, or read from their own storages alone."""

import collections
import io
import pickle
import struct
import zlib

import confined
import hostile_torch as hostile
import ml_dtypes
import numpy as np
import pytest

from keras_resnets import WeightsError
from keras_resnets.weights.readers import read
from keras_resnets.weights.readers import torch_pickle

SLOW_CASES, QUICK_CASES = 4_000, 150


def check(cases, record_property):
    warm = hostile.zipped(hostile.state(w=hostile.tensor()))
    confined.check(
        hostile.read_and_check, cases, (WeightsError,), record_property, warm
    )


def test_bombs_and_ways_around(record_property):
    check(hostile.bombs().items(), record_property)


@pytest.mark.parametrize(
    "count", [QUICK_CASES, pytest.param(SLOW_CASES, marks=pytest.mark.slow)]
)
def test_mutations_read_nothing_but_their_storages(count, record_property):
    check(enumerate(hostile.generated(count)), record_property)


def test_the_check_sees_numbers_from_elsewhere():
    """An array of other numbers than the file's is what the tests above look for."""
    known = hostile.windows([hostile.NUMBERS], 4, 4)
    assert hostile.windows([np.float32([4, 1, 1]).tobytes()], 4, 4) <= known
    assert not hostile.windows([np.float32([4, 5]).tobytes()], 4, 4) <= known


def refused(content, tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        checkpoint = read(path)
        for key in checkpoint:
            checkpoint[key]
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_pickle_changes_nothing_of_this_process(tmp_path):
    before = ml_dtypes.bfloat16, np.dtype(ml_dtypes.bfloat16).__reduce__()
    functions = vars(torch_pickle)
    defaults = {
        key: function.__defaults__
        for key, function in functions.items()
        if hasattr(function, "__defaults__")
    }
    for label, content in hostile.bombs().items():
        if label.startswith("BUILD"):
            assert "by BUILD" in refused(content, tmp_path), label
    assert (ml_dtypes.bfloat16, np.dtype(ml_dtypes.bfloat16).__reduce__()) == before
    for key, value in defaults.items():
        assert functions[key].__defaults__ == value


@pytest.mark.parametrize(
    "label, said",
    [
        ("INST", "INST"),
        ("OBJ", "OBJ"),
        ("EXT1", "EXT1"),
        ("PERSID", "PERSID"),
        ("NEWOBJ", "calls"),
        ("items of a tensor", "outside of a dict"),
        ("zero strides", "share their numbers"),
        ("an offset", "outside its 16 bytes"),
        ("1,000 views of a storage", "share their numbers"),
        ("OrderedDict of many pairs, often", "12 bytes of data"),
        ("two files of one name", "data/0 twice"),
        ("a list of files of 8 MB", "list of files"),
        ("conjugated", "conjugated or negated"),
        ("names of an escape", r"\x1b]0;owned\x07"),
        ("stream: one key, often", "twice"),
    ],
)
def test_refused_by_the_rule(label, said, tmp_path):
    assert said in refused(hostile.bombs()[label], tmp_path)


def plain_data():
    """What trainers put beside the tensors."""
    log = [{"epoch": n, "loss": n / 7, "lr": 0.1} for n in range(40_000)]
    return {
        "log": log,
        "curve": [n / 3 for n in range(100_000)],
        "steps": list(range(100_000)),
        "pairs": [(n, n + 1) for n in range(50_000)],
        "names": {f"name {n}": n for n in range(20_000)},
        "by number": {n: {"step": n} for n in range(20_000)},
        "by tuple": {(1, 2): 3},
        "ordered": collections.OrderedDict(a=1),
        "counted": collections.Counter("abca"),
        "default": collections.defaultdict(list, a=[1]),
        "set": {1, 2},
        "frozen": frozenset("ab"),
        "bytes": bytes(1_000_000),
        "array": bytearray(b"ab"),
        "none": [None, True, 1.5, 2**100, -1, -(2**40), "\u1234", b"x", ()],
        "scalar": np.float64(71.5),
        "numbers": np.arange(5),
        "state": (3, tuple(2**32 - n for n in range(625)), None),
    }


class Checkpoint:
    """A dict of `values` and one tensor, in the words of torch.save."""

    def __init__(self, values):
        self.values = values

    def pickled(self, protocol):
        file = io.BytesIO()
        pickle.Pickler(file, protocol).dump(self.values)
        content = file.getvalue()[:-1]
        # The tensor is put into the dict that is complete by now.
        return content + hostile.text("w") + hostile.tensor() + b"s."


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_honest_plain_data_of_every_protocol(protocol, tmp_path):
    content = Checkpoint(plain_data()).pickled(protocol)
    assert len(content) > 4_000_000
    (tmp_path / "a.pth").write_bytes(hostile.zipped(content))
    found = read(tmp_path / "a.pth")
    assert list(found) == ["w"]
    np.testing.assert_array_equal(found["w"], [[1, 2], [3, 4]])


def test_honest_attributes_of_dicts_and_namespaces(tmp_path):
    """The metadata of a state dict, and a Namespace, come by BUILD."""
    items = b"}(" + hostile.text("_metadata") + b"}u"
    ordered = hostile.name("collections", "OrderedDict") + b")R"
    inner = ordered + b"(" + hostile.text("w") + hostile.tensor() + b"u" + items + b"b"
    options = hostile.name("argparse", "Namespace") + b")\x81" + items + b"b"
    content = hostile.state(model=inner, args=options)
    (tmp_path / "a.pth").write_bytes(hostile.zipped(content))
    assert list(read(tmp_path / "a.pth")) == ["model.w"]


def test_honest_tied_weights_and_many_tensors(tmp_path):
    size = 250_000
    tied = {
        f"block{n}": hostile.tensor(hostile.storage("0", size), 0, (size,), (1,))
        for n in range(12)
    }
    content = hostile.zipped(hostile.state(**tied), [("a/data/0", bytes(4 * size))])
    (tmp_path / "a.pth").write_bytes(content)
    assert len(read(tmp_path / "a.pth")) == 12
    many = {f"t{n}": hostile.tensor(hostile.storage(str(n))) for n in range(8_000)}
    files = [(f"a/data/{n}", hostile.NUMBERS) for n in range(8_000)]
    (tmp_path / "a.pth").write_bytes(hostile.zipped(hostile.state(**many), files))
    assert len(read(tmp_path / "a.pth")) == 8_000


def test_a_transposed_and_an_expanded_tensor(tmp_path):
    values = {
        "transposed": hostile.tensor(shape=(2, 2), strides=(1, 2)),
        "expanded": hostile.tensor(offset=3, shape=(4,), strides=(0,)),
        "column": hostile.tensor(offset=1, shape=(2, 1), strides=(2, 9)),
        "nothing": hostile.tensor(shape=(0, 3), strides=(3, 1)),
        "scalar": hostile.tensor(offset=2, shape=(), strides=()),
        "expanded further": hostile.tensor(shape=(9, 4), strides=(0, 1)),
        "with attributes": hostile.name("torch._tensor", "_rebuild_from_type_v2")
        + hostile.several(
            hostile.name("torch._utils", "_rebuild_tensor_v2"),
            hostile.name("torch", "Tensor"),
            hostile.several(
                hostile.storage(),
                hostile.whole(0),
                *[hostile.several(hostile.whole(n)) for n in (4, 1)],
            ),
            b"}",
        )
        + b"R",
    }
    (tmp_path / "a.pth").write_bytes(hostile.zipped(hostile.state(**values)))
    found = read(tmp_path / "a.pth")
    np.testing.assert_array_equal(found["transposed"], [[1, 3], [2, 4]])
    np.testing.assert_array_equal(found["expanded"], [4, 4, 4, 4])
    np.testing.assert_array_equal(found["column"], [[2], [4]])
    np.testing.assert_array_equal(found["expanded further"], [[1, 2, 3, 4]] * 9)
    np.testing.assert_array_equal(found["with attributes"], [1, 2, 3, 4])
    assert found["nothing"].shape == (0, 3) and found["scalar"] == 3
    assert not found["column"].flags.writeable


def test_checksums_of_the_pickle(tmp_path):
    """A changed byte is seen; `torch.serialization.set_crc32_options(False)` is known."""
    content = hostile.zipped(hostile.state(w=hostile.tensor()))
    changed = content.replace(b"cpu", b"gpu")
    assert "the CRC-32 differs" in refused(changed, tmp_path)
    pickled = hostile.pickled(content)[1]
    checksum = struct.pack("<I", zlib.crc32(pickled))
    assert content.count(checksum) == 2
    (tmp_path / "a.pth").write_bytes(changed.replace(checksum, bytes(4)))
    assert list(read(tmp_path / "a.pth")) == ["w"]


def test_a_huge_sparse_file_is_not_read(tmp_path):
    for start in (b"\x80\x02", b"PK\x03\x04", hostile.STREAM_START, b"text"):
        path = tmp_path / "a.pth"
        with open(path, "wb") as file:
            file.write(start)
            file.truncate(1 << 36)
        with pytest.raises(WeightsError):
            read(path)
        path.unlink()


def test_a_stream_says_how_many_numbers_a_storage_has(tmp_path):
    content = hostile.stream(hostile.state(w=hostile.tensor()))
    (tmp_path / "a.pth").write_bytes(content)
    np.testing.assert_array_equal(read(tmp_path / "a.pth")["w"], [[1, 2], [3, 4]])
    fewer = struct.pack("<q", 3) + hostile.NUMBERS
    content = hostile.stream(hostile.state(w=hostile.tensor()), tail=fewer)
    assert "fewer are stored" in refused(content, tmp_path)
