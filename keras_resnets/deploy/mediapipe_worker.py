"""Classifies images with MediaPipe's ImageClassifier.

    python mediapipe_worker.py FILE.tflite IMAGES.npz SCORES.npz

This script runs in a Python environment with mediapipe. IMAGES.npz contains uint8 `images`
(count, height, width, 3) and `labels`, the name of each class; SCORES.npz gets `scores`
(count, classes). The script prints the version of mediapipe.
"""

import sys
from typing import Any

import numpy as np


def main(path: str, images_path: str, scores_path: str) -> None:
    """Writes the scores; the module docstring has the arguments."""
    import mediapipe

    with np.load(images_path) as loaded:
        images, count = loaded["images"], len(loaded["labels"])
    scores = np.zeros((len(images), count), "float32")
    with _classifier(path, count) as classifier:
        for row, pixels in zip(scores, images, strict=True):
            image = mediapipe.Image(
                image_format=mediapipe.ImageFormat.SRGB,
                data=np.ascontiguousarray(pixels),
            )
            categories = classifier.classify(image).classifications[0].categories
            for category in categories:
                row[category.index] = category.score
    np.savez(scores_path, scores=scores)
    sys.stdout.write(mediapipe.__version__)


def _classifier(path: str, count: int) -> Any:
    from mediapipe.tasks.python import BaseOptions
    from mediapipe.tasks.python import vision

    options = vision.ImageClassifierOptions(
        base_options=BaseOptions(model_asset_path=path), max_results=count
    )
    return vision.ImageClassifier.create_from_options(options)


if __name__ == "__main__":
    main(*sys.argv[1:])
