"""Damaged and hostile files of Keras: seeded generators, and what opens them.

The functions that open a file are called in a process of `confined`; each holds what
must be true of a file that loads after all.
"""

import copy
import functools
import io
import json
import random
import zipfile

import numpy as np

# Notes and descriptions get one of these in place of what stands there.
VALUES = (
    *(None, True, False, 0, -1, 1, 3, 10**4, 10**6, 2**31, 2**63, 10**30, -(10**30)),
    *(0.5, -0.5, 1e-300, 1e30, 1e300, float("nan"), float("inf"), float("-inf")),
    *("", "x", "os.system", "float32", "keras.layers", "Lambda", "__lambda__", "Dense"),
    *("\x1b[2J\n", "\ud800", "\u202egnp", "x" * 5000, "/etc/hosts", "../../x", "1e6"),
    *([], {}, [[]], [None], [1, 2], [10**6] * 3, [3000] * 3, [10**9] * 4, ["a"] * 50),
    *({"class_name": "system", "module": "os", "config": "x"}, {"a": {"b": [1]}}),
    {"class_name": "__lambda__", "config": {"value": "x"}},
    {"class_name": "__numpy__", "config": {"value": [1], "dtype": "V2000000000"}},
    {"class_name": "__typespec__", "config": ["x"], "module": "tensorflow"},
    {"class_name": "function", "module": "builtins", "config": "exec"},
)
NET = "resnet8"
AXES = {"filters": (4, 8, 12), "stem_filters": 4, "input_size": 16, "classes": 5}


@functools.cache
def network():
    """A model of this package, with the values that it has before a file is loaded."""
    from keras_resnets.models.creation import create_model

    model = create_model(NET, **AXES)
    model.set_weights([np.full(w.shape, 7, "float32") for w in model.get_weights()])
    return model


def open_weights(path):
    """Loads a file into a network that is built; nothing is half set."""
    from keras_resnets.errors import WeightsError
    from keras_resnets.weights import open_source

    model = network()
    shapes = [tuple(w.shape) for w in model.weights]
    try:
        open_source(path, NET).load(model)
    except WeightsError:
        if any((value != 7).any() for value in model.get_weights()):
            raise RuntimeError("half set") from None
        raise
    found = model.get_weights()
    model.set_weights([np.full(w.shape, 7, "float32") for w in found])
    if [w.shape for w in found] != shapes or not all(
        np.isfinite(w).all() for w in found
    ):
        raise RuntimeError("loaded, but values are not finite, or of another shape")


def open_network(path):
    """Builds the network that a file's metadata describes, and loads it."""
    from keras_resnets.models.creation import create_model

    model = create_model(NET, weights=path)
    if not all(np.isfinite(w).all() for w in model.get_weights()):
        raise RuntimeError("loaded, but values are not finite")


def open_model(path):
    """Loads a model as the commands do."""
    from keras_resnets.export.keras import runner as keras_runner

    model = keras_runner.load_keras(path)
    if not all(np.isfinite(w).all() for w in model.get_weights()):
        raise RuntimeError("loaded, but values are not finite")


def open_any(case):
    """`case` is (name of one of the functions above, path)."""
    import warnings

    name, path = case
    with warnings.catch_warnings(action="ignore"):
        globals()[name](path)


def damaged(data, rng):
    """`data` with bits turned over, bytes cut off, doubled, or numbers that lie."""
    data, way = bytearray(data), rng.randrange(7)
    place = rng.randrange(len(data))
    if way < 3:
        for _ in range(rng.choice((1, 1, 2, 8))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif way == 3:
        del data[place:]
    elif way == 4:
        del data[place : place + rng.choice((1, 8, 512))]
    elif way == 5:
        data[place:place] = data[place : place + rng.choice((1, 8, 512))]
    else:
        lie = rng.choice((0, 1, 2**16 - 1, 2**31, 2**63, 2**64 - 1, len(data), place))
        data[place : place + 8] = lie.to_bytes(8, "little")
    return bytes(data)


def damaged_structure(data, rng):
    """The same where the structure of an HDF5 file begins something."""
    marks = [b"TREE", b"HEAP", b"SNOD", b"GCOL", b"\x01\x00\x05\x00", b"\x89HDF"]
    data, mark = bytearray(data), rng.choice(marks)
    places = []
    at = data.find(mark)
    while at >= 0:
        places.append(at)
        at = data.find(mark, at + 1)
    for _ in range(rng.choice((1, 1, 3))):
        place = (rng.choice(places) if places else 0) + rng.randrange(80)
        if place + 8 > len(data):
            continue
        if rng.random() < 0.5:
            data[place] ^= 1 << rng.randrange(8)
        else:
            # An address or a length that another place of the file has.
            other = rng.choice(places) if places else 0
            number = rng.choice((other, 0, 2**64 - 1, 65535, 2**32))
            data[place : place + 8] = number.to_bytes(8, "little")
    return bytes(data)


def mutated(value, rng, changes=None):
    """A copy of JSON in which up to three places have something else."""
    value = copy.deepcopy(value)
    for _ in range(changes or rng.choice((1, 1, 2, 3))):
        places = []
        _places(value, places)
        if not places:
            break
        holder, key = rng.choice(places)
        way = rng.randrange(5)
        if way == 0 and isinstance(holder, dict):
            del holder[key]
        elif way == 1 and isinstance(holder, dict):
            holder[rng.choice(("class_name", "config", "module", "nonsense"))] = holder[
                key
            ]
        elif way == 2 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        elif way == 3:
            other, place = rng.choice(places)
            holder[key] = copy.deepcopy(
                other.get(place) if isinstance(other, dict) else 0
            )
        else:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
    return value


def _places(value, found):
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, entry in items:
        found.append((value, key))
        _places(entry, found)


def rezipped(data, rng, changes):
    """A `.keras` file whose entries are changed, with checksums that fit.

    Args:
        data: of the file.
        rng: for the functions.
        changes: functions of an entry's bytes and `rng`, by the entry's name.
    """
    content = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(content, "w", rng.choice((0, 8))) as new,
    ):
        for name in old.namelist():
            entry = old.read(name)
            new.writestr(name, changes[name](entry, rng) if name in changes else entry)
    return content.getvalue()


def mutated_json(data, rng):
    """`mutated` for bytes of JSON."""
    return json.dumps(mutated(json.loads(data), rng)).encode()


def cases(folder, kinds, count, seed):
    """Yields (function, path) of `count` cases of each kind, one file after another.

    Args:
        folder: for the files.
        kinds: (function, suffix, maker) with a maker of bytes from a `random.Random`.
        count: of each.
        seed: of the numbers.
    """
    for number, (function, suffix, make) in enumerate(kinds):
        for case in range(count):
            # The name tells which seed makes it again.
            path = folder / f"{seed}_{number}_{case}{suffix}"
            path.write_bytes(make(random.Random(f"{seed} {number} {case}")))
            yield function, str(path)
            path.unlink()
