"""Damaged and lying data: .npz files, TFRecords, files of a run, class weights, names."""

import io
import json
import math
import os
import struct
import threading
import time
import warnings
import zipfile

import data_sources as sources
import numpy as np
import pytest
from confined import faults_by_name

from keras_resnets.cli import main as cli
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import TrainingError
from keras_resnets.images import evaluation
from keras_resnets.images import labels
from keras_resnets.images.datasets.split import ArrayImages
from keras_resnets.images.datasets.split import Split
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.io import npz
from keras_resnets.io import untrusted
from keras_resnets.training import balance
from keras_resnets.training import run_folder
from keras_resnets.training import state
from keras_resnets.training.data import batches
from keras_resnets.training.data import open_dataset

WANTED = Preprocessing("cifar", (16, 16), 1.0)
EXPECTED = (InvalidArgument, TrainingError)
CLASSES = (("0", "a"), ("1", "b"))


def train_on(path):
    open_dataset(path)


def evaluate(path):
    data = evaluation.open_data(path, WANTED, names=labels.class_names(10))
    for _ in data.batches(64):
        pass


def resume(path):
    if path.suffix == ".npz":
        state.read(path)
    else:
        run_folder._read(
            path, {"recipe": {"epochs": 1, "milestones": [], "warmup": 0.0}}
        )


def weigh(path):
    balance.class_weights(path, CLASSES, np.array([0, 1]), "mine")


FUNCTIONS = {f.__name__: f for f in (train_on, evaluate, resume, weigh)}


def answer(case):
    """What is done with a case, (name of a function, path)."""
    name, path = case
    FUNCTIONS[name](path)


def faults(cases, warm, record_property):
    return faults_by_name(answer, cases, EXPECTED, record_property, warm)


def mutated(content, chance):
    """Bytes with one fault: flipped bits, a cut, a lie of 1 to 8 bytes, a repetition."""
    content, kind = bytearray(content), int(chance.integers(4))
    at = int(chance.integers(len(content)))
    if kind == 0:
        for place in chance.integers(len(content), size=int(chance.integers(1, 9))):
            content[place] ^= 1 << int(chance.integers(8))
    elif kind == 1:
        del content[at:]
    elif kind == 2:
        size = int(chance.integers(1, 9))
        content[at : at + size] = [b"\xff", b"\0", b"\x7f"][
            int(chance.integers(3))
        ] * size
    else:
        content[at:at] = content[at : at + int(chance.integers(1, 400))]
    return bytes(content)


def npy(shape, data=b"", descr="|u1", version=1):
    """The file of one array, whatever its header says."""
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n"
    size = struct.pack("<H" if version == 1 else "<I", len(head))
    return b"\x93NUMPY" + bytes([version, 0]) + size + head.encode() + data


def archive(members, method=zipfile.ZIP_STORED):
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(content, "w", method) as file:
            for name, data in members:
                file.writestr(name, data)
    return content.getvalue()


def arrays(count=40, size=8, **changes):
    chance = np.random.default_rng(0)
    answers = np.arange(count) % 4
    found = {"y_train": answers, "y_test": answers}
    for name in ("x_train", "x_test"):
        found[name] = chance.integers(0, 256, (count, size, size, 3), "uint8")
    return {**found, **changes}


def stored(save=np.savez, **changes):
    content = io.BytesIO()
    save(content, **arrays(**changes))
    return content.getvalue()


def _directory(**changes):
    """An archive with a changed byte in each entry of its list of members."""
    content = bytearray(stored())
    at = content.find(b"PK\x01\x02")
    while at >= 0:
        for name, value in changes.items():
            content[at + int(name[1:])] = value
        at = content.find(b"PK\x01\x02", at + 4)
    return bytes(content)


def _long_list(said):
    content = bytearray(stored())
    at = content.rfind(b"PK\x05\x06")
    content[at + 12 : at + 16] = struct.pack("<I", said)
    return bytes(content)


def _all(member):
    return archive((f"{part}.npy", member) for part in arrays())


def _zeros(shape):
    """An archive of zeros, deflated some hundred times."""
    content, left = io.BytesIO(), math.prod(shape)
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        with file.open("x_train.npy", "w", force_zip64=True) as member:
            member.write(npy(shape))
            while left:
                left -= member.write(bytes(min(left, 1_000_000)))
        file.writestr("y_train.npy", npy(f"({shape[0]},)", bytes(shape[0])))
    return content.getvalue()


class Harmful:
    def __reduce__(self):
        return os.abort, ()


def _object():
    return np.array([Harmful()] * 40, object)


HOSTILE_NPZ = {
    "objects": lambda: stored(x_train=_object(), x_test=_object()),
    "labels_of_objects": lambda: stored(y_train=_object(), y_test=_object()),
    "huge_shape": lambda: _all(npy((10**9, 1000, 1000, 3))),
    "negative_shape": lambda: _all(npy((-1, 8, 8, 3), bytes(100))),
    "long_shape": lambda: _all(npy((1,) * 300)),
    "deep_header": lambda: _all(npy("(" * 400 + ")" * 400)),
    "long_header": lambda: _all(npy("[" * 200_000, version=2)),
    "lying_header": lambda: _all(
        b"\x93NUMPY\2\0" + struct.pack("<I", 2**32 - 1) + bytes(9)
    ),
    "version_3": lambda: _all(npy((1,), version=3)),
    "short": lambda: _all(npy((40, 8, 8, 3), bytes(100))),
    "more": lambda: _all(npy((4, 8, 8, 3), bytes(4 * 192 + 1))),
    "encrypted": lambda: _directory(b8=1),
    "method_99": lambda: _directory(b10=99),
    "method_bzip2": lambda: archive(
        [(f"{name}.npy", npy((1,), b"0")) for name in arrays()], zipfile.ZIP_BZIP2
    ),
    "wrong_checksum": lambda: _directory(b16=7),
    "long_list": lambda: _long_list(2**31),
    "twice": lambda: archive([(f"{n}.npy", npy((1,), b"0")) for n in arrays()] * 2),
    "many": lambda: archive((f"{n}.npy", b"") for n in range(20_000)),
    "zeros": lambda: _zeros((80_000, 32, 32, 3)),
    "tiny_images": lambda: _zeros((20_000_000, 1, 1, 3)),
    "array": lambda: npy((3,), bytes(3)),
    "nothing": lambda: b"",
    "text": lambda: b"hello",
    "scalar": lambda: stored(x_train=np.uint8(3), x_test=np.uint8(3)),
    "empty": lambda: stored(count=0),
    "no_pixels": lambda: stored(size=0),
    "strips": lambda: stored(x_test=np.zeros((40, 1, 10_000, 3), "u1")),
    "huge_labels": lambda: stored(
        y_train=np.full(40, 2**62), y_test=np.full(40, 2**62)
    ),
    "large_labels": lambda: stored(y_train=np.arange(40) * 10**9),
    "negative_labels": lambda: stored(y_train=np.arange(40) - 10**9),
    "unsigned_labels": lambda: stored(y_train=np.full(40, 2**64 - 1, "uint64")),
    "not_a_number": lambda: stored(y_train=np.full(40, np.nan)),
    "text_labels": lambda: stored(y_train=np.array(["\x1b[2J\n"] * 40)),
    "complex_labels": lambda: stored(y_train=np.ones(40, complex)),
    "dates": lambda: stored(y_train=np.zeros(40, "M8[s]")),
    "records": lambda: stored(x_train=np.zeros(40, [("a", "u1")])),
    "names": lambda: archive([("\x1b[2J\n" * 5000 + ".npy", b"")]),
}


def record(*parts):
    content = b"".join(parts)
    return len(content).to_bytes(8, "little") + b"sums" + content + b"sums"


def _example(image=b"\xff\xd8\xff", label=1, keys=("image", "label")):
    return sources.example({keys[0]: image, keys[1]: label})


HOSTILE_RECORDS = {
    "long": lambda: (2**63).to_bytes(8, "little") + bytes(100),
    "zeros": lambda: bytes(1_000_000),
    "text": lambda: b"hello" * 1000,
    "one_feature": lambda: record(sources.example({"image": b"a"})),
    "other_features": lambda: record(sources.example({"\x1b[2J\n": b"a"})),
    "many_features": lambda: record(
        sources.example({f"feature{n}": n for n in range(200_000)})
    ),
    "many_fields": lambda: record(b"\x10\1" * 2_000_000),
    "long_name": lambda: record(sources.example({"a" * 5_000_000: b"a"})),
    "label_of_text": lambda: record(_example(label=b"cat")),
    "huge_label": lambda: record(_example()) + record(_example(label=2**62)),
    "negative_label": lambda: record(_example(label=2**64 - 5)),
    "long_number": lambda: record(_example(label=2**64 + 5)),
    "nested": lambda: record(sources.message(1, *[b"\x0a\x02"] * 50_000)),
    "no_images": lambda: b"".join(record(_example(label=n % 2)) for n in range(400)),
    "empty_images": lambda: b"".join(record(_example(b"", n % 2)) for n in range(2000)),
}
_RECIPE = {"significance": 1.0, "epochs": 3, "milestones": [1, 2], "warmup": 0.5}
DEEP = "[" * 100_000 + "]" * 100_000
HOSTILE_JSON = {
    "deep": DEEP,
    "deep_inside": f'{{"recipe": {DEEP}}}',
    "list": "[]",
    "number": "1" * 5000,
    "text": '"\x1b[2J"',
    "no_recipe": "{}",
    "recipe_of_text": '{"recipe": "he2015_cifar"}',
    "recipe_of_nothing": '{"recipe": {}}',
    "infinite": json.dumps({"recipe": {**_RECIPE, "epochs": float("inf")}}),
    "not_a_number": json.dumps({"recipe": {**_RECIPE, "warmup": float("nan")}}),
    "huge": json.dumps({"recipe": {**_RECIPE, "epochs": 10**400}}),
    "milestones": json.dumps({"recipe": {**_RECIPE, "milestones": ["\x1b"]}}),
    "extended": json.dumps({"recipe": _RECIPE, "extended": ["\x1b"]}),
    "long": "[" + "[]," * 2_000_000 + "[]]",
    "cut": json.dumps({"recipe": _RECIPE})[:30],
    "bytes": "\udcff",
}
HOSTILE_WEIGHTS = {
    **{f"json_{name}": text for name, text in HOSTILE_JSON.items()},
    "huge_number": '{"a": 1' + "0" * 400 + ', "b": 1}',
    "nested": '{"a": ' + "[" * 900 + "]" * 900 + ', "b": 1}',
    "twice": "{" + ", ".join('"a": 1' for _ in range(300_000)) + "}",
    "escape": '{"\x1b[2J": 1}',
    "escaped": '{"\\u001b[2J": 1, "b": 1}',
    "long_name": '{"' + "a" * 3_000_000 + '": 1}',
    "long_cell": "class,weight\n" + "a" * 200_000 + ",1\n",
    "null": "class,weight\na\0,1\n",
    "quotes": 'class,weight\n"a,1\n' * 100,
}


def write_state(path, **changes):
    progress = {"epoch": 1, "step": 2, "history": [{"epoch": 1, "loss": 0.5}]}
    notes = np.array(json.dumps({**progress, **changes}))
    np.savez(path, notes=notes, **{"model/0": np.ones((2, 3), "float32")})
    return path


HOSTILE_STATES = {
    "epoch": {"epoch": "\x1b[2J"},
    "negative": {"step": -1},
    "huge": {"epoch": 10**400},
    "history": {"history": [{"epoch": "\n"}]},
    "row": {"history": [1]},
    "best": {"best": [1]},
    "foreign": {"\x1b": 1},
}


def _write(path, content):
    content = (
        content.encode("utf-8", "surrogateescape") if type(content) is str else content
    )
    path.write_bytes(content)
    return path


def _records(path, content):
    path.mkdir()
    _write(path / "train-00000-of-00001", content)
    return path


def made_cases(folder):
    """(function, path) of every case that somebody thought of."""
    found = []
    for name, make in HOSTILE_NPZ.items():
        path = _write(folder / f"{name}.npz", make())
        found += [("train_on", path), ("evaluate", path), ("resume", path)]
    for name, make in HOSTILE_RECORDS.items():
        path = _records(folder / f"records_{name}", make())
        found += [("train_on", path), ("evaluate", path)]
    for name, text in HOSTILE_JSON.items():
        found.append(("resume", _write(folder / f"{name}.json", text)))
    for name, text in HOSTILE_WEIGHTS.items():
        found.append(("weigh", _write(folder / f"{name}.weights", text)))
    for name, changes in HOSTILE_STATES.items():
        found.append(("resume", write_state(folder / f"state_{name}.npz", **changes)))
    os.mkfifo(folder / "pipe.json")
    found += [("resume", folder / "pipe.json"), ("weigh", folder / "pipe.json")]
    return found


def drawn_cases(folder, count, seed):
    """(function, path) of mutations of whole files, in turns."""
    chance, found = np.random.default_rng(seed), []
    images = sources.write_records(
        folder / "whole", sources.write_folder(folder / "f", 12)
    )
    shard = (images / "train-00000-of-00002").read_bytes()
    progress = write_state(folder / "whole_state.npz").read_bytes()
    record_of_run = json.dumps({"recipe": _RECIPE, "classes": ["a", "b"]}).encode()
    whole = [
        ("train_on", ".npz", stored()),
        ("evaluate", ".npz", stored(np.savez_compressed)),
        ("train_on", "", shard),
        ("resume", ".npz", progress),
        ("evaluate", "", shard),
        ("resume", ".json", record_of_run),
        ("weigh", ".csv", b"class,weight\na,1.5\nb,2\n"),
    ]
    for index in range(count):
        name, suffix, content = whole[index % len(whole)]
        path, content = folder / f"{index:05}{suffix}", mutated(content, chance)
        write = _write if suffix else _records
        found.append((name, write(path, content)))
    return found


@pytest.mark.costly
def test_a_sample(tmp_path, record_property):
    warm = ("evaluate", _write(tmp_path / "warm.npz", stored()))
    cases = made_cases(tmp_path) + drawn_cases(tmp_path, 300, 1)
    assert not faults(cases, warm, record_property)


@pytest.mark.slow
def test_many(tmp_path, record_property):
    warm = ("evaluate", _write(tmp_path / "warm.npz", stored()))
    assert not faults(drawn_cases(tmp_path, 3000, 2), warm, record_property)


@pytest.mark.parametrize(
    "name, said",
    [
        ("objects", "x_train: it must be of numbers; got object"),
        ("huge_shape", "its header says 3,000,000,000,000,000 bytes, its file has 0"),
        ("lying_header", "its header has 4,294,967,295 bytes"),
        ("encrypted", "it is encrypted"),
        ("method_99", "its method is 99"),
        ("wrong_checksum", "Bad CRC-32"),
        ("zeros", "64 times the size of the file, and always 192 MB"),
        ("tiny_images", "64 times the size of the file, and always 192 MB"),
        ("twice", "x_train: it is there twice"),
        ("many", "it has 0, 1, 2"),
        ("long_list", "list of members may have 16 MB; it has 2,048 MB"),
        ("huge_labels", "must contain images of at least two classes"),
        ("large_labels", "no image has 1, 2, 3, ...:"),
        ("negative_labels", "got -1000000000..-999999961"),
        ("unsigned_labels", r"below 2\*\*63; got 18446744073709551615"),
        ("no_pixels", "at least one pixel"),
    ],
)
def test_what_is_said_of_arrays(name, said, tmp_path):
    path = _write(tmp_path / "a.npz", HOSTILE_NPZ[name]())
    with pytest.raises(InvalidArgument, match=said):
        open_dataset(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_read_as_numpy_reads_them(save, tmp_path):
    """Of every kind, order and byte order, and compressed as drawings are: 50 times."""
    chance, path = np.random.default_rng(0), tmp_path / "a.npz"
    strokes = (chance.random((2000, 28, 28, 1)) > 0.995).astype("uint8") * 255
    wanted = {
        "drawings": np.repeat(strokes, 3, -1),
        "scalar": np.float32(3),
        "empty": np.zeros((0, 4)),
        "turned": np.asfortranarray(chance.random((5, 6, 7))),
        "other": np.arange(9, dtype=">i4"),
        "bool": np.array([True, False]),
        "text": np.array("é" * 10),
    }
    save(path, **wanted)
    with npz.opened(path, "") as file:
        for name, array in wanted.items():
            found = file.read(name)
            assert found.dtype == array.dtype and found.shape == np.shape(array)
            assert found.tobytes() == np.asarray(array).tobytes()
    if save is np.savez_compressed:
        assert wanted["drawings"].nbytes > 15 * path.stat().st_size


def test_lies_that_only_a_text_says(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("é", "latin-1")
    with pytest.raises(InvalidArgument, match="must be it; .*not text in UTF-8"):
        untrusted.read_text(path, "it")
    with pytest.raises(InvalidArgument, match="cannot be read: No such file"):
        untrusted.read_text(tmp_path / "none", "it")
    path.write_text("a" * 11)
    with pytest.raises(InvalidArgument, match="has more than"):
        untrusted.read_text(path, "it", 10)
    assert untrusted.read_text(path, "it", 11) == "a" * 11


@pytest.mark.parametrize(
    "name",
    [
        *(
            "../../etc",
            "/tmp/data",
            "https://here.example/a",
            "s3://bucket/a",
            "a\x1b[2J",
        ),
        *("", "a" * 5000, "a/../b", "huggingface:a", "a b", "a:1"),
    ],
)
def test_names_of_data_sets_are_no_paths(name, capsys):
    with pytest.raises(
        InvalidArgument, match="a name of TensorFlow Datasets"
    ) as caught:
        open_dataset(f"tfds:{name}")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "name", ["mnist", "imagenette/160px-v2", "mnist:3.0.1", "a/b:*.*.*"]
)
def test_names_of_data_sets(name):
    with pytest.raises(
        InvalidArgument, match="requires TensorFlow Datasets|cannot open"
    ):
        open_dataset(f"tfds:{name}")


def test_names_that_are_too_long_for_a_file(capsys):
    for words in (["evaluate", "--data", "x" * 5000], ["predict", "x" * 5000]):
        words[1:1] = ["resnet8", "--weights", "none.weights.h5"]
        assert cli.main(words) in (1, 2)
        assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(InvalidArgument) as caught:
        open_dataset("x" * 5000)
    assert len(str(caught.value)) < 600


def test_threads_end_with_an_epoch():
    """And those of epochs that are left in the middle are shared."""
    split = Split(
        np.arange(40) % 4, ArrayImages(np.zeros((40, 8, 8, 3), "u1")), np.arange(40)
    )

    def open_batches():
        return batches(split, Preprocessing("tf", (8, 8)), 4, classes=4)

    # Of tests before this one, whose garbage is not all collected.
    others = threading.enumerate()
    for _ in range(5):
        list(open_batches())
    assert _pool_threads(0, others) == 0
    for _ in range(5):
        next(iter(open_batches()))
    assert _pool_threads(2, others) <= 2


def _pool_threads(most, others):
    """How many threads of pools there are besides, once those that end have ended."""
    for _ in range(100):
        found = [
            thread
            for thread in threading.enumerate()
            if "ThreadPool" in thread.name and thread not in others
        ]
        if len(found) <= most:
            break
        time.sleep(0.1)
    return len(found)


def test_class_names_that_a_terminal_would_obey():
    from keras_resnets.cli.printing import reports

    names = ["\x1b[2Ja", "b\n", "c\udcff" + "d" * 5000]
    shown = reports.likeliest(np.array([0.5, 0.3, 0.2]), "e\x1b\udcff", names)
    assert all(line.isprintable() for line in shown.split("\n"))
    assert shown.count("\n") == 3 and len(shown) < 500


@pytest.mark.parametrize("text", ["", "a,,b", "a,", ","])
def test_every_class_has_a_name(text):
    with pytest.raises(InvalidArgument, match="--labels must name every class"):
        labels.typed(text)


def test_labels_mean_the_same_in_every_command():
    assert labels.typed("cifar10") == labels.label_set("cifar10")
    assert labels.typed("a,b") == (("0", "a"), ("1", "b"))


def test_checksums_are_looked_at(tmp_path):
    """Whoever changes a byte of an image is noticed."""
    content = bytearray(stored())
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        place = file.getinfo("x_test.npy").header_offset + 500
    content[place] ^= 1
    path = _write(tmp_path / "a.npz", bytes(content))
    with pytest.raises(InvalidArgument, match="x_test: Bad CRC-32"):
        open_dataset(path)


def test_a_run_whose_state_is_damaged_stays_as_it_is(tmp_path):
    """Nothing is written, not even that it is to have more epochs."""
    path = _write(tmp_path / "run.json", json.dumps({"recipe": _RECIPE}))
    folder, before = run_folder.RunFolder(tmp_path), path.read_bytes()
    facts = dict.fromkeys(run_folder.FIXED) | {"recipe": {**_RECIPE, "epochs": 6}}
    facts["recipe"].update(milestones=[2, 4], warmup=1.0)
    facts["sampler"] = "shuffled"
    write_state(folder.state, epoch="\x1b[2J")
    # Both: what came in is wrong, and a training cannot go on.
    for kind in (TrainingError, InvalidArgument):
        with pytest.raises(kind, match=r"is damaged: notes: epoch is '\\x1b\[2J'$"):
            folder.open(facts, resume=True)
    assert path.read_bytes() == before
    write_state(folder.state)
    assert folder.open(facts, resume=True)["extended"] == [3]
    folder.close()
