"""One training of the accelerator queue, wholly on the device, under JAX.

`accelerator_queue.py` starts this file, one process a training. The images lie in the
device's memory, are cropped and mirrored there, and one compiled program takes all steps
of an epoch, so that small networks do not wait for Python. Everything that is drawn is a
function of seed and epoch: a training that goes on from its saved state ends as one that
was never stopped.

The network, recipe, schedule and optimizer are those of `keras-resnets train`. A student
learns from the mean logits of its teachers on the same crops: they are computed once for
each of the 162 versions of an image (81 shifts, mirrored or not) and looked up.
"""

import argparse
import json
import os
import pathlib
import platform
import sys
import time

import numpy as np

SIDE, PADDING, CLASSES = 32, 4, 10
SHIFTS = 2 * PADDING + 1
VERSIONS = 2 * SHIFTS * SHIFTS
UNFINISHED = 3


def load_images(folder, count=None):
    """uint8 images (n, 32, 32, 3) and int32 labels (n,) of a packed data set."""
    from PIL import Image

    labels = np.load(folder / "labels.npy").astype("int32")
    strips = sorted(folder.glob("strip_*.webp"))
    images = np.concatenate([np.asarray(Image.open(path)) for path in strips])
    images = images.reshape(-1, SIDE, SIDE, 3)
    if len(images) != len(labels):
        raise SystemExit(f"{folder}: {len(images)} images and {len(labels)} labels")
    return images[:count], labels[:count]


def noise_images(count):
    """As `load_images`, but noise: to compile and to time."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, SIDE, SIDE, 3), "uint8")
    return images, rng.integers(0, CLASSES, count).astype("int32")


def build(task, precision=None):
    """The network of a task with its random weights, and without a softmax."""
    import keras

    import keras_resnets

    keras.utils.set_random_seed(task["seed"])
    axes = {"weights": None, **task.get("axes", {})}
    precision = precision or task["precision"]
    return keras_resnets.create_model(
        task["model"], dtype=precision, classifier_activation=None, **axes
    )


def padded_images(images, preprocessing):
    """The images in a margin of their mean colour, on the device."""
    import jax

    fill = preprocessing.pixels(np.zeros(3))
    height = SIDE + 2 * PADDING
    padded = np.empty((len(images), height, height, 3), "uint8")
    padded[:] = fill
    padded[:, PADDING:-PADDING, PADDING:-PADDING] = images
    return jax.device_put(padded)


def crops(padded, index, top, left, mirrored, preprocessing):
    """Normalized crops (batch, 32, 32, 3) in float32.

    Args:
        padded: uint8 (n, 40, 40, 3).
        index: of the images, int (batch,).
        top: first row of each crop, 0 to 8.
        left: first column.
        mirrored: bool (batch,).
        preprocessing: the network's.
    """
    import jax
    import jax.numpy as jnp

    def crop(i, y, x):
        return jax.lax.dynamic_slice(padded, (i, y, x, 0), (1, SIDE, SIDE, 3))[0]

    found = jax.vmap(crop)(index, top, left)
    found = jnp.where(mirrored[:, None, None, None], found[:, :, ::-1], found)
    pixels = found.astype("float32") * preprocessing.scale
    mean = np.asarray(preprocessing.mean, "float32")
    return (pixels - mean) / np.asarray(preprocessing.std, "float32")


def table_name(task):
    """Name of the file, less its suffix, with the answers of a task's teachers."""
    return "+".join(task["teachers"]) + ".table"


def version_of(top, left, mirrored):
    """Which of the 162 versions of an image a crop is."""
    return (top * SHIFTS + left) * 2 + mirrored


def epoch_program(model, task, count):
    """A compiled epoch: (variables, images, labels, answers, key) -> (variables, sums)."""
    import jax
    import jax.numpy as jnp

    batch = task["batch"]
    steps = count // batch
    optimizer, preprocessing = model.optimizer, model.preprocessing
    soft, heat = task.get("teacher_weight", 0.0), task.get("temperature", 1.0)

    def losses(trainable, fixed, inputs, labels, answers):
        logits, fixed = model.stateless_call(trainable, fixed, inputs, training=True)
        logits = logits.astype("float32")
        said = jax.nn.log_softmax(logits)
        loss = -jnp.mean(jnp.take_along_axis(said, labels[:, None], 1))
        if soft:
            targets = jax.nn.softmax(answers.astype("float32") / heat)
            cooled = jax.nn.log_softmax(logits / heat)
            taught = -(heat**2) * jnp.mean(jnp.sum(targets * cooled, -1))
            loss = (1 - soft) * loss + soft * taught
        right = jnp.mean((jnp.argmax(logits, -1) == labels).astype("float32"))
        return loss, (fixed, right)

    def step(variables, drawn, padded, labels, table):
        trainable, fixed, own = variables
        index, top, left, mirrored = drawn
        inputs = crops(padded, index, top, left, mirrored, preprocessing)
        answers = table[index, version_of(top, left, mirrored)] if soft else None
        gradient = jax.value_and_grad(losses, has_aux=True)
        (loss, (fixed, right)), slopes = gradient(
            trainable, fixed, inputs, labels[index], answers
        )
        trainable, own = optimizer.stateless_apply(own, slopes, trainable)
        return (trainable, fixed, own), (loss, right)

    def draw(key):
        names = jax.random.split(key, 4)
        shape = (steps, batch)
        order = jax.random.permutation(names[0], count)[: steps * batch]
        top = jax.random.randint(names[1], shape, 0, SHIFTS)
        left = jax.random.randint(names[2], shape, 0, SHIFTS)
        return (
            order.reshape(shape),
            top,
            left,
            jax.random.bernoulli(names[3], 0.5, shape),
        )

    def epoch(variables, padded, labels, table, key):
        def one(variables, drawn):
            return step(variables, drawn, padded, labels, table)

        variables, (loss, right) = jax.lax.scan(one, variables, draw(key))
        return variables, jnp.mean(loss), jnp.mean(right)

    def epoch_by_steps(variables, padded, labels, table, key):
        drawn, told = draw(key), []
        for number in range(steps):
            now = tuple(values[number] for values in drawn)
            variables, figures = one_step(variables, now, padded, labels, table)
            told.append(figures)
        loss, right = np.mean(np.asarray(told), 0)
        return variables, loss, right

    if jax.default_backend() == "cpu":
        # XLA computes the convolutions of a loop on one thread there, 50 times slower.
        one_step = jax.jit(step, donate_argnums=0)
        return epoch_by_steps
    return jax.jit(epoch, donate_argnums=0)


def variables_of(model):
    """Trainable, other and optimizer variables as arrays."""
    groups = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
    )
    return tuple([variable.value for variable in group] for group in groups)


def save_state(path, variables, rows, done):
    """Writes all that a training goes on from; the file appears whole or not at all."""
    arrays = {}
    for group, values in zip(
        ("trainable", "fixed", "optimizer"), variables, strict=True
    ):
        if done and group == "optimizer":
            continue
        arrays |= {f"{group}_{n}": np.asarray(v) for n, v in enumerate(values)}
    temporary = path.with_suffix(".part.npz")
    np.savez(temporary, rows=json.dumps(rows), done=done, **arrays)
    os.replace(temporary, path)


def load_state(path):
    """(groups of arrays by name, rows of the history, done) of `save_state`."""
    with np.load(path) as file:
        groups = {"trainable": [], "fixed": [], "optimizer": []}
        for group, values in groups.items():
            while f"{group}_{len(values)}" in file:
                values.append(file[f"{group}_{len(values)}"])
        return groups, json.loads(str(file["rows"])), bool(file["done"])


def compile_model(model, task, count):
    """Gives the model the optimizer of the task's recipe."""
    from keras_resnets.training import compiling
    from keras_resnets.training import get_recipe

    changes = {"epochs": task["epochs"], **task.get("changes", {})}
    recipe = get_recipe(task["recipe"], **changes)
    options = compiling.options(recipe, model, count // task["batch"], task["batch"])
    model.compile(**options)
    model.optimizer.build(model.trainable_variables)
    return recipe


def open_data(task, arguments, preprocessing):
    """(padded images, labels, answers of the teachers or None) on the device."""
    import jax

    if arguments.noise:
        images, labels = noise_images(arguments.noise)
    else:
        images, labels = load_images(arguments.data, arguments.images)
    padded = padded_images(images, preprocessing)
    table = None
    if task.get("teacher_weight") and arguments.noise:
        # Noise stands in for teachers where only time is measured.
        table = np.zeros((len(images), VERSIONS, CLASSES), "float16")
    elif task.get("teacher_weight"):
        table = np.load(arguments.folder / f"{table_name(task)}.npy", "r")
    return padded, jax.device_put(labels), jax.device_put(table)


def train(task, arguments):
    """Trains from the state that is there until it is done or the time is over."""
    import jax

    model = build(task)
    padded, labels, table = open_data(task, arguments, model.preprocessing)
    compile_model(model, task, len(padded))
    program = epoch_program(model, task, len(padded))
    variables, rows = variables_of(model), []
    path = arguments.folder / f"{task['name']}.npz"
    if path.exists():
        groups, rows, done = load_state(path)
        if done:
            return 0
        variables = tuple(jax.device_put(groups[group]) for group in groups)
    key = jax.random.key(task["seed"])
    saved, slowest = time.time(), 0.0
    last = min(task["epochs"], arguments.epochs or task["epochs"])
    while len(rows) < last and time.time() + 1.3 * slowest < arguments.until:
        start, number = time.time(), len(rows)
        turn = jax.random.fold_in(key, number)
        variables, loss, right = program(variables, padded, labels, table, turn)
        loss, right = float(loss), float(right)
        taken = time.time() - start
        # The first one compiles.
        slowest = max(0.8 * slowest, taken) if rows else 0.0
        rows.append([number + 1, right, loss, round(taken, 3)])
        print(
            f"{task['name']} {number + 1} {right:.4f} {loss:.4f} {taken:.2f}",
            flush=True,
        )
        if not np.isfinite(loss):
            raise SystemExit(f"{task['name']}: the loss is {loss}")
        if time.time() - saved > arguments.save_seconds:
            save_state(path, variables, rows, False)
            saved = time.time()
    save_state(path, variables, rows, len(rows) == task["epochs"])
    return 0 if len(rows) == last else UNFINISHED


def teacher(task, folder):
    """A finished training's network and variables; of an earlier session, as shipped."""
    path = folder / f"{task['name']}.npz"
    if path.exists():
        groups, _, done = load_state(path)
        if not done:
            raise SystemExit(f"{task['name']} is no finished teacher")
        return build(task), (groups["trainable"], groups["fixed"])
    model = build({**task, "axes": {**task.get("axes", {}), "weights": "cifar10"}})
    both = (model.trainable_variables, model.non_trainable_variables)
    return model, tuple([variable.value for variable in group] for group in both)


def teach(student, teachers, arguments):
    """Writes the mean logits of some finished trainings on all versions of all images.

    Args:
        student: the task of one that learns from them.
        teachers: their tasks.
        arguments: of this process.
    """
    import jax
    import jax.numpy as jnp

    images, _ = load_images(arguments.data, arguments.images)
    table = np.zeros((len(images), VERSIONS, CLASSES), "float32")
    batch = min(1000, len(images))
    for task in teachers:
        model, known = teacher(task, arguments.folder)
        padded = padded_images(images, model.preprocessing)

        @jax.jit
        def answers(groups, padded, index, number, model=model):
            flat = jnp.full(index.shape, number)
            top, left = flat // 2 // SHIFTS, flat // 2 % SHIFTS
            mirrored = flat % 2 == 1
            inputs = crops(padded, index, top, left, mirrored, model.preprocessing)
            logits, _ = model.stateless_call(*groups, inputs, training=False)
            return logits.astype("float32")

        known = jax.device_put(known)
        for start in range(0, len(images), batch):
            index = np.minimum(np.arange(start, start + batch), len(images) - 1)
            index = jax.device_put(index)
            found = [answers(known, padded, index, n) for n in range(VERSIONS)]
            found = np.asarray(jnp.stack(found, 1))[: len(images) - start]
            table[start : start + batch] += found / len(teachers)
    path = arguments.folder / f"{table_name(student)}.npy"
    temporary = path.with_suffix(".part.npy")
    np.save(temporary, table.astype("float16"))
    os.replace(temporary, path)
    return 0


def versions():
    """Versions of what computes."""
    import jax
    import keras

    import keras_resnets

    return {
        "keras_resnets": keras_resnets.__version__,
        "python": platform.python_version(),
        "keras": keras.__version__,
        "numpy": np.__version__,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "tasks",
        type=json.loads,
        help="JSON: a training; with its teachers, their answers are written instead",
    )
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--until", type=float, default=float("inf"), help="Unix time")
    parser.add_argument("--save-seconds", type=float, default=60)
    parser.add_argument("--images", type=int, help="the first so many alone")
    parser.add_argument("--noise", type=int, help="so many images of noise")
    parser.add_argument("--epochs", type=int, help="stop after so many")
    arguments = parser.parse_args()
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    task, *teachers = arguments.tasks
    if teachers:
        return teach(task, teachers, arguments)
    (arguments.folder / "versions.json").write_text(json.dumps(versions()), "utf-8")
    return train(task, arguments)


if __name__ == "__main__":
    sys.exit(main())
