"""The saved states of the trainings of the accelerator queue (device_training.py)."""

import json
import os
import zipfile

import numpy as np

GROUPS = ("trainable", "fixed", "optimizer")
# Entries of a task that do not change what it learns.
BESIDES = ("name", "alone")


def save_state(path, groups, rows, done, task):
    """Writes all that a training goes on from; the file appears whole or not at all."""
    arrays = {}
    for group, values in groups.items():
        if done and group == "optimizer":
            continue
        arrays |= {f"{group}_{n}": np.asarray(v) for n, v in enumerate(values)}
    temporary = path.with_suffix(".part.npz")
    settings = json.dumps(settings_of(task))
    np.savez(temporary, rows=json.dumps(rows), done=done, task=settings, **arrays)
    os.replace(temporary, path)


def settings_of(task):
    """The entries of a task that decide what is trained."""
    return {name: value for name, value in task.items() if name not in BESIDES}


def progress(path, task=None):
    """(epochs that are over, done) of a state.

    Args:
        path: of the state.
        task: whose settings the state must have; None for any. States of before
            2026-11-28 do not tell theirs.

    Raises:
        SystemExit: a file that is no state, or one of other settings.
    """
    try:
        with np.load(path) as file:
            found = len(json.loads(str(file["rows"]))), bool(file["done"])
            own = json.loads(str(file["task"])) if "task" in file and task else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise SystemExit(
            f"{path} is no state of a training ({type(error).__name__}): delete it to "
            "begin that training anew"
        ) from None
    now = own and settings_of(task)
    for name in sorted({*own, *now} if own else ()):
        if own.get(name) != now.get(name):
            raise SystemExit(
                f"{path} was trained with other settings ({name} was {own.get(name)!r}, is "
                f"now {now.get(name)!r}): delete it to begin that training anew"
            )
    return found


def load_state(path, task=None):
    """(groups of arrays by name, rows of the history, done); see `progress`."""
    progress(path, task)
    with np.load(path) as file:
        groups = {group: [] for group in GROUPS}
        for group, values in groups.items():
            while f"{group}_{len(values)}" in file:
                values.append(file[f"{group}_{len(values)}"])
        return groups, json.loads(str(file["rows"])), bool(file["done"])
