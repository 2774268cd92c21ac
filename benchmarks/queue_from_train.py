"""Records a run of `keras-resnets train` as the training of the queue that it equals.

    python benchmarks/queue_from_train.py RUN NAME

RUN is the folder of a finished run on all 50,000 training images, for example of a
training that no accelerator had time for; NAME is that of the training in
accelerator_queue.json. Model, axes, recipe, precision, batch and seed must be equal, and
neither may have a teacher. The run becomes a row of docs/training/queue.csv, and its curve
one of papers.py.
"""

import csv
import dataclasses
import json
import pathlib

import accelerator_queue
import common
import queue_runs

# Of run.json, and of a training of the queue.
SAME = {
    "model": "model",
    "seed": "seed",
    "precision": "precision",
    "batch_size": "batch",
}
IMAGES = 50_000


def recipe_of(task):
    """The recipe of a training as `run.json` has it."""
    from keras_resnets.training import get_recipe

    changes = {**task["changes"], "epochs": task["epochs"], "batch_size": task["batch"]}
    recipe = get_recipe(task["recipe"], **changes)
    return json.loads(json.dumps(dataclasses.asdict(recipe)))


def differences(facts, task):
    """What differs between a run and a training, as text."""
    told = [
        f"{ours}: {facts[ours]}, not {task[theirs]}"
        for ours, theirs in SAME.items()
        if facts[ours] != task[theirs]
    ]
    wanted = recipe_of(task)
    told += [
        f"{name}: {facts['recipe'].get(name)}, not {value}"
        for name, value in wanted.items()
        if name not in ("source", "published") and facts["recipe"].get(name) != value
    ]
    if facts["data"]["train"] != IMAGES:
        told.append(f"images: {facts['data']['train']}, not {IMAGES}")
    if facts["status"] != "done":
        told.append(f"status: {facts['status']}, not done")
    if facts["axes"] != task.get("axes", {}):
        told.append(f"axes: {facts['axes']}, not {task.get('axes', {})}")
    words = facts["command"].split()
    told += [f"option {x}" for x in ("--weights", "--teacher") if x in words]
    if task.get("teachers"):
        told.append("the training of the queue has teachers")
    return told


def row_of(facts, task):
    """The run's row of the results."""
    figures = facts["figures"]
    return {
        "training": task["name"],
        "network": task["model"],
        "top1": f"{100 * figures['test_accuracy']:.2f}",
        "epochs": task["epochs"],
        "seed": task["seed"],
        "teachers": "",
        "seconds": figures["seconds"],
        "device": f"{facts['devices'][0].split(':')[0].upper()}, {facts['backend']}",
    }


def main():
    parser = common.parser(__doc__)
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("name")
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    tasks = {task["name"]: task for task in accelerator_queue.read_queue()}
    accelerator_queue.check_names([arguments.name], tasks)
    task = tasks[arguments.name]
    facts = json.loads((arguments.run / "run.json").read_text("utf-8"))
    told = differences(facts, task)
    if told:
        raise SystemExit(f"{arguments.run} is another training: {'; '.join(told)}")
    with (arguments.run / "history.csv").open(newline="", encoding="utf-8") as file:
        epochs = [{k: row[k] for k in queue_runs.EPOCH} for row in csv.DictReader(file)]
    row = row_of(facts, task)
    queue_runs.write_results([row])
    queue_runs.keep_curve(task["name"], epochs)
    common.show(list(row), [list(row.values())])


if __name__ == "__main__":
    main()
