"""The papers' own tables beside ours: docs/papers.md and its picture.

    python benchmarks/papers.py

`papers.csv` holds the published errors, each with its source and the trainings of
accelerator_queue.json that repeat it: all whose name is that of the row and `_s0`,
`_s1`, ... Their results stand in docs/training/queue.csv, the errors of their epochs
in docs/training/papers/NAME.csv (queue_runs.py writes both). Ours is the mean of the
seeds with its standard error. A row agrees where it differs from the published error
by at most two standard errors: of ours, and of the published one where the paper gives
its deviation. A row whose network is not the paper's is compared by its rank in the
table only.
"""

import json
import math
import pathlib
import re
import statistics

import common

PUBLISHED = pathlib.Path(__file__).with_suffix(".csv")
QUEUE = common.ROOT / "benchmarks" / "accelerator_queue.json"
RESULTS = common.ROOT / "docs" / "training" / "queue.csv"
CURVES = common.ROOT / "docs" / "training" / "papers"
PAGE = common.ROOT / "docs" / "papers.md"
PICTURE = common.ROOT / "docs" / "images" / "papers.png"
# Of He 2015's five runs of ResNet-110, whose deviation is published.
PUBLISHED_RUNS = 5
HEAD = """# Reproduction of the papers' tables

`python benchmarks/papers.py` writes this page from `docs/training/queue.csv`; do not
edit it.

The tables show the error on the 10,000 test images of CIFAR-10 in %, after the last
epoch, with the papers' recipes (`keras-resnets recipes`). *Measured* is the mean over
the seeds with its standard error. A row agrees with the paper if the two differ by at
most two standard errors. The trainings need an accelerator and are queued in
`benchmarks/accelerator_queue.json`; a row is marked *queued* until they have run.
"""
NOTES = {
    "He 2016": "The paper has 110 layers, this table 56, so only the ranks are comparable.",
    "Torch blog": (
        "The figures are from the co-author's repository, one run each; the blog itself "
        "has charts. This package does not implement its fourth variant (BN after the "
        "addition and no ReLU, 8.23)."
    ),
}


def read_results(path):
    """The rows of `queue.csv`.

    Raises:
        SystemExit: a row without a training or without an accuracy in %.
    """
    rows = common.csv_rows(path)
    for number, row in enumerate(rows, 2):
        try:
            good = bool(row["training"]) and 0 <= float(row["top1"]) <= 100
        except (KeyError, TypeError, ValueError):
            good = False
        if not good:
            raise SystemExit(
                f"{path}, line {number}: a row has a training and its top1 in %; got "
                f"{row.get('training')!r}, {row.get('top1')!r}"
            )
    return rows


def errors_of(prefix, results):
    """The errors in % of the trainings `prefix_s0`, `prefix_s1`, ..."""
    names = re.compile(rf"{re.escape(prefix)}_s\d+")
    rows = [row for row in results if names.fullmatch(row["training"])]
    return [100 - float(row["top1"]) for row in rows]


def standard_error(errors):
    """Of the mean; NaN for a single run."""
    if len(errors) < 2:
        return math.nan
    return statistics.stdev(errors) / math.sqrt(len(errors))


def verdict(row, errors, network):
    """What a row says of ours and the paper's."""
    if network is None:
        return "not queued"
    if not errors:
        return "queued"
    if row["of"].lower().replace("-", "") != network.replace("_", ""):
        return "other depth"
    uncertainty = standard_error(errors)
    if math.isnan(uncertainty):
        return "one run"
    published = float(row["deviation"] or 0) / math.sqrt(PUBLISHED_RUNS)
    limit = 2 * math.hypot(uncertainty, published)
    gap = statistics.mean(errors) - float(row["error"])
    return "agrees" if abs(gap) <= limit else f"differs by {gap:+.2f}"


def ours(errors):
    """Mean and standard error as text."""
    if not errors:
        return ""
    uncertainty = standard_error(errors)
    mean = f"{statistics.mean(errors):.2f}"
    return mean if math.isnan(uncertainty) else f"{mean} ± {uncertainty:.2f}"


def network_of(row, queue):
    """Name of the network that the trainings of a row have; None without trainings."""
    names = re.compile(rf"{re.escape(row['trainings'])}_s\d+")
    for task in queue:
        if names.fullmatch(task["name"]):
            return task["model"]
    return None


def section(name, rows, results, queue):
    """Markdown of one table."""
    lines = [f"\n## {name}\n"]
    if name in NOTES:
        lines.append(f"{NOTES[name]}\n")
    lines.append(
        "| | published | network of the paper | measured | network | seeds | result | "
        "source |"
    )
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in rows:
        errors = errors_of(row["trainings"], results)
        network = network_of(row, queue)
        deviation = f" ± {row['deviation']}" if row["deviation"] else ""
        lines.append(
            f"| {row['row']} | {row['error']}{deviation} | {row['of']} | {ours(errors)} | "
            f"{network or ''} | {len(errors)} | {verdict(row, errors, network)} | "
            f"{row['source']} |"
        )
    return "\n".join(lines) + "\n"


def draw(published):
    """Draws the training loss of every row whose curves are there; whether any is."""
    tables = dict.fromkeys(row["table"] for row in published)
    curves = {
        table: [
            (row["row"], common.csv_rows(path))
            for row in published
            if row["table"] == table
            for path in sorted(CURVES.glob(f"{row['trainings']}_s0.csv"))
        ]
        for table in tables
    }
    curves = {table: lines for table, lines in curves.items() if lines}
    if not curves:
        return False
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, len(curves), figsize=(5 * len(curves), 4), squeeze=False
    )
    for axis, (table, lines) in zip(axes[0], curves.items(), strict=True):
        for label, epochs in lines:
            numbers = [int(epoch["epoch"]) for epoch in epochs]
            errors = [100 - 100 * float(epoch["accuracy"]) for epoch in epochs]
            axis.plot(numbers, errors, label=label, linewidth=1)
        axis.set(title=table, xlabel="epoch", ylabel="training error, %", ylim=(0, 20))
        axis.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=120)
    return True


def page(results):
    """The tables in Markdown, without their picture."""
    published = common.csv_rows(PUBLISHED)
    queue = json.loads(QUEUE.read_text("utf-8"))["trainings"]
    text = HEAD
    for name in dict.fromkeys(row["table"] for row in published):
        rows = [row for row in published if row["table"] == name]
        text += section(name, rows, results, queue)
    return text


def main():
    common.parser(__doc__).parse_args()
    text = page(read_results(RESULTS))
    if draw(common.csv_rows(PUBLISHED)):
        text += "\n![Training error over epochs, first seed](images/papers.png)\n"
    PAGE.write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
