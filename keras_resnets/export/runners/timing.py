"""How long a call takes."""

import statistics
import time


def median_seconds(call, runs=10, warmup=2):
    """Median wall time of `call()`."""
    seconds = []
    for run in range(warmup + runs):
        start = time.perf_counter()
        call()
        if run >= warmup:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
