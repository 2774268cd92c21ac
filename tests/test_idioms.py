"""What users of other libraries write: told what it is called here, in one line."""

import enum

import pytest

import keras_resnets
from keras_resnets import InvalidArgument
from keras_resnets import WeightsError
from keras_resnets.cli import main as cli
from keras_resnets.models import creation
from keras_resnets.models import registry
from keras_resnets.networks import idioms
from keras_resnets.weights import records


class ResNet50_Weights(enum.Enum):
    """As torchvision has it."""

    IMAGENET1K_V2 = "weights"
    DEFAULT = "default"


def message(call, *arguments, error=InvalidArgument, **options):
    with pytest.raises(error) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "name, said",
    [
        ("resnet50.a1_in1k", "create_model('resnet50', weights='a1_in1k')"),
        ("timm/resnet50.a1_in1k", "create_model('resnet50', weights='a1_in1k')"),
        ("hf_hub:timm/resnet50.a1_in1k", "weights='a1_in1k'"),
        ("hf-hub:timm/resnetv2_50.a1h_in1k", "create_model('resnet50v2', weights='a1h"),
        ("gluon_resnet50_v1d", "create_model('resnet50d', weights='gluon_in1k')"),
        ("tv_resnet34", "create_model('resnet34', weights='tv_in1k')"),
        ("wide_resnet50_2.tv_in1k", "'wide_resnet50_2', weights='tv_in1k'"),
        ("ssl_resnext50_32x4d", "weights='fb_ssl_yfcc100m_ft_in1k'"),
        ("cifar100_resnet20", "'resnet20', weights='chenyaofo_cifar100'"),
        ("resnetv2_50", "write 'resnet50v2'"),
        ("resnetv2_34d.ra4_e3600_r384_in1k", "'resnet34v2d', weights='ra4_e3600_r384"),
        ("resnet_vd_18_imagenet", "'resnet18_vd', weights='hub_vd_18'"),
        ("resnet_vd_50_ssld_imagenet", "'resnet50d', weights='hub_vd_50_ssld'"),
        ("ResNet50_vd", "write 'resnet50d'"),
        ("microsoft/resnet-50", "write 'resnet50'"),
        ("WideResNet28_10", "write 'wrn_28_10'"),
        ("resnet50.a9_in1k", "called 'resnet50' here, and no public weights"),
        ("timm/resnet51.a1_in1k", "did you mean"),
        ("timm/vgg16.tv_in1k", "list_models"),
    ],
)
def test_names_of_other_libraries(name, said):
    for call in (creation.create_model, registry.get_architecture, registry.model_info):
        assert said in message(call, name)


def test_every_timm_record_is_found_by_its_name_there():
    """What the hub calls a file leads to the row that has its address."""
    for record in records.all_records():
        if not record.location.startswith("hf://timm/"):
            continue
        name = record.location.split("/")[3]
        pairs = idioms.readings(name)
        assert (record.variant, record.tag) in pairs, name
        assert f"weights={record.tag!r}" in message(registry.get_architecture, name)


@pytest.mark.parametrize(
    "argument, value, said",
    [
        ("pretrained", True, 'write weights="imagenet"'),
        ("pretrained", False, "leave it out"),
        ("pretrained", "a1_in1k", "write weights='a1_in1k'"),
        ("num_classes", 5, "write classes=5"),
        ("num_classes", 0, 'include_top=False, pooling="avg"'),
        ("in_chans", 1, "write input_shape=(224, 224, 1)"),
        ("drop_rate", 0.2, "write dropout_rate=0.2"),
        ("drop_path", 0.1, "write drop_path_rate=0.1"),
        ("global_pool", "", "write include_top=False"),
        ("global_pool", "max", 'pooling="max"'),
        ("features_only", True, "feature_extractor"),
        ("replace_stride_with_dilation", [False, True, True], "output_stride=8"),
        ("img_size", (160, 192), "input_shape=(160, 192, 3)"),
        ("checkpoint_path", "a.pth", "weights='a.pth'"),
        ("zero_init_last", True, "zero_init_residual=True"),
        ("cardinalty", 32, "did you mean cardinality"),
    ],
)
def test_arguments_of_other_libraries(argument, value, said):
    given = {argument: value}
    for call in (
        keras_resnets.ResNet50,
        lambda **axes: creation.create_model("resnet50", **axes),
        lambda **axes: registry.get_architecture("resnet50", **axes),
    ):
        line = message(call, **given)
        assert argument in line and said in line


def test_all_of_a_call_is_told_at_once():
    line = message(keras_resnets.ResNet50, pretrained=True, num_classes=3, in_chans=1)
    for said in ("classes=3", 'weights="imagenet"', "input_shape=(224, 224, 1)"):
        assert said in line


def test_the_data_set_of_pretrained_is_the_networks():
    line = message(keras_resnets.ResNet20, pretrained=True)
    assert 'weights="cifar10"' in line


@pytest.mark.parametrize(
    "weights, said",
    [
        ("DEFAULT", "weights='imagenet'"),
        (True, "weights='imagenet'"),
        (ResNet50_Weights.IMAGENET1K_V2, "weights='imagenet1k_v2'"),
        (ResNet50_Weights.DEFAULT, "weights='imagenet'"),
        ("ResNet50_Weights.IMAGENET1K_V2", "weights='imagenet1k_v2'"),
        ("resnet50.a1_in1k", "weights='a1_in1k'"),
        ("hf_hub:timm/resnet50.a1_in1k", "weights='a1_in1k'"),
        ("timm/resnet50.a1_in1k", "weights='a1_in1k'"),
        ("https://example.org/a.bin", "download it"),
        ("none", "leave weights out"),
        (False, "leave weights out"),
        ("IMAGENET1K_V3", "did you mean 'imagenet1k_v2'"),
    ],
)
def test_weights_of_other_libraries(weights, said):
    line = message(keras_resnets.ResNet50, weights=weights, error=WeightsError)
    assert said in line


def test_values_instead_of_a_file():
    values = {f"layer{n}.weight": [0.0] * 100 for n in range(100)}
    line = message(keras_resnets.ResNet20, weights=values, error=WeightsError)
    assert "of type dict: save it" in line and len(line) < 250
    model = keras_resnets.ResNet8()
    line = message(keras_resnets.ResNet20, weights=model, error=WeightsError)
    assert "of type Functional: save its weights" in line


def test_tags_in_capitals_are_the_same_tags():
    assert records.find("resnet50", "IMAGENET1K_V2").tag == "imagenet1k_v2"
    assert records.find("resnet20", "CIFAR10").dataset == "cifar10"


@pytest.mark.parametrize(
    "shape, data_format, said",
    [
        ((3, 224, 224), None, "write (224, 224, 3), or give data_format"),
        ((3, 224, 320), None, "write (224, 320, 3)"),
        ((3, None, None), None, "write (None, None, 3)"),
        ((4, 32, 32), None, "write (32, 32, 4)"),
        ((224, 224, 3), "channels_first", "write (3, 224, 224)"),
        ((None, None, 1), "channels_first", "write (1, None, None)"),
        (224, None, "write (224, 224, 3)"),
        ((224, 192), None, "write (224, 192, 3)"),
        ((224, 192), "channels_first", "write (3, 224, 192)"),
        ((8, 224, 224, 3), None, "write (224, 224, 3)"),
        ([], None, "(height, width, channels)"),
    ],
)
def test_shapes_in_another_order(shape, data_format, said):
    options = {"input_shape": shape, "data_format": data_format}
    assert said in message(keras_resnets.ResNet20, **options)


def test_a_low_image_of_many_channels_is_an_image():
    model = keras_resnets.ResNet20(input_shape=(4, 64, 12))
    assert model.input_shape == (None, 4, 64, 12)


@pytest.mark.parametrize(
    "words, said",
    [
        (["info", "resnet50.a1_in1k"], "resnet50 --weights a1_in1k"),
        (["weights", "timm/resnet50.a1_in1k"], "resnet50 --weights a1_in1k"),
        (["info", "resnet50", "--set", "num_classes=4"], "classes=4"),
        (["info", "resnet50", "--set", "weights=imagenet"], "argument of create_model"),
    ],
)
def test_commands_say_it_too(words, said, capsys):
    assert cli.main(words) == 2
    shown = capsys.readouterr().err
    assert said in shown and shown.count("\n") == 1


@pytest.mark.parametrize(
    "value, said",
    [("imagenet", "write weights='imagenet'"), (1000, "got 1000"), (None, "got None")],
)
def test_another_argument_in_the_place_of_the_top(value, said):
    for call in (
        lambda: creation.create_model("resnet20", value),
        lambda: keras_resnets.ResNet20(value),
    ):
        assert said in message(call)


def test_torchvisions_functions_are_called_otherwise():
    for name, ours in (("resnet50", "ResNet50"), ("resnext101_32x8d", "ResNeXt101_32")):
        with pytest.raises(AttributeError, match=f"did you mean {ours}"):
            getattr(keras_resnets, name)
    assert not hasattr(keras_resnets, "__wrapped__")
