"""The commands and the examples, as tests call them."""

import forks
from conftest import ROOT

from keras_resnets.cli import main as cli


def run(*words, capsys):
    """(exit code, stdout, stderr) of the command."""
    try:
        code = cli.main([str(word) for word in words])
    except SystemExit as stop:
        code = stop.code
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def reported(path, *parts):
    """The text of a page that `--report` wrote, in which all parts are."""
    text = path.read_text("utf-8")
    assert text.startswith("<!DOCTYPE html>") and text.endswith("</html>\n")
    for part in parts:
        assert part in text, part
    return text


def refused(*words, capsys, code=2):
    """The one line of stderr that a refused command prints."""
    found, out, err = run(*words, capsys=capsys)
    assert found == code, (found, out, err)
    assert err.count("\n") == 1 and "Traceback" not in err, err
    return err


def run_example(name, *words, cwd):
    done = forks.run_script(ROOT / "examples" / name, *words, cwd=cwd)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
