"""The results of `analyze`: records, and tables of them as text, HTML and CSV."""

import csv
import dataclasses
import io
import os
import pathlib

HEADERS = ("layer", "kind", "output", "parameters", "MACs", "stride", "field")


@dataclasses.dataclass(frozen=True)
class LayerReport:
    """One application of a layer.

    Attributes:
        name: layer name; `model/layer` inside a nested model.
        kind: class name.
        output_shape: output shape without the batch.
        trainable_params, total_params: values the layer owns; 0 if a shared layer
            is applied again.
        macs: multiply-adds for one image; None for a layer with weights whose MACs
            are unknown.
        activations: output values for one image.
        stride: input pixels per step of the output; None if height and width are gone
            or unknown.
        receptive_field: input pixels along one axis that an output value depends on,
            padding included. math.inf after global pooling.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    trainable_params: int
    total_params: int
    macs: int | None
    activations: int
    stride: float | None
    receptive_field: float | None


@dataclasses.dataclass(frozen=True)
class Analysis:
    """Figures of a whole model, and its layers in order.

    `print` shows both as text, a notebook as tables; `to_csv` writes the layers.

    Attributes:
        input_shape: input shape without the batch.
        layers: a `LayerReport` for every application of a layer.
        trainable_params: trainable values. total_params: Keras' `count_params()`.
        macs: multiply-adds of convolutions and dense layers for one image.
        activations: values that convolutions and dense layers output (as in RegNet,
            arXiv:2003.13678).
        peak_activations: most values alive at one time when the layers run in order
            and a tensor is freed after its last use.
        convs, dense: applications of convolutions and of dense layers.
        output_stride, receptive_field: figures of the last feature map.
        uncounted: layers with weights whose MACs are unknown.
    """

    input_shape: tuple[int, ...]
    layers: tuple[LayerReport, ...]
    trainable_params: int
    total_params: int
    macs: int
    activations: int
    peak_activations: int
    convs: int
    dense: int
    output_stride: float | None
    receptive_field: float | None
    uncounted: tuple[str, ...]

    def __str__(self) -> str:
        return f"{figures_text(self)}\n\n{layers_text(self)}"

    def _repr_html_(self) -> str:
        return _html(self)

    def to_csv(
        self, path: str | os.PathLike[str], overwrite: bool = False
    ) -> pathlib.Path:
        """Writes one row a layer, with the attributes of `LayerReport` as columns.

        Args:
            path: the file, ending in `.csv`. It is UTF-8; a shape is written as
                `32 x 32 x 16`, an unknown value as an empty cell.
            overwrite: replace an existing file.

        Returns:
            The file's path.

        Raises:
            InvalidArgument: another suffix, a folder that cannot be written to, or an
                existing file without `overwrite`.
            NotWritten: (an OSError) a full disk; the previous file at `path` stays.

        Example:
            >>> import keras_resnets, tempfile
            >>> analysis = keras_resnets.analyze(keras_resnets.create_model("resnet20"))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     path = analysis.to_csv(f"{folder}/resnet20.csv")
            ...     path.read_text().splitlines()[1]
            'stem_conv,Conv2D,32 x 32 x 16,432,432,442368,16384,1.0,3.0'
        """
        # Not imported with the package, which has `analyze`.
        from keras_resnets.io import files

        place = files.check_destination(path, ".csv", overwrite)
        with files.atomic_file(place) as temporary:
            # A name may hold characters that UTF-8 cannot encode.
            data = _csv(self).encode("utf-8", "backslashreplace")
            pathlib.Path(temporary).write_bytes(data)
        return place


def figures(analysis: Analysis) -> tuple[tuple[str, str], ...]:
    """Returns (name, value) of the figures of the whole model, as text."""
    uncounted = len(analysis.uncounted)
    return (
        ("trainable parameters", f"{analysis.trainable_params:,}"),
        ("with BN statistics", f"{analysis.total_params:,}"),
        (
            "multiply-adds",
            f"{'at least ' if uncounted else ''}{analysis.macs / 1e6:,.1f} M",
        ),
        *([("layers not counted", f"{uncounted:,}")] if uncounted else []),
        ("convolutions, dense", f"{analysis.convs}, {analysis.dense}"),
        ("activations", f"{analysis.activations / 1e6:,.2f} M values"),
        ("peak activations", f"{analysis.peak_activations / 1e6:,.2f} M values"),
        ("output stride", _short(analysis.output_stride)),
        ("receptive field", f"{_short(analysis.receptive_field)} pixels"),
    )


def figures_text(analysis: Analysis) -> str:
    """Returns the figures of the whole model, one per line."""
    return "\n".join(f"{name:<22}{value:>16}" for name, value in figures(analysis))


def layers_text(analysis: Analysis) -> str:
    """Returns a table with one row per layer."""
    from keras_resnets.system.text_table import text_table

    return text_table(HEADERS, map(_row, analysis.layers))


def _html(analysis: Analysis) -> str:
    """Two escaped tables: the figures of the whole model, and one row per layer."""
    totals = "".join(
        f"<tr><th>{_escaped(name)}</th><td>{_escaped(value)}</td></tr>"
        for name, value in figures(analysis)
    )
    heads = "".join(f"<th>{_escaped(name)}</th>" for name in HEADERS)
    rows = "".join(
        f"<tr>{''.join(map(_html_cell, _row(layer)))}</tr>" for layer in analysis.layers
    )
    return (
        f"<table><tbody>{totals}</tbody></table>"
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _csv(analysis: Analysis) -> str:
    """One row per layer; an unknown value is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    fields = [field.name for field in dataclasses.fields(LayerReport)]
    writer.writerow(fields)
    for layer in analysis.layers:
        values = (getattr(layer, field) for field in fields)
        writer.writerow(_size(v) if isinstance(v, tuple) else v for v in values)
    return text.getvalue()


def _row(layer: LayerReport) -> tuple[object, ...]:
    return (
        layer.name,
        layer.kind,
        _size(layer.output_shape),
        layer.trainable_params,
        layer.macs,
        _short(layer.stride),
        _short(layer.receptive_field),
    )


def _escaped(text: str) -> str:
    # It brings a table of 2,000 names.
    import html

    return html.escape(text)


def _html_cell(value: object) -> str:
    if value is None:
        return "<td>-</td>"
    return (
        f"<td>{_escaped(f'{value:,}' if isinstance(value, int) else str(value))}</td>"
    )


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _short(value: float | None) -> str:
    if value is None:
        return "-"
    return "all" if value == float("inf") else f"{value:g}"
