"""`--channels`, and the number of channels that training images must have."""

import typing

from keras_resnets.cli.arguments import options
from keras_resnets.cli.arguments import parsing


def add_option(parser: parsing.Group) -> None:
    """Adds `--channels`."""
    parser.add_argument(
        "--channels",
        type=options.CHANNELS,
        metavar="N",
        help="of the images; default: data's or weights', or 3",
    )


def required(asked: typing.Any) -> int | None:
    """Returns the required number of channels of training images; None for any number."""
    if asked.channels is not None or asked.weights is None:
        return asked.channels
    from keras_resnets.models import registry
    from keras_resnets.weights import open_source

    source = open_source(asked.weights, registry.canonical_name(asked.model))
    stored = source.preprocessing if source else None
    return None if stored is None or stored.channels in (1, 3) else stored.channels
