"""What stands in an exported file, as the room of each format reads it."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Port:
    """An input or output of a file.

    Attributes:
        name, shape, dtype: as they stand in the file; None for an open dimension.
        scale, zero_point: real value = (integer - zero_point) * scale; None for floats.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


Ports = tuple[Port, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contents:
    """What a file says of itself.

    Attributes:
        inputs, outputs: `Port`s; of a SavedModel those of its first signature,
            `serving_default` where there is one.
        operators: counts by name, of what is run first.
        inner: names of the operators in graphs inside it and in functions.
        signatures: (inputs, outputs) of a SavedModel by the name of each signature;
            empty for files that have one way in.
        runtime: the oldest release of TFLite that knows the operators of a `.tflite`
            file; `"unknown"` where one of them is not in our table; None elsewhere.
    """

    inputs: Ports
    outputs: Ports
    operators: dict[str, int]
    inner: frozenset[str] = frozenset()
    signatures: dict[str, tuple[Ports, Ports]] = dataclasses.field(default_factory=dict)
    runtime: str | None = None
