"""What every public model function is made of: one signature, one docstring."""

import os
import sys
import typing

from keras_resnets.models import creation
from keras_resnets.models import registry

DOC = """{summary}

{reference}

Preprocessing: mode {mode!r} (`keras_resnets.preprocess_input`). Default
input: {size} x {size} x 3, {classes} classes.{figures}

Args:
    include_top: whether the network ends in its classifier.
    weights: None (random values; nothing is downloaded), a tag of
        `keras_resnets.list_weights("{variant}")`, a data set ("imagenet", "cifar10")
        for the best of them that anybody may use, or a file of this package,
        torchvision, timm, `keras.applications`, darknet, ... (see `create_model`).
    input_tensor: symbolic Keras tensor to use as the image, shape (batch, height,
        width, channels); layers before it become part of the model.
    input_shape: (height, width, channels). Height and width may be None, and are
        else at least {minimum}. Default: the size that the weights are for, else
        ({size}, {size}, 3); (None, None, 3) without the top.
    pooling: without the top: None returns the feature map (batch, height / {stride},
        width / {stride}, channels), "avg" or "max" the pooled (batch, channels).
    classes: number of classes, >= 1; default: that of the weights, else {classes}.
    classifier_activation: of the classifier; None returns logits.
    name: name of the model and prefix of every layer's name.
    **options: `dtype`, `data_format`, `kernel_initializer`, or any axis of
        `keras_resnets.networks.architecture.Architecture`: `output_stride=16`,
        `zero_init_residual=True`, `drop_path_rate=0.1`, ...

Returns:
    A flat functional `keras.Model`; with its top the output is float32 of shape
    (batch, classes).

Raises:
    ValueError: an argument that is not allowed; the message gives the rule, the value
        and the nearest valid choice.

Example:
    >>> import keras_resnets
    >>> model = keras_resnets.{door}(weights=None)
    >>> model.output_shape
    (None, {classes})
"""

# The reference of the small variants that are this project's own.
OURS = """By the family's rules, sized to be trained on CIFAR-10 by a small machine."""


class ModelFunction(typing.Protocol):
    """The call signature that all public model functions share."""

    __name__: str
    variant: str

    def __call__(
        self,
        include_top: bool = True,
        weights: str | os.PathLike[str] | None = None,
        input_tensor: typing.Any = None,
        input_shape: tuple | None = None,
        pooling: str | None = None,
        classes: int | None = None,
        classifier_activation: typing.Any = "softmax",
        name: str | None = None,
        **options: typing.Any,
    ) -> typing.Any: ...


def door(public_name: str, variant: str, summary: str, reference: str) -> ModelFunction:
    """The public function that builds `variant`.

    Args:
        public_name: capitalised name that it is exported under.
        variant: registry name.
        summary: first line of its docstring.
        reference: the paper, and which public implementation the variant equals.
    """

    def build(
        include_top: bool = True,
        weights: str | os.PathLike[str] | None = None,
        input_tensor: typing.Any = None,
        input_shape: tuple[int | None, ...] | None = None,
        pooling: str | None = None,
        classes: int | None = None,
        classifier_activation: typing.Any = "softmax",
        name: str | None = None,
        **options: typing.Any,
    ) -> typing.Any:
        return creation.create_model(
            variant,
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

    caller = sys._getframe(1)
    build.__name__ = build.__qualname__ = public_name
    build.__module__ = caller.f_globals["__name__"]
    build.__doc__ = _docstring(public_name, variant, summary, reference)
    public = typing.cast(ModelFunction, build)
    public.variant = variant
    return public


def _docstring(public_name: str, variant: str, summary: str, reference: str) -> str:
    info = registry.model_info(variant)
    figures = ""
    if info.trainable_params:
        figures = (
            f" {info.trainable_params:,} trainable\nparameters, "
            f"{info.mega_macs:,.0f} million multiply-adds."
        )
    return DOC.format(
        summary=summary,
        reference=reference,
        mode=info.architecture.preprocessing,
        size=info.input_size,
        classes=info.classes,
        minimum=info.architecture.minimum_size,
        stride=info.architecture.natural_stride,
        figures=figures,
        variant=variant,
        door=public_name,
    )
