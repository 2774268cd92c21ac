"""Arm Ethos-U: Vela compiles the file, which must run on the NPU as a whole."""

import csv
import dataclasses
import importlib.metadata
import pathlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

from keras_resnets.deploy import snippets
from keras_resnets.deploy import targets
from keras_resnets.deploy.job import ExportedFile
from keras_resnets.deploy.job import Job
from keras_resnets.deploy.job import Proof
from keras_resnets.errors import ExportError
from keras_resnets.errors import printable
from keras_resnets.export.tflite import runner as tflite_runner
from keras_resnets.io import files
from keras_resnets.system import child_process

COMPILED = "model_vela.tflite"
# Time limit in minutes; ResNet-50 takes one on an idle machine.
_MINUTES = 30
_SHARE = re.compile(r"NPU operators = \d+ \(([\d.]+)%\)")
# Vela replaces all operators that the NPU runs by this custom operator. Any other operator
# in a compiled file runs on the CPU.
_ON_NPU = "ethos-u"
# Columns of Vela's summary, in KiB.
_KIB = {
    "sram_bytes": "sram_memory_used",
    "dram_bytes": "dram_memory_used",
    "off_chip_flash_bytes": "off_chip_flash_memory_used",
}


@dataclasses.dataclass(frozen=True)
class _Compiled:
    """A compiled file and Vela's figures."""

    exported: ExportedFile
    file: pathlib.Path
    figures: dict[str, Any]


def prove(job: Job) -> Proof:
    """Compiles the file in each layout and selects the one with the fewest cycles.

    Raises:
        ExportError: operators would run on the CPU, or Vela failed.
    """
    with files.scratch_folder() as folder:
        tried = {}
        for name, exported in _layouts(job):
            check_types(exported, job.target.title)
            place = folder / name.replace(" ", "_")
            place.mkdir()
            tried[name] = _compile(job, exported, place)
        best = min(tried.values(), key=lambda compiled: compiled.figures["cycles"])
        shutil.copyfile(best.file, job.folder / COMPILED)
    layouts = {name: compiled.figures["cycles"] for name, compiled in tried.items()}
    figures = {"file": COMPILED, **best.figures, "cycles_by_layout": layouts}
    ran = f"ethos-u-vela {importlib.metadata.version('ethos-u-vela')}, compiled"
    return Proof(best.exported, None, figures, ran)


def _layouts(job: Job) -> Iterator[tuple[str, ExportedFile]]:
    """Yields (name, file) for each layout of the network; identical files once."""
    seen = set()
    for packed in job.target.layouts:
        name = "packed" if packed else "unpacked"
        exported = job.export(packed=packed)
        joined = (
            job.workshop.depthwise(exported.spec) if exported.spec.integer else None
        )
        for kind, candidate in ((name, exported), (f"{name} depthwise", joined)):
            if (
                candidate is not None
                and (content := candidate.path.read_bytes()) not in seen
            ):
                seen.add(content)
                yield kind, candidate


def check_types(exported: ExportedFile, title: str) -> None:
    """Raises `ExportError` for operators that would run on the CPU or crash Vela.

    Args:
        exported: the exported file.
        title: title of the target.
    """
    with tflite_runner.opened(exported.path) as content:
        floats = tflite_runner.float_operators(content)
        nibbles = _int4_operators(content)
    if floats:
        raise ExportError(
            f"{title} computes in integers only; {', '.join(floats)} of the "
            f"{exported.spec.recipe} file compute in floats and would run on the CPU: "
            f"{exported.spec.advice(targets.INT8)}; nothing was written"
        )
    if nibbles:
        raise ExportError(
            f"{title} does not support the 4-bit weights of {', '.join(nibbles)}, on "
            "which Vela crashes: use the storage int8; nothing was written"
        )


def _int4_operators(content: Any) -> list[str]:
    """Returns the names of the operators that read a 4-bit tensor."""
    schema, model = tflite_runner.parse(content)
    names, graph = tflite_runner.operator_names(schema), model.Subgraphs(0)
    readers = set()
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        for tensor in operator.InputsAsNumpy():
            if tensor >= 0 and graph.Tensors(tensor).Type() == schema.TensorType.INT4:
                readers.add(
                    names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
                )
    return sorted(readers)


def _compile(job: Job, exported: ExportedFile, folder: pathlib.Path) -> _Compiled:
    settings = job.target.settings
    words = [
        exported.path,
        "--accelerator-config",
        settings["accelerator"],
        "--config",
        "Arm/vela.ini",
        "--system-config",
        settings["system_config"],
        "--memory-mode",
        settings["memory_mode"],
        "--output-dir",
        folder,
    ]
    code, text = _run(words)
    compiled = folder / f"{exported.path.stem}_vela.tflite"
    if code != 0 or not compiled.is_file():
        status = f"signal {-code}" if code < 0 else f"exit code {code}"
        last = (text.strip().splitlines() or ["nothing"])[-1]
        raise ExportError(
            f"Vela failed with {status} on the {exported.spec.recipe} file of "
            f"{job.model.name}; its last line was {printable(last, 200)!r}; nothing was "
            "written"
        )
    with tflite_runner.opened(compiled) as content:
        on_cpu = sorted(set(tflite_runner.operators(content)) - {_ON_NPU})
    share = _SHARE.search(text)
    if on_cpu or share is None:
        raise ExportError(
            f"{job.target.title} would run these operators of {job.model.name}'s "
            f"{exported.spec.recipe} file on the CPU: {', '.join(on_cpu) or 'all'}: "
            f"{exported.spec.advice(targets.INT8)}; nothing was written"
        )
    (summary,) = folder.glob("*_summary_*.csv")
    figures = {
        "npu_percent": float(share[1]),
        **_figures(summary),
        "flash_bytes": files.size(compiled),
        **settings,
    }
    return _Compiled(exported, compiled, figures)


def _run(words: list[Any]) -> tuple[int, str]:
    """Runs Vela; returns its exit code and everything that it printed."""
    with (
        tempfile.TemporaryFile() as errors,
        child_process.started("ethosu.vela", *words, errors=errors) as process,
    ):
        try:
            text, _ = process.communicate(timeout=60 * _MINUTES)
        except subprocess.TimeoutExpired:
            raise ExportError(
                f"Vela took more than {_MINUTES} minutes; nothing was written"
            ) from None
        errors.seek(0)
        error_text = errors.read().decode("utf-8", "replace")
        return process.returncode, text + error_text


def _figures(summary: pathlib.Path) -> dict[str, Any]:
    """Returns the figures of Vela's summary, in bytes, cycles and milliseconds."""
    with open(summary, encoding="utf-8", newline="") as file:
        row = list(csv.DictReader(file))[-1]
    return {
        **{name: round(1024 * float(row[column])) for name, column in _KIB.items()},
        "cycles": round(float(row["cycles_total"])),
        "inference_ms": round(1e3 * float(row["inference_time"]), 4),
        "clock_hz": round(float(row["core_clock"])),
        "macs": round(float(row["nn_macs"])),
    }


def snippet(job: Job, exported: ExportedFile) -> str:
    """Returns the README's section on using the compiled file, and compiling it again."""
    settings = job.target.settings
    return f"""`{COMPILED}` contains one custom operator, `ethos-u`, which TensorFlow Lite
Micro passes to Arm's driver. Its input and output have the types, shapes and quantization
of `{exported.path.name}`:

```cpp
tflite::MicroMutableOpResolver<1> resolver;
resolver.AddEthosU();
tflite::MicroInterpreter interpreter(tflite::GetModel(model_vela), resolver, arena,
                                     sizeof(arena));
interpreter.AllocateTensors();
```

{snippets.described(job, exported)}
The cycles in `report.json` are Vela's estimate, not measured on a chip. To compile the file
for another system configuration, use your own `vela.ini`:

```sh
vela {exported.path.name} --accelerator-config {settings["accelerator"]} \\
    --config Arm/vela.ini --system-config {settings["system_config"]} \\
    --memory-mode {settings["memory_mode"]}
```
"""
