"""A file of strangers runs in a process of its own, which may end as it likes."""

import os
import signal

import numpy as np
import pytest
from helpers import noise
from helpers import write_formats

from keras_resnets import InvalidArgument
from keras_resnets.cli import main as cli
from keras_resnets.export.compare import benchmark
from keras_resnets.export.compare import isolated
from keras_resnets.export.compare import verify
from keras_resnets.export.compare.open_runner import open_runner

SHAPE = (16, 16, 3)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with one network in three formats, and an ONNX file that takes 16 GB."""
    import onnx

    folder = tmp_path_factory.mktemp("apart")
    write_formats(folder, SHAPE)
    make = onnx.helper
    nodes = [
        make.make_node("ConstantOfShape", ["sides"], ["zeros"]),
        make.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
        make.make_node("Add", ["x", "sum"], ["y"]),
    ]
    sides = make.make_tensor("sides", onnx.TensorProto.INT64, [2], [200_000, 20_000])
    ends = [
        make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, *SHAPE))
        for name in "xy"
    ]
    graph = make.make_graph(nodes, "bomb", ends[:1], ends[1:], [sides])
    bomb = make.make_model(
        graph, opset_imports=[make.make_opsetid("", 17)], ir_version=9
    )
    onnx.save(bomb, folder / "bomb.onnx")
    return folder


@pytest.mark.costly_but("a.tflite")
@pytest.mark.parametrize("name", ["a.tflite", "a.onnx", "saved"])
def test_it_answers_as_here(name, files):
    images = noise(3, *SHAPE)
    here, there = open_runner(files / name, 1), isolated.open_apart(files / name, 1)
    for fact in ("input_shape", "output_names", "tapped", "has_logits", "takes_pixels"):
        assert getattr(here, fact) == getattr(there, fact), fact
    np.testing.assert_array_equal(here(images), there(images))
    with pytest.raises(InvalidArgument, match="takes images of 16 x 16 x 3; got 8"):
        there(noise(1, 8, 8, 3))
    np.testing.assert_array_equal(here(images[:1]), there(images[:1]))


def test_logits_and_tensors(files):
    images = noise(2, *SHAPE)
    here = open_runner(files / "a.tflite", logits=True)
    there = isolated.open_apart(files / "a.tflite", logits=True)
    assert there.tapped == here.tapped == ("predictions",)
    np.testing.assert_array_equal(here(images), there(images))
    paths = files / "a.tflite", files / "b.tflite"
    expected = verify.layer_losses(*paths, images)
    assert verify.layer_losses(*paths, images, opener=isolated.open_apart) == expected


def test_a_crash_is_one_line(files):
    runner = isolated.open_apart(files / "a.tflite")
    os.kill(runner._process.pid, signal.SIGSEGV)
    with pytest.raises(InvalidArgument, match="its runtime crashed .*signal 11"):
        runner(noise(1, *SHAPE))
    with pytest.raises(InvalidArgument, match="its runtime crashed .*signal 11"):
        runner(noise(1, *SHAPE))


def test_what_does_not_end_is_ended(files, monkeypatch):
    monkeypatch.setattr(isolated, "LOAD", 0.01)
    with pytest.raises(InvalidArgument, match="it took more than 0 seconds"):
        isolated.open_apart(files / "a.tflite")
    monkeypatch.undo()
    runner = isolated.open_apart(files / "a.tflite")
    os.kill(runner._process.pid, signal.SIGSTOP)
    monkeypatch.setattr(isolated, "FIRST", 0.5)
    with pytest.raises(InvalidArgument, match="it took more than"):
        runner(noise(1, *SHAPE))
    assert runner._process.wait(5) == -signal.SIGKILL


def test_a_benchmark_ends_too(files, monkeypatch):
    with pytest.raises(InvalidArgument, match="bomb.onnx fails on images"):
        benchmark.benchmark([files / "bomb.onnx"], runs=1)
    monkeypatch.setattr(isolated, "LOAD", 0.01)
    monkeypatch.setattr(isolated, "FIRST", 0.0)
    with pytest.raises(InvalidArgument, match="it took more than 0 seconds"):
        benchmark.benchmark([files / "a.onnx"], runs=1)


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="limits are Linux's")
def test_memory_is_bounded_until_one_image_has_run(files, capsys):
    runner = isolated.open_apart(files / "bomb.onnx")
    with pytest.raises(InvalidArgument, match="fails on images of 16 x 16 x 3"):
        runner(noise(1, *SHAPE))
    assert cli.main(["verify", str(files / "bomb.onnx"), str(files / "a.onnx")]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "bomb.onnx fails on images" in line


def test_no_process_is_left(files):
    runner = isolated.open_apart(files / "a.tflite")
    process = runner._process
    del runner
    assert process.poll() == -signal.SIGKILL
