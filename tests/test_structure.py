"""What counts cannot tell: strides, dilations, projections, endpoints; imports."""

import ast
import graphlib
import importlib
import inspect
import pathlib
import pickle
import re
import runpy
import subprocess
import sys

import keras
import pytest

import keras_resnets
import keras_resnets.deploy
import keras_resnets.export
import keras_resnets.pruning
import keras_resnets.quantization
import keras_resnets.tfmot
from keras_resnets import models
from keras_resnets.models import registry
from keras_resnets.networks import variants
from keras_resnets.networks.blueprint import walk

PACKAGE = pathlib.Path(keras_resnets.__file__).parent


def convs(name, **axes):
    """(layer name, kernel, stride, dilation, groups) of the built network."""
    model = keras_resnets.create_model(name, kernel_initializer="zeros", **axes)
    return {
        layer.name: (
            layer.kernel_size[0],
            layer.strides[0],
            layer.dilation_rate[0],
            layer.groups,
        )
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D)
    }


def strided(name, **axes):
    """Names of convolutions with a stride, without the stem and the shortcuts."""
    return [
        layer
        for layer, (_, stride, _, _) in convs(name, **axes).items()
        if stride > 1 and "shortcut" not in layer and "stem" not in layer
    ]


@pytest.mark.costly_but(
    "resnet18",
    "resnet50",
    "resnet50v1",
    "resnet50v2",
    "wrn_16_4",
    "darknet53",
    "drn_c_26",
)
@pytest.mark.parametrize(
    "name, expected",
    [
        (
            "resnet18",
            ["stage2_block1_conv1", "stage3_block1_conv1", "stage4_block1_conv1"],
        ),
        (
            "resnet50",
            ["stage2_block1_conv2", "stage3_block1_conv2", "stage4_block1_conv2"],
        ),
        (
            "resnet50v1",
            ["stage2_block1_conv1", "stage3_block1_conv1", "stage4_block1_conv1"],
        ),
        (
            "resnet50v2",
            ["stage2_block1_conv2", "stage3_block1_conv2", "stage4_block1_conv2"],
        ),
        (
            "resnet50v2_keras",
            ["stage1_block3_conv2", "stage2_block4_conv2", "stage3_block6_conv2"],
        ),
        ("resnet164v2", ["stage2_block1_conv1", "stage3_block1_conv1"]),
        ("resnet164", ["stage2_block1_conv2", "stage3_block1_conv2"]),
        ("wrn_16_4", ["stage2_block1_conv1", "stage3_block1_conv1"]),
        ("darknet53", [f"stage{n}_downsample_conv" for n in range(1, 6)]),
        ("darknet19", []),
        ("drn_a_18", ["stage2_block1_conv1"]),
        ("drn_c_26", [f"stage{n}_block1_conv1" for n in (2, 3, 4)]),
        (
            "drn_d_54",
            ["stage2_block1_conv1", "stage3_block1_conv2", "stage4_block1_conv2"],
        ),
    ],
)
def test_where_the_strides_sit(name, expected):
    assert strided(name) == expected


def dilations(name, **axes):
    """Dilation of every 3x3, by stage."""
    found = {}
    for layer, (kernel, _, dilation, _) in convs(name, **axes).items():
        if kernel == 3 and layer.startswith("stage"):
            found.setdefault(layer.split("_")[0], []).append(dilation)
    return list(found.values())


@pytest.mark.costly_but("drn_c_26", "drn_d_22")
@pytest.mark.parametrize(
    "name, expected",
    [
        ("drn_a_18", [[1] * 4, [1] * 4, [1, 1, 2, 2], [1, 1, 4, 4]]),
        ("drn_a_50", [[1] * 3, [1] * 4, [1, 2, 2, 2, 2, 2], [1, 4, 4]]),
        (
            "drn_c_26",
            [[1] * 2, [1] * 2, [1] * 4, [1] * 4, [2] * 4, [4] * 4, [2] * 2, [1] * 2],
        ),
        (
            "drn_c_58",
            [[1] * 2, [1] * 2, [1] * 3, [1] * 4, [2] * 6, [4] * 3, [2] * 2, [1] * 2],
        ),
        ("drn_d_22", [[1], [1], [1] * 4, [1] * 4, [2] * 4, [4] * 4, [2], [1]]),
    ],
)
def test_dilated_residual_networks(name, expected):
    assert dilations(name) == expected


@pytest.mark.costly
def test_output_stride_of_torchvision():
    # torchvision's replace_stride_with_dilation=[False, True, True].
    assert dilations("resnet50", output_stride=8)[2:] == [[1] + [2] * 5, [2, 4, 4]]
    assert dilations("resnet50", output_stride=16)[3] == [1, 2, 2]
    assert dilations("resnet18", output_stride=8)[2:] == [[1, 2, 2, 2], [2, 4, 4, 4]]


def projections(name, **axes):
    return [
        layer.removesuffix("_shortcut_conv")
        for layer in convs(name, **axes)
        if layer.endswith("_shortcut_conv")
    ]


@pytest.mark.costly_but(
    "resnet18", "resnet50", "resnet18v2", "resnet20", "wrn_16_4", "drn_c_26"
)
@pytest.mark.parametrize(
    "name, axes, expected",
    [
        ("resnet18", {}, [f"stage{n}_block1" for n in (2, 3, 4)]),
        ("resnet50", {}, [f"stage{n}_block1" for n in (1, 2, 3, 4)]),
        ("resnet50", {"shortcut_type": "A"}, []),
        ("resnet18v2", {}, [f"stage{n}_block1" for n in (2, 3, 4)]),
        ("resnet50v2_keras", {}, [f"stage{n}_block1" for n in (1, 2, 3, 4)]),
        ("resnet20", {}, []),
        ("resnet164v2", {}, [f"stage{n}_block1" for n in (1, 2, 3)]),
        ("wrn_16_4", {}, [f"stage{n}_block1" for n in (1, 2, 3)]),
        ("darknet53", {}, []),
        ("drn_c_26", {}, [f"stage{n}_block1" for n in (2, 3, 4, 5, 6)]),
        ("plain34", {}, []),
    ],
)
def test_which_units_project(name, axes, expected):
    assert projections(name, **axes) == expected


@pytest.mark.costly_but("resnet50", "drn_c_26", "wrn_28_10")
@pytest.mark.parametrize(
    "name, shapes",
    [
        ("resnet50", {"stem": (112, 64), "stage1": (56, 256), "stage4": (7, 2048)}),
        ("resnet34", {"stem": (112, 64), "stage2": (28, 128), "features": (7, 512)}),
        (
            "resnet50v2_keras",
            {"stage1": (28, 256), "stage3": (7, 1024), "stage4": (7, 2048)},
        ),
        ("darknet53", {"stem": (256, 32), "stage1": (128, 64), "stage5": (8, 1024)}),
        ("drn_c_26", {"stem": (224, 16), "stage3": (56, 64), "stage8": (28, 512)}),
        ("wrn_28_10", {"stem": (32, 16), "stage1": (32, 160), "stage3": (8, 640)}),
        ("resnext29_8x64d", {"stage1": (32, 256), "stage3": (8, 1024)}),
    ],
)
def test_endpoint_shapes(name, shapes):
    model = keras_resnets.create_model(name, kernel_initializer="zeros")
    found = keras_resnets.endpoints(model)
    for endpoint, (side, channels) in shapes.items():
        assert found[endpoint].shape == (None, side, side, channels), endpoint


def weighted_layers(name):
    """Depth as the papers count it: convolutions in the trunk's main path, and the head."""
    architecture = registry.get_architecture(name)
    stem = 3 if architecture.stem_type.startswith("deep") else 1
    main = sum(
        len(unit.convs) for stage in walk(architecture) for unit in stage.units
    ) + sum(
        stage.transition is not None
        for stage in walk(architecture)
        if architecture.transition == "conv"
    )
    return stem + main + 1


@pytest.mark.parametrize("name", list(variants.VARIANTS))
def test_the_name_counts_the_weighted_layers(name):
    depth = int(re.search(r"\d+", name.removeprefix("drn_")).group())
    counted = weighted_layers(name)
    if registry.get_architecture(name).stem_type == "deep":
        counted -= 2  # two more convolutions in the deep stem
    if name.startswith("wrn"):
        counted += 2  # WRN counts the two projections of stages that also subsample
    assert counted == depth


def test_every_row_of_the_table_has_a_public_function():
    functions = {name: getattr(models, name) for name in models.__all__}
    named = {n: f.variant for n, f in functions.items() if n not in variants.ALIASES}
    assert list(named.values()) == list(variants.VARIANTS)
    for name, row in named.items():
        assert name.lower().replace("_", "") == row.lower().replace("_", ""), name
        function = functions[name]
        assert getattr(keras_resnets, name) is function
        assert function.__name__ == function.__qualname__ == name
        assert f"keras_resnets.{name}(" in function.__doc__
    assert keras_resnets.ResNeXt50.variant == "resnext50_32x4d"


def test_public_functions_are_those_of_their_modules():
    """So that they pickle, and `help` and editors name a module that has them."""
    for name in models.__all__:
        function = getattr(models, name)
        module = importlib.import_module(function.__module__)
        assert getattr(module, function.__name__) is function, name
        assert function.__name__ in module.__all__, name
        assert pickle.loads(pickle.dumps(function)) is function
    from keras_resnets.models.resnet import ResNet50

    assert ResNet50 is keras_resnets.ResNet50
    assert list(inspect.signature(ResNet50).parameters)[:3] == [
        "include_top",
        "weights",
        "input_tensor",
    ]
    assert "ResNet50" in dir(keras_resnets) and "ResNet50" in dir(models)


def test_the_stub_of_the_public_functions_is_current():
    """Else: python tests/data/make_stub.py"""
    script = runpy.run_path(pathlib.Path(__file__).parent / "data" / "make_stub.py")
    assert script["STUB"].read_text("utf-8") == script["text"]()
    assert '"models/*.pyi"' in (PACKAGE.parent / "setup.py").read_text()


# Which modules of the package a module may import; scripts and cli know everybody.
ARROWS = {
    "errors": set(),
    "lazy": {"errors"},
    "renamed": set(),
    "version": set(),
    "compression": {"renamed"},
    "fields": {"errors"},
    "graph": {"errors", "graph", "images", "io", "networks", "system"},
    "system": {"errors", "system"},
    "io": {"errors", "io", "system"},
    "networks": {"errors", "fields", "networks", "system"},
    "reports": {"errors", "io", "reports", "version"},
    "images": {
        "errors",
        "fields",
        "images",
        "io",
        "networks",
        "renamed",
        "system",
    },
    "weights": {"errors", "graph", "images", "io", "networks", "system", "weights"},
    "export": {
        "errors",
        "lazy",
        "export",
        "graph",
        "images",
        "io",
        "networks",
        "renamed",
        "system",
        "version",
        "weights",
    },
    "models": {"errors", "graph", "images", "io", "models", "networks", "weights"},
    "training": {
        "errors",
        "lazy",
        "fields",
        "graph",
        "images",
        "io",
        "system",
        "training",
        "version",
        "weights",
    },
    "quantization": {
        "errors",
        "lazy",
        "export",
        "graph",
        "images",
        "io",
        "networks",
        "quantization",
        "renamed",
        "system",
        "training",
    },
    "pruning": {
        "errors",
        "lazy",
        "export",
        "graph",
        "networks",
        "pruning",
        "quantization",
    },
    "deploy": {
        "errors",
        "lazy",
        "deploy",
        "export",
        "graph",
        "images",
        "io",
        "quantization",
        "system",
    },
    "tfmot": {
        "errors",
        "lazy",
        "export",
        "graph",
        "images",
        "io",
        "networks",
        "pruning",
        "quantization",
        "system",
        "tfmot",
    },
}


def test_arrows_point_one_way():
    for path in PACKAGE.rglob("*.py"):
        module = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if module in ("__init__", "__main__", "cli"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            words = node.module.split(".")
            if words[0] != "keras_resnets":
                continue
            targets = (
                [words[1]] if len(words) > 1 else [name.name for name in node.names]
            )
            for target in targets:
                assert target in ARROWS[module], f"{path.name} imports {target}"


# From the ground up: nobody imports what stands above.
FLOORS = (
    {"errors", "fields", "lazy", "renamed", "version"},
    {"io", "system"},
    {"images", "networks", "reports"},
    {"graph", "weights"},
    {"export", "models", "training"},
    {"pruning", "quantization", "tfmot"},
    {"compression", "deploy"},
)


def test_floors():
    """Upwards never; on one floor not in both directions."""
    floor = {room: n for n, rooms in enumerate(FLOORS) for room in rooms}
    assert set(floor) == set(ARROWS)
    graphlib.TopologicalSorter({a: b - {a} for a, b in ARROWS.items()}).prepare()
    for room, targets in ARROWS.items():
        assert all(floor[target] <= floor[room] for target in targets), room


# The order of the rooms within a package, from the top.
ORDER_OF_CLI = ("main", "commands", "arguments", "pages", "printing")
ORDER_OF_DEPLOY = ("toolchains", "", "workers")
LARGEST_FOLDER = 25


@pytest.mark.parametrize(
    "package, order", [("cli", ORDER_OF_CLI), ("deploy", ORDER_OF_DEPLOY)]
)
def test_rooms_within_a_package_point_one_way(package, order):
    def rank(path):
        room = path.relative_to(PACKAGE / package).parts[0].removesuffix(".py")
        return order.index(room if room in order else "")

    files = [x for x in (PACKAGE / package).rglob("*.py") if x.name != "__init__.py"]
    for path in files:
        for target in imports_of(path):
            if target in files:
                assert rank(path) <= rank(target), f"{path.name} imports {target.name}"


def test_no_folder_has_more_than_25_modules():
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    sizes = {str(x.relative_to(PACKAGE)): len(list(x.glob("*.py"))) for x in folders}
    assert not {name: n for name, n in sizes.items() if n > LARGEST_FOLDER}


def imports_of(path):
    """The files of the package that one imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        if node.module.partition(".")[0] != "keras_resnets":
            continue
        base = PACKAGE.parent / node.module.replace(".", "/")
        for name in node.names:
            tried = (base / f"{name.name}.py", base / name.name / "__init__.py")
            behind = (base.with_suffix(".py"), base / "__init__.py")
            yield next(file for file in (*tried, *behind) if file.is_file())


def test_no_files_import_each_other():
    files = {path: set(imports_of(path)) for path in PACKAGE.rglob("*.py")}
    graphlib.TopologicalSorter(files).prepare()


def test_heavy_libraries_are_imported_inside_functions():
    heavy = {"tensorflow", "torch", "jax", "onnx", "matplotlib", "PIL", "h5py"}
    heavy |= {"tf_keras", "tensorflow_model_optimization"}
    for path in PACKAGE.rglob("*.py"):
        if path.name in ("tensorflow_ops.py", "jax_ops.py", "torch_ops.py"):
            continue
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in getattr(node, "names", [])]
            source = getattr(node, "module", None) or ""
            roots = {name.split(".")[0] for name in [*names, source]}
            assert not roots & heavy, f"{path.name}: {roots & heavy}"


def test_import_is_light_and_changes_no_environment():
    script = (
        "import os, sys; before = dict(os.environ); import keras_resnets;"
        "heavy = {'keras', 'tensorflow', 'torch', 'jax', 'onnx', 'PIL', 'numpy'};"
        "heavy &= set(sys.modules);"
        "assert not heavy, heavy; assert dict(os.environ) == before"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


ROOMS = (
    "deploy",
    "export",
    "images",
    "pruning",
    "quantization",
    "tfmot",
    "training",
    "weights",
)


def test_rooms_are_there_after_the_import_and_load_nothing_heavy():
    script = (
        f"import sys, keras_resnets; rooms = {ROOMS};"
        "late = set(rooms) - {'images'};"  # which the package's own import reads
        "assert not late & {m.split('.')[1] for m in sys.modules if m.startswith("
        "'keras_resnets.')};"
        "shown = dir(keras_resnets);"  # before anything is imported: tab completion
        "assert not set(rooms) - set(shown), shown;"
        "found = [getattr(keras_resnets, room) for room in rooms];"
        "assert [m.__name__ for m in found] == ['keras_resnets.' + r for r in rooms];"
        "assert 'to_tflite' in dir(keras_resnets.export);"
        "assert 'train' in dir(keras_resnets.training);"
        "assert 'quantize' in dir(keras_resnets.quantization);"
        "heavy = {'keras', 'tensorflow', 'torch', 'jax', 'onnx', 'PIL', 'numpy'};"
        "heavy &= set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_misspelt_room_names_the_nearest():
    with pytest.raises(AttributeError, match="did you mean quantization"):
        _ = keras_resnets.quantisation


def python_files():
    """(path, its syntax tree) of every file of the package."""
    for path in PACKAGE.rglob("*.py"):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def test_no_file_is_longer_than_450_lines():
    lengths = {p: len(p.read_text("utf-8").splitlines()) for p in PACKAGE.rglob("*.py")}
    assert not {path.name: n for path, n in lengths.items() if n > 450}


def test_no_function_is_longer_than_a_screen():
    """60 lines of statements; arguments and docstrings are reference, read elsewhere."""
    long = {}
    for path, tree in python_files():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                said = ast.get_docstring(node) is not None
                first = node.body[1:2] if said else node.body[:1]
                length = node.end_lineno - first[0].lineno + 1 if first else 0
                if length > 60:
                    long[f"{path.name}: {node.name}"] = length
    assert not long


def test_tests_import_from_helpers_not_from_each_other():
    tests = pathlib.Path(__file__).parent
    pattern = re.compile(r"^\s*(?:from|import) test_\w+", re.MULTILINE)
    found = {p.name: pattern.findall(p.read_text("utf-8")) for p in tests.glob("*.py")}
    assert not {name: lines for name, lines in found.items() if lines}


def test_what_is_imported_when_it_is_asked_for_is_asked_for_by_its_names():
    """A module of such a package is there only once somebody else has imported it."""
    for package in (
        keras_resnets.deploy,
        keras_resnets.export,
        keras_resnets.pruning,
        keras_resnets.quantization,
        keras_resnets.tfmot,
    ):
        name = package.__name__.rpartition(".")[2]
        for path in PACKAGE.rglob("*.py"):
            text = path.read_text()
            if f"from keras_resnets import {name}\n" in text:
                used = set(re.findall(rf"(?<![\w./]){name}\.(\w+)", text))
                assert used <= set(package.__all__), path


def test_types_are_shipped_and_checked():
    root = PACKAGE.parent
    assert (PACKAGE / "py.typed").is_file()
    assert '"py.typed"' in (root / "setup.py").read_text()
    assert "mypy" in (root / ".ci" / "run").read_text().splitlines()
