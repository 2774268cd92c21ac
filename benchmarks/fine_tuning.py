"""A trained network, its images, and a short training of it; shared by benchmarks.

    KERAS_BACKEND=jax python benchmarks/fine_tuning.py --data cifar10.npz --output FOLDER

makes the trainings of `compression_table.py` alone, on a machine that has an accelerator
and no TensorFlow; `compression_table.py --trained FOLDER` makes files of them.
"""

import json
import pathlib
import sys

import common

RATE = 0.0002
# Softer than labels, as the temperature says (Hinton 2015, arXiv:1503.02531).
TEMPERATURE = 4.0
# What is trained, and by which recipe of quantization.
RECIPES = {"control": None, "qat": "static_wi8_ai8", "qat_4bit": "static_wi4_ai8"}
SETTINGS = "settings.json"
# The weights that were `cifar10` before those of a teacher; one network of every family.
PLAIN = "keras_resnets_cifar10_plain"
PLAIN_NETWORKS = (
    f"resnet20={PLAIN}",
    f"resnet14v2={PLAIN}",
    f"resnext20_4x16d_w16={PLAIN}",
    f"resnet14d={PLAIN}",
    f"drn_a_14={PLAIN}",
    f"wrn_10_3_w8={PLAIN}",
    f"resnet29_w12={PLAIN}",
    f"darknet15={PLAIN}",
)
PLAIN_NOTE = f"""Rows of `{PLAIN}` are of the weights that were trained without a
teacher; the package has them under this tag. DarkNet-15 was measured in float32; its
stored weights are float16 and have 90.32 %."""


def add_arguments(parser, epochs=None):
    """`--data`; and where there are epochs their number, images and rate."""
    parser.add_argument("--data", metavar="NPZ", required=True)
    if epochs:
        parser.add_argument("--epochs", type=int, default=epochs)
        parser.add_argument("--images", type=int, help="of an epoch; default: all")
        parser.add_argument("--rate", type=float, default=RATE)


class Subject:
    """A trained network with its images.

    Args:
        name: of the variant, or `NAME=WEIGHTS`; without weights, this project's.
        data: path of the .npz.
        folder: where files go.
        count: training images to fine-tune on, drawn by chance; None for all.
        calibration: training images for ranges and rounding.
    """

    def __init__(self, name, data, folder, count=None, calibration=500):
        import numpy as np

        from keras_resnets import quantization
        from keras_resnets.images import evaluation
        from keras_resnets.training.data import open_dataset

        self.name, _, weights = name.partition("=")
        self.weights, self.folder = weights or "cifar10", pathlib.Path(folder)
        self.data = data
        self.model = self.create()
        expected = self.model.preprocessing
        train = open_dataset(data, 0, 0).train
        drawn = np.random.default_rng(0).permutation(train.count)[:count]
        self.train_split = train.part(np.isin(np.arange(train.count), drawn))
        self.chosen = quantization.choose(data, expected, calibration, seed=0)
        self.test = evaluation.open_data(data, expected)
        self.images = np.asarray(self.chosen.images[:8])

    @property
    def steps(self):
        """Of an epoch."""
        return self.train_split.count // self.recipe(1, RATE).batch_size

    def recipe(self, epochs, rate):
        """SGD with Nesterov momentum 0.9, batch 128, one cosine, crops and mirroring."""
        from keras_resnets.training import get_recipe

        return get_recipe(
            "cifar_cosine",
            epochs=epochs,
            warmup=0.2,
            learning_rate=rate,
            weight_decay=0.0,
        )

    def create(self, dtype=None):
        """The float network, which puts out logits."""
        import keras_resnets

        return keras_resnets.create_model(
            self.name, weights=self.weights, classifier_activation=None, dtype=dtype
        )

    def copy(self):
        """The float network again, as it is now."""
        import keras

        model = keras.models.clone_model(self.model)
        model.set_weights(self.model.get_weights())
        return model

    def train(self, model, epochs, rate, callbacks=(), teacher=None):
        """Fits a network, from where it stands, on the training images.

        The teacher, by default the float network as it is, is learnt from too.
        """
        import keras

        from keras_resnets.training import compiling
        from keras_resnets.training import devices
        from keras_resnets.training.data import batches
        from keras_resnets.training.distillation import Distiller

        recipe = self.recipe(epochs, rate)
        keras.utils.set_random_seed(0)
        options = compiling.options(recipe, model, self.steps)
        fitted = Distiller(model, teacher or self.copy(), TEMPERATURE)
        fitted.compile(**options, jit_compile=devices.jit_compile())
        data = batches(
            self.train_split,
            self.model.preprocessing,
            recipe.batch_size,
            augmentation=recipe.augmentation,
            classes=model.output_shape[-1],
        )
        callbacks = list(callbacks)
        fitted.fit(data, epochs=epochs, shuffle=False, verbose=2, callbacks=callbacks)

    def quantized(self, kind, recipe, **options):
        """The file of the network quantized after training, by options of `quantize`."""
        from keras_resnets import quantization

        path = self.folder / f"{kind}.tflite"
        quantization.quantize(
            self.model,
            path,
            recipe,
            self.chosen,
            images=self.images,
            overwrite=True,
            **options,
        )
        return path

    def start(self, recipe):
        """What is trained: the float network, or its quantization-aware one."""
        from keras_resnets import quantization

        if recipe is None:
            return self.copy(), []
        aware = quantization.quantize_aware(self.model, recipe, self.chosen)
        # The calibrated ranges err less than the batches' least and largest values.
        return aware, [quantization.FreezeRanges(0)]

    def trained(self, recipe, epochs, rate):
        """The float network (no recipe) or the quantization-aware one, trained."""
        model, callbacks = self.start(recipe)
        self.train(model, epochs, rate, callbacks)
        return model

    def file_of(self, kind, aware):
        """The file of a quantization-aware network."""
        from keras_resnets import quantization

        path = self.folder / f"{kind}.tflite"
        quantization.to_tflite(aware, path, images=self.images, overwrite=True)
        return path

    def exported(self, kind, model):
        """The float file of a model."""
        from keras_resnets.export import to_tflite

        path = self.folder / f"{kind}.tflite"
        to_tflite(model, path, images=self.images, overwrite=True)
        return path

    def measured(self, path):
        """The figures of a file beside the float network, and its size, as a dict."""
        compared = self.figures(path)
        return {
            "float": compared.model_top1,
            "top1": compared.file_top1,
            "agreement": compared.agreement,
            "rmse": compared.rmse,
            "bytes": path.stat().st_size,
        }

    def figures(self, path, model=None):
        """`accuracy.Figures` of a file beside a model, on all test images.

        By default beside the float network.
        """
        from keras_resnets.quantization import accuracy

        return accuracy.compare(model or self.model, path, self.test)


def said(figures):
    """Top-1, agreement and RMSE of `Subject.measured`, as the tables show them."""
    shares = (f"{100 * figures[key]:.2f}" for key in ("top1", "agreement"))
    return ", ".join((*shares, f"{figures['rmse']:.4f}"))


def shipped():
    """The weights in this package: a name, or NAME=TAG where it is not the default."""
    from keras_resnets.weights import records

    found = [record for record in records.all_records() if record.shipped]
    default = {
        record.variant: records.find(record.variant, "cifar10") for record in found
    }
    return [
        record.variant
        if default[record.variant] == record
        else f"{record.variant}={record.tag}"
        for record in found
    ]


def settings_of(arguments):
    """What the figures depend on."""
    return {
        "epochs": arguments.epochs,
        "rate": arguments.rate,
        "images": arguments.images or 50_000,
    }


def weights_file(folder, name, kind):
    """Where a training made elsewhere keeps its weights."""
    return pathlib.Path(folder) / f"{name.partition('=')[0]}.{kind}.weights.h5"


def main():
    parser = common.parser(__doc__)
    add_arguments(parser, epochs=3)
    parser.add_argument("--output", metavar="FOLDER", type=pathlib.Path, required=True)
    parser.add_argument("--networks", nargs="*", metavar="NAME[=WEIGHTS]")
    parser.add_argument("--kinds", nargs="*", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--machine", default="this machine", help="for the page")
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    import keras

    folder = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    made = {**settings_of(arguments), "backend": keras.backend.backend()}
    words = json.dumps({**made, "machine": arguments.machine}, indent=1) + "\n"
    if (folder / SETTINGS).is_file():
        if (folder / SETTINGS).read_text("utf-8") != words:
            sys.exit(f"{folder} has trainings with other settings")
    (folder / SETTINGS).write_text(words, "utf-8")
    for name in arguments.networks or shipped():
        subject = Subject(name, arguments.data, folder, arguments.images)
        for kind in arguments.kinds:
            path = weights_file(folder, name, kind)
            if not path.is_file():
                print(name, kind, flush=True)
                model = subject.trained(RECIPES[kind], arguments.epochs, arguments.rate)
                model.save_weights(path)


if __name__ == "__main__":
    main()
