"""Folders of images as people have them: names, parts, what systems leave in them."""

import argparse
import shutil
import unicodedata

import data_sources as sources
import numpy as np
import pytest
from PIL import Image

from keras_resnets import InvalidArgument
from keras_resnets.cli.commands import compare
from keras_resnets.images import calibration
from keras_resnets.images import evaluation
from keras_resnets.images import files as image_files
from keras_resnets.images import folders as image_folders
from keras_resnets.images import held_out
from keras_resnets.images import labels
from keras_resnets.images import loading
from keras_resnets.images.datasets import arrays
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.training.data import open_dataset

RAW = Preprocessing("raw", (8, 8), 1.0)


def grey(path, value, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, "uint8")).save(path)


def classes_of(folder, names, count=2, first=0):
    """A folder a class, whose images have the grey of its place in `names`."""
    for index, name in enumerate(names):
        for number in range(count):
            grey(folder / name / f"{number}.png", first + 20 * index)
    return folder


def seen(folder, names=(), **options):
    """{grey: class} of what `evaluate` sees."""
    data = evaluation.open_data(folder, RAW, names=names, **options)
    values = [float(image[0, 0, 0]) for batch in data.batches(3) for image in batch]
    return dict(zip(values, data.labels.tolist(), strict=True)), data


def test_numbered_folders_are_named_before_they_are_numbered(tmp_path):
    """What a training on folders 1 to 10 keeps as names: each number is an id too."""
    order = sorted(str(number) for number in range(1, 11))
    folder = classes_of(tmp_path / "a", order)
    assert [name for _, name in open_dataset(folder, 0).classes] == order
    known = labels.class_names(10, order)
    found, data = seen(folder, known)
    assert found == {20.0 * index: index for index in range(10)}
    assert np.bincount(data.labels).tolist() == [2] * 10 and not data.notes


@pytest.mark.parametrize("form", ["{}", "{:02}"])
def test_numbers_count_from_zero_where_no_folder_has_a_name(form, tmp_path):
    folder = classes_of(tmp_path, [form.format(number) for number in range(10)])
    found, data = seen(folder, labels.class_names(10, "cifar10"))
    assert found == {20.0 * index: index for index in range(10)}
    (note,) = data.notes
    assert "class indices from 0" in note and "'airplane'" in note


@pytest.mark.parametrize(
    "names, unknown",
    [
        (["airplane", "bird", "hirsch"], "hirsch"),
        ([str(number) for number in range(1, 11)], "1, 10, 2, .*indices are 0 to 9"),
        (["0", "bird"], "0"),
        (["plane", "automobil"], "automobil, plane; did you mean 'automobile'"),
    ],
)
def test_folders_that_are_no_classes_are_refused(names, unknown, tmp_path):
    known = labels.class_names(10, "cifar10")
    folder = classes_of(tmp_path / "a", names)
    for look in (
        lambda: evaluation.open_data(folder, RAW, names=known),
        lambda: open_dataset(folder, classes=known),
    ):
        with pytest.raises(InvalidArgument, match=f"got {unknown}"):
            look()


def test_spelling_that_differs_in_capitals_and_blanks(tmp_path):
    names = ["Great_White-Shark", "CAT"]
    folder = classes_of(tmp_path / "a", names)
    known = labels.class_names(3, ["cat", "dog", "great white shark"])
    assert seen(folder, known)[0] == {0.0: 2, 20.0: 0}
    both = classes_of(tmp_path / "b", ["cat", "Cat"])
    with pytest.raises(InvalidArgument, match="Cat and cat are the same"):
        seen(both, known)
    # Where that is all they differ in, it counts.
    assert seen(both, labels.class_names(2, ["Cat", "cat"]))[0] == {0.0: 1, 20.0: 0}


def test_accents_are_one_character_or_two(tmp_path):
    """macOS writes names of files in NFD."""
    names = ["café", "thé"]
    folder = classes_of(tmp_path, [unicodedata.normalize("NFD", n) for n in names])
    assert seen(folder, labels.class_names(2, names))[0] == {0.0: 0, 20.0: 1}


def test_wordnet_ids_after_a_training_on_some_of_imagenet(tmp_path):
    """The names go into the weights, the folders keep their ids."""
    ids = ["n01440764", "n02012849", "n03126707", "n02111889"]
    folder = classes_of(tmp_path / "a", ids)
    data = open_dataset(folder, 0)
    names = [name for _, name in data.classes]
    assert names == ["tench", "crane bird", "Samoyed", "crane"]
    found, _ = seen(folder, labels.class_names(4, names))
    assert found == {0.0: 0, 20.0: 1, 40.0: 3, 60.0: 2}


def test_classes_without_names_go_by_sorting_and_that_is_said(tmp_path):
    folder = classes_of(tmp_path / "a", ["zebra", "ant", "10", "9"])
    for names in ((), labels.class_names(4)):
        found, data = seen(folder, names)
        assert found == {0.0: 3, 20.0: 2, 40.0: 0, 60.0: 1}
        assert "in sorted order" in data.notes[0]
    with pytest.raises(InvalidArgument, match="has 5 classes.*unknown; got 4"):
        seen(folder, labels.class_names(5))


PARTS = [
    ("train", "test"),
    ("Train", "Test"),
    ("Training", "Testing"),
    ("TRAIN", "VAL"),
    ("training_set", "test_set"),
    ("train2017", "val2017"),
    ("train_images", "valid"),
]


@pytest.mark.parametrize("train, test", PARTS)
def test_parts_in_any_case_and_usual_words(train, test, tmp_path):
    names = ["cat", "dog"]
    classes_of(tmp_path / train, names, 4)
    classes_of(tmp_path / test, names, 1, first=100)
    grey(tmp_path / ".ipynb_checkpoints" / "a" / "b.png", 0)
    known = labels.class_names(2, names)
    found, data = seen(tmp_path, known)
    assert found == {100.0: 0, 120.0: 1}
    assert f"the images of {test} are used" in data.notes[0]
    assert seen(tmp_path, known, part="train")[0] == {0.0: 0, 20.0: 1}
    opened = open_dataset(tmp_path)
    assert [name for _, name in opened.classes] == names
    held = opened.test or opened.validation
    assert held.count == 2
    kept = opened.train.count + (opened.validation.count if opened.test else 0)
    assert kept == 8


def test_calibration_takes_the_part_to_train_on(tmp_path):
    names = ["cat", "dog"]
    classes_of(tmp_path / "Train", names, 10)
    classes_of(tmp_path / "Test", names, 10, first=100)
    chosen = calibration.choose(tmp_path, RAW, 12)
    assert (chosen.available, chosen.taken) == (20, 12)
    assert set(np.unique(chosen.images)) == {0.0, 20.0}
    loaded, _ = loading.load_folder(tmp_path, RAW, 30)
    assert len(loaded) == 20
    known = labels.class_names(2, names)
    rest = held_out.hold_out(tmp_path, RAW, chosen, 100, known)
    values = [image[0, 0, 0] for batch in rest.batches(5) for image in batch]
    assert len(values) == 8
    assert [20 * label for label in rest.labels] == values


def test_train_beside_a_flat_test_folder(tmp_path):
    classes_of(tmp_path / "train", ["cat", "dog"], 5)
    grey(tmp_path / "test" / "1.png", 9)
    data = open_dataset(tmp_path, 0)
    assert data.train.count == 10 and data.test is None
    assert "test in" in data.notes[0] and "is ignored" in data.notes[0]
    with pytest.raises(InvalidArgument, match="a test split; it only has train: give"):
        seen(tmp_path, labels.class_names(2, ["cat", "dog"]))


def test_parts_that_are_classes_and_parts_without(tmp_path):
    """A class may be called test, beside others that hold images."""
    folder = classes_of(tmp_path / "a", ["control", "test"])
    assert [name for _, name in open_dataset(folder, 0).classes] == ["control", "test"]
    flat = classes_of(tmp_path / "b", ["train", "test"])
    with pytest.raises(InvalidArgument, match="have the names of splits.*none does"):
        open_dataset(flat)
    # Unless they are named.
    assert open_dataset(flat, 0, classes=["train", "test"]).train.count == 4
    twice = tmp_path / "c"
    for name in ("train", "val", "valid"):
        classes_of(twice / name, ["cat", "dog"])
    with pytest.raises(InvalidArgument, match="validation split.*val, valid"):
        open_dataset(twice)
    only = classes_of(tmp_path / "d" / "val", ["cat", "dog"])
    with pytest.raises(InvalidArgument, match="a train split; it only has val"):
        open_dataset(only.parent)
    assert seen(only.parent, labels.class_names(2, ["cat", "dog"]))[1].labels.size == 4


@pytest.mark.parametrize(
    "outer, inner, said",
    [
        (["fold1", "fold2"], ["cat", "dog"], "fold1, fold2 may be splits.*cat, dog"),
        (["site a", "site b"], ["cat", "dog"], "are ambiguous"),
        (["cat", "dog"], ["train", "test"], "classes whose images are in test, train"),
        (
            ["everything"],
            ["cat", "dog"],
            "only sub-folder is everything.*: give .*everything",
        ),
        (["images", "masks"], ["a"], "images and their masks"),
        (["images", "masks"], [""], "images and their masks"),
        (["imgs", "ground_truth"], [""], "their ground_truth"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(outer, inner, said, tmp_path):
    for name in outer:
        classes_of(tmp_path / name, inner)
    for look in (
        lambda: open_dataset(tmp_path),
        lambda: evaluation.open_data(tmp_path, RAW),
        lambda: evaluation.open_data(
            tmp_path, RAW, names=labels.class_names(2, ["ship", "truck"])
        ),
    ):
        with pytest.raises(InvalidArgument, match=said):
            look()
    if len(outer) > 1:
        named = open_dataset(tmp_path, 0, classes=outer)
        assert sorted(set(named.train.labels)) == [0, 1]


def test_parts_within_folders_of_their_own_are_no_classes(tmp_path):
    """As the data set of Intel's scenes has them: seg_train/seg_train/street."""
    for part in ("seg_train", "seg_test"):
        classes_of(tmp_path / part / part, ["sea", "street"])
    grey(tmp_path / "seg_pred" / "seg_pred" / "1.png", 9)
    for look in (open_dataset, lambda folder: evaluation.open_data(folder, RAW)):
        said = r"in sea, street of \S+seg_test.seg_test: give \S+seg_test.seg_test if"
        with pytest.raises(InvalidArgument, match=said):
            look(tmp_path)


def test_classes_of_sub_folders_alone_are_said(tmp_path):
    """Kinds of kinds: which of both are the classes is for the user to know."""
    classes_of(tmp_path / "animals", ["cat", "dog"])
    classes_of(tmp_path / "vehicles", ["bus", "ship"])
    for data in (open_dataset(tmp_path, 0), seen(tmp_path)[1]):
        (note,) = [line for line in data.notes if "sub-folders:" in line]
        assert "images of animals, vehicles are in sub-folders" in note
    plain = classes_of(tmp_path / "plain", ["cat", "dog"])
    assert not open_dataset(plain, 0).notes


def test_a_copy_of_the_classes_is_no_class(tmp_path):
    """Kaggle's flowers: flowers/rose and flowers/flowers/rose."""
    folder = classes_of(tmp_path / "flowers", ["daisy", "rose", "tulip"])
    classes_of(folder / "flowers", ["daisy", "rose", "tulip"])
    for look in (open_dataset, lambda folder: evaluation.open_data(folder, RAW)):
        with pytest.raises(
            InvalidArgument, match="flowers has daisy, rose, tulip in it"
        ):
            look(folder)
    assert len(open_dataset(folder / "flowers", 0).classes) == 3


def test_classes_that_may_be_one_are_said(tmp_path):
    classes_of(tmp_path / "case", ["cat", "Cat", "dog"])
    (note,) = open_dataset(tmp_path / "case", 0).notes
    assert "has the classes Cat and cat, which may be one class" in note
    linked = classes_of(tmp_path / "linked", ["cat", "dog"])
    (linked / "kitten").symlink_to(linked / "cat")
    (note,) = open_dataset(linked, 0).notes
    assert "classes cat and kitten" in note and "same folder" in note


def test_folders_within_classes_are_of_the_class(tmp_path):
    grey(tmp_path / "cat" / "2019" / "a.png", 0)
    grey(tmp_path / "cat" / "b.png", 0)
    grey(tmp_path / "dog" / "2019" / "a.png", 20)
    grey(tmp_path / "dog" / "b.png", 20)
    assert seen(tmp_path, labels.class_names(2, ["cat", "dog"]))[1].labels.size == 4


SYSTEM = [
    *(".ipynb_checkpoints/a-checkpoint.png", "@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg"),
    *("._a.png", "__MACOSX/._a.png", ".DS_Store", "Thumbs.db", "desktop.ini"),
    *("$RECYCLE.BIN/a.png", "#recycle/a.png", "lost+found/a.png", ".@__thumb/a.png"),
    *("System Volume Information/a.png", ".thumbnails/a.png", "@Recycle/a.png"),
]


@pytest.mark.parametrize("entry", SYSTEM)
def test_what_systems_leave_behind_is_no_image_and_no_class(entry, tmp_path):
    folder = classes_of(tmp_path / "a", ["cat", "dog"], 5)
    for place in (folder, folder / "cat"):
        path = place / entry
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((folder / "dog" / "0.png").read_bytes())
    found, _ = seen(folder, labels.class_names(2, ["cat", "dog"]))
    assert found == {0.0: 0, 20.0: 1}
    data = open_dataset(folder, 0)
    assert data.train.count == 10 and len(data.classes) == 2 and not data.skipped
    assert len(loading.list_images(folder)) == 10
    assert calibration.choose(folder, RAW, 10).available == 10


@pytest.mark.parametrize("target", [".", "..", "../.."])
def test_links_to_folders_around_are_no_classes(target, tmp_path):
    folder = sources.write_folder(tmp_path / "in" / "photos", 2, ("a", "b"))
    (folder / "all").symlink_to(target, target_is_directory=True)
    elsewhere = sources.write_folder(tmp_path / "in" / "elsewhere", 2, ("c",))
    (folder / "c").symlink_to(elsewhere / "c", target_is_directory=True)
    assert image_folders.class_folders(folder) == ["a", "b", "c"]


READ = ["jpg", "JPG", "jpeg", "jpe", "jfif", "png", "bmp", "gif", "webp"]
READ += ["tif", "TIFF", "ppm", "pnm", "pgm", "avif", "jp2", "tga"]


@pytest.mark.parametrize("ending", READ)
def test_suffixes_that_pillow_reads(ending, tmp_path):
    kind = {"jpe": "JPEG", "jfif": "JPEG", "pgm": "PPM", "pnm": "PPM"}.get(ending)
    if f".{ending}".lower() not in image_files.suffixes():
        pytest.skip(f"this Pillow does not read .{ending}")
    for name, value in (("a", 40), ("b", 200)):
        (tmp_path / name).mkdir()
        image = Image.new("RGB", (8, 8), (value,) * 3)
        image = image.convert("L") if ending == "pgm" else image
        image.save(tmp_path / name / f"0.{ending}", kind)
    (low, high), _ = seen(tmp_path)
    assert abs(low - 40) < 3 and abs(high - 200) < 3


def test_images_that_cannot_be_opened_are_counted_and_said(tmp_path, monkeypatch):
    folder = classes_of(tmp_path / "a", ["cat", "dog"], 5)
    monkeypatch.setattr(image_files, "suffixes", lambda: (".png", ".jpg"))
    for number in range(3):
        (folder / "cat" / f"{number}.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    (folder / "dog" / "raw.cr2").write_bytes(b"II*\0")
    (folder / "dog" / "notes.txt").write_text("none")
    for data in (open_dataset(folder, 0), seen(folder)[1]):
        assert any(
            "4 images end in .cr2, .heic" in note and "pillow-heif" in note
            for note in data.notes
        )
    (tmp_path / "b" / "cat").mkdir(parents=True)
    (tmp_path / "b" / "cat" / "a.heic").write_bytes(b"")
    with pytest.raises(InvalidArgument, match="1 image ends in .heic"):
        open_dataset(tmp_path / "b")
    with pytest.raises(InvalidArgument, match="1 image ends in .heic"):
        loading.load_folder(tmp_path / "b", RAW)


def test_images_without_a_suffix_and_beside_the_classes(tmp_path):
    folder = classes_of(tmp_path, ["cat", "dog"])
    for name in ("cat", "dog"):
        (folder / name / "0.png").rename(folder / name / "0")
    (folder / "cat" / "LICENSE").write_text("none")
    grey(folder / "preview.png", 200)
    found, data = seen(folder, labels.class_names(2, ["cat", "dog"]))
    assert found == {0.0: 0, 20.0: 1} and len(data.labels) == 4
    assert data.notes == (f"1 image directly in {folder} has no class and is ignored",)


def test_verify_takes_images_of_every_class(tmp_path):
    folder = classes_of(tmp_path, list("abcdefghij"), 12)
    words = {"data": str(folder), "count": 100, "seed": 0}
    options = argparse.Namespace(**words)
    batches, found = compare._images(options, RAW, (8, 8, 3), (), several=False)
    assert np.bincount(found).tolist() == [10] * 10
    assert sum(map(len, batches)) == 100


def test_a_program_named_as_an_image_is_not_run(tmp_path):
    """Pillow hands PostScript to Ghostscript, which runs it."""
    path = tmp_path / "a.jpg"
    Image.new("RGB", (8, 8)).save(path, "EPS")
    with pytest.raises(InvalidArgument, match="not a readable image"):
        loading.load_image(path, RAW)


def test_what_is_said_of_images_without_labels(tmp_path):
    classes_of(tmp_path / "train", ["cat", "dog"], 2)
    classes_of(tmp_path / "test", ["cat", "dog"], 2)
    (tmp_path / "train" / "cat" / "a.svg").write_text("<svg/>")
    part, others, broken = image_folders.notes_of(tmp_path, ("x.png",))
    assert part.endswith("the images of train are used")
    assert "1 image ends in .svg" in others and "x.png" in broken
    assert image_folders.notes_of(tmp_path / "test") == ()


def test_records_are_measured_by_too(tmp_path):
    folder = sources.write_folder(tmp_path / "a", 22)
    records = sources.write_records(tmp_path / "records", folder)
    data = evaluation.open_data(records, RAW, part="train")
    expected, order = evaluation.open_data(folder, RAW), np.arange(22)
    order = np.concatenate([order[0::2], order[1::2]])
    assert data.labels.tolist() == expected.labels[order].tolist()
    found, wanted = (np.concatenate(list(x.batches(7))) for x in (data, expected))
    assert (found == wanted[order]).all()
    with pytest.raises(InvalidArgument, match="a test split; it only has train"):
        evaluation.open_data(records, RAW)
    for shard in records.iterdir():
        shard.rename(shard.with_name(shard.name.replace("train", "validation")))
    data = evaluation.open_data(records, RAW, 6)
    assert np.bincount(data.labels).tolist() == [2, 2, 2]
    assert "validation is used" in data.notes[0]


def test_some_of_many_are_spread_over_the_classes_by_seed(tmp_path):
    sorted_labels = np.repeat(np.arange(10), 60)
    for count in (10, 100, 300):
        chosen = arrays.spread(sorted_labels, count, 1)
        assert len(set(chosen)) == count and (np.diff(chosen) > 0).all()
        assert (np.bincount(sorted_labels[chosen]) == count // 10).all()
    assert (
        arrays.spread(sorted_labels, 100, 1) == arrays.spread(sorted_labels, 100, 1)
    ).all()
    assert (
        arrays.spread(sorted_labels, 100, 2) != arrays.spread(sorted_labels, 100, 1)
    ).any()
    rare = np.array([0] * 990 + [1] * 10)
    assert np.bincount(rare[arrays.spread(rare, 100)]).tolist() == [99, 1]
    assert arrays.spread(rare, 5000).tolist() == list(range(1000))


def test_count_takes_the_same_images_everywhere(tmp_path):
    folder = classes_of(tmp_path / "a", list("abcdefghij"), 6)
    one, two = (seen(folder, count=20, seed=3)[1] for _ in range(2))
    assert np.bincount(one.labels).tolist() == [2] * 10
    assert (
        np.concatenate(list(one.batches(7))) == np.concatenate(list(two.batches(20)))
    ).all()
    pixels = np.arange(60, dtype="uint8")[:, None, None, None] + np.zeros(
        (8, 8, 3), "uint8"
    )
    np.savez(tmp_path / "a.npz", x_test=pixels, y_test=np.repeat(np.arange(10), 6))
    data = evaluation.open_data(tmp_path / "a.npz", RAW, 20, seed=3)
    assert np.bincount(data.labels).tolist() == [2] * 10
    places = [int(image[0, 0, 0]) for batch in data.batches(9) for image in batch]
    assert places == arrays.spread(np.repeat(np.arange(10), 6), 20, 3).tolist()


@pytest.mark.parametrize(
    "words",
    [
        ("x_val", "y_val"),
        ("X_valid", "Y_valid"),
        ("x_validation", "y_validation"),
        ("images_val", "labels_val"),
        ("val_x", "val_y"),
        ("val_data", "val_labels"),
        ("val_images", "val_labels"),
    ],
)
def test_validation_arrays_of_an_npz(words, tmp_path):
    pixels = np.stack([sources.picture(seed, (8, 8)) for seed in range(12)])
    arrays = {"x_train": pixels[:8], "y_train": np.arange(8) % 2}
    np.savez(
        tmp_path / "a.npz",
        **arrays,
        **{words[0]: pixels[8:], words[1]: np.array([0, 1, 1, 1])[:, None]},
    )
    data = open_dataset(tmp_path / "a.npz")
    assert (data.train.count, data.validation.count, data.test) == (8, 4, None)
    assert data.validation.labels.tolist() == [0, 1, 1, 1]
    found = evaluation.open_data(tmp_path / "a.npz", RAW)
    assert found.labels.tolist() == [0, 1, 1, 1]
    assert "no test split: validation is used" in found.notes[0]
    # Endings may have capitals.
    (tmp_path / "a.npz").rename(tmp_path / "B.NPZ")
    assert open_dataset(tmp_path / "B.NPZ").validation.count == 4


def test_test_images_without_labels_are_named(tmp_path):
    pixels, answers = np.zeros((4, 8, 8, 3), "uint8"), np.arange(4) % 2
    np.savez(tmp_path / "a.npz", x_train=pixels, y_train=answers, x_test=pixels)
    with pytest.raises(
        InvalidArgument, match="x_test and y_test: it has x_train, y_tr"
    ):
        open_dataset(tmp_path / "a.npz")


@pytest.mark.parametrize("counts, is_said", [((2, 1), True), ((2, 2), False)])
def test_classes_without_held_out_images_are_said(counts, is_said, tmp_path):
    answers = np.repeat([0, 1], counts)
    pixels = np.zeros((len(answers), 8, 8, 3), "uint8")
    pixels[:] = np.arange(len(answers)).reshape(-1, 1, 1, 1)
    np.savez(tmp_path / "a.npz", x_train=pixels, y_train=answers)
    said = "no held-out image is of class 1: the validation accuracy does not tell how"
    notes = open_dataset(tmp_path / "a.npz", 0.5).notes
    assert [said in note for note in notes] == [True] * is_said
    assert not open_dataset(tmp_path / "a.npz", 0).notes


@pytest.mark.parametrize(
    "answers, said",
    [
        ([0, 1, 3, 3], "0..3 without gaps; no image has 2.*name all 4"),
        ([1, 2, 3, 1], "must start from 0; got 1..3: subtract 1"),
        ([0.0, 0.5, 1.0, 0.0], "one integer per image; got float64"),
        ([0.0, np.nan, 1.0, 0.0], "one integer per image; got float64"),
        ([0.0, 1e30, 1.0, 0.0], "one integer per image; got float64"),
        (["a", "b", "a", "b"], "text such as 'a': store np.unique.*--labels"),
        ([[1, 1], [0, 1], [1, 0], [0, 1]], "one-hot rows"),
    ],
)
def test_labels_that_are_refused(answers, said, tmp_path):
    pixels = np.zeros((4, 8, 8, 3), "uint8")
    np.savez(tmp_path / "a.npz", x_train=pixels, y_train=answers)
    with pytest.raises(InvalidArgument, match=said):
        open_dataset(tmp_path / "a.npz", 0)


@pytest.mark.parametrize(
    "names",
    [
        ("x", "y"),
        ("X", "Y"),
        ("images", "labels"),
        ("image", "label"),
        ("data", "targets"),
        ("images", "target", "data"),
    ],
    ids="-".join,
)
def test_a_file_that_is_not_split_is_any_part(names, tmp_path):
    """As a folder of classes is: for training, for evaluation, for calibration."""
    pixels = np.arange(40 * 4 * 4 * 3).reshape(40, 4, 4, 3).astype("uint8")
    other = {name: pixels.reshape(40, -1) for name in names[2:]}
    path = tmp_path / "a.npz"
    np.savez(
        path, **dict(zip(names, (pixels, np.arange(40) % 4), strict=False)), **other
    )
    data = open_dataset(path)
    assert (data.train.count, data.validation.count, data.test) == (36, 4, None)
    assert evaluation.open_data(path, RAW).labels.tolist() == list(range(4)) * 10
    assert (arrays.read_images(path, "train") == pixels).all()
    # Beside a split the names have no meaning.
    np.savez(path, x_test=pixels, y_test=np.arange(40) % 4, x=pixels, y=pixels)
    assert evaluation.open_data(path, RAW).labels.tolist() == list(range(4)) * 10
    with pytest.raises(InvalidArgument, match="x_train and y_train: it has x_test"):
        open_dataset(path)


@pytest.mark.parametrize(
    ("shape", "dtype", "said"),
    [
        ((4, 3, 32, 32), "uint8", r"channels first: store x.transpose\(0, 2, 3, 1\)"),
        ((4, 1, 28, 28), "float32", "channels first"),
        ((4, 3, 48, 64), "uint8", "channels first"),
        ((4, 28, 28), "uint8", "np.repeat"),
        ((4, 3072), "uint8", "x.reshape"),
        ((4, 8, 8, 3), "int64", r"x.astype\('uint8'\)"),
    ],
)
def test_a_refused_array_is_told_how_to_be_stored(shape, dtype, said):
    with pytest.raises(InvalidArgument, match=said):
        arrays.check_images(np.zeros(shape, dtype))


@pytest.mark.parametrize(
    "least, most, dtype",
    [
        (0, 1, "float32"),
        (0, 1, "float16"),
        (0, 255, "float64"),
        (0, 255, "uint16"),
        (0, 1023, "uint16"),
        (0, 65535, "uint16"),
        (0, 65535, "float32"),
        (0, 255, "int64"),
    ],
)
def test_pixels_that_are_stored_as_told_keep_their_range(least, most, dtype):
    x = np.linspace(least, most, 4 * 8 * 8 * 3).reshape(4, 8, 8, 3).astype(dtype)
    with pytest.raises(InvalidArgument) as error:
        arrays.check_images(x)
    stored = eval(str(error.value).partition(": store ")[2], {"x": x})
    assert stored.dtype == np.uint8
    assert (np.diff(stored.ravel().astype(int)) >= 0).all()
    assert (stored.min(), stored.max()) == (0, 255)


@pytest.mark.parametrize(
    "bad, said", [(np.nan, "not finite"), (-1, "of -1..1: store them")]
)
def test_values_that_are_no_pixels_are_named(bad, said):
    x = np.ones((4, 8, 8, 3), "float32")
    x[0, 0, 0, 0] = bad
    with pytest.raises(InvalidArgument, match=said):
        arrays.check_images(x)


@pytest.mark.parametrize(
    "most, channels, said", [(1, 3, True), (2, 3, False), (1, 5, False)]
)
def test_arrays_that_are_nearly_black_are_said(most, channels, said, tmp_path):
    """Such as numbers in 0..1 that were stored by x.astype('uint8')."""
    pixels = np.arange(4 * 8 * 8 * channels).reshape(4, 8, 8, channels) % (most + 1)
    pixels = pixels.astype("uint8")
    np.savez(tmp_path / "a.npz", x_train=pixels, y_train=[0, 1, 0, 1])
    notes = open_dataset(tmp_path / "a.npz", 0).notes
    assert any("pixels of x_train are 0 or 1" in note for note in notes) == said


def test_a_class_may_have_no_held_out_image(tmp_path):
    """An empty folder in val or test is a class without images, as no folder is."""
    for part in ("train", "val", "test"):
        classes_of(tmp_path / part, ("ant", "bee", "cat"))
    for part in ("val", "test"):
        shutil.rmtree(tmp_path / part / "ant")
        (tmp_path / part / "ant").mkdir()
    data = open_dataset(tmp_path)
    assert data.validation.labels.tolist() == data.test.labels.tolist() == [1, 1, 2, 2]
    assert "no held-out image is of ant" in data.notes[0]
    shutil.rmtree(tmp_path / "train" / "ant")
    (tmp_path / "train" / "ant").mkdir()
    with pytest.raises(InvalidArgument, match="1 contain none: ant"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("source", [None, np.zeros(3), ([1], [2]), {"image": 1}])
def test_data_must_be_a_path(source):
    with pytest.raises(
        InvalidArgument, match="the path or the name .* compile and fit"
    ):
        open_dataset(source)


@pytest.mark.parametrize(
    "name, said",
    [
        ("a.zip", "unpack it first"),
        ("a.tar.gz", "unpack"),
        ("a.h5", "write its images"),
    ],
)
def test_files_of_other_kinds_are_told_what_to_do(name, said, tmp_path):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InvalidArgument, match=said):
        open_dataset(tmp_path / name)


def test_images_without_class_folders_are_counted(tmp_path):
    grey(tmp_path / "a.png", 1)
    with pytest.raises(InvalidArgument, match="1 image directly in .* has no class"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("shape", [(4, 1, 128, 9), (4, 4, 4, 3), (4, 3, 16, 2)])
def test_flat_images_of_many_channels_are_taken(shape):
    arrays.check_images(np.zeros(shape, "uint8"))


def test_labels_that_are_taken(tmp_path):
    pixels = np.zeros((4, 8, 8, 3), "uint8")
    path = tmp_path / "a.npz"
    np.savez(path, x_train=pixels, y_train=np.eye(3, dtype="float32")[[2, 0, 1, 1]])
    assert open_dataset(path, 0).train.labels.tolist() == [2, 0, 1, 1]
    for answers in ([0.0, 1.0, 1.0, 0.0], [False, True, True, False]):
        np.savez(path, x_train=pixels, y_train=answers)
        assert open_dataset(path, 0).train.labels.tolist() == [0, 1, 1, 0]
    # A class that no image shows, where all are named or counted.
    np.savez(path, x_train=pixels, y_train=[0, 1, 3, 3])
    for classes in (4, list("abcd")):
        assert len(open_dataset(path, 0, classes=classes).classes) == 4


def test_parts_are_called_by_words():
    called = image_folders.part_called
    assert [called(name) for name in ("train", "Val", "TESTING", "valid_images")] == [
        *("train", "validation", "test", "validation")
    ]
    for name in ("trainer", "contest", "restrain", "valley", "seg_train", "latest"):
        assert called(name) is None
