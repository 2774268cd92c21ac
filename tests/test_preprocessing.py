import pathlib

import numpy as np
import pytest
from PIL import Image

from keras_resnets import InvalidArgument
from keras_resnets import get_architecture
from keras_resnets import preprocess_input
from keras_resnets.images import files
from keras_resnets.images import loading
from keras_resnets.images import preprocessing

FIXTURE = np.load(pathlib.Path(__file__).parent / "data" / "preprocessing.npz")
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3)).astype("uint8")
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
FORMULAS = {
    "torch": lambda x: (x / 255 - MEAN) / STD,
    "tf": lambda x: x / 127.5 - 1,
    "caffe": lambda x: x[..., ::-1] - np.array([103.939, 116.779, 123.68]),
    "darknet": lambda x: x / 255,
    "raw": lambda x: x,
    "cifar": lambda x: (
        (x / 255 - np.array([0.4914, 0.4822, 0.4465]))
        / np.array([0.2470, 0.2435, 0.2616])
    ),
    # As the training logs of chenyaofo/pytorch-cifar-models have them.
    "cifar_image_std": lambda x: (
        (x / 255 - np.array([0.4914, 0.4822, 0.4465]))
        / np.array([0.2023, 0.1994, 0.2010])
    ),
    "cifar100": lambda x: (
        (x / 255 - np.array([0.5070, 0.4865, 0.4409]))
        / np.array([0.2673, 0.2564, 0.2761])
    ),
}


@pytest.mark.parametrize("mode", sorted(preprocessing.MODES))
def test_formulas_for_arrays_tensors_and_layouts(mode):
    import tensorflow as tf

    before = PIXELS.copy()
    expected = FORMULAS[mode](PIXELS.astype("float64"))
    ours = preprocess_input(PIXELS, mode)
    assert ours.dtype == np.float32 and isinstance(ours, np.ndarray)
    np.testing.assert_allclose(ours, expected, atol=2e-5)
    np.testing.assert_array_equal(PIXELS, before)
    tensor = preprocess_input(tf.constant(PIXELS), mode)
    np.testing.assert_allclose(np.asarray(tensor), expected, atol=2e-5)
    first = preprocess_input(PIXELS.transpose(0, 3, 1, 2), mode, "channels_first")
    np.testing.assert_allclose(first.transpose(0, 2, 3, 1), expected, atol=2e-5)
    np.testing.assert_allclose(
        preprocess_input(PIXELS[0], mode), expected[0], atol=2e-5
    )


def test_agrees_with_keras_applications():
    import keras

    for mode in ("torch", "tf", "caffe"):
        theirs = keras.applications.imagenet_utils.preprocess_input(
            PIXELS.astype("float32"), mode=mode
        )
        np.testing.assert_allclose(preprocess_input(PIXELS, mode), theirs, atol=2e-5)


def test_bad_modes_and_shapes():
    with pytest.raises(InvalidArgument, match="mode must be one of"):
        preprocess_input(PIXELS, "pytorch")
    with pytest.raises(InvalidArgument, match="3 channels"):
        preprocess_input(PIXELS[..., :1])


@pytest.mark.parametrize("kind", [np.array, Image.fromarray])
def test_lists_of_images_are_batches(kind):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 6, 3), "uint8")
    images, fit = (
        [kind(image) for image in pixels],
        preprocessing.Preprocessing("torch"),
    )
    assert np.array_equal(preprocess_input(images), preprocess_input(pixels))
    assert np.array_equal(fit.batch(tuple(images)), fit.batch(pixels))
    with pytest.raises(InvalidArgument, match=r"got \(8, 6, 3\) and \(4, 6, 3\)"):
        fit.batch([images[0], kind(pixels[0, :4])])


@pytest.mark.parametrize("images", [[], "a.jpg", [[1, 2], [3, 4]]])
def test_what_is_no_image_is_named_by_its_type(images):
    with pytest.raises(InvalidArgument, match=f"got {type(images).__name__}"):
        preprocess_input(images)


def test_a_batch_of_unknown_size_is_refused():
    import keras

    images = keras.KerasTensor((None, None, None, 3))
    with pytest.raises(InvalidArgument, match="a known height and width"):
        preprocessing.Preprocessing("torch", (8, 8)).batch(images)


def test_centre_crop_and_letterbox():
    wide = Image.fromarray(np.tile(np.arange(200, dtype="uint8"), (100, 1))).convert(
        "RGB"
    )
    crop = preprocessing.Preprocessing("raw", (50, 50), 0.5)(wide)
    # 100 x 200 stays as it is at 50 / 0.5 = 100; columns 75 to 124 are the centre.
    np.testing.assert_array_equal(crop[0, :, 0], np.arange(75, 125))
    boxed = preprocessing.Preprocessing("raw", (100, 100), 1.0, letterbox=True)(wide)
    assert (boxed[:25] == 127.5).all() and (boxed[75:] == 127.5).all()
    assert not (boxed[25:75] == 127.5).any()


def test_default_of_a_variant():
    wanted = preprocessing.for_architecture(get_architecture("darknet53"))
    assert (wanted.mode, wanted.size, wanted.letterbox) == ("darknet", (256, 256), True)
    wanted = preprocessing.for_architecture(get_architecture("resnet50"), (192, 160))
    assert (wanted.mode, wanted.size, wanted.crop_fraction) == (
        "torch",
        (192, 160),
        0.875,
    )


@pytest.mark.parametrize(
    "mode", ["L", "P", "1", "RGB", "RGBA", "CMYK", "I;16", "LA", "F"]
)
def test_pictures_of_every_mode(mode, tmp_path):
    grey = np.linspace(0, 255, 40 * 30).reshape(30, 40).astype("uint8")
    suffix = "tif" if mode in ("CMYK", "F", "I;16") else "png"
    path = tmp_path / f"picture.{suffix}"
    if mode == "I;16":
        picture = Image.fromarray(grey.astype("uint16") * 257)
    else:
        picture = Image.fromarray(grey).convert("RGB" if mode == "CMYK" else mode)
        picture = picture.convert(mode)
    picture.save(path)
    wanted = preprocessing.Preprocessing("raw", (30, 40), 1.0)
    loaded = loading.load_image(path, wanted)
    assert loaded.shape == (30, 40, 3)
    if mode != "1":
        np.testing.assert_allclose(loaded[..., 0], grey, atol=2)


def test_exif_rotation_is_applied(tmp_path):
    picture = Image.fromarray(np.zeros((20, 40, 3), "uint8"))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "rotated.jpg", exif=exif)
    wanted = preprocessing.Preprocessing("raw", (40, 20), 1.0, letterbox=True)
    # Turned upright it fills the whole of a portrait box.
    assert loading.load_image(tmp_path / "rotated.jpg", wanted).max() < 5


def test_folders(photos):
    wanted = preprocessing.Preprocessing("torch", (32, 32))
    loaded, skipped = loading.load_folder(photos, wanted)
    assert loaded.shape == (6, 32, 32, 3) and not skipped
    few, _ = loading.load_folder(photos, wanted, limit=3, seed=1)
    again, _ = loading.load_folder(photos, wanted, limit=3, seed=1)
    other, _ = loading.load_folder(photos, wanted, limit=3, seed=2)
    np.testing.assert_array_equal(few, again)
    assert few.shape[0] == 3 and not np.array_equal(few, other)
    whole = (photos / "0.png").read_bytes()
    (photos / "broken.png").write_bytes(whole[: len(whole) // 2])
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "text.png").write_text("no picture")
    loaded, skipped = loading.load_folder(photos, wanted)
    assert len(loaded) == 6 and skipped == ["broken.png", "empty.jpg", "text.png"]


def test_folders_that_cannot_be_used(tmp_path):
    wanted = preprocessing.Preprocessing()
    with pytest.raises(InvalidArgument, match="there is no folder"):
        loading.load_folder(tmp_path / "missing", wanted)
    with pytest.raises(InvalidArgument, match="contains no images"):
        loading.load_folder(tmp_path, wanted)
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(InvalidArgument, match="none of the 1 images"):
        loading.load_folder(tmp_path, wanted)
    with pytest.raises(InvalidArgument, match="there is no image"):
        loading.load_image(tmp_path / "b.png", wanted)


CROPS = sorted(key for key in FIXTURE.files if key.startswith("torchvision"))


@pytest.mark.parametrize("key", CROPS)
def test_agrees_with_torchvision(key, shared_data):
    """Files as torchvision with Pillow, batches as torchvision with float tensors."""
    _, kind, name, size, resized, interpolation = key.split("/")
    wanted = preprocessing.Preprocessing(
        "raw",
        (int(size), int(size)),
        {"256": 0.875, "232": 0.9655, "235": 0.95}[resized],
        interpolation=interpolation,
    )
    path = shared_data / "photos" / name
    if kind == "file":
        found = loading.load_image(path, wanted)
    else:
        found = wanted.batch(np.asarray(Image.open(path).convert("RGB"))[None])[0]
    step = int(size) // FIXTURE[key].shape[0]
    difference = np.abs(found[::step, ::step] - FIXTURE[key].astype("float32"))
    assert difference.max() <= (1.0 if kind == "file" else 0.1)


@pytest.mark.parametrize("name", ["wide", "tall"])
def test_letterbox_agrees_with_darknet(name, shared_data):
    """Pixels as the real program puts them in front of its network."""
    photo = Image.open(shared_data / "photos" / "dog.jpg").convert("RGB")
    photo = photo.crop((100, 50, 400, 560)) if name == "tall" else photo
    expected = FIXTURE[f"darknet/{name}"] / 10_000
    wanted = preprocessing.Preprocessing("darknet", expected.shape[:2], letterbox=True)
    assert np.abs(wanted(photo) - expected).max() < 0.1 / 255
    batch = wanted.batch(np.asarray(photo)[None])[0]
    assert np.abs(batch - expected).max() < 0.1 / 255
    first = wanted.batch(np.asarray(photo).transpose(2, 0, 1)[None], "channels_first")
    np.testing.assert_allclose(first[0].transpose(1, 2, 0), batch, atol=1e-6)


def test_preprocessing_fields():
    wanted = preprocessing.Preprocessing("caffe", [32, 48])
    assert wanted.size == (32, 48) and wanted.channel_order == "bgr"
    assert wanted.mean == (103.939, 116.779, 123.68) and wanted.scale == 1
    own = preprocessing.Preprocessing("torch", mean=(0.5, 0.5, 0.5), std=(1, 1, 1))
    np.testing.assert_allclose(own.normalize(PIXELS), PIXELS / 255 - 0.5, atol=1e-6)
    np.testing.assert_array_equal(preprocess_input(PIXELS, own), own.normalize(PIXELS))
    for fields, message in (
        ({"mode": "torsh"}, "'torch'"),
        ({"interpolation": "cubic"}, "bicubic"),
        ({"crop_fraction": 1.5}, "crop_fraction"),
        ({"size": (1, 2, 3)}, "size must be"),
        ({"mean": (1,)}, "three numbers"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            preprocessing.Preprocessing(**fields)


def test_photos_are_no_numbers_of_another_range(tmp_path):
    """A network of floats in 0..1 gave photos of 0..255 a certain, wrong class."""
    floats = preprocessing.Preprocessing("raw", (8, 8), mean=(0.5,), std=(0.2,))
    path = tmp_path / "a.png"
    Image.new("L", (8, 8)).save(path)
    pixels = np.zeros((8, 8, 1), "uint8")
    said = "takes numbers with a mean of 0.5, not pixels of 0 to 255: give .npz or .npy"
    for look in (
        lambda: floats(Image.open(path)),
        lambda: floats(pixels),
        lambda: loading.load_image(path, floats),
        lambda: loading.load_images([path, path], floats),
        lambda: loading.load_folder(tmp_path, floats),
    ):
        with pytest.raises(InvalidArgument, match=f"^the network {said}"):
            look()
    assert floats(pixels / 255).max() == pytest.approx(-2.5)
    # Numbers of 0 to 255 may have been measured too.
    grey = preprocessing.Preprocessing("raw", (8, 8), mean=(99.0,), std=(50.0,))
    assert grey(pixels).shape == loading.load_image(path, grey).shape == (8, 8, 1)


@pytest.mark.parametrize("brand, is_told", [(b"heic", True), (b"isom", False)])
def test_photos_of_telephones_are_told_what_reads_them(brand, is_told, tmp_path):
    if "HEIF" in files.formats():
        pytest.skip("pillow-heif is installed")
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(40))
    with pytest.raises(InvalidArgument, match="format is not supported") as caught:
        loading.open_photo(path)
    assert ("pip install pillow-heif" in str(caught.value)) == is_told
