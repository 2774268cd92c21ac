"""Files of other libraries: read exactly, or refused in one line; nothing is executed."""

import gzip
import io
import json
import os
import pathlib
import pickle
import re
import struct
import tarfile
import tempfile
import time
import tracemalloc
import zipfile

import h5py
import keras
import numpy as np
import pytest

import keras_resnets
from keras_resnets import WeightsError
from keras_resnets.weights.readers import read
from keras_resnets.weights.readers.safetensors import write_safetensors

DATA = pathlib.Path(__file__).parent / "data"
STORED = {
    "half": "float16",
    "bfloat": "bfloat16",
    "double": "float64",
    "ints": "int32",
    "bn": "int64",
}
STREAM_START = b"".join(
    pickle.dumps(part, 2)
    for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
)


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_stream.pth"])
def test_real_torch_files(name):
    checkpoint = read(DATA / name)
    expected = np.load(DATA / "torch_files.npz")
    assert checkpoint.format == "torch"
    names = [f"state_dict.{name}" for name in expected.files]
    assert list(checkpoint) == [*names, "best_prec1"]
    for key in expected.files:
        found = checkpoint[f"state_dict.{key}"]
        assert found.shape == expected[key].shape
        np.testing.assert_array_equal(found, expected[key])
        kind = key.removeprefix("module.").partition(".")[0]
        assert found.dtype.name == STORED.get(kind, "float32")
        assert checkpoint.containers[f"state_dict.{key}"] == ("state_dict", key)


def test_real_safetensors_file():
    checkpoint = read(DATA / "real.safetensors")
    expected = np.load(DATA / "torch_files.npz")
    assert set(checkpoint) == set(expected.files)
    for key in expected.files:
        np.testing.assert_array_equal(checkpoint[key], expected[key])


def test_safetensors_round_trip(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {
        "b": rng.standard_normal((3, 4)).astype("float32"),
        "a": rng.integers(0, 9, 5),
        "c": np.zeros((0, 2), "float32"),
        "d": np.array([True, False]),
    }
    path = tmp_path / "a.safetensors"
    with open(path, "wb") as file:
        write_safetensors(file, tensors, {"format": "pt"})
    found = read(path)
    assert list(found) == ["b", "a", "c", "d"] and found.format == "safetensors"
    for name, value in tensors.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == value.dtype
    content = path.read_bytes()
    assert int.from_bytes(content[:8], "little") % 8 == 0


def test_real_checkpoints(shared_data):
    found = read(shared_data / "checkpoints" / "resnet20-12fca82f.th")
    kernel = found["state_dict.module.conv1.weight"]
    assert len(found) == 19 * 5 + 2 and kernel.shape == (16, 3, 3, 3)
    found = read(shared_data / "mlperf_tiny" / "pretrainedResnet.h5")
    assert found["conv2d/kernel:0"].shape == (3, 3, 3, 16)
    found = read(shared_data / "darknet" / "darknet53_w16.weights")
    assert found.format == "darknet" and found["floats"].dtype == np.float32


def test_darknet_program(shared_data):
    """The probabilities of the real program, for the same weights and inputs."""
    golden = np.load(shared_data / "darknet" / "darknet53_w16_golden.npz")
    model = keras_resnets.create_model(
        "darknet53",
        filters=(4, 8, 16, 32, 64),
        stem_filters=2,
        classes=10,
        input_shape=(64, 64, 3),
        weights=shared_data / "darknet" / "darknet53_w16.weights",
    )
    images = golden["x_nchw"].transpose(0, 2, 3, 1)
    found = model.predict(images, verbose=0)
    assert np.abs(found - golden["probs"]).max() <= 1e-4


def test_memory_stays_near_the_size_of_the_file(tmp_path):
    path = tmp_path / "a.safetensors"
    with open(path, "wb") as file:
        write_safetensors(
            file, {str(i): np.ones(500_000, "float32") for i in range(10)}
        )
    tracemalloc.start()
    checkpoint = read(path)
    total = sum(float(checkpoint[name].sum()) for name in checkpoint)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 5_000_000 and peak < 0.2 * path.stat().st_size


class Command:
    """A pickle that runs a command where it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def zipped(path, content, entries=(), **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("a/data.pkl", content)
        for name, data in entries:
            archive.writestr(name, data)
    return path


def refused(path):
    with pytest.raises(WeightsError) as caught:
        read(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 102\n"
INDEX = json.dumps({"weight_map": {"fc.bias": "model-1.safetensors"}}, indent=2)


def tarred():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.pth"))
    return stream.getvalue()


@pytest.mark.parametrize("suffix", ["pth", "safetensors", "weights", "h5"])
@pytest.mark.parametrize(
    "content, said",
    [
        (LFS.encode(), "pointer of Git LFS, .* git lfs pull"),
        (b"\n<!doctype html><html>", "a web page"),
        (INDEX.encode(), "it is JSON, as of a configuration: .*, or the folder"),
        (gzip.compress(b"weights"), "compressed by gzip: unpack it"),
        (tarred(), "a tar archive: unpack it"),
        (b"\x1c\0\0\0TFL3" + bytes(24), "exported TFLite file: pass the weights"),
        (b"GGUF\x03" + bytes(24), "a GGUF file"),
        (b"\x12\x01" + bytes(14) + b"\x02" + bytes(7), "MXNet.*gluon_in1k"),
        (b"", "it is empty"),
    ],
    ids=["lfs", "html", "index", "gzip", "tar", "tflite", "gguf", "mxnet", "empty"],
)
def test_what_a_file_is_instead(content, said, suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=f"not a safetensors, torch.*{said}"):
        read(path)


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("flax_model.msgpack", b"\x81\xa6params\x80", "Flax: .*safetensors.numpy"),
        ("a.xml", b'<?xml version="1.0"?>\n<net name="a">', "exported OpenVINO file"),
        ("b.xml", b"<?xml version='1.0'?><html>", "a web page"),
    ],
)
def test_what_a_file_of_that_name_is(name, content, said, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert re.search(said, refused(tmp_path / name))


@pytest.mark.parametrize("deep", [False, True])
def test_a_pickle_that_runs_a_command(tmp_path, deep):
    trap = Command(tmp_path / "ran")
    content = pickle.dumps({"state_dict": {"a": [trap]}} if deep else trap, 2)
    name = f"{os.system.__module__}.system"
    assert name in refused(zipped(tmp_path / "a.pth", content))
    (tmp_path / "b.th").write_bytes(STREAM_START + content)
    assert name in refused(tmp_path / "b.th")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "module, name",
    [
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("numpy", "load"),
        ("torch", "load"),
        ("torch.nn.modules.linear", "Linear"),
        ("torch.storage", "_load_from_bytes"),
        ("functools", "partial"),
    ],
)
def test_other_globals_are_refused_by_name(tmp_path, module, name):
    content = b"\x80\x02c" + f"{module}\n{name}\n".encode() + b")R."
    assert f"{module}.{name}" in refused(zipped(tmp_path / "a.pth", content))


def test_what_asks_for_too_much(tmp_path):
    path = tmp_path / "a.pth"
    bomb = zipped(path, b"\x80\x02}.", [("a/0", bytes(10**7))], compression=8)
    assert "compressed" in refused(bomb)
    assert "memo" in refused(zipped(path, b"\x80\x02}r\xff\xff\xff\x7f."))
    huge = b"\x80\x04\x8e" + struct.pack("<Q", 10**12) + b"x."
    refused(zipped(path, huge))
    entry = b'"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]'
    header = b'{"a":{' + entry + b"}}"
    safe = tmp_path / "a.safetensors"
    safe.write_bytes(len(header).to_bytes(8, "little") + header)
    assert "outside the file" in refused(safe)
    safe.write_bytes((10**12).to_bytes(8, "little") + header)
    assert "header claims" in refused(safe)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["layer_names"] = [b"conv"]
        file.create_group("conv").attrs["weight_names"] = [b"k"]
        file["conv"].create_dataset("k", (10**6, 10**6), "f4", chunks=(1000, 1000))
    assert "not in the file" in refused(tmp_path / "a.h5")


def test_no_checkpoint_at_all(tmp_path):
    (tmp_path / "empty.pth").touch()
    assert "empty" in refused(tmp_path / "empty.pth")
    (tmp_path / "text.pth").write_text("hello " * 100)
    assert "not a safetensors" in refused(tmp_path / "text.pth")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", "")
    assert "zip of neither torch" in refused(tmp_path / "a.npz")
    # torch.jit.save compresses its code.
    script = zipped(tmp_path / "a.pt", b"}.", [("a/constants.pkl", b").")])
    assert "program of TorchScript" in refused(script)
    refused(tmp_path)
    refused(tmp_path / "missing.pth")
    (tmp_path / "a.th").write_bytes(pickle.dumps({"a": 1}, 2))
    assert "not of torch.save" in refused(tmp_path / "a.th")
    # Longer than any pickle of torch: Detectron2 and PaddlePaddle keep arrays in it.
    arrays = pickle.dumps({"conv1_w": np.ones((2048, 2048), "float32")}, 2)
    (tmp_path / "R-50.pkl").write_bytes(arrays)
    assert "safetensors.numpy.save_file(arrays" in refused(tmp_path / "R-50.pkl")
    assert "no tensors" in refused(
        zipped(tmp_path / "b.pth", pickle.dumps({"a": 1}, 2))
    )
    with pytest.raises(WeightsError, match="names of a known library"):
        keras_resnets.create_model("resnet20", weights=DATA / "torch_zip.pth")


def small_files():
    """The content of a small file of every format."""
    found = {
        name: (DATA / name).read_bytes()
        for name in ("torch_zip.pth", "torch_stream.pth", "real.safetensors")
    }
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file.attrs["layer_names"] = [b"conv"]
        file.create_group("conv").attrs["weight_names"] = [b"conv/k:0"]
        file["conv"]["conv/k:0"] = np.ones((3, 3), "f4")
    found["keras.h5"] = memory.getvalue()
    layers = [keras.layers.Conv2D(2, 3), keras.layers.BatchNormalization()]
    model = keras.Sequential([keras.Input((4, 4, 1)), *layers])
    for suffix, write in ((".weights.h5", model.save_weights), (".keras", model.save)):
        with tempfile.TemporaryDirectory() as folder:
            write(f"{folder}/a{suffix}")
            found[f"keras3{suffix}"] = pathlib.Path(f"{folder}/a{suffix}").read_bytes()
    found["net.weights"] = struct.pack("<3iq", 0, 2, 5, 7) + bytes(400)
    return found


def damaged(content, rng):
    content = bytearray(content)
    kind = rng.integers(4)
    if kind == 0:
        return content[: rng.integers(len(content))]
    if kind == 1:
        start, stop = sorted(rng.integers(0, len(content), 2))
        del content[start:stop]
        return content
    for _ in range(rng.integers(1, 8)):
        position = rng.integers(len(content))
        content[position] = (
            rng.integers(256) if kind == 2 else content[position] ^ 1 << rng.integers(8)
        )
    return content


@pytest.mark.costly_but(
    "torch_zip.pth", "real.safetensors", "keras3.weights.h5", "net.weights"
)
@pytest.mark.parametrize("name", small_files())
def test_damage_is_told_or_harmless(name, tmp_path):
    """500 damaged files of every format: read, or refused, quickly and without bulk."""
    content, path = small_files()[name], tmp_path / name
    rng = np.random.default_rng(len(name))
    tracemalloc.start()
    told = 0
    for _ in range(500):
        path.write_bytes(damaged(content, rng))
        start = time.process_time()
        try:
            checkpoint = read(path)
            for key in checkpoint:
                checkpoint[key].sum()
        except WeightsError as error:
            assert "\n" not in str(error)
            told += 1
        assert time.process_time() - start < 2
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()
    assert 50 < told


@pytest.mark.costly_but("zip")
@pytest.mark.parametrize("name", ["checkpoints/resnet20-12fca82f.th", "zip", "h5"])
def test_truncation_at_every_kilobyte(name, shared_data, tmp_path):
    """All of its 1,100 lengths are refused; whatever is left, the rest is missing."""
    path = tmp_path / "a.pth"
    if name == "zip":
        tensors = read(shared_data / "checkpoints" / "resnet20-12fca82f.th")
        content = zip_checkpoint(tmp_path, tensors)
    elif name == "h5":
        content = (shared_data / "mlperf_tiny" / "pretrainedResnet.h5").read_bytes()
    else:
        content = (shared_data / name).read_bytes()
    sizes = range(0, len(content) - 1, 1024)
    assert len(sizes) > 300
    for size in sizes:
        path.write_bytes(content[:size])
        with pytest.raises(WeightsError):
            checkpoint = read(path)
            for key in checkpoint:
                checkpoint[key].sum()


def zip_checkpoint(folder, tensors):
    """The bytes of a zip of torch.save with `tensors`, made without torch."""
    storages = list(tensors.values())
    parts = [b"\x80\x02}("]
    for index, (key, value) in enumerate(tensors.items()):
        strides = [stride // 4 for stride in value.strides]
        parts += [
            pickled_text(key),
            b"ctorch._utils\n_rebuild_tensor_v2\n((",
            pickled_text("storage") + b"ctorch\nFloatStorage\n",
            pickled_text(str(index)) + pickled_text("cpu"),
            b"J" + struct.pack("<i", value.size) + b"tQK\x00(",
            b"".join(b"J" + struct.pack("<i", n) for n in value.shape) + b"t(",
            b"".join(b"J" + struct.pack("<i", n) for n in strides) + b"tI00\nNtR",
        ]
    entries = [(f"a/data/{n}", value.tobytes()) for n, value in enumerate(storages)]
    content = b"".join([*parts, b"u."])
    return zipped(folder / "whole.pth", content, entries).read_bytes()


def pickled_text(text):
    return b"X" + struct.pack("<i", len(text)) + text.encode()


def test_the_zip_made_here_reads_back(shared_data, tmp_path):
    tensors = read(shared_data / "checkpoints" / "resnet20-12fca82f.th")
    zip_checkpoint(tmp_path, tensors)
    found = read(tmp_path / "whole.pth")
    assert list(found) == list(tensors)
    for key, value in tensors.items():
        np.testing.assert_array_equal(found[key], value)


@pytest.mark.costly
def test_the_right_format_for_another_variant(shared_data):
    checkpoints = shared_data / "checkpoints"
    for name, path in {
        "resnet32": checkpoints / "resnet20-12fca82f.th",
        "resnet20": checkpoints / "resnet32-d509ac18.th",
        "resnet56v2": checkpoints / "resnet56-4bfd9763.th",
        "wrn_16_4": checkpoints / "resnet20-12fca82f.th",
        "resnet18": checkpoints / "resnet20-12fca82f.th",
        "resnet50": shared_data / "darknet" / "darknet53_w16.weights",
        "darknet19": shared_data / "darknet" / "darknet53_w16.weights",
        "darknet53": checkpoints / "resnet20-12fca82f.th",
        "drn_c_26": shared_data / "mlperf_tiny" / "pretrainedResnet.h5",
        "resnet50v1": shared_data / "mlperf_tiny" / "pretrainedResnet.h5",
    }.items():
        with pytest.raises(WeightsError) as caught:
            keras_resnets.create_model(name, weights=path, input_shape=(64, 64, 3))
        assert "\n" not in str(caught.value), name
