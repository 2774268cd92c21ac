"""The contents of an exported file of any format."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Port:
    """An input or output of a file.

    Attributes:
        name, shape, dtype: as in the file; None for an open dimension.
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
    """The contents of a file.

    Attributes:
        inputs, outputs: `Port`s; for a SavedModel those of its first signature,
            `serving_default` if it has it.
        operators: counts by name, of the main graph.
        inner: names of the operators in inner graphs and in functions.
        signatures: (inputs, outputs) of a SavedModel by the name of each signature;
            empty for other files.
        scaling: name of a layer of a `.keras` file that scales pixel values, see
            `graph.anatomy.scaling_layer`; None: there is none, or another format.
        runtime: the oldest release of TFLite that supports the operators of a `.tflite`
            file; `"unknown"` if an operator is not in the table; None for other files.
    """

    inputs: Ports
    outputs: Ports
    operators: dict[str, int]
    inner: frozenset[str] = frozenset()
    signatures: dict[str, tuple[Ports, Ports]] = dataclasses.field(default_factory=dict)
    runtime: str | None = None
    scaling: str | None = None
