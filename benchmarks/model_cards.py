"""Writes docs/model_cards.md: what is known of each network that comes with the package.

    python benchmarks/model_cards.py

Nothing is measured here: the page puts together what stands in docs/training (the run of
each network), `keras_resnets/models/costs.csv` (`benchmarks/choosing.py`) and
docs/confidence.md (`benchmarks/confidence.py`), in the sections of Mitchell 2019
(arXiv:1810.03993).
"""

import json
import re

import common
import ship_trained

PAGE = common.ROOT / "docs" / "model_cards.md"
HEAD = """# Model cards

These are the networks that come with the package, in the sections of Mitchell et al. 2019
([arXiv:1810.03993](https://arxiv.org/abs/1810.03993)). `python benchmarks/model_cards.py`
writes this page from the records of the trainings and the tables of
[choosing](choosing.md) and [confidence](confidence.md).

All networks have this in common:

- **Authors and licence**: this project, 2026, Apache-2.0. `weights="cifar10"` loads them
  offline.
- **Intended use**: small examples, tests of a toolchain, fine-tuning on small photos, and
  comparisons of quantization. They are not for decisions about people, nor for uses in
  which an error does harm.
- **Data**: CIFAR-10 (Krizhevsky 2009), with 50,000 training images of ten classes in 32 x
  32 pixels, cropped from photos on the web around 2008; no other images. The figures are
  for its 10,000 test images, which were read only after the training.
- **Limits**: a network always predicts one of the ten classes, whatever the image shows. It
  misses objects that do not fill the image. Images of other cameras, sizes or years were
  not measured. The networks are overconfident (*ECE*): see [confidence](confidence.md)
  before you use a probability.
- **Measurements**: one thread of an AMD EPYC with AVX-512 VNNI, in LiteRT. *4-bit* means
  4-bit weights, stored in 4 bits (`--prefer size`), without training.
"""


def costs():
    """{network: {precision: row}} of the shipped networks."""
    path = common.ROOT / "keras_resnets" / "models" / "costs.csv"
    found = {}
    for row in common.csv_rows(path):
        if row["top1"]:
            found.setdefault(row["variant"], {})[row["precision"]] = row
    return found


def calibration_errors():
    """{network: (ECE, ECE with the temperature of the other half)} of the page."""
    text = (common.ROOT / "docs" / "confidence.md").read_text("utf-8")
    rows = re.findall(r"^\| (\w+) \| (0\.\d+) \| 0\.\d+ \| (0\.\d+) \|", text, re.M)
    return {name: (error, scaled) for name, error, scaled in rows}


def card(name, rows, errors):
    """The section of one network."""
    import keras_resnets

    run = json.loads(
        (common.ROOT / "docs" / "training" / name / "run.json").read_text("utf-8")
    )
    info = keras_resnets.model_info(name)
    teachers = " and ".join(ship_trained.teachers_of(run)).replace("_teacher", "")
    taught = f", taught by {teachers}" if teachers else ""
    error, scaled = errors[name]
    folder = f"training/{name}"
    lines = [
        f"## {name}",
        "",
        f"{info.trainable_params:,} parameters, {info.mega_macs:.1f} million "
        "multiply-adds. "
        f"{ship_trained.epochs_of(run)} epochs with batches of {run['batch_size']} in "
        f"{run['precision']} on {run.get('device') or run['devices'][0]}{taught}, seed "
        f"{run['seed']}: [run]({folder}/run.json), [log]({folder}/history.csv), "
        f"[curve]({folder}/curves.png).",
        "",
        "| file | top-1, % | bytes | ms |",
        "|---|---|---|---|",
    ]
    for precision, title in (
        ("float32", "float32"),
        ("int8", "int8"),
        ("int4", "4-bit"),
    ):
        row = rows[precision]
        size = int(row["bytes"])
        lines.append(f"| {title} | {row['top1']} | {size:,} | {row['ms']} |")
    lines += ["", f"ECE {error}; with a fitted temperature {scaled}.", ""]
    return "\n".join(lines)


def page():
    """The whole text."""
    errors = calibration_errors()
    cards = [card(name, rows, errors) for name, rows in sorted(costs().items())]
    return HEAD + "\n" + "\n".join(cards)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(common.ROOT)}")
