"""The argument MODEL: a variant, a run folder or a file, positional or as `--model`.

Weights files of this package name their network, so that MODEL can be left out.
"""

import argparse
import json
import os
import pathlib
import typing

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import WeightsError
from keras_resnets.errors import shown

# Suffixes of files that contain weights only; no file is opened to find out.
_WEIGHTS = (".h5", ".safetensors", ".pth", ".pt", ".th", ".ckpt", ".bin", ".weights")
# Files of weights in the folder of a run, the preferred one first.
_OF_A_RUN = ("best.weights.h5", "last.weights.h5")
WHAT = "variant, run folder, .keras or weights file"
NEEDED = (
    "MODEL is required: a variant (keras-resnets list), a run folder, or a file; it can be "
    "left out if --weights is a file that this package wrote"
)


class Model(argparse.Action):
    """MODEL, as a positional argument or as `--model MODEL`."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: typing.Any,
        option_string: str | None = None,
    ) -> None:
        """Stores the value, unless it is missing or contradicts an earlier one."""
        if values is None:
            return
        before = getattr(namespace, "model", None)
        if before not in (None, values):
            both = (before, values) if option_string else (values, before)
            parser.error("MODEL was given twice: {} and --model {}".format(*both))
        namespace.model = values


def add_model(
    parser: argparse.ArgumentParser, what: str = WHAT, weights_needed: bool = False
) -> None:
    """Adds MODEL as a positional argument and as `--model`.

    Args:
        parser: parser of the command.
        what: description of the allowed values of MODEL, for help.
        weights_needed: whether a variant requires `--weights`.
    """
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        action=Model,
        help=f"{what}; or by --model MODEL",
    )
    # The help of MODEL mentions it.
    parser.add_argument("--model", dest="model", action=Model, help=argparse.SUPPRESS)
    parser.set_defaults(weights_needed=weights_needed)


def resolve(namespace: argparse.Namespace) -> None:
    """Splits a MODEL that names a network and its weights into these two.

    Raises:
        InvalidArgument: neither MODEL nor the weights name a network.
        WeightsError: a file cannot be read.
    """
    model, weights = namespace.model, getattr(namespace, "weights", None)
    takes_files = getattr(namespace, "takes_files", False)
    try:
        resolved = network_and_weights(model, weights, takes_files)
    except (OSError, ValueError) as error:
        if isinstance(error, (InvalidArgument, WeightsError)):
            raise
        # The path is too long or contains a zero byte.
        if model is None:
            raise InvalidArgument(NEEDED) from None
        resolved = model, weights
    namespace.model = resolved[0]
    if hasattr(namespace, "weights") or resolved[1] is not None:
        namespace.weights = resolved[1]
    if not takes_files:
        check_known(resolved[0])
    if namespace.weights_needed and resolved[1] is None and not is_own(resolved[0]):
        raise InvalidArgument(
            f"--weights is required for a variant such as {resolved[0]}"
        )


def check_known(model: str) -> None:
    """Raises `InvalidArgument` unless MODEL is a variant or a `.keras` file."""
    if is_own(model):
        return
    from keras_resnets.export import formats
    from keras_resnets.models import registry

    try:
        registry.get_architecture(model)
        return
    except InvalidArgument as error:
        unknown = error
    # Unlike pathlib's, these take a path that is too long or contains a zero byte.
    if os.path.exists(model):
        if formats.looks_exported(model):
            raise InvalidArgument(
                f"MODEL must be a {WHAT}; got {shown(model)}, an exported file: give the "
                "network that it was made of"
            )
        kind = "a folder without run.json" if os.path.isdir(model) else "another file"
        raise InvalidArgument(f"MODEL must be a {WHAT}; got {shown(model)}, {kind}")
    suffix = pathlib.Path(model).suffix.lower()
    is_path = model.endswith(("/", os.sep)) or suffix in formats.ENDINGS
    missing = f"there is no file or folder {shown(model)}" if is_path else ""
    raise InvalidArgument(missing or str(unknown))


def is_own(model: str) -> bool:
    """Whether MODEL is a `.keras` file, which contains its network."""
    return model.lower().endswith(".keras")


def network_and_weights(
    model: str | None, weights: str | None, takes_files: bool = False
) -> tuple[str, str | None]:
    """Returns (variant or `.keras` file, weights or None).

    Args:
        model: MODEL; None if the weights name it.
        weights: weights file or run folder; None if MODEL contains them.
        takes_files: whether MODEL may be an exported file.

    Raises:
        InvalidArgument: neither names a network, or both have weights.
    """
    if model is not None and _holds_weights(model):
        if weights is not None:
            raise InvalidArgument(f"{model} contains its weights: leave out --weights")
        model, weights = None, model
    elif model is not None and is_own(model) and weights is None and not takes_files:
        name = _variant_in(model)
        return (name, model) if name else (model, None)
    folder = None if weights is None else pathlib.Path(weights)
    if folder is not None and _is_run(folder):
        weights = _weights_of(folder)
        if model is None:
            model = _network_of(folder)
    if model is None:
        model = _variant_in(weights) if weights is not None else None
    if model is None:
        reason = "" if weights is None else f"{weights} does not name its network. "
        if weights is not None and weights.lower().endswith((".h5", ".hdf5")):
            reason += "A whole model in it is MODEL once Keras saved it as .keras. "
        raise InvalidArgument(f"{reason}{NEEDED}")
    return model, weights


def _holds_weights(model: str) -> bool:
    path = pathlib.Path(model)
    if path.suffix.lower() not in _WEIGHTS:
        return _is_run(path)
    if not path.is_file():
        raise InvalidArgument(f"there is no file {shown(model)}")
    return True


def _is_run(path: pathlib.Path) -> bool:
    try:
        return (path / "run.json").is_file()
    except OSError:
        return False


def _weights_of(folder: pathlib.Path) -> str:
    for name in _OF_A_RUN:
        if (folder / name).is_file():
            return str(folder / name)
    raise InvalidArgument(f"the run in {folder} has no {_OF_A_RUN[0]} yet")


def _network_of(folder: pathlib.Path) -> str | None:
    """Returns the variant recorded in a run's folder; None if there is none."""
    from keras_resnets.models import registry

    try:
        name = json.loads((folder / "run.json").read_text(encoding="utf-8"))["model"]
        registry.get_architecture(name)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return name


def _variant_in(file: str) -> str | None:
    path = pathlib.Path(file)
    try:
        if not path.is_file():
            return None
    except OSError:
        return None
    from keras_resnets.weights import naming

    return naming.variant_of(path)
