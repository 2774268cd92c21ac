"""What `finetune` makes of a network of every family, on few images.

    python benchmarks/finetune_table.py --data cifar10.npz [--fashion FOLDER] \
        --csv docs/training/finetune.csv

Fine-tunes on some of CIFAR-10's test images, which none of the networks was trained on,
and judges on 2,000 others of them: the same classes, where there is little to win and much
to lose. `--fashion` is a folder of Fashion-MNIST's idx files (Debian's
dataset-fashion-mnist): other classes, of which again test images are used. A row a run is
added to the CSV when it is done; runs that it has are not made again. Prints the table.
"""

import csv
import dataclasses
import gzip
import pathlib
import tempfile
import time

import common
import fine_tuning

JUDGES = 2000
SIZES, SEEDS = (288, 1000, 2000), (0, 1, 2)
COLUMNS = "network images seed task before frozen final kept seconds".split()
FASHION = "top trouser pullover dress coat sandal shirt sneaker bag boot".split()


def cifar10(path):
    """(images, labels, classes) of the test part."""
    import numpy as np

    from keras_resnets.images import labels

    with np.load(path) as file:
        return file["x_test"], file["y_test"].ravel(), labels.label_set("cifar10")


def fashion(folder):
    """(images, labels, classes) of the test part, as RGB images of 32 pixels."""
    import numpy as np

    parts = []
    for name, skipped in (("images-idx3", 16), ("labels-idx1", 8)):
        path = pathlib.Path(folder) / f"t10k-{name}-ubyte.gz"
        with gzip.open(path) as file:
            parts.append(np.frombuffer(file.read(), "uint8", offset=skipped))
    images = np.pad(parts[0].reshape(-1, 28, 28), ((0, 0), (2, 2), (2, 2)))
    names = tuple((name, name) for name in FASHION)
    return np.repeat(images[..., None], 3, -1), parts[1].astype("int64"), names


class Network:
    """One network, which every run begins anew with the weights it came with."""

    def __init__(self, name, recipe):
        import keras_resnets
        from keras_resnets.training import devices

        self.recipe, self.known = recipe, {}
        variant, _, weights = name.partition("=")
        self.model = keras_resnets.create_model(
            variant,
            weights=weights or "cifar10",
            classifier_activation=None,
            dtype=devices.safe_precision(),
        )
        self.weights = self.model.get_weights()

    def run(self, task, count, seed):
        """(accuracy as it came, of the frozen body, at the end, what was kept)."""
        import keras

        from keras_resnets.training import best_weights
        from keras_resnets.training import heads
        from keras_resnets.training import loop
        from keras_resnets.training.run_folder import RunFolder

        keras.utils.set_random_seed(seed)
        self.model.set_weights(self.weights)
        self.model.labels = "cifar10"
        self.trained = heads.is_trained(self.model, task[2])
        heads.fit_classifier(self.model, task[2])
        data = split(task, count, seed)
        found = [self.start(task, data, seed)]
        stage = best_weights.START
        frozen = dataclasses.replace(self.recipe, epochs=self.recipe.frozen_epochs)
        with tempfile.TemporaryDirectory() as folder:
            folder = RunFolder(folder)
            for recipe in (frozen, self.recipe):
                job = self.job(data, recipe, seed)
                progress = loop.run(job, folder, resume=True)
                before, stage = stage, best_weights.stage(self.recipe, progress.kept)
                if stage == before:
                    found.append(found[-1])
                    continue
                last = self.model.get_weights()
                folder.load_weights("best", self.model)
                found.append(loop.judge(job, data.test)["accuracy"])
                self.model.set_weights(last)
        return *found, stage

    def start(self, task, data, seed):
        """The accuracy as it came, on images that depend on the seed alone."""
        from keras_resnets.training import loop

        key = task[2], seed
        if key not in self.known:
            job = self.job(data, self.recipe, seed)
            self.known[key] = loop.judge(job, data.test)["accuracy"]
        return self.known[key]

    def job(self, data, recipe, seed):
        from keras_resnets.training import loop

        return loop.Job(
            model=self.model,
            data=data,
            recipe=recipe,
            preprocessing=self.model.preprocessing,
            batch_size=recipe.batch_size,
            seed=seed,
            verbose=0,
            trained_head=self.trained,
        )


def split(task, count, seed):
    """A `Dataset` of `count` images, a tenth of them held out, and `JUDGES` others."""
    import numpy as np

    from keras_resnets.images.datasets.split import ArrayImages
    from keras_resnets.training.data import Dataset
    from keras_resnets.training.data import Split

    images, labels, classes = task
    order = np.random.default_rng(seed).permutation(len(images))
    held = count // 10

    def part(indices):
        return Split(labels[indices], ArrayImages(images), indices)

    return Dataset(
        name="few",
        classes=classes,
        train=part(order[held:count]),
        validation=part(order[:held]),
        test=part(order[-JUDGES:]),
        fingerprint="",
    )


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--data", metavar="NPZ", required=True)
    parser.add_argument("--fashion", metavar="FOLDER")
    parser.add_argument("--csv", type=pathlib.Path, required=True)
    parser.add_argument(
        "--networks",
        nargs="*",
        metavar="NAME[=WEIGHTS]",
        default=fine_tuning.PLAIN_NETWORKS,
    )
    parser.add_argument("--images", nargs="*", type=int, default=SIZES)
    parser.add_argument("--seeds", nargs="*", type=int, default=SEEDS)
    parser.add_argument("--tasks", nargs="*", default=["same", "fashion"])
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    from keras_resnets.training import get_recipe

    tasks = {"same": cifar10(arguments.data)}
    if arguments.fashion:
        tasks["fashion"] = fashion(arguments.fashion)
    tasks = {name: task for name, task in tasks.items() if name in arguments.tasks}
    names = arguments.networks
    for name, seed in [(name, seed) for seed in arguments.seeds for name in names]:
        wanted = missing(arguments, tasks, name, seed)
        network = Network(name, get_recipe("finetune")) if wanted else None
        for task, images in wanted:
            began = time.process_time()
            found = network.run(tasks[task], images, seed)
            shares = [f"{share:.4f}" for share in found[:3]]
            seconds = round(time.process_time() - began)
            row = [name, images, seed, task, *shares, found[3], seconds]
            add(arguments.csv, dict(zip(COLUMNS, row, strict=True)))
            print(*row, flush=True)
    print(table(common.csv_rows(arguments.csv)))


def missing(arguments, tasks, name, seed):
    """(task, images) of the runs of a network with a seed that the CSV has not."""
    known = {
        (row["task"], int(row["images"]))
        for row in common.csv_rows(arguments.csv)
        if (row["network"], row["seed"]) == (name, str(seed))
    }
    wanted = [(task, images) for images in arguments.images for task in tasks]
    return [run for run in wanted if run not in known]


def add(path, row):
    """Adds a row, for a run that is stopped loses nothing."""
    begins = not path.is_file()
    with open(path, "a", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if begins:
            table.writeheader()
        table.writerow(row)


def table(rows):
    """Means over the seeds, in percent: as it came, frozen body, at the end; the worst."""
    lines = [
        "| network | task | images | as it came | frozen body | at the end | worst | "
        "kept |",
        "|---|---|---|---|---|---|---|---|",
    ]
    groups = {}
    for row in rows:
        key = row["network"], row["task"], int(row["images"])
        groups.setdefault(key, []).append(row)
    for (network, task, images), group in sorted(groups.items()):
        shares = [
            [100 * float(row[name]) for row in group]
            for name in ("before", "frozen", "final")
        ]
        means = " | ".join(f"{sum(share) / len(share):.1f}" for share in shares)
        worst = min(f - b for b, f in zip(shares[1], shares[2], strict=True))
        kept = ", ".join(row["kept"] for row in group)
        lines.append(
            f"| {network} | {task} | {images} | {means} | {worst:+.1f} | {kept} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
