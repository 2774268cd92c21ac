"""Text tables that the commands print."""

import dataclasses
import itertools
import typing
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

from keras_resnets.errors import printable
from keras_resnets.networks.blueprint import Conv
from keras_resnets.networks.blueprint import Pool
from keras_resnets.networks.blueprint import Unit
from keras_resnets.networks.blueprint import walk
from keras_resnets.system.text_table import text_table

if typing.TYPE_CHECKING:
    from keras_resnets.export.compare.benchmark import Timing
    from keras_resnets.export.compare.verify import LayerLoss
    from keras_resnets.export.compare.verify import Verification
    from keras_resnets.export.contents import Port
    from keras_resnets.export.parity import Parity
    from keras_resnets.models.registry import ModelInfo
    from keras_resnets.networks.architecture import Architecture
    from keras_resnets.pruning.magnitude import PruningReport
    from keras_resnets.quantization.search.accuracy_gate import Trial
    from keras_resnets.quantization.search.mixed_precision import Mix
    from keras_resnets.quantization.search.points import Front
    from keras_resnets.quantization.search.sensitivity import LayerCost
    from keras_resnets.training.recipes import Recipe
    from keras_resnets.weights.records import Record


# Largest number of characters in a line; recipes and versions of this package have 250.
_LONGEST = 600


def model_table(infos: "Sequence[ModelInfo]") -> str:
    """Returns a table of variants, from `registry.model_info`."""
    headers = (
        *("name", "family", "input", "parameters", "M MACs", "convs", "classes"),
        *("top-1", "weights"),
    )
    rows = [
        (
            info.name,
            info.family,
            info.input_size,
            info.trainable_params,
            info.mega_macs,
            info.convs,
            info.classes,
            None if info.top1 is None else f"{info.top1:.2f}",
            info.dataset or "-",
        )
        for info in infos
    ]
    return text_table(headers, rows)


def recipe_table(recipes: "Mapping[str, Recipe]") -> str:
    """Returns a table of recipes, by name."""
    headers = ("recipe", "epochs", "batch", "optimizer", "rate", "source")
    rows = [
        (
            name,
            recipe.epochs,
            recipe.batch_size,
            recipe.optimizer,
            f"{recipe.learning_rate:g}",
            recipe.source,
        )
        for name, recipe in recipes.items()
    ]
    return text_table(headers, rows)


def recipe_text(recipe: "Recipe") -> str:
    """Returns the fields of a `Recipe`, one per line, as --change takes them."""
    facts = dataclasses.asdict(recipe)
    facts |= facts.pop("augmentation")
    return "\n".join(f"{name:<20} {value}" for name, value in facts.items())


def weights_table(records: "Sequence[Record]", proofs: Sequence[str]) -> str:
    """Returns a table of public weights, with the check of each file."""
    headers = (
        *("tag", "top-1", "top-5", "pixels", "crop", "licence", "verified by"),
        *("hash",),
    )
    rows = [
        (
            record.tag,
            f"{record.top1:.2f}",
            None if record.top5 is None else f"{record.top5:.2f}",
            record.size,
            "box"
            if record.interpolation == "letterbox"
            else f"{record.crop_fraction:.3g}",
            record.licence,
            record.verified,
            proof,
        )
        for record, proof in zip(records, proofs, strict=True)
    ]
    return text_table(headers, rows)


def paper_table(
    architecture: "Architecture", size: tuple[int, ...], classes: int
) -> str:
    """Returns the table of the papers: layer, output size, blocks.

    Args:
        architecture: an `Architecture`.
        size: (height, width) of the input.
        classes: number of classes.
    """
    rows = []
    size = _smaller(size, architecture.stem_stride // _pool_stride(architecture))
    rows.append(("stem", _size(size), _stem(architecture)))
    if architecture.stem_pool:
        size = _smaller(size, 2)
        is_conv = architecture.stem_pool == "conv"
        kind = "3x3 convolution" if is_conv else "3x3 max pool"
        rows.append(("stem_pool", _size(size), f"{kind}, /2"))
    for stage in walk(architecture):
        if isinstance(stage.transition, Pool):
            step = stage.transition.stride
            size = tuple(side // 2 for side in size) if step == 2 else size
            rows.append((f"{stage.name} pool", _size(size), f"2x2 max pool, /{step}"))
        elif stage.transition is not None:
            size = _smaller(size, stage.transition.stride)
            rows.append((f"{stage.name} in", _size(size), _convs([stage.transition])))
        for unit in stage.units:
            for conv in unit.convs:
                size = _smaller(size, conv.stride)
        first, *others = _runs(stage.units)
        rows.append((stage.name, _size(size), first))
        rows += [("", "", text) for text in others]
    rows.append(_head(architecture, classes))
    return text_table(("layer", "output", "blocks"), rows)


def _head(architecture: "Architecture", classes: int) -> tuple[str, str, str]:
    if architecture.head == "conv":
        return ("head", "1 x 1", f"1x1, {classes}; average pool; softmax")
    return ("head", "1 x 1", f"average pool; {classes}-d dense; softmax")


def _pool_stride(architecture: "Architecture") -> int:
    return 2 if architecture.stem_pool else 1


def _stem(architecture: "Architecture") -> str:
    width = architecture.stem_filters
    stride = architecture.stem_stride // _pool_stride(architecture)
    down = f", /{stride}" if stride > 1 else ""
    if architecture.stem_type in ("deep", "deep_tiered"):
        half = width // 2
        first = 3 * (half // 4) if architecture.stem_type == "deep_tiered" else half
        return f"3x3, {first}{down}; 3x3, {half}; 3x3, {width}"
    kernel = "7x7" if architecture.stem_type in ("conv7", "drn") else "3x3"
    return f"{kernel}, {width}{down}"


def _runs(units: Iterable[Unit]) -> list[str]:
    """Returns a text per run of equal units: the first or last unit often differs."""
    runs = itertools.groupby(f"[{_convs(unit.convs)}]" for unit in units)
    return [f"{text} x {len(list(run))}" for text, run in runs]


def _convs(convs: Iterable[Conv]) -> str:
    texts = []
    for conv in convs:
        text = f"{conv.kernel}x{conv.kernel}, {conv.filters}"
        text += f", C={conv.groups}" if conv.groups > 1 else ""
        text += f", /{conv.stride}" if conv.stride > 1 else ""
        text += f", dilation {conv.dilation}" if conv.dilation > 1 else ""
        texts.append(text)
    return "; ".join(texts)


def _smaller(size: tuple[int, ...], stride: int) -> tuple[int, ...]:
    return tuple(-(-side // stride) for side in size)


def _size(size: tuple[int, ...]) -> str:
    return f"{size[0]} x {size[1]}"


def port_table(inputs: "Sequence[Port]", outputs: "Sequence[Port]") -> str:
    """Returns a table of the inputs and outputs of an exported file."""
    headers = ("", "name", "shape", "type", "scale", "zero point")
    rows = [
        (
            kind,
            port.name,
            " x ".join("any" if size is None else str(size) for size in port.shape),
            port.dtype,
            None if port.scale is None else f"{port.scale:.6g}",
            port.zero_point,
        )
        for kind, ports in (("input", inputs), ("output", outputs))
        for port in ports
    ]
    return text_table(headers, rows)


def passport_text(passport: Mapping[str, typing.Any]) -> str:
    """Returns the main facts of a passport as lines."""
    parity, labels = passport["parity"], passport["labels"] or "not known"
    preprocessing = passport["preprocessing"] or {}
    facts = {
        "model": f"{passport['model']}, {passport['parameters']:,} parameters",
        "weights": passport["weights"] or "random",
        "quantize": passport["quantize"],
        "recipe": ", ".join(f"{k} {v}" for k, v in passport["recipe"].items()),
        "images": f"mode {preprocessing.get('mode', 'not known')}",
        "labels": labels if isinstance(labels, str) else ", ".join(labels),
        "parity": _parity_words(parity, passport.get("outputs")),
        "sha256": passport["sha256"],
        "versions": ", ".join(f"{k} {v}" for k, v in passport["versions"].items()),
    }
    return "\n".join(
        f"{name:<11}{printable(str(value), _LONGEST)}" for name, value in facts.items()
    )


def _parity_words(parity: Mapping[str, typing.Any], ports: object) -> str:
    outputs, logits = parity["outputs"], parity["logits"]
    # Infinite numbers are stored as text.
    error = float(outputs["max_error"])
    words = f"{parity['compared']} images: outputs differ by {error:.2g}"
    if logits is None:
        return f"{words}; logits not measured"
    error = float(logits["relative_error"])
    # The figures of a network without a classifier are those of its features.
    kind = "logits" if _classifies(ports) else "features"
    return f"{words}, {kind} by {error:.2g} of the largest"


def _classifies(ports: object) -> bool:
    """Whether the outputs in a passport, which is not checked, are a classifier's."""
    if not isinstance(ports, list):
        return True
    named = [port.get("name") for port in ports if isinstance(port, dict)]
    return any(name in ("predictions", "logits") for name in named)


def verification_table(first: str, second: str, result: "Verification") -> str:
    """Returns a table of the figures of `compare.verify.verify`."""
    measured = [("outputs", result.outputs)]
    if result.logits is not None:
        measured.append(("logits", result.logits))
    headers = (f"{result.count} images", *(name for name, _ in measured))
    figures = (
        ("largest difference", "max_error", ".3g"),
        ("of the largest value", "relative_error", ".3g"),
        ("RMSE over deviation", "rmse", ".3g"),
        ("SQNR in dB", "sqnr", ".1f"),
        ("smallest cosine", "cosine", ".6f"),
        *_agreements(result.outputs),
    )
    rows = [
        (label, *(format(getattr(parity, name), style) for _, parity in measured))
        for label, name, style in figures
    ]
    table = text_table(headers, rows)
    if result.accuracies is None:
        return table
    words = "top-1" if result.outputs.labels is None else "mAP"
    # A label that all images or none have has no average precision.
    texts = ["undefined" if n is None else f"{n:.2%}" for n in result.accuracies]
    shares = [
        f"{words} {text}  {printable(str(path), _LONGEST)}"
        for text, path in zip(texts, (first, second), strict=True)
    ]
    return "\n".join([table, *shares])


def _agreements(parity: "Parity") -> tuple[tuple[str, str, str], ...]:
    """Returns the rows of the agreement; for a multi-label network, of its labels."""
    if parity.labels is not None:
        return (("label agreement", "labels", ".2%"),)
    return (("top-1 agreement", "top1", ".2%"), ("top-5 agreement", "top5", ".2%"))


LOSS_HEAD = ("layer", "SQNR (dB)", "lost (dB)")


def loss_rows(losses: "Sequence[LayerLoss]") -> list[tuple[str, ...]]:
    """Returns the cells of `LOSS_HEAD` for each layer of an integer file."""
    return [(loss.name, f"{loss.sqnr:.1f}", f"{loss.lost:.1f}") for loss in losses]


def loss_table(losses: "Sequence[LayerLoss]") -> str:
    """Returns a table of the layers of an integer file, with the loss of each."""
    most = max(losses, key=lambda loss: loss.lost)
    table = text_table(LOSS_HEAD, loss_rows(losses))
    return f"{table}\n{printable(most.name)} loses most: {most.lost:.1f} dB"


def timing_table(timings: "Sequence[Timing]") -> str:
    """Returns a table of timed files, with the speed relative to the first."""
    headers = (
        "file",
        "MB",
        "load s",
        "memory MB",
        "median ms",
        "p95 ms",
        "images/s",
        "speed",
    )
    rows = [
        (
            timing.path,
            timing.size / 1e6,
            f"{timing.load:.3f}",
            timing.memory / 1e6,
            f"{timing.median * 1e3:.3g}",
            f"{timing.p95 * 1e3:.3g}",
            timing.throughput,
            f"{timings[0].median / timing.median:.2f}x",
        )
        for timing in timings
    ]
    return text_table(headers, rows)


COST_HEAD = ("layer", "part", "logit RMSE", "agreement")


def cost_rows(costs: "Sequence[LayerCost]") -> list[tuple[str, ...]]:
    """Returns the cells of `COST_HEAD` for layers that were quantized alone."""
    return [
        (cost.name, cost.part, f"{cost.rmse:.4f}", f"{cost.agreement:.1%}")
        for cost in costs
    ]


MIX_HEAD = ("layer", "kind", "precision", "MACs", "weights alone", "output alone")


def mix_rows(mix: "Mix") -> list[tuple[str, ...]]:
    """Returns the cells of `MIX_HEAD` for each layer of a `Mix`."""
    return [
        (
            layer.name,
            layer.kind,
            layer.precision,
            f"{layer.share:.1%}",
            "-" if layer.weights is None else f"{layer.weights:.4f}",
            f"{layer.output:.4f}",
        )
        for layer in mix.layers
    ]


def mix_table(mix: "Mix") -> str:
    """Returns a table of the layers of a `Mix`, and its figures."""
    rows = mix_rows(mix)
    raised = [
        f"{printable(name)} {precision}" for name, precision in mix.raised.items()
    ]
    lines = [
        text_table(MIX_HEAD, rows),
        "alone: logit RMSE over their deviation if only this tensor is quantized",
        "",
        f"float        top-1 {mix.float_top1:.2%}",
        f"all int8     {_trial(mix.int8)}",
        f"the mix      {_trial(mix.mix)}",
        f"allowed      {mix.max_drop:g} points, the drop and its standard error together",
        f"MACs         {mix.share():.1%} in int8, {mix.share('int16'):.1%} in int16, "
        f"{mix.share('float'):.1%} in float",
        f"not in int8  {', '.join(raised) or 'nothing'}",
        f"search       {mix.conversions} conversion, {mix.files} files run",
    ]
    return "\n".join(lines)


def front_table(front: "Front") -> str:
    """Returns a table of the files of a `Front`, with the chosen one marked."""
    rows = [
        (
            f"{'* ' if point is front.chosen else ''}{point.path.name}",
            f"{point.size:,}",
            " + ".join(f"{n} x {word}" for word, n in point.layers.items() if n),
            f"{point.trial.top1:.2%}",
            f"{point.trial.drop:.2f} ({point.trial.error:.2f})",
            f"{point.trial.agreement:.2%}",
            f"{point.trial.rmse:.4f}",
            f"{1e3 * point.seconds:.3g}",
            f"{point.ratio:.2f}x",
        )
        for point in front.points
    ]
    headers = ("file", "bytes", "layers x bits", "top-1", "drop (error)")
    more = ("agreement", "RMSE", "ms", "of int8's")
    lines = [
        text_table((*headers, *more), rows),
        f"top-1, drop and RMSE of the logits on {front.count:,} held-out training images; "
        f"float top-1 {front.float_top1:.2%}",
        f"*            the {'smallest' if front.budget.smallest else 'most accurate'} "
        "within the budget",
        *(f"left out     {printable(text, 300)}" for text in front.refused),
    ]
    return "\n".join(lines)


def _trial(trial: "Trial") -> str:
    return (
        f"top-1 {trial.top1:.2%} on {trial.count:,} held-out images: drop "
        f"{trial.drop:.2f} points (standard error {trial.error:.2f}), agreement "
        f"{trial.agreement:.2%}, logit RMSE {trial.rmse:.4f}"
    )


def gzip_table(before: "PruningReport", after: "PruningReport") -> str:
    """Returns the bytes of the weights of two `PruningReport`s, plain and gzipped."""
    rows = [
        ("bytes", before.size, after.size),
        ("bytes gzipped", before.gzip_size, after.gzip_size),
    ]
    return text_table(("", "before", "after"), rows)


def pruning_table(before: "PruningReport", after: "PruningReport") -> str:
    """Returns the figures of two `PruningReport`s, and the zeros of each kernel after."""
    figures = ("parameters", "macs", "live_macs", "size", "gzip_size")
    names = ("parameters", "MACs", "MACs without zeros", "bytes", "bytes gzipped")
    rows = [
        (name, getattr(before, figure), getattr(after, figure))
        for name, figure in zip(names, figures, strict=True)
    ]
    kernels = [(name, count, f"{share:.1%}") for name, count, share in after.layers]
    parts = [
        text_table(("", "before", "after"), rows),
        text_table(("kernel", "weights", "zeros"), kernels),
    ]
    vanished = after.vanished(before)
    if vanished:
        parts.append(f"vanished: {', '.join(map(printable, vanished))}")
    return "\n\n".join(parts)
