"""What the accelerator queue says of faults, and that nothing is lost by them."""

import argparse
import importlib
import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

BENCHMARKS = ROOT / "benchmarks"
TASKS = [
    {"name": "second", "teachers": ["first"]},
    {"name": "third", "teachers": ["second"]},
    {"name": "first"},
    {"name": "other"},
]


@pytest.fixture
def scripts(monkeypatch):
    """The modules of the queue by name."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def state(path, epochs, done=False):
    np.savez(path, rows=json.dumps([[n] for n in range(epochs)]), done=done)


def epochs(scripts, path):
    return scripts("device_state").progress(path)[0]


@pytest.mark.parametrize(
    "words, said",
    [
        ("work --folder w --only resnet20_plian --noise 9", "resnet20_plain"),
        ("work --folder w", "work needs --data FOLDER"),
        ("work --folder w --data .", "has no labels.npy: it is not a folder of `pack`"),
        ("--queue none.json list", "none.json is no queue: FileNotFoundError"),
        ("unpack . w", "no whole archive in its 0 pieces"),
    ],
)
@pytest.mark.costly
def test_a_wrong_command_is_one_line_and_starts_nothing(words, said, tmp_path):
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "accelerator_queue.py", *words.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1 and said in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1 and not list(tmp_path.rglob("*.log"))


@pytest.mark.parametrize(
    "tasks, said",
    [
        ([{"name": "a"}, {"name": "a"}], "two trainings with the name a"),
        ([{"name": "a", "teachers": ["b"]}], "no training of the queue is called 'b'"),
        ([{"model": "resnet20"}], "is no queue: KeyError 'name'"),
    ],
)
def test_queues_that_are_refused(tasks, said, scripts, tmp_path):
    path = tmp_path / "queue.json"
    path.write_text(json.dumps({"defaults": {}, "trainings": tasks}))
    with pytest.raises(SystemExit, match=said):
        scripts("accelerator_queue").read_queue(path)


def test_only_takes_teachers_of_teachers(scripts):
    queue = scripts("accelerator_queue")
    names = [task["name"] for task in queue.only(TASKS, ["third"])]
    assert names == ["second", "third", "first"]


def test_a_pack_without_a_strip_is_refused_before_anything_starts(scripts, tmp_path):
    data = scripts("device_data")
    np.save(tmp_path / "labels.npy", np.zeros(data.STRIP + 1, "uint8"))
    (tmp_path / "strip_00000.webp").touch()
    with pytest.raises(SystemExit, match="has 1 strips of images; 2 are needed"):
        data.check_pack(tmp_path)
    (tmp_path / "strip_00500.webp").touch()
    data.check_pack(tmp_path)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", None])
def test_a_damaged_state_stops_its_training_alone(damage, scripts, tmp_path, capsys):
    queue = scripts("accelerator_queue")
    path = tmp_path / "first.npz"
    state(path, 3)
    path.write_bytes(path.read_bytes()[:-40] if damage is None else damage)
    state(tmp_path / "other.npz", 5, done=True)
    options = {"noise": None, "folder": tmp_path}
    found = queue.Queue(TASKS, argparse.Namespace(**options))
    assert found.over == {"first", "other"} and found.failed == {"first"}
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 and "first.npz is no state of a training" in lines[0]
    assert path.exists()


def test_a_changed_entry_does_not_go_on_with_the_state_of_before(
    scripts, tmp_path, capsys
):
    training, queue = scripts("device_state"), scripts("accelerator_queue")
    groups = dict.fromkeys(training.GROUPS, [])
    for task in TASKS[2:]:
        path = tmp_path / f"{task['name']}.npz"
        training.save_state(path, groups, [[0]], False, {**task, "epochs": 200})
    # Whether it runs alone is no setting of what it learns.
    now = [{**TASKS[2], "epochs": 300}, {**TASKS[3], "epochs": 200, "alone": True}]
    options = {"noise": None, "folder": tmp_path}
    found = queue.Queue(now, argparse.Namespace(**options))
    assert found.failed == {"first"} and found.over == {"first"}
    said = (
        "first.npz was trained with other settings (epochs was 200, is now 300): delete"
    )
    assert said in capsys.readouterr().out
    with pytest.raises(SystemExit, match="with other settings"):
        training.load_state(tmp_path / "first.npz", now[0])
    assert training.load_state(tmp_path / "other.npz", now[1])[1] == [[0]]


def test_pieces_bring_states_back(scripts, tmp_path):
    pieces, work, out = scripts("queue_pieces"), tmp_path / "work", tmp_path / "out"
    work.mkdir()
    state(work / "first.npz", 3)
    state(work / "other.npz", 4)
    out.mkdir()
    # Of a longer archive that was here before.
    (out / "piece_09").write_bytes(b"old")
    pieces.write(work, out)
    new = tmp_path / "new"
    pieces.unpack(out, new)
    assert sorted(path.name for path in new.iterdir()) == ["first.npz", "other.npz"]
    state(work / "first.npz", 2)
    pieces.write(work, out)
    pieces.unpack(out, new)
    assert epochs(scripts, new / "first.npz") == 3
    (work / "first.npz").write_bytes(b"PK")
    pieces.write(work, out)
    pieces.unpack(out, new)
    assert epochs(scripts, new / "first.npz") == 3


@pytest.mark.parametrize("fault", ["missing", "cut"])
def test_pieces_that_are_not_whole_change_nothing(
    fault, scripts, tmp_path, monkeypatch
):
    pieces, work, out = scripts("queue_pieces"), tmp_path / "work", tmp_path / "out"
    monkeypatch.setattr(pieces, "PIECE", 1000)
    work.mkdir()
    state(work / "first.npz", 30)
    pieces.write(work, out)
    last = max(out.glob("piece_*"))
    last.unlink() if fault == "missing" else last.write_bytes(b"")
    new = tmp_path / "new"
    new.mkdir()
    state(new / "first.npz", 3)
    with pytest.raises(SystemExit, match="one is missing or damaged"):
        pieces.unpack(out, new)
    assert epochs(scripts, new / "first.npz") == 3


def test_one_work_in_a_folder_at_a_time(scripts, tmp_path):
    queue = scripts("accelerator_queue")
    with queue.lock(tmp_path):
        with pytest.raises(SystemExit, match="another `work`"):
            queue.lock(tmp_path)
    queue.lock(tmp_path).close()


def test_results_of_other_columns_are_kept(scripts, tmp_path, monkeypatch):
    queue, runs = scripts("accelerator_queue"), scripts("queue_runs")
    place = tmp_path / "queue.csv"
    place.write_text("training,top1,extra\nfirst,92.00,x\nother,93.00,y\n")
    monkeypatch.setattr(queue, "RESULTS", place)
    runs.write_results([{"training": "other", "top1": "94.00", "seed": 1}])
    rows = scripts("papers").read_results(place)
    assert [(r["training"], r["top1"], r["extra"]) for r in rows] == [
        ("first", "92.00", "x"),
        ("other", "94.00", ""),
    ]
    assert queue.finished() == {"first", "other"}


@pytest.mark.parametrize("row", ["first", "first,", "first,high", ",92", "first,920"])
def test_a_damaged_row_of_the_results_is_named(row, scripts, tmp_path):
    place = tmp_path / "queue.csv"
    place.write_text(f"training,top1\nother,93.00\n{row}\n")
    with pytest.raises(SystemExit, match="queue.csv, line 3: a row has a training and"):
        scripts("papers").read_results(place)


@pytest.fixture
def run_of_train(scripts, tmp_path):
    """Writes the folder of a run that equals a training of the queue, with changes."""
    command = scripts("queue_from_train")
    (task,) = (
        task
        for task in scripts("accelerator_queue").read_queue()
        if task["name"] == "resnet20_he2015_s1"
    )

    def write(**changes):
        facts = {
            "status": "done",
            "command": "keras-resnets train resnet20",
            "model": "resnet20",
            "axes": {},
            "recipe": command.recipe_of(task),
            "batch_size": 128,
            "data": {"train": 50_000},
            "seed": 1,
            "precision": "mixed_bfloat16",
            "backend": "tensorflow",
            "devices": ["cpu:0"],
            "figures": {"test_accuracy": 0.9125, "seconds": 12.5},
        }
        (tmp_path / "run.json").write_text(json.dumps(facts | changes))
        history = "epoch,accuracy,loss,learning_rate,seconds\n1,0.5,1.5,0.1,12.5\n"
        (tmp_path / "history.csv").write_text(history)
        return tmp_path

    return write


def test_a_run_of_train_becomes_a_row_of_the_queue(
    run_of_train, scripts, tmp_path, monkeypatch
):
    queue, papers = scripts("accelerator_queue"), scripts("papers")
    (tmp_path / "queue.csv").write_text("training,network,top1\nfirst,resnet8,90.00\n")
    monkeypatch.setattr(queue, "RESULTS", tmp_path / "queue.csv")
    monkeypatch.setattr(papers, "CURVES", tmp_path / "curves")
    monkeypatch.setattr(scripts("common"), "quiet_tensorflow", lambda: None)
    words = ["x", str(run_of_train()), "resnet20_he2015_s1"]
    monkeypatch.setattr(sys, "argv", words)
    scripts("queue_from_train").main()
    first, second = papers.read_results(tmp_path / "queue.csv")
    assert first["training"] == "first"
    assert second["top1"] == "91.25" and second["device"] == "CPU, tensorflow"
    curve = (tmp_path / "curves" / "resnet20_he2015_s1.csv").read_text()
    assert curve == "epoch,accuracy,loss,seconds\n1,0.5,1.5,12.5\n"


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"seed": 2}, "seed: 2, not 1"),
        ({"status": "running"}, "status: running, not done"),
        ({"data": {"train": 45_000}}, "images: 45000, not 50000"),
        (
            {"axes": {"stem_type": "imagenet"}},
            "axes: {'stem_type': 'imagenet'}, not {}",
        ),
        (
            {"command": "keras-resnets train resnet20 --weights a.h5"},
            "option --weights",
        ),
        ({"recipe": {}}, "learning_rate: None, not 0.1"),
    ],
)
def test_a_run_of_another_training_is_refused(changes, said, run_of_train, scripts):
    command = scripts("queue_from_train")
    facts = json.loads((run_of_train(**changes) / "run.json").read_text())
    tasks = {task["name"]: task for task in scripts("accelerator_queue").read_queue()}
    told = command.differences(facts, tasks["resnet20_he2015_s1"])
    assert said in told and (len(told) == 1 or "recipe" in changes)
