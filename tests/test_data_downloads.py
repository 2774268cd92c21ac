"""Data sets as they are downloaded: competitions, tutorials, hubs."""

import csv
import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from keras_resnets import InvalidArgument
from keras_resnets.images.datasets import table_files
from keras_resnets.images.datasets.sources import open_part
from keras_resnets.training.data import open_dataset

NAMES = ("cat", "dog", "frog")
COUNT = 12


def name(index):
    return NAMES[index % 3]


def image(path, index):
    """An image whose grey tells its class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((8, 8, 3), 80 * (index % 3), "uint8")
    # No two are alike.
    pixels[0, 0] = index, index // 255, len(str(path))
    Image.fromarray(pixels).save(path)


def table(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


def kaggle_cifar10(folder):
    for index in range(COUNT):
        image(folder / f"train/{index}.png", index)
        image(folder / f"test/{index}.png", index + 1)
    rows = [(index, name(index)) for index in range(COUNT)]
    table(folder / "trainLabels.csv", ("id", "label"), *rows)
    rows = [(index, "cat") for index in range(COUNT)]
    table(folder / "sampleSubmission.csv", ("id", "label"), *rows)


def dog_breeds(folder):
    for index in range(COUNT):
        image(folder / f"train/{index:032x}.png", index)
        image(folder / f"test/{index + 99:032x}.png", index)
    rows = [(f"{index:032x}", name(index)) for index in range(COUNT)]
    table(folder / "labels.csv", ("id", "breed"), *rows)
    rows = [(f"{index + 99:032x}", 0.3, 0.3, 0.4) for index in range(COUNT)]
    table(folder / "sample_submission.csv", ("id", *NAMES), *rows)


def skin_lesions(folder):
    for index in range(COUNT):
        image(folder / f"images_part_{1 + index // 6}/ISIC_{index:07}.png", index)
    rows = [(f"HAM_{x}", f"ISIC_{x:07}", name(x), "80.0") for x in range(COUNT)]
    head = ("lesion_id", "image_id", "dx", "age")
    table(folder / "metadata.csv", head, *rows)


def traffic_signs(folder):
    head = ("Width", "Roi.X1", "ClassId", "Path")
    for part in ("Train", "Test"):
        rows = []
        for index in range(COUNT):
            inner = f"{index % 3}/" if part == "Train" else ""
            path = f"{part}/{inner}{index:05}.png"
            image(folder / path, index)
            rows.append((27, 5, index % 3, path))
        table(folder / f"{part}.csv", head, *rows)
    for index in range(3):
        image(folder / f"Meta/{index}.png", index)
    table(folder / "Meta.csv", ("Path", "ClassId"), *enumerate("012"))


def one_hot_in_parts(folder):
    for part in ("train", "valid", "test"):
        rows = []
        for index in range(COUNT):
            image(folder / part / f"{part}{index}_png.rf.a1.png", index)
            ones = [f" {int(index % 3 == place)}" for place in range(3)]
            rows.append((f"{part}{index}_png.rf.a1.png", *ones))
        head = ("filename", *(f" {label}" for label in NAMES))
        table(folder / part / "_classes.csv", head, *rows)


def metadata_in_parts(folder):
    for part in ("train", "test"):
        for index in range(COUNT):
            image(folder / part / f"{index:04}.png", index)
        rows = [(f"{index:04}.png", name(index)) for index in range(COUNT)]
        table(folder / part / "metadata.csv", ("file_name", "label"), *rows)


def json_lines_in_parts(folder):
    for part in ("train", "test"):
        lines = []
        for index in range(COUNT):
            image(folder / part / f"{index:04}.png", index)
            row = {"file_name": f"{index:04}.png", "label": name(index)}
            row |= {"objects": {"bbox": [[1, 2, 3, 4]]}, "width": 8}
            lines.append(json.dumps(row))
        (folder / part / "metadata.jsonl").write_text("\n".join([*lines, ""]))


def tiny_imagenet(folder):
    ids = ("n01443537", "n01629819", "n01641577")
    lines = []
    for index in range(COUNT):
        own = ids[index % 3]
        image(folder / f"train/{own}/images/{own}_{index}.JPEG", index)
        image(folder / f"val/images/val_{index}.JPEG", index)
        image(folder / f"test/images/test_{index}.JPEG", index)
        lines.append(f"val_{index}.JPEG\t{own}\t0\t32\t44\t62")
    for own in ids:
        (folder / f"train/{own}/{own}_boxes.txt").write_text(
            f"{own}_0.JPEG\t0\t10\t63\t58"
        )
    (folder / "val/val_annotations.txt").write_text("\n".join([*lines, ""]))
    (folder / "words.txt").write_text("n01443537\tgoldfish, Carassius auratus\n")


def grey_of(opened):
    return np.asarray(opened)[4, 4, 0]


def lists(folder):
    """Of Caffe, PaddleClas and mmpretrain, beside texts that are none."""
    for part in ("train", "val"):
        lines = []
        for index in range(COUNT):
            image(folder / f"{part} images/{index:04}.png", index)
            lines.append(f"{part} images/{index:04}.png {index % 3}")
        (folder / f"{part}_list.txt").write_text("\n".join([*lines, ""]))
    (folder / "test.txt").write_text("0001\n0002\n")
    (folder / "README.txt").write_text("Images of animals.")


def lists_of_validation(folder):
    """ImageNet: class folders to train on, a list for the other images."""
    lines = {"train": [], "val": []}
    for index in range(COUNT):
        inner = {"train": f"{name(index)}/{index}.png", "val": f"{index}.png"}
        for part, path in inner.items():
            image(folder / part / path, index)
            lines[part].append(f"{part}/{path}\t{index % 3}")
    for part, own in lines.items():
        (folder / f"{part}.txt").write_text("\n".join(own))


def without_names_of_columns(folder):
    for index in range(COUNT):
        image(folder / f"images/{index}.png", index)
    table(folder / "all.csv", *[(name(x), f"images/{x}.png") for x in range(COUNT)])


def vertex_ai(folder):
    rows = []
    for index in range(COUNT):
        image(folder / f"images/{index}.png", index)
        part = ("TRAINING", "VALIDATION", "TEST")[index // 3 % 3]
        rows.append((part, f"gs://bucket/images/{index}.png", name(index)))
    table(folder / "import.csv", *rows)


# Download -> images of (training with validation, test), names of the classes.
FOUND = {
    kaggle_cifar10: ((COUNT, 0), NAMES),
    dog_breeds: ((COUNT, 0), NAMES),
    skin_lesions: ((COUNT, 0), NAMES),
    traffic_signs: ((COUNT, COUNT), ("0", "1", "2")),
    one_hot_in_parts: ((2 * COUNT, COUNT), NAMES),
    metadata_in_parts: ((COUNT, COUNT), NAMES),
    json_lines_in_parts: ((COUNT, COUNT), NAMES),
    lists: ((2 * COUNT, 0), ("0", "1", "2")),
    lists_of_validation: ((2 * COUNT, 0), ("0", "1", "2")),
    without_names_of_columns: ((COUNT, 0), NAMES),
    vertex_ai: ((9, 3), NAMES),
    tiny_imagenet: (
        (2 * COUNT, 0),
        ("goldfish", "European fire salamander", "bullfrog"),
    ),
}


@pytest.mark.parametrize("download", FOUND, ids=lambda each: each.__name__)
def test_downloads_are_read_as_they_are(download, tmp_path):
    download(tmp_path)
    data = open_dataset(tmp_path)
    (count, tested), names = FOUND[download]
    assert tuple(label for _, label in data.classes) == names
    assert data.train.count + data.validation.count == count
    assert (data.test.count if data.test else 0) == tested
    for part in filter(None, (data.train, data.validation, data.test)):
        greys = [grey_of(part.images.open(index)) for index in part.indices]
        # A JPEG file has not the very grey.
        np.testing.assert_array_equal(np.rint(np.array(greys) / 80), part.labels)


def test_a_submission_alone_is_no_table(tmp_path):
    """Kaggle's cats and dogs: the classes are in the names of the images."""
    for index in range(COUNT):
        image(tmp_path / f"train/{name(index)}.{index}.png", index)
        image(tmp_path / f"test1/{index}.png", index)
    rows = [(index, index % 2) for index in range(COUNT)]
    table(tmp_path / "sampleSubmission.csv", ("id", "label"), *rows)
    with pytest.raises(
        InvalidArgument, match="must be a sub-folder or be named in a CSV"
    ):
        open_dataset(tmp_path)


def test_test_images_without_labels_cannot_be_measured_on(tmp_path):
    for index in range(COUNT):
        image(tmp_path / f"images/train_{index}.png", index)
        image(tmp_path / f"images/test_{index}.png", index)
    rows = [(f"train_{index}", name(index)) for index in range(COUNT)]
    table(tmp_path / "train.csv", ("id_code", "diagnosis"), *rows)
    table(tmp_path / "test.csv", ("id_code",), *[[f"test_{x}"] for x in range(COUNT)])
    assert open_dataset(tmp_path).test is None
    with pytest.raises(InvalidArgument, match="labelled test split; test.csv has no"):
        open_part(tmp_path, "test")
    split, _ = open_part(tmp_path / "train.csv", "test")
    assert split.count == COUNT


def test_several_tables_are_refused_still(tmp_path):
    image(tmp_path / "a.png", 0)
    for own in ("first.csv", "second.csv"):
        table(tmp_path / own, ("file", "label"), ("a.png", "cat"))
    with pytest.raises(InvalidArgument, match="2 tables, first.csv, second.csv"):
        open_dataset(tmp_path)


def test_json_lines_beside_a_csv_file_are_something_else(tmp_path):
    metadata_in_parts(tmp_path)
    for part in ("train", "test"):
        (tmp_path / part / "captions.jsonl").write_text('{"caption": "a cat"}')
    assert [label for _, label in open_dataset(tmp_path).classes] == [*NAMES]


def test_tables_beside_class_folders(tmp_path):
    for index in range(COUNT):
        image(tmp_path / name(index) / f"{index}.png", index)
    # Not about images, and one that agrees.
    table(tmp_path / "prices.csv", ("item", "price"), ("apple", 3))
    rows = [(f"{index}.png", name(index), index) for index in range(COUNT)]
    table(tmp_path / "noisy.csv", ("file", "noisy", "width"), *rows)
    assert open_dataset(tmp_path).notes == ()
    # One with other labels is said, and not read.
    rows = [(f"{index}.png", f"camera {index % 2}") for index in range(COUNT)]
    table(tmp_path / "noisy.csv", ("file", "label"), *rows)
    data = open_dataset(tmp_path)
    assert tuple(label for _, label in data.classes) == NAMES
    assert "noisy.csv names the images and is not read" in " ".join(data.notes)
    data = open_dataset(tmp_path / "noisy.csv")
    assert [label for _, label in data.classes] == ["camera 0", "camera 1"]


@pytest.mark.parametrize("form", ["{}", "class_{}"])
def test_numbered_classes_beside_a_table_are_classes(form, tmp_path):
    """Sizes of the images, say: their folders are not called parts."""
    rows = []
    for index in range(COUNT):
        image(tmp_path / form.format(index % 3) / f"{index:03}.png", index)
        rows.append((f"{index:03}.png", 640, 480))
    table(tmp_path / "sizes.csv", ("file", "width", "height"), *rows)
    data = open_dataset(tmp_path)
    assert tuple(label for _, label in data.classes) == tuple(
        map(form.format, range(3))
    )
    assert "sizes.csv names the images and is not read" in " ".join(data.notes)


def test_a_folder_that_cannot_be_listed_is_one_line(monkeypatch, tmp_path):
    metadata_in_parts(tmp_path)
    listed = pathlib.Path.iterdir

    def iterdir(path):
        if path.name == "train":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(pathlib.Path, "iterdir", iterdir)
    with pytest.raises(InvalidArgument, match="cannot be listed: Permission denied"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("place", ["train", "images", "."])
@pytest.mark.parametrize("form", ["{}.{}.png", "big_{}_{:03}.png", "{} ({}).png"])
def test_classes_in_file_names_are_told_what_to_do(place, form, tmp_path):
    for index in range(COUNT):
        image(tmp_path / place / form.format(name(index), index), index)
    if place == "train":
        image(tmp_path / "test/1.png", 1)
    with pytest.raises(
        InvalidArgument, match="must be a sub-folder or be named in a CSV"
    ):
        open_dataset(tmp_path)


@pytest.mark.parametrize("names", [["cat_{}"], ["cat_{}", "{}"], ["{}", "img{}"]])
def test_file_names_that_tell_no_classes(names, tmp_path):
    for index in range(COUNT):
        stem = names[index % len(names)].format(index)
        image(tmp_path / f"train/{stem}.png", index)
    with pytest.raises(InvalidArgument, match="sub-folder per class|two classes"):
        open_dataset(tmp_path)


def test_the_documented_table_of_file_names_is_read(monkeypatch, tmp_path):
    for index in range(COUNT):
        image(tmp_path / f"dogs-vs-cats/train/{name(index)}.{index}.jpg", index)
    docs = pathlib.Path(__file__).parents[1] / "docs/training.md"
    section = docs.read_text("utf-8").split("### Classes in file names")[1]
    monkeypatch.chdir(tmp_path)
    exec(section.split("```python")[1].split("```")[0], {})
    opened = open_dataset("dogs-vs-cats/train")
    assert [name for _, name in opened.classes] == sorted(NAMES)


def test_a_table_of_pixels_is_told_what_to_do(tmp_path):
    head = ["label", *(f"pixel{place}" for place in range(9))]
    table(tmp_path / "train.csv", head, *[[index % 3, *range(9)] for index in range(9)])
    with pytest.raises(InvalidArgument, match="it holds pixels: write them to an .npz"):
        open_dataset(tmp_path)


def test_words_that_may_be_labels_are_said(tmp_path):
    tags = ("clear primary", "haze", "clear water")
    for index in range(COUNT):
        image(tmp_path / f"train-jpg/train_{index}.png", index)
    rows = [(f"train_{index}", tags[index % 3]) for index in range(COUNT)]
    table(tmp_path / "train_classes.csv", ("image_name", "tags"), *rows)
    data = open_dataset(tmp_path)
    assert len(data.classes) == 3
    assert "'clear primary' is one class; give --multi-label" in " ".join(data.notes)
    several = open_dataset(tmp_path, multi_label=True)
    words = [label for _, label in several.classes]
    assert words == ["clear", "haze", "primary", "water"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "no lines"),
        ("[1]", "an object in each line; line 1 has none"),
        ('{"file_name": "a.png", "label": "x"}\n{', "is not JSON"),
        ('{"file_name": "a.png"}', "no label column"),
    ],
)
def test_json_lines_that_are_refused(lines, said, tmp_path):
    image(tmp_path / "a.png", 0)
    (tmp_path / "metadata.jsonl").write_text(lines)
    with pytest.raises(InvalidArgument, match=said):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no lines"),
        ("a.png 0\nb.png\n", "line 2 has 'b.png'"),
        ("b.png 0", "b.png .line 1."),
    ],
)
def test_lists_that_are_refused(text, said, tmp_path):
    image(tmp_path / "a.png", 0)
    (tmp_path / "train.txt").write_text(text)
    with pytest.raises(InvalidArgument, match=said):
        open_dataset(tmp_path / "train.txt")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("val_0.JPEG\tn01443537\nval_9.JPEG\tn01443537", "val_9.JPEG is not"),
        ("val_0.JPEG n01443537", "with a tab between them"),
        ("../val/images/val_0.JPEG\tn01443537", "val_0.JPEG is not"),
        ("val_0.JPEG\tunknown", "unknown"),
    ],
)
def test_annotations_that_are_refused(text, said, tmp_path):
    tiny_imagenet(tmp_path)
    for index in range(1, COUNT):
        (tmp_path / f"val/images/val_{index}.JPEG").unlink()
    (tmp_path / "val/val_annotations.txt").write_text(text)
    with pytest.raises(InvalidArgument, match=said):
        open_dataset(tmp_path)


def test_one_table_per_part_or_none(tmp_path):
    """Two tables in a folder of a part are not guessed between."""
    metadata_in_parts(tmp_path)
    assert set(table_files.tables_of(tmp_path)) == {"train", "test"}
    table(tmp_path / "train/other.csv", ("file_name", "label"), ("0000.png", "cat"))
    assert set(table_files.tables_of(tmp_path)) == {"test"}
