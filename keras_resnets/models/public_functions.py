"""The public model functions: one per row of the table, all with the same signature."""

import functools
import os
import typing

from keras_resnets.models import creation
from keras_resnets.models import registry
from keras_resnets.networks import variants

if typing.TYPE_CHECKING:
    import keras

DOC = """{title}

{reference}

{figures}

Args:
    include_top: whether the network ends in its classifier.
    weights: None (random values; nothing is downloaded), a tag of
        `keras_resnets.list_weights("{variant}")`, a data set ("imagenet", "cifar10")
        for the best of them whose licence permits any use, or a file of this package,
        torchvision, timm, `keras.applications`, darknet, ... (see `create_model`).
    input_tensor: symbolic Keras tensor to use as the image, shape (batch, height,
        width, channels); layers before it become part of the model.
    input_shape: (height, width, channels). Height and width may be None; otherwise
        they are at least {minimum}. Default: the size that the weights are for, else
        ({size}, {size}, 3); (None, None, 3) without the top.
    pooling: without the top: None returns the feature map (batch, height / {stride},
        width / {stride}, channels), "avg" or "max" the pooled (batch, channels).
    classes: number of classes, >= 1; default: that of the weights, else {classes}.
    classifier_activation: activation of the classifier; None returns logits.
    name: name of the model and prefix of every layer's name.
    **options: `dtype`, `data_format`, `kernel_initializer`, or any axis of
        `keras_resnets.networks.architecture.Architecture`: `output_stride=16`,
        `zero_init_residual=True`, `drop_path_rate=0.1`, ...

Returns:
    A flat functional `keras.Model`; with its top the output has the shape
    (batch, classes) and is float32 (float64 under the dtype policy of that name).

Raises:
    ValueError: an argument that is not allowed; the message gives the rule, the value
        and the nearest valid choice.

Example:
    >>> import keras_resnets
    >>> model = keras_resnets.{function}(weights=None)
    >>> model.output_shape
    (None, {classes})
"""

# The modules of families whose functions are not in a module of their name.
_MODULES = {
    "cifar_resnet_v2": "cifar_resnet",
    "cifar_resnext": "resnext",
    "cifar_wide_resnet": "wide_resnet",
}


# Evaluated once, not for each of a hundred functions.
_Weights = str | os.PathLike[str] | None
_Shape = tuple[int | None, ...] | None


class ModelFunction(typing.Protocol):
    """The call signature that all public model functions share."""

    __name__: str
    variant: str

    def __call__(
        self,
        include_top: bool = True,
        weights: str | os.PathLike[str] | None = None,
        input_tensor: typing.Any = None,
        input_shape: tuple[int | None, ...] | None = None,
        pooling: str | None = None,
        classes: int | None = None,
        classifier_activation: typing.Any = "softmax",
        name: str | None = None,
        **options: typing.Any,
    ) -> "keras.Model": ...


def function_of(row: variants.Variant) -> ModelFunction:
    """Returns the public function that builds a variant of the table."""

    def build(
        include_top: bool = True,
        weights: _Weights = None,
        input_tensor: typing.Any = None,
        input_shape: _Shape = None,
        pooling: str | None = None,
        classes: int | None = None,
        classifier_activation: typing.Any = "softmax",
        name: str | None = None,
        **options: typing.Any,
    ) -> typing.Any:
        return creation.create_model(
            row.name,
            include_top,
            weights,
            input_tensor,
            input_shape,
            pooling,
            classes,
            classifier_activation,
            name,
            **options,
        )

    build.__name__ = build.__qualname__ = row.function
    family = row.architecture.family
    build.__module__ = f"keras_resnets.models.{_MODULES.get(family, family)}"
    build.__doc__ = _docstring(row)
    public = typing.cast(ModelFunction, build)
    public.variant = row.name
    return public


def _docstring(row: variants.Variant) -> str:
    info = registry.published_info(row.name)
    mode = info.architecture.preprocessing
    figures = (
        f"Preprocessing: mode {mode!r} (`keras_resnets.preprocess_input`). Default "
        f"input: {info.input_size} x {info.input_size} x 3, {info.classes} classes."
    )
    if info.trainable_params:
        figures += (
            f" {info.trainable_params:,} trainable parameters, {info.mega_macs:,.0f} "
            "million multiply-adds."
        )
    return DOC.format(
        title=row.title,
        reference=_filled(row.reference),
        figures=_filled(figures),
        size=info.input_size,
        classes=info.classes,
        minimum=info.architecture.minimum_size,
        stride=info.architecture.natural_stride,
        variant=row.name,
        function=row.function,
    )


@functools.cache
def _filled(text: str) -> str:
    """Wraps `text` to 84 characters; `textwrap` takes 3 times as long, at import."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= 84:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return "\n".join(lines)


FUNCTIONS = {row.function: function_of(row) for row in variants.TABLE}


def of_module(module: str) -> dict[str, ModelFunction]:
    """Returns the functions of a family's module, by their names.

    Args:
        module: the module's `__name__`.
    """
    return {
        name: function
        for name, function in FUNCTIONS.items()
        if function.__module__ == module
    }
