"""The readers of weights, fuzzed by coverage: see README.md in this folder.

    python tests/fuzz_readers.py torch FOLDER -max_total_time=900

Kinds are `pickle` (a data.pkl in a zip whose checksums are right), `torch` (whole files),
and `safetensors` (darknet's too). FOLDER keeps what reaches new code, and begins with
real checkpoints. Whatever is no `WeightsError` in one printable line, takes five seconds,
or gives numbers from outside the file's storages, ends the run and is written down.
"""

import pathlib
import sys

import atheris
import numpy as np

with atheris.instrument_imports(include=["keras_resnets"]):
    from keras_resnets.errors import WeightsError
    from keras_resnets.weights import readers  # noqa: F401

import hostile_safetensors
import hostile_torch

_SEED = hostile_torch.seeds()["zip"]


def _pickle(content):
    hostile_torch.read_and_check(hostile_torch.with_pickle(_SEED, content))


def _mutated_pickle(content, longest, seed):
    """By the grammar of opcodes where it still is a pickle, else byte by byte."""
    rng = np.random.default_rng(seed)
    if rng.integers(2):
        try:
            return hostile_torch.mutated(hostile_torch.split(content), rng)[:longest]
        except (ValueError, IndexError, AttributeError):
            pass
    return atheris.Mutate(content, longest)


def _mutated_header(content, longest, seed):
    rng = np.random.default_rng(seed)
    if rng.integers(2):
        try:
            return hostile_safetensors.mutated(content, rng)[:longest]
        except (ValueError, AttributeError, TypeError, RecursionError):
            pass
    return atheris.Mutate(content, longest)


def _pickles():
    found = [hostile_torch.pickled(seed)[1] for seed in hostile_torch.seeds().values()]
    return [*found, hostile_torch.state(w=hostile_torch.tensor())]


KINDS = {
    "pickle": (_pickle, _mutated_pickle, _pickles),
    "torch": (
        hostile_torch.read_and_check,
        None,
        lambda: list(hostile_torch.seeds().values()),
    ),
    "safetensors": (
        hostile_safetensors.read_and_check,
        _mutated_header,
        hostile_safetensors.seeds,
    ),
}


def main(kind, folder, *options):
    read, mutate, seeds = KINDS[kind]
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(seeds()):
        (folder / f"seed{number}").write_bytes(content)

    def one(content):
        try:
            read(content)
        except WeightsError as error:
            if not str(error).isprintable():
                raise LookupError(f"not printable: {error!r}") from None

    words = {} if mutate is None else {"custom_mutator": mutate}
    arguments = [sys.argv[0], str(folder), "-timeout=5", "-rss_limit_mb=600"]
    atheris.Setup([*arguments, "-max_len=20000", *options], one, **words)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
