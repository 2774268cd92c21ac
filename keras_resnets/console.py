"""What the export commands show on a terminal."""

import numpy as np

from keras_resnets.export import runners
from keras_resnets.labels import class_names


def tflite_report(report, pictures):
    """Size, operators, parity and latency of a `TFLiteExport`."""
    counted = ", ".join(f"{name} {count}" for name, count in report.operators.items())
    ratio = report.keras_latency / report.latency
    lines = [
        f"wrote        {report.path}  {report.size / 1e6:,.2f} MB",
        f"operators    {counted}",
        f"compared     {report.compared} pictures ({pictures}) in LiteRT and Keras:",
        f"  outputs    max difference {report.outputs.max_error:.2g}, "
        f"top-1 agreement {report.outputs.top1:.0%}",
        f"  logits     relative error {report.logits.relative_error:.2g}, "
        f"SQNR {report.logits.sqnr:.1f} dB, cosine {report.logits.cosine:.6f}, "
        f"top-1 agreement {report.logits.top1:.0%}",
        f"latency      LiteRT {report.latency * 1e3:,.1f} ms "
        f"({report.threads} threads), Keras {report.keras_latency * 1e3:,.1f} ms: "
        f"{ratio:.1f}x",
    ]
    return "\n".join(lines)


def top_five(model, report, photo, name):
    """The five likeliest classes of one picture, by the model and by the file."""
    keras_outputs, _ = runners.KerasRunner(model)(photo[None])
    runner = runners.TFLiteRunner(report.path.read_bytes(), report.threads)
    file_outputs = runner(photo[None])[0]
    lines = [f"top five     {name}", f"  {'Keras':<24}{report.path.name}"]
    best = [
        np.argsort(-outputs, kind="stable")[:5]
        for outputs in (keras_outputs[0], file_outputs)
    ]
    for ours, theirs in zip(*best, strict=True):
        left = f"class {ours:>4}  {keras_outputs[0][ours]:.4f}"
        right = f"class {theirs:>4}  {file_outputs[theirs]:.4f}"
        lines.append(f"  {left:<24}{right}")
    return "\n".join(lines)


def likeliest(outputs, name, labels=None, count=5, width=30):
    """The `count` likeliest classes of one picture, with a bar each.

    Args:
        outputs: probabilities (classes,).
        name: of the picture.
        labels: see `keras_resnets.labels.class_names`.
        count: how many.
        width: characters of a bar for certainty.
    """
    names = class_names(len(outputs), labels)
    best = np.argsort(-outputs, kind="stable")[:count]
    longest = max(len(names[index][1]) for index in best)
    lines = [str(name)]
    for index in best:
        share = float(outputs[index])
        bar = "#" * round(share * width)
        lines.append(f"  {names[index][1]:<{longest}}  {share:7.2%}  {bar}".rstrip())
    return "\n".join(lines)
