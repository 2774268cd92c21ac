"""What the outputs of a classifier mean: one class of several, two, or labels."""

import typing

from keras_resnets.cli.printing import output

if typing.TYPE_CHECKING:
    import keras

    from keras_resnets.export.compare.classifier import FileClassifier


def classes(model: "keras.Model | FileClassifier") -> int:
    """Returns the number of classes of a classifier; two if it has one output.

    Raises:
        InvalidArgument: one output that need not belong to two classes.
    """
    from keras_resnets.graph import binary

    if hasattr(model, "layers"):
        binary.check(model, "a comparison of classes")
        return binary.classes(model)
    count: int = model.output_shape[-1]
    return count


def has_several_labels(model: "keras.Model | FileClassifier") -> bool:
    """Whether a classifier is multi-label: an image may have any number of its labels.

    Args:
        model: a `keras.Model`, or a `FileClassifier`.
    """
    from keras_resnets.graph import outputs
    from keras_resnets.images.labels import MULTI_LABEL

    if not hasattr(model, "layers"):
        return model.task == MULTI_LABEL
    return outputs.is_multi_label(model)


def of_one_class(model: "keras.Model", title: str, job: str) -> "keras.Model":
    """Returns a classifier of one class an image, with an output for each class.

    Args:
        model: the classifier. One output for two classes becomes two.
        title: what the user calls it, for a note.
        job: name of the command, for messages.

    Raises:
        InvalidArgument: a multi-label classifier, or no classifier.
    """
    from keras_resnets.graph import binary
    from keras_resnets.graph import outputs

    outputs.check_one_class(model, job)
    binary.check(model, job)
    note_two_outputs(model, title)
    return binary.with_two_outputs(model)


def note_two_outputs(model: "keras.Model", title: str) -> None:
    """Prints a note if a classifier has one output for two classes, which becomes two."""
    from keras_resnets.graph import binary

    if binary.is_binary(model):
        output.note(
            f"note: {title} has one output for two classes; here it has two, the same "
            "probabilities by a softmax"
        )


def text(model: "keras.Model") -> str:
    """Returns the number of a model's classes, or of outputs if it may have none."""
    from keras_resnets.graph import binary

    if binary.is_binary(model):
        return f"one output for {binary.CLASSES} classes"
    count = model.output_shape[-1]
    return "1 output" if count == 1 else f"{count} classes"
