"""Checks the layers of a native file against a model: their classes and connections.

Two networks whose weights have the same names and shapes may compute different things.
A Keras 3 file records the class of every layer, a .keras file its inputs too. Layers
that act only in training are skipped, and so are those that either of the two lacks.
"""

import typing

from keras_resnets.errors import WeightsError
from keras_resnets.errors import printable
from keras_resnets.weights.readers.keras_file import snake_case
from keras_resnets.weights.values import STEM

if typing.TYPE_CHECKING:
    import keras


_PASSED_OVER = ("Dropout", "SpatialDropout2D", "StochasticDepth")


def check(
    model: "keras.Model",
    kinds: dict[str, str],
    config: typing.Any,
) -> None:
    """Compares the layers that a file and a model both have.

    Args:
        model: a model of this package.
        kinds: `kinds` of a `readers.Checkpoint`; empty if the file records none.
        config: config of the model in the file, as Keras writes it, or None.

    Raises:
        WeightsError: a layer of another class, or with other inputs.
    """
    _compare(
        model,
        "of the class",
        _unprefixed({layer.name: _kind(layer) for layer in model.layers}),
        _unprefixed({name.rpartition(".")[2]: kind for name, kind in kinds.items()}),
    )
    layers = _layers(config)
    if layers is None:
        return
    theirs = {layer["config"]["name"]: _histories(layer) for layer in layers}
    kept = [
        layer["config"]["name"]
        for layer in layers
        if layer["class_name"] not in _PASSED_OVER
    ]
    theirs = _unprefixed(_without(theirs, kept))
    ours = {layer.name: _parents(layer) for layer in model.layers}
    kept = [la.name for la in model.layers if type(la).__name__ not in _PASSED_OVER]
    ours = _unprefixed(_without(ours, kept))
    common = ours.keys() & theirs.keys()
    _compare(
        model,
        "behind",
        {name: " and ".join(sorted(ours[name] & common)) for name in ours},
        {name: " and ".join(sorted(theirs[name] & common)) for name in theirs},
    )


def _compare(
    model: "keras.Model", how: str, ours: dict[str, str], theirs: dict[str, str]
) -> None:
    for name, what in ours.items():
        if theirs.get(name, what) != what:
            other = printable(theirs[name]) or "no layer"
            raise WeightsError(
                f"it does not fit {model.name}: its {name} is {how} {other}, the "
                f"model's {how} {what or 'no layer'}"
            )


def _kind(layer: "keras.layers.Layer") -> str:
    return snake_case(type(layer).__name__)


def _unprefixed(by_layer: dict[str, typing.Any]) -> dict[str, typing.Any]:
    """A dict by layer's name, with a model's prefix removed from keys and values."""
    stems = [stem for stem in map(STEM.search, by_layer) if stem]
    prefix = stems[-1].string[: stems[-1].end(1)] if stems else ""

    def bare(value: typing.Any) -> typing.Any:
        if isinstance(value, str):
            return value
        return {name.removeprefix(prefix) for name in value}

    return {name.removeprefix(prefix): bare(value) for name, value in by_layer.items()}


def _layers(
    config: typing.Any,
) -> list[dict[str, typing.Any]] | None:
    """The descriptions of the layers beside the stem, in a model or a nested one."""
    layers = ((config or {}).get("config") or {}).get("layers") or []
    if any(STEM.search(layer["config"].get("name") or "") for layer in layers):
        return layers
    inner = (_layers(layer) for layer in layers if "layers" in layer["config"])
    return next((inner_layers for inner_layers in inner if inner_layers), None)


def _histories(
    item: list[dict[str, dict[str, typing.Any] | str]]
    | str
    | dict[str, typing.Any]
    | None,
) -> set[str]:
    """The names of the layers whose outputs a layer's description takes as inputs."""
    if isinstance(item, dict):
        if "keras_history" in item:
            return {item["keras_history"][0]}
        item = item.get("inbound_nodes", list(item.values()))
    if isinstance(item, list):
        return {name for part in item for name in _histories(part)}
    return set()


def _parents(layer: "keras.layers.Layer") -> set[str]:
    nodes = [parent for node in layer._inbound_nodes for parent in node.parent_nodes]
    return {node.operation.name for node in nodes}


def _without(inputs: dict[str, set[str]], kept: list[str]) -> dict[str, set[str]]:
    """The inputs of each layer in `kept`, through those that are not."""
    among = set(kept)
    reached_from: dict[typing.Any, typing.Any] = {}

    def through(names: set[str]) -> set[str]:
        reached = set()
        for name in names:
            if name in among or name not in inputs:
                reached.add(name)
                continue
            if name not in reached_from:
                # Set first, so that a cycle ends.
                reached_from[name] = set()
                reached_from[name] = through(inputs[name])
            reached |= reached_from[name]
        return reached

    return {name: through(inputs[name]) for name in inputs if name in among}
