"""Downloads and records, against a web server on this machine."""

import dataclasses
import hashlib
import shutil
import sys
import threading

import forks
import keras
import numpy as np
import pytest
from conftest import ROOT
from store_site import CONTENT
from store_site import SHA256
from store_site import names

import keras_resnets
from keras_resnets import WeightsError
from keras_resnets.networks import variants
from keras_resnets.weights import records
from keras_resnets.weights import store
from keras_resnets.weights import transfer


@pytest.mark.parametrize("digest", ["", SHA256, SHA256[:15], "md5"])
def test_whole(site, cache, digest):
    if digest == "md5":
        digest = "md5:" + hashlib.md5(CONTENT).hexdigest()
    store.download(site.url, cache / "a.pth", digest)
    assert (cache / "a.pth").read_bytes() == CONTENT
    assert names(cache) == ["a.pth"]


@pytest.mark.parametrize("cuts", [[1_000_000], [1, 2_000_000, 2_999_999]])
def test_cut_off_and_gone_on_in_one_call(site, cache, cuts):
    site.cut["/a.pth"] = list(cuts)
    store.download(site.url, cache / "a.pth", SHA256)
    assert (cache / "a.pth").read_bytes() == CONTENT
    assert site.ranges() == [None, *(f"bytes={cut}-" for cut in cuts)]
    assert names(cache) == ["a.pth"]


def test_cut_off_and_gone_on_by_the_next_call(site, cache):
    site.cut["/a.pth"] = [10_000, 20_000, 30_000, 40_000]
    with pytest.raises(WeightsError, match="40,000 bytes are kept for the next try"):
        store.download(site.url, cache / "a.pth", SHA256)
    assert not (cache / "a.pth").exists() and "a.pth.part" in names(cache)
    store.download(site.url, cache / "a.pth", SHA256)
    assert (cache / "a.pth").read_bytes() == CONTENT
    assert site.ranges()[-1] == "bytes=40000-" and names(cache) == ["a.pth"]


def test_a_file_that_changed_in_between_is_begun_anew(site, cache):
    site.cut["/a.pth"] = [10_000] * store.ATTEMPTS
    with pytest.raises(WeightsError):
        store.download(site.url, cache / "a.pth")
    site.files["/a.pth"] = CONTENT[::-1]
    store.download(site.url, cache / "a.pth")
    assert (cache / "a.pth").read_bytes() == CONTENT[::-1]


def test_killed_between_the_last_byte_and_the_rename(site, cache):
    cache.mkdir()
    (cache / "a.pth.part").write_bytes(CONTENT)
    tag = f'"{hash(CONTENT) & 0xFFFFFFFF:x}"'
    (cache / "a.pth.part.version").write_text(tag)
    store.download(site.url, cache / "a.pth", SHA256)
    assert (cache / "a.pth").read_bytes() == CONTENT and names(cache) == ["a.pth"]


def test_wrong_hash(site, cache):
    with pytest.raises(WeightsError, match="should begin with 00000000"):
        store.download(site.url, cache / "a.pth", "sha256:00000000")
    assert names(cache) == []


def test_missing_redirected_and_nobody_there(site, cache):
    with pytest.raises(WeightsError, match="b.pth answers 404"):
        store.download(f"{site.address}/b.pth", cache / "b.pth")
    site.redirects["/old.pth"] = site.url
    store.download(f"{site.address}/old.pth", cache / "old.pth", SHA256)
    assert (cache / "old.pth").read_bytes() == CONTENT
    with pytest.raises(WeightsError, match="was not downloaded"):
        store.download("http://127.0.0.1:9/a.pth", cache / "c.pth")
    assert names(cache) == ["b.pth.part", "c.pth.part", "old.pth"]


def test_slow(site, cache, monkeypatch):
    site.slow["/a.pth"] = 0.5
    store.download(site.url, cache / "a.pth", SHA256)
    monkeypatch.setattr(transfer, "TIMEOUT", 0.1)
    with pytest.raises(WeightsError, match="was not downloaded"):
        store.download(site.url, cache / "b.pth", SHA256)


def test_two_at_a_time_download_once(site, cache):
    site.slow["/a.pth"] = 0.3
    both = [
        threading.Thread(
            target=store.download, args=(site.url, cache / "a.pth", SHA256)
        )
        for _ in range(2)
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert (cache / "a.pth").read_bytes() == CONTENT and len(site.asked) == 1


def test_a_cache_that_cannot_be_written(site, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="cannot be written"):
        store.download(site.url, tmp_path / "file" / "a.pth")


@pytest.fixture
def served(site, monkeypatch, shared_data):
    """The record of ResNet-20, its address on the local server."""
    path = shared_data / "checkpoints" / "resnet20-12fca82f.th"
    site.files["/resnet20.th"] = path.read_bytes()
    real = records.find("resnet20", "akamaster_cifar10")
    moved = dataclasses.replace(real, location=f"{site.address}/resnet20.th")
    monkeypatch.setattr(records, "all_records", lambda: (moved,))
    return path


def test_from_name_to_model(served, site, cache, monkeypatch):
    """Downloaded, its hash checked, cached, and with what its pictures need."""
    expected = keras_resnets.create_model("resnet20", weights=served)
    for name in ("cifar10", "akamaster_cifar10"):
        model = keras_resnets.ResNet20(weights=name)
        for ours, theirs in zip(model.weights, expected.weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert model.preprocessing.mode == "torch" and model.labels == "cifar10"
        assert model.preprocessing.crop_fraction == 1
    assert len(site.asked) == 1 and names(cache) == [
        "resnet20.akamaster_cifar10.pin.json",
        "resnet20.akamaster_cifar10.th",
    ]
    monkeypatch.setenv("KERAS_RESNETS_OFFLINE", "1")
    keras_resnets.ResNet20(weights="cifar10")
    shutil.rmtree(cache)
    with pytest.raises(WeightsError, match="OFFLINE forbids"):
        keras_resnets.ResNet20(weights="cifar10")


@pytest.mark.parametrize(
    "name, weights, message",
    [
        (
            "resnet20",
            "imagenet",
            "weights of resnet20 are cifar10, cifar100, keras_resnets_cifar10, keras",
        ),
        ("resnet50", "a1_in1kk", "did you mean 'a1_in1k'"),
        ("plain34", "imagenet", "no public weights for plain34"),
        ("resnet50", "model.xyz", "give a file: .weights.h5"),
        ("resnet50", "missing.pth", "there is no file"),
    ],
)
def test_names_that_there_are_not(name, weights, message):
    with pytest.raises(WeightsError, match=message):
        keras_resnets.create_model(name, weights=weights)


def test_records_are_whole():
    found = records.all_records()
    assert len(found) > 100
    keys = [(record.variant, record.tag) for record in found]
    assert len(set(keys)) == len(keys)
    for record in found:
        assert record.variant in variants.VARIANTS
        assert record.dataset in records.DATASETS
        assert record.verified in ("accuracy", "value", "structure")
        assert 50 < record.top1 < (record.top5 or 100) <= 100
        wanted = record.preprocessing()
        assert wanted.size == (record.size, record.size)
        schemes = ("https://", "http://dl.yf.io/", "hf://", "package://")
        assert record.location.startswith(schemes)
        kind, _, digits = record.hash.partition(":")
        assert kind in ("", "md5", "sha256") and len(digits) in (0, 8, 32, 64)


def test_files_in_the_package():
    """Each has its record with its hash, each record its file; 20 MB at the most."""
    shipped = [record for record in records.all_records() if record.shipped]
    paths = {store.fetch(record): record for record in shipped}
    assert set(paths) == set(store.TRAINED.glob("*")) and paths
    for path, record in paths.items():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert record.hash == f"sha256:{digest}" and record.free
        best = keras_resnets.weights_info(record.variant, "cifar10")
        assert best.shipped and best.top1 >= record.top1
        assert keras_resnets.weights_info(record.variant, record.tag) == record
        assert (ROOT / "docs" / "training" / path.stem / "run.json").is_file()
    assert sum(path.stat().st_size for path in paths) < 20e6


@pytest.mark.parametrize(
    "name, default",
    [
        ("resnet50", "imagenet1k_v2"),
        ("resnet18", "a1_in1k"),
        # fb_swsl is more accurate, and not for everybody.
        ("resnext101_32x4d", "gluon_in1k"),
        ("darknet53", "c2ns_in1k"),
        ("resnet50v1", "keras_in1k"),
    ],
)
def test_defaults(name, default):
    assert keras_resnets.list_weights(name)[0] == default
    record = keras_resnets.weights_info(name, "imagenet")
    assert record.tag == default and record.free


HUB = """
import keras_resnets, numpy as np
model = keras_resnets.ResNet18D(weights="ra2_in1k", input_shape=(32, 32, 3))
total = float(abs(model.weights[0]).numpy().sum())
print(model.preprocessing.interpolation, total)
"""


@pytest.mark.costly
def test_the_hub(cache, site, monkeypatch):
    """huggingface_hub asks the local server, then its cache; without it, one line.

    It reads its environment once, so each time in a process of its own.
    """
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_ENDPOINT", site.address)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    model = keras_resnets.create_model("resnet18d", input_shape=(32, 32, 3))
    from keras_resnets.weights import layouts
    from keras_resnets.weights.readers.safetensors import write_safetensors
    from keras_resnets.weights.values import torch_tensors

    path = cache.parent / "model.safetensors"
    with open(path, "wb") as file:
        write_safetensors(file, torch_tensors(model, layouts.torchvision(True)))
    repository = "/timm/resnet18d.ra2_in1k/resolve/main/model.safetensors"
    site.files[repository] = path.read_bytes()
    (cache.parent / "hub.py").write_text(HUB)
    values = []
    for offline in ("0", "1"):
        monkeypatch.setenv("KERAS_RESNETS_OFFLINE", offline)
        done = forks.run_script(cache.parent / "hub.py", cwd=cache.parent)
        assert done.returncode == 0, done.stderr[-2000:]
        values.append(done.stdout.split())
    first = float(np.abs(keras.ops.convert_to_numpy(model.weights[0])).sum())
    assert values[0] == values[1] and values[0][0] == "bicubic"
    assert float(values[0][1]) == pytest.approx(first, rel=1e-5)


def test_without_the_hub_library(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(WeightsError, match=r"pip install 'keras-resnets\[hub\]'"):
        keras_resnets.ResNet18(weights="imagenet")


def test_the_hub_out_of_reach(cache, monkeypatch):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("KERAS_RESNETS_OFFLINE", "1")
    with pytest.raises(WeightsError, match="not in the cache"):
        keras_resnets.ResNet18(weights="imagenet")
