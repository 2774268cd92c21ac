"""Import time.

    python benchmarks/import_time.py

What `import keras_resnets` and access to `create_model` and `analyze` add to `import
keras`, in fresh interpreters, best of five, on the TensorFlow backend and, where it
is installed, on JAX. There TensorFlow must stay out, even after a model was built.

Target: less than 60 ms, once Python has compiled the modules.
"""

import importlib.util
import json
import subprocess
import sys

import common

PROGRAM = """
import json, sys, time
import keras
start = time.perf_counter()
import keras_resnets
keras_resnets.create_model, keras_resnets.analyze
milliseconds = 1e3 * (time.perf_counter() - start)
imported = "tensorflow" in sys.modules
keras_resnets.analyze(keras_resnets.create_model("resnet8"))
print(json.dumps({
    "ms": milliseconds,
    "tensorflow": imported,
    "tensorflow_after_model": "tensorflow" in sys.modules,
}))
"""


def fresh(backend):
    """One measurement in a new interpreter."""
    environment = common.environment(KERAS_BACKEND=backend)
    # An installed package is compiled once, not at every import.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main():
    arguments = common.parser(__doc__, rounds=5).parse_args()
    backends = [
        name for name in ("tensorflow", "jax") if importlib.util.find_spec(name)
    ]
    runs = {name: [] for name in backends}
    for _ in range(arguments.rounds):
        for name in backends:
            runs[name].append(fresh(name))
    rows = []
    for name, found in runs.items():
        best = min(run["ms"] for run in found)
        cells = common.target(best, 60, at_most=True, unit="ms")
        rows.append(
            (
                name,
                *cells,
                "yes" if found[0]["tensorflow"] else "no",
                "yes" if found[0]["tensorflow_after_model"] else "no",
            )
        )
    headers = ("backend", "best", "target", "", "imports tensorflow", "after a model")
    common.show(headers, rows)
    common.write(arguments.json, runs)


if __name__ == "__main__":
    main()
