"""Classifies images with MediaPipe's ImageClassifier.

    python mediapipe_worker.py FILE.tflite IMAGES.npz SCORES.npz [THRESHOLD]

This script runs in a Python environment with mediapipe. IMAGES.npz contains uint8 `images`
(count, height, width, 3) and `labels`, the name of each class; SCORES.npz gets `scores`
(count, classes). With THRESHOLD it also gets bool `said` (count, classes): the classes
that the classifier returns with this score threshold. The script prints the version of
mediapipe.
"""

import sys
from typing import Any

import numpy as np


def main(
    path: str, images_path: str, scores_path: str, threshold: str | None = None
) -> None:
    """Writes the scores; the module docstring has the arguments."""
    import mediapipe

    with np.load(images_path) as loaded:
        images, count = loaded["images"], len(loaded["labels"])
    scores = _scores(path, images, count, max_results=count)
    answers: dict[str, Any] = {"scores": np.nan_to_num(scores)}
    if threshold is not None:
        # Applications request all labels by -1.
        answers["said"] = ~np.isnan(
            _scores(
                path, images, count, max_results=-1, score_threshold=float(threshold)
            )
        )
    np.savez(scores_path, **answers)
    sys.stdout.write(mediapipe.__version__)


def _scores(path: str, images: np.ndarray, count: int, **options: Any) -> np.ndarray:
    """Returns float32 scores (count, classes); NaN for classes that are not returned."""
    import mediapipe

    scores = np.full((len(images), count), np.nan, "float32")
    with _classifier(path, options) as classifier:
        for row, pixels in zip(scores, images, strict=True):
            image = mediapipe.Image(
                image_format=mediapipe.ImageFormat.SRGB,
                data=np.ascontiguousarray(pixels),
            )
            categories = classifier.classify(image).classifications[0].categories
            for category in categories:
                row[category.index] = category.score
    return scores


def _classifier(path: str, options: dict[str, Any]) -> Any:
    from mediapipe.tasks.python import BaseOptions
    from mediapipe.tasks.python import vision

    classifier_options = vision.ImageClassifierOptions(
        base_options=BaseOptions(model_asset_path=path), **options
    )
    return vision.ImageClassifier.create_from_options(classifier_options)


if __name__ == "__main__":
    main(*sys.argv[1:])
