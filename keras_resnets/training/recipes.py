"""The recipes of the papers as data, from which `compiling` makes Keras' arguments.

A recipe is one `Recipe` record; a new one is a row of `RECIPES`, most easily another
one with changes. Rates are for the recipe's own batch size. If a paper's text leaves
something open, its authors' code decides, and `source` says so.
"""

import dataclasses
import typing

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.errors import check_range
from keras_resnets.errors import nearest
from keras_resnets.errors import shown
from keras_resnets.fields import Choice
from keras_resnets.fields import Flag
from keras_resnets.fields import Maybe
from keras_resnets.fields import Number
from keras_resnets.fields import Several
from keras_resnets.fields import Text
from keras_resnets.fields import Whole
from keras_resnets.training.augmentation import FIELDS as AUGMENTATION_FIELDS
from keras_resnets.training.augmentation import Augmentation

SCHEDULES = ("steps", "cosine", "poly")
OPTIMIZERS = ("sgd", "lamb", "adamw")
LOSSES = ("cross_entropy", "binary")
# Rates of SGD go up to about 10; a factor of a hundred is left for unusual ones.
_RATE = Number(0, 1000, above=True)
_SHARE = Number(0, 1, below=True)
_STRENGTH = Number(0, 1e6)
_EPOCHS = 1_000_000
# The allowed values of each field, for Python and `--change`; `augmentation` has its own.
FIELDS = {
    "source": Text(2000),
    "published": Text(2000),
    "epochs": Whole(1, _EPOCHS),
    "batch_size": Whole(1, 2**20),
    "learning_rate": _RATE,
    "optimizer": Choice(OPTIMIZERS),
    "momentum": _SHARE,
    "nesterov": Flag(),
    "weight_decay": Number(0, 1000),
    "decay_all": Flag(),
    "schedule": Choice(SCHEDULES),
    "milestones": Several(Number(0, _EPOCHS), 0, 1000),
    "factor": _RATE,
    "power": Number(0, 100, above=True),
    "warmup": Number(0, _EPOCHS),
    "warmup_power": Number(0, 100, above=True),
    "warmup_rate": Maybe(_RATE),
    "warmup_depth": Whole(0, _EPOCHS),
    "linear_scaling": Flag(),
    "loss": Choice(LOSSES),
    "label_smoothing": _SHARE,
    "zero_init_residual": Flag(),
    "block_dropout_rate": _SHARE,
    "drop_path_rate": _SHARE,
    "ema": Maybe(_SHARE),
    "temperature": Number(0, 1e6, above=True),
    "distillation": _STRENGTH,
    "input_size": Maybe(Whole(1, 65_535)),
    "frozen_epochs": Whole(0, _EPOCHS),
    "body_rate": _RATE,
    "freeze_bn": Flag(),
    "significance": Number(0, 1, above=True),
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A training recipe, with one field per technique.

    Attributes:
        source: the paper, and the code if that decides.
        published: the accuracy published with it.
        epochs: length of the training, >= 1.
        batch_size: images per step, over all devices.
        learning_rate: highest learning rate, for `batch_size` images.
        optimizer: `"sgd"`, `"lamb"` or `"adamw"`.
        momentum: momentum of SGD, in [0, 1). nesterov: whether it is Nesterov's.
        weight_decay: as in the papers: for SGD the factor of L2 in the gradient, for
            the others the decoupled decay.
        decay_all: decay BN and biases too, as the older papers do.
        schedule: `"steps"`, `"cosine"` (to zero) or `"poly"` (to zero).
        milestones: epochs after which `"steps"` multiplies the rate by `factor`.
        factor: see `milestones`.
        power: power of `"poly"`: (1 - progress) ** power.
        warmup: epochs in which the rate rises from zero.
        warmup_power: shape of the rise: (step / steps) ** power; 1 is linear.
        warmup_rate: constant rate during warm-up, instead of a rise.
        warmup_depth: only networks with at least this many layers warm up.
        linear_scaling: whether another batch size scales the rate (Goyal 2017,
            arXiv:1706.02677).
        loss: `"cross_entropy"` of a softmax, or `"binary"`, one sigmoid per class.
        label_smoothing: share of a target spread over all classes (Szegedy 2016,
            arXiv:1512.00567), in [0, 1).
        augmentation: an `Augmentation`.
        zero_init_residual: residual branches begin as zero (zero-gamma).
        block_dropout_rate: dropout in every unit (Wide ResNet).
        drop_path_rate: rate of stochastic depth at the last unit.
        ema: momentum of the moving average of the weights that is validated and saved
            instead; None for none.
        temperature: T of the distillation from a teacher (Hinton 2015,
            arXiv:1503.02531); used only with a teacher.
        distillation: weight of the distillation loss, times T squared.
        input_size: height and width of the training images; None for the network's.
        frozen_epochs: the first epochs, which train the classifier alone; `epochs` or
            more leave the body unchanged.
        body_rate: factor of the rate when all of the network is trained.
        freeze_bn: whether BN keeps its statistics, gammas and betas throughout.
        significance: for fine-tuning: the highest p-value by which a stage (the initial
            network, its classifier trained, all of it trained) must beat the earlier
            ones on the same held-out images to be kept, see `best_weights`; in (0, 1],
            1 for no test: the highest accuracy is kept.
    """

    source: str
    published: str
    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: str = "sgd"
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    decay_all: bool = False
    schedule: str = "cosine"
    milestones: tuple[float, ...] = ()
    factor: float = 0.1
    power: float = 1.0
    warmup: float = 0.0
    warmup_power: float = 1.0
    warmup_rate: float | None = None
    warmup_depth: int = 0
    linear_scaling: bool = False
    loss: str = "cross_entropy"
    label_smoothing: float = 0.0
    augmentation: Augmentation = Augmentation()
    zero_init_residual: bool = False
    block_dropout_rate: float = 0.0
    drop_path_rate: float = 0.0
    ema: float | None = None
    temperature: float = 20.0
    distillation: float = 1.0
    input_size: int | None = None
    frozen_epochs: int = 0
    body_rate: float = 1.0
    freeze_bn: bool = False
    significance: float = 1.0

    def __post_init__(self) -> None:
        for name, rule in FIELDS.items():
            object.__setattr__(self, name, rule.check(name, getattr(self, name)))
        check_range("warmup", self.warmup, 0, self.epochs, inclusive=False)
        _check_augmentation(self.augmentation)

    def replace(self, /, **changes: typing.Any) -> "Recipe":
        """Returns the same recipe with `changes`.

        Another number of `epochs` stretches milestones and warm-up, unless these are
        changed too. Names of an `Augmentation`'s fields change the augmentation.

        Raises:
            InvalidArgument: an unknown field, or a value that is not allowed.

        Example:
            >>> get_recipe("he2015_cifar").replace(epochs=82).milestones
            (41.0, 61.5)
        """
        own = [field.name for field in dataclasses.fields(self)]
        inner = list(AUGMENTATION_FIELDS)
        for name in changes:
            if name not in own and name not in inner:
                near = nearest(name, [*own, *inner])
                hint = f"; did you mean {', '.join(near)}?" if near else ""
                raise InvalidArgument(f"a recipe has no field {shown(name)}{hint}")
        within = {name: changes.pop(name) for name in inner if name in changes}
        if within:
            base = changes.get("augmentation", self.augmentation)
            _check_augmentation(base)
            changes["augmentation"] = dataclasses.replace(base, **within)
        if "epochs" in changes:
            epochs = FIELDS["epochs"].check("epochs", changes["epochs"])
            share = epochs / self.epochs
            changes.setdefault("milestones", tuple(m * share for m in self.milestones))
            changes.setdefault("warmup", self.warmup * share)
        return dataclasses.replace(self, **changes)

    @property
    def fine_tunes(self) -> bool:
        """Whether it starts from a trained network, which it must not make worse."""
        return self.frozen_epochs > 0 or self.body_rate != 1 or self.freeze_bn

    @property
    def axes(self) -> dict[str, float]:
        """The axes of an `Architecture` that the recipe requires, by name."""
        values = {
            name: getattr(self, name)
            for name in ("zero_init_residual", "block_dropout_rate", "drop_path_rate")
        }
        return {name: value for name, value in values.items() if value}


def _check_augmentation(value: Augmentation) -> None:
    if not isinstance(value, Augmentation):
        raise InvalidArgument(
            f"augmentation must be an Augmentation; got {type(value).__name__}: its "
            "fields can be given by name"
        )


CIFAR = Augmentation(crop="pad", padding=4, flip=True)
# fb.resnet.torch: RandomSizedCrop(224), ColorJitter(0.4), Lighting(0.1), flip.
TORCH7 = Augmentation(
    crop="inception", flip=True, jitter=(0.4, 0.4, 0.4, 0.0), lighting=0.1
)

_HE2015_CIFAR = Recipe(
    source="He 2015 (arXiv:1512.03385) section 4.2: rate 0.1, divided by 10 at 32k and "
    "48k of 64k steps of 128 (164 epochs of 50,000 images); 110 layers and more begin "
    "with 0.01, for about 400 steps",
    published="CIFAR-10 ResNet-20 91.25 %, -32 92.49, -44 92.83, -56 93.03, -110 93.57",
    epochs=164,
    batch_size=128,
    learning_rate=0.1,
    decay_all=True,
    schedule="steps",
    milestones=(82, 123),
    warmup=1,
    warmup_rate=0.01,
    warmup_depth=110,
    augmentation=CIFAR,
)
_HE2015_IMAGENET = Recipe(
    source="He 2015 (arXiv:1512.03385) section 3.4, with schedule and augmentation of "
    "the authors' fb.resnet.torch: 90 epochs of 256, divided by 10 after 30 and 60",
    published="ImageNet top-1, one crop (fb.resnet.torch README): ResNet-18 69.57 %, "
    "-34 73.27, -50 75.99, -101 77.56",
    epochs=90,
    batch_size=256,
    learning_rate=0.1,
    nesterov=True,
    decay_all=True,
    schedule="steps",
    milestones=(30, 60),
    linear_scaling=True,
    augmentation=TORCH7,
)
_BAG_OF_TRICKS = Recipe(
    source="He 2019 (arXiv:1812.01187) sections 2 to 5: batch 1024, rate 0.1 * 1024 / "
    "256, 5 epochs of warm-up, cosine, label smoothing, zero-gamma, no decay of BN and "
    "biases; 200 epochs as with mixup",
    published="ImageNet top-1 of ResNet-50-D (table 6): cosine 77.91 %, with smoothing "
    "78.31, with mixup 79.15, with a ResNet-152-D as teacher too 79.29",
    epochs=200,
    batch_size=1024,
    learning_rate=0.4,
    nesterov=True,
    warmup=5,
    linear_scaling=True,
    label_smoothing=0.1,
    zero_init_residual=True,
    augmentation=Augmentation(
        crop="inception",
        flip=True,
        jitter=(0.4, 0.4, 0.4, 0.0),
        lighting=0.1,
        mixup=0.2,
    ),
)

RECIPES = {
    "he2015_imagenet": _HE2015_IMAGENET,
    "he2015_cifar": _HE2015_CIFAR,
    "preact_cifar": _HE2015_CIFAR.replace(
        source="He 2016 (arXiv:1603.05027) appendix: as He 2015, but every network "
        "begins with 0.01 for 400 steps",
        published="CIFAR-10 ResNet-110 V2 93.63 %, -164 V2 94.54, -1001 V2 95.08",
        warmup_depth=0,
    ),
    "wrn_cifar": Recipe(
        source="Zagoruyko 2016 (arXiv:1605.07146) section 3: 200 epochs of 128, Nesterov, "
        "decay 5e-4, rate times 0.2 after 60, 120 and 160; dropout 0.3",
        published="CIFAR-10 WRN-16-4 94.98 % (decay alone), WRN-28-10 96.11",
        epochs=200,
        batch_size=128,
        learning_rate=0.1,
        nesterov=True,
        weight_decay=5e-4,
        decay_all=True,
        schedule="steps",
        milestones=(60, 120, 160),
        factor=0.2,
        block_dropout_rate=0.3,
        augmentation=CIFAR,
    ),
    "resnext_imagenet": _HE2015_IMAGENET.replace(
        source="Xie 2017 (arXiv:1611.05431) section 4: as fb.resnet.torch, divided by 10 "
        "three times",
        published="ImageNet top-1, one crop: ResNeXt-50 32x4d 77.8 %, -101 32x4d 78.8",
        epochs=100,
        milestones=(30, 60, 90),
    ),
    "darknet_imagenet": Recipe(
        source="darknet53.cfg of darknet: batch 128, burn_in 1000, policy poly of power "
        "4 over 800,000 steps (80 epochs), decay 5e-4 of kernels, hue .1, saturation and "
        "exposure .75 (a factor of .75 to 1.33), aspect .75; Inception's crop stands for "
        "its own, and its rotation by 7 degrees is left out",
        published="ImageNet top-1 of DarkNet-53 77.2 % (Redmon 2018, arXiv:1804.02767)",
        epochs=80,
        batch_size=128,
        learning_rate=0.1,
        weight_decay=5e-4,
        schedule="poly",
        power=4.0,
        warmup=0.1,
        warmup_power=4.0,
        augmentation=Augmentation(
            crop="inception",
            aspect=(0.75, 4 / 3),
            flip=True,
            jitter=(0.3, 0.0, 0.3, 0.1),
        ),
    ),
    "drn_imagenet": Recipe(
        source="Yu 2017 (arXiv:1705.09914) section 4: 120 epochs of 256, divided by 10 "
        "every 30, decay 1e-4, scale and aspect augmentation",
        published="ImageNet top-1, one crop: DRN-C-26 75.14 %, DRN-C-42 77.06, DRN-C-58 "
        "78.33",
        epochs=120,
        batch_size=256,
        learning_rate=0.1,
        decay_all=True,
        schedule="steps",
        milestones=(30, 60, 90),
        linear_scaling=True,
        augmentation=Augmentation(crop="inception", flip=True),
    ),
    "bag_of_tricks": _BAG_OF_TRICKS,
    "rsb_a3": Recipe(
        source="Wightman 2021 (arXiv:2110.00476) table 2, procedure A3: 100 epochs at "
        "160 pixels, LAMB, binary cross-entropy, RandAugment 6, mixup .1, CutMix 1",
        published="ImageNet top-1 of ResNet-50 at 224 pixels 78.1 %",
        epochs=100,
        batch_size=2048,
        learning_rate=8e-3,
        optimizer="lamb",
        weight_decay=0.02,
        warmup=5,
        loss="binary",
        input_size=160,
        augmentation=Augmentation(
            crop="inception",
            flip=True,
            rand_augment=(2, 6),
            mixup=0.1,
            cutmix=1.0,
        ),
    ),
    "finetune": Recipe(
        source="this project, after Kumar 2022 (arXiv:2202.10054): the classifier alone, "
        "then all of it; steps of LAMB (You 2020, arXiv:1904.00962), a share of each "
        "kernel's norm, whatever the network's scale; BN as it came, as Keras' guide to "
        "transfer learning has it",
        published="nothing; docs/training/finetune.csv has what was measured",
        epochs=8,
        batch_size=32,
        learning_rate=0.1,
        optimizer="lamb",
        weight_decay=0.0,
        warmup=0.5,
        frozen_epochs=3,
        body_rate=0.02,
        freeze_bn=True,
        # Fisher's 1 in 20, one-sided: in one of 20 runs a loss would be accepted as a gain.
        significance=0.05,
        augmentation=Augmentation(crop="fit", area=(0.35, 1.0), flip=True),
    ),
    "qat": Recipe(
        source="this project, for networks with rounding in them: taught by the float "
        "network (Hinton 2015, arXiv:1503.02531, T = 4); steps of LAMB (You 2020, "
        "arXiv:1904.00962), a share of each kernel's norm, since a BN that is folded in "
        "scales the channels of a kernel far apart and does not adapt",
        published="nothing; docs/compression.md has what was measured",
        epochs=3,
        batch_size=128,
        learning_rate=0.001,
        optimizer="lamb",
        weight_decay=0.0,
        warmup=0.2,
        temperature=4.0,
        significance=0.05,
        augmentation=Augmentation(crop="fit", area=(0.35, 1.0), flip=True),
    ),
    "cifar_cosine": Recipe(
        source="this project, for the small networks of docs/training: Zagoruyko 2016's "
        "rate, decay and Nesterov, but one cosine, and no decay of BN and biases",
        published="nothing",
        epochs=60,
        batch_size=128,
        learning_rate=0.1,
        nesterov=True,
        weight_decay=5e-4,
        warmup=3,
        augmentation=CIFAR,
    ),
}


def list_recipes() -> list[str]:
    """Returns the names that `get_recipe` takes."""
    return list(RECIPES)


def get_recipe(recipe: Recipe | str, /, **changes: typing.Any) -> Recipe:
    """Returns the `Recipe` of a name, or `recipe` itself, with `changes`.

    Raises:
        InvalidArgument: an unknown name or field, or a value that is not allowed.

    Example:
        >>> get_recipe("bag_of_tricks", mixup=0.0).augmentation.mixup
        0.0
    """
    if isinstance(recipe, str):
        check_choice("recipe", recipe, tuple(RECIPES))
        recipe = RECIPES[recipe]
    if not isinstance(recipe, Recipe):
        raise InvalidArgument(
            f"recipe must be a name or a Recipe; got {type(recipe).__name__}"
        )
    return recipe.replace(**changes) if changes else recipe
