"""A run from pictures to its folder: stopped, gone on with, refused."""

import csv
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from conftest import ROOT
from training_helpers import WANTED
from training_helpers import Stopped
from training_helpers import check_equal
from training_helpers import classifier
from training_helpers import open_small
from training_helpers import run
from training_helpers import short
from training_helpers import stop_at
from training_helpers import stop_in_validation
from training_helpers import without_time
from training_helpers import write_npz

import keras_resnets
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import TrainingError
from keras_resnets.training import correctness
from keras_resnets.training import data
from keras_resnets.training import devices
from keras_resnets.training import diagnosis
from keras_resnets.training import fitting
from keras_resnets.training import loop
from keras_resnets.training import state
from keras_resnets.training.run_folder import RunFolder
from keras_resnets.training.session import train

RESUMED = {
    # Averages, dropout, mixup: the middle of an epoch.
    "averages": (short("cifar_cosine", 2, block_dropout_rate=0.3, mixup=0.2), None, 4),
    # Float16 has a loss scale; the middle of the second phase, and its beginning.
    "half": (short("finetune", 3, frozen_epochs=2), "mixed_float16", 7),
    "between": (short("finetune", 2, ema=0.5), None, 3),
}


@pytest.mark.costly_but("averages")
@pytest.mark.torch
@pytest.mark.parametrize(
    "case",
    ["averages", "half", pytest.param("between", marks=pytest.mark.slow)],
)
def test_resumed_run_equals_an_uninterrupted_one(case, tmp_path, monkeypatch):
    recipe, dtype, step = RESUMED[case]
    whole = run(tmp_path, "whole", recipe, dtype=dtype)
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        with pytest.raises(Stopped):
            run(tmp_path, "stopped", recipe, dtype=dtype)
    found, _ = state.read(tmp_path / "stopped" / "last.state.npz")
    assert (found.epoch, found.step) != (recipe.epochs, 0)
    check_equal(whole, run(tmp_path, "stopped", recipe, resume=True, dtype=dtype))
    # Once more, where there is nothing left to train.
    check_equal(whole, run(tmp_path, "stopped", recipe, resume=True, dtype=dtype))


# Averages, which are swapped in to validate; a loss scale, at the end of a phase; and
# the last epoch of all, behind which nothing is left to train.
VALIDATED = {
    "averages": (short("cifar_cosine", 2, ema=0.75, mixup=0.2), None, 1),
    "half": (short("finetune", 2, frozen_epochs=1), "mixed_float16", 1),
    "last": (short("cifar_cosine", 2, ema=0.75), None, 2),
}


@pytest.mark.costly
@pytest.mark.torch
@pytest.mark.parametrize("case", VALIDATED)
def test_a_stop_in_validation_loses_no_step(case, tmp_path, monkeypatch):
    recipe, dtype, epoch = VALIDATED[case]
    whole = run(tmp_path, "whole", recipe, dtype=dtype, save_seconds=1e9)
    with monkeypatch.context() as patch:
        stop_in_validation(patch, epoch)
        with pytest.raises(Stopped):
            run(tmp_path, "stopped", recipe, dtype=dtype, save_seconds=1e9)
    found, _ = state.read(tmp_path / "stopped" / "last.state.npz")
    # 30 of 40 images are for training.
    assert (found.epoch, found.step) == (epoch - 1, 30 // 8)
    with monkeypatch.context() as patch:
        stop_at(patch, (recipe.epochs - epoch) * found.step)
        again = run(tmp_path, "stopped", recipe, resume=True, dtype=dtype)
    check_equal(whole, again)
    for name in ("best", "last"):
        for left, right in zip(
            *(kept(one, name) for one in (whole, again)), strict=True
        ):
            np.testing.assert_array_equal(left, right)


def kept(run, name):
    model = classifier()
    model.load_weights(run.folder.weights(name))
    return model.get_weights()


def truth(model, split):
    """Which images of a split a network has right, in the order of the split."""
    pixels = np.stack([WANTED(split.images.open(i)) for i in split.indices])
    said = keras.ops.convert_to_numpy(model(pixels, training=False)).argmax(-1)
    return "".join(np.where(said == split.labels, "1", "0").tolist())


@pytest.mark.costly_but("8")
@pytest.mark.torch
@pytest.mark.parametrize("batch_size", [1, 8, 25, 64])
def test_correctness_of_each_held_out_image(batch_size, tmp_path):
    """Whatever the batches are, and the last of them; the weights as they are now."""
    keras.utils.set_random_seed(3)
    model, made = classifier(), open_small(tmp_path, 0.25, train=104)
    job = loop.Job(
        model,
        made,
        short("finetune"),
        WANTED,
        batch_size,
        verbose=0,
        class_weights=(1, 2, 3, 4, 5),
        sampler="balanced",
    )
    found, seen = correctness.Correctness(job), []
    for _ in range(3):
        seen.append(found())
        assert seen[-1] == found() == truth(model, made.validation)
        assert len(seen[-1]) == made.validation.count == 25
        accuracy = loop.judge(job, job.held_out)["accuracy"]
        assert accuracy == pytest.approx(seen[-1].count("1") / 25)
        kernel = model.layers[-1].kernel
        kernel.assign(keras.ops.roll(kernel, 1, axis=-1))
    assert len(set(seen)) == 3


@pytest.mark.costly
@pytest.mark.torch
def test_correctness_is_that_of_the_weights_that_are_kept(tmp_path):
    """Of the averages, and after every phase; it stands in the state."""
    recipe = short("finetune", 4, frozen_epochs=2, ema=0.9, significance=0.999)
    made = run(tmp_path, "run", recipe)
    found, _ = state.read(made.folder.state)
    split = open_small(tmp_path, validation=0.25, train=40).validation
    model = classifier()
    model.load_weights(made.folder.weights("best"))
    assert found.right[made.figures["kept"]] == truth(model, split)


@pytest.mark.usefixtures("untraced")
def test_folder_of_a_run(tmp_path):
    recipe = short("cifar_cosine", 2)
    made = run(tmp_path, "run", recipe, command="what was typed")
    folder = tmp_path / "run"
    assert sorted(path.name for path in folder.iterdir()) == [
        "best.weights.h5",
        "curves.png",
        "history.csv",
        "last.state.npz",
        "last.weights.h5",
        "run.json",
    ]
    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"} <= set(
        rows[0]
    )
    facts = json.loads((folder / "run.json").read_text())
    assert facts["status"] == "done" and facts["command"] == "what was typed"
    assert facts["recipe"]["learning_rate"] == 0.1 and facts["seed"] == 0
    assert facts["data"]["train"] == 30 and facts["data"]["validation"] == 10
    assert facts["versions"]["keras"] == keras.__version__
    assert facts["figures"] == made.figures
    best = max(row["val_accuracy"] for row in made.history)
    assert made.figures["best_val_accuracy"] == best
    assert (
        made.figures["test_weights"] == "best"
        and 0 <= made.figures["test_accuracy"] <= 1
    )


@pytest.mark.torch
@pytest.mark.usefixtures("untraced")
def test_best_weights_are_the_averages(tmp_path):
    """The file has the moving average of the weights, not the weights."""
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append([np.array(v) for v in self.model.trainable_variables])

    recipe = short("cifar_cosine", 1, ema=0.75)
    model = classifier()
    job = loop.Job(model, open_small(tmp_path, 0.25, train=40), recipe, WANTED, 8)
    folder = RunFolder(tmp_path / "run")
    folder.open({"status": "running"}, resume=False)
    fit = keras.Model.fit

    def watched(self, *args, callbacks, **options):
        return fit(self, *args, callbacks=[*callbacks, Watch()], **options)

    keras.Model.fit, kept = watched, keras.Model.fit
    try:
        loop.run(job, folder)
    finally:
        keras.Model.fit = kept
    average = seen[0]
    for values in seen[1:]:
        average = [0.75 * a + 0.25 * v for a, v in zip(average, values, strict=True)]
    for name in ("best", "last"):
        fresh = classifier()
        fresh.load_weights(folder.weights(name))
        for found, wanted in zip(fresh.trainable_variables, average, strict=True):
            np.testing.assert_allclose(np.array(found), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.costly
@pytest.mark.torch
@pytest.mark.usefixtures("untraced")
def test_frozen_body_then_all_of_it(tmp_path):
    """The first phase moves the classifier alone, whatever it is called."""
    recipe = short("finetune", 2, frozen_epochs=1)
    first, second = loop.phases(recipe)
    assert (first.last, second.last) == (1, 2)
    assert second.recipe.learning_rate == pytest.approx(
        recipe.body_rate * first.recipe.learning_rate
    )
    body = classifier()
    model = keras.Model(
        body.input, keras.layers.Dense(5, name="mine")(body.layers[-2].output)
    )
    before = {v.path: np.array(v) for v in model.weights}
    job = loop.Job(model, open_small(tmp_path), recipe, WANTED, 8, verbose=0)
    folder = RunFolder(tmp_path / "run")
    folder.open({"status": "running"}, resume=False)
    moved = []
    kept = fitting.fit

    def watched(*given):
        kept(*given)
        moved.append(
            {v.path for v in model.weights if (v != before[v.path]).numpy().any()}
        )

    fitting.fit = watched
    try:
        loop.run(job, folder)
    finally:
        fitting.fit = kept
    assert moved[0] == {"mine/kernel", "mine/bias"}
    kernels = {path for path in before if path.endswith("kernel")}
    assert kernels <= moved[1] and not any("_bn" in path for path in moved[1])


@pytest.mark.torch
def test_trained_weights_load_and_know_their_pictures(tmp_path, capsys):
    """The whole command: train, then evaluate with the file it wrote."""
    from commands import run as command

    data, out = write_npz(tmp_path / "d.npz", train=60, test=20), tmp_path / "run"
    words = ["train", "resnet8", "--data", data, "--labels", "a,b,c,d,e", "--recipe"]
    words += ["cifar_cosine", "--epochs", "1", "--batch-size", "20", "--output", out]
    words += ["--input-size", "16", "--change", "nesterov=False"]
    code, shown, err = command(*words, capsys=capsys)
    assert code == 0, err
    assert "55 images to train on, 5 held out" in shown and "test accuracy" in shown
    facts = json.loads((out / "run.json").read_text())
    words = [
        "evaluate",
        "resnet8",
        "--weights",
        out / "best.weights.h5",
        "--data",
        data,
    ]
    code, shown, err = command(*words, "--input-size", "16", capsys=capsys)
    assert code == 0, err
    assert f"top-1 {facts['figures']['test_accuracy']:.2%}" in shown
    model = keras_resnets.create_model(
        "resnet8", weights=out / "best.weights.h5", input_shape=(16, 16, 3)
    )
    assert model.labels == ("a", "b", "c", "d", "e") and model.output_shape == (None, 5)
    assert model.preprocessing.mode == "raw"


def refused(words, capsys, code=2):
    from commands import refused as refuse

    return refuse("train", *words, capsys=capsys, code=code)


@pytest.mark.parametrize(
    "words, message",
    [
        (["resnet9"], "unknown model 'resnet9'; did you mean"),
        (["--recipe", "cosine"], "recipe must be one of"),
        (
            ["--recipe", "list"],
            "keras-resnets recipes to list the recipes: he2015_imagenet",
        ),
        (["--change", "mix=1"], "a recipe has no field 'mix'; did you mean mixup"),
        (["--change", "mixup"], "--change takes FIELD=VALUE; got 'mixup'"),
        (["--change", "margin=0"], "--change margin: a paired test replaced it"),
        (["--change", "significance=0"], "significance must lie in (0, 1]; got '0'"),
        (
            ["--epochs", "0"],
            "--epochs: must be a whole number from 1 to 1,000,000; got",
        ),
        (["--batch-size", "-1"], "--batch-size: must be a whole number from 1"),
        (
            ["--batch-size", "999"],
            "batch_size must be at most the 55 training images",
        ),
        (["--precision", "int8"], "--precision must be one of 'auto', 'float32'"),
        (["--data", "nothing.npz"], "data must be an .npz file"),
        (["--validation", "1.5"], "--validation: must lie in [0, 1)"),
        (["--classes", "3"], "labels must lie in 0..2, the 3 classes"),
        (["--labels", "a,b"], "labels must lie in 0..1, the 2 classes"),
        (["--devices", "77"], "devices must be a number from 1 to"),
        (["--resume"], "there is no run in"),
        (["--teacher", "resnet20"], "--teacher requires --teacher-weights"),
        (["--sampler", "even"], "sampler must be one of 'shuffled', 'balanced'"),
        (
            ["--class-weight", "w.csv", "--batch-size", "8"],
            "it cannot be read: No such file",
        ),
        (["--weights", "nothing.weights.h5"], "there is no file 'nothing.weights.h5'"),
    ],
)
def test_refused(words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_npz(tmp_path / "d.npz", train=60)
    given = {"--data": "d.npz", "--recipe": "cifar_cosine", "--output": "run"}
    model = ["resnet8"] if words[0].startswith("-") else []
    for option, value in given.items():
        if option not in words:
            words = [*words, option, value]
    assert message in refused([*model, *words, "--input-size", "16"], capsys)
    assert not (tmp_path / "run" / "last.state.npz").exists()


@pytest.mark.costly
@pytest.mark.torch
@pytest.mark.usefixtures("untraced")
def test_another_run_is_not_gone_on_with(tmp_path):
    recipe = short("cifar_cosine", 1)
    run(tmp_path, "run", recipe)
    with pytest.raises(InvalidArgument, match="is not empty; name another --output"):
        run(tmp_path, "run", recipe)
    other = short("cifar_cosine", 1, learning_rate=0.3)
    with pytest.raises(
        InvalidArgument, match="another recipe: learning_rate was 0.1, now 0.3"
    ):
        run(tmp_path, "run", other, resume=True)
    with pytest.raises(InvalidArgument, match="another network: its layers or classes"):
        run(
            tmp_path,
            "run",
            recipe,
            resume=True,
            model=classifier("bottleneck_original"),
        )
    with pytest.raises(InvalidArgument, match="other data: train was 30, now 35"):
        train(
            classifier(),
            open_small(tmp_path, 0.25, train=45),
            recipe,
            tmp_path / "run",
            preprocessing=WANTED,
            resume=True,
        )


def test_an_interrupted_command_ends_in_one_line(tmp_path, capsys, monkeypatch):
    from commands import run as command

    from keras_resnets.training import session

    def interrupted(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "train", interrupted)
    words = ["train", "resnet8", "--data", write_npz(tmp_path / "d.npz", train=60)]
    words += ["--recipe", "cifar_cosine", "--output", tmp_path / "run"]
    words += ["--input-size", "16", "--batch-size", "8"]
    code, _, err = command(*words, capsys=capsys)
    assert (code, err) == (130, "keras-resnets: interrupted\n")


@pytest.mark.costly
@pytest.mark.usefixtures("untraced")
def test_damaged_state(tmp_path):
    recipe = short("cifar_cosine", 1)
    run(tmp_path, "run", recipe)
    path = tmp_path / "run" / "last.state.npz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(TrainingError, match="last.state.npz is damaged"):
        run(tmp_path, "run", recipe, resume=True)


@pytest.mark.torch
def test_cause_of_a_loss_that_is_no_number(tmp_path):
    """It is looked for in the data, in the weights, and in the precision."""
    recipe, data = short("cifar_cosine", 1), open_small(tmp_path)
    broken = keras_resnets.Preprocessing("cifar", (16, 16), 1.0)
    # What the class itself refuses.
    object.__setattr__(broken, "std", (0.2, np.nan, 0.2))
    for wanted, dtype, expected in (
        (broken, None, "the images of that step are not finite"),
        (
            WANTED,
            "mixed_float16",
            "overflow float16: use mixed_bfloat16, with float32's",
        ),
        (WANTED, None, "activations overflow: the learning rate of 0.1"),
    ):
        job = loop.Job(classifier(dtype=dtype), data, recipe, wanted, 8)
        assert expected in diagnosis.cause(job, 0.1, 0, 1)


@pytest.mark.costly
@pytest.mark.torch
@pytest.mark.usefixtures("untraced")
def test_full_disk_at_a_checkpoint(tmp_path, monkeypatch):
    """The state before it survives, and the run goes on from there."""
    recipe = short("cifar_cosine", 2)
    whole = run(tmp_path, "whole", recipe)
    real, count = np.savez, iter(range(100))

    def full(file, **values):
        if next(count) == 4:
            file.write(b"half of it")
            raise OSError(28, "No space left on device")
        real(file, **values)

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        with pytest.raises(
            TrainingError, match="No space left on device; the previous"
        ):
            run(tmp_path, "stopped", recipe)
    names = {path.name for path in (tmp_path / "stopped").iterdir()}
    assert not [name for name in names if name.startswith(".")]
    check_equal(whole, run(tmp_path, "stopped", recipe, resume=True))


PROBE = """
import os, sys
if os.environ["KERAS_BACKEND"] == "jax":
    # As where it is not installed: whoever imports it fails.
    sys.modules["tensorflow"] = None
import keras, numpy as np
from keras_resnets.training import devices
folder, name, count = sys.argv[1:4]
port, processes, process = (int(word) for word in sys.argv[4:])
if processes > 1:
    devices.connect(f"127.0.0.1:{port}", processes, process)
from training_helpers import classifier, short, WANTED
from keras_resnets.training import correctness, loop
from keras_resnets.training.data import open_dataset
from keras_resnets.training.session import train
if count != "None" and keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * int(count))
    names = [f"cpu:{index}" for index in range(int(count))]
    keras.distribution.list_devices = lambda *given: names
keras.utils.set_random_seed(1)
with devices.use(None if count == "None" else count):
    model = classifier()
    run = train(model, open_dataset(f"{folder}/small.npz", 0.2),
                short("he2015_cifar", 2, ema=0.5), f"{folder}/{name}",
                preprocessing=WANTED, verbose=0)
    job = loop.Job(model, open_dataset(f"{folder}/small.npz", 0.25), short("finetune"),
                   WANTED, 6, verbose=0)
    right = correctness.Correctness(job)()
if process == 0:
    np.savez(f"{folder}/{name}.npz",
             right=right,
             *model.get_weights(),
             loss=[row["loss"] for row in run.history],
             val_loss=[row["val_loss"] for row in run.history])
"""


def start_probe(folder, backend, name, devices=None, port=0, processes=1, process=0):
    if not (folder / "small.npz").exists():
        write_npz(folder / "small.npz", train=40)
    words = [folder, name, devices, port, processes, process]
    return subprocess.Popen(
        [sys.executable, "-c", PROBE, *map(str, words)],
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
        },
        stderr=subprocess.PIPE,
        text=True,
    )


def finish_probe(started, folder, name):
    """The arrays of the first of processes that ran together."""
    while any(process.poll() is None for process in started):
        time.sleep(0.2)
        if any(process.poll() for process in started):
            # The others would wait for it until they lose patience.
            [process.kill() for process in started]
    errors = "\n".join(process.communicate()[1][-3000:] for process in started)
    assert not any(process.returncode for process in started), errors
    with np.load(folder / f"{name}.npz") as file:
        return dict(file)


def probe(folder, backend, name, devices=None):
    return finish_probe([start_probe(folder, backend, name, devices)], folder, name)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.mark.slow
def test_backends_devices_and_machines_train_alike(tmp_path):
    """TensorFlow, two devices, JAX without TensorFlow, and two JAX processes."""
    keras.utils.set_random_seed(1)
    write_npz(tmp_path / "small.npz", train=40)
    made = train(
        classifier(),
        data.open_dataset(tmp_path / "small.npz", 0.2),
        short("he2015_cifar", 2, ema=0.5),
        tmp_path / "run",
        preprocessing=WANTED,
        verbose=0,
    )
    losses = [row["loss"] for row in made.history]
    port = free_port()
    both = [start_probe(tmp_path, "jax", "both", None, port, 2, n) for n in (0, 1)]
    one = probe(tmp_path, "jax", "one")
    both = finish_probe(both, tmp_path, "both")
    np.testing.assert_allclose(one["loss"], losses, rtol=1e-3)
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(both[name], one[name], rtol=1e-5, err_msg=name)
    for key in set(one) - {"right"}:
        np.testing.assert_allclose(both[key], one[key], rtol=1e-3, atol=1e-5)
    # MirroredStrategy: BN sees the pictures of its own device, so the losses are near.
    two = probe(tmp_path, "tensorflow", "two", devices=2)
    split = data.open_dataset(tmp_path / "small.npz", 0.25).validation
    for found in (one, both, two):
        model = classifier()
        model.set_weights([found[f"arr_{place}"] for place in range(len(found) - 3)])
        assert str(found["right"]) == truth(model, split) and split.count == 10
    np.testing.assert_allclose(two["loss"], losses, rtol=0.2)
    assert not np.allclose(two["loss"], losses, rtol=1e-6)


def wait_for_changes(path, count, process):
    """Until a file was seen to be another so many times, or the process ended."""

    def identity():
        return path.stat().st_ino if path.exists() else None

    last = identity()
    while count and process.poll() is None:
        time.sleep(0.001)
        if (now := identity()) != last:
            last, count = now, count - 1


@pytest.mark.slow
def test_killed_five_times_and_gone_on_with(tmp_path):
    """SIGKILL at random moments: the last state is that of an uninterrupted run."""
    write_npz(tmp_path / "d.npz", train=400)
    words = [sys.executable, "-m", "keras_resnets", "train", "resnet8"]
    words += ["--data", "d.npz", "--recipe", "cifar_cosine", "--epochs", "8"]
    words += ["--batch-size", "20", "--input-size", "16", "--deterministic"]
    words += ["--save-seconds", "0", "--change", "ema=0.9", "--change", "mixup=0.2"]
    words += ["--precision", "mixed_bfloat16", "--set", "block_dropout_rate=0.2"]

    def start(name, *more):
        return subprocess.Popen(
            [*words, "--output", name, *more],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
        )

    assert start("whole").wait() == 0
    rng = np.random.default_rng()
    written, more = tmp_path / "killed" / "last.state.npz", []
    for _ in range(5):
        process = start("killed", *more)
        # Five lives of so many of the run's 160 steps, and anywhere within the next.
        wait_for_changes(written, rng.integers(1, 28), process)
        time.sleep(rng.uniform(0, 0.1))
        assert process.poll() is None
        process.kill()
        process.wait()
        more = ["--resume"]
    assert start("killed", *more).wait() == 0
    (one, first), (two, second) = (
        state.read(tmp_path / name / "last.state.npz") for name in ("whole", "killed")
    )
    assert without_time(one.history) == without_time(two.history)
    for name, values in first.items():
        np.testing.assert_array_equal(second[name], values, err_msg=name)


@pytest.mark.torch
def test_devices_are_listed_and_counted():
    """On PyTorch as well, of which `keras.distribution` knows nothing."""
    assert devices.listed() == ["cpu:0"] and not devices.accelerated()
    with pytest.raises(InvalidArgument, match="devices must be a number from 1 to 1"):
        devices.use(2).__enter__()


@pytest.mark.torch
def test_logs_for_tensorboard_need_tensorflow(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidArgument, match="tensorboard requires TensorFlow, which"):
        run(tmp_path, "run", short("cifar_cosine"), tensorboard=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("avx512_bf16", True), ("amx_bf16", True), ("avx512f", False)],
)
def test_precision_of_the_processor(flags, expected, tmp_path, monkeypatch):
    listed = tmp_path / "cpuinfo"
    listed.write_text(f"processor : 0\nflags : fpu sse2 {flags} avx2\n")
    assert devices.multiplies_bfloat16(listed) == expected
    assert not devices.multiplies_bfloat16(tmp_path / "none")
    monkeypatch.setattr(devices, "multiplies_bfloat16", lambda: expected)
    monkeypatch.setattr(devices, "accelerated", lambda: False)
    known = {True: "mixed_bfloat16", False: "float32"}
    assert devices.safe_precision() == known[expected]
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert devices.safe_precision() == "float32"
