"""Threads do not get in each other's way: what one needs ends with it."""

import concurrent.futures
import contextlib
import logging
import sys
import threading
import warnings

import numpy as np
import pytest
from helpers import ONE_UNIT
from helpers import noise
from helpers import small_model

import keras_resnets
from keras_resnets.export import open_runner
from keras_resnets.export import to_tflite
from keras_resnets.networks import tensorflow_ops
from keras_resnets.system import shared
from keras_resnets.weights.assign import NewHead
from keras_resnets.weights.assign import new_heads_refused


@contextlib.contextmanager
def elsewhere(context):
    """`context` in another thread, for as long as the block lasts."""
    inside, over = threading.Event(), threading.Event()

    def stay():
        with context:
            inside.set()
            over.wait(60)

    thread = threading.Thread(target=stay)
    thread.start()
    assert inside.wait(60)
    try:
        yield
    finally:
        over.set()
        thread.join()


def overlapping(context, is_on):
    """Whether it is on in a block, after the first of two has ended, and after both."""
    first, second = context(), context()
    first.__enter__()
    second.__enter__()
    seen = [is_on()]
    first.__exit__(None, None, None)
    seen.append(is_on())
    second.__exit__(None, None, None)
    return [*seen, is_on()]


def is_told(warning):
    with warnings.catch_warnings(record=True) as told:
        warnings.warn_explicit(warning, None, "a.py", 1, registry={})
    return bool(told)


@pytest.mark.parametrize(
    "context, is_on",
    [
        (
            lambda: shared.loggers_hidden("tf2onnx"),
            lambda: not logging.getLogger("tf2onnx").isEnabledFor(logging.ERROR),
        ),
        (
            lambda: shared.warnings_ignored(NewHead),
            lambda: not is_told(NewHead("several\nlines")),
        ),
        (lambda: shared.stdout_to_stderr, lambda: sys.stdout is sys.stderr),
    ],
    ids=["loggers", "warnings", "stdout"],
)
def test_the_last_block_restores_what_the_first_found(context, is_on):
    filters = list(warnings.filters)
    assert overlapping(context, is_on) == [True, True, False]
    assert list(warnings.filters) == filters


def test_filters_of_others_stay():
    """Set before a block or in it; and a list of all, restored before its end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = list(warnings.filters)
        with shared.warnings_ignored():
            pass
        assert list(warnings.filters) == before
    with warnings.catch_warnings():
        with shared.warnings_ignored():
            warnings.simplefilter("error", NewHead)
        assert ("error", None, NewHead, None, 0) in warnings.filters
    with contextlib.ExitStack() as stack:
        with warnings.catch_warnings():
            stack.enter_context(shared.warnings_ignored())
        stack.close()
    assert is_told(NewHead("a"))


def test_another_thread_trains_while_one_exports(monkeypatch):
    monkeypatch.setattr(tensorflow_ops, "_probe", lambda *asked: False)
    with elsewhere(tensorflow_ops.native_convolution()):
        assert not tensorflow_ops.has_kernel(False, True, "float32")
    with tensorflow_ops.native_convolution():
        assert tensorflow_ops.has_kernel(False, True, "float32")
        with elsewhere(tensorflow_ops.native_convolution()):
            pass
        assert tensorflow_ops.has_kernel(False, True, "float32")
    assert not tensorflow_ops.has_kernel(False, True, "float32")


def test_threads_share_a_file(tmp_path):
    """Each gets the outputs of its own images, also in batches of other sizes."""
    model = small_model("basic_original", input_shape=(32, 32, 3), axes=ONE_UNIT)
    to_tflite(model, tmp_path / "a.tflite", batch="dynamic")
    runner = open_runner(tmp_path / "a.tflite")
    images = [noise(1 + place % 2, 32, 32, 3, seed=place) for place in range(4)]
    alone = [runner(x) for x in images]

    def work(place):
        return [runner(images[place]) for _ in range(40)]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for place, found in enumerate(pool.map(work, range(4))):
            assert all(np.allclose(one, alone[place], atol=1e-5) for one in found)


def test_another_thread_replaces_a_classifier_while_one_loads():
    with elsewhere(new_heads_refused.on()), pytest.warns(NewHead):
        made = keras_resnets.create_model("drn_a_14", weights="cifar10", classes=3)
    assert made.output_shape == (None, 3)
