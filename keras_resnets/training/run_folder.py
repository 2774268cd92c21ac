"""The folder of a training: what it was told, where it stands, what came out."""

import contextlib
import csv
import io
import json
import os
import pathlib
import tempfile
import typing

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import printable
from keras_resnets.io import files
from keras_resnets.io import plots
from keras_resnets.io.untrusted import parse_json
from keras_resnets.io.untrusted import read_text
from keras_resnets.io.untrusted import shown
from keras_resnets.training import state
from keras_resnets.training.run_files import landing
from keras_resnets.training.run_files import told
from keras_resnets.weights import metadata

if typing.TYPE_CHECKING:
    import keras

    from keras_resnets.graph.provenance import Provenance


# What a run may not change when it goes on, for it would be another run.
FIXED = (
    "model",
    "network",
    "backend",
    "classes",
    "data",
    "seed",
    "precision",
    "batch_size",
    "class_weight",
    "sampler",
    "recipe",
)
# Whoever trains holds it; it is gone when nobody does.
_LOCK = ".keras_resnets.lock"
# Fields of a recipe for people.
_PROSE = ("source", "published")
# What a recipe's number of epochs stretches.
_STRETCHED = ("milestones", "warmup")
# Beyond any number of epochs.
_MOST = 1e12


class RunFolder:
    """Files of one training under `path`.

    `run.json` (command, recipe, seed, versions, data, figures), `history.csv`,
    `curves.png`, `best.weights.h5`, `last.weights.h5` and `last.state.npz`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path)
        self.state = self.path / "last.state.npz"
        self.record = self.path / "run.json"
        self._lock: typing.Any = None

    def weights(self, name: str) -> pathlib.Path:
        """The file of the `"best"` or `"last"` weights."""
        return self.path / f"{name}.weights.h5"

    def open(self, facts: dict[str, typing.Any], resume: bool) -> dict[str, typing.Any]:
        """Makes the folder of a new run, or checks that it is this run's.

        It is this process's until `close`, where the file system has locks.

        Args:
            facts: what `run.json` says of the run.
            resume: go on with the run that is there.

        Returns:
            The facts, of an earlier start where there was one.

        Raises:
            InvalidArgument: a folder that holds something already, that another process
                trains in, or one to resume that holds another run or none, or one of
                more epochs.
        """
        try:
            return self._open(facts, resume)
        except BaseException:
            self.close()
            raise

    def _open(
        self, facts: dict[str, typing.Any], resume: bool
    ) -> dict[str, typing.Any]:
        if not resume:
            self._make()
            self.write_record(facts)
            return facts
        if not self.record.is_file():
            raise InvalidArgument(f"there is no run in {self.path} to resume")
        self._take()
        given = json.loads(json.dumps(facts))
        known = _read(self.record, given)
        known.setdefault("class_weight", None)
        known.setdefault("sampler", "shuffled")
        _renew(known["recipe"], self.path)
        # What is written about a recipe trains nothing, and may be said better since.
        said = {name: given["recipe"].get(name) for name in _PROSE}
        known["recipe"] |= {name: text for name, text in said.items() if text}
        longer = _extended(known.get("recipe"), given["recipe"])
        for name in FIXED:
            if known.get(name) != given[name] and not (longer and name == "recipe"):
                raise InvalidArgument(
                    f"{self.path} holds a run with another {name}: "
                    f"{_difference(known.get(name), given[name])}"
                )
        if self.state.exists():
            # A damaged one is told before anything is written.
            state.read(self.state)
        if longer:
            before = known["recipe"]["epochs"]
            known["extended"] = [*known.get("extended", ()), before]
            known["recipe"] = given["recipe"]
        ended = ("reason", "figures")
        known = {name: value for name, value in known.items() if name not in ended}
        known["status"] = "running"
        self.write_record(known)
        return known

    def close(self) -> None:
        """Lets other processes have the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take(self) -> None:
        """Raises `InvalidArgument` where another process trains here; else none will."""
        if self._lock is None:
            self._lock = files.lock(self.path / _LOCK)
        if self._lock is None:
            raise InvalidArgument(
                f"another process is training in {self.path}; wait for its end, or name "
                "another --output"
            )

    def _check_empty(self) -> None:
        if not self.path.exists():
            return
        is_folder = self.path.is_dir()
        names = {entry.name for entry in self.path.iterdir()} if is_folder else set()
        if _LOCK in names:
            self._take()
        if not is_folder or names - {_LOCK}:
            raise InvalidArgument(
                f"{self.path} is not empty; name another --output, or --resume the run"
            )

    def _make(self) -> None:
        self._check_empty()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise InvalidArgument(
                f"{self.path} cannot be written to: {error.strerror}"
            ) from None
        self._take()
        # Another may have been faster.
        self._check_empty()

    def write_record(self, facts: dict[str, typing.Any]) -> None:
        """Writes `run.json`."""
        self._write(self.record, json.dumps(facts, indent=1) + "\n")

    def write_history(self, rows: list[dict[str, float]]) -> None:
        """Writes `history.csv`, one row an epoch, and draws `curves.png`.

        Without matplotlib (extra `train`), or where it cannot be imported, there is no
        drawing.
        """
        # The first row may be of a network as it came, the last one has everything.
        columns = list(dict.fromkeys(name for row in rows[::-1] for name in row))
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        self._write(self.path / "history.csv", text.getvalue())
        with contextlib.suppress(InvalidArgument), told():
            plots.check_library()
            draw(rows, self.path / "curves.png")

    def write_weights(
        self, name: str, model: "keras.Model", provenance: "Provenance"
    ) -> None:
        """Writes the `"best"` or `"last"` weights, and what is known of them."""
        with landing(self.weights(name)) as temporary:
            metadata.write_weights(without_optimizer(model), temporary, provenance)

    def _write(self, path: pathlib.Path, text: str) -> None:
        with landing(path) as temporary:
            temporary.write_text(text, "utf-8")


def _read(path: pathlib.Path, like: dict[str, typing.Any]) -> dict[str, typing.Any]:
    """What `run.json` says.

    Args:
        path: of the file.
        like: what this run's would say: what an extension compares has these types.

    Raises:
        InvalidArgument: a damaged file, or another one.
    """
    what = "the record of a run"
    known = parse_json(read_text(path, what), path, what)
    recipe = known.get("recipe") if isinstance(known, dict) else None
    if not isinstance(recipe, dict):
        raise InvalidArgument(
            f"{printable(str(path))} must be {what}; it tells no recipe"
        )
    wrong = [
        name
        for name in ("epochs", *_STRETCHED)
        if not _is_like(recipe.get(name), like["recipe"][name])
    ]
    if wrong or not _is_like(known.get("extended", []), []):
        raise InvalidArgument(
            f"{printable(str(path))} must be {what}; it is damaged: "
            f"{wrong[0] if wrong else 'extended'} is of another kind"
        )
    return known


def _renew(recipe: dict[str, typing.Any], path: pathlib.Path) -> None:
    """Gives the recipe of an earlier version's run, a dict, the field that is new.

    Raises:
        InvalidArgument: a rule of what is kept that there is no more.
    """
    if "significance" in recipe:
        return
    margin = recipe.pop("margin", 0)
    if margin:
        raise InvalidArgument(
            f"{printable(str(path))} holds a run of an earlier version, which kept a later "
            f"stage by a margin of {shown(margin)} standard errors; this version tests "
            "image by image, of which its state has nothing: train anew with another "
            "--output, or finish it with that version"
        )
    # Without a margin the highest accuracy was kept.
    recipe["significance"] = 1.0


def _is_like(value: typing.Any, other: typing.Any) -> bool:
    """Whether a value is as another: a number, or a list of numbers."""
    if isinstance(other, list):
        return isinstance(value, list) and all(_is_like(each, 0) for each in value)
    return isinstance(value, (int, float)) and -_MOST < value < _MOST


def without_optimizer(model: "keras.Model") -> "keras.Model":
    """The same network as a model that was not compiled: its files hold no optimizer."""
    import keras

    return keras.Model(model.inputs, model.outputs, name=model.name)


def _extended(
    known: dict[str, typing.Any] | None, given: dict[str, typing.Any]
) -> bool:
    """Whether a recipe, as a dict, is another one of more epochs and no more than that.

    What the epochs stretch may differ by that alone.
    """
    if not known or not known["epochs"] < given["epochs"]:
        return False
    share = given["epochs"] / known["epochs"]

    def plain(recipe: typing.Any, factor: typing.Any) -> typing.Any:
        rest = {name: value for name, value in recipe.items() if name != "epochs"}
        for name in _STRETCHED:
            values = [rest[name]] if name == "warmup" else rest[name]
            rest[name] = [round(value * factor, 6) for value in values]
        return rest

    return plain(known, share) == plain(given, 1.0)


def _difference(known: typing.Any, given: typing.Any) -> str:
    if isinstance(known, dict) and isinstance(given, dict):
        for name in sorted({*known, *given}):
            if known.get(name) != given.get(name):
                known, given = known.get(name), given.get(name)
                return f"{name} was {_short(known)}, now {_short(given)}"
    return f"it was {_short(known)}, now {_short(given)}"


def _short(value: typing.Any) -> str:
    return shown(value)


def draw(rows: list[dict[str, float]], path: pathlib.Path) -> None:
    """Draws loss and accuracy over the epochs as a PNG.

    Args:
        rows: of a history, with `epoch`, `loss`, `accuracy` and, where there was
            validation, `val_loss` and `val_accuracy`.
        path: file to write.
    """
    import matplotlib.figure
    import matplotlib.ticker

    figure = matplotlib.figure.Figure(figsize=(9, 3.6), layout="constrained")
    for axes, name, scale in zip(
        figure.subplots(1, 2), ("loss", "accuracy"), (1, 100), strict=True
    ):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            known = [row for row in rows if key in row]
            if known:
                epochs = [row["epoch"] for row in known]
                values = [scale * row[key] for row in known]
                axes.plot(epochs, values, label=label, marker="." * (len(rows) < 30))
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
        axes.set_ylabel("loss" if name == "loss" else "accuracy, %")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    plots.save(figure, path, dpi=110)
