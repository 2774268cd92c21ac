"""What a model knows about itself: `model.preprocessing`, `model.labels` and the others.

They are plain attributes of a `keras.Model`, which anybody may read and set. Keras
neither copies nor saves them: whatever makes a model of another one passes them on by
`inherit`, without what is no longer true; `weights.metadata` puts them into files.
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
    """The record; its fields but the last are the attributes of the model.

    Attributes:
        architecture: what the network is made of; None for one of no variant, or whose
            channels were pruned.
        axes: those by which it computes something else than its variant.
        preprocessing: what its images must look like.
        labels: the order of its classes (see `images.labels`); None: not known.
        weights_origin: where its weights came from: an address, a file's name, or the
            name of a training run.
        random_weights: whether nothing but chance is known to have made its values: a
            model of `create_model` without weights, whose `weights_origin` is None.
        confidence: fields of an `images.confidence.Confidence`, where the temperature
            of its logits was fitted; None: not known.
    """

    architecture: Architecture | None = None
    axes: Mapping[str, typing.Any] = dataclasses.field(default_factory=dict)
    preprocessing: Preprocessing | None = None
    labels: str | tuple[str, ...] | None = None
    weights_origin: str | None = None
    random_weights: bool = False
    confidence: Mapping[str, typing.Any] | None = None


def of(model: "keras.Model") -> Provenance:
    """What `model` knows; of somebody's own model what its attributes of ours say.

    An attribute of another type, such as a layer that is called `preprocessing`, says
    nothing.
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
    )


def give(model: "keras.Model", record: Provenance) -> None:
    """Sets the attributes of `model`; an empty record sets none."""
    if record == Provenance():
        return
    for field in ("architecture", "axes", "preprocessing", "labels"):
        setattr(model, field, getattr(record, field))
    if record.confidence is not None or hasattr(model, "confidence"):
        model.confidence = record.confidence
    if record.weights_origin is not None or record.random_weights:
        model.weights_origin = record.weights_origin
    elif hasattr(model, "weights_origin"):
        del model.weights_origin


def inherit(made: "keras.Model", model: "keras.Model", **changes: typing.Any) -> None:
    """Gives `made`, which was made of `model`, what that knows.

    Args:
        made: the new model.
        model: the old one.
        **changes: fields of `Provenance` that are not what they were: `labels=None`
            for a network with other outputs.
    """
    give(made, dataclasses.replace(of(model), **changes))


def known_preprocessing(model: "keras.Model") -> Preprocessing | None:
    """What the images of `model` go through, where its weights or its user say it.

    A variant of random values knows what it was published with, and not what somebody
    trains it with.
    """
    known = of(model)
    return None if known.random_weights else known.preprocessing
