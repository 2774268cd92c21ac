"""`Architecture`: a network of the family as a frozen record of independent axes.

Nothing here depends on Keras. `variants.py` defines the records, `blueprint.py` expands
them unit by unit, `builder.py` makes layers of them.
"""

import dataclasses
import math
import typing

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import nearest
from keras_resnets.errors import shown
from keras_resnets.fields import Choice
from keras_resnets.fields import Flag
from keras_resnets.fields import Maybe
from keras_resnets.fields import Number
from keras_resnets.fields import Rule
from keras_resnets.fields import Several
from keras_resnets.fields import Text
from keras_resnets.fields import Whole
from keras_resnets.networks import idioms

BLOCKS = ("basic", "bottleneck", "darknet", "conv", "alternating")
ACTIVATION_ORDERS = (
    "original",
    "bn_after_add",
    "relu_before_add",
    "no_relu_after_add",
    "relu_only_preact",
    "full_preact",
)
SHORTCUT_TYPES = ("identity_pad", "projection", "projection_all", "avg_projection")
SHORTCUT_LETTERS = dict(zip("ABCD", SHORTCUT_TYPES, strict=True))
STEM_TYPES = ("conv7", "deep", "deep_tiered", "cifar", "darknet", "drn")
STEM_STRIDES = {"conv7": 2, "deep": 2, "deep_tiered": 2}
STEM_POOLS = (None, "max", "max_zero_pad", "conv")
DOWNSAMPLE_IN = ("3x3", "1x1", "last_block")
ACTIVATIONS = ("relu", "leaky_relu", "silu", "gelu", "elu", "hard_swish")
PREPROCESSING = (
    "torch",
    "tf",
    "caffe",
    "darknet",
    "cifar",
    "cifar_image_std",
    "cifar100",
    "raw",
)

# Axes that affect only initialization or training: with the same weights the network
# computes the same. Size, classes and preprocessing are stored with the weights anyway.
_NOT_COMPUTED = frozenset(
    "family zero_init_residual drop_path_rate dropout_rate block_dropout_rate "
    "bn_momentum input_size classes preprocessing".split()
)


_BY_STAGE = "filters strides block residual dilations first_dilations".split()
# At least ten times as much as any published network has; `extent` bounds the size of
# the whole network.
_STAGES, _UNITS, _WIDTH = 64, 1000, 65_536


def _per_stage(rule: Rule) -> typing.Any:
    return Several(rule, 1, _STAGES, alone=True)


_RATE = Number(0, 1, below=True)
_WIDE = Whole(1, _WIDTH)
# The allowed values of each axis, for Python, command lines and files.
AXES = {
    "family": Text(40),
    "depths": Several(Whole(1, _UNITS), 1, _STAGES),
    "filters": _per_stage(_WIDE),
    "strides": _per_stage(Whole(1, 32)),
    "block": _per_stage(Choice(BLOCKS)),
    "activation_order": Choice(ACTIVATION_ORDERS),
    "residual": _per_stage(Flag()),
    "shortcut_type": Choice(SHORTCUT_TYPES, SHORTCUT_LETTERS),
    "shortcut_bn": Flag(),
    "identity_pad_position": Choice(("end", "both")),
    "first_projection": Flag(),
    "dead_projection": Flag(),
    "share_preact": Choice(("first", "projection")),
    "cardinality": _WIDE,
    "base_width": _WIDE,
    "widen_factor": _WIDE,
    "downsample_in": Choice(DOWNSAMPLE_IN),
    "transition": Choice((None, "conv", "max")),
    "stem_type": Choice(STEM_TYPES),
    "stem_filters": _WIDE,
    "stem_bn": Flag(),
    "stem_pool": Choice(STEM_POOLS),
    "dilations": _per_stage(Whole(1, 256)),
    "first_dilations": Maybe(_per_stage(Whole(1, 256))),
    "output_stride": Maybe(Whole(1, 2**31 - 1)),
    "dilation_policy": Choice(("torchvision", "uniform")),
    "padding": Choice(("symmetric", "same")),
    "conv_bias": Choice(("none", "unnormalized", "all")),
    "activation": Choice(ACTIVATIONS),
    "negative_slope": Number(0, 1),
    "head": Choice(("dense", "conv")),
    "zero_init_residual": Flag(),
    "drop_path_rate": _RATE,
    "dropout_rate": _RATE,
    "block_dropout_rate": _RATE,
    "bn_momentum": Number(0, 1),
    # Published values are 1e-7 to 1e-2; a much smaller one vanishes beside a variance in
    # float32, and one above 1 dominates it.
    "bn_epsilon": Number(1e-12, 1),
    # The largest side of a JPEG; the classes of the largest face recognition.
    "input_size": Whole(1, 65_535),
    "classes": Whole(1, 10_000_000),
    "preprocessing": Choice(PREPROCESSING),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """A network of the ResNet family, described by independent axes.

    A value that is the same in every stage may be given once; it is expanded to a
    tuple with one entry per stage. `replace` derives another architecture.

    Attributes:
        family: the family's name, by which `list_models` groups (`"resnet"`, `"drn"`, ...).
        depths: residual units in each stage.
        filters: width of each stage before expansion (torch's `planes`).
        strides: stride of each stage.
        block: `"basic"` (two 3x3), `"bottleneck"` (1x1, 3x3, 1x1; output four times
            as wide), `"darknet"` (1x1 at half width, 3x3), `"conv"` (one 3x3) or
            `"alternating"` (one convolution, alternately 3x3 and half-width 1x1);
            one for all stages or one per stage.
        activation_order: where BN, ReLU and the addition sit in a unit:
            `"original"` (He 2015), `"bn_after_add"`, `"relu_before_add"`,
            `"relu_only_preact"`, `"full_preact"` (He 2016, Fig. 4 a to e), or
            `"no_relu_after_add"` (torch.ch/blog/2016/02/04/resnets.html).
        residual: whether units add their input; one for all stages or one per stage.
            Without it the network is "plain".
        shortcut_type: `"identity_pad"` (option A: subsample, pad channels with
            zeros), `"projection"` (B: 1x1 convolution where the shape changes),
            `"projection_all"` (C: in every unit) or `"avg_projection"` (Bag of
            Tricks D: 2x2 average pooling, then 1x1). `"A"` to `"D"` are accepted too.
        first_projection: whether the first unit of every stage projects, also in stage
            1, where no shape changes (PaddleClas' ResNet-vd of basic units).
        shortcut_bn: whether BN follows the projection (never under full
            pre-activation).
        identity_pad_position: new channels of option A at the `"end"`
            (fb.resnet.torch) or half on `"both"` sides.
        dead_projection: whether to keep the projection of the first unit of a stage
            without residual, which is computed and discarded (published DRN-C-58).
        share_preact: in pre-activation networks, the shortcut also takes the first
            BN-ReLU in the `"first"` unit of each stage (He 2016), or only in units
            with a `"projection"` (Wide ResNet).
        cardinality: groups of the bottleneck's 3x3 convolution (ResNeXt).
        base_width: channels per group at 64 filters; the 3x3 is
            `floor(filters * base_width / 64) * cardinality` wide.
        widen_factor: factor on `filters` (k of WRN-d-k); the stem is not widened.
        downsample_in: the stride sits in the unit's `"3x3"` (torchvision, "v1.5"),
            its first `"1x1"` (He 2015), or in the 3x3 of the `"last_block"` of a
            stage (`keras.applications` V2). Basic units have it in the first 3x3.
        transition: the operation that carries a stage's stride instead of its first
            unit: None, `"conv"` (3x3, DarkNet-53) or `"max"` (2x2 pooling, DarkNet-19).
        stem_type: `"conv7"`, `"deep"` (three 3x3: /2, /1, /1), `"deep_tiered"` (the
            same, narrower first), `"cifar"` and `"darknet"` (3x3) or `"drn"` (7x7/1).
        stem_filters: width of the stem's output.
        stem_bn: whether the stem ends in BN and activation.
        stem_pool: None, `"max"` (3x3/2), `"max_zero_pad"` (the same with zeros around
            the map, which exceed negative values: `keras.applications` V2, whose
            stem has no activation) or `"conv"` (3x3/2 convolution).
        dilations: dilation of each stage's 3x3 convolutions.
        first_dilations: the same for the first unit of each stage; None: equal.
        output_stride: None, or the stride at which the network stops subsampling;
            later strides become dilations.
        dilation_policy: `"torchvision"`: the convolution that lost its stride keeps
            the previous rate, so that every value of the strided network is computed too;
            `"uniform"`: the whole stage has the new rate.
        padding: `"symmetric"` (as in the papers' code) or TensorFlow's `"same"`.
        conv_bias: convolutions with a bias: `"none"`, `"unnormalized"` (those not
            followed by BN) or `"all"`.
        activation: `"relu"`, `"leaky_relu"`, `"silu"`, `"gelu"`, ...
        negative_slope: slope of `"leaky_relu"`, in [0, 1]: 0.1 in darknet's program.
        head: `"dense"` (pool, then classify) or `"conv"` (1x1 convolution, then pool).
        zero_init_residual: start every branch at zero (zero-gamma).
        drop_path_rate: stochastic depth, rising linearly from 0 in the first unit to
            this in the last, in [0, 1).
        dropout_rate: dropout before the classifier, in [0, 1).
        block_dropout_rate: dropout between the convolutions of a unit, in [0, 1).
        bn_momentum: Keras' convention: 0.9 is torch's 0.1.
        bn_epsilon: added to the variance.
        input_size: default height and width in pixels.
        classes: default number of classes.
        preprocessing: the mode that the network was published with
            (`keras_resnets.images.preprocessing`).

    Example:
        >>> from keras_resnets.networks.architecture import Architecture
        >>> tiny = Architecture(family="resnet", depths=(1, 1), filters=(8, 16),
        ...                     strides=(1, 2), block="basic")
        >>> tiny.natural_stride
        8
    """

    family: str
    depths: tuple[int, ...]
    filters: tuple[int, ...] = (64, 128, 256, 512)
    strides: tuple[int, ...] = (1, 2, 2, 2)
    block: str | tuple[str, ...] = "bottleneck"
    activation_order: str = "original"
    residual: bool | tuple[bool, ...] = True
    shortcut_type: str = "projection"
    first_projection: bool = False
    shortcut_bn: bool = True
    identity_pad_position: str = "end"
    dead_projection: bool = False
    share_preact: str = "first"
    cardinality: int = 1
    base_width: int = 64
    widen_factor: int = 1
    downsample_in: str = "3x3"
    transition: str | None = None
    stem_type: str = "conv7"
    stem_filters: int = 64
    stem_bn: bool = True
    stem_pool: str | None = "max"
    dilations: int | tuple[int, ...] = 1
    first_dilations: int | tuple[int, ...] | None = None
    output_stride: int | None = None
    dilation_policy: str = "torchvision"
    padding: str = "symmetric"
    conv_bias: str = "none"
    activation: str = "relu"
    negative_slope: float = 0.1
    head: str = "dense"
    zero_init_residual: bool = False
    drop_path_rate: float = 0.0
    dropout_rate: float = 0.0
    block_dropout_rate: float = 0.0
    bn_momentum: float = 0.9
    bn_epsilon: float = 1e-5
    input_size: int = 224
    classes: int = 1000
    preprocessing: str = "torch"

    def __post_init__(self) -> None:
        for field, rule in AXES.items():
            value = getattr(self, field)
            # Defaults are allowed, and are most values of a hundred variants.
            if value is not _DEFAULTS[field]:
                object.__setattr__(self, field, rule.check(field, value))
        if self.first_dilations is None:
            object.__setattr__(self, "first_dilations", self.dilations)
        for field in _BY_STAGE:
            object.__setattr__(self, field, self._per_stage(field))
        self._check_cardinality()
        self._check_output_stride()

    def _per_stage(self, field: str) -> typing.Any:
        value = getattr(self, field)
        if not isinstance(value, tuple):
            return (value,) * len(self.depths)
        if len(value) != len(self.depths):
            raise InvalidArgument(
                f"{field} needs one entry a stage: depths has {len(self.depths)}, "
                f"{field} has {len(value)} ({value!r})"
            )
        return value

    def _check_cardinality(self) -> None:
        if self.cardinality == 1 and self.base_width == 64:
            return
        if "bottleneck" not in self.block:
            raise InvalidArgument(
                "cardinality and base_width apply to bottleneck units; got "
                f"cardinality={self.cardinality}, base_width={self.base_width} with "
                f"block={self.block[0]!r}"
            )
        for filters in self.filters:
            if filters * self.widen_factor * self.base_width < 64:
                raise InvalidArgument(
                    "filters * base_width / 64 channels a group must be at least 1; got "
                    f"filters={filters}, base_width={self.base_width}: the smallest "
                    f"base_width is {math.ceil(64 / filters / self.widen_factor)}"
                )

    def _check_output_stride(self) -> None:
        allowed = self.output_strides
        if self.output_stride is None or self.output_stride in allowed:
            return
        raise InvalidArgument(
            f"output_stride must be one of {', '.join(map(str, allowed))} for this "
            f"network (its own stride is {self.natural_stride}); "
            f"got {self.output_stride!r}"
        )

    @property
    def preact(self) -> bool:
        """Whether BN and/or ReLU come before the convolutions (a "v2" unit)."""
        return self.activation_order in ("relu_only_preact", "full_preact")

    @property
    def stem_stride(self) -> int:
        """Total stride of stem and stem pooling."""
        return STEM_STRIDES.get(self.stem_type, 1) * (2 if self.stem_pool else 1)

    @property
    def natural_stride(self) -> int:
        """Total stride of the network before `output_stride`."""
        return self.stem_stride * math.prod(self.strides)

    @property
    def output_strides(self) -> list[int]:
        """Strides at which the network can stop subsampling, ascending."""
        strides = [self.stem_stride]
        for stride in self.strides:
            strides.append(strides[-1] * stride)
        return sorted(set(strides))

    @property
    def minimum_size(self) -> int:
        """Smallest height and width, which leaves one pixel before the pooling."""
        return self.output_stride or self.natural_stride

    def replace(self, /, **changes: typing.Any) -> "Architecture":
        """Returns the same architecture with `changes`.

        Raises:
            InvalidArgument: an unknown axis, or a value that is not allowed.
        """
        names = [field.name for field in dataclasses.fields(self)]
        unknown = [name for name in changes if name not in names]
        if unknown:
            raise InvalidArgument(
                "; ".join(
                    f"{shown(name)} is not an axis of an architecture"
                    f"{self._hint(name, changes[name], names)}"
                    for name in unknown
                )
            )
        if "dilations" in changes:
            changes.setdefault("first_dilations", None)
        if "depths" in changes:
            # A value that was the same in every stage stays so for the new depths.
            for name in ("block", "residual", "dilations", "first_dilations"):
                values = set(getattr(self, name))
                if len(values) == 1:
                    changes.setdefault(name, values.pop())
        return dataclasses.replace(self, **changes)

    def changes(self, base: "Architecture") -> dict[str, typing.Any]:
        """Returns the axes, with values, in which this network computes unlike `base`.

        Example:
            >>> from keras_resnets import get_architecture
            >>> plain = get_architecture("resnet50")
            >>> plain.replace(output_stride=16, drop_path_rate=0.1).changes(plain)
            {'output_stride': 16}
        """
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in _NOT_COMPUTED
            and getattr(self, field.name) != getattr(base, field.name)
        }

    def _hint(self, name: str, value: object, names: list[str]) -> str:
        idiom = idioms.for_argument(name, value, self)
        if idiom:
            return f": {idiom}"
        near = nearest(name, names)
        return f"; did you mean {', '.join(near)}?" if near else ""


_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Architecture)}
