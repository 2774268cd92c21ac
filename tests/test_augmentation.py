"""What training does to pictures and targets, against the papers' and libraries' rules."""

import colorsys

import keras
import numpy as np
import pytest
from PIL import Image
from PIL import ImageOps

from keras_resnets import InvalidArgument
from keras_resnets.training import augmentation as augmenting
from keras_resnets.training.augmentation import Augmentation
from keras_resnets.training.data import image_operations
from keras_resnets.training.data.mixup import Mixer


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"crop": "center"}, "crop must be one of .* did you mean 'centre'"),
        ({"padding": -1}, "padding must be a whole number"),
        ({"flip": 1}, "flip must be True or False; got 1"),
        ({"area": (0.0, 1.0)}, "area must lie in"),
        ({"area": (0.5, 0.1)}, r"area must be \(least, most\)"),
        ({"aspect": 1.0}, "aspect must be 2 numbers"),
        ({"jitter": (0.4, 0.4, 0.4)}, "jitter must be 4 numbers"),
        ({"jitter": (0.4, 0.4, 0.4, 0.6)}, r"jitter's hue must lie in \[0, 0.5\]"),
        ({"lighting": -0.1}, "lighting must lie in"),
        ({"rand_augment": (2,)}, "rand_augment must be 2 numbers"),
        ({"rand_augment": (0, 6)}, "rand_augment's operations must be"),
        ({"rand_augment": (2, 11)}, "rand_augment's magnitude must lie in"),
        ({"mixup": "0.2"}, "mixup must lie in"),
        ({"cutmix": 1.5}, "cutmix must lie in"),
        ({"erase": 2}, "erase must lie in"),
    ],
)
def test_values_that_are_refused(arguments, message):
    with pytest.raises(InvalidArgument, match=message):
        Augmentation(**arguments)


def numbers(count, seed=0):
    return np.random.default_rng(seed).random((count, augmenting.NUMBERS))


def one_box(row, height, width, area, aspect):
    """torchvision's RandomResizedCrop, try by try, in Python's own arithmetic."""
    for tried in range(10):
        target = height * width * (area[0] + (area[1] - area[0]) * row[tried])
        low, high = np.log(aspect)
        ratio = np.exp(low + (high - low) * row[10 + tried])
        w, h = (
            round(float(np.sqrt(target * ratio))),
            round(float(np.sqrt(target / ratio))),
        )
        if 0 < w <= width and 0 < h <= height:
            return int(row[20] * (height - h + 1)), int(row[21] * (width - w + 1)), h, w
    ratio = width / height
    if ratio < aspect[0]:
        w, h = width, round(width / aspect[0])
    elif ratio > aspect[1]:
        w, h = round(height * aspect[1]), height
    else:
        w, h = width, height
    return (height - h) // 2, (width - w) // 2, h, w


@pytest.mark.parametrize("area", [(0.08, 1.0), (0.9, 1.0)])
def test_random_resized_crops(area):
    changes = Augmentation(crop="inception", area=area)
    rng = np.random.default_rng(1)
    sizes = np.concatenate(
        [
            rng.integers(3, 600, (300, 2)),
            # Fit for no part of the allowed aspect: the fall-back.
            np.tile([[40, 400], [400, 40], [1, 1]], (30, 1)),
        ]
    )
    drawn = numbers(len(sizes))
    boxes = changes.plan(drawn, sizes).boxes
    expected = [
        one_box(row, *size, changes.area, changes.aspect)
        for row, size in zip(drawn, sizes.tolist(), strict=True)
    ]
    assert boxes.tolist() == [list(box) for box in expected]
    assert (boxes[:, :2] + boxes[:, 2:] <= sizes).all() and (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] > 0).all()


def test_published_shares_and_aspects_of_crops():
    boxes = (
        Augmentation(crop="inception")
        .plan(numbers(4000), np.tile([2000, 2000], (4000, 1)))
        .boxes
    )
    area = boxes[:, 2] * boxes[:, 3] / 2000**2
    aspect = boxes[:, 3] / boxes[:, 2]
    assert area.min() > 0.079 and area.max() <= 1 and 0.45 < area.mean() < 0.54
    assert aspect.min() > 0.748 and aspect.max() < 1.335
    assert abs(np.log(aspect).mean()) < 0.01


def test_padding_and_cropping():
    pictures = np.random.default_rng(0).integers(0, 256, (81, 9, 7, 3), "uint8")
    down, right = np.meshgrid(np.arange(-4, 5), np.arange(-4, 5))
    shifts = np.stack([down.ravel(), right.ravel()], axis=1)
    fill = np.array([1, 2, 3], "uint8")
    moved = augmenting.shift(pictures, shifts, fill)
    padded = np.empty((81, 17, 15, 3), "uint8")
    padded[:] = fill
    padded[:, 4:-4, 4:-4] = pictures
    for index, (y, x) in enumerate(4 - shifts):
        assert (moved[index] == padded[index, y : y + 9, x : x + 7]).all()


def test_shifts_and_flips_by_chance():
    plan = Augmentation(crop="pad", flip=True).plan(
        numbers(9000), np.tile([32, 32], (9000, 1))
    )
    values, counts = np.unique(plan.shifts, axis=0, return_counts=True)
    assert len(values) == 81 and values.min() == -4 and values.max() == 4
    assert counts.min() > 60 and counts.max() < 170
    assert 0.47 < plan.flips.mean() < 0.53
    assert not Augmentation().plan(numbers(9), np.ones((9, 2))).flips.any()


def test_lighting_has_the_principal_components_of_alexnet():
    light = Augmentation(lighting=0.1).plan(numbers(40_000), np.ones((40_000, 2))).light
    directions, deviations = augmenting._DIRECTIONS, augmenting._DEVIATIONS
    expected = directions @ np.diag((25.5 * deviations) ** 2) @ directions.T
    assert np.abs(directions.T @ directions - np.eye(3)).max() < 1e-3
    assert np.abs(light.mean(axis=0)).max() < 0.1
    np.testing.assert_allclose(np.cov(light.T), expected, rtol=0.04, atol=0.02)


def noisy(seed=0, size=(12, 10)):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), "uint8")
    return Image.fromarray(pixels)


def grey(pixels):
    return pixels @ [0.299, 0.587, 0.114]


@pytest.mark.parametrize("index", range(3))
def test_jitter_blends_as_torchvision(index):
    """factor * picture + (1 - factor) * black, mean grey or grey picture."""
    picture, factors = noisy(), [1.0, 1.0, 1.0, 0.0]
    factors[index] = 1.3
    pixels = np.asarray(picture, "float64")
    other = (0.0, np.rint(grey(pixels).mean()), grey(pixels)[..., None])[index]
    expected = np.clip(1.3 * pixels - 0.3 * other, 0, 255)
    found = np.asarray(
        image_operations.jitter(picture, factors, [2, 0, 3, 1]), "float64"
    )
    assert np.abs(found - expected).max() <= 1.5


def test_jitter_of_hue_and_its_order():
    picture = noisy()
    turned = (
        np.asarray(image_operations.jitter(picture, [1, 1, 1, 0.25], range(4))) / 255
    )
    for old, new in zip(
        np.asarray(picture).reshape(-1, 3) / 255, turned.reshape(-1, 3), strict=True
    ):
        hue, saturation, value = colorsys.rgb_to_hsv(*old)
        if saturation > 0.2 and value > 0.2:
            expected = colorsys.hsv_to_rgb((hue + 64 / 255) % 1, saturation, value)
            assert np.abs(np.array(expected) - new).max() < 0.05
    factors = [1.4, 0.6, 1.4, 0.1]
    first = np.asarray(image_operations.jitter(picture, factors, [0, 1, 2, 3]))
    assert (
        first != np.asarray(image_operations.jitter(picture, factors, [3, 1, 2, 0]))
    ).any()
    plan = Augmentation(jitter=(0.4, 0.3, 0.2, 0.1)).plan(
        numbers(2000), np.ones((2000, 2))
    )
    low, high = plan.factors.min(axis=0), plan.factors.max(axis=0)
    np.testing.assert_allclose(low, [0.6, 0.7, 0.8, -0.1], atol=0.01)
    np.testing.assert_allclose(high, [1.4, 1.3, 1.2, 0.1], atol=0.01)
    assert len(np.unique(plan.order, axis=0)) == 24


def applied(name, strength=1.0, sign=1, size=(331, 331)):
    picture = noisy(size=size)
    found = image_operations.OPERATIONS[name](picture, strength, sign, (9, 9, 9))
    return np.asarray(picture).astype(int), np.asarray(found).astype(int)


def test_operations_of_rand_augment():
    before, after = applied("translate_x")
    assert (after[:, :-150] == before[:, 150:]).all() and (after[:, -150:] == 9).all()
    before, after = applied("translate_y", sign=-1)
    assert (after[150:] == before[:-150]).all() and (after[:150] == 9).all()
    before, after = applied("posterize")
    assert (after == before // 16 * 16).all()
    before, after = applied("solarize", 0.5)
    assert (after == np.where(before < 128, before, 255 - before)).all()
    before, after = applied("brightness", sign=-1)
    assert np.abs(after - 0.1 * before).max() <= 1
    for name in ("autocontrast", "equalize"):
        before, after = applied(name)
        whole = getattr(ImageOps, name)(Image.fromarray(before.astype("uint8")))
        assert (after == np.asarray(whole)).all()
    # A vertical line leans by 0.3 and a horizontal one turns by 30 degrees.
    line = np.zeros((101, 101, 3), "uint8")
    line[:, 50] = 255
    leant = image_operations.OPERATIONS["shear_x"](
        Image.fromarray(line), 1.0, 1, (0, 0, 0)
    )
    columns = np.asarray(leant)[..., 0].argmax(axis=1)
    assert abs(np.polyfit(np.arange(101), columns, 1)[0] + 0.3) < 0.01
    turned = image_operations.OPERATIONS["rotate"](
        Image.fromarray(line.transpose(1, 0, 2)), 1.0, 1, (0, 0, 0)
    )
    rows = np.asarray(turned)[:, 20:80, 0].argmax(axis=0)
    assert abs(np.polyfit(np.arange(60), rows, 1)[0] + np.tan(np.pi / 6)) < 0.02


def test_rand_augment_chooses_by_its_seed():
    picture, counts = noisy(size=(40, 40)), {}
    for name, function in image_operations.OPERATIONS.items():
        still = ("identity", "posterize", "solarize", "autocontrast", "equalize")
        if name not in still:
            same = function(picture, 0.0, -1, (0, 0, 0))
            assert np.abs(np.asarray(same, int) - np.asarray(picture, int)).max() <= 1
        counts[name] = 0
    calls = []
    table = dict(image_operations.OPERATIONS)
    for name in table:
        image_operations.OPERATIONS[name] = lambda p, s, sign, f, n=name: (
            calls.append((n, sign, s)) or p
        )
    try:
        for seed in range(1400):
            image_operations.rand_augment(picture, 2, 6, seed, (0, 0, 0))
    finally:
        image_operations.OPERATIONS.update(table)
    for name, _, strength in calls:
        counts[name] += 1
        assert strength == 0.6
    assert len(calls) == 2800
    assert min(counts.values()) > 150 and max(counts.values()) < 250
    assert 0.45 < np.mean([sign > 0 for _, sign, _ in calls]) < 0.55
    one = image_operations.rand_augment(picture, 3, 9, 5, (0, 0, 0))
    two = image_operations.rand_augment(picture, 3, 9, 5, (0, 0, 0))
    assert np.asarray(one).tobytes() == np.asarray(two).tobytes()


def batch(count, side=8):
    """Pictures that are their own index all over, of a class of their own each."""
    pictures = np.broadcast_to(
        np.arange(1, count + 1, dtype="float32")[:, None, None, None],
        (count, side, side, 3),
    ).copy()
    return pictures, np.eye(count, dtype="float32")


def test_mixup_is_the_papers_formula():
    pictures, targets = batch(64)
    mixer, shares = Mixer(Augmentation(mixup=0.4)), []
    for seed in range(30):
        x, y = mixer(pictures, targets, seed)
        assert x.dtype == y.dtype == np.float32
        np.testing.assert_allclose(y.sum(axis=1), 1, atol=1e-6)
        # x = lambda x1 + (1 - lambda) x2 with the lambda of the targets.
        expected = y @ np.arange(1, 65, dtype="float32")
        np.testing.assert_allclose(x[:, 0, 0, 0], expected, rtol=1e-5)
        assert (x == x[:, :1, :1, :1]).all()
        assert (np.count_nonzero(y > 1e-7, axis=1) <= 2).all()
        shares.extend(np.diagonal(y)[np.count_nonzero(y, axis=1) == 2])
    # Beta(0.4, 0.4): mean 1/2, variance 1 / (4 (2 alpha + 1)).
    assert len(shares) > 1500 and abs(np.mean(shares) - 0.5) < 0.03
    assert abs(np.var(shares) - 1 / (4 * 1.8)) < 0.01


@pytest.mark.parametrize("side", [8, 33])
def test_cutmix_targets_are_the_exact_shares(side):
    pictures, targets = batch(32, side)
    mixer, shares = Mixer(Augmentation(cutmix=1.0)), []
    for seed in range(20):
        x, y = mixer(pictures, targets, seed)
        for index in range(32):
            found = np.bincount(x[index, ..., 0].astype(int).ravel(), minlength=33)[1:]
            np.testing.assert_allclose(y[index], found / side**2, atol=1e-6)
            assert np.count_nonzero(found) <= 2
            other = np.argwhere(x[index, ..., 0] != index + 1)
            if len(other):
                # What comes from the other picture is one rectangle.
                assert np.prod(np.ptp(other, axis=0) + 1) == len(other)
        shares.extend(np.diagonal(y))
    # Beta(1, 1): uniform, but for the rounding to pixels and partners of its own.
    assert abs(np.mean(shares) - 0.5) < 0.06 and np.ptp(shares) > 0.7


def test_mixup_and_cutmix_take_turns_by_a_fair_coin():
    pictures, targets = batch(16)
    mixer = Mixer(Augmentation(mixup=0.8, cutmix=1.0))
    mixed = [
        bool((mixer(pictures, targets, seed)[0] % 1 > 1e-4).any())
        for seed in np.random.default_rng(0).integers(0, 2**31, 40).tolist()
    ]
    assert 10 < sum(mixed) < 30


def test_erasing():
    pictures, targets = batch(64, 16)
    mixer, erased, shares = Mixer(Augmentation(erase=0.25)), 0, []
    for seed in range(20):
        x, y = mixer(pictures, targets, seed)
        assert (y == targets).all() and ((x == pictures) | (x == 0)).all()
        hit = (x == 0).any(axis=(1, 2, 3))
        erased += hit.sum()
        shares.extend((x[hit] == 0).mean(axis=(1, 2, 3)))
    assert 0.2 < erased / (64 * 20) < 0.3
    assert 0.01 < np.min(shares) and np.max(shares) < 0.45


def test_mixing_depends_on_the_seed_alone():
    pictures, targets = batch(8)
    changes = Augmentation(mixup=0.2, cutmix=1.0, erase=0.5)
    first = Mixer(changes)
    for seed in (3, 4, 5):
        expected = first(pictures, targets, seed)
        keras.utils.set_random_seed(seed)
        found = Mixer(changes)(pictures, targets, seed)
        assert all((a == b).all() for a, b in zip(expected, found, strict=True))
    assert (first(pictures, targets, 3)[0] != first(pictures, targets, 5)[0]).any()
