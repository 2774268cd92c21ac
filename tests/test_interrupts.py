"""Ctrl-C and SIGTERM: one line, the code of the signal, nothing left behind.

`benchmarks/faults.py` sends signals at random moments of whole commands; here are the
ways in which an interrupt gets lost, one by one, in processes that take no time.
"""

import functools
import hashlib
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import local_server
import numpy as np
import pytest
from conftest import ROOT

from keras_resnets.cli import main as cli
from keras_resnets.io import files
from keras_resnets.system import interrupts

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
# A command whose work is `work`, which says when it is at it.
SCRIPT = """
import hashlib, pathlib, signal, sys, time
from keras_resnets.io import files
from keras_resnets.system import child_process as child, interrupts
# A shell's background jobs ignore it, and under nohup SIGHUP, such as these tests.
signal.signal(signal.SIGINT, signal.default_int_handler)
{hangup}signal.signal(signal.SIGHUP, signal.SIG_DFL)
interrupts.begin()
interrupts._PATIENCE = 1.5
def ready():
    print("ready", flush=True)
{work}
interrupts.leave(interrupts.run(work))
"""
TAKES_LONG = "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"


def started(work, folder, nohup=False, **options):
    hangup = "# " if nohup else ""
    script = SCRIPT.format(work=textwrap.dedent(work), hangup=hangup)
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
        start_new_session=True,
        **options,
    )
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    return process


def ended(process, *numbers, within=5):
    """(exit code, standard error) after signals; it must end in time."""
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.7 * (len(numbers) > 1))
    began = time.monotonic()
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - began < within
    return process.returncode, err


@pytest.mark.parametrize(
    "number, code, word",
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "terminated"),
    ],
)
def test_one_line_and_nothing_left(number, code, word, tmp_path):
    process = started(
        """
        def work():
            with (
                files.atomic_file("a.txt") as file,
                files.atomic_folder("b", ("old",)),
                files.scratch_folder(),
                child.started("timeit", "-n1", "import time; time.sleep(60)") as other,
            ):
                file.write_text("half")
                pathlib.Path("number").write_text(str(other.pid))
                ready()
                time.sleep(60)
        """,
        tmp_path,
    )
    other = int((tmp_path / "number").read_text())
    assert ended(process, number) == (code, f"keras-resnets: {word}\n")
    assert os.listdir(tmp_path) == ["number"]
    with pytest.raises(ProcessLookupError):
        os.kill(other, 0)


LOST = {
    "bare except": """
        def work():
            ready()
            for _ in range(100):
                try:
                    time.sleep(60)
                except:
                    pass
        """,
    "__del__": """
        class Cyclic:
            def __del__(self):
                ready()
                time.sleep(1)
        def work():
            Cyclic()
            time.sleep(60)
        """,
    "another exception": """
        def work():
            ready()
            try:
                time.sleep(60)
            except BaseException:
                raise ValueError("a library's own") from None
        """,
    "import": """
        pathlib.Path("slow.py").write_text(
            "print('ready', flush=True)\\n"
            "import time\\n"
            "try:\\n    time.sleep(60)\\n"
            "except BaseException:\\n    raise ImportError('broken') from None\\n"
        )
        sys.path.insert(0, "")
        def work():
            import slow
        """,
    "C": f"""
        def work():
            ready()
            with files.scratch_folder():
                {TAKES_LONG}
        """,
}


@pytest.mark.costly_but("bare except", "__del__")
@pytest.mark.parametrize("work", LOST.values(), ids=LOST)
def test_an_interrupt_that_gets_lost_comes_again(work, tmp_path):
    process = started(work, tmp_path)
    time.sleep(0.2)
    assert ended(process, signal.SIGTERM) == (143, "keras-resnets: terminated\n")
    assert [name for name in os.listdir(tmp_path) if name.startswith("keras")] == []


@pytest.mark.costly_but("held()")
@pytest.mark.parametrize("held", ["held()", "held(1)", "at_the_end(None)"])
def test_a_second_ctrl_c_ends_at_once(held, tmp_path):
    work = f"""
        interrupts._PATIENCE = 60
        def work():
            with files.atomic_file("a.txt"), interrupts.{held}:
                ready()
                {TAKES_LONG}
        """
    process = started(work, tmp_path)
    code, err = ended(process, signal.SIGINT, signal.SIGINT, within=2)
    assert (code, err) == (130, "keras-resnets: interrupted\n")
    assert os.listdir(tmp_path) == []


def test_what_is_held_is_finished_first(tmp_path):
    work = """
        def work():
            with interrupts.held():
                ready()
                time.sleep(1)
                pathlib.Path("whole").write_text("")
            pathlib.Path("more").write_text("")
        """
    process = started(work, tmp_path)
    assert ended(process, signal.SIGINT)[0] == 130
    assert os.listdir(tmp_path) == ["whole"]


@pytest.mark.costly
@pytest.mark.parametrize("waits", ["time.sleep(60)", TAKES_LONG])
def test_temporary_files_of_libraries_go_as_well(waits, tmp_path):
    work = f"""
        import tempfile
        from keras_resnets.cli import main as cli
        def main(arguments):
            return interrupts.run(work)
        def work():
            tempfile.mkdtemp()
            ready()
            {waits}
        cli.main = main
        cli.entry_point()
        """
    process = started(work, tmp_path)
    assert ended(process, signal.SIGINT) == (130, "keras-resnets: interrupted\n")
    assert os.listdir(tmp_path) == []


@pytest.mark.costly
def test_what_was_there_stays_where_the_folder_cannot_be_moved(tmp_path):
    """Ended by force between the two moves of a folder."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "old").write_text("old")
    work = f"""
        import os
        def stuck(source, target, move=os.replace):
            move(source, target)
            if str(source) == "b":
                ready()
                {TAKES_LONG}
        def work():
            with files.atomic_folder("b", ("old",)):
                os.replace = stuck
        """
    process = started(work, tmp_path)
    assert not (tmp_path / "b").exists()
    assert ended(process, signal.SIGTERM)[0] == 143
    assert os.listdir(tmp_path) == ["b"] and os.listdir(tmp_path / "b") == ["old"]


def test_nohup_stays_deaf(tmp_path):
    work = """
        def work():
            ready()
            time.sleep(1)
            pathlib.Path("whole").write_text("")
        """
    deaf = functools.partial(signal.signal, signal.SIGHUP, signal.SIG_IGN)
    process = started(work, tmp_path, nohup=True, preexec_fn=deaf)
    assert ended(process, signal.SIGHUP) == (0, "")


@pytest.mark.costly
def test_a_child_ends_when_its_parent_is_killed(tmp_path):
    """And takes away the folder that was handed to it."""
    work = """
        import os
        def work():
            with files.scratch_folder() as folder:
                # Nobody writes the job: the child waits for it in C.
                os.mkfifo(folder / "job.json")
                worker = child.started("keras_resnets.tfmot.worker.main", folder)
                with worker as process:
                    pathlib.Path("number").write_text(str(process.pid))
                    ready()
                    time.sleep(60)
        """
    process = started(work, tmp_path)
    other = pathlib.Path("/proc", (tmp_path / "number").read_text())
    assert other.exists()
    process.kill()
    process.communicate()
    ends = time.monotonic() + 30
    while other.exists() and time.monotonic() < ends:
        time.sleep(0.05)
    assert not other.exists()
    assert os.listdir(tmp_path) == ["number"]


def test_a_lock_ends_with_its_process(tmp_path):
    work = """
        def work():
            assert files.lock("lock")
            ready()
            time.sleep(60)
        """
    process = started(work, tmp_path)
    assert files.lock(tmp_path / "lock") is None
    process.kill()
    process.communicate()
    found = files.lock(tmp_path / "lock")
    assert files.lock(tmp_path / "lock") is None
    found.close()
    assert os.listdir(tmp_path) == []


def test_the_handlers_of_a_program_come_back(capsys):
    def handlers():
        return [
            sys.unraisablehook,
            *map(signal.getsignal, (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)),
        ]

    found = handlers()
    assert cli.main(["list"]) == 0
    assert handlers() == found
    assert not interrupts.received()


def test_a_program_that_imports_the_package_keeps_its_handlers():
    script = (
        "import signal;"
        "all = lambda: [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)];"
        "before = all(); import keras_resnets, keras_resnets.cli; assert all() == before"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_one_cache_for_processes_that_are_killed(tmp_path):
    """Three download one file at once, and the first is killed in the middle of it."""
    content = np.random.default_rng(0).bytes(3_000_000)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    with local_server.running() as (address, site):
        site.files["/a.pth"] = content
        site.slow["/a.pth"] = 0.5
        words = [f"{address}/a.pth", str(tmp_path / "cache" / "a.pth"), digest]
        script = "import sys; from keras_resnets.weights import store;"
        script += "print('ready', flush=True); store.download(*sys.argv[1:])"
        several = [
            subprocess.Popen(
                [sys.executable, "-c", script, *words],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(3)
        ]
        while not site.asked:
            time.sleep(0.01)
        several[0].kill()
        said = [process.communicate(timeout=60) for process in several]
    assert [process.returncode for process in several][1:] == [0, 0], said
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["a.pth"]
    assert (tmp_path / "cache" / "a.pth").read_bytes() == content


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "search", "export", "convert", "cluster"])
def test_signals_at_random_moments_of_whole_commands(command):
    words = ["--commands", command, "--moments", "3", "--pairs", "1"]
    script = ROOT / "benchmarks" / "faults.py"
    done = subprocess.run(
        [sys.executable, str(script), *words], capture_output=True, text=True
    )
    assert "tried 10, well 10" in done.stdout, done.stdout + done.stderr
