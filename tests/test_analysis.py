import csv
import html.parser
import re

import keras
import numpy as np
import pytest
from helpers import KINDS
from helpers import TELLING_KINDS
from helpers import noise
from helpers import small_model

import keras_resnets
from keras_resnets import InvalidArgument
from keras_resnets.graph.analysis import analyze


def test_resnet50_by_the_published_figures():
    found = analyze(keras_resnets.ResNet50(kernel_initializer="zeros"))
    assert round(found.macs / 1e9, 3) == 4.089
    assert found.output_stride == 32
    # timm's benchmark: 11.11 M activations for resnet50 at 224.
    assert round(found.activations / 1e6, 2) == 11.11
    # Araujo et al. 2019 (distill.pub/2019/computing-receptive-fields): 483 with the
    # stride in the first 1x1, 427 with it in the 3x3.
    assert found.receptive_field == 427
    v1 = analyze(keras_resnets.ResNet50V1(kernel_initializer="zeros"))
    assert v1.receptive_field == 483


def test_size_scales_the_macs_and_is_needed_where_open():
    model = keras_resnets.create_model("resnet20", input_shape=(None, None, 3))
    with pytest.raises(InvalidArgument, match="input size is open"):
        analyze(model)
    small, large = analyze(model, (32, 32, 3)), analyze(model, (64, 64, 3))
    dense = 64 * 10
    assert large.macs - dense == 4 * (small.macs - dense)
    with pytest.raises(InvalidArgument, match="must fit"):
        analyze(keras_resnets.create_model("resnet20"), (64, 64, 3))


@pytest.mark.costly_but(*TELLING_KINDS)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_receptive_field_and_stride_are_what_gradients_see(kind):
    """The input pixels that the centre of the map depends on, by differentiation."""
    model = small_model(kind, include_top=False)
    size = 129
    found = analyze(model, (size, size, 3))
    import tensorflow as tf

    image = tf.Variable(noise(1, size, size, 3))
    with tf.GradientTape() as tape:
        maps = model(image, training=False)
        centre = tf.reduce_sum(
            tf.square(maps[0, maps.shape[1] // 2, maps.shape[2] // 2])
        )
    gradient = np.asarray(tape.gradient(centre, image))
    seen = np.flatnonzero(np.abs(gradient).sum(axis=(0, 2, 3)))
    assert seen[-1] - seen[0] + 1 <= found.receptive_field
    # Holes of dilation, ReLU's zeros and lost maxima may leave the very edge dark.
    assert seen[-1] - seen[0] + 1 >= found.receptive_field - 2 * found.output_stride - 2
    assert (
        maps.shape[1] == -(-size // int(found.output_stride)) or kind == "darknet_plain"
    )


def test_any_keras_model_nested_shared_and_other_layers():
    backbone = keras.Sequential(
        [keras.Input((16, 16, 3)), keras.layers.Conv2D(8, 3, padding="same")],
        name="body",
    )
    image = keras.Input((16, 16, 3))
    x = backbone(image)
    shared = keras.layers.Conv2D(8, 1)
    x = shared(keras.layers.ReLU()(shared(x)))
    x = keras.layers.DepthwiseConv2D(3, strides=2, padding="same")(x)
    x = keras.layers.SeparableConv2D(4, 3, padding="same")(x)
    x = keras.layers.Conv2DTranspose(4, 2, strides=2)(x)
    x = keras.layers.Flatten()(x * 2.0)
    model = keras.Model(image, keras.layers.Dense(5)(x))
    found = analyze(model)
    expected = (
        16 * 16 * 8 * 27
        + 2 * 16 * 16 * 8 * 8
        + 8 * 8 * 8 * 9
        + 8 * 8 * (9 * 8 + 8 * 4)
        + 8 * 8 * 4 * 4 * 4
        + 16 * 16 * 4 * 5
    )
    assert found.macs == expected
    assert found.total_params == model.count_params()
    assert sum(layer.total_params for layer in found.layers) == model.count_params()
    assert found.layers[0].name.startswith("body/")
    assert not found.uncounted


def test_unknown_weights_are_named_not_guessed():
    image = keras.Input((4, 8))
    x = keras.layers.MultiHeadAttention(2, 4, name="attention")(image, image)
    found = analyze(keras.Model(image, x))
    assert found.uncounted == ("attention",)
    figures = dict(re.split(r"  +", line) for line in str(found).splitlines()[:4])
    assert figures["multiply-adds"] == "at least 0.0 M"
    assert figures["layers not counted"] == "1"
    product = keras.ops.matmul(image, keras.ops.transpose(image, (0, 2, 1)))
    found = analyze(keras.Model(image, product))
    assert len(found.uncounted) == 1 and found.uncounted[0].startswith("matmul")


def test_operations_have_windows_too():
    image = keras.Input((16, 16, 2))
    x = keras.ops.transpose(image, (0, 2, 1, 3))
    x = keras.ops.max_pool(keras.layers.Conv2D(4, 3, padding="same")(x), 2)
    found = analyze(keras.Model(image, keras.ops.average_pool(x, (3, 3), 1)))
    assert (found.output_stride, found.receptive_field) == (2, 3 + 1 + 2 * 2)
    assert found.macs == 16 * 16 * 4 * 3 * 3 * 2


@pytest.mark.parametrize(
    "height, options, stride",
    [
        (24, {}, 3),
        (24, {"pad_to_aspect_ratio": True}, 4),
        (48, {}, 6),
        (48, {"crop_to_aspect_ratio": True}, 4),
    ],
)
def test_resizing_changes_the_stride(height, options, stride):
    image = keras.Input((height, 64, 3))
    for x in (
        keras.layers.Resizing(16, 32, **options)(image),
        keras.ops.image.resize(image, (16, 32), **options),
    ):
        x = keras.layers.Conv2D(4, 3, strides=2, padding="same")(x)
        assert analyze(keras.Model(image, x)).output_stride == stride


def test_wrapped_layers_count_as_often_as_they_compute():
    frames = keras.Input((4, 16, 16, 1))
    x = keras.layers.TimeDistributed(keras.layers.Conv2D(4, 3))(frames)
    found = analyze(keras.Model(frames, x))
    assert (found.macs, found.uncounted) == (4 * 14 * 14 * 4 * 3 * 3, ())
    image = keras.Input((16, 16, 2))
    x = keras.layers.SpectralNormalization(keras.layers.Conv2D(4, 3))(image)
    assert analyze(keras.Model(image, x)).macs == 14 * 14 * 4 * 3 * 3 * 2


def test_what_cannot_be_analysed():
    with pytest.raises(InvalidArgument, match="functional or Sequential"):
        analyze(keras.Sequential([keras.layers.Dense(3)]))
    two = [keras.Input((3,)), keras.Input((3,))]
    with pytest.raises(InvalidArgument, match="one input"):
        analyze(keras.Model(two, keras.layers.Add()(two)))


def odd_names():
    """A network of two layers, one of whose names is markup with a quote and a comma."""
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(4, 3, padding="same", name='<b>&"a", b')(image)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, keras.layers.Dense(2000, name="dense")(x))


class Cells(html.parser.HTMLParser):
    """The text of every cell of the tables in a page, and the tags of the page."""

    def __init__(self):
        super().__init__()
        self.cells, self.tags = [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data):
        self.cells[-1] += data


def test_a_notebook_shows_tables_with_every_name_as_it_is():
    page = Cells()
    page.feed(analyze(odd_names())._repr_html_())
    assert page.tags == {"table", "thead", "tbody", "tr", "th", "td"}
    assert page.cells[:2] == ["trainable parameters", "10,112"]
    start = page.cells.index('<b>&"a", b')
    conv = ['<b>&"a", b', "Conv2D", "8 x 8 x 4", "112", "6,912", "1", "3"]
    assert page.cells[start : start + 7] == conv
    dense = ["dense", "Dense", "2000", "10,000", "8,000", "-", "all"]
    assert page.cells[-7:] == dense


def test_print_shows_the_figures_and_a_row_a_layer():
    lines = str(analyze(odd_names())).splitlines()
    assert lines[0].split() == ["trainable", "parameters", "10,112"]
    assert lines[-1].split() == [
        "dense",
        "Dense",
        "2000",
        "10,000",
        "8,000",
        "-",
        "all",
    ]
    assert any(line.startswith('<b>&"a", b  Conv2D') for line in lines)


def test_csv_holds_the_layers_and_replaces_nothing_unasked(tmp_path):
    found = analyze(odd_names())
    path = found.to_csv(tmp_path / "layers.csv")
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [layer.name for layer in found.layers]
    assert rows[-3]["name"] == '<b>&"a", b'
    assert rows[-3]["output_shape"] == "8 x 8 x 4"
    assert sum(int(row["macs"]) for row in rows) == found.macs == 6912 + 8000
    assert rows[-1]["stride"] == "" and float(rows[-1]["receptive_field"]) == np.inf
    before = path.read_bytes()
    with pytest.raises(InvalidArgument, match="exists"):
        analyze(keras_resnets.create_model("resnet8")).to_csv(path)
    assert path.read_bytes() == before
    assert found.to_csv(str(path), overwrite=True) == path
    with pytest.raises(InvalidArgument, match="must end in .csv"):
        found.to_csv(tmp_path / "layers.txt")
    assert [entry.name for entry in tmp_path.iterdir()] == ["layers.csv"]
