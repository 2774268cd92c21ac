"""A web page that classifies photos in the browser, tested in headless Chromium."""

import base64
import importlib.resources
import json
import pathlib
import time
from typing import Any

import numpy as np

from keras_resnets.deploy.job import ExportedFile
from keras_resnets.deploy.job import Job
from keras_resnets.deploy.job import Proof
from keras_resnets.deploy.toolchains import browser_tools
from keras_resnets.deploy.toolchains import chromium
from keras_resnets.errors import ExportError
from keras_resnets.export.tflite import runner as tflite_runner
from keras_resnets.io import files

# Files of the page; one of the two runtimes is added as `runtime.js`.
_OURS = ("index.html", "page.js", "resample.js", "style.css")
_RUNTIMES = {"tflite": "litert.js", "onnx": "onnx.js"}
_WORDS = {"tflite": "LiteRT.js", "onnx": "ONNX Runtime Web"}


def prove(job: Job) -> Proof:
    """Opens the page in Chromium and runs the file on the images there.

    Raises:
        ExportError: the page cannot open the file, or fails.
    """
    exported = job.export()
    binary = chromium.find()
    if binary is None:
        raise ExportError("Chromium was not found on the PATH; nothing was written")
    with files.scratch_folder() as folder:
        fill(job, exported, folder)
        (folder / exported.path.name).write_bytes(exported.path.read_bytes())
        with (
            browser_tools.served(folder) as address,
            chromium.opened(binary, address) as page,
        ):
            begun = time.monotonic()
            opened_in(page)
            inputs = job.file_inputs(exported)
            outputs = [_run(page, inputs[0])]
            seconds = time.monotonic() - begun
            outputs += [_run(page, image) for image in inputs[1:]]
            if job.cuts is not None:
                _check_labels(page, np.stack(outputs), job.cuts)
            milliseconds = _latency(page, inputs[0])
            browser = page.browser
    ran = " ".join(
        f"{name} {browser_tools.version(name)}"
        for name in browser_tools.PACKAGES[job.target.name]
        if "utils" not in name
    )
    figures = {
        "first_answer_s": round(seconds, 2),
        "latency_ms": round(milliseconds, 3),
        "download_bytes": exported.report.size,
    }
    return Proof(exported, np.stack(outputs), figures, f"{ran} in {browser}")


def opened_in(page: chromium.Page) -> None:
    """Waits until a page has opened its network.

    Raises:
        ExportError: it cannot open it; with the page's message.
    """
    state = page.wait(
        "['ready', 'failed'].includes(document.body?.dataset.state) && window.network "
        "&& document.body.dataset.state"
    )
    if state == "failed":
        words = page.evaluate("document.getElementById('note').textContent")
        raise ExportError(f"the page fails: {words}; nothing was written")


def _values(image: np.ndarray) -> str:
    """Returns a JavaScript expression for the values of an image."""
    raw = np.ascontiguousarray(image)
    kind = "Uint8Array" if raw.dtype == np.uint8 else "Float32Array"
    raw = raw if raw.dtype == np.uint8 else raw.astype("<f4")
    text = base64.b64encode(raw.tobytes()).decode()
    return f"new {kind}(Uint8Array.from(atob('{text}'), c => c.charCodeAt(0)).buffer)"


def _run(page: chromium.Page, image: np.ndarray) -> np.ndarray:
    script = f"network.outputs({_values(image)}).then(y => Array.from(y))"
    return np.asarray(page.evaluate(script), "float32")


def _check_labels(page: chromium.Page, outputs: np.ndarray, cuts: np.ndarray) -> None:
    """Raises `ExportError` if the page shows other labels than those that reach cuts."""
    for values in outputs:
        numbers = json.dumps(values.tolist())
        shown = page.evaluate(
            f"network.answers(network.probabilities({numbers})).map(x => x[1])"
        )
        if sorted(shown) != np.flatnonzero(values >= cuts).tolist():
            raise ExportError(
                f"the page shows the labels {sorted(shown)} for outputs {numbers}, with "
                f"thresholds of {cuts.tolist()}; nothing was written"
            )


def _latency(page: chromium.Page, image: np.ndarray) -> float:
    """Returns the median latency of ten runs in the page, in milliseconds."""
    script = (
        f"(async () => {{ const x = {_values(image)}, times = []; "
        "for (let i = 0; i < 10; i++) { const begun = performance.now(); "
        "await network.outputs(x); times.push(performance.now() - begun); } "
        "return times.sort((a, b) => a - b)[5]; })()"
    )
    return float(page.evaluate(script))


def write(job: Job, proof: Proof | None) -> None:
    """Writes the page into the folder of a target."""
    fill(job, proof.exported if proof else job.export(), job.folder)


def fill(job: Job, exported: ExportedFile, folder: pathlib.Path) -> None:
    """Writes the page for a file, without the file itself."""
    ours = importlib.resources.files("keras_resnets.deploy.toolchains") / "web"
    for name in _OURS:
        (folder / name).write_text((ours / name).read_text("utf-8"), "utf-8")
    runtime = (ours / _RUNTIMES[exported.spec.format]).read_text("utf-8")
    (folder / "runtime.js").write_text(runtime, "utf-8")
    facts = json.dumps(_facts(job, exported), indent=1)
    (folder / "model.json").write_text(facts + "\n", "utf-8")
    package = {
        "private": True,
        "scripts": {"start": "python3 -m http.server 8000"},
        "dependencies": browser_tools.PACKAGES[job.target.name],
    }
    (folder / "package.json").write_text(json.dumps(package, indent=1) + "\n", "utf-8")


def _facts(job: Job, exported: ExportedFile) -> dict[str, Any]:
    """Returns the page's description of the network, for `model.json`."""
    preprocessing = job.model.preprocessing
    input_facts, output = _signature(exported)
    return {
        "name": job.model.name,
        "words": f"{_number_format(exported)}, {exported.report.size / 1e6:.2f} MB, runs "
        f"in this browser with {_WORDS[exported.spec.format]}",
        "file": exported.path.name,
        "labels": list(job.labels),
        "thresholds": job.thresholds,
        "probabilities": exported.report.output == "predictions",
        "input": input_facts,
        "output": output,
        "preprocessing": {
            "size": list(preprocessing.size),
            "crop_fraction": preprocessing.crop_fraction,
            "letterbox": preprocessing.letterbox,
            "interpolation": preprocessing.interpolation,
            "takes_pixels": exported.report.takes_pixels,
            "scale": preprocessing.scale,
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "channel_order": preprocessing.channel_order,
        },
    }


def _number_format(exported: ExportedFile) -> str:
    """Returns the name of the number format for people."""
    return "float32" if exported.spec.quantize == "none" else exported.spec.quantize


def _signature(exported: ExportedFile) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the types, scales and zero points of the input and output."""
    shape = [size or 1 for size in exported.report.input_shape]
    if exported.spec.format == "onnx":
        dtype = "uint8" if exported.report.takes_pixels else "float32"
        input_facts = {"dtype": dtype, "scale": 0, "zero": 0, "shape": shape}
        return input_facts, {"dtype": "float32", "scale": 0, "zero": 0}
    interpreter = tflite_runner.litert().Interpreter(str(exported.path))
    details = (interpreter.get_input_details()[0], interpreter.get_output_details()[0])
    input_facts, output = (
        {
            "dtype": np.dtype(tensor["dtype"]).name,
            "scale": float(tensor["quantization"][0]),
            "zero": int(tensor["quantization"][1]),
        }
        for tensor in details
    )
    return {**input_facts, "shape": shape}, output


def _labels(job: Job) -> str:
    """Returns JavaScript for the labels of an image; nothing for one class."""
    if job.cuts is None:
        return ""
    cuts = ", ".join(str(value) for value in job.cuts)
    return (
        f"const thresholds = Float32Array.of({cuts});\n"
        "const labels = facts.labels.filter((_, i) => scores[i] >= thresholds[i]);\n"
    )


def snippet(job: Job, exported: ExportedFile) -> str:
    """Returns the README's section on opening the page."""
    return (
        "```sh\nnpm install    # installs the runtime that package.json pins\n"
        "npm start      # or serve this folder with any other static server\n```\n\n"
        "Then open localhost:8000 in a browser and drop a photo, or use the camera "
        "(browsers allow it on localhost and over HTTPS). `resample.js` resizes exactly "
        "as `predict` does; `page.js` shows how an application calls it:\n\n"
        '```js\nimport { open } from "./runtime.js";\n'
        'import { normalize, prepare } from "./resample.js";\n\n'
        'const facts = await (await fetch("./model.json")).json();\n'
        "const run = await open(facts);\n"
        "const x = normalize(prepare(rgb, height, width, facts.preprocessing),\n"
        "  facts.preprocessing); // rgb: Uint8Array (height, width, 3)\n"
        + (
            f"const scores = await run(x);\n{_labels(job)}"
            if exported.spec.io_dtype == "float32"
            else "// model.json has the scale and zero point of input and output.\n"
        )
        + "```\n"
    )
