"""Makes of finished trainings of the queue what `keras-resnets train` leaves of a run.

    python benchmarks/queue_runs.py WORK RUNS --data cifar10.npz [--only NAME ...]

WORK is the folder of `accelerator_queue.py work` (or `unpack`). Each finished training
becomes a folder RUNS/NAME with run.json, history.csv, curves.png and last.weights.h5, for
`ship_trained.py`, and a row of `docs/training/queue.csv`; those of the papers' tables
also leave their curve for `papers.py`. The accuracy is that in float32
on all test images, which nothing has read before.
"""

import csv
import dataclasses
import json
import os
import pathlib
import re

import accelerator_queue
import common
import device_state
import device_training
import papers

EPOCH = ("epoch", "accuracy", "loss", "seconds")
TAUGHT = ("teachers", "teacher_weight", "temperature")
# 0.1 of the labels' loss and 0.9 of the teachers' is 0.1 times what `train` minimizes
# with a rate of a tenth, ten times the decay and 9 times the teachers' part.
SAME_WITH_TRAIN = (
    "keras-resnets train {model} --data cifar10.npz --labels cifar10 --recipe {recipe} "
    "--precision {precision} --epochs {epochs} --batch-size {batch} --validation 0 "
    "--seed {seed} --output {name}"
)


def model_of(task, groups):
    """The trained network in float32."""
    model = device_training.build(task, "float32")
    both = (model.trainable_variables, model.non_trainable_variables)
    for variables, name in zip(both, ("trainable", "fixed"), strict=True):
        for variable, value in zip(variables, groups[name], strict=True):
            variable.assign(value)
    return model


def options_of_train(task, recipe):
    """The `keras-resnets train` that minimizes the same."""
    command = SAME_WITH_TRAIN.format(**task)
    changes = dict(task["changes"])
    soft = task.get("teacher_weight")
    if soft:
        hard = 1 - soft
        changes["learning_rate"] = round(recipe.learning_rate * hard, 9)
        changes["weight_decay"] = round(recipe.weight_decay / hard, 9)
        changes["distillation"] = round(soft / hard, 9)
        changes["temperature"] = task["temperature"]
        command += f" --teacher {task['teacher_model']} --teacher-weights cifar10"
    return command + "".join(f" --change {k}={v}" for k, v in changes.items())


def write_run(task, work, runs, data):
    """Writes the folder of one finished training; its row of the results."""
    from keras_resnets.graph import provenance
    from keras_resnets.images import evaluation
    from keras_resnets.images.labels import label_set
    from keras_resnets.training import run_folder

    groups, rows, _ = device_state.load_state(work / f"{task['name']}.npz")
    model = model_of(task, groups)
    model.labels = "cifar10"
    recipe = device_training.compile_model(model, task, 50_000)
    test = evaluation.open_data(data, model.preprocessing)
    accuracy = evaluation.evaluate(model, test, 500).top1
    versions = json.loads((work / "versions.json").read_text("utf-8"))
    device = versions.pop("device")
    facts = {
        "status": "done",
        "command": f"python benchmarks/accelerator_queue.py work --only {task['name']}",
        "same": options_of_train(task, recipe),
        "model": task["model"],
        "parameters": model.count_params(),
        "classes": list(label_set("cifar10")),
        "recipe": dataclasses.asdict(recipe),
        **{key: task[key] for key in TAUGHT if key in task},
        "batch_size": task["batch"],
        "data": {"name": "cifar10.npz", "train": 50_000, "validation": 0},
        "seed": task["seed"],
        "precision": task["precision"],
        "backend": "jax",
        "devices": ["gpu:0"],
        "device": device,
        "versions": versions,
        "figures": {
            "seconds": round(sum(row[3] for row in rows), 1),
            "test_accuracy": accuracy,
            "test_weights": "last",
        },
    }
    folder = run_folder.RunFolder(runs / task["name"])
    folder.open(facts, resume=False)
    epochs = [dict(zip(EPOCH, row, strict=True)) for row in rows]
    folder.write_history(epochs)
    keep_curve(task["name"], epochs)
    folder.write_weights("last", model, provenance.of(model))
    folder.close()
    return {
        "training": task["name"],
        "network": task["model"],
        "top1": f"{100 * accuracy:.2f}",
        "epochs": task["epochs"],
        "seed": task["seed"],
        "teachers": "+".join(task.get("teachers", ())),
        "seconds": facts["figures"]["seconds"],
        "device": device,
    }


def keep_curve(name, epochs):
    """Writes what docs/papers.md draws, where a row of its tables has this training."""
    row = re.sub(r"_s\d+$", "", name)
    if not any(
        row == known["trainings"] for known in common.csv_rows(papers.PUBLISHED)
    ):
        return
    papers.CURVES.mkdir(parents=True, exist_ok=True)
    path = papers.CURVES / f"{name}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, EPOCH, lineterminator="\n")
        table.writeheader()
        table.writerows(epochs)


def write_results(rows):
    """Writes the rows into the results, in place of those of the same trainings."""
    known = common.csv_rows(accelerator_queue.RESULTS)
    new = {row["training"] for row in rows}
    rows = [row for row in known if row["training"] not in new] + rows
    fields = dict.fromkeys(field for row in rows for field in row)
    temporary = accelerator_queue.RESULTS.with_suffix(".part")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, fields, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    os.replace(temporary, accelerator_queue.RESULTS)


def main():
    parser = common.parser(__doc__)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("runs", type=pathlib.Path)
    parser.add_argument("--data", metavar="NPZ", required=True)
    parser.add_argument("--only", nargs="+", metavar="NAME")
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    tasks = {task["name"]: task for task in accelerator_queue.read_queue()}
    accelerator_queue.check_names(arguments.only or (), tasks)
    rows = []
    for name, task in tasks.items():
        state = arguments.work / f"{name}.npz"
        if (arguments.only and name not in arguments.only) or not state.exists():
            continue
        if not device_state.progress(state, task)[1]:
            continue
        if "teachers" in task:
            task["teacher_model"] = tasks[task["teachers"][0]]["model"]
        rows.append(write_run(task, arguments.work, arguments.runs, arguments.data))
        write_results(rows)
    if rows:
        common.show(list(rows[0]), [list(row.values()) for row in rows])


if __name__ == "__main__":
    main()
