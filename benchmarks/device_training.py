"""Trainings of the accelerator queue, wholly on the device, under JAX.

`accelerator_queue.py` starts this file, one process for each stack: trainings that differ
in their seeds alone, which run as one wide network (stacked.py). The images lie in the
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

import device_data
import device_state
import numpy as np
import stacked

UNFINISHED = 3
# Of what an epoch takes beside others: they end, and the rest goes faster.
HOPE = 0.7


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


def loss_and_accuracy(logits, labels, answers, task):
    """Loss and accuracy of each network: (count,), (count,).

    Args:
        logits: float32 (count, batch, classes).
        labels: int (count, batch).
        answers: logits of the teachers, (count, batch, classes), or None.
        task: its `teacher_weight` and `temperature` are read.
    """
    import jax
    import jax.numpy as jnp

    said = jax.nn.log_softmax(logits)
    loss = -jnp.mean(jnp.take_along_axis(said, labels[..., None], 2), (1, 2))
    if answers is not None:
        soft, heat = task["teacher_weight"], task["temperature"]
        targets = jax.nn.softmax(answers.astype("float32") / heat)
        cooled = jax.nn.log_softmax(logits / heat)
        taught = -(heat**2) * jnp.mean(jnp.sum(targets * cooled, -1), 1)
        loss = (1 - soft) * loss + soft * taught
    right = jnp.argmax(logits, -1) == labels
    return loss, jnp.mean(right.astype("float32"), 1)


def draw(key, count, steps, batch):
    """What one network sees in an epoch: image, top, left, mirrored, (steps, batch)."""
    import jax

    names = jax.random.split(key, 4)
    shape = (steps, batch)
    order = jax.random.permutation(names[0], count)[: steps * batch]
    top = jax.random.randint(names[1], shape, 0, device_data.SHIFTS)
    left = jax.random.randint(names[2], shape, 0, device_data.SHIFTS)
    mirrored = jax.random.bernoulli(names[3], 0.5, shape)
    return order.reshape(shape), top, left, mirrored


def step_program(model, task, number):
    """One step of `number` networks of the architecture of `model`."""
    import jax
    import jax.numpy as jnp

    wide = stacked.widen(model, number)
    optimizer, preprocessing = model.optimizer, model.preprocessing

    def losses(trainable, fixed, inputs, labels, answers):
        trainable, fixed = ([stacked.spread(v) for v in g] for g in (trainable, fixed))
        outputs, fixed = wide.stateless_call(trainable, fixed, inputs, training=True)
        logits = stacked.outputs_of(outputs.astype("float32"), number)
        loss, right = loss_and_accuracy(logits, labels, answers, task)
        fixed = [stacked.gather(value, number) for value in fixed]
        return jnp.sum(loss), (fixed, loss, right)

    def step(variables, drawn, padded, labels, table):
        trainable, fixed, own = variables
        index, top, left, mirrored = drawn
        flat = [values.reshape(-1) for values in drawn]
        images = device_data.crops(padded, *flat, preprocessing)
        images = images.reshape(*index.shape, *images.shape[1:])
        answers = None
        if table is not None:
            answers = table[index, device_data.version_of(top, left, mirrored)]
        gradient = jax.value_and_grad(losses, has_aux=True)
        (_, (fixed, loss, right)), slopes = gradient(
            trainable, fixed, stacked.inputs_of(images), labels[index], answers
        )
        # Each network has an optimizer of its own, with its own counter of steps.
        trainable, own = jax.vmap(optimizer.stateless_apply)(own, slopes, trainable)
        return (trainable, fixed, own), (loss, right)

    return step


def epoch_program(model, task, number, count):
    """A compiled epoch of `number` networks on `count` images.

    Returns:
        (variables, images, labels, answers, keys) -> (variables, loss, accuracy), the
        last two (number,).
    """
    import jax
    import jax.numpy as jnp

    batch = task["batch"]
    steps = count // batch
    step = step_program(model, task, number)

    def drawn_by(keys):
        drawn = jax.vmap(lambda key: draw(key, count, steps, batch))(keys)
        return tuple(jnp.swapaxes(values, 0, 1) for values in drawn)

    def epoch(variables, padded, labels, table, keys):
        def one(variables, drawn):
            return step(variables, drawn, padded, labels, table)

        variables, (loss, right) = jax.lax.scan(one, variables, drawn_by(keys))
        return variables, jnp.mean(loss, 0), jnp.mean(right, 0)

    def epoch_by_steps(variables, padded, labels, table, keys):
        drawn, told = drawn_by(keys), []
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
    """Arrays of a model's variables by the names of `device_state.GROUPS`."""
    groups = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
    )
    arrays = ([variable.value for variable in group] for group in groups)
    return dict(zip(device_state.GROUPS, arrays, strict=True))


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


class Stack:
    """Trainings that differ in name and seed alone, as one wide network.

    Args:
        tasks: of the queue.
        arguments: of the command.
    """

    def __init__(self, tasks, arguments):
        import jax

        self.tasks, self.folder = tasks, arguments.folder
        self.model = build(tasks[0])
        self.data = device_data.open_data(tasks[0], arguments, self.model.preprocessing)
        compile_model(self.model, tasks[0], len(self.data[0]))
        states = [self._state(task) for task in tasks]
        self.rows = [rows for _, rows, _ in states]
        self.done = all(done for *_, done in states)
        if len({len(rows) for rows in self.rows}) > 1:
            raise SystemExit("trainings of one stack must be equally far")
        known = [
            [groups[name] for groups, *_ in states] for name in device_state.GROUPS
        ]
        stacks = [[np.stack(v) for v in zip(*each, strict=True)] for each in known]
        self.variables = tuple(jax.device_put(stacks))
        self.keys = jax.numpy.stack([jax.random.key(task["seed"]) for task in tasks])

    def _state(self, task):
        """(arrays by group, rows of the history, done) of one training."""
        path = self.folder / f"{task['name']}.npz"
        if path.exists():
            return device_state.load_state(path, task)
        first = task is self.tasks[0]
        groups = variables_of(self.model)
        if not first:
            own = build(task)
            groups["trainable"] = [v.value for v in own.trainable_variables]
            groups["fixed"] = [v.value for v in own.non_trainable_variables]
        return groups, [], False

    @property
    def epoch(self):
        """Epochs that are over."""
        return len(self.rows[0])

    def program(self):
        """The epoch, see `epoch_program`."""
        return epoch_program(
            self.model, self.tasks[0], len(self.tasks), len(self.data[0])
        )

    def train_epoch(self, program):
        """One epoch of all; adds a row to each history and prints it."""
        import jax

        start, number = time.time(), self.epoch
        turn = jax.vmap(lambda key: jax.random.fold_in(key, number))(self.keys)
        self.variables, loss, right = program(self.variables, *self.data, turn)
        loss, right = np.asarray(loss), np.asarray(right)
        taken = time.time() - start
        for n, (task, rows) in enumerate(zip(self.tasks, self.rows, strict=True)):
            rows.append([number + 1, float(right[n]), float(loss[n]), round(taken, 3)])
            print(
                f"{task['name']} {number + 1} {right[n]:.4f} {loss[n]:.4f} {taken:.2f}",
                flush=True,
            )
        if not np.isfinite(loss).all():
            raise SystemExit(f"{self.tasks[0]['name']}: the losses are {loss}")
        return taken

    def save(self, done):
        """Writes the state of each training."""
        whole = [[np.asarray(value) for value in group] for group in self.variables]
        for n, (task, rows) in enumerate(zip(self.tasks, self.rows, strict=True)):
            own = ([value[n] for value in group] for group in whole)
            groups = dict(zip(device_state.GROUPS, own, strict=True))
            device_state.save_state(
                self.folder / f"{task['name']}.npz", groups, rows, done, task
            )


def train(tasks, arguments):
    """Trains from the states that are there until all is done or the time is over."""
    stack = Stack(tasks, arguments)
    if stack.done:
        return 0
    program = stack.program()
    saved, slowest = time.time(), 0.0
    epochs = tasks[0]["epochs"]
    last = min(epochs, arguments.epochs or epochs)
    begun = stack.epoch
    while stack.epoch < last and time.time() + 1.3 * slowest < arguments.until:
        first = stack.epoch == begun
        taken = stack.train_epoch(program)
        # The first one compiles.
        slowest = 0.0 if first else max(0.8 * slowest, taken)
        needed = HOPE * taken * (last - stack.epoch)
        if (
            arguments.whole
            and stack.epoch == 3
            and time.time() + needed > arguments.until
        ):
            print(f"{tasks[0]['name']} would not end in time", flush=True)
            return UNFINISHED
        if time.time() - saved > arguments.save_seconds:
            stack.save(False)
            saved = time.time()
    stack.save(stack.epoch == epochs)
    return 0 if stack.epoch == last else UNFINISHED


def teacher(task, folder):
    """A finished training's network and variables; of an earlier session, as shipped."""
    path = folder / f"{task['name']}.npz"
    if path.exists():
        groups, _, done = device_state.load_state(path, task)
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

    images, _ = device_data.load_images(arguments.data, arguments.images)
    table = np.zeros(
        (len(images), device_data.VERSIONS, device_data.CLASSES), "float32"
    )
    batch = min(1000, len(images))
    for task in teachers:
        model, known = teacher(task, arguments.folder)
        padded = device_data.padded_images(images, model.preprocessing)

        @jax.jit
        def answers(groups, padded, index, number, model=model):
            flat = jnp.full(index.shape, number)
            top, left = flat // 2 // device_data.SHIFTS, flat // 2 % device_data.SHIFTS
            mirrored = flat % 2 == 1
            inputs = device_data.crops(
                padded, index, top, left, mirrored, model.preprocessing
            )
            logits, _ = model.stateless_call(*groups, inputs, training=False)
            return logits.astype("float32")

        known = jax.device_put(known)
        for start in range(0, len(images), batch):
            index = np.minimum(np.arange(start, start + batch), len(images) - 1)
            index = jax.device_put(index)
            found = [
                answers(known, padded, index, n) for n in range(device_data.VERSIONS)
            ]
            found = np.asarray(jnp.stack(found, 1))[: len(images) - start]
            table[start : start + batch] += found / len(teachers)
    path = arguments.folder / f"{device_data.table_name(student)}.npy"
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
        help="JSON: list of trainings that differ in name and seed alone",
    )
    parser.add_argument(
        "--teach",
        action="store_true",
        help="write the answers of the teachers: all tasks but the first",
    )
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--until", type=float, default=float("inf"), help="Unix time")
    parser.add_argument(
        "--whole", action="store_true", help="give up early what would not end in time"
    )
    parser.add_argument("--save-seconds", type=float, default=60)
    parser.add_argument("--images", type=int, help="the first so many alone")
    parser.add_argument("--noise", type=int, help="so many images of noise")
    parser.add_argument("--epochs", type=int, help="stop after so many")
    arguments = parser.parse_args()
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    if arguments.teach:
        student, *teachers = arguments.tasks
        return teach(student, teachers, arguments)
    (arguments.folder / "versions.json").write_text(json.dumps(versions()), "utf-8")
    return train(arguments.tasks, arguments)


if __name__ == "__main__":
    sys.exit(main())
