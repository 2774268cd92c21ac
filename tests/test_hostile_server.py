"""Downloads from servers that lie: one printable line, in bounded time and memory."""

import hashlib
import json
import os
import sys
import time

import hostile_server
import local_server
import pytest
from store_site import CONTENT
from store_site import SHA256
from store_site import names

from keras_resnets import WeightsError
from keras_resnets.weights import pins
from keras_resnets.weights import records
from keras_resnets.weights import store
from keras_resnets.weights import transfer

BODY_SHA256 = "sha256:" + hashlib.sha256(hostile_server.BODY).hexdigest()
# Bytes that the tests' files may have.
MOST = 4_000_000


@pytest.fixture
def impatient(monkeypatch):
    """Half a second is slow: only where nothing honest is downloaded."""
    monkeypatch.setattr(transfer, "TIMEOUT", 0.5)


def answer(url, path, digest=""):
    """(what `download` raised as text, seconds); empty text where it did not."""
    began = time.monotonic()
    try:
        store.download(url, path, digest, MOST)
    except WeightsError as error:
        return str(error), time.monotonic() - began
    return "", time.monotonic() - began


def fault(said, seconds, path):
    """What is wrong with an answer; empty for one printable line in time."""
    if not said:
        return "" if path.stat().st_size == len(hostile_server.BODY) else "half a file"
    if path.exists():
        return "a file of a failed download"
    if not said.isprintable() or len(said) > 700 or "secret" in said:
        return f"not one printable line: {said[:200]!r}"
    return f"{seconds:.1f} s" if seconds > 8 else ""


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", list(hostile_server.ANSWERS))
def test_answers(name, site, cache):
    site.answers["/a.pth"] = hostile_server.ANSWERS[name]
    site.redirects["/b.pth"] = "/d.pth"
    site.redirects["/d.pth"] = "/b.pth"
    # The tests' own "too slow" is a second; what is slow for one try ends it.
    said, seconds = answer(site.url, cache / "a.pth", SHA256)
    assert said and not fault(said, seconds, cache / "a.pth"), (said, seconds)
    part = cache / "a.pth.part"
    assert not part.exists() or part.stat().st_size <= MOST


def fuzz(count, seed, cache, record_property, capsys):
    faults = []
    with local_server.running() as (address, made):
        for number, (name, data) in enumerate(hostile_server.fuzzed(count, seed)):
            place = f"/{number}.pth"
            made.answers[place] = lambda handler, data=data: handler.wfile.write(data)
            path = cache / f"{number}.pth"
            wrong = fault(*answer(address + place, path, BODY_SHA256), path)
            if wrong:
                faults.append((name, wrong))
    record_property("tried", count)
    record_property("handled", count - len(faults))
    with capsys.disabled():
        handled = count - len(faults)
        sys.stdout.write(f"\nserver: {count:,} tried, {handled:,} handled\n")
    assert not faults, f"{len(faults)} of {count}: {faults[:5]}"


@pytest.mark.usefixtures("impatient")
def test_a_sample_of_damaged_answers(cache, record_property, capsys):
    fuzz(60, 1, cache, record_property, capsys)


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_many_damaged_answers(cache, record_property, capsys):
    fuzz(1500, 2, cache, record_property, capsys)


@pytest.mark.parametrize(
    "url, message",
    [
        ("ftp://127.0.0.1/a.pth", "only from https and http addresses"),
        ("file:///etc/passwd", "only from https and http addresses"),
        ("http://me:secret@127.0.0.1/a.pth", "user name or password are not supported"),
        ("http://[::1", "not the address of a file"),
        ("http:///a.pth", "only from https and http addresses"),
        ("http://127.0.0.1:99999/a", "not the address of a file"),
        ("a.pth", "only from https and http addresses"),
        ("", "only from https and http addresses"),
        ("http://127.0.0.1/\x1b[2J\n", "was not downloaded"),
    ],
)
def test_addresses(url, message, cache):
    with pytest.raises(WeightsError, match=message) as caught:
        store.download(url, cache / "a.pth")
    assert "secret" not in str(caught.value) and str(caught.value).isprintable()


def test_an_end_that_nobody_tells(site, cache):
    """Without a length a connection that broke off looks like the end of the file."""
    site.answers["/a.pth"] = hostile_server.reply(length=False)
    with pytest.raises(WeightsError, match="does not say where the file ends"):
        store.download(site.url, cache / "a.pth")
    store.download(site.url, cache / "a.pth", BODY_SHA256)
    assert (cache / "a.pth").read_bytes() == hostile_server.BODY


def test_from_https_to_http():
    transfer.check_address("http://b.example/", origin="http://a.example/")
    transfer.check_address("https://b.example/", origin="http://a.example/")
    for scheme in ("http", "ftp", "file"):
        with pytest.raises(WeightsError, match="only from https addresses"):
            transfer.check_address(f"{scheme}://b/", origin="https://a.example/x?key=1")


def test_three_redirects_and_no_more(site, cache):
    for number in range(4):
        site.redirects[f"/{number}"] = f"{site.address}/{number + 1}"
    site.files["/4"] = CONTENT
    store.download(f"{site.address}/1", cache / "a.pth", SHA256)
    assert (cache / "a.pth").read_bytes() == CONTENT
    with pytest.raises(WeightsError, match="redirects more than 3 times"):
        store.download(f"{site.address}/0", cache / "b.pth", SHA256)


def lying(site, *headers):
    """A server that breaks off once, and then answers a `Range` by these headers."""

    def send(handler):
        if handler.headers.get("Range"):
            # First, since whoever is lied to may leave before all is sent.
            site.answers.clear()
            hostile_server.reply(*headers, status="206 Partial", body=CONTENT[7:])(
                handler
            )
            return
        hostile_server.reply(
            'ETag: "1"', f"Content-Length: {len(CONTENT)}", body=b"abc"
        )(handler)

    site.answers["/a.pth"] = send


@pytest.mark.parametrize(
    "told",
    ["bytes 7-2999999/3000000", "bytes 0-1/2", "bytes", "\x1b[2J", "bytes 3-", None],
)
def test_another_part_than_was_asked_for(told, site, cache):
    lying(site, *([f"Content-Range: {told}"] if told else []))
    store.download(site.url, cache / "a.pth", SHA256, MOST)
    assert (cache / "a.pth").read_bytes() == CONTENT and names(cache) == ["a.pth"]


def test_the_whole_where_a_part_was_asked_for(site, cache):
    cache.mkdir()
    (cache / "a.pth.part").write_bytes(b"abc")
    (cache / "a.pth.part.version").write_text('"of another file"')
    store.download(site.url, cache / "a.pth", SHA256)
    assert (cache / "a.pth").read_bytes() == CONTENT and names(cache) == ["a.pth"]


@pytest.mark.parametrize("digest", ["", SHA256])
def test_a_part_that_somebody_changed(digest, site, cache):
    """The hash tells; without one, nothing of an earlier call is used."""
    site.cut["/a.pth"] = [10_000] * store.ATTEMPTS
    with pytest.raises(WeightsError):
        store.download(site.url, cache / "a.pth", digest)
    part = cache / "a.pth.part"
    part.write_bytes(b"y" * part.stat().st_size)
    if digest:
        with pytest.raises(WeightsError, match="should begin with"):
            store.download(site.url, cache / "a.pth", digest)
    store.download(site.url, cache / "a.pth", digest)
    assert (cache / "a.pth").read_bytes() == CONTENT and names(cache) == ["a.pth"]


@pytest.mark.parametrize("version", [b"\xff\xfe", b"a\r\nEvil: 1", b"x" * 10**6, b""])
def test_a_version_that_somebody_changed(version, site, cache):
    cache.mkdir()
    (cache / "a.pth.part").write_bytes(b"abc")
    (cache / "a.pth.part.version").write_bytes(version)
    store.download(site.url, cache / "a.pth", SHA256)
    assert site.ranges() == [None] and names(cache) == ["a.pth"]


def _link(part, other):
    part.symlink_to(other)


def _second_name(part, other):
    os.link(other, part)


def _pipe(part, other):
    os.mkfifo(part)


def _folder(part, other):
    part.mkdir()


@pytest.mark.parametrize("make", [_link, _second_name, _pipe, _folder])
@pytest.mark.parametrize("suffix", ["", ".version"])
def test_links_and_pipes_in_the_cache(make, suffix, site, cache, tmp_path):
    """What lies where the download would be written is not written through."""
    other = tmp_path / "other"
    other.write_text("mine")
    cache.mkdir()
    make(cache / f"a.pth.part{suffix}", other)
    said, seconds = answer(site.url, cache / "a.pth", SHA256)
    assert other.read_text() == "mine" and seconds < 5
    if said:
        assert not (cache / "a.pth").exists() and said.isprintable()
    else:
        assert (cache / "a.pth").read_bytes() == CONTENT


@pytest.fixture
def record(site, cache, monkeypatch):
    """A record without a hash, on the local server."""
    import dataclasses

    real = records.find("resnet20", "akamaster_cifar10")
    return dataclasses.replace(real, hash="", location=site.url)


def test_the_first_download_is_pinned(record, site, cache):
    assert store.proof_of(record) == "at first download"
    with pytest.warns(
        pins.Pinned, match="no hash is known, and its connection was not"
    ):
        path = store.fetch(record)
    assert store.proof_of(record) == "pinned"
    pin = json.loads(store.pin_of(record).read_text())
    assert pin["size"] == len(CONTENT) and f"sha256:{pin['sha256']}" == SHA256
    assert store.fetch(record) == path
    # Another file, of the same size and age.
    age = path.stat().st_mtime_ns
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(age, age))
    with pytest.raises(WeightsError, match="is not the file that was downloaded first"):
        store.fetch(record)
    # The publisher's file has changed: said, not taken.
    path.unlink()
    site.files["/a.pth"] = CONTENT[::-1]
    with pytest.raises(WeightsError, match="is not the file that was downloaded first"):
        store.fetch(record)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "x" * 9999, '{"sha256": 1, "size": 2}', "[" * 4000, "\x1b"]
)
def test_a_pin_that_is_damaged(text, record, cache):
    cache.mkdir()
    store.pin_of(record).write_text(text)
    with pytest.raises(WeightsError, match="is not the record of a download") as caught:
        store.fetch(record)
    assert str(caught.value).isprintable()


def test_a_cached_file_with_another_hash(record, cache):
    import dataclasses

    known = dataclasses.replace(record, hash="sha256:00000000")
    cache.mkdir()
    (cache / "resnet20.akamaster_cifar10.pth").write_bytes(CONTENT)
    with pytest.raises(WeightsError, match="should begin with 00000000"):
        store.fetch(known)


def test_every_record_is_bounded_by_its_network():
    """More than its float32 values need, and never more than 2 GB."""
    from keras_resnets.models import registry

    for record in records.all_records():
        values = registry.model_info(record.variant).total_params
        assert 2 * 4 * values < store.most_bytes(record) <= 2e9, record.variant
