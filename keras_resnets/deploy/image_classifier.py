"""MediaPipe's ImageClassifier, as Android, iOS and Python have it."""

import numpy as np

from keras_resnets.deploy import foreign
from keras_resnets.deploy import mediapipe_worker
from keras_resnets.deploy.job import ExportedFile
from keras_resnets.deploy.job import Job
from keras_resnets.deploy.job import Proof
from keras_resnets.io import files

_SECONDS, _OF_AN_IMAGE = 300, 10


def prove(job: Job) -> Proof:
    """Has MediaPipe classify the pixels of the images.

    Raises:
        ExportError: it does not take the file.
    """
    exported = job.export()
    images = job.file_inputs(exported)
    names = list(job.labels)
    with files.scratch_folder() as folder:
        images_path, scores_path = folder / "images.npz", folder / "scores.npz"
        np.savez(images_path, images=images, labels=names)
        seconds = _SECONDS + _OF_AN_IMAGE * len(images)
        words = (exported.path, images_path, scores_path)
        version = foreign.run(job, mediapipe_worker, words, folder, seconds)
        with np.load(scores_path) as loaded:
            scores = loaded["scores"]
    return Proof(exported, scores, {}, f"mediapipe {version}")


def snippet(job: Job, exported: ExportedFile) -> str:
    """How an application classifies a photo, and what it must do before."""
    height, width = job.model.preprocessing.size
    code = _IOS if job.target.name == "ios" else _ANDROID
    text = f"{code.format(file=exported.path.name)}\n"
    if exported.spec.source is not None:
        tall, wide = exported.spec.source
        return (
            f"{text}The file takes photos {wide} pixels wide and {tall} high as they are: "
            "it crops and resizes them itself, as `predict` does. MediaPipe stretches a "
            "photo of another size to that before: crop it to the same proportions, or "
            "deploy a file for each size that the camera has.\n"
        )
    return (
        f"{text}MediaPipe stretches each image to {height} x {width} and does not "
        "smooth: hand it the photo's centre, resized and cropped to that as `predict` does "
        "(`keras_resnets.images.resampling` has the weights), or deploy a file for "
        f"photos of one size, which does it itself: `--target {job.target.name} --source "
        "480x640`.\n"
    )


_ANDROID = """With `com.google.mediapipe:tasks-vision`:

```kotlin
val options = ImageClassifier.ImageClassifierOptions.builder()
    .setBaseOptions(BaseOptions.builder().setModelAssetPath("{file}").build())
    .setMaxResults(5)
    .build()
val classifier = ImageClassifier.createFromOptions(context, options)
val result = classifier.classify(BitmapImageBuilder(bitmap).build())
for (category in result.classificationResult().classifications()[0].categories())
    println("${{category.score()}} ${{category.categoryName()}}")
```
"""
_IOS = """With the pod `MediaPipeTasksVision`:

```swift
let options = ImageClassifierOptions()
options.baseOptions.modelAssetPath =
    Bundle.main.path(forResource: "model", ofType: "tflite")!  // {file}
options.maxResults = 5
let classifier = try ImageClassifier(options: options)
let result = try classifier.classify(image: MPImage(uiImage: photo))
for category in result.classificationResult.classifications[0].categories {{
    print(category.score, category.categoryName ?? "")
}}
```
"""
