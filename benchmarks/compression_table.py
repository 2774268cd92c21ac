"""What compression costs networks trained on CIFAR-10; writes docs/compression_table.md.

    python benchmarks/compression_table.py --data cifar10.npz

Each network (by default those in this package) as a float file, quantized after
training (int8 per channel and per tensor, 4-bit weights), fine-tuned in float as a
control, and trained with int8 and with 4-bit weights. Ranges and training see training
pictures alone, the figures are those of all test pictures. A network's results are kept
in `--results` (JSON) and not made again; without new ones the page is written from them.
The files of one network take turns for the latency, each in a process of its own.
"""

import json
import pathlib
import tempfile

import common

PAGE = common.ROOT / "docs" / "compression_table.md"
RESULTS = common.ROOT / "docs" / "compression_table.json"
KINDS = {
    "float32": "float",
    "control": "float, fine-tuned in the same way",
    "ptq": "int8 after training",
    "ptq_per_tensor": "int8 after training, per tensor",
    "ptq_4bit": "4-bit weights after training",
    "qat": "int8 in training",
    "qat_4bit": "4-bit weights in training",
}
RECIPES = {
    "ptq": "static_wi8_ai8",
    "ptq_per_tensor": "static_wi8_ai8_per_tensor",
    "ptq_4bit": "static_wi4_ai8",
    "qat": "static_wi8_ai8",
    "qat_4bit": "static_wi4_ai8",
}
HEADERS = ("", "top-1, %", "agreement, %", "RMSE", "kB", "latency")
HEAD = """# What compression costs

Written by `python benchmarks/compression_table.py --data cifar10.npz`: TFLite files of
networks that [this project trained](training/README.md), run in LiteRT on all 10,000 test
pictures of CIFAR-10. 500 training pictures for the ranges; {epochs} epochs of training
and of its control (SGD with momentum 0.9, batch 128, cosine from {rate}, crops and
mirroring). *Agreement* is the share of pictures with the float network's answer, *RMSE*
that of the logits over their standard deviation; both grow apart where a network was
trained further. *Latency* is that of one picture over the float file's, two threads.
4-bit weights stand in the file as int8. Chance moves top-1 by 0.1 to 0.2.

"""


class Bench:
    """One network, its pictures, and the files that are made of it."""

    def __init__(self, name, arguments, folder):
        import numpy as np

        import keras_resnets
        from keras_resnets import compression
        from keras_resnets import evaluation
        from keras_resnets.training import get_recipe
        from keras_resnets.training.data import open_dataset

        name, _, weights = name.partition("=")
        self.name, self.folder, self.epochs = (
            name,
            pathlib.Path(folder),
            arguments.epochs,
        )
        self.model = keras_resnets.create_model(name, weights=weights or "cifar10")
        expected = self.model.preprocessing
        self.data = open_dataset(arguments.data, 0, 0)
        self.chosen = compression.choose(arguments.data, expected, 500, seed=0)
        self.test = evaluation.open_data(arguments.data, expected)
        self.pictures = np.asarray(self.chosen.pictures[:8])
        self.recipe = get_recipe(
            "cifar_cosine",
            epochs=arguments.epochs,
            warmup=0.2,
            learning_rate=arguments.rate,
            weight_decay=0.0,
        )

    def train(self, model, callbacks=()):
        """Fits a network as the recipe says, from where it stands."""
        import keras

        from keras_resnets.training import compiling
        from keras_resnets.training.data import batches

        keras.utils.set_random_seed(0)
        size = self.recipe.batch_size
        steps = self.data.train.count // size
        model.compile(**compiling.options(self.recipe, model, steps), jit_compile=False)
        data = batches(
            self.data.train,
            self.model.preprocessing,
            size,
            augmentation=self.recipe.augmentation,
            classes=model.output_shape[-1],
        )
        model.fit(
            data,
            epochs=self.epochs,
            shuffle=False,
            verbose=2,
            callbacks=list(callbacks),
        )

    def make(self, kind):
        """Writes the file of a kind; returns its path."""
        import keras

        from keras_resnets import compression
        from keras_resnets.export import to_tflite

        path = self.folder / f"{kind}.tflite"
        if kind in ("float32", "control"):
            model = self.model
            if kind == "control":
                model = keras.models.clone_model(self.model)
                model.set_weights(self.model.get_weights())
                self.train(model)
            to_tflite(model, path, pictures=self.pictures)
        elif kind.startswith("ptq"):
            compression.quantize(
                self.model, path, RECIPES[kind], self.chosen, pictures=self.pictures
            )
        else:
            aware = compression.quantize_aware(self.model, RECIPES[kind], self.chosen)
            late = compression.FreezeRanges(max(self.epochs * 2 // 3, 1))
            self.train(aware, [late])
            compression.to_tflite(aware, path, pictures=self.pictures)
        return path

    def measure(self):
        """Figures by kind."""
        from keras_resnets.compression import figures
        from keras_resnets.export import benchmark

        found, paths = {}, {kind: self.make(kind) for kind in KINDS}
        timings = benchmark(list(paths.values()), runs=200)
        for (kind, path), timing in zip(paths.items(), timings, strict=True):
            compared = figures.compare(self.model, path, self.test)
            found[kind] = {
                "top1": compared.file_top1,
                "agreement": compared.agreement,
                "rmse": compared.rmse,
                "bytes": timing.size,
                "seconds": timing.median,
            }
            print(self.name, kind, found[kind], flush=True)
        return found


def section(name, found):
    """A network's heading and table in Markdown."""
    lines = [f"## {name}", "", f"| {' | '.join(HEADERS)} |"]
    lines.append("|" + "---|" * len(HEADERS))
    for kind, words in KINDS.items():
        one = found[kind]
        same = kind == "float32"
        cells = (
            words,
            f"{100 * one['top1']:.2f}",
            "" if same else f"{100 * one['agreement']:.2f}",
            "" if same else f"{one['rmse']:.4f}",
            f"{one['bytes'] / 1e3:,.0f}",
            f"{one['seconds'] / found['float32']['seconds']:.2f}x",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--data", metavar="NPZ", required=True)
    parser.add_argument(
        "--networks", nargs="*", metavar="NAME[=WEIGHTS]", help="default: all shipped"
    )
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rate", type=float, default=0.003)
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS)
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    from keras_resnets.quiet import native_logs_hidden
    from keras_resnets.weights import records

    networks = arguments.networks
    if networks is None:
        networks = [
            record.variant for record in records.all_records() if record.shipped
        ]
    settings = {"epochs": arguments.epochs, "rate": arguments.rate}
    kept = {"settings": settings, "networks": {}}
    if arguments.results.is_file():
        kept = json.loads(arguments.results.read_text("utf-8"))
        if kept["settings"] != settings:
            raise SystemExit(f"{arguments.results} was made with {kept['settings']}")
    for name in networks:
        if name in kept["networks"]:
            continue
        with native_logs_hidden(), tempfile.TemporaryDirectory() as folder:
            kept["networks"][name] = Bench(name, arguments, folder).measure()
        arguments.results.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    sections = [section(name, found) for name, found in kept["networks"].items()]
    PAGE.write_text(HEAD.format(**settings) + "\n".join(sections), "utf-8")


if __name__ == "__main__":
    main()
