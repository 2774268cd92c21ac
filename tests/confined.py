"""Hostile cases, one by one, in a process that may hang, crash or take memory.

`confined` starts a process of its own, which has imported what the function needs, and
says of every case what came of it: the process is measured while it works, and killed
and started anew where it does not answer. Only Linux tells the memory of one case.
"""

import collections
import dataclasses
import multiprocessing
import os
import pathlib
import time

SECONDS, MEGABYTES = 5.0, 300.0
# What a child may take at all: enough to see how much a case wants, not to harm.
_ROOM = 2 << 30


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one case.

    Attributes:
        kind: `"ok"`; `"refused"`, one of the errors that were expected; `"traceback"`,
            another; `"crash"`, the process ended; `"hang"`, no answer in time.
        said: the type of the error and its text.
        seconds: until the answer.
        megabytes: most memory during the case, above what the process had before.
    """

    kind: str
    said: str
    seconds: float
    megabytes: float

    def fault(self, seconds=SECONDS, megabytes=MEGABYTES):
        """What is wrong, in a few words; empty for what was handled."""
        if self.kind not in ("ok", "refused"):
            return f"{self.kind}: {self.said[:300]}"
        if self.kind == "refused" and "\n" in self.said:
            return f"more than a line: {self.said[:300]!r}"
        if not self.said.isprintable():
            return f"not printable: {self.said[:300]!r}"
        if self.seconds > seconds:
            return f"{self.seconds:.1f} s"
        if self.megabytes > megabytes:
            return f"{self.megabytes:.0f} MB"
        return ""


def confined(function, cases, expected, warm=None, seconds=SECONDS):
    """Yields (case, `Outcome`) of `function(case)` for every case.

    Args:
        function: of a module that can be imported; its answer is thrown away.
        cases: what can be sent to another process, such as paths.
        expected: tuple of errors that are answers, not faults.
        warm: a case that is done first and not counted, so that imports are not.
        seconds: after which a case counts as hanging; it gets twice as long.
    """
    child = None
    try:
        for case in cases:
            if child is None:
                child = _Child(function, expected, warm)
            outcome = child.run(case, 2 * seconds)
            if outcome.kind in ("crash", "hang"):
                child.end()
                child = None
            yield case, outcome
    finally:
        if child is not None:
            child.end()


def check(function, cases, expected, record_property, warm=None):
    """Tries (label, case) one by one; fails with what is wrong of which."""
    labels, contents = zip(*cases, strict=True)
    outcomes = confined(function, contents, expected, warm)
    faults = [
        f"{label}: {outcome.fault()}"
        for label, (_, outcome) in zip(labels, outcomes, strict=True)
        if outcome.fault()
    ]
    tried = f"{len(labels)} tried, {len(labels) - len(faults)} handled"
    record_property("hostile", tried)
    assert not faults, f"{tried}: {faults[:20]}"


def faults_by_name(answer, cases, expected, record_property, warm=None):
    """What is wrong, by case; how many were tried and handled is printed.

    Args:
        answer: function of a case, see `confined`.
        cases: tuples (name of what is done, path).
        expected: see `confined`.
        record_property: the fixture.
        warm: see `confined`.
    """
    found, kinds = {}, collections.Counter()
    for case, outcome in confined(answer, cases, expected, warm):
        kinds[f"{case[0]}: {outcome.kind}"] += 1
        if outcome.fault():
            found[f"{case[0]} {os.path.basename(str(case[1]))}"] = outcome.fault()
    said = f"tried {len(cases)}, handled {len(cases) - len(found)}"
    record_property("tried", said)
    print(said, dict(kinds))  # noqa: T201
    return {"": said, **found} if found else {}


class _Child:
    def __init__(self, function, expected, warm):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_work, args=(theirs, function, expected), daemon=True
        )
        self._process.start()
        theirs.close()
        if warm is not None:
            self.run(warm, 300)

    def run(self, case, seconds):
        began = time.perf_counter()
        self._pipe.send(case)
        if not self._pipe.poll(seconds):
            return Outcome("hang", "no answer", time.perf_counter() - began, 0.0)
        try:
            return Outcome(*self._pipe.recv())
        except (EOFError, ConnectionError):
            self._process.join(5)
            said = f"exit code {self._process.exitcode}"
            return Outcome("crash", said, time.perf_counter() - began, 0.0)

    def end(self):
        self._pipe.close()
        self._process.kill()
        self._process.join()


def _work(pipe, function, expected):
    import resource

    limited = False
    while True:
        try:
            case = pipe.recv()
        except EOFError:
            return
        if limited:
            size = _kilobytes("VmSize") * 1024 + _ROOM
            resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))
        # Forgets the most memory so far.
        pathlib.Path("/proc/self/clear_refs").write_text("5")
        before, began = _kilobytes("VmRSS"), time.perf_counter()
        kind, said = "ok", ""
        try:
            function(case)
        except expected as error:
            kind, said = "refused", f"{type(error).__name__}: {error}"
        except BaseException as error:
            kind, said = "traceback", f"{type(error).__name__}: {error}"
        took = time.perf_counter() - began
        most = (_kilobytes("VmHWM") - before) / 1024
        pipe.send((kind, said[:10_000], took, most))
        limited = True


def _kilobytes(field):
    for line in pathlib.Path(f"/proc/{os.getpid()}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise LookupError(field)
