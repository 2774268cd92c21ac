"""Images with none, one or several labels: from a CSV file to a file that is proven."""

import json
import pathlib

import numpy as np
import pytest
from commands import refused
from commands import run

from keras_resnets.errors import InvalidArgument
from keras_resnets.images import labels
from keras_resnets.images import multi_label
from keras_resnets.images.datasets import label_tables
from keras_resnets.images.datasets.sources import open_dataset
from keras_resnets.images.datasets.sources import open_part
from keras_resnets.training import best_weights
from keras_resnets.training import correctness

NAMES = ("red", "green", "blue")


def image(path, labels=(), seed=0, size=16):
    """Writes a grey image with a bright stripe for each of the labels."""
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(90, 110, (size, size, 3), "uint8")
    for label in labels:
        pixels[4 * label : 4 * label + 4] = 0
        pixels[4 * label : 4 * label + 4, :, label] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def folder(path, count=40, form="columns"):
    """Images of all sets of three labels in turn, and a CSV file; labels (count, 3)."""
    wanted = np.array([[n >> k & 1 for k in range(3)] for n in range(count)], "uint8")
    lines = ["file_name,red,green,blue" if form == "columns" else "file_name,labels"]
    for n, row in enumerate(wanted):
        image(path / "images" / f"{n:03}.png", np.flatnonzero(row), n)
        names = " ".join(NAMES[k] for k in np.flatnonzero(row))
        cells = ",".join(map(str, row)) if form == "columns" else names
        lines.append(f"{n:03}.png,{cells}")
    (path / "labels.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return wanted


def table(tmp_path, text, files=("a.png", "b.png"), name="labels.csv", **options):
    """`label_tables.read` of a text, or the whole of `open_dataset`'s first part."""
    for n, file in enumerate(files):
        image(tmp_path / file, seed=n)
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / name).write_bytes(content)
    return label_tables.read(tmp_path / name, **options)


@pytest.mark.parametrize("form", ["columns", "separated"])
def test_both_forms_of_csv_say_the_same(tmp_path, form):
    wanted = folder(tmp_path, form=form)
    data = open_dataset(tmp_path, validation=0.25, multi_label=True)
    order = NAMES if form == "columns" else tuple(sorted(NAMES))
    assert [name for _, name in data.classes] == list(order)
    assert data.is_multi_label and data.train.count + data.validation.count == 40
    for split in (data.train, data.validation):
        assert split.labels.any(axis=0).all() and not split.labels.all(axis=0).any()
        for label, index in zip(split.labels, split.indices, strict=True):
            number = int(pathlib.Path(split.images.name(index)).stem)
            expected = wanted[number][[NAMES.index(name) for name in order]]
            assert label.tolist() == expected.tolist()


@pytest.mark.parametrize(
    "text, names, labels",
    [
        ("file,labels\na.png,x|y\nb.png,\n", ("x", "y"), [[1, 1], [0, 0]]),
        ("\ufefffile;x;y\r\na.png;1;0\r\nb.png;0;1\r\n", ("x", "y"), [[1, 0], [0, 1]]),
        ('file,tags\na.png,"x y,z"\nb.png,z\n', ("x y", "z"), [[1, 1], [0, 1]]),
        (
            "ImageID,LabelName\na.png,x\nb.png,y\na.png,y\n",
            ("x", "y"),
            [[1, 1], [0, 1]],
        ),
        (
            "file,über\tß\na.png,1\t\n".replace("\t", ",").replace(",1,", ",1,0"),
            ("über", "ß"),
            [[1, 0]],
        ),
        ("file,x,y\na.png,True,0.0\n\nb.png,false,1.0\n", ("x", "y"), [[1, 0], [0, 1]]),
        (
            ",file,tags\n0,a.png,\"['x', 'y z']\"\n1,b.png,[]\n",
            ("x", "y z"),
            [[1, 1], [0, 0]],
        ),
        ("file,x,y,\na.png,1,0,\nb.png,0,1,\n", ("x", "y"), [[1, 0], [0, 1]]),
    ],
    ids=(
        "bar bom-semicolon-crlf comma a-line-a-label non-ascii words pandas end".split()
    ),
)
def test_csv_as_programs_write_it(tmp_path, text, names, labels):
    rows = table(tmp_path, text)
    assert rows.names == names and rows.labels.tolist() == labels


@pytest.mark.parametrize(
    "cells, names, labels, said",
    [
        (("x", "y"), (), ("x", "y"), "each line has one label or none: x, y"),
        (("x y", "x"), (), ("x", "y"), "separated by spaces (labels of several words"),
        (("x;y", "x"), (), ("x", "y"), "separated by ';': x, y"),
        (("x y", "z"), ("z", "x y"), ("z", "x y"), "one label or none: x y, z"),
    ],
)
def test_how_labels_are_told_apart_is_said(cells, names, labels, said, tmp_path):
    """Given names may contain the separator."""
    path = tmp_path / "labels.csv"
    path.write_text(
        "file,tags\n" + "".join(f"{n}.png,{x}\n" for n, x in enumerate(cells))
    )
    rows = label_tables.read(path, names)
    assert rows.names == labels and said in rows.notes[0]


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "no lines"),
        ("file,x,y\n", "only a header"),
        ("file\na.png\n", "no label column"),
        (
            "a.png,x,1\nb.png,y,0\n",
            "must name the columns, such as file,labels; it has",
        ),
        ("file,\na.png,1\nb.png,0\n", "a column without a name"),
        ("file,x,y\na.png,1,\n", "y in line 2 of"),
        ("file,x,y\na.png,1,2\n", "has '2'"),
        ("file,x,x\na.png,1,0\n", "x twice"),
        ("file,x,y\na.png,1,0,1\n", "line 2 has 4"),
        (
            "file,x,y\na.png,1,0\na.png,0,0\n",
            "those of a.png differ in lines 2 and 3",
        ),
        ("file,x,y\n,1,0\n", "has no file name"),
        ("file,x,y,split\na.png,1,0,often\n", "has 'often'"),
        ("file,x,é\na.png,1,0\n".encode("latin-1"), "not text in UTF-8"),
    ],
    ids=range(13),
)
def test_what_a_csv_may_not_say(tmp_path, text, said):
    with pytest.raises(InvalidArgument) as error:
        table(tmp_path, text)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_missing_and_unknown_images_are_named(tmp_path):
    rows = "file,x,y\na.png,1,0\nsub/b,0,1\nc.png,1,1\n"
    table(tmp_path, rows, files=("a.png", "sub/b.png"))
    with pytest.raises(InvalidArgument, match=r"1 of 3 are not: c\.png \(line 4\)"):
        open_dataset(tmp_path, multi_label=True)
    for n, name in enumerate(("c.png", "e.png")):
        image(tmp_path / name, seed=n)
    data = open_dataset(tmp_path, validation=0, multi_label=True)
    # A name without its ending is found too.
    assert data.train.count == 3
    assert any(
        "1 image is not in the CSV and is ignored: e.png" in note for note in data.notes
    )


def test_a_name_that_may_be_two_images_is_refused(tmp_path):
    table(tmp_path, "file,x,y\na.png,1,0\n", files=("1/a.png", "2/a.png"))
    with pytest.raises(InvalidArgument, match="matches 2 images"):
        open_dataset(tmp_path, validation=0, multi_label=True)


def test_parts_are_a_column_or_files(tmp_path):
    files = ("a.png", "b.png", "c.png", "d.png")
    rows = "file,x,y,is_valid\na.png,1,0,False\nb.png,0,1,False\nc.png,1,1,True\n"
    table(tmp_path, rows, files)
    data = open_dataset(tmp_path / "labels.csv", multi_label=True)
    assert (data.train.count, data.validation.count) == (2, 1)
    (tmp_path / "labels.csv").unlink()
    (tmp_path / "train.csv").write_text("file,x,y\na.png,1,0\nb.png,0,1\n")
    (tmp_path / "test.csv").write_text("file,y,x\nc.png,1,0\nd.png,0,1\n")
    data = open_dataset(tmp_path, validation=0, multi_label=True)
    # The columns of a later file stand in the first one's order.
    assert data.test.labels.tolist() == [[0, 1], [1, 0]]
    split, _ = open_part(tmp_path, "test", data.classes, multi_label=True)
    assert split.labels.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    "text, said",
    [
        ("file,smile\na.png,1\nb.png,0\n", "at least two labels"),
        ("file,x,y\na.png,1,0\nb.png,1,0\n", "different labels"),
    ],
    ids=["one", "same"],
)
def test_labels_that_teach_nothing_are_refused(tmp_path, text, said):
    table(tmp_path, text)
    with pytest.raises(InvalidArgument, match=said):
        open_dataset(tmp_path, validation=0, multi_label=True)


def test_columns_of_one_value_are_noted(tmp_path):
    table(tmp_path, "file,x,y,z\na.png,1,0,1\nb.png,0,0,1\n")
    notes = " ".join(open_dataset(tmp_path, validation=0, multi_label=True).notes)
    assert "no image of the training set has y" in notes and "every image" in notes


def test_npz_of_zeros_and_ones(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (20, 8, 8, 3), "uint8"), rng.integers(0, 2, (20, 3))
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y)
    data = open_dataset(tmp_path / "a.npz", multi_label=True)
    assert data.train.labels.shape == (data.train.count, 3)
    with pytest.raises(InvalidArgument, match="--multi-label"):
        open_dataset(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x_train=x, y_train=y * 2)
    with pytest.raises(InvalidArgument, match="got 2"):
        open_dataset(tmp_path / "b.npz", multi_label=True)
    np.savez(tmp_path / "c.npz", x_train=x, y_train=y[:, 0])
    with pytest.raises(
        InvalidArgument, match=r"shape \(count, labels\).*without --multi"
    ):
        open_dataset(tmp_path / "c.npz", multi_label=True)


def test_average_precision_by_hand_and_without_a_rule():
    found = multi_label.measure(
        np.array([[1, 0, 0, 1], [0, 0, 1, 1], [1, 0, 1, 1]]),
        np.array([[0.9, 0.1, 0.5, 0.6], [0.8, 0.2, 0.5, 0.6], [0.7, 0.7, 0.5, 0.2]]),
    )
    # Places 1 and 3 of three; nothing to tell; all equal; nothing to tell.
    precisions = [row.average_precision for row in found.labels]
    assert precisions == [
        pytest.approx((1 + 2 / 3) / 2),
        None,
        pytest.approx(2 / 3),
        None,
    ]
    assert found.mean_average_precision == pytest.approx((5 / 6 + 2 / 3) / 2)
    assert found.labels[1].f1 == 0 and found.exact_match == 0
    empty = multi_label.measure(np.zeros((2, 2)), np.zeros((2, 2)))
    assert empty.mean_average_precision is None and empty.macro_f1 is None
    assert empty.exact_match == 1


@pytest.mark.parametrize("logits", [False, True])
def test_metric_of_keras_is_the_exact_one_in_steps(logits):
    from keras_resnets.training.metrics import MeanAveragePrecision

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (200, 4))
    labels[:, 3] = 1
    scores = rng.normal(size=(200, 4)) + labels
    outputs = (scores if logits else multi_label.sigmoid(scores)).astype("float32")
    metric = MeanAveragePrecision(4, logits)
    for start in (0, 60):
        metric.update_state(
            labels[start : start + 140][: 60 if not start else 140],
            outputs[start : start + 140][: 60 if not start else 140],
        )
    exact = multi_label.measure(labels, scores).mean_average_precision
    assert float(metric.result()) == pytest.approx(exact, abs=2e-3)


def test_sigmoid_in_the_builder_tells_the_task():
    import keras_resnets
    from keras_resnets.graph import outputs

    model = keras_resnets.ResNet8(classes=4, classifier_activation="sigmoid")
    assert model.task == labels.MULTI_LABEL and outputs.is_multi_label(model)
    assert not outputs.is_multi_label(keras_resnets.ResNet8())


@pytest.mark.costly
def test_from_csv_to_a_proven_file(tmp_path, capsys):
    """train, evaluate, export, quantize, verify and predict say the same labels."""
    folder(tmp_path / "d", count=64)
    data, trained = tmp_path / "d", tmp_path / "run"

    def done(*words):
        code, out, err = run(*words, capsys=capsys)
        assert code == 0, err
        return json.loads(out) if "--json" in words else out

    words = "--recipe cifar_cosine --epochs 8 --batch-size 16 --input-size 16".split()
    network = ("train", "resnet8", "--multi-label", "--data", data, *words)
    figures = done(*network, "--output", trained, "--json")["figures"]
    record = json.loads((trained / "run.json").read_text())
    assert record["recipe"]["loss"] == "binary"
    assert figures["best_val_mean_average_precision"] > 0.5
    report = tmp_path / "report.html"
    measured = done("evaluate", trained, "--data", data, "--report", report, "--json")
    assert "mean average precision" in report.read_text("utf-8")
    assert [row["label"] for row in measured["labels"]] == list(NAMES)
    file, integers = tmp_path / "a.tflite", tmp_path / "q.tflite"
    shown = done("export", "tflite", trained, "--output", file)
    assert "label agreement 100%" in shown and "top-1" not in shown
    passport = json.loads((tmp_path / "a.tflite.json").read_text())
    assert passport["task"] == "multi-label" and "LOGISTIC" in passport["operators"]
    again = done("evaluate", file, "--data", data, "--json")
    assert again["mean_average_precision"] == pytest.approx(
        measured["mean_average_precision"], abs=1e-6
    )
    photo = data / "images" / "007.png"
    said = [
        done("predict", subject, photo, "--threshold", "0.3", "--json")
        for subject in (trained, file)
    ]
    of_all = [[row["label"] for row in one["images"][0]["classes"]] for one in said]
    assert of_all[0] == of_all[1]
    ranges = ("--calibration", data / "images", "--evaluate", data)
    told = done("quantize", trained, *ranges, "--output", integers)
    assert "mAP" in told and "label agreement" in told and "top-1" not in told
    compared = done("verify", file, integers, "--data", data)
    assert "mAP" in compared and "top-1" not in compared


@pytest.mark.costly
def test_fine_tuning_compares_the_stages_by_labels(tmp_path, capsys):
    """Through all stages, with the page of the report."""
    folder(tmp_path / "d", count=48)
    page, data = tmp_path / "page.html", ("--multi-label", "--data", tmp_path / "d")
    words = (
        "train",
        "wrn_10_3_w8",
        "--weights",
        "cifar10",
        *data,
        "--recipe",
        "finetune",
    )
    words = (
        *words,
        "--change",
        "frozen_epochs=1",
        "--epochs",
        "2",
        "--batch-size",
        "8",
    )
    words = (*words, "--input-size", "16", "--output", tmp_path / "tuned")
    code, out, err = run(*words, "--report", page, capsys=capsys)
    assert code == 0, err
    assert "of the 5 held-out images: as it came" in out
    shown = page.read_text("utf-8")
    for part in ("images of each label", "3 labels", "Stages: mAP of the 5", "Kept: "):
        assert part in shown, part
    assert (
        ">Mean average precision<" in shown and "of the weights that were kept" in shown
    )
    assert run(*words, "--resume", capsys=capsys)[0] == 0


def test_right_labels_are_counted_for_each_image():
    """In any order and batch; three images with three labels are told from nine labels."""
    wanted = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]], "uint8")
    metric = correctness._RightImages(wanted, threshold=0.5)
    metric.update_state(np.array([2, 0, 3]), np.array([[1.0, 0, 1]] * 3, "float32"))
    metric.update_state(np.array([1]), np.array([[0.2, 0.4, 0.1]], "float32"))
    assert metric.rights().tolist() == [3, 3, 2, 0]
    text = best_weights.rights_of(metric.rights())
    assert best_weights.is_correctness(text) and text == "3320"
    assert not any(map(best_weights.is_correctness, ("1/", 11, "0\uffff")))


def test_what_one_class_an_image_needs_is_refused(tmp_path, capsys):
    folder(tmp_path / "d", count=16)
    words = ("train", "resnet8", "--data", tmp_path / "d" / "labels.csv")
    words = (*words, "--recipe", "cifar_cosine", "--output", tmp_path / "run")
    assert "--multi-label" in refused(*words, capsys=capsys)
    whole = [tmp_path / "d" if word == words[3] else word for word in words]
    assert "give --multi-label" in refused(*whole, capsys=capsys)
    several = (*words, "--multi-label")
    said = refused(*several, "--class-weight", "balanced", capsys=capsys)
    assert "--class-weight" in said
    assert "--sampler" in refused(*several, "--sampler", "balanced", capsys=capsys)


def test_jobs_of_one_class_an_image_refuse_several_labels(tmp_path, capsys):
    import keras_resnets
    from keras_resnets.export import to_keras

    model = keras_resnets.ResNet8(classes=4, classifier_activation="sigmoid")
    model.preprocessing = keras_resnets.Preprocessing("cifar", (32, 32))
    to_keras(model, tmp_path / "m.keras")
    folder(tmp_path / "d", count=16)
    images = ("--data", tmp_path / "d")
    for command, *more in (
        ("search",),
        ("qat", "--epochs", 1),
        ("calibrate-confidence",),
    ):
        words = (command, tmp_path / "m.keras", *images, *more)
        assert "one class per image" in refused(*words, capsys=capsys), command
