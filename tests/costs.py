"""What each test costs: CPU seconds, its children's as well, and the process's memory.

A plugin of pytest, on where `KERAS_RESNETS_TEST_COSTS` names a folder: each worker
writes a CSV of its own there, and `benchmarks/suite_costs.py` adds them up. CPU, since
a clock on the wall also counts what else the machine does.
"""

import csv
import os
import pathlib
import resource

import pytest

FOLDER = "KERAS_RESNETS_TEST_COSTS"
FIELDS = ("test", "cpu_seconds", "peak_mb", "kept_mb", "children_peak_mb")


def cpu_seconds():
    return sum(os.times()[:4])


def memory_mb(key):
    """Of this process, by Linux: `VmHWM` at its highest, `VmRSS` now."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) // 1024
    return 0


class Costs:
    def __init__(self, folder):
        worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
        self.path = pathlib.Path(folder) / f"{worker}.csv"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._write(FIELDS, "w")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        # Linux starts to count VmHWM anew.
        pathlib.Path("/proc/self/clear_refs").write_text("5")
        before = cpu_seconds()
        try:
            return (yield)
        finally:
            children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
            spent = round(cpu_seconds() - before, 2)
            peak, kept = memory_mb("VmHWM"), memory_mb("VmRSS")
            self._write((item.nodeid, spent, peak, kept, children), "a")

    def _write(self, row, mode):
        with open(self.path, mode, newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(row)
