"""Runs a SavedModel in TensorFlow."""

import os
from typing import Any

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.export.runner import check_inputs
from keras_resnets.export.runner import in_batches
from keras_resnets.export.runner import is_pixel
from keras_resnets.export.runner import median_seconds


def load_runtime() -> None:
    """Imports TensorFlow."""
    import tensorflow  # noqa: F401


class SavedModelRunner:
    """A signature of a SavedModel.

    Args:
        path: its folder.
        threads: not used: TensorFlow sets them for the whole process.
        logits: not available: the outputs of a signature are fixed, and `tapped` is
            empty.
        signature: the signature's name.
    """

    tapped: tuple[str, ...] = ()
    has_logits = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        threads: int = 2,
        logits: bool = False,
        signature: str = "serving_default",
    ) -> None:
        import tensorflow as tf

        # Kept alive, since the signature does not reference its variables.
        self._loaded = tf.saved_model.load(str(path))
        if signature not in self._loaded.signatures:
            available = ", ".join(self._loaded.signatures) or "none"
            raise InvalidArgument(
                f"{path} has no signature {signature}; its signatures: {available}"
            )
        self._serve = self._loaded.signatures[signature]
        self.output_names = tuple(self._serve.structured_outputs)
        inputs = list(self._serve.structured_input_signature[1].values())
        check_inputs([spec.shape for spec in inputs])
        (self._input,) = inputs
        self.input_shape = tuple(self._input.shape)
        self.takes_pixels = is_pixel(self._input.dtype.as_numpy_dtype)

    def __call__(self, images: np.ndarray) -> Any:
        """Returns float32 outputs for `images`."""
        return in_batches(self._run, images, self.input_shape[0])

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        import tensorflow as tf

        tensor_in = tf.constant(images, self._input.dtype)
        outputs = self._serve(**{self._input.name: tensor_in})
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def latency(self, image: np.ndarray, runs: int = 10, warmup: int = 2) -> float:
        """Returns the median seconds of one inference."""
        return median_seconds(lambda: self._run(image), runs, warmup)
