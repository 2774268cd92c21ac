"""What becomes of a run: failed, interrupted, finished, extended."""

import dataclasses
import json
import os
import re
import shutil
import signal
import warnings

import keras
import numpy as np
import pytest
from training_helpers import Stopped
from training_helpers import check_equal
from training_helpers import run
from training_helpers import short
from training_helpers import stop_at
from training_helpers import unlimited

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import TrainingError
from keras_resnets.system import interrupts
from keras_resnets.training import callbacks
from keras_resnets.training import compiling
from keras_resnets.training import loop
from keras_resnets.training import state
from keras_resnets.training.run_folder import FIXED
from keras_resnets.training.run_folder import RunFolder

pytestmark = [pytest.mark.usefixtures("untraced"), pytest.mark.torch]


def record(folder, name="run"):
    return json.loads((folder / name / "run.json").read_text())


def test_a_run_that_fails_says_so(tmp_path, monkeypatch):
    unlimited(monkeypatch)
    recipe = short("cifar_cosine", 1, learning_rate=1e30, warmup=0)
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, "run", recipe)
    found = record(tmp_path)
    assert found["status"] == "failed" and found["reason"] == str(caught.value)
    assert re.search(r"the loss is nan at step \d+ of epoch 1\b", found["reason"])
    # JAX tells a step later, at the rate of that step.
    said = r"the weights of .* rate of (1e\+30|7\.5e\+29) is likely too high"
    assert re.search(said, found["reason"])


def test_a_run_that_is_interrupted_says_so(tmp_path, monkeypatch):
    kept = callbacks.Keeper.on_train_batch_begin

    def stopping(self, batch, logs=None):
        kept(self, batch, logs)
        if batch == 2:
            raise KeyboardInterrupt

    recipe = short("cifar_cosine")
    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Keeper, "on_train_batch_begin", stopping)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, "run", recipe)
    found = record(tmp_path)
    assert found["status"] == "interrupted" and found["reason"] == "KeyboardInterrupt"
    run(tmp_path, "run", recipe, resume=True)
    found = record(tmp_path)
    assert found["status"] == "done" and "reason" not in found and found["figures"]


def stop(monkeypatch, folder, recipe, method, signalled):
    """A run as a command, which ends by the SIGTERM that `signalled` sends."""
    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Keeper, method, signalled)
        code = interrupts.run(lambda: run(folder, "run", recipe, save_seconds=1e9))
    assert code == 143


def line_of(folder, step):
    return (
        f"keras-resnets: terminated; {folder / 'run'} is saved at epoch 1, step {step}: "
        "the same command with --resume goes on from there\n"
    )


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_signal_within_a_step_saves_the_state_behind_it(
    tmp_path, monkeypatch, capsys
):
    """In one line that says how to go on, which ends where a run left alone does."""
    recipe = short("cifar_cosine", 2, mixup=0.2)
    whole = run(tmp_path, "whole", recipe)
    kept = callbacks.Keeper.on_train_batch_begin

    def signalled(self, batch, logs=None):
        kept(self, batch, logs)
        if batch == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    stop(monkeypatch, tmp_path, recipe, "on_train_batch_begin", signalled)
    assert capsys.readouterr().err == line_of(tmp_path, step=2)
    found = record(tmp_path)
    assert found["status"] == "interrupted" and found["reason"] == "Terminated"
    assert sorted(file.name for file in (tmp_path / "run").iterdir()) == [
        "last.state.npz",
        "run.json",
    ]
    with pytest.warns(UserWarning, match="from its last state, epoch 1, step 2"):
        check_equal(whole, run(tmp_path, "run", recipe, resume=True))


@pytest.mark.costly
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_signal_within_the_validation_keeps_all_steps(tmp_path, monkeypatch, capsys):
    recipe = short("cifar_cosine", 1)
    whole = run(tmp_path, "whole", recipe)
    kept = callbacks.Keeper.on_test_batch_begin

    def signalled(self, batch, logs=None):
        os.kill(os.getpid(), signal.SIGTERM)
        kept(self, batch, logs)

    stop(monkeypatch, tmp_path, recipe, "on_test_batch_begin", signalled)
    assert capsys.readouterr().err == line_of(tmp_path, step=3)
    stop_at(monkeypatch, 0)
    with pytest.warns(UserWarning, match="from its last state, epoch 1, step 3"):
        check_equal(whole, run(tmp_path, "run", recipe, resume=True))


def test_a_folder_is_of_one_process_at_a_time(tmp_path):
    recipe = dataclasses.asdict(short("cifar_cosine"))
    facts = dict.fromkeys(FIXED, "a") | {"recipe": recipe}
    first, second = (RunFolder(tmp_path / "run") for _ in range(2))
    first.open(facts, resume=False)
    for resume in (False, True):
        with pytest.raises(InvalidArgument, match="another process is training in"):
            second.open(facts, resume)
    first.close()
    with pytest.raises(InvalidArgument, match="is not empty"):
        second.open(facts, resume=False)
    second.open(facts, resume=True)
    second.close()
    assert os.listdir(tmp_path / "run") == ["run.json"]


def test_a_failure_that_nobody_foresaw(tmp_path, monkeypatch):
    monkeypatch.setattr(
        keras.Model, "fit", lambda *given, **options: (_ for _ in ()).throw(MemoryError)
    )
    with pytest.raises(MemoryError):
        run(tmp_path, "run", short("cifar_cosine"))
    found = record(tmp_path)
    assert found["status"] == "failed" and found["reason"] == "MemoryError"


def test_a_finished_run_says_so(tmp_path):
    recipe = short("cifar_cosine")
    first = run(tmp_path, "run", recipe)
    expected = r"has finished its 1 epoch .* nothing left to train; .*\(--epochs 2\)"
    with pytest.warns(UserWarning, match=expected):
        again = run(tmp_path, "run", recipe, resume=True)
    check_equal(first, again)


@pytest.mark.costly
def test_more_epochs_extend_a_run(tmp_path, monkeypatch):
    """By the schedule of so many epochs, exactly, and gone on with when stopped."""
    options = {"ema": 0.75, "mixup": 0.2, "warmup": 0.5}
    recipe, longer = (short("cifar_cosine", epochs, **options) for epochs in (1, 3))
    # A run's warm-up is stretched as the recipe's is.
    longer = recipe.replace(epochs=3)
    first = run(tmp_path, "run", recipe)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    with pytest.warns(
        UserWarning, match="finished 1 epoch and goes on to 3: from here"
    ):
        whole = run(tmp_path, "run", longer, resume=True)
    assert whole.history[0] == first.history[0]
    rates = compiling.learning_rate(longer, 3, 8)
    found = [row["learning_rate"] for row in whole.history]
    assert found == pytest.approx([0, float(rates(6)), 0], abs=1e-7) and found[1] > 0.02
    facts = record(tmp_path)
    assert facts["extended"] == [1] and facts["recipe"]["epochs"] == 3
    assert facts["status"] == "done"
    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        stop_at(patch, 4)
        with pytest.raises(Stopped):
            run(tmp_path, "copy", longer, resume=True)
    assert record(tmp_path, "copy")["status"] == "failed"
    check_equal(whole, run(tmp_path, "copy", longer, resume=True))
    assert record(tmp_path, "copy")["extended"] == [1]


@pytest.mark.costly
def test_what_does_not_extend_a_run(tmp_path):
    recipe = short("he2015_cifar", 2)
    run(tmp_path, "run", recipe)
    before = record(tmp_path)
    for other, message in (
        (short("he2015_cifar", 1), "another recipe: epochs was 2, now 1"),
        (
            short("he2015_cifar", 4, nesterov=True),
            "another recipe: epochs was 2, now 4",
        ),
        (short("he2015_cifar", 4, milestones=(3,)), "another recipe: epochs was 2"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            run(tmp_path, "run", other, resume=True)
    assert record(tmp_path) == before
    with pytest.warns(UserWarning):
        assert len(run(tmp_path, "run", short("he2015_cifar", 3), True).history) == 3


def make_older(folder, name, margin):
    """As the version wrote a run that told stages apart by a margin."""
    facts = record(folder, name)
    del facts["recipe"]["significance"], facts["axes"], facts["preprocessing"]
    facts["recipe"].update({} if margin is None else {"margin": margin})
    (folder / name / "run.json").write_text(json.dumps(facts))
    path = folder / name / "last.state.npz"
    with np.load(path) as file:
        arrays = dict(file)
    notes = json.loads(str(arrays["notes"]))
    del notes["right"]
    arrays["notes"] = np.array(json.dumps({**notes, "untouched": 0.5}))
    np.savez(path, **arrays)


@pytest.mark.costly
@pytest.mark.parametrize("margin", [None, 0.0])
def test_a_run_of_an_earlier_version_goes_on(margin, tmp_path):
    for name in ("older", "newer"):
        run(tmp_path, name, short("cifar_cosine", 1))
    make_older(tmp_path, "older", margin)
    found = [
        run(tmp_path, name, short("cifar_cosine", 2), resume=True)
        for name in ("older", "newer")
    ]
    check_equal(*found)
    assert record(tmp_path, "older")["recipe"]["significance"] == 1


def test_a_run_by_a_rule_that_there_is_no_more_is_refused(tmp_path):
    recipe = short("finetune", 1)
    run(tmp_path, "run", recipe)
    make_older(tmp_path, "run", 2.0)
    before = record(tmp_path)
    expected = r"by a margin of 2\.0 standard errors; this version compares them image"
    with pytest.raises(InvalidArgument, match=expected) as caught:
        run(tmp_path, "run", recipe, resume=True)
    assert "\n" not in str(caught.value) and record(tmp_path) == before


@pytest.mark.costly_but("right0")
@pytest.mark.parametrize(
    "right",
    [["1"], {"start": 1}, {"start": "1 0"}, {"other": "1"}, {"start": None}, None],
)
def test_damaged_correctness(right, tmp_path):
    run(tmp_path, "run", short("cifar_cosine", 1))
    path = tmp_path / "run" / "last.state.npz"
    with np.load(path) as file:
        arrays = dict(file)
    notes = {**json.loads(str(arrays["notes"])), "right": right}
    arrays["notes"] = np.array(json.dumps(notes))
    np.savez(path, **arrays)
    with pytest.raises(TrainingError, match="is damaged: .* right must be a table"):
        state.read(path)


@pytest.mark.costly
@pytest.mark.parametrize("epochs", [1, 2])
def test_extension_of_a_run_of_two_phases(epochs, tmp_path):
    """The second phase has the schedule of so many epochs, whether it had begun or not."""
    recipe = short("cifar_cosine", epochs, frozen_epochs=1)
    longer = recipe.replace(epochs=4)
    run(tmp_path, "run", recipe)
    with pytest.warns(UserWarning, match="goes on to 4"):
        extended = run(tmp_path, "run", longer, resume=True)
    rates = compiling.learning_rate(loop.phases(longer)[1].recipe, 3, 8)
    found = [row["learning_rate"] for row in extended.history if row["epoch"]]
    second = float(rates(3)) if epochs == 1 else 0
    assert found == pytest.approx([0, second, float(rates(6)), 0], abs=1e-7)
    assert found[2] > 0.02


@pytest.mark.costly
def test_balanced_runs_go_on_where_they_were_stopped(tmp_path, monkeypatch):
    recipe = short("cifar_cosine", 2, mixup=0.2)
    options = {
        "sampler": "balanced",
        "class_weight": dict.fromkeys(map(str, range(5)), 2),
    }
    whole = run(tmp_path, "whole", recipe, **options)
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        with pytest.raises(Stopped):
            run(tmp_path, "stopped", recipe, **options)
    check_equal(whole, run(tmp_path, "stopped", recipe, resume=True, **options))
    with pytest.raises(
        InvalidArgument, match="another sampler: it was 'balanced', now"
    ):
        options["sampler"] = "shuffled"
        run(tmp_path, "whole", recipe, resume=True, **options)
