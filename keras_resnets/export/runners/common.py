"""What the runners of all formats share: turns, batches, outputs by name."""

import statistics
import time

import numpy as np


def median_seconds(call, runs=10, warmup=2, limit=5.0):
    """Median wall time of `call()`: of as many runs as `limit` seconds allow."""
    seconds, begin = [], time.perf_counter()
    for run in range(warmup + runs):
        start = time.perf_counter()
        call()
        end = time.perf_counter()
        # What takes so long needs no warming up.
        if run >= warmup or end - begin > limit:
            seconds.append(end - start)
        if seconds and end - begin > limit:
            break
    return statistics.median(seconds)


def in_batches(run, images, size):
    """Runs `images` a batch at a time; the last is filled up with the first picture.

    Args:
        run: function of a batch that returns its outputs by name.
        images: array (count, ...), at least one.
        size: of a batch; None for all at once.

    Returns:
        float32: the one output as an array, several as a dict.
    """
    count, size = len(images), size or len(images)
    missing = -count % size
    if missing:
        images = np.concatenate([images, np.repeat(images[:1], missing, axis=0)])
    found = [run(images[start : start + size]) for start in range(0, count, size)]
    return single(
        {
            name: np.concatenate([out[name] for out in found])[:count].astype("float32")
            for name in found[0]
        }
    )


def single(outputs):
    """The one output itself, several as the dict that they are."""
    return next(iter(outputs.values())) if len(outputs) == 1 else outputs


def is_pixel(dtype, scale=0.0, zero_point=0):
    """Whether an input of that type and quantization takes pixel values as they are."""
    return np.dtype(dtype) == np.uint8 and scale in (0.0, 1.0) and not zero_point
