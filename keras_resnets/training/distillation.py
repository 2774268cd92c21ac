"""Distillation: a student that also learns what a teacher answers."""

import typing

import keras
import numpy as np
from keras import ops

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_range
from keras_resnets.graph import provenance
from keras_resnets.training.compiling import puts_out_logits


class Distiller(keras.Model):
    """A student to `compile` and `fit` whose loss includes a teacher's answers.

    To the loss of the labels comes weight * T**2 times the cross-entropy between
    softmax(teacher / T) and softmax(student / T) of the same images (Hinton 2015,
    arXiv:1503.02531; He 2019, arXiv:1812.01187, section 5.3, with T = 20, weight 1).
    Validation counts the labels alone. The layers are the student's own: once it is
    fitted, `student` is trained.

    Args:
        student: a classifier that outputs logits (batch, classes).
        teacher: one with as many classes, of logits or probabilities; it stays as it is.
        temperature: T, above 0.
        weight: of the teacher's part, >= 0.
        preprocessing: the `Preprocessing` that the images went through; None for
            `student.preprocessing`. A teacher that was trained with another mean,
            deviation, scale or order of channels gets them as it knows them.

    Raises:
        InvalidArgument: other numbers of classes, or a student with a softmax.

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
        super().__init__(name=student.name)
        check_range("temperature", temperature, 1e-6, float("inf"))
        check_range("weight", weight, 0, float("inf"))
        if not puts_out_logits(student):
            raise InvalidArgument(
                "a student outputs logits: build it with classifier_activation=None"
            )
        if student.output_shape != teacher.output_shape:
            raise InvalidArgument(
                "teacher and student must have as many classes; got "
                f"{teacher.output_shape[-1]} and {student.output_shape[-1]}"
            )
        self.teacher_puts_out_logits = puts_out_logits(teacher)
        teacher.trainable = False
        self.student, self.teacher = student, teacher
        self.temperature, self.weight = temperature, weight
        given = preprocessing or provenance.of(student).preprocessing
        wanted = provenance.of(teacher).preprocessing
        differ = given and wanted and _numbers(given) != _numbers(wanted)
        self._translation = (given, wanted) if differ else None

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
        found = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not training or not self.weight:
            return found
        if self._translation:
            x = translated(x, *self._translation)
        answers = self.teacher(x, training=False)
        return found + self.weight * self.soft_loss(answers, y_pred)

    def soft_loss(self, answers: typing.Any, logits: typing.Any) -> typing.Any:
        """T**2 times the mean cross-entropy of what both say at temperature T.

        Args:
            answers: the teacher's outputs (batch, classes).
            logits: the student's.
        """
        answers, logits = ops.cast(answers, "float32"), ops.cast(logits, "float32")
        if not self.teacher_puts_out_logits:
            # Logits but for a number an image, which a softmax does not see.
            answers = ops.log(ops.maximum(answers, 1e-30))
        targets = ops.softmax(answers / self.temperature)
        said = ops.log_softmax(logits / self.temperature)
        return -(self.temperature**2) * ops.mean(ops.sum(targets * said, axis=-1))


def _numbers(preprocessing: typing.Any) -> typing.Any:
    return (
        preprocessing.scale,
        preprocessing.mean,
        preprocessing.std,
        preprocessing.channel_order,
    )


def translated(images: np.ndarray, given: typing.Any, wanted: typing.Any) -> typing.Any:
    """Images that are normalized in one way as another `Preprocessing` has them.

    Args:
        images: tensor (batch, height, width, 3).
        given: the `Preprocessing` that they went through.
        wanted: that of the result. Sizes and crops stay as they are.
    """
    pixels = ops.cast(images, "float32") * np.asarray(given.std, "float32")
    pixels = (pixels + np.asarray(given.mean, "float32")) / given.scale
    if given.channel_order == "bgr":
        pixels = ops.flip(pixels, axis=-1)
    return wanted.normalize(pixels, "channels_last")
