"""Distillation: a student that also learns from a teacher's outputs."""

import typing

import keras
import numpy as np
from keras import ops

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_range
from keras_resnets.errors import check_type
from keras_resnets.graph import provenance
from keras_resnets.training.compiling import puts_out_logits


class Distiller(keras.Model):
    """A student to `compile` and `fit` whose loss includes a teacher's outputs.

    The loss is that of the labels plus weight * T**2 times the cross-entropy between
    softmax(teacher / T) and softmax(student / T) of the same images (Hinton 2015,
    arXiv:1503.02531; He 2019, arXiv:1812.01187, section 5.3, with T = 20, weight 1).
    Validation uses only the labels. The layers are the student's own, so that fitting
    trains `student`.

    Args:
        student: a classifier that outputs logits (batch, classes).
        teacher: a classifier with as many classes, of logits or probabilities; it is
            not trained.
        temperature: T, above 0.
        weight: weight of the teacher's part, >= 0.
        preprocessing: the `Preprocessing` of the images; None for
            `student.preprocessing`. For a teacher that was trained with another mean,
            deviation, scale or order of channels the images are converted.

    Raises:
        InvalidArgument: different numbers of classes, or a student with a softmax.

    Example:
        >>> import keras_resnets
        >>> student = keras_resnets.create_model("resnet20", classifier_activation=None)
        >>> teacher = keras_resnets.create_model("resnet56")
        >>> Distiller(student, teacher, temperature=4.0).student is student
        True
    """

    def __init__(
        self,
        student: keras.Model,
        teacher: keras.Model,
        temperature: float = 20.0,
        weight: float = 1.0,
        preprocessing: typing.Any = None,
    ) -> None:
        for role, model in (("student", student), ("teacher", teacher)):
            check_type(role, model, keras.Model, "a keras.Model")
        super().__init__(name=student.name)
        check_range("temperature", temperature, 1e-6, float("inf"))
        check_range("weight", weight, 0, float("inf"))
        if not puts_out_logits(student):
            raise InvalidArgument(
                "the student must output logits: build it with classifier_activation=None"
            )
        if student.output_shape != teacher.output_shape:
            raise InvalidArgument(
                "teacher and student must have the same number of classes; got "
                f"{teacher.output_shape[-1]} and {student.output_shape[-1]}"
            )
        self.teacher_puts_out_logits = puts_out_logits(teacher)
        teacher.trainable = False
        self.student, self.teacher = student, teacher
        self.temperature, self.weight = temperature, weight
        student_preprocessing = preprocessing or provenance.of(student).preprocessing
        teacher_preprocessing = provenance.of(teacher).preprocessing
        differ = (
            student_preprocessing
            and teacher_preprocessing
            and _numbers(student_preprocessing) != _numbers(teacher_preprocessing)
        )
        self._translation = (
            (student_preprocessing, teacher_preprocessing) if differ else None
        )

    def call(self, inputs: typing.Any, training: bool | None = None) -> typing.Any:
        return self.student(inputs, training=training)

    def compute_loss(
        self,
        x: typing.Any = None,
        y: typing.Any = None,
        y_pred: typing.Any = None,
        sample_weight: typing.Any = None,
        training: bool = True,
    ) -> typing.Any:
        hard_loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not training or not self.weight:
            return hard_loss
        if self._translation:
            x = translated(x, *self._translation)
        answers = self.teacher(x, training=False)
        return hard_loss + self.weight * self.soft_loss(answers, y_pred)

    def soft_loss(self, answers: typing.Any, logits: typing.Any) -> typing.Any:
        """Returns T**2 times the mean cross-entropy of both at temperature T.

        Args:
            answers: the teacher's outputs (batch, classes).
            logits: the student's outputs.
        """
        answers, logits = ops.cast(answers, "float32"), ops.cast(logits, "float32")
        if not self.teacher_puts_out_logits:
            # Logits up to a constant per image, which a softmax cancels.
            answers = ops.log(ops.maximum(answers, 1e-30))
        targets = ops.softmax(answers / self.temperature)
        log_probabilities = ops.log_softmax(logits / self.temperature)
        return -(self.temperature**2) * ops.mean(
            ops.sum(targets * log_probabilities, axis=-1)
        )


def _numbers(preprocessing: typing.Any) -> typing.Any:
    return (
        preprocessing.scale,
        preprocessing.mean,
        preprocessing.std,
        preprocessing.channel_order,
    )


def translated(
    images: np.ndarray, source: typing.Any, target: typing.Any
) -> typing.Any:
    """Converts normalized images to the normalization of another `Preprocessing`.

    Args:
        images: tensor (batch, height, width, 3).
        source: the `Preprocessing` of the images.
        target: the `Preprocessing` of the result. Sizes and crops do not change.
    """
    pixels = ops.cast(images, "float32") * np.asarray(source.std, "float32")
    pixels = (pixels + np.asarray(source.mean, "float32")) / source.scale
    if source.channel_order == "bgr":
        pixels = ops.flip(pixels, axis=-1)
    return target.normalize(pixels, "channels_last")
