"""Options that are wrong in every way: one printable line, exit code 2, nothing built."""

import sys
import time

import hostile_options
import numpy as np
import pytest

from keras_resnets import InvalidArgument
from keras_resnets import get_architecture
from keras_resnets.cli import main as cli
from keras_resnets.cli.arguments import axis_values
from keras_resnets.models import registry
from keras_resnets.networks import variants
from keras_resnets.networks.architecture import AXES
from keras_resnets.networks.architecture import Architecture
from keras_resnets.networks.extent import check_extent
from keras_resnets.training import recipes
from keras_resnets.training.augmentation import Augmentation


class Began(Exception):
    """The work behind the door began."""


@pytest.fixture
def stubbed(monkeypatch):
    """Nothing behind the door: whatever would build, read or import."""

    def began(*arguments, **options):
        raise Began

    from keras_resnets.cli.arguments import network

    for module in ("models.creation.create_model", "models.creation.create_described"):
        monkeypatch.setattr(f"keras_resnets.{module}", began)
    monkeypatch.setattr(network, "build", began)
    for name in list(sys.modules):
        if name.startswith("keras_resnets.cli.") and hasattr(
            sys.modules[name], "native_logs_hidden"
        ):
            monkeypatch.setattr(sys.modules[name], "native_logs_hidden", began)


def fault(words, capsys):
    """What is wrong with the answer to `words`; empty for one line and exit code 2."""
    began = time.process_time()
    try:
        code = cli.main(list(words))
    except SystemExit as stop:
        code = stop.code
    except Began:
        return "taken"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    took = time.process_time() - began
    said = capsys.readouterr().err
    if code != 2:
        return f"exit code {code}"
    if said.count("\n") != 1 or not said.strip().isprintable():
        return f"not one printable line: {said[:300]!r}"
    if len(said) > 1200:
        return f"{len(said)} characters"
    return f"{took:.1f} s" if took > 1 else ""


def check(cases, capsys, record_property):
    tried, faults = 0, []
    for words in cases:
        tried += 1
        wrong = fault(words, capsys)
        if wrong:
            faults.append((words, wrong))
    record_property("tried", tried)
    record_property("handled", tried - len(faults))
    with capsys.disabled():
        handled = tried - len(faults)
        sys.stdout.write(f"\noptions: {tried:,} tried, {handled:,} handled\n")
    assert not faults, f"{len(faults)} of {tried}: {faults[:5]}"


@pytest.mark.costly
@pytest.mark.usefixtures("stubbed")
def test_a_sample_of_bad_options(capsys, record_property):
    check(hostile_options.sample(400), capsys, record_property)


@pytest.mark.slow
@pytest.mark.usefixtures("stubbed")
def test_many_bad_options(capsys, record_property):
    check(hostile_options.sample(10**6), capsys, record_property)


def test_the_tables_are_whole():
    """Each axis and each field has its rule, and nothing else has."""
    import dataclasses

    def names(record):
        return [field.name for field in dataclasses.fields(record)]

    assert set(AXES) == set(names(Architecture))
    assert set(recipes.FIELDS) == set(names(recipes.Recipe)) - {"augmentation"}
    assert set(recipes.AUGMENTATION_FIELDS) == set(names(Augmentation))


@pytest.mark.parametrize("name", list(AXES))
def test_values_of_axes_in_python(name):
    """What is no value of an axis is an `InvalidArgument` that names it."""
    bad = [float("nan"), float("inf"), -1, 10**9, 10**6000, "", "false", "\x1b[2J"]
    bad += [[], {}, (), object(), b"x", [None] * 4, [[1]] * 4, 1j, np.zeros((2, 2))]
    bad += [np.float64("nan"), np.array([1, 2]), lambda: 0, "x" * 10**6, [0] * 10**6]
    allowed = []
    for value in bad:
        try:
            get_architecture("resnet50", **{name: value})
        except InvalidArgument as error:
            said = str(error)
            assert name in said or "parameters" in said, said
            assert said.isprintable() and len(said) < 500
        else:
            allowed.append(value)
    # A family is any word; the largest of numbers fits where there is one.
    assert len(allowed) <= (1 if name in ("family", "output_stride") else 0), allowed


@pytest.mark.parametrize("name", [*recipes.FIELDS, *recipes.AUGMENTATION_FIELDS])
def test_values_of_recipes_in_python(name):
    bad = [float("nan"), float("inf"), -1, 10**12, "", "false", "\x1b[2J", {}, object()]
    bad += [[[1]], 1j, np.zeros((2, 2)), "x" * 10**6]
    if name in ("source", "published"):
        bad.remove("false")
    for value in bad:
        with pytest.raises(InvalidArgument) as caught:
            recipes.get_recipe("he2015_cifar", **{name: value})
        assert name in str(caught.value) and str(caught.value).isprintable()


@pytest.mark.parametrize("word", ["false", "False", "no", "NO", "off", "0"])
def test_no_is_no(word, capsys):

    assert axis_values.axes_of([f"stem_bn={word}"]) == {"stem_bn": False}
    found = axis_values.axes_of(
        [f"zero_init_residual={word}", f"residual={word},yes,1,on"]
    )
    assert found == {
        "zero_init_residual": False,
        "residual": (False, True, True, True),
    }


def test_scalars_of_numpy():
    given = {
        "stem_bn": np.bool_(False),
        "depths": [np.int64(1)] * 4,
        "bn_epsilon": np.float32(1e-3),
        "filters": (np.int32(8), np.uint8(16), 24, 32),
    }
    found = get_architecture("resnet18", **given)
    assert found.stem_bn is False and found.depths == (1, 1, 1, 1)
    assert {type(value) for value in (*found.depths, *found.filters)} == {int}
    assert type(found.bn_epsilon) is float


def test_the_extent_is_that_of_the_network():
    """Parameters to 6 %, the smallest of all; the units are counted."""
    for name, architecture in variants.VARIANTS.items():
        found, published = check_extent(architecture), registry.model_info(name)
        assert found.units == sum(architecture.depths)
        assert 0.99 < found.parameters / published.total_params < 1.06, name


@pytest.mark.parametrize(
    "name", ["cifar_resnet1202", "wrn_28_20", "resnext101_32x48d", "resnet1001v2"]
)
def test_honest_large_networks(name):
    assert check_extent(get_architecture(name)).parameters > 1e6


@pytest.mark.parametrize(
    "axes, message",
    [
        ({"depths": (3000,) * 4}, "from 1 to 1,000; got 3000"),
        ({"depths": (600,) * 4}, "at most 1,000 units in all .* got 2,400"),
        ({"filters": 10**6}, "from 1 to 65,536"),
        ({"filters": 65_536}, "at most 2,147,483,648 parameters .* filters="),
        ({"dilations": 2}, "a stride or a dilation, not both"),
        ({"bn_epsilon": 1e300}, r"bn_epsilon must lie in \[1e-12, 1\]; got 1e\+300"),
        ({"stem_type": "deep_tiered", "stem_filters": 4}, "stem_filters must be at"),
        ({"shortcut_type": "A", "filters": (64, 32, 64, 64)}, "no stage may be narrow"),
    ],
)
def test_networks_that_there_cannot_be(axes, message):
    with pytest.raises(InvalidArgument, match=message):
        get_architecture("resnet50", **axes)


def test_a_backend_that_there_is_not(monkeypatch):
    from keras_resnets.system import keras_settings

    monkeypatch.setenv("KERAS_BACKEND", "")
    keras_settings.check_backend()
    monkeypatch.setenv("KERAS_BACKEND", "tensorfow")
    with pytest.raises(InvalidArgument, match="got 'tensorfow'; did you mean 'tensorf"):
        keras_settings.check_backend()
    monkeypatch.setenv("KERAS_BACKEND", "openvino")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InvalidArgument, match="library openvino, which is not instal"):
        keras_settings.check_backend()
