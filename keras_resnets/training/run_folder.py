"""The folder of a training: its options, its progress and its results."""

import contextlib
import csv
import io
import json
import os
import pathlib
import tempfile
import typing

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import TrainingError
from keras_resnets.errors import check_path
from keras_resnets.errors import first_line
from keras_resnets.errors import printable
from keras_resnets.io import files
from keras_resnets.io import plots
from keras_resnets.io.untrusted import parse_json
from keras_resnets.io.untrusted import read_text
from keras_resnets.io.untrusted import shown
from keras_resnets.training import state
from keras_resnets.training.run_files import failures_as_training_errors
from keras_resnets.training.run_files import landing
from keras_resnets.weights import metadata

if typing.TYPE_CHECKING:
    import keras

    from keras_resnets.graph.provenance import Provenance


# What may differ where the record has a hash.
_HASHED = {"network": "its layers or classes differ"}
_FINGERPRINT = "its files, labels or held-out images differ"
# Options that may not change when a run is resumed, and what messages call them. The
# seed is before the data, whose held-out images it chooses.
_CALLED = {
    "model": "another model",
    "axes": "other axes of the architecture",
    "network": "another network",
    "preprocessing": "other preprocessing",
    "backend": "another backend",
    "classes": "other classes",
    "seed": "another seed",
    "data": "other data",
    "precision": "another precision",
    "batch_size": "another batch size",
    "class_weight": "other class weights",
    "sampler": "another sampler",
    "recipe": "another recipe",
}
FIXED = tuple(_CALLED)
# Facts that runs of earlier versions did not record.
_NEWER = ("axes", "preprocessing")
# Held by the training process; removed at its end.
_LOCK = ".keras_resnets.lock"
# Fields of a recipe that do not affect training.
_PROSE = ("source", "published")
# Fields that a recipe's number of epochs stretches.
_STRETCHED = ("milestones", "warmup")
# Measures drawn beside the loss, and their names in the plot.
_MEASURES = {
    "accuracy": "accuracy, %",
    "mean_average_precision": "mean average precision, %",
}
# More than any number of epochs.
_MOST = 1e12


class RunFolder:
    """Files of one training under `path`.

    `run.json` (command, recipe, seed, versions, data, figures), `history.csv`,
    `curves.png`, `best.weights.h5`, `last.weights.h5` and `last.state.npz`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = check_path("output", path, "the path of a folder")
        self.state = self.path / "last.state.npz"
        self.record = self.path / "run.json"
        self._lock: typing.Any = None

    def weights(self, name: str) -> pathlib.Path:
        """Returns the path of the `"best"` or `"last"` weights."""
        return self.path / f"{name}.weights.h5"

    def open(self, facts: dict[str, typing.Any], resume: bool) -> dict[str, typing.Any]:
        """Makes the folder of a new run, or checks that it belongs to this run.

        It is locked by this process until `close`, if the file system has locks.

        Args:
            facts: the facts of the run for `run.json`.
            resume: resume the run in the folder.

        Returns:
            The facts, those of an earlier start if there was one.

        Raises:
            InvalidArgument: a folder that is not empty, that another process trains in,
                or one to resume that holds another run or none, or one of more epochs.
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
        current = json.loads(json.dumps(facts))
        stored = _read(self.record, current)
        stored.setdefault("class_weight", None)
        stored.setdefault("sampler", "shuffled")
        for name in _NEWER:
            stored.setdefault(name, current[name])
        if isinstance(stored.get("data"), dict):
            # The fingerprint tells the data, wherever they lie now.
            stored["data"]["name"] = current["data"]["name"]
        _renew(stored["recipe"], self.path)
        # The prose of a recipe does not affect training, and may have been reworded.
        prose = {name: current["recipe"].get(name) for name in _PROSE}
        stored["recipe"] |= {name: text for name, text in prose.items() if text}
        longer = _extended(stored.get("recipe"), current["recipe"])
        for name in FIXED:
            if stored.get(name) != current[name] and not (longer and name == "recipe"):
                difference = _HASHED.get(name) or _difference(
                    stored.get(name), current[name]
                )
                raise InvalidArgument(
                    f"{self.path} contains a run with {_CALLED[name]}: {difference}; "
                    "resume it with its own options (command in run.json), or name "
                    "another --output"
                )
        self._check_state()
        if longer:
            before = stored["recipe"]["epochs"]
            stored["extended"] = [*stored.get("extended", ()), before]
            stored["recipe"] = current["recipe"]
        ended = ("reason", "figures")
        stored = {name: value for name, value in stored.items() if name not in ended}
        stored["status"] = "running"
        self.write_record(stored)
        return stored

    def _check_state(self) -> None:
        """Checks the state before anything is written; a new run has none yet.

        Raises:
            DamagedState: the state is damaged.
            InvalidArgument: the state is missing, and there are results to lose.
        """
        if self.state.exists():
            state.read(self.state)
            return
        results = [self.path / "history.csv", self.weights("last")]
        if any(path.exists() for path in results):
            raise InvalidArgument(
                f"{self.path} cannot be resumed: its {self.state.name} is missing; train "
                "with another --output, from its weights if you like (--weights "
                f"{self.path})"
            )

    def check(self, resume: bool) -> None:
        """Checks the folder before data are read; `open` checks it again.

        Args:
            resume: whether the run in the folder is to be resumed.

        Raises:
            InvalidArgument: a folder that is not empty, that another process trains in,
                or one to resume that holds no run.
        """
        if resume:
            if not self.record.is_file():
                raise InvalidArgument(f"there is no run in {self.path} to resume")
            return
        try:
            self._check_empty()
        finally:
            self.close()

    def close(self) -> None:
        """Releases the folder for other processes."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take(self) -> None:
        """Locks the folder; raises `InvalidArgument` if another process trains here."""
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
        if not self.path.is_dir():
            raise InvalidArgument(
                f"--output must be a folder, which is created; {self.path} is a file"
            )
        names = {entry.name for entry in self.path.iterdir()}
        if _LOCK in names:
            self._take()
        if names - {_LOCK}:
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
        # Another process may have been faster.
        self._check_empty()

    def write_record(self, facts: dict[str, typing.Any]) -> None:
        """Writes `run.json`."""
        self._write(self.record, json.dumps(facts, indent=1) + "\n")

    def write_history(self, rows: list[dict[str, float]]) -> None:
        """Writes `history.csv`, one row per epoch, and draws `curves.png`.

        Without matplotlib (extra `train`), or if it cannot be imported, nothing is
        drawn.
        """
        # The first row may be of the initial network; the last one has all columns.
        columns = list(dict.fromkeys(name for row in rows[::-1] for name in row))
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        self._write(self.path / "history.csv", text.getvalue())
        with contextlib.suppress(InvalidArgument), failures_as_training_errors():
            plots.check_library()
            draw(rows, self.path / "curves.png")

    def load_weights(self, name: str, model: "keras.Model") -> None:
        """Loads the `"best"` or `"last"` weights into `model`.

        Raises:
            TrainingError: the file is missing or damaged.
        """
        path = self.weights(name)
        try:
            without_optimizer(model).load_weights(path)
        except Exception as error:
            reason = first_line(error) if path.exists() else "it is missing"
            raise TrainingError(
                f"{printable(str(path))} of this run cannot be read: {reason}; train again "
                "with another --output"
            ) from None

    def write_weights(
        self, name: str, model: "keras.Model", provenance: "Provenance"
    ) -> None:
        """Writes the `"best"` or `"last"` weights, with their provenance."""
        with landing(self.weights(name)) as temporary:
            metadata.write_weights(without_optimizer(model), temporary, provenance)

    def _write(self, path: pathlib.Path, text: str) -> None:
        with landing(path) as temporary:
            temporary.write_text(text, "utf-8")


def _read(path: pathlib.Path, like: dict[str, typing.Any]) -> dict[str, typing.Any]:
    """Reads `run.json`.

    Args:
        path: the file.
        like: the facts of this run, whose types the compared fields must have.

    Raises:
        InvalidArgument: the file is damaged, or is not the record of a run.
    """
    what = "the record of a run"
    stored = parse_json(read_text(path, what), path, what)
    recipe = stored.get("recipe") if isinstance(stored, dict) else None
    if not isinstance(recipe, dict):
        raise InvalidArgument(
            f"{printable(str(path))} must be {what}; it has no recipe"
        )
    wrong = [
        name
        for name in ("epochs", *_STRETCHED)
        if not _is_like(recipe.get(name), like["recipe"][name])
    ]
    if wrong or not _is_like(stored.get("extended", []), []):
        raise InvalidArgument(
            f"{printable(str(path))} must be {what}; it is damaged: "
            f"{wrong[0] if wrong else 'extended'} has another type"
        )
    return stored


def _renew(recipe: dict[str, typing.Any], path: pathlib.Path) -> None:
    """Adds the new field to the recipe, a dict, of an earlier version's run.

    Raises:
        InvalidArgument: a selection rule that no longer exists.
    """
    if "significance" in recipe:
        return
    margin = recipe.pop("margin", 0)
    if margin:
        raise InvalidArgument(
            f"{printable(str(path))} is a run of an earlier version, which compared stages "
            f"by a margin of {shown(margin)} standard errors; this version compares them "
            "image by image, and the state does not record the images: train again with "
            "another --output, or finish the run with the earlier version"
        )
    # Without a margin the highest accuracy was kept.
    recipe["significance"] = 1.0


def _is_like(value: typing.Any, other: typing.Any) -> bool:
    """Whether a value has the type of another: a number, or a list of numbers."""
    if isinstance(other, list):
        return isinstance(value, list) and all(_is_like(each, 0) for each in value)
    return isinstance(value, (int, float)) and -_MOST < value < _MOST


def without_optimizer(model: "keras.Model") -> "keras.Model":
    """Returns the network as an uncompiled model, whose files hold no optimizer."""
    import keras

    return keras.Model(model.inputs, model.outputs, name=model.name)


def _extended(
    stored: dict[str, typing.Any] | None, current: dict[str, typing.Any]
) -> bool:
    """Whether `current` is the `stored` recipe, a dict, with more epochs.

    Fields that the epochs stretch may differ only by that factor.
    """
    if not stored or not stored["epochs"] < current["epochs"]:
        return False
    share = current["epochs"] / stored["epochs"]

    def plain(recipe: typing.Any, factor: typing.Any) -> typing.Any:
        rest = {name: value for name, value in recipe.items() if name != "epochs"}
        for name in _STRETCHED:
            values = [rest[name]] if name == "warmup" else rest[name]
            rest[name] = [round(value * factor, 6) for value in values]
        return rest

    return plain(stored, share) == plain(current, 1.0)


def _difference(stored: typing.Any, current: typing.Any) -> str:
    if isinstance(stored, dict) and isinstance(current, dict):
        # A fingerprint says least.
        for name in sorted({*stored, *current}, key=lambda x: (x == "fingerprint", x)):
            if stored.get(name) != current.get(name):
                if name == "fingerprint":
                    return _FINGERPRINT
                stored, current = stored.get(name), current.get(name)
                if isinstance(stored, dict) and isinstance(current, dict):
                    return _difference(stored, current)
                return f"{name} was {_short(stored)}, now {_short(current)}"
    return f"it was {_short(stored)}, now {_short(current)}"


def _short(value: typing.Any) -> str:
    return shown(value)


def draw(rows: list[dict[str, float]], path: pathlib.Path) -> None:
    """Draws loss and accuracy over the epochs as a PNG.

    Args:
        rows: rows of a history, with `epoch`, `loss`, `accuracy` and, with validation,
            `val_loss` and `val_accuracy`.
        path: file to write.
    """
    import matplotlib.figure
    import matplotlib.ticker

    figure = matplotlib.figure.Figure(figsize=(9, 3.6), layout="constrained")
    measure = next((name for name in rows[-1] if name in _MEASURES), "accuracy")
    for axes, name, scale in zip(
        figure.subplots(1, 2), ("loss", measure), (1, 100), strict=True
    ):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            measured = [row for row in rows if key in row]
            if measured:
                epochs = [row["epoch"] for row in measured]
                values = [scale * row[key] for row in measured]
                axes.plot(epochs, values, label=label, marker="." * (len(rows) < 30))
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
        axes.set_ylabel(_MEASURES.get(name, name))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    plots.save(figure, path, dpi=110)
