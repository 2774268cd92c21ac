"""Files of Keras from strangers: refused in one line, or loaded whole and finite."""

import collections
import functools
import json
import pathlib
import random
import shutil
import warnings
import zipfile

import h5py
import hostile_keras
import keras
import numpy as np
import pytest
from commands import refused
from confined import confined
from helpers import noise
from helpers import randomize

from keras_resnets import WeightsError
from keras_resnets.errors import InvalidArgument
from keras_resnets.export.keras import safe_loading
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.models.creation import create_model
from keras_resnets.weights import metadata
from keras_resnets.weights import open_source
from keras_resnets.weights.readers import read
from keras_resnets.weights.readers.safetensors import write_safetensors
from keras_resnets.weights.saving import save

EXPECTED = (WeightsError, InvalidArgument)


def conv_net():
    """A small model of Keras' layers alone."""
    image = keras.Input((16, 16, 3), name="image")
    x = keras.layers.Conv2D(4, 3, name="conv")(image)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.layers.Activation("relu", name="act")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, keras.layers.Dense(5, name="head")(x), name="tiny")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with honest files: ours with metadata, Keras 2's, and a tiny model."""
    folder = tmp_path_factory.mktemp("honest")
    with warnings.catch_warnings(action="ignore"):
        model = randomize(create_model(hostile_keras.NET, **hostile_keras.AXES))
        model.labels = tuple("abcde")
        model.save_weights(folder / "plain.weights.h5")
        source = open_source(folder / "plain.weights.h5", "")
        for name in ("a.weights.h5", "a.keras", "a.safetensors"):
            save(model, folder / name, source, model.architecture)
        model.save(folder / "a.h5")
        randomize(conv_net()).save(folder / "tiny.keras")
    # Compressed, as users' tools write it.
    with (
        h5py.File(folder / "a.weights.h5") as old,
        h5py.File(folder / "gzip.weights.h5", "w") as new,
    ):
        repacked(old, new, compression="gzip", shuffle=True, fletcher32=True)
    return folder


def repacked(old, new, **options):
    """Copies an HDF5 file, its arrays with other options of storage."""
    new.attrs.update(old.attrs)
    for name, item in old.items():
        if isinstance(item, h5py.Group):
            repacked(item, new.create_group(name), **options)
        else:
            chosen = options if item.size > 1 else {}
            new.create_dataset(name, data=item[()], **chosen)


def kinds(files):
    """(function, suffix, maker) of every kind of damage."""

    def of(function, name, suffix, change):
        content = (files / name).read_bytes()
        return function, suffix, lambda rng: change(content, rng)

    damaged, structure = hostile_keras.damaged, hostile_keras.damaged_structure
    zipped, mutated = hostile_keras.rezipped, hostile_keras.mutated_json
    inside = {"model.weights.h5": structure}
    described = {"config.json": mutated}
    told = {"keras_resnets.json": mutated}
    weights, network, model = "open_weights", "open_network", "open_model"
    return [
        of(weights, "a.weights.h5", ".weights.h5", damaged),
        of(weights, "a.weights.h5", ".weights.h5", structure),
        of(weights, "gzip.weights.h5", ".weights.h5", damaged),
        of(weights, "gzip.weights.h5", ".weights.h5", structure),
        of(weights, "a.h5", ".h5", damaged),
        of(weights, "a.h5", ".h5", structure),
        of(weights, "a.keras", ".keras", damaged),
        of(weights, "a.keras", ".keras", functools.partial(zipped, changes=inside)),
        of(weights, "a.keras", ".keras", functools.partial(zipped, changes=described)),
        of(weights, "a.keras", ".keras", functools.partial(zipped, changes=told)),
        of(network, "a.keras", ".keras", functools.partial(zipped, changes=told)),
        of(network, "a.safetensors", ".safetensors", mutated_notes),
        of(model, "tiny.keras", ".keras", damaged),
        of(model, "tiny.keras", ".keras", functools.partial(zipped, changes=inside)),
        of(model, "tiny.keras", ".keras", functools.partial(zipped, changes=described)),
        of(model, "a.keras", ".keras", functools.partial(zipped, changes=described)),
    ]


def mutated_notes(data, rng):
    """A safetensors file whose notes say something else."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    told = json.loads(header["__metadata__"]["keras_resnets"])
    header["__metadata__"]["keras_resnets"] = json.dumps(
        hostile_keras.mutated(told, rng)
    )
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def check(files, cases, record):
    """Every case is handled; says how many of each kind, and what came of them."""
    tried, faults = collections.Counter(), []
    warm = ("open_network", str(files / "a.keras"))
    for (function, path), outcome in confined(
        hostile_keras.open_any, cases, EXPECTED, warm
    ):
        tried[function, outcome.kind] += 1
        if outcome.fault():
            faults.append(f"{function} {pathlib.Path(path).name}: {outcome.fault()}")
    said = ", ".join(f"{' '.join(key)} {count}" for key, count in sorted(tried.items()))
    count = sum(tried.values())
    record("tried", f"{count}: {said}; handled {count - len(faults)}")
    assert not faults, f"{len(faults)} of {count} ({said}): {faults[:20]}"


@pytest.mark.costly
def test_damaged_files(files, tmp_path, record_property):
    check(
        files, hostile_keras.cases(tmp_path, kinds(files), 4, "quick"), record_property
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_many_damaged_files(files, tmp_path, record_property, seed):
    check(files, hostile_keras.cases(tmp_path, kinds(files), 60, seed), record_property)


# HDF5 that lies, made by the library itself. This array has five numbers.
BIAS = "layers/dense/vars/1"


def replaced(file, name=BIAS, **options):
    del file[name]
    return file.create_dataset(name, **options)


def linked(file, link, name=BIAS):
    del file[name]
    file[name] = link


def deep(file):
    group = file["layers"]
    for _ in range(40):
        group = group.create_group("deeper")
    group.create_dataset("x", data=[1.0])


def virtual(file):
    layout = h5py.VirtualLayout((5,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (5,))
    del file[BIAS]
    file.create_virtual_dataset(BIAS, layout)


def bombs(file):
    """Each dataset is within the limit, all of them are not."""
    for number in range(50):
        group = file.create_group(f"layers/dense_{number + 9}/vars")
        group.create_dataset(
            "0", data=np.zeros((1000, 1000), "f4"), compression="gzip", chunks=True
        )


LIES = {
    "strings": (lambda f: replaced(f, data=["a"] * 5), "variable-length"),
    "texts": (lambda f: replaced(f, data=np.array([b"a"] * 5)), "string"),
    "compound": (lambda f: replaced(f, data=np.zeros(5, "f4,f4")), "compound"),
    "complex": (lambda f: replaced(f, data=np.zeros(5, "c8")), "compl|compound"),
    "whole": (lambda f: replaced(f, data=np.zeros(5, "i8")), "contains int64"),
    "logical": (lambda f: replaced(f, data=np.zeros(5, "?")), "enumerated"),
    "references": (
        lambda f: replaced(f, data=[f.ref] * 5, dtype=h5py.ref_dtype),
        "reference",
    ),
    "nan": (lambda f: replaced(f, data=[np.nan] * 5), "NaN"),
    "infinite": (lambda f: replaced(f, data=[np.inf] * 5), "infinite"),
    "beyond float32": (lambda f: replaced(f, data=[1e300] * 5), "beyond the range"),
    "another shape": (lambda f: replaced(f, data=np.zeros((5, 1), "f4")), "misshapen"),
    "no axes": (lambda f: replaced(f, data=np.float32(1)), "misshapen"),
    "empty": (lambda f: linked(f, h5py.Empty("f4")), "is empty"),
    "a group": (lambda f: (f.pop(BIAS), f.create_group(BIAS)), "is a group"),
    "external storage": (
        lambda f: replaced(f, shape=(5,), dtype="f4", external=[("x", 0, 20)]),
        "values in another file",
    ),
    "virtual": (virtual, "another file"),
    "soft link": (lambda f: linked(f, h5py.SoftLink("/x")), "soft or external link"),
    "external link": (
        lambda f: linked(f, h5py.ExternalLink("x", "/")),
        "external link",
    ),
    "soft loop": (lambda f: linked(f, h5py.SoftLink(f"/{BIAS}")), "external link"),
    "hard loop": (
        lambda f: f.__setitem__("layers/x", f["layers"]),
        "contains elsewhere",
    ),
    "shared": (lambda f: linked(f, f["layers/dense/vars/0"]), "contains elsewhere"),
    "deep": (deep, "deep"),
    "lzf": (lambda f: replaced(f, data=np.zeros(5), compression="lzf"), "lzf"),
    "never written": (lambda f: replaced(f, shape=(5,), dtype="f4"), "never written"),
    "huge": (
        lambda f: replaced(f, shape=(10**6,) * 2, dtype="f4", chunks=(999,) * 2),
        "not in the file",
    ),
    "bombs": (bombs, "not in the file"),
    "notes of numbers": (lambda f: f.attrs.update({metadata.KEY: [1, 2]}), "not text"),
    "notes of bytes": (
        lambda f: f.attrs.update({metadata.KEY: np.void(b"\xff")}),
        "not text",
    ),
    "deep notes": (lambda f: f.attrs.update({metadata.KEY: "[" * 30_000}), "deeply"),
}


@pytest.mark.parametrize("name", LIES)
def test_structures_that_lie(name, files, tmp_path):
    change, message = LIES[name]
    path = shutil.copy(files / "a.weights.h5", tmp_path / "a.weights.h5")
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(WeightsError, match=message) as error:
        hostile_keras.open_weights(path)
    assert str(error.value).isprintable()


def test_honest_files_of_every_storage(files, tmp_path):
    """What users' tools make of a file: compressed, in other precisions, with more."""
    expected = read(files / "a.weights.h5")
    stored = {
        "gzip": {"compression": "gzip", "compression_opts": 9},
        "shuffled": {"compression": "gzip", "shuffle": True, "fletcher32": True},
        "sums": {"fletcher32": True},
        "chunks": {"chunks": True},
        "growing": {"chunks": True, "maxshape": None},
        "half": {"dtype": "f2"},
        "double": {"dtype": "f8"},
        "other end": {"dtype": ">f4"},
    }
    for name, options in stored.items():
        path = tmp_path / f"{name}.h5"
        with h5py.File(files / "a.weights.h5") as old, h5py.File(path, "w") as new:
            repacked(old, new, **options)
            new.create_dataset("optimizer/vars/0", data=np.zeros(10), compression="lzf")
        found = read(path)
        assert list(found) == list(expected), name
        for key, array in found.items():
            dtype = options.get("dtype", "f4")
            wanted = np.asarray(expected[key]).astype(dtype)
            np.testing.assert_array_equal(array, wanted, err_msg=f"{name}: {key}")
        assert found.metadata == expected.metadata


def test_bfloat16_as_keras_stores_it(tmp_path):
    half = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, dtype="bfloat16")]
    )
    half.save(tmp_path / "half.keras")
    loaded = safe_loading.load_model(tmp_path / "half.keras")
    for ours, theirs in zip(loaded.weights, half.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


# ---------------------------------------------------------------- archives


def rewritten(files, path, change=None, extra=(), name="tiny.keras", method=0):
    """A `.keras` file with another description, or with more entries."""
    with (
        zipfile.ZipFile(files / name) as old,
        zipfile.ZipFile(path, "w", method) as new,
    ):
        for entry in old.namelist():
            content = old.read(entry)
            if entry == "config.json" and change is not None:
                config = json.loads(content)
                change(config)
                content = json.dumps(config).encode()
            new.writestr(entry, content)
        for entry, content in extra:
            new.writestr(entry, content)
    return path


def both_refuse(path, message):
    """The reader of weights and the loader of models say it in one line."""
    for open_file in (read, safe_loading.load_model):
        with pytest.raises(WeightsError, match=message) as error:
            open_file(path)
        assert str(error.value).isprintable() and str(path) in str(error.value)


@pytest.mark.parametrize(
    "entry, content, message",
    [
        ("../../evil", b"x", "outside the archive"),
        ("/etc/evil", b"x", "outside the archive"),
        ("assets\\..\\..\\x", b"x", "outside the archive"),
        ("\x1b[2J/../x", b"x", r"\\x1b\[2J/../x would lie"),
        ("assets/bomb", bytes(1 << 26), "in a file of"),
        ("metadata.json", b"x", "twice"),
    ],
)
def test_archives_that_no_one_writes(files, tmp_path, entry, content, message):
    with warnings.catch_warnings(action="ignore"):
        path = rewritten(
            files, tmp_path / "a.keras", extra=[(entry, content)], method=8
        )
    both_refuse(path, message)


def test_archives_that_lie(files, tmp_path):
    path = tmp_path / "a.keras"
    content = rewritten(files, path).read_bytes()
    central = content.rfind(b"PK\1\2")

    def changed(place, value, message):
        data = bytearray(content)
        data[central + place : central + place + len(value)] = value
        path.write_bytes(data)
        both_refuse(path, message)

    changed(8, b"\1", "encrypted")
    changed(10, b"\x63", "method 99")
    changed(20, (10**8).to_bytes(4, "little") * 2, "in a file of|what follows")
    changed(42, bytes(4), "what follows")
    flipped = bytearray(content)
    flipped[content.find(b'"class_name"')] ^= 1
    path.write_bytes(flipped)
    both_refuse(path, "CRC")


# ---------------------------------------------------------------- descriptions


def layer_of(config, name):
    return next(la for la in config["config"]["layers"] if la["config"]["name"] == name)


def instead(module, class_name, inner, registered=None):
    """A change that puts another class in the place of the activation."""

    def change(config):
        layer = layer_of(config, "act")
        named = {"name": "act", **inner} if isinstance(inner, dict) else inner
        layer.update(module=module, class_name=class_name, config=named)
        layer["registered_name"] = registered

    return change


def activation(module, name):
    """A change that names a function as the activation of the convolution."""

    def change(config):
        layer_of(config, "conv")["config"]["activation"] = {
            "module": module,
            "class_name": "function",
            "config": name,
            "registered_name": name,
        }

    return change


def set_in(layer, **values):
    return lambda config: layer_of(config, layer)["config"].update(values)


def many_layers(config):
    """More layers, one behind the other, than any file has that has no weights."""
    layers = config["config"]["layers"]
    relu = {"module": "keras.layers", "class_name": "ReLU", "registered_name": None}
    layers += [
        {**relu, "config": {"name": f"r{n}"}, "name": f"r{n}", "inbound_nodes": []}
        for n in range(3000)
    ]


def nested_models(config):
    inner = {**config, "config": {"name": "x", "layers": []}}
    for number in range(20):
        inner = {
            **config,
            "class_name": "Sequential",
            "module": "keras",
            "registered_name": None,
            "config": {"name": f"s{number}", "layers": [inner]},
        }
    config["config"]["layers"].append(inner)


def computed_at_once(config):
    """An operation on numbers alone, which Keras would compute while it builds."""
    layer = layer_of(config, "act")
    layer.update(
        module="keras.src.ops.numpy", class_name="Multiply", config={"name": "act"}
    )
    layer["registered_name"] = "Multiply"
    layer["inbound_nodes"] = [{"args": [[1] * 9, 2], "kwargs": {}}]


HOSTILE = {
    "lambda": instead("keras.layers", "Lambda", {"function": {}}),
    "code": instead(
        "keras.layers",
        "Activation",
        {"activation": {"class_name": "__lambda__", "config": {"value": "x"}}},
    ),
    "toggle": instead("keras.config", "enable_unsafe_deserialization", {}),
    "loader": instead("keras.models", "load_model", {"filepath": "x"}),
    "file": instead("keras.utils", "get_file", {"fname": "x"}),
    "saved model": instead("keras.layers", "TFSMLayer", {"filepath": "x"}),
    "pickle": instead("keras.layers", "TorchModuleWrapper", {"module": "x"}),
    "jax": instead("keras.layers", "JaxLayer", {"call_fn": None}),
    "words": instead("keras.layers", "StringLookup", {"vocabulary": "/etc/passwd"}),
    "steps": instead("keras.layers", "SimpleRNN", {"units": 3}),
    "private": instead("keras.src.utils.python_utils", "func_load", {}),
    "made": instead("keras.src.ops.numpy", "Full", {"shape": [10**9]}),
    "system": instead("os", "system", "touch x"),
    "builtin": instead("builtins", "eval", "1"),
    "ours": instead("keras_resnets.export.compare.worker", "main", {"path": "x"}),
    "unknown": instead(None, "Nope", {}),
    "foreign": instead("mine", "Layer", {}, "mine>Layer"),
    "function": activation("os", "system"),
    "exec": activation("builtins", "exec"),
    "load": activation("keras.saving", "load_model"),
    "get": activation("keras.activations", "get"),
    "types": set_in(
        "act", dtype={"module": "os", "class_name": "system", "config": {}}
    ),
    "array": set_in(
        "act", x={"class_name": "__numpy__", "config": {"dtype": "V99999999"}}
    ),
    "spec": set_in("act", x={"class_name": "__typespec__", "config": []}),
    "at once": computed_at_once,
    "bits": instead(
        "keras_resnets.quantization.qat.layers",
        "FakeQuantize",
        {"bits": 10**10},
        "keras_resnets>FakeQuantize",
    ),
}
NUMBERS = {
    "filters": (set_in("conv", filters=2_000_000_000), "its model has|built"),
    "many filters": (set_in("conv", filters=100_000), "its model has|built"),
    "units": (set_in("head", units=10**9), "its model has [0-9,]+ values"),
    "no kernel": (set_in("conv", kernel_size=[float("nan"), 3]), "the number nan"),
    "no stride": (set_in("conv", strides=[0, 0]), "cannot be built"),
    "epsilon": (set_in("bn", epsilon=1e300), "the number 1e\\+300"),
    "endless": (set_in("bn", epsilon=float("inf")), "the number inf"),
    "digits": (set_in("conv", filters=10**40), "more than 64 bits"),
    "image": (set_in("image", batch_shape=[None, 10**6, 10**6, 3]), "outputs"),
    "batch": (set_in("image", batch_shape=[10**9, 16, 16, 3]), "outputs"),
    "letters": (set_in("image", batch_shape=list("abcd")), "cannot be built"),
    "escape": (set_in("act", name="\x1b[2J"), "not a name: .*x1b"),
    "long": (set_in("act", name="x" * 10**6), "1,000,000 characters"),
    "layers": (many_layers, "has 3,006 layers, and weights for 3"),
    "models": (nested_models, "models in models|deep"),
    "no layers": (lambda c: c["config"].update(layers=None), "built|describes"),
    "text": (lambda c: c["config"].update(layers="abc"), "built|describes"),
    "a class less": (lambda c: c.pop("class_name"), "describes no model"),
    "a layer": (lambda c: c.update(layer_of(c, "bn")), "built|no model|fit"),
}


def test_a_description_without_end(files, tmp_path):
    def longer(config):
        relu = {"module": "keras.layers", "class_name": "ReLU", "config": {}}
        config["config"]["layers"] = [relu] * 50_000

    both_refuse(rewritten(files, tmp_path / "a.keras", longer), "has 50,000 layers")


@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_description_may_not_name(name, files, tmp_path):
    path = rewritten(files, tmp_path / "a.keras", HOSTILE[name])
    message = (
        "not built from|registered nowhere|an array of|not a layer|the bits|without cl"
    )
    with pytest.raises(WeightsError, match=message) as error:
        safe_loading.load_model(path)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_a_description(name, files, tmp_path):
    change, message = NUMBERS[name]
    path = rewritten(files, tmp_path / "a.keras", change)
    with pytest.raises(WeightsError, match=message) as error:
        safe_loading.load_model(path)
    assert str(error.value).isprintable() and len(str(error.value)) < 1000
    # Nothing is left behind that the next model would begin with.
    left = safe_loading.global_state.get_global_attribute("uninitialized_variables")
    assert not left
    loaded = safe_loading.load_model(files / "tiny.keras")
    assert np.isfinite(loaded(noise(1, 16, 16, 3))).all()


def models():
    """Models as users have them: with operations, in one another, with preparations."""
    yield conv_net()
    image = keras.Input((16, 16, 3))
    body = conv_net()
    yield keras.Model(
        image, keras.layers.Dense(2)(body(keras.layers.Rescaling(2.0)(image)))
    )
    yield keras.Sequential([image, conv_net(), keras.layers.Dropout(0.1, seed=3)])
    x = keras.layers.RandomFlip(seed=1)(image)
    x = keras.layers.Normalization(mean=[1, 2, 3], variance=[1, 4, 9])(x)
    y = keras.layers.Conv2D(3, 3, padding="same", activation=keras.activations.gelu)(x)
    x = keras.ops.relu(x * 2 + y[..., :3]) - keras.ops.mean(
        y, axis=(1, 2), keepdims=True
    )
    x = keras.layers.SeparableConv2D(4, 3, depthwise_initializer="orthogonal")(x)
    x = keras.layers.Reshape((-1, 4))(x)
    x = keras.layers.MultiHeadAttention(2, 2)(x, x)
    yield keras.Model(image, [keras.layers.Flatten()(x), keras.ops.max(x, axis=1)])
    shared = keras.layers.Conv2D(3, 3, padding="same", kernel_regularizer="l2")
    yield keras.Model(image, shared(shared(image)))
    yield create_model(hostile_keras.NET, **hostile_keras.AXES, drop_path_rate=0.1)


@pytest.mark.costly_but("1", "3", "4")
@pytest.mark.parametrize("number", range(6))
def test_what_loads_is_what_keras_loads(number, tmp_path):
    model = randomize(list(models())[number])
    model.compile("adam", "mse")
    model.save(tmp_path / "a.keras")
    ours = safe_loading.load_model(tmp_path / "a.keras")
    theirs = keras.saving.load_model(tmp_path / "a.keras", compile=False)
    assert [w.path for w in ours.weights] == [w.path for w in theirs.weights]
    for mine, other in zip(ours.variables, theirs.variables, strict=True):
        if "seed_generator" not in mine.path:
            # Where nobody gave a seed, each loading draws another.
            np.testing.assert_array_equal(mine.numpy(), other.numpy())
        assert mine.dtype == other.dtype and mine.trainable == other.trainable
    x = noise(2, *model.input_shape[1:])
    for mine, other in zip(
        keras.tree.flatten(ours(x)), keras.tree.flatten(theirs(x)), strict=True
    ):
        np.testing.assert_array_equal(mine, other)


def test_values_of_a_model_must_fit_and_be_finite(files, tmp_path):
    def with_weights(change):
        with zipfile.ZipFile(files / "tiny.keras") as archive:
            (tmp_path / "w.h5").write_bytes(archive.read("model.weights.h5"))
        with h5py.File(tmp_path / "w.h5", "a") as file:
            change(file)
        made = hostile_keras.rezipped(
            (files / "tiny.keras").read_bytes(),
            random.Random(0),
            {"model.weights.h5": lambda *_: (tmp_path / "w.h5").read_bytes()},
        )
        (tmp_path / "a.keras").write_bytes(made)
        return tmp_path / "a.keras"

    for change, message in (
        (lambda f: replaced(f, data=[np.nan] * 5), "NaN or infinite"),
        (lambda f: replaced(f, data=[1.0] * 4), "do not fit its head|has .* values"),
        (lambda f: f.pop("layers/dense/vars"), "do not fit its head|has .* values"),
        (lambda f: f.create_dataset("layers/x", data=[1.0]), "is not a group"),
        (lambda f: linked(f, h5py.ExternalLink("x", "/")), "external link"),
    ):
        with pytest.raises(WeightsError, match=message):
            safe_loading.load_model(with_weights(change))


# ---------------------------------------------------------------- metadata


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda n: n["axes"].update(depths=[3000] * 3), "records axes.*got 3000"),
        (lambda n: n["axes"].update(filters=[10**6] * 3), "records axes"),
        (lambda n: n["axes"].update(filters=[900] * 3), "of about .*; it contains"),
        (lambda n: n["axes"].update(bn_epsilon="x"), "bn_epsilon must"),
        (lambda n: n["axes"].update(bn_epsilon=1e300), "bn_epsilon must"),
        (lambda n: n["axes"].update(bn_epsilon=float("inf")), "the number Infinity"),
        (lambda n: n["axes"].update(nonsense=1), "not an axis"),
        (lambda n: n["axes"].update(depths="abc"), "depths must"),
        (lambda n: n["axes"].update({"\x1b[2J": 1}), "not an axis"),
        (lambda n: n.update(axes=[1]), "axes must be a JSON object"),
        (lambda n: n.pop("labels"), "labels"),
        (lambda n: n.update(labels=7), "labels must be null"),
        (lambda n: n.update(labels=[["a"]]), "labels must be null"),
        (lambda n: n.update(labels=["x" * 2000] * 5), "more than 1,000 characters"),
        (lambda n: n.update(labels=["x" * 999] * 5000), "of at most 4,000,000"),
        (lambda n: n["preprocessing"].update(std=[0, 0, 0]), "std must"),
        (lambda n: n["preprocessing"].update(mean=[float("nan")] * 3), "number NaN"),
        (lambda n: n["preprocessing"].update(size=[-32, -32]), "size must"),
        (lambda n: n["preprocessing"].update(size=[10**6] * 2), "size must"),
        (lambda n: n["preprocessing"].update(mode="\x1b[2J"), "mode must"),
        (lambda n: n["preprocessing"].update(nonsense=1), "nonsense"),
    ],
)
def test_metadata_has_types_and_ranges(change, message, files, tmp_path):
    data = (files / "a.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    told = json.loads(header["__metadata__"][metadata.KEY])
    change(told)
    tensors = read(files / "a.safetensors")
    path = tmp_path / "a.safetensors"
    with open(path, "wb") as file:
        write_safetensors(file, dict(tensors), {metadata.KEY: json.dumps(told)})
    with pytest.raises(WeightsError, match=message) as error:
        create_model(hostile_keras.NET, weights=path)
    assert str(error.value).isprintable() and len(str(error.value)) < 1000


def test_labels_of_files_are_printable():
    labels = metadata.checked_labels(
        ["cat\x1b[2J\n", "\ud800", "\u202egnp.exe", "Käfer"]
    )
    assert labels == ("cat\\x1b[2J\\n", "\\ud800", "\\u202egnp.exe", "Käfer")


@pytest.mark.parametrize(
    "values",
    [
        {"std": (0, 1, 1)},
        {"std": (float("nan"),) * 3},
        {"mean": (float("inf"),) * 3},
        {"mean": ("a", "b", "c")},
        {"mean": "abc"},
        {"mean": 5},
        {"size": (0, 32)},
        {"size": (32.5, 32)},
        {"size": (2**20, 2**20)},
        {"size": None},
        {"letterbox": "no"},
        {"crop_fraction": float("nan")},
        {"mode": ["torch"]},
    ],
)
def test_preprocessing_has_types_and_ranges(values):
    with pytest.raises(InvalidArgument, match="|".join(values)):
        Preprocessing(**values)


def test_what_lies_beside_a_file_of_weights(files, tmp_path):
    """A passport that is nested, or far too long, is none."""
    path = shutil.copy(files / "a.weights.h5", tmp_path / "a.weights.h5")
    with h5py.File(path, "a") as file:
        del file.attrs[metadata.KEY]
    beside = pathlib.Path(f"{path}.json")
    for text in ("[" * 100_000, "{" + " " * 10_000_000 + "}", "[]", "\ud800"):
        beside.write_bytes(text.encode("utf-8", "surrogatepass"))
        assert open_source(path, "").preprocessing is None


@pytest.mark.parametrize("words", [("inspect",), ("convert", hostile_keras.NET)])
def test_commands_say_it_in_one_line(words, files, tmp_path, capsys):
    path = tmp_path / "a.keras"
    content = bytearray((files / "a.keras").read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    more = [tmp_path / "b.safetensors"] if words[0] == "convert" else []
    line = refused(*words, path, *more, capsys=capsys)
    assert "CRC" in line and line.count(str(path)) == 1
    path.write_bytes(content[: len(content) // 2])
    assert refused(*words, path, *more, capsys=capsys)
