"""A page that classifies photos in the browser, proven in headless Chromium."""

import base64
import importlib.resources
import json
import pathlib
import time
from typing import Any

import numpy as np

from keras_resnets.deploy import browser_tools
from keras_resnets.deploy import chromium
from keras_resnets.deploy.job import Job
from keras_resnets.deploy.job import Made
from keras_resnets.deploy.job import Proof
from keras_resnets.errors import ExportError
from keras_resnets.export.tflite import runner as tflite_runner
from keras_resnets.io import files

# Files of the page; `runtime.js` is one of the two that open a network.
_OURS = ("index.html", "page.js", "resample.js", "style.css")
_RUNTIMES = {"tflite": "litert.js", "onnx": "onnx.js"}
_WORDS = {"tflite": "LiteRT.js", "onnx": "ONNX Runtime Web"}


def prove(job: Job) -> Proof:
    """Runs the images in the page, in Chromium.

    Raises:
        ExportError: the page does not open the file, or fails.
    """
    if job.model.preprocessing.channels != 3:
        raise ExportError("the page is for networks of RGB images; nothing was written")
    made = job.export()
    binary = chromium.find()
    if binary is None:
        raise ExportError("there is no Chromium; nothing was written")
    with files.scratch_folder() as folder:
        fill(job, made, folder)
        (folder / made.path.name).write_bytes(made.path.read_bytes())
        with (
            browser_tools.served(folder) as address,
            chromium.opened(binary, address) as page,
        ):
            begun = time.monotonic()
            opened_in(page)
            given = job.file_inputs(made)
            outputs = [_run(page, given[0])]
            seconds = time.monotonic() - begun
            outputs += [_run(page, image) for image in given[1:]]
            milliseconds = _latency(page, given[0])
            browser = page.browser
    ran = " ".join(
        f"{name} {browser_tools.version(name)}"
        for name in browser_tools.PACKAGES[job.target.name]
        if "utils" not in name
    )
    figures = {
        "first_answer_s": round(seconds, 2),
        "latency_ms": round(milliseconds, 3),
        "download_bytes": made.report.size,
    }
    return Proof(made, np.stack(outputs), figures, f"{ran} in {browser}")


def opened_in(page: chromium.Page) -> None:
    """Waits until a page has opened its network.

    Raises:
        ExportError: it cannot; what it says of that.
    """
    state = page.wait(
        "['ready', 'failed'].includes(document.body?.dataset.state) && window.network "
        "&& document.body.dataset.state"
    )
    if state == "failed":
        words = page.evaluate("document.getElementById('note').textContent")
        raise ExportError(f"the page fails: {words}; nothing was written")


def _values(image: np.ndarray) -> str:
    """An expression for the values of an image."""
    raw = np.ascontiguousarray(image)
    kind = "Uint8Array" if raw.dtype == np.uint8 else "Float32Array"
    raw = raw if raw.dtype == np.uint8 else raw.astype("<f4")
    text = base64.b64encode(raw.tobytes()).decode()
    return f"new {kind}(Uint8Array.from(atob('{text}'), c => c.charCodeAt(0)).buffer)"


def _run(page: chromium.Page, image: np.ndarray) -> np.ndarray:
    script = f"network.outputs({_values(image)}).then(y => Array.from(y))"
    return np.asarray(page.evaluate(script), "float32")


def _latency(page: chromium.Page, image: np.ndarray) -> float:
    """Median milliseconds of ten runs in the page."""
    script = (
        f"(async () => {{ const x = {_values(image)}, times = []; "
        "for (let i = 0; i < 10; i++) { const begun = performance.now(); "
        "await network.outputs(x); times.push(performance.now() - begun); } "
        "return times.sort((a, b) => a - b)[5]; })()"
    )
    return float(page.evaluate(script))


def write(job: Job, proof: Proof | None) -> None:
    """Writes the page into the folder of a target."""
    fill(job, proof.made if proof else job.export(), job.folder)


def fill(job: Job, made: Made, folder: pathlib.Path) -> None:
    """Writes the page of a file; the file itself is written by others."""
    ours = importlib.resources.files("keras_resnets.deploy") / "web"
    for name in _OURS:
        (folder / name).write_text((ours / name).read_text("utf-8"), "utf-8")
    runtime = (ours / _RUNTIMES[made.spec.format]).read_text("utf-8")
    (folder / "runtime.js").write_text(runtime, "utf-8")
    facts = json.dumps(_facts(job, made), indent=1)
    (folder / "model.json").write_text(facts + "\n", "utf-8")
    package = {
        "private": True,
        "scripts": {"start": "python3 -m http.server 8000"},
        "dependencies": browser_tools.PACKAGES[job.target.name],
    }
    (folder / "package.json").write_text(json.dumps(package, indent=1) + "\n", "utf-8")


def _facts(job: Job, made: Made) -> dict[str, Any]:
    """What the page must know of the network."""
    known = job.model.preprocessing
    given, output = _ends(made)
    return {
        "name": job.model.name,
        "words": f"{_number_format(made)}, {made.report.size / 1e6:.2f} MB, runs in this "
        f"browser by {_WORDS[made.spec.format]}",
        "file": made.path.name,
        "labels": list(job.labels),
        "probabilities": made.report.output == "predictions",
        "input": given,
        "output": output,
        "preprocessing": {
            "size": list(known.size),
            "crop_fraction": known.crop_fraction,
            "letterbox": known.letterbox,
            "interpolation": known.interpolation,
            "takes_pixels": made.report.takes_pixels,
            "scale": known.scale,
            "mean": list(known.mean),
            "std": list(known.std),
            "channel_order": known.channel_order,
        },
    }


def _number_format(made: Made) -> str:
    """What people call what it computes in."""
    return "float32" if made.spec.quantize == "none" else made.spec.quantize


def _ends(made: Made) -> tuple[dict[str, Any], dict[str, Any]]:
    """Types and scales of input and output."""
    shape = [size or 1 for size in made.report.input_shape]
    if made.spec.format == "onnx":
        dtype = "uint8" if made.report.takes_pixels else "float32"
        given = {"dtype": dtype, "scale": 0, "zero": 0, "shape": shape}
        return given, {"dtype": "float32", "scale": 0, "zero": 0}
    interpreter = tflite_runner.litert().Interpreter(str(made.path))
    details = (interpreter.get_input_details()[0], interpreter.get_output_details()[0])
    given, output = (
        {
            "dtype": np.dtype(one["dtype"]).name,
            "scale": float(one["quantization"][0]),
            "zero": int(one["quantization"][1]),
        }
        for one in details
    )
    return {**given, "shape": shape}, output


def snippet(job: Job, made: Made) -> str:
    """How to open the page."""
    return (
        "```sh\nnpm install    # the runtime, as package.json pins it\n"
        "npm start      # or any other static server of this folder\n```\n\n"
        "Then open localhost:8000 in a browser and drop a photo, or use the camera "
        "(browsers allow it on localhost and over HTTPS). `resample.js` resizes as "
        "`predict` does, to the bit; `page.js` shows how an application calls it:\n\n"
        '```js\nimport { open } from "./runtime.js";\n'
        'import { normalize, prepare } from "./resample.js";\n\n'
        'const facts = await (await fetch("./model.json")).json();\n'
        "const run = await open(facts);\n"
        "const x = normalize(prepare(rgb, height, width, facts.preprocessing),\n"
        "  facts.preprocessing); // rgb: Uint8Array (height, width, 3)\n"
        + (
            "const scores = await run(x);\n"
            if made.spec.io_dtype == "float32"
            else "// model.json has the scale and zero point of input and output.\n"
        )
        + "```\n"
    )
