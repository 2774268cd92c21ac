"""The provenance of a model: `model.preprocessing`, `model.labels` and the others.

They are plain attributes of a `keras.Model`, which users may read and set. Keras neither
copies nor saves them: every function that derives a model from another passes them on by
`inherit`, without those that no longer hold; `weights.metadata` writes them into files.
"""

import dataclasses
import typing
from collections.abc import Mapping

from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.networks.architecture import Architecture

if typing.TYPE_CHECKING:
    import keras

_ABSENT = object()


@dataclasses.dataclass(frozen=True)
class Provenance:
    """The record of a model's attributes.

    Attributes:
        architecture: the network's `Architecture`; None if it belongs to no variant, or
            if its channels were pruned.
        axes: the axes in which it computes something else than its variant.
        preprocessing: the preprocessing of its images.
        labels: the order of its classes (see `images.labels`); None: unknown.
        weights_origin: where its weights came from: an address, a file's name, or the
            name of a training run.
        random_weights: whether its values are random as far as is known: a model of
            `create_model` without weights, whose `weights_origin` is None.
        confidence: fields of an `images.confidence.Confidence`, if the temperature of
            its logits was fitted; None: unknown.
        task: `"multi-label"` if an image may have none, one or several of the labels,
            each with its own sigmoid; None: one class per image.
    """

    architecture: Architecture | None = None
    axes: Mapping[str, typing.Any] = dataclasses.field(default_factory=dict)
    preprocessing: Preprocessing | None = None
    labels: str | tuple[str, ...] | None = None
    weights_origin: str | None = None
    random_weights: bool = False
    confidence: Mapping[str, typing.Any] | None = None
    task: str | None = None


def of(model: "keras.Model") -> Provenance:
    """Returns the `Provenance` in the attributes of any model.

    An attribute of another type, such as a layer called `preprocessing`, is ignored.
    """

    def read(name: str, kinds: typing.Any) -> typing.Any:
        value = getattr(model, name, None)
        return value if isinstance(value, kinds) else None

    labels = read("labels", (str, tuple, list))
    return Provenance(
        architecture=read("architecture", Architecture),
        axes=dict(read("axes", Mapping) or {}),
        preprocessing=read("preprocessing", Preprocessing),
        labels=tuple(labels) if isinstance(labels, list) else labels,
        weights_origin=read("weights_origin", str),
        random_weights=getattr(model, "weights_origin", _ABSENT) is None,
        confidence=read("confidence", Mapping),
        task=read("task", str),
    )


def give(model: "keras.Model", record: Provenance) -> None:
    """Sets the attributes of `model`; an empty record sets none."""
    if record == Provenance():
        return
    for field in ("architecture", "axes", "preprocessing", "labels"):
        setattr(model, field, getattr(record, field))
    if record.confidence is not None or hasattr(model, "confidence"):
        model.confidence = record.confidence
    if record.task is not None or hasattr(model, "task"):
        model.task = record.task
    if record.weights_origin is not None or record.random_weights:
        model.weights_origin = record.weights_origin
    elif hasattr(model, "weights_origin"):
        del model.weights_origin


def inherit(
    new_model: "keras.Model", model: "keras.Model", **changes: typing.Any
) -> None:
    """Gives `new_model`, which was derived from `model`, the provenance of `model`.

    Args:
        new_model: the new model.
        model: the old model.
        **changes: fields of `Provenance` that have changed: `labels=None` for a network
            with other outputs.
    """
    give(new_model, dataclasses.replace(of(model), **changes))


def known_preprocessing(model: "keras.Model") -> Preprocessing | None:
    """Returns the preprocessing of `model` if its weights or its user define it.

    A variant with random values has the preprocessing that it was published with, which
    need not be the one it will be trained with.
    """
    record = of(model)
    return None if record.random_weights else record.preprocessing
