"""MediaPipe's ImageClassifier, which is available for Android, iOS and Python."""

import numpy as np

from keras_resnets.deploy import foreign
from keras_resnets.deploy import mediapipe_worker
from keras_resnets.deploy.job import ExportedFile
from keras_resnets.deploy.job import Job
from keras_resnets.deploy.job import Proof
from keras_resnets.io import files

_SECONDS, _OF_AN_IMAGE = 300, 10


def prove(job: Job) -> Proof:
    """Classifies the images with MediaPipe.

    Raises:
        ExportError: MediaPipe failed.
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
    """Returns the README's section on classifying a photo."""
    height, width = job.model.preprocessing.size
    code = _IOS if job.target.name == "ios" else _ANDROID
    text = f"{code.format(file=exported.path.name)}\n"
    if exported.spec.source is not None:
        tall, wide = exported.spec.source
        return (
            f"{text}The file takes photos of {wide} x {tall} pixels (width x height), and "
            "crops and resizes them itself, as `predict` does. MediaPipe first stretches "
            "photos of other sizes to this size: crop them to the same aspect ratio, or "
            "deploy a file for each size of the camera.\n"
        )
    return (
        f"{text}MediaPipe stretches each image to {height} x {width} without "
        "antialiasing. To get the results of `predict`, resize and crop the photo to this "
        "size yourself (`keras_resnets.images.resampling` has the weights), or deploy a "
        "file that does it for photos of one size: "
        f"`--target {job.target.name} --source 480x640`.\n"
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
