"""Images of one channel and of many: from arrays and files to a file that is proven."""

import json
import struct
import warnings
import zlib

import numpy as np
import pytest
from commands import refused
from commands import run

import keras_resnets
from keras_resnets.errors import InvalidArgument
from keras_resnets.images import channel_files
from keras_resnets.images import evaluation
from keras_resnets.images.channels import Sums
from keras_resnets.images.datasets.sources import open_dataset
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.quantization.qat.training import train_aware
from keras_resnets.training import channel_statistics
from keras_resnets.training.augmentation import Augmentation
from keras_resnets.training.data import batches
from keras_resnets.training.recipes import get_recipe


def images(channels, dtype="uint16", count=60, size=32):
    """(images, labels) of three classes, each with a stripe of its own."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    found = rng.normal(0, 0.05, (count, size, size, channels))
    found += rng.normal(0, 0.3, (count, 1, 1, channels))
    third = size // 3
    for index, label in enumerate(labels):
        found[index, third * label : third * (label + 1), :, label % channels] += 2
    scale, offset = {"uint8": (40, 60), "uint16": (900, 4000)}.get(dtype, (1, 0))
    found = np.clip(found * scale + offset, 0 if dtype[0] == "u" else -9, 65535)
    return found.astype(dtype), labels


def archive(path, channels, dtype="uint16"):
    """Writes an .npz file with images to train on and to test on."""
    x, y = images(channels, dtype)
    np.savez(path, x_train=x[:45], y_train=y[:45], x_test=x[45:], y_test=y[45:])
    return path


def folder(path, channels, dtype="uint16", count=30):
    """Writes a folder with one sub-folder per class, of .npy files."""
    for index, (image, label) in enumerate(
        zip(*images(channels, dtype, count, 20), strict=True)
    ):
        place = path / f"grün {label}"
        place.mkdir(parents=True, exist_ok=True)
        np.save(place / f"{index:02}.npy", image)
    return path


def tiff(path, image, deflate=False, planar=False, predictor=1, tile=None, order="<"):
    """Writes a TIFF file as GDAL does, of arrays (height, width, channels)."""
    height, width, samples = image.shape
    kind = {"u": 1, "i": 2, "f": 3}[image.dtype.kind]
    image = image.astype(image.dtype.newbyteorder(order))
    planes = np.split(image, samples, axis=-1) if planar else [image]
    parts = []
    for plane in planes:
        side = tile or height
        for top in range(0, height, side):
            for left in range(0, width, tile or width):
                part = plane[top : top + side, left : left + (tile or width)]
                if tile:
                    more = [(0, tile - part.shape[0]), (0, tile - part.shape[1])]
                    part = np.pad(part, [*more, (0, 0)])
                if predictor == 2:
                    before = np.concatenate([part[:, :1] * 0, part[:, :-1]], axis=1)
                    part = (part - before).astype(part.dtype)
                parts.append(np.ascontiguousarray(part).tobytes())
    parts = [zlib.compress(part) for part in parts] if deflate else parts
    offsets, at = [], 8
    for part in parts:
        offsets.append(at)
        at += len(part)
    where = (324, 325) if tile else (273, 279)
    fields = {
        256: [width],
        257: [height],
        258: [8 * image.dtype.itemsize] * samples,
        259: [8 if deflate else 1],
        277: [samples],
        284: [2 if planar else 1],
        317: [predictor],
        339: [kind] * samples,
        where[0]: offsets,
        where[1]: list(map(len, parts)),
        **({322: [tile], 323: [tile]} if tile else {278: [height]}),
    }
    entries, behind = b"", b""
    start = at + 2 + 12 * len(fields) + 4
    for tag, values in sorted(fields.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(packed) > 4:
            behind, packed = (
                behind + packed,
                struct.pack(f"{order}I", start + len(behind)),
            )
        entries += struct.pack(f"{order}HHI", tag, 4, len(values)) + packed
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, at)
    directory = struct.pack(f"{order}H", len(fields)) + entries + b"\0\0\0\0"
    path.write_bytes(head + b"".join(parts) + directory + behind)
    return path


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.costly
def test_from_arrays_to_files_that_are_proven(tmp_path, capsys, monkeypatch, channels):
    monkeypatch.chdir(tmp_path)
    archive(tmp_path / "x.npz", channels, "uint8" if channels == 1 else "uint16")
    folder(tmp_path / "test", channels, "uint8" if channels == 1 else "uint16")

    def done(*words):
        code, out, err = run(*words, capsys=capsys)
        assert code == 0, (words, err)
        return out

    out = done(
        *("train", "resnet8", "--data", "x.npz", "--recipe", "cifar_cosine"),
        *("--epochs", "60", "--batch-size", "9", "--precision", "float32"),
        *("--output", "run"),
    )
    assert ("mean and deviation of the 4 channels were measured" in out) == (
        channels == 4
    )
    out = done("evaluate", "run", "--data", "x.npz", "--json")
    top1 = json.loads(out)["top1"]
    assert top1 > 0.5
    out = done("predict", "run", "test", "--count", "3", "--json")
    assert len(json.loads(out)["images"]) == 3
    for form, file in (
        ("tflite", "a.tflite"),
        ("onnx", "a.onnx"),
        ("keras", "a.keras"),
        ("saved_model", "a_saved_model"),
    ):
        done("export", form, "run", "--output", file)
        out = done("evaluate", file, "--data", "x.npz", "--json")
        assert json.loads(out)["top1"] == top1, form
    done("verify", "a.tflite", "a.onnx", "--data", "x.npz")
    out = done(
        *("quantize", "run", "--data", "x.npz", "--evaluate", "x.npz"),
        *("--output", "int8.tflite", "--json"),
    )
    assert json.loads(out)["measured"]["agreement"] > 0.9
    done(
        *("deploy", "run", "--data", "x.npz", "--output", "out", "--unproven"),
        *("--target", "microcontroller,server-onnx"),
    )
    settings = (tmp_path / "out/microcontroller/model_settings.h").read_text()
    assert f"kChannels = {channels};" in settings
    assert ("Quantize(float" in settings) == (channels == 4)
    if channels == 4:
        done("explain", "run", "test/grün 0/00.npy")
        err = refused(
            *("deploy", "run", "--data", "x.npz", "--output", "o2", "--unproven"),
            *("--target", "raspberry-pi"),
            capsys=capsys,
        )
        assert "raspberry-pi takes photos" in err
        archive(tmp_path / "colours.npz", 3, "uint8")
        err = refused("evaluate", "run", "--data", "colours.npz", capsys=capsys)
        assert "images must have the 4 channels of the network" in err


@pytest.mark.costly
def test_fine_tuning_fits_the_first_kernel_and_measures_the_channels(tmp_path, capsys):
    archive(tmp_path / "x.npz", 13)
    code, out, err = run(
        *("train", "resnet20", "--weights", "cifar10", "--data", tmp_path / "x.npz"),
        *("--recipe", "finetune", "--epochs", "1", "--batch-size", "9"),
        *("--change", "jitter=0.4,0.4,0.4,0", "--output", tmp_path / "run"),
        capsys=capsys,
    )
    assert code == 0, err
    assert "were repeated and scaled to 13" in out
    assert (
        "jitter of the recipe require RGB images; they are not applied to images of 13"
        in out
    )
    # What it knows of its channels is kept, and not measured anew.
    code, out, err = run(
        *("train", "resnet20", "--weights", tmp_path / "run", "--epochs", "1"),
        *("--data", tmp_path / "x.npz", "--recipe", "finetune", "--batch-size", "9"),
        *("--output", tmp_path / "again"),
        capsys=capsys,
    )
    assert code == 0 and "measured" not in out, err
    # A teacher of the channels of the data, as it was trained.
    code, out, err = run(
        *("train", "resnet8", "--teacher", tmp_path / "run", "--epochs", "1"),
        *("--data", tmp_path / "x.npz", "--recipe", "cifar_cosine"),
        *("--batch-size", "9", "--output", tmp_path / "taught"),
        capsys=capsys,
    )
    assert code == 0 and "repeated and scaled" not in out, err


@pytest.mark.parametrize("channels", [1, 2, 4, 8, 13])
@pytest.mark.parametrize("source", [archive, folder])
def test_batches_are_of_mean_0_and_deviation_1(tmp_path, channels, source):
    data = open_dataset(source(tmp_path / "x.npz", channels), validation=0)
    assert data.train.images.channels == channels
    known = Preprocessing("cifar", (20, 20)).with_channels(channels)
    with pytest.warns(UserWarning, match=f"the {channels} channels? were measured"):
        wanted = channel_statistics.fitted(known, data)
    assert channel_statistics.fitted(wanted, data) == wanted
    for crop in ("centre", "pad", "inception"):
        train = batches(
            data.train,
            wanted,
            10,
            augmentation=Augmentation(crop=crop, flip=True, padding=1),
            classes=3,
        )
        x = np.concatenate([np.asarray(batch[0]) for batch in train])
        assert x.shape[1:] == (20, 20, channels)
        assert abs(x.mean()) < 0.1 and abs(x.std() - 1) < 0.2, crop
    labelled = evaluation.of_split(data.train, wanted)
    assert next(labelled.batches(4)).shape == (4, 20, 20, channels)


@pytest.mark.parametrize("largest, notes", [(1, True), (255, False)])
def test_images_that_were_divided_by_255_have_a_note(tmp_path, largest, notes):
    x = np.random.default_rng(0).uniform(0, largest, (12, 20, 20, 1))
    y = np.arange(12) % 3
    np.savez(tmp_path / "x.npz", x_train=x.astype("float32"), y_train=y)
    data = open_dataset(tmp_path / "x.npz", validation=0)
    known = Preprocessing("raw", (20, 20)).with_channels(1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert channel_statistics.fitted(known, data) == known
    said = [str(warning.message) for warning in caught]
    assert [("photos as pixels of 0 to 255" in text) for text in said] == [True] * notes


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"deflate": True, "predictor": 2},
        {"planar": True, "deflate": True},
        {"tile": 16, "order": ">"},
        {"tile": 16, "planar": True, "predictor": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_tiff_of_many_bands_is_read_to_the_bit(tmp_path, how, dtype):
    if dtype == "float32" and how.get("predictor"):
        pytest.skip("floats have another predictor, 3")
    image = images(5, dtype, 1, 37)[0][0][:29]
    path = tiff(tmp_path / "a.tif", image, **how)
    found = channel_files.read(path)
    assert found.dtype == image.dtype and (found == image).all()
    assert channel_files.channels_of(path) == 5


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "it is not a TIFF file"),
        (b"II*\0\x08\0\0\0", "it is truncated"),
        (b"II*\0\0\0\0\0", "it has no image"),
        (b"II+\0\x08\0\0\0", "it is not a TIFF file"),
    ],
)
def test_damaged_tiff_is_refused(tmp_path, content, message):
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    with pytest.raises(InvalidArgument, match=message):
        channel_files.read(path)


def test_tiff_cannot_ask_for_more_than_its_file(tmp_path):
    path = tiff(tmp_path / "a.tif", np.zeros((4, 4, 5), "uint16"))
    content = bytearray(path.read_bytes())
    at = content.index(struct.pack("<HHII", 256, 4, 1, 4))
    content[at + 8 : at + 12] = struct.pack("<I", 2**31)
    path.write_bytes(content)
    with pytest.raises(InvalidArgument, match="an image may take"):
        channel_files.read(path)
    whole = tiff(tmp_path / "b.tif", images(5, "uint16", 1)[0][0], deflate=True)
    for cut in range(8, whole.stat().st_size, 97):
        path.write_bytes(whole.read_bytes()[:cut])
        with pytest.raises(InvalidArgument, match="not a readable image"):
            channel_files.read(path)


def test_npy_cannot_ask_for_more_than_its_file(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((4, 4, 5)))
    content = path.read_bytes().replace(b"(4, 4, 5)", b"(400000, 40000, 5)"[:9])
    path.write_bytes(content.replace(b"(400000, ", b"(9, 9, 9)"))
    with pytest.raises(InvalidArgument, match="its header says"):
        channel_files.read(path)
    np.save(path, np.array([{}]), allow_pickle=True)
    with pytest.raises(InvalidArgument, match="it must be of numbers"):
        channel_files.read(path)


def test_one_image_of_other_channels_is_broken_and_many_are_an_error(tmp_path):
    root = folder(tmp_path / "x", 4)
    np.save(root / "grün 0" / "99.npy", np.zeros((20, 20, 3), "uint16"))
    np.save(root / "grün 0" / "98.npy", np.full((20, 20, 4), np.nan))
    data = open_dataset(root, validation=0)
    assert data.skipped == ("grün 0/98.npy", "grün 0/99.npy")
    np.save(root / "grün 0" / "97.npy", np.zeros((20, 20, 3), "uint16"))
    with pytest.raises(InvalidArgument, match="may be unreadable"):
        open_dataset(root, validation=0)


def test_grey_and_colours_become_each_other(tmp_path):
    grey = open_dataset(archive(tmp_path / "x.npz", 1, "uint8"), channels=3)
    x = next(evaluation.of_split(grey.train, Preprocessing("tf", (32, 32))).batches(2))
    assert x.shape == (2, 32, 32, 3) and (x[..., 0] == x[..., 2]).all()
    np.savez(
        tmp_path / "y.npz", x_train=images(1, "uint8")[0][..., 0], y_train=[0, 1] * 30
    )
    assert open_dataset(tmp_path / "y.npz").train.images.channels == 1


def test_other_numbers_than_the_network_takes_are_refused(tmp_path, capsys):
    data = open_dataset(archive(tmp_path / "x.npz", 4))
    with pytest.raises(InvalidArgument, match="must have the 13 channels"):
        open_dataset(tmp_path / "x.npz", channels=13)
    with pytest.raises(InvalidArgument, match="must have the 3 channels"):
        evaluation.of_split(data.train, Preprocessing("torch", (32, 32)))
    with pytest.raises(InvalidArgument, match=r"takes pixels of 0 to 255.*got "):
        evaluation.of_split(
            data.train, Preprocessing("torch", (32, 32)).with_channels(4)
        )
    np.save(tmp_path / "x.npy", images(4)[0])
    with pytest.raises(InvalidArgument, match="data must have labels"):
        open_dataset(tmp_path / "x.npy")
    err = refused(
        *("train", "resnet8", "--data", tmp_path / "x.npz", "--channels", "8"),
        *("--recipe", "cifar_cosine", "--output", tmp_path / "run"),
        capsys=capsys,
    )
    assert "images must have the 8 channels of the network" in err
    words = ("--weights", "cifar10", "--data", tmp_path / "x.npz", "--epochs", "1")
    out = ("--output", tmp_path / "x.tflite")
    err = refused("qat", "drn_a_14", *words, *out, capsys=capsys)
    assert "images must have the 3 channels of the network" in err
    model = keras_resnets.create_model("drn_a_14", weights="cifar10")
    with pytest.raises(InvalidArgument, match="must have the 3 channels"):
        train_aware(model, data, tmp_path / "run")


def test_what_changes_colours_is_left_out_of_the_recipe(tmp_path):
    data = open_dataset(archive(tmp_path / "x.npz", 4))
    recipe = get_recipe("cifar_cosine").replace(lighting=0.1)
    wanted = Preprocessing("raw", (32, 32), mean=(1.0,) * 4, std=(1.0,) * 4)
    with pytest.warns(UserWarning, match="lighting of the recipe require RGB"):
        left = channel_statistics.without_colours(recipe, wanted, data)
    assert left.augmentation.lighting == 0 and left.augmentation.crop == "pad"


def test_sums_keep_the_digits_of_large_numbers():
    x = 1e6 + np.random.default_rng(0).normal(0, 1, (50, 4, 4, 2))
    sums = Sums()
    for part in np.split(x, 5):
        sums.add(part)
    means, stds = sums.statistics()
    assert means == pytest.approx(x.mean((0, 1, 2)), rel=1e-5)
    assert stds == pytest.approx(x.std((0, 1, 2)), rel=1e-5)


@pytest.mark.costly
@pytest.mark.parametrize("channels", [1, 4, 13])
def test_heat_maps_of_any_channels(tmp_path, monkeypatch, capsys, channels):
    """Of a network and its int8 and 4-bit files, over a picture of the channels."""
    import keras
    from PIL import Image

    import keras_resnets
    from keras_resnets.export import to_keras

    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    x, y = images(channels)
    model = keras_resnets.create_model(
        "resnet8", classes=3, input_shape=(32, 32, channels)
    )
    mean, std = x.mean(axis=(0, 1, 2)), x.std(axis=(0, 1, 2))
    model.preprocessing = Preprocessing(
        "raw",
        (32, 32),
        crop_fraction=1.0,
        mean=tuple(map(float, mean)),
        std=tuple(map(float, std)),
    )
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    prepared = model.preprocessing.batch(x.astype("float32"), "channels_last")
    model.fit(prepared, y, 16, epochs=8, verbose=0)
    to_keras(model, "m.keras")
    to_keras(keras_resnets.heatmap_model(model), "h.keras")
    np.savez("x.npz", x_train=x, y_train=y, x_test=x[:9], y_test=y[:9])
    np.save("one.npy", x[1])
    tiff(tmp_path / "one.tif", x[1], deflate=True)
    np.save("all.npy", x[:5])
    files = []
    for recipe in ("static_wi8_ai8", "static_wi4_ai8"):
        words = ("quantize", "m.keras", "--recipe", recipe, "--calibration", "x.npz")
        words = (*words, "--heatmap", "--output", f"{recipe}.tflite")
        code, _, err = run(*words, capsys=capsys)
        assert code == 0, err
        files += ["--file", f"{recipe}.tflite"]
    bands = ("--bands", "3,2,1") if channels > 3 else ()
    said = []
    # Pillow reads grey; of the same picture all kinds of files have the same heat map.
    sources = [("one.npy",), ("all.npy", "--image", 2), ("x.npz", "--image", 2)]
    sources += [("one.tif",)] if channels > 1 else []
    for number, source in enumerate(sources):
        words = ("explain", "h.keras", *source, *files, *bands, "--class", "1")
        words = (*words, "--output", f"{number}.png", "--json")
        code, out, err = run(*words, capsys=capsys)
        assert code == 0, err
        said.append(json.loads(out)["shown"])
        assert Image.open(f"{number}.png").size == (4 * 460 + 12, 56 + 448 + 12)
    for shown in said:
        assert [row["probability"] for row in shown] == pytest.approx(
            [row["probability"] for row in said[0]], abs=1e-6
        )
        assert len(shown) == 3 and all(row["correlation"] > 0.9 for row in shown)
    # What distinguishes the class is the stripe in the middle.
    found = keras_resnets.explain(model, "one.npy", 1)
    rows = np.abs(found.heatmap).mean(axis=1)
    assert len(rows) // 4 <= rows.argmax() < 3 * len(rows) // 4
    many = ("explain", "h.keras", "one.npy", "--overwrite")
    assert f"1..{channels}" in refused(
        *many, "--bands", f"1,2,{channels + 1}", capsys=capsys
    )
    assert "one or three" in refused(*many, "--bands", "1,2", capsys=capsys)
    assert "is one image" in refused(*many, "--image", "2", capsys=capsys)
    many = ("explain", "h.keras", "all.npy", "--image", "6", "--overwrite")
    assert "one of the 5 images" in refused(*many, capsys=capsys)
