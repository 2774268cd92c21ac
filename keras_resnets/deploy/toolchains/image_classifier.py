"""MediaPipe's ImageClassifier, which is available for Android, iOS and Python."""

import numpy as np

from keras_resnets.deploy.job import ExportedFile
from keras_resnets.deploy.job import Job
from keras_resnets.deploy.job import Proof
from keras_resnets.deploy.toolchains import other_python
from keras_resnets.deploy.workers import mediapipe_worker
from keras_resnets.errors import ExportError
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
        words: tuple[object, ...] = (exported.path, images_path, scores_path)
        if job.cuts is not None:
            words = (*words, job.cuts.min())
        version = other_python.run(
            job, mediapipe_worker, words, folder, seconds, (scores_path.name,)
        )
        with np.load(scores_path) as loaded:
            scores = loaded["scores"]
            if job.cuts is not None:
                _check_labels(scores, loaded["said"], job.cuts.min())
    return Proof(exported, scores, {}, f"mediapipe {version}")


def _check_labels(scores: np.ndarray, returned: np.ndarray, cut: np.float32) -> None:
    """Raises `ExportError` if MediaPipe's threshold returns other labels than scores."""
    wrong = int(((scores >= cut) != returned).any(axis=1).sum())
    if wrong:
        raise ExportError(
            f"MediaPipe must return the labels whose scores reach the threshold {cut}; it "
            f"returned others for {wrong} of {len(returned)} images; nothing was written"
        )


def snippet(job: Job, exported: ExportedFile) -> str:
    """Returns the README's section on classifying a photo."""
    height, width = job.model.preprocessing.size
    code, several = _CODES[job.target.name]
    text = f"{code.format(file=exported.path.name, **_options(job, several))}\n"
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


def _options(job: Job, several: dict[str, str]) -> dict[str, str]:
    """Returns the parts of the code that differ for multi-label networks."""
    if job.cuts is None:
        return {"most": "5", "option": "", "check": ""}
    values = [str(value) for value in job.cuts]
    own = len(set(values)) > 1
    # If labels have different thresholds, MediaPipe's is the smallest of them.
    check = several["check"].format(
        cuts=", ".join(map(several["number"].format, values))
    )
    return {
        "most": "-1",
        "option": several["option"].format(cut=job.cuts.min()),
        "check": check if own else "",
    }


_ANDROID = """With `com.google.mediapipe:tasks-vision`:

```kotlin
val options = ImageClassifier.ImageClassifierOptions.builder()
    .setBaseOptions(BaseOptions.builder().setModelAssetPath("{file}").build())
    .setMaxResults({most})
{option}    .build()
val classifier = ImageClassifier.createFromOptions(context, options)
val result = classifier.classify(BitmapImageBuilder(bitmap).build())
for (category in result.classificationResult().classifications()[0].categories())
{check}    println("${{category.score()}} ${{category.categoryName()}}")
```
"""
_IOS = """With the pod `MediaPipeTasksVision`:

```swift
let options = ImageClassifierOptions()
options.baseOptions.modelAssetPath =
    Bundle.main.path(forResource: "model", ofType: "tflite")!  // {file}
options.maxResults = {most}
{option}let classifier = try ImageClassifier(options: options)
let result = try classifier.classify(image: MPImage(uiImage: photo))
for category in result.classificationResult.classifications[0].categories {{
{check}    print(category.score, category.categoryName ?? "")
}}
```
"""
_CODES = {
    "android": (
        _ANDROID,
        {
            "number": "{}f",
            "option": "    .setScoreThreshold({cut}f)\n",
            "check": "    if (category.score() >= floatArrayOf({cuts})"
            "[category.index()])\n",
        },
    ),
    "ios": (
        _IOS,
        {
            "number": "{}",
            "option": "options.scoreThreshold = {cut}\n",
            "check": "    if category.score < [{cuts}][category.index] {{ continue }}\n",
        },
    ),
}
