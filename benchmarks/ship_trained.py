"""Takes finished trainings into the package, and writes docs/training/ from them.

    python benchmarks/ship_trained.py RUN [RUN ...] --data cifar10.npz [--first RUN]
        [--keep] [--half] [--halve NAME ...]

Each RUN is the folder of a finished `keras-resnets train` on CIFAR-10. Its weights go to
`keras_resnets/weights/trained`, a row to `records.csv`, its record, log and curve to
`docs/training/NAME`; the table of `docs/training/README.md` is written anew from all that
lie there. A run that began with the weights of another, finished or not, needs that one
as `--first`. `--keep` ships the network of before as `NAME_plain` too, and `--half` stores
the new weights in float16, whatever their size. `--halve NAME` stores those of `NAME` or
`NAME_plain`, which are in the package, in float16. The accuracy is that in float32 on all
test images, and must be within 0.1 points of what the run found in its own precision.
"""

import csv
import hashlib
import io
import json
import pathlib
import re
import shutil

import common

PACKAGE = common.ROOT / "keras_resnets" / "weights"
TRAINED = PACKAGE / "trained"
RECORDS = PACKAGE / "records" / "records.csv"
PAGES = common.ROOT / "docs" / "training"
QUEUE = PAGES / "queue.csv"
TAG = "keras_resnets_cifar10"
LIMIT = 20e6
# Larger files are stored in float16.
HALF_ABOVE = 2.5e6
# Share of the test images by which float16 may change the accuracy.
HALF_MAY_CHANGE = 2.05e-4
HEADERS = (
    "network",
    "top-1, %",
    "parameters",
    "M multiply-adds",
    "MB",
    "epochs",
    "precision",
    "on",
    "seed",
    "",
)
HEAD = """# Networks that this project trained

`python benchmarks/ship_trained.py` writes this page from the run folders. The `run.json`
of each run has all settings, including seed and versions. The networks were trained on
the 50,000 training images of CIFAR-10 only; the 10,000 test images were read once, after
each training. The runs on a GPU used JAX and shared an NVIDIA H100 or H200. To evaluate a
network and to train it again:

```sh
keras-resnets evaluate {first} --weights cifar10 --data cifar10.npz
{command}
```

`NAME_plain` is the network of `weights="keras_resnets_cifar10_plain"`: the one that was
shipped before, trained without a teacher. Tables of [compression](../compression.md) and
[targets](../targets.md) that were measured with them say so. `wrn_16_4_teacher` is the
WRN-16-4 that was shipped before its student `wrn_16_4_taught`, with 94.63 %.

"""


def without_folders(command):
    """A command without the paths of the machine that it ran on."""
    return re.sub(r"(?<=\s)/\S*/(?=\S)", "", command)


def read(folder, finished=True):
    """What `run.json` says, without the machine's paths."""
    facts = json.loads((folder / "run.json").read_text("utf-8"))
    if len(facts["classes"]) != 10 or (finished and facts["status"] != "done"):
        raise SystemExit(f"{folder} is no finished training on CIFAR-10")
    facts["command"] = without_folders(facts["command"])
    return facts


def ship(folder, data, first=None, keep=False, half=False):
    """Weights, record and page of one run; nothing where it is not what it says."""
    import keras_resnets
    from keras_resnets.images import evaluation
    from keras_resnets.weights import open_source
    from keras_resnets.weights import saving

    facts = read(folder)
    if ("--weights" in facts["command"]) != (first is not None):
        raise SystemExit(f"{folder}: --first belongs to a run that has --weights")
    if first is not None:
        facts["first"] = read(first, finished=False)
        history = (first / "history.csv").read_text("utf-8")
        facts["first"]["epochs_done"] = len(history.splitlines()) - 1
    name, figures = facts["model"], facts["figures"]
    weights = str(folder / f"{figures['test_weights']}.weights.h5")
    model = keras_resnets.create_model(name, weights=weights)
    test = evaluation.open_data(data, model.preprocessing)
    found = evaluation.evaluate(model, test, 500).top1
    if abs(found - figures["test_accuracy"]) > 0.001:
        raise SystemExit(f"{name}: {found:.2%} in float32, but the run found {figures}")
    if keep:
        keep_plain(name)
    TRAINED.mkdir(exist_ok=True)
    path = TRAINED / f"{name}.safetensors"
    source = open_source(weights, name)
    architecture = keras_resnets.get_architecture(name)
    saving.save(model, path, source, architecture, overwrite=True)
    if half or path.stat().st_size > HALF_ABOVE:
        store_half(model, path, architecture)
        stored = keras_resnets.create_model(name, weights=str(path))
        found = evaluation.evaluate(stored, test, 500).top1
    write_record(name, path, model.preprocessing, 100 * found)
    page = PAGES / name
    page.mkdir(parents=True, exist_ok=True)
    for part in ("history.csv", "curves.png"):
        shutil.copy(folder / part, page / part)
    if first is not None:
        shutil.copy(first / "history.csv", page / "history_first.csv")
    figures["shipped_accuracy"] = round(found, 4)
    (page / "run.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    print(f"{name}: {found:.2%}, {path.stat().st_size:,} bytes")


def halve(stem, data):
    """Stores weights of the package in float16 if accuracy stays within 0.02 points."""
    import keras_resnets
    from keras_resnets.images import evaluation

    name = stem.removesuffix("_plain")
    tag = TAG + stem.removeprefix(name)
    path = TRAINED / f"{stem}.safetensors"
    before = path.stat().st_size
    model = keras_resnets.create_model(name, weights=str(path))
    test = evaluation.open_data(data, model.preprocessing)
    was = evaluation.evaluate(model, test, 500).top1
    half = path.with_name(f"{stem}_half.safetensors")
    store_half(model, half, keras_resnets.get_architecture(name))
    stored = keras_resnets.create_model(name, weights=str(half))
    top1 = evaluation.evaluate(stored, test, 500).top1
    if abs(top1 - was) > HALF_MAY_CHANGE:
        half.unlink()
        raise SystemExit(f"{stem}: {top1:.2%} in float16, {was:.2%} in float32")
    half.replace(path)
    columns, rows = read_records()
    for row in rows:
        if (row["variant"], row["tag"]) == (name, tag):
            row.update(top1=f"{100 * top1:.2f}", hash=digest(path))
    write_records(columns, rows)
    record = PAGES / stem / "run.json"
    facts = json.loads(record.read_text("utf-8"))
    facts["figures"]["shipped_accuracy"] = round(top1, 4)
    record.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    print(
        f"{stem}: {was:.2%} -> {top1:.2%}, {before:,} -> {path.stat().st_size:,} bytes"
    )


def digest(path):
    """What `records.csv` says of a file's content."""
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def keep_plain(name):
    """Ships the weights and the page of `name` as those of `NAME_plain` from now on."""
    plain = f"{name}_plain"
    for old, new in (
        (TRAINED / f"{name}.safetensors", TRAINED / f"{plain}.safetensors"),
        (PAGES / name, PAGES / plain),
    ):
        if new.exists():
            raise SystemExit(f"{new} exists: leave out --keep")
        old.rename(new)
    columns, rows = read_records()
    for row in rows:
        if (row["variant"], row["tag"]) == (name, TAG):
            row.update(tag=f"{TAG}_plain", location=f"package://{plain}.safetensors")
    write_records(columns, rows)


def store_half(model, path, architecture):
    """Writes the weights in float16."""
    from keras_resnets.graph import provenance
    from keras_resnets.weights import layouts
    from keras_resnets.weights import metadata
    from keras_resnets.weights.readers.safetensors import write_safetensors
    from keras_resnets.weights.values import torch_tensors

    tensors = torch_tensors(model, layouts.for_architecture(architecture))
    half = {name: array.astype("float16") for name, array in tensors.items()}
    with path.open("wb") as file:
        write_safetensors(file, half, metadata.of_safetensors(provenance.of(model)))


def write_record(name, path, preprocessing, top1):
    """Puts the row of a network into `records.csv`."""
    columns, rows = read_records()
    row = {
        "variant": name,
        "tag": TAG,
        "dataset": "cifar10",
        "top1": f"{top1:.2f}",
        "top5": "",
        "size": preprocessing.size[0],
        "crop_fraction": preprocessing.crop_fraction,
        "interpolation": preprocessing.interpolation,
        "mode": preprocessing.mode,
        "labels": "cifar10",
        "licence": "apache-2.0",
        "verified": "accuracy",
        "hash": digest(path),
        "location": f"package://{path.name}",
        "source": "docs/training/README.md",
    }
    rows = [r for r in rows if (r["variant"], r["tag"]) != (name, TAG)] + [row]
    write_records(columns, rows)


def read_records():
    """(columns, rows) of `records.csv`."""
    rows = list(csv.DictReader(io.StringIO(RECORDS.read_text("utf-8"))))
    return list(rows[0]), rows


def write_records(columns, rows):
    """Writes `records.csv`."""
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    RECORDS.write_text(text.getvalue(), "utf-8")


def page():
    """The text of docs/training/README.md, of all networks that lie beside it."""
    import keras_resnets

    places = sorted(PAGES.glob("*/run.json"), key=lambda path: _place(path.parent.name))
    runs = [json.loads(path.read_text("utf-8")) for path in places]
    lines = [f"| {' | '.join(HEADERS)} |", "|" + "---|" * len(HEADERS)]
    for path, facts in zip(places, runs, strict=True):
        name = path.parent.name
        macs = keras_resnets.analyze(keras_resnets.create_model(facts["model"])).macs
        cells = (
            f"[{name}]({name}/run.json)",
            f"{100 * facts['figures']['shipped_accuracy']:.2f}",
            f"{facts['parameters']:,}",
            f"{macs / 1e6:.1f}",
            f"{(TRAINED / f'{name}.safetensors').stat().st_size / 1e6:.2f}",
            epochs_of(facts),
            facts["precision"],
            f"{facts['devices'][0].split(':')[0].upper()}, {facts['backend']}",
            f"{facts['seed']}",
            f"[log]({name}/history.csv), [curve]({name}/curves.png)",
        )
        lines.append(f"| {' | '.join(cells)} |")
    first = runs[0]
    command = first.get("same", first["command"])
    head = HEAD.format(first=first["model"], command=command)
    taught = [*teaching(runs), *plain_and_taught()]
    names = [path.parent.name for path in places]
    seconds = second_cycles(dict(zip(names, runs, strict=True)))
    return head + "\n".join([*lines, *seconds, *taught]) + "\n"


def teachers_of(facts):
    """The names of the networks that taught a run, in the queue or by `--teacher`."""
    typed = re.findall(r"--teacher (\w+)", facts["command"])
    return facts.get("teachers", typed)


def teaching(runs):
    """Lines on the networks that learned from another as well."""
    lines = []
    for facts in runs:
        if not (teachers := teachers_of(facts)):
            continue
        heat, weight = facts.get("temperature"), facts.get("teacher_weight")
        command = f"The command: `{facts['command']}`"
        if "same" in facts:
            command = (
                "`benchmarks/accelerator_queue.py` trained it. This command minimizes the "
                f"same loss: `{facts['same']}`"
            )
        else:
            added = facts["recipe"]["distillation"]
            heat, weight = facts["recipe"]["temperature"], added / (1 + added)
        lines += [
            "",
            f"{facts['model']}: distillation from the outputs of {' and '.join(teachers)} "
            f"at temperature {heat:g} is {weight:.0%} of the loss (Hinton 2015). {command}",
        ]
    return lines


def plain_and_taught():
    """A table of all that the queue finished, shipped or not."""
    rows = common.csv_rows(QUEUE)
    if not rows:
        return []
    head = list(rows[0])
    lines = ["", "All finished trainings of the queue, shipped or not:", ""]
    lines += [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return lines + [f"| {' | '.join(row.values())} |" for row in rows]


def _place(name):
    """ResNet-20 comes first; by name."""
    return not name.startswith("resnet20"), name


def second_cycles(runs):
    """Lines on the networks, by name, whose training went on when it was over."""
    lines = []
    for name, facts in runs.items():
        if "first" not in facts:
            continue
        first = facts["first"]
        if first["status"] == "done":
            seen = first["figures"]["test_accuracy"]
            words = (
                f"the first cycle, which had a test accuracy of {seen:.2%}: the test "
                "images had been read once before."
            )
        else:
            words = (
                f"the first cycle, whose machine was lost after "
                f"{first['epochs_done']} of {first['recipe']['epochs']} epochs, before any "
                "test image was read."
            )
        lines += [
            "",
            f"{name}: a second cycle of the schedule started from the weights of "
            f"{words}",
        ]
    return lines


def epochs_of(facts):
    """30, or 30 + 18 where a first run went before."""
    epochs = facts["recipe"]["epochs"]
    if "first" not in facts:
        return f"{epochs}"
    first = facts["first"]
    return f"{first.get('epochs_done', first['recipe']['epochs'])} + {epochs}"


def check_size():
    """Ends with an error where the package would grow too large."""
    total = sum(path.stat().st_size for path in TRAINED.glob("*.safetensors"))
    if total > LIMIT:
        raise SystemExit(f"{TRAINED} holds {total:,} bytes; at most {LIMIT:,.0f}")


def main():
    parser = common.parser(__doc__)
    parser.add_argument("runs", metavar="RUN", nargs="*", type=pathlib.Path)
    parser.add_argument("--data", metavar="NPZ", required=True)
    parser.add_argument("--first", metavar="RUN", type=pathlib.Path)
    parser.add_argument("--keep", action="store_true", help="the old one as NAME_plain")
    parser.add_argument("--half", action="store_true", help="store float16")
    parser.add_argument("--halve", metavar="NAME", nargs="+", default=())
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    from keras_resnets.system.quiet import native_logs_hidden

    with native_logs_hidden():
        for folder in arguments.runs:
            ship(
                folder,
                arguments.data,
                arguments.first,
                arguments.keep,
                arguments.half,
            )
        for stem in arguments.halve:
            halve(stem, arguments.data)
        check_size()
        (PAGES / "README.md").write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
