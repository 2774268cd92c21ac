"""CIFAR-10 on a device, for device_training.py: images, their crops, teachers' answers."""

import numpy as np

SIDE, PADDING, CLASSES = 32, 4, 10
# Images in one file of `pack`.
STRIP = 500
SHIFTS = 2 * PADDING + 1
VERSIONS = 2 * SHIFTS * SHIFTS


def check_pack(folder):
    """Raises `SystemExit` unless a folder has labels, and strips for all of them."""
    if folder is None:
        raise SystemExit("work needs --data FOLDER (of `pack`), or --noise COUNT")
    if not (folder / "labels.npy").is_file():
        raise SystemExit(f"{folder} has no labels.npy: it is not a folder of `pack`")
    wanted = -(-len(np.load(folder / "labels.npy", "r")) // STRIP)
    found = len(list(folder.glob("strip_*.webp")))
    if found != wanted:
        raise SystemExit(f"{folder} has {found} strips of images; {wanted} are needed")


def load_images(folder, count=None):
    """uint8 images (n, 32, 32, 3) and int32 labels (n,) of a packed data set."""
    from PIL import Image

    labels = np.load(folder / "labels.npy").astype("int32")
    strips = sorted(folder.glob("strip_*.webp"))
    images = np.concatenate([np.asarray(Image.open(path)) for path in strips])
    images = images.reshape(-1, SIDE, SIDE, 3)
    if len(images) != len(labels):
        raise SystemExit(f"{folder}: {len(images)} images and {len(labels)} labels")
    return images[:count], labels[:count]


def noise_images(count):
    """As `load_images`, but noise: to compile and to time."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, SIDE, SIDE, 3), "uint8")
    return images, rng.integers(0, CLASSES, count).astype("int32")


def padded_images(images, preprocessing):
    """The images in a margin of their mean colour, on the device."""
    import jax

    fill = preprocessing.pixels(np.zeros(3))
    height = SIDE + 2 * PADDING
    padded = np.empty((len(images), height, height, 3), "uint8")
    padded[:] = fill
    padded[:, PADDING:-PADDING, PADDING:-PADDING] = images
    return jax.device_put(padded)


def crops(padded, index, top, left, mirrored, preprocessing):
    """Normalized crops (batch, 32, 32, 3) in float32.

    Args:
        padded: uint8 (n, 40, 40, 3).
        index: of the images, int (batch,).
        top: first row of each crop, 0 to 8.
        left: first column.
        mirrored: bool (batch,).
        preprocessing: the network's.
    """
    import jax
    import jax.numpy as jnp

    def crop(i, y, x):
        return jax.lax.dynamic_slice(padded, (i, y, x, 0), (1, SIDE, SIDE, 3))[0]

    found = jax.vmap(crop)(index, top, left)
    found = jnp.where(mirrored[:, None, None, None], found[:, :, ::-1], found)
    pixels = found.astype("float32") * preprocessing.scale
    mean = np.asarray(preprocessing.mean, "float32")
    return (pixels - mean) / np.asarray(preprocessing.std, "float32")


def table_name(task):
    """Name of the file, less its suffix, with the answers of a task's teachers."""
    return "+".join(task["teachers"]) + ".table"


def version_of(top, left, mirrored):
    """Which of the 162 versions of an image a crop is."""
    return (top * SHIFTS + left) * 2 + mirrored


def open_data(task, arguments, preprocessing):
    """(padded images, labels, answers of the teachers or None) on the device."""
    import jax

    if arguments.noise:
        images, labels = noise_images(arguments.noise)
    else:
        images, labels = load_images(arguments.data, arguments.images)
    padded = padded_images(images, preprocessing)
    table = None
    if task.get("teacher_weight") and arguments.noise:
        # Noise stands in for teachers where only time is measured.
        table = np.zeros((len(images), VERSIONS, CLASSES), "float16")
    elif task.get("teacher_weight"):
        table = np.load(arguments.folder / f"{table_name(task)}.npy", "r")
    return padded, jax.device_put(labels), jax.device_put(table)
