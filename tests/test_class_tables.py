"""Data sets whose classes are in a CSV file beside the images."""

import numpy as np
import PIL.Image
import pytest
from data_sources import picture

from keras_resnets.errors import InvalidArgument
from keras_resnets.images.datasets.sources import list_part
from keras_resnets.images.datasets.sources import open_dataset
from keras_resnets.images.datasets.sources import open_part
from keras_resnets.images.labels import class_names


def write(folder, text, count=6, name="labels.csv", inside="images"):
    """Writes `inside`/0.png, 1.png, ... and a table; returns the folder."""
    (folder / inside).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        PIL.Image.fromarray(picture(number)).save(folder / inside / f"{number}.png")
    (folder / name).write_text(text, "utf-8")
    return folder


def lines(head, cells):
    """A table with a line for each cell: file 0.png, then the cell."""
    return "\n".join([head, *(f"{n}.png,{cell}" for n, cell in enumerate(cells)), ""])


def seen(data):
    """(names of the classes, class of each training image)."""
    return [name for _, name in data.classes], data.train.labels.tolist()


ONE_HOT = lines("image,MEL,NV", ["1.0,0.0", "0.0,1.0"] * 3)
ROWS = [
    (lines("id,breed", ["pug", "chow"] * 3), ["chow", "pug"], [1, 0] * 3),
    (
        lines("id,label", ["a b", "c, d"] * 3).replace("c, d", '"c, d"'),
        None,
        [0, 1] * 3,
    ),
    (lines("id,label", [2, 10, 9] * 2), ["2", "9", "10"], [0, 2, 1] * 2),
    (lines("id,label", [0, 1] * 3), ["0", "1"], [0, 1] * 3),
    (lines("id,age,label", ["41,x", "7,y"] * 3), ["x", "y"], [0, 1] * 3),
    (ONE_HOT, ["MEL", "NV"], [0, 1] * 3),
]


@pytest.mark.parametrize("inside", ["images", "train", "."])
@pytest.mark.parametrize("text, names, labels", ROWS, ids=range(len(ROWS)))
def test_a_table_tells_the_class_of_each_image(text, names, labels, inside, tmp_path):
    """The file, or a folder with it: flat, or beside one folder of images."""
    write(tmp_path, text, inside=inside)
    for source in (tmp_path, tmp_path / "labels.csv"):
        data = open_dataset(source, validation=0)
        assert not data.is_multi_label
        assert seen(data) == (names or ["a b", "c, d"], labels)


def test_other_columns_are_noted(tmp_path):
    write(tmp_path, lines("id,age,label", ["41,x", "7,y"] * 3))
    assert "only the column label is used" in open_dataset(tmp_path).notes[0]


@pytest.mark.parametrize(
    "text, said",
    [
        (lines("id,tags", ["a", "b", "a b"]), "'a b' looks like several labels"),
        (
            lines("id,tags", ["a", "b", "a|b"]),
            "looks like several labels; give --multi",
        ),
        (lines("id,tags", ["['a']", "['b']"]), "looks like several labels"),
        (lines("id,label", ["a", "", "b"]), "line 3 has none"),
        (lines("id,age,kind", ["1,a", "2,b"]), "a column called label or class"),
        (lines("id,x,y", ["1,0", "1,1"]), "line 3 has 2; give --multi-label"),
        (lines("id,x,y", ["1,0", "0,0"]), "line 3 has 0"),
        (lines("id,label", ["a", "b"]) + "0.png,b\n", "differ in lines 2 and 4"),
        (lines("id,label", ["a", "a"]), "at least two classes"),
    ],
    ids=range(9),
)
def test_tables_without_one_class_per_image_are_refused(text, said, tmp_path):
    write(tmp_path, text)
    with pytest.raises(InvalidArgument) as error:
        open_dataset(tmp_path, validation=0)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_splits_and_known_classes(tmp_path):
    """Later files, and networks with class names, are matched by name."""
    write(tmp_path, lines("id,label", ["x", "y", "z"]), name="train.csv")
    (tmp_path / "test.csv").write_text("id,label\n3,z\n4,Y\n5,y\n")
    with pytest.raises(InvalidArgument, match="must be one per class; Y and y"):
        open_dataset(tmp_path, validation=0)
    (tmp_path / "test.csv").write_text("id,label\n3,z\n4,Y\n5,z\n")
    data = open_dataset(tmp_path, validation=0)
    assert data.test.labels.tolist() == [2, 1, 2]
    assert seen(open_dataset(tmp_path, 0, classes=["z", "y", "x"]))[1] == [2, 1, 0]
    split, _ = open_part(tmp_path, "test", (("0", "Z"), ("1", "y")))
    assert split.labels.tolist() == [0, 1, 0]
    with pytest.raises(InvalidArgument, match=r"must be among the 2 classes .*; got z"):
        open_part(tmp_path, "test", (("0", "x"), ("1", "y")))


@pytest.mark.parametrize(
    "train, test",
    [
        (lines("id,label", "xyz"), "id\n3\n4\n"),
        (lines("id,label", "xyz"), "id,label\n3,\n4,\n"),
        (lines("id,width,label", ["1,x", "2,y", "2,z"]), "id,width\n3,7\n4,8\n"),
        (lines("id,x,y,z", ["1,0,0", "0,1,0", "0,0,1"]), "id\n3.png\n4.png\n"),
    ],
    ids=["names", "empty", "others", "columns"],
)
def test_a_competitions_test_images_have_no_labels(train, test, tmp_path):
    write(tmp_path, train, name="train.csv")
    (tmp_path / "test.csv").write_text(test)
    (tmp_path / "sample_submission.csv").write_text("id,label\n3,x\n4,x\n")
    data = open_dataset(tmp_path, validation=0)
    assert seen(data) == (["x", "y", "z"], [0, 1, 2]) and data.test is None
    note = f"{tmp_path / 'test.csv'} is ignored: it has no labels"
    assert note in data.notes
    if "width" in test:
        return
    # With nothing else to evaluate, the missing labels are the answer.
    with pytest.raises(InvalidArgument, match="test.csv has no labels"):
        open_part(tmp_path, "test")
    (tmp_path / "val.csv").write_text(train)
    split, notes = open_part(tmp_path, "test")
    assert split.count == 3 and note in notes


def test_train_and_test_images_may_have_the_same_names(tmp_path):
    write(tmp_path, lines("id,label", "xyz"), name="train.csv", inside="train_images")
    write(tmp_path, "id,label\n0,y\n1,z\n", name="test.csv", inside="test")
    for part, folder in (("train", "train_images"), ("test", "test")):
        listing, _ = list_part(tmp_path, part)
        count = {"train": 3, "test": 2}[part]
        assert listing.names == [f"{folder}/{n}.png" for n in range(count)]
    assert open_dataset(tmp_path, validation=0).test.labels.tolist() == [1, 2]
    # The name of this table tells no part.
    (tmp_path / "train.csv").rename(tmp_path / "labels.csv")
    with pytest.raises(InvalidArgument, match="0.png matches 2 images"):
        open_dataset(tmp_path / "labels.csv", validation=0)


def test_a_label_column_of_another_name_is_one_in_the_test_table(tmp_path):
    write(tmp_path, lines("id,breed", "xyz"), name="train.csv")
    (tmp_path / "test.csv").write_text("id,label\n3,z\n")
    assert open_dataset(tmp_path, validation=0).test.labels.tolist() == [2]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_text_of_excel_and_powershell(encoding, tmp_path):
    write(tmp_path, "")
    text = lines("id\ttitle\tlabel", ["a\té", "b\tü"]).replace(",", "\t")
    mark = "\ufeff" if encoding.endswith("e") else ""
    (tmp_path / "labels.csv").write_text(mark + text, encoding, newline="\r\n")
    assert seen(open_dataset(tmp_path, validation=0)) == (["é", "ü"], [0, 1])


def test_numbers_are_indices_of_a_network_without_names(tmp_path):
    write(tmp_path, lines("id,label", [0, 10, 2]))
    split, _ = open_part(tmp_path, "test", class_names(11))
    assert split.labels.tolist() == [0, 10, 2]


def test_a_column_of_splits(tmp_path):
    cells = ["x,train", "y,train", "x,train", "y,val", "y,test", "x,test"]
    data = open_dataset(write(tmp_path, lines("id,label,split", cells)))
    assert seen(data) == (["x", "y"], [0, 1, 0])
    assert data.validation.labels.tolist() == [1]
    assert data.test.labels.tolist() == [1, 0]


def test_a_table_beside_class_folders_is_not_read(tmp_path):
    for name in ("ant", "bee"):
        write(tmp_path, "anything", 2, inside=name)
    data = open_dataset(tmp_path, validation=0)
    assert seen(data) == (["ant", "bee"], [0, 0, 1, 1])


def test_labels_change_the_fingerprint(tmp_path):
    prints = set()
    for cells in (["x", "y", "y"], ["x", "x", "y"]):
        write(tmp_path, lines("id,label", cells), 3)
        prints.add(open_dataset(tmp_path, validation=0).fingerprint)
    assert len(prints) == 2


@pytest.mark.costly
def test_a_network_is_trained_and_evaluated_on_a_table(tmp_path):
    import keras_resnets
    from keras_resnets.images.evaluation import open_data
    from keras_resnets.training import get_recipe
    from keras_resnets.training import train

    write(tmp_path / "d", lines("id,label", ["x", "y"] * 4), 8)
    recipe = get_recipe("cifar_cosine", epochs=1)
    model = keras_resnets.ResNet8(classes=2, classifier_activation=None)
    train(model, tmp_path / "d", recipe, tmp_path / "run", batch_size=4, verbose=0)
    assert model.labels == ("x", "y")
    data = open_data(
        tmp_path / "d", model.preprocessing, None, class_names(2, ["x", "y"])
    )
    assert np.array_equal(data.labels, [0, 1] * 4)
