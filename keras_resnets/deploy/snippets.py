"""Code and text for the README: how a photo is preprocessed, and how a file is run."""

import textwrap
from typing import Any

import numpy as np

from keras_resnets.deploy.job import ExportedFile
from keras_resnets.deploy.job import Job
from keras_resnets.export.onnx import overflow
from keras_resnets.export.tflite import runner as tflite_runner
from keras_resnets.images.preprocessing import GREY
from keras_resnets.images.preprocessing import Preprocessing

_HEAD = """```python
# {pip}
import sys

import numpy as np
{runtime}
from PIL import Image
from PIL import ImageOps

image = ImageOps.exif_transpose(Image.open(sys.argv[1]))
if image.mode[0] in "IF":
    sys.exit(f"{{sys.argv[1]}} has more than 8 bits per channel: convert it to 8")
image = image.convert("RGB")
"""
# For inputs that are not photos.
_ARRAY = """
image = np.load(sys.argv[1])  # (height, width, channels)
"""
_NAMES = 'labels = open("labels.txt", encoding="utf-8").read().splitlines()\n'
_LIKELIEST = """for index in np.argsort(-{scores})[:5]:
    print(f"{{{scores}[index]:.4f}} {{labels[index]}}")
"""
_LABELS = """said = {scores} >= np.float32({cuts})
for index in np.argsort(-{scores}):
    if said[index]:
        print(f"{{{scores}[index]:.4f}} {{labels[index]}}")
"""
# For a file that crops and resizes photos of one size itself.
_PLAIN = """if image.size != ({1}, {0}):
    sys.exit(f"the file takes photos {1} wide and {0} high; got {{image.size}}")
x = np.asarray(image)[None]
"""
_RUNTIMES = {
    "tflite": "from ai_edge_litert.interpreter import Interpreter",
    "onnx": "import onnxruntime",
    "saved_model": "import tensorflow as tf",
}
_RUN = {
    "tflite": """interpreter = Interpreter("{file}", num_threads=2)
interpreter.allocate_tensors()
input_details = interpreter.get_input_details()[0]
output_details = interpreter.get_output_details()[0]
scale, zero = input_details["quantization"]
if scale:
    limits = np.iinfo(input_details["dtype"])
    x = np.clip(np.rint(x / np.float32(scale)) + zero, limits.min, limits.max)
interpreter.set_tensor(input_details["index"], x.astype(input_details["dtype"]))
interpreter.invoke()
y = interpreter.get_tensor(output_details["index"]).astype("float32")
scale, zero = output_details["quantization"]
y = (y - zero) * scale if scale else y
""",
    "onnx": """session = onnxruntime.InferenceSession("{file}")
y = session.run(None, {{session.get_inputs()[0].name: x}})[0]
""",
    "saved_model": """serve = tf.saved_model.load("{file}").signatures["serving_default"]
(name,) = serve.structured_input_signature[1]
y = next(iter(serve(**{{name: tf.constant(x)}}).values())).numpy()
""",
}
_RUN["exact onnx"] = (
    """options = onnxruntime.SessionOptions()
# Without this, the file overflows on x86 processors without VNNI.
options.add_session_config_entry("{}", "{}")
""".format(*overflow.EXACT)
    + _RUN["onnx"].replace('"{file}"', '"{file}", options')
)


def python(
    job: Job,
    exported: ExportedFile,
    packages: str,
    runtime: str | None = None,
    run: str | None = None,
) -> str:
    """Returns a Python program that prints the classes of a photo, see `answers`.

    Args:
        job: the target's job.
        exported: the exported file.
        packages: Python packages of the runtime.
        runtime: line that imports the runtime; None for that of the file's format.
        run: code that computes the outputs `y` from the input `x`; None for that of the
            file's format.
    """
    preprocessing = job.model.preprocessing
    head = _HEAD.format(
        pip=f"pip install {packages} {requirements(preprocessing, exported)}",
        runtime=runtime or _RUNTIMES[exported.spec.format],
    )
    if preprocessing.channels not in (1, 3):
        head = head[: head.index("from PIL")] + _ARRAY
    form = exported.spec.format
    if form == "onnx" and overflow.may_overflow(exported.path):
        form = "exact onnx"
    run = run or _RUN[form].format(file=exported.path.name)
    return (
        head + preparing(preprocessing, exported) + run + answers(job, "y[0]") + "```\n"
    )


def answers(job: Job, scores: str) -> str:
    """Returns Python code that prints the five most likely classes of an image.

    For several labels per image, it prints all labels that reach their thresholds, the
    most likely first.

    Args:
        job: of the target.
        scores: the expression of an image's outputs.
    """
    if job.cuts is None:
        return _NAMES + _LIKELIEST.format(scores=scores)
    return _NAMES + _LABELS.format(scores=scores, cuts=numbers(job.cuts))


def numbers(cuts: np.ndarray) -> str:
    """Returns thresholds as code: one number if they are all the same, else a list.

    Example:
        >>> numbers(np.float32([0.3, 0.3])), numbers(np.float32([0.3, 0.5]))
        ('0.3', '[0.3, 0.5]')
    """
    texts = [str(value) for value in cuts.astype("float32")]
    return texts[0] if len(set(texts)) == 1 else f"[{', '.join(texts)}]"


def functions(job: Job, exported: ExportedFile) -> str:
    """Returns the source of `prepare(image)` and `classify(x)` for a TFLite file."""
    preparation = preparing(job.model.preprocessing, exported)
    file = exported.path.name
    opening, _, running = _RUN["tflite"].format(file=file).partition("scale, zero")
    return (
        f"{opening}\n\n"
        "def prepare(image):\n"
        '    """Preprocesses a Pillow image as `keras-resnets predict` does."""\n'
        f"{textwrap.indent(preparation, '    ')}    return x\n\n\n"
        "def classify(x):\n"
        '    """Returns the score of each class for one preprocessed image."""\n'
        f"{textwrap.indent('scale, zero' + running, '    ')}    return y\n"
    )


def preparing(preprocessing: Preprocessing, exported: ExportedFile) -> str:
    """Returns Python code that computes a file's input `x` from a Pillow `image`.

    The code resizes with antialiasing, takes the centre crop, and normalizes unless the
    file does. Letterboxing and images other than photos require this package.

    Args:
        preprocessing: the network's preprocessing.
        exported: the exported file.
    """
    if exported.spec.source is not None:
        return _PLAIN.format(*exported.spec.source)
    if _needs_package(preprocessing):
        return (
            "from keras_resnets import Preprocessing  # its letterbox or channels\n"
            f"prepare = {preprocessing!r}\nx = prepare(image)[None]\n"
            + ("x = prepare.pixels(x)\n" if exported.report.takes_pixels else "")
        )
    height, width = preprocessing.size
    # See `resizing.resized_size`.
    tall, wide = (
        int(side / preprocessing.crop_fraction + 1e-6) for side in preprocessing.size
    )
    lines = [
        f"scale = max({tall} / image.height, {wide} / image.width)",
        f"height = max({height}, int(image.height * scale + 1e-6))",
        f"width = max({width}, int(image.width * scale + 1e-6))",
        "if image.size != (width, height):",
        "    image = image.resize((width, height), Image.Resampling."
        f"{preprocessing.interpolation.upper()})",
        f"top, left = round((height - {height}) / 2), round((width - {width}) / 2)",
        f"x = np.asarray(image)[None, top : top + {height}, left : left + {width}]",
    ]
    if not exported.report.takes_pixels:
        lines += normalizing(preprocessing)
    return "\n".join(lines) + "\n"


def normalizing(preprocessing: Preprocessing) -> list[str]:
    """Returns Python code that normalizes an array `x` of RGB pixels."""
    if preprocessing.channels == 1:
        lines = [f"x = x @ np.float32({[[share] for share in GREY]})"]
    else:
        lines = ["x = x[..., ::-1]"] if preprocessing.channel_order == "bgr" else []
    return [
        *lines,
        f"x = x * np.float32({preprocessing.scale!r})",
        f"x = (x - np.float32({list(preprocessing.mean)})) "
        f"/ np.float32({list(preprocessing.std)})",
    ]


def _needs_package(preprocessing: Preprocessing) -> bool:
    """Whether the code of `preparing` imports this package."""
    return not preprocessing.takes_pixels or preprocessing.letterbox


def requirements(preprocessing: Preprocessing, exported: ExportedFile) -> str:
    """Returns the Python packages that the code of `preparing` needs."""
    package = _needs_package(preprocessing) and exported.spec.source is None
    return "numpy pillow" + (" keras-resnets" if package else "")


def described(job: Job, exported: ExportedFile) -> str:
    """Returns the README's list of what a file's input and output mean.

    It is for targets whose code does not open photos.
    """
    preprocessing = job.model.preprocessing
    height, width = preprocessing.size
    shape = f"{height} x {width} x {preprocessing.channels}"
    lines = [f"- Image, height x width x channels: {shape}. {_resized(preprocessing)}"]
    if exported.report.takes_pixels:
        lines.append(f"- Input: its {_colours(preprocessing)} values, 0 to 255.")
    else:
        scaled = (
            f"value * {preprocessing.scale:.9g}"
            if preprocessing.scale != 1
            else "value"
        )
        lines.append(
            f"- Input: `({scaled} - mean) / std` of its {_colours(preprocessing)} values"
            f"{', 0 to 255' if preprocessing.takes_pixels else ''}, with mean "
            f"{list(preprocessing.mean)} and std {list(preprocessing.std)}."
        )
    if exported.spec.format == "tflite":
        interpreter = tflite_runner.litert().Interpreter(str(exported.path))
        if not exported.report.takes_pixels:
            lines += _integers("input", interpreter.get_input_details()[0])
        lines += _integers("output", interpreter.get_output_details()[0])
    kind = "probability" if exported.report.output == "predictions" else "logit"
    lines.append(f"- Output: the {kind} of each class, in the order of `labels.txt`.")
    return "\n".join(lines) + "\n"


def _resized(preprocessing: Preprocessing) -> str:
    """Returns a sentence about the geometry of the preprocessing."""
    if preprocessing.letterbox:
        return (
            "`keras_resnets.Preprocessing(..., letterbox=True)` fits the photo into it."
        )
    tall, wide = (
        int(side / preprocessing.crop_fraction + 1e-6) for side in preprocessing.size
    )
    return (
        f"Resize the photo ({preprocessing.interpolation}, smoothed) to the smallest size "
        f"of its aspect ratio that covers {tall} x {wide}, and crop the centre."
    )


def _colours(preprocessing: Preprocessing) -> str:
    """Returns the name of the channels."""
    if preprocessing.channels == 1:
        shares = zip(GREY, "RGB", strict=True)
        return f"grey ({' + '.join(f'{share} {name}' for share, name in shares)})"
    return preprocessing.channel_order.upper() if preprocessing.channels == 3 else "own"


def _integers(name: str, details: dict[str, Any]) -> list[str]:
    """Returns the line about the type of an integer file's input or output, if it is."""
    scale, zero = details["quantization"]
    if not scale:
        return []
    return [
        f"- Type of the {name}: `{np.dtype(details['dtype']).name}`, whose real value is "
        f"`(integer {'-' if zero > 0 else '+'} {abs(int(zero))}) * {scale:.9g}`."
    ]
