"""Makes the arguments of `compile` from a `Recipe`: optimizer, loss and metrics."""

import typing

import keras

from keras_resnets.graph import anatomy
from keras_resnets.training import compatibility
from keras_resnets.training.metrics import MeanAveragePrecision

if typing.TYPE_CHECKING:
    from keras_resnets.training.recipes import Recipe


@keras.saving.register_keras_serializable(package="keras_resnets")
class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    """Another schedule, times (step / steps) ** power before step `steps`.

    Keras' `CosineDecay` has its own linear warm-up; the other schedules have none.

    Args:
        schedule: a `LearningRateSchedule`; it counts from step 0 too.
        steps: length of the warm-up, >= 1.
        power: 1 for a straight line, 4 for darknet's burn-in.

    Example:
        >>> after = keras.optimizers.schedules.PolynomialDecay(0.1, 1000, 0.1)
        >>> round(float(Warmup(after, steps=10, power=1.0)(5)), 4)
        0.05
    """

    def __init__(
        self, schedule: typing.Any, steps: typing.Any, power: float = 1.0
    ) -> None:
        super().__init__()
        self.schedule, self.steps, self.power = schedule, steps, power

    def __call__(self, step: int) -> typing.Any:
        done = keras.ops.cast(step, "float32") / self.steps
        return self.schedule(step) * keras.ops.minimum(done, 1.0) ** self.power

    def get_config(self) -> typing.Any:
        schedule = keras.saving.serialize_keras_object(self.schedule)
        return {"schedule": schedule, "steps": self.steps, "power": self.power}

    @classmethod
    def from_config(cls, config: typing.Any) -> typing.Any:
        schedule = keras.saving.deserialize_keras_object(config.pop("schedule"))
        return cls(schedule, **config)


def peak_rate(recipe: "Recipe", batch_size: int) -> float:
    """Returns the highest learning rate for `batch_size` images per step."""
    share = batch_size / recipe.batch_size if recipe.linear_scaling else 1.0
    return recipe.learning_rate * share


def learning_rate(
    recipe: "Recipe", steps_per_epoch: int, batch_size: int, depth: int | None = None
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns the learning rate schedule of a recipe over steps.

    Args:
        recipe: a `Recipe`.
        steps_per_epoch: >= 1.
        batch_size: images per step, over all devices.
        depth: the network's layers with weights, for `warmup_depth`; None: deep.

    Returns:
        A `keras.optimizers.schedules.LearningRateSchedule`.
    """
    schedules = keras.optimizers.schedules
    peak = peak_rate(recipe, batch_size)
    total = max(1, round(recipe.epochs * steps_per_epoch))
    shallow = depth is not None and depth < recipe.warmup_depth
    warm = 0 if shallow else round(recipe.warmup * steps_per_epoch)
    if recipe.schedule == "cosine":
        if not warm:
            return schedules.CosineDecay(peak, total)
        rest = max(1, total - warm)
        return schedules.CosineDecay(0.0, rest, warmup_target=peak, warmup_steps=warm)
    if recipe.schedule == "poly":
        schedule = schedules.PolynomialDecay(peak, total, 0.0, recipe.power)
    else:
        bounds = [max(1, round(m * steps_per_epoch)) for m in recipe.milestones]
        values = [peak * recipe.factor**n for n in range(len(bounds) + 1)]
        if warm and recipe.warmup_rate is not None:
            share = peak / recipe.learning_rate
            bounds = [warm, *bounds]
            values = [recipe.warmup_rate * share, *values]
        # A boundary is the last step of its value; steps count from 0.
        bounds = [bound - 1 for bound in bounds]
        schedule = schedules.PiecewiseConstantDecay(bounds, values)
    if warm and recipe.warmup_rate is None:
        return Warmup(schedule, warm, recipe.warmup_power)
    return schedule


def optimizer(
    recipe: "Recipe",
    rate: float | keras.optimizers.schedules.LearningRateSchedule,
    variables: list[keras.Variable],
    half: bool = False,
) -> keras.optimizers.Optimizer:
    """Returns the recipe's optimizer.

    The papers add L2 to the gradient, so that the decay passes through the momentum and
    counts 1 / (1 - momentum) times; Keras' `weight_decay` of SGD does not, and is
    multiplied by this factor.

    Args:
        recipe: a `Recipe`.
        rate: a learning rate, or a schedule.
        variables: trainable variables; those of fewer than two axes (BN, biases) decay
            only under `decay_all`.
        half: whether arithmetic is float16, so that the loss is scaled.

    Returns:
        A `keras.optimizers.Optimizer`.
    """
    shared = {"learning_rate": rate}
    if recipe.ema is not None:
        shared.update(use_ema=True, ema_momentum=recipe.ema)
    decay = recipe.weight_decay or None
    if recipe.optimizer == "sgd":
        result = keras.optimizers.SGD(
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=decay and decay / (1 - recipe.momentum),
            **shared,
        )
    else:
        kind = {"lamb": keras.optimizers.Lamb, "adamw": keras.optimizers.AdamW}
        result = kind[recipe.optimizer](weight_decay=decay, **shared)
    if decay and not recipe.decay_all:
        vectors = [variable for variable in variables if len(variable.shape) < 2]
        result.exclude_from_weight_decay(var_list=vectors)
    return keras.optimizers.LossScaleOptimizer(result) if half else result


def loss(recipe: "Recipe", logits: bool) -> keras.losses.Loss:
    """Returns the recipe's loss for one-hot targets; `logits`: the model's output kind."""
    options = {"from_logits": logits, "label_smoothing": recipe.label_smoothing}
    if recipe.loss == "binary":
        return keras.losses.BinaryCrossentropy(**options)
    return keras.losses.CategoricalCrossentropy(**options)


def metrics(
    classes: int, multi_label: bool = False, logits: bool = True
) -> list[typing.Any]:
    """Returns the metrics: accuracy, and top-5 accuracy for more than ten classes.

    With several labels per image it is the mean average precision.
    """
    if multi_label:
        return [MeanAveragePrecision(classes, logits)]
    accuracies = [keras.metrics.CategoricalAccuracy(name="accuracy")]
    if classes > 10:
        accuracies.append(keras.metrics.TopKCategoricalAccuracy(5, name="top5"))
    return accuracies


def puts_out_logits(model: keras.Model) -> bool:
    """Whether the outputs of a classifier are logits, by its graph.

    Raises:
        InvalidArgument: a model that is not a classifier of images.
    """
    compatibility.check_model(model)
    return anatomy.kind_of_outputs(model) == anatomy.LOGITS


def is_half(model: keras.Model) -> bool:
    """Whether a layer of `model`, nested ones included, computes in float16."""
    layers = anatomy.all_layers(model)
    return any(layer.compute_dtype == "float16" for layer in layers)


def depth_of(model: keras.Model) -> int:
    """Returns the number of layers with kernels without projections, as in the papers."""
    return sum(
        isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense))
        and "shortcut" not in layer.name
        for layer in anatomy.all_layers(model)
    )


def options(
    recipe: "Recipe",
    model: keras.Model,
    steps_per_epoch: int,
    batch_size: int | None = None,
    multi_label: bool = False,
) -> dict[str, typing.Any]:
    """Returns the arguments of `model.compile` to train by `recipe`.

    Args:
        recipe: a `Recipe`.
        model: a classifier with outputs (batch, classes), probabilities or logits.
        steps_per_epoch: optimizer steps per epoch, >= 1.
        batch_size: images per step, over all devices; None: the recipe's.
        multi_label: whether an image may have several labels; the recipe's loss must be
            `"binary"` then.

    Returns:
        A dict with `optimizer`, `loss` and `metrics`.

    Raises:
        InvalidArgument: a model that is not a classifier of images, or that the recipe
            cannot train.

    Example:
        >>> import keras_resnets
        >>> from keras_resnets.training import get_recipe
        >>> model = keras_resnets.create_model("resnet20")
        >>> model.compile(**options(get_recipe("he2015_cifar"), model, 390))
        >>> round(float(model.optimizer.learning_rate), 4)
        0.1
    """
    batch_size = batch_size or recipe.batch_size
    logits = puts_out_logits(model)
    compatibility.check_recipe(model, recipe)
    rate = learning_rate(recipe, steps_per_epoch, batch_size, depth_of(model))
    variables = model.trainable_variables
    return {
        "optimizer": optimizer(recipe, rate, variables, is_half(model)),
        "loss": loss(recipe, logits),
        "metrics": metrics(model.output_shape[-1], multi_label, logits),
    }
