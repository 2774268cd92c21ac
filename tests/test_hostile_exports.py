"""Exported files and passports of strangers: read within bounds, and nothing is run."""

import collections
import json
import os
import shutil
import subprocess
import sys

import hostile_exports as hostile
import pytest
from confined import confined
from helpers import small_model
from helpers import write_formats

from keras_resnets import InvalidArgument
from keras_resnets.cli import main as cli
from keras_resnets.export import passport
from keras_resnets.export import passport_text
from keras_resnets.export.compare import inspection
from keras_resnets.export.compare.open_runner import open_runner

SHAPE = (16, 16, 3)
# kind: cases in the quick part, in the slow part, what is done with each.
LOOKED = {
    "tflite": (60, 800, hostile.look),
    "onnx": (60, 700, hostile.look),
    "message": (60, 400, hostile.look),
    "saved_model": (40, 500, hostile.look),
    "passport": (60, 600, hostile.look),
}
RUN = {"tflite": (0, 400, hostile.run), "onnx": (0, 400, hostile.run)}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with one network as `a.tflite`, `a.onnx`, `saved`, and an int8 file."""
    folder = tmp_path_factory.mktemp("exports")
    write_formats(folder, SHAPE)
    return folder


def cases(kind, count, files, folder, seed):
    """Yields the paths of hostile files, made when they are asked for."""
    sources = sorted(files.glob(f"?.{kind}"))
    known = json.loads(passport.path_of(files / "a.tflite").read_text())
    for index in range(count):
        generator = hostile.seeded(f"{seed} {kind} {index}")
        name = f"{index}.onnx" if kind == "message" else f"{index}.{kind}"
        if kind in ("tflite", "onnx"):
            content = generator.choice(sources).read_bytes()
            yield hostile.written(folder, name, hostile.mutated(content, generator))
        elif kind == "message":
            yield hostile.written(folder, name, hostile.message(generator))
        elif kind == "saved_model":
            yield hostile.damaged_folder(files / "saved", folder / name, generator)
        else:
            place = folder / f"{index}.tflite"
            shutil.copyfile(files / "a.tflite", place)
            text = hostile.passports(known, generator)
            passport.path_of(place).write_bytes(text)
            yield place


def tried(function, paths, warm):
    """What came of each path: counts by kind, and what was not handled."""
    counts, faults = collections.Counter(), []
    for path, outcome in confined(function, paths, (InvalidArgument,), warm):
        counts[outcome.kind] += 1
        if outcome.fault():
            faults.append(f"{path.name}: {outcome.fault()}")
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return counts, faults


def check(kind, count, function, files, folder, seed, record_property):
    """Tries generated cases, and tells how many were handled."""
    warm = files / ("a.onnx" if kind == "onnx" else "a.tflite")
    paths = cases(kind, count, files, folder, seed)
    counts, faults = tried(function, paths, warm)
    said = f"{function.__name__} {kind}: {count} tried, {count - len(faults)} handled"
    record_property("handled", f"{said} ({dict(counts)})")
    sys.stdout.write(f"{said} {dict(counts)}\n")
    assert not faults, f"{said}; {faults[:5]}"
    # Damage is not always harmful, but most of it is seen.
    assert counts["refused"] > count / 10, said


@pytest.mark.costly_but("tflite", "onnx", "passport")
@pytest.mark.parametrize("kind", LOOKED)
def test_damaged_files_are_looked_at(kind, files, tmp_path, record_property):
    count, _, function = LOOKED[kind]
    check(kind, count, function, files, tmp_path, "quick", record_property)


@pytest.mark.slow
@pytest.mark.parametrize("kind", LOOKED)
def test_many_damaged_files_are_looked_at(kind, files, tmp_path, record_property):
    _, count, function = LOOKED[kind]
    check(kind, count, function, files, tmp_path, "slow", record_property)


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUN)
def test_many_damaged_files_are_run(kind, files, tmp_path, record_property):
    _, count, function = RUN[kind]
    check(kind, count, function, files, tmp_path, "run", record_property)


def test_files_that_say_more_than_they_hold(files, tmp_path):
    paths = [hostile.written(tmp_path, *bomb) for bomb in hostile.bombs()]
    for name in ("sparse.tflite", "sparse.onnx"):
        # Nothing but a hole.
        hostile.written(tmp_path, name, b"\x08\0\0\0TFL3" * (name[7] == "t"))
        os.truncate(tmp_path / name, 100 << 30)
        paths.append(tmp_path / name)
    folder = tmp_path / "saved"
    folder.mkdir()
    hostile.written(folder, "saved_model.pb", b"")
    os.truncate(folder / "saved_model.pb", (1 << 31) - 1)
    outcomes = dict(
        confined(hostile.look, [*paths, folder], (InvalidArgument,), files / "a.tflite")
    )
    assert not {path.name: o.fault() for path, o in outcomes.items() if o.fault()}
    assert {o.kind for o in outcomes.values()} == {"refused"}


def test_pipes_and_devices_are_not_waited_for(files, tmp_path):
    os.mkfifo(tmp_path / "a.onnx")
    (tmp_path / "a.tflite").symlink_to("/dev/zero")
    for name in ("a.onnx", "a.tflite"):
        with pytest.raises(InvalidArgument, match="is not a regular file"):
            inspection.inspect(tmp_path / name)
    folder = shutil.copytree(files / "saved", tmp_path / "saved")
    for name in ("saved_model.pb", "fingerprint.pb", "variables/variables.index"):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with pytest.raises(
            InvalidArgument, match="not a file|without a saved_model.pb"
        ):
            inspection.inspect(folder)
        (folder / name).unlink()
        (folder / name).write_bytes(content)


def test_a_savedmodels_variables_are_those_of_its_files(files, tmp_path):
    whole = files / "saved"
    data = "variables/variables.data-00000-of-00001"
    for name, said in (
        (data, "bytes behind the end of its file"),
        ("variables/variables.index", "not a list of variables"),
        ("saved_model.pb", "bytes too late"),
    ):
        folder = shutil.copytree(whole, tmp_path / name.replace("/", "_"))
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(InvalidArgument, match=said):
            inspection.inspect(folder)
        (folder / name).unlink()
        with pytest.raises(InvalidArgument):
            inspection.inspect(folder)


SCRIPT = """
import sys
from keras_resnets.cli import main as cli
code = cli.main(["inspect", sys.argv[1]])
loaded = {"tensorflow", "keras", "onnx", "onnxruntime"} & set(sys.modules)
sys.exit(f"loaded {loaded}" if loaded else code)
"""


@pytest.mark.parametrize("name", ["a.tflite", "a.onnx", "saved"])
def test_inspect_loads_no_runtime(name, files):
    words = [sys.executable, "-c", SCRIPT, str(files / name)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "predictions" in done.stdout


def modules(tf, written):
    """(name of the operator, a module that has it) of programs among SavedModels."""
    spec = [tf.TensorSpec((1, *SHAPE), name="image")]

    class Resource(tf.saved_model.experimental.TrackableResource):
        """Writes a file when it is loaded."""

        def _create_resource(self):
            return tf.raw_ops.MutableHashTableV2(
                key_dtype=tf.int64, value_dtype=tf.int64, shared_name="a"
            )

        def _initialize(self):
            tf.io.write_file(str(written), "loaded")

    def of(function):
        module = tf.Module()
        module.serve = tf.function(function, input_signature=spec, autograph=False)
        return module

    def reads(image):
        return {"out": tf.strings.to_number(tf.io.read_file("/proc/self/environ"))}

    def prints(image):
        tf.print("hello", output_stream=f"file://{written}")
        return {"out": image}

    def calls(image):
        return {"out": tf.numpy_function(lambda x: x, [image], tf.float32)}

    def saves(image):
        tf.raw_ops.SaveV2(
            prefix=str(written),
            tensor_names=["a"],
            shape_and_slices=[""],
            tensors=[image],
        )
        return {"out": image}

    module = of(lambda image: {"out": image})
    module.resource = Resource()
    yield "WriteFile", module
    yield "ReadFile", of(reads)
    yield "PrintV2", of(prints)
    yield "PyFunc", of(calls)
    yield "SaveV2", of(saves)


def test_a_savedmodel_that_does_more_than_compute_is_not_run(tmp_path):
    import tensorflow as tf

    written = tmp_path / "written"
    for operator, module in modules(tf, written):
        folder = tmp_path / operator
        tf.saved_model.save(module, str(folder), {"serving_default": module.serve})
        written.unlink(missing_ok=True)
        assert inspection.inspect(folder).outputs[0].name == "out"
        assert not written.exists()
        with pytest.raises(InvalidArgument, match=f"compute; it has .*{operator}'"):
            open_runner(folder)
        assert not written.exists()


def test_a_graph_of_tensorflow_1_that_writes_is_not_run(tmp_path):
    import tensorflow as tf

    v1, written = tf.compat.v1, tmp_path / "written"
    for name, writes in (("good", False), ("bad", True)):
        with tf.Graph().as_default(), v1.Session() as session:
            image = v1.placeholder(tf.float32, (None, *SHAPE), "image")
            kernel = v1.get_variable("kernel", (3, 3, 3, 10))
            maps = tf.nn.conv2d(image, kernel, 1, "SAME")
            out = tf.nn.softmax(tf.reduce_mean(maps, (1, 2)))
            session.run(v1.global_variables_initializer())
            first = tf.io.write_file(str(written), "x") if writes else tf.no_op()
            v1.saved_model.simple_save(
                session, str(tmp_path / name), {"image": image}, {"out": out}, first
            )
    written.unlink(missing_ok=True)
    assert open_runner(tmp_path / "good").input_shape == (None, *SHAPE)
    found = inspection.inspect(tmp_path / "good")
    assert found.operators == {"Conv2D": 1, "Mean": 1, "Softmax": 1}
    with pytest.raises(InvalidArgument, match="'WriteFile'"):
        open_runner(tmp_path / "bad")
    assert not written.exists()


@pytest.mark.costly
def test_savedmodels_of_others_are_run(tmp_path):
    import tensorflow as tf

    model = small_model("basic_original", input_shape=SHAPE)
    model.export(str(tmp_path / "keras"), verbose=False)
    module = tf.Module()
    keys, values = tf.range(10, dtype=tf.int64), tf.range(10, 0, -1, dtype=tf.int64)
    initializer = tf.lookup.KeyValueTensorInitializer(keys, values)
    module.model, module.table = model, tf.lookup.StaticHashTable(initializer, -1)
    spec = [tf.TensorSpec((None, *SHAPE), name="image")]

    @tf.function(input_signature=spec)
    def serve(image):
        best = tf.argmax(module.model(image), axis=1)
        return {"class": module.table.lookup(best)}

    module.serve = serve
    tf.saved_model.save(module, str(tmp_path / "tf"), {"serving_default": serve})
    for name in ("keras", "tf"):
        runner = open_runner(tmp_path / name)
        assert runner.input_shape == (None, *SHAPE)
        assert inspection.inspect(tmp_path / name).operators["Conv2D"] > 5


def test_onnx_files_of_others(files, tmp_path):
    import onnx

    model = onnx.load(files / "a.onnx")
    place = tmp_path / "here" / "a.onnx"
    place.parent.mkdir()
    onnx.save(
        model,
        place,
        save_as_external_data=True,
        location="a.weights",
        size_threshold=0,
    )
    inspected = inspection.inspect(place)
    assert inspected.operators == inspection.inspect(files / "a.onnx").operators
    weights = place.with_name("a.weights")
    weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidArgument, match="in a file of its own folder"):
        inspection.inspect(place)
    model = onnx.load(files / "a.onnx")
    loop = onnx.helper.make_node("Loop", ["", ""], [], body=onnx.GraphProto())
    model.graph.node.append(loop)
    onnx.save(model, tmp_path / "loop.onnx")
    assert inspection.inspect(tmp_path / "loop.onnx").operators["Loop"] == 1
    with pytest.raises(InvalidArgument, match="has no loops; .* 'Loop'"):
        open_runner(tmp_path / "loop.onnx")


def test_what_a_file_says_is_shown_as_text(files, tmp_path, capsys):
    import onnx

    model = onnx.load(files / "a.onnx")
    evil = "\x1b]0;owned\x07\n\u202e" + "x" * 100_000
    for node in model.graph.node:
        node.output[:] = [evil if n == "predictions" else n for n in node.output]
    model.graph.output[0].name = evil
    onnx.save(model, tmp_path / "a.onnx")
    known = json.loads(passport.path_of(files / "a.onnx").read_text())
    known |= {"model": evil, "labels": [evil] * 10, "weights": evil}
    known |= {"recipe": {evil: evil}, "versions": {evil: evil}}
    known["sha256"] = passport.sha256(tmp_path / "a.onnx")
    passport.path_of(tmp_path / "a.onnx").write_text(json.dumps(known))
    assert cli.main(["inspect", str(tmp_path / "a.onnx")]) == 0
    out = capsys.readouterr().out
    assert all(line.isprintable() for line in out.split("\n"))
    assert "\\x1b]0;owned" in out and max(map(len, out.split("\n"))) < 1000


def test_names_are_aligned_by_what_is_shown():
    from keras_resnets.system import text_table

    names = ("cat", "\u732b\u732b", "e\u0301", "\x1b[2J", "x" * 500)
    table = text_table.text_table(("a", "b"), [(name, 1) for name in names])
    lines = table.split("\n")
    assert len({text_table.width_of(line) for line in lines}) == 1
    assert lines[0].startswith("a ") and len(lines[0]) < 120


OTHER = (
    ("labels", {"a": 1}, "labels must be"),
    ("labels", ["a", 1], "labels must be"),
    ("preprocessing", {"mode": "torch", "std": [0, 0, 0]}, "preprocessing must be"),
    ("preprocessing", {"mode": "torch", "size": [10**9, 1]}, "preprocessing must be"),
    ("preprocessing", {"mode": "torch", "letterbox": "no"}, "preprocessing must be"),
    ("preprocessing", {"os": "x"}, "unexpected keyword"),
    ("parameters", "7", "parameters must be a whole number"),
    ("parity", {}, "parity must be"),
    ("quantize", "int7", "quantize must be one of"),
    ("recipe", {"include_preprocessing": "false"}, "recipe must be"),
)


@pytest.mark.parametrize("key, value, said", OTHER)
def test_a_passport_of_other_types(key, value, said, files, tmp_path, capsys):
    shutil.copyfile(files / "a.tflite", tmp_path / "a.tflite")
    place = passport.path_of(tmp_path / "a.tflite")
    known = json.loads(passport.path_of(files / "a.tflite").read_text())
    place.write_text(json.dumps({**known, "more": 1}))
    assert passport.read(tmp_path / "a.tflite")["more"] == 1
    place.write_text(json.dumps({**known, key: value}))
    for words in (("inspect",), ("verify", str(files / "a.onnx"))):
        assert cli.main([*words, str(tmp_path / "a.tflite")]) == 2
        line = capsys.readouterr().err
        assert said in line and line.count("\n") == 1


@pytest.mark.parametrize("value", [None, True, -1, 0.5, "x", [], [[]], {}, {"a": []}])
def test_every_field_of_a_passport_takes_any_json(value):
    """Taken or refused: no value of JSON makes a check itself fail."""
    for key, (_, check) in passport_text._KINDS.items():
        assert check(value) in (True, False), key


TEXTS = (
    ("[" * 100_000, "nested"),
    ('{"a":' * 5000 + "1" + "}" * 5000, "nested"),
    ('{"sha256": "a", "sha256": "b"}', "duplicate key"),
    ('{"sha256": NaN}', "NaN is not a number"),
    ("7", "it is a list, text or number"),
    (" " * (5 << 20), "bytes at most"),
)


@pytest.mark.parametrize("text, said", TEXTS)
def test_a_passport_that_is_none(text, said, files, tmp_path):
    shutil.copyfile(files / "a.tflite", tmp_path / "a.tflite")
    passport.path_of(tmp_path / "a.tflite").write_text(text)
    with pytest.raises(InvalidArgument, match=said):
        passport.read(tmp_path / "a.tflite")
    with pytest.raises(InvalidArgument, match="would be replaced"):
        passport.check_place(tmp_path / "a.tflite")


def test_a_folder_is_replaced_if_it_holds_a_savedmodel_alone(
    files, tmp_path, monkeypatch
):
    from keras_resnets.export.saved_model import convert as saved_model

    def refused(path, said):
        with pytest.raises(InvalidArgument, match=said):
            saved_model.check_output(path, overwrite=True)

    folder = shutil.copytree(files / "saved", tmp_path / "a")
    assert saved_model.check_output(folder, overwrite=True) == folder
    (tmp_path / "link").symlink_to(folder)
    refused(tmp_path / "link", "is a link")
    (tmp_path / "nowhere").symlink_to("none")
    refused(tmp_path / "nowhere", "is a link")
    for place in ("thesis.txt", "variables/notes", "assets/photo.jpg"):
        (folder / place).write_text("mine")
        refused(folder, f"contains '{place}' besides its own")
        (folder / place).unlink()
    (folder / "variables" / "runs").mkdir()
    refused(folder, "contains 'variables/runs'")
    (folder / "variables" / "runs").rmdir()
    (folder / "fingerprint.pb").unlink()
    (folder / "fingerprint.pb").symlink_to(files / "a.onnx")
    refused(folder, "contains 'fingerprint.pb'")
    (folder / "fingerprint.pb").unlink()
    monkeypatch.setenv("HOME", str(folder))
    refused(folder, "the current or the home folder")
    monkeypatch.setenv("HOME", "/")
    monkeypatch.chdir(folder / "variables")
    refused(folder, "the current or the home folder")
    monkeypatch.chdir(folder)
    for path in (".", "..", "", "/"):
        refused(path, "must be a folder of its own")


def test_a_link_is_replaced_and_not_what_it_leads_to(tmp_path):
    from keras_resnets.io import files as atomic

    (tmp_path / "mine").write_text("all of it")
    (tmp_path / "a.onnx").symlink_to("mine")
    with atomic.atomic_file(tmp_path / "a.onnx") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "mine").read_text() == "all of it"
    assert not (tmp_path / "a.onnx").is_symlink()


def test_a_file_that_came_meanwhile_is_kept(files, tmp_path):
    from keras_resnets.export.formats import FORMATS
    from keras_resnets.io import files as atomic

    folder = shutil.copytree(files / "saved", tmp_path / "a")
    with (
        pytest.raises(InvalidArgument, match="contains 'new.txt'"),
        atomic.atomic_folder(folder, FORMATS["saved_model"].folder) as temporary,
    ):
        (temporary / "saved_model.pb").write_text("other")
        (folder / "new.txt").write_text("mine")
    assert (folder / "new.txt").read_text() == "mine"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]
