"""Run by a Python that has mediapipe: ImageClassifier's scores of images in an .npz.

    python mediapipe_worker.py FILE.tflite IMAGES.npz SCORES.npz

IMAGES.npz has uint8 `images` (count, height, width, 3) and `labels`, the names of the
classes; SCORES.npz gets `scores` (count, classes) in their order.
"""

import sys

import mediapipe
import numpy as np
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python import vision


def main():
    path, given, made = sys.argv[1:]
    with np.load(given) as loaded:
        images, labels = loaded["images"], [str(x) for x in loaded["labels"]]
    options = vision.ImageClassifierOptions(
        base_options=BaseOptions(model_asset_path=path), max_results=len(labels)
    )
    scores = np.zeros((len(images), len(labels)), "float32")
    with vision.ImageClassifier.create_from_options(options) as classifier:
        for row, pixels in zip(scores, images, strict=True):
            image = mediapipe.Image(
                image_format=mediapipe.ImageFormat.SRGB,
                data=np.ascontiguousarray(pixels),
            )
            found = classifier.classify(image).classifications[0].categories
            for category in found:
                row[labels.index(category.category_name)] = category.score
    np.savez(made, scores=scores)


if __name__ == "__main__":
    main()
