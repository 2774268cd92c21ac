"""Binary classifiers: one output for two classes, that of the second.

Keras users build them with `Dense(1, activation="sigmoid")` and
`image_dataset_from_directory(..., label_mode="binary")`. As two columns their outputs are
those of any classifier. A probability of exactly 0.5 is the first class, as in
`keras.metrics.BinaryAccuracy`.
"""

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.images.multi_label import THRESHOLD
from keras_resnets.images.multi_label import sigmoid

CLASSES = 2


def columns(outputs: np.ndarray, are_logits: bool, name: str) -> np.ndarray:
    """Returns the probabilities of both classes, float32 (count, 2).

    Args:
        outputs: array (count, 1): the probability of the second class, or its logit.
        are_logits: whether it is the logit.
        name: the classifier's name, for messages.

    Raises:
        InvalidArgument: an output that is no probability.

    Example:
        >>> import numpy as np
        >>> columns(np.float32([[0.25], [1.0]]), False, "cats_or_dogs").tolist()
        [[0.75, 0.25], [0.0, 1.0]]
    """
    if are_logits:
        both = np.concatenate([sigmoid(-outputs), sigmoid(outputs)], axis=1)
        return both.astype("float32")
    # An integer file rounds to steps of its output.
    if not ((outputs >= -1e-3) & (outputs <= 1.01)).all():
        raise InvalidArgument(
            "one output for two classes must be a probability in [0, 1], that of the "
            f"second; {name} outputs {outputs.min():.4g} to {outputs.max():.4g}: end it "
            "in a sigmoid"
        )
    second = np.clip(outputs, 0, 1)
    return np.concatenate([1 - second, second], axis=1)


def evidence(second: np.ndarray) -> np.ndarray:
    """Returns the evidence for both classes from that for the second, on the last axis."""
    return np.concatenate([-second, second], axis=-1)


def cut(are_logits: bool) -> float:
    """Returns the largest output of the first class."""
    return 0.0 if are_logits else THRESHOLD
