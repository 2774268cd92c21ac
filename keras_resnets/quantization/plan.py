"""Precision plans: the bits of each layer of a network, as readable, editable data.

A recipe is a plan of one rule. A search proposes a plan with rules for layers, which
`quantize` carries out, also for another training of the same network.
"""

import dataclasses
import hashlib
import json
import os
import types
import typing
from collections.abc import Iterable
from collections.abc import Mapping

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.errors import check_type
from keras_resnets.errors import nearest
from keras_resnets.errors import printable
from keras_resnets.errors import shown
from keras_resnets.export import recipes
from keras_resnets.export.passport import PLAN_SCHEMA as SCHEMA
from keras_resnets.export.recipes import Recipe
from keras_resnets.export.tflite import storage as storages
from keras_resnets.export.tflite.storage import Storage
from keras_resnets.io import untrusted
from keras_resnets.quantization import choices
from keras_resnets.quantization.layer_bits import LayerBits

VERSION = 1
_WHAT = f"a precision plan (JSON with schema {SCHEMA!r}, version {VERSION})"
_REQUIRED = ("schema", "version", "recipe", "layers")
_OPTIONAL = ("network", "fingerprint", "storage", "prefer")
# ResNet-1001 has about 1,500 operators, each on a line of 100 bytes.
_LARGEST = 4 << 20


@dataclasses.dataclass(frozen=True)
class PrecisionPlan:
    """A recipe, with other bits for some layers.

    Attributes:
        recipe: a `Recipe`, or a name in `RECIPES`, for all other layers and for the
            choice of ranges and scales.
        layers: `LayerBits` by name of the layer in the float network. With one scale
            per kernel, a BN that is not folded has two entries: its name with `_scale`
            and with `_offset`.
        network: name of the plan's network, for messages; or None.
        fingerprint: `fingerprint` of the network: other networks are refused. With None
            only the names of the layers must match.
        storage, prefer: default storage of its 4-bit weights, see
            `export.tflite.storage`; None for the general default.

    Raises:
        InvalidArgument: a value is not allowed, or there are layers with a recipe that
            is not int8.

    Example:
        >>> plan = PrecisionPlan("static_wi8_ai8", {"predictions": LayerBits(None, None)})
        >>> PrecisionPlan.from_json(plan.to_json()) == plan
        True
    """

    recipe: Recipe
    layers: Mapping[str, LayerBits] = dataclasses.field(default_factory=dict)
    network: str | None = None
    fingerprint: str | None = None
    storage: str | None = None
    prefer: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "recipe", recipes.find(self.recipe))
        check_type("layers", self.layers, Mapping, "LayerBits by name")
        object.__setattr__(self, "layers", types.MappingProxyType(dict(self.layers)))
        for name, bits in self.layers.items():
            if not isinstance(name, str) or not isinstance(bits, LayerBits):
                raise InvalidArgument(
                    "layers of a plan must be LayerBits by name; got "
                    f"{shown(bits)} for {shown(name)}"
                )
        for field in ("network", "fingerprint"):
            value = getattr(self, field)
            if value is not None and not isinstance(value, str):
                raise InvalidArgument(
                    f"{field} of a plan must be text or None; got {shown(value)}"
                )
        storages.choose(self.storage, self.prefer)
        if self.layers and self.recipe.quantize != "int8":
            raise InvalidArgument(
                "a plan with rules for layers requires an int8 recipe; "
                f"{self.recipe.name} is {self.recipe.quantize}"
            )

    def __reduce__(self) -> tuple[typing.Any, ...]:
        values = (self.recipe, dict(self.layers), self.network, self.fingerprint)
        return PrecisionPlan, (*values, self.storage, self.prefer)

    @property
    def precisions(self) -> dict[str, str]:
        """The precisions of the layers that are not int8, by name."""
        named = {name: bits.precision for name, bits in self.layers.items()}
        return {name: x for name, x in named.items() if x != "int8"}

    @property
    def equalizes(self) -> bool:
        """Whether channels are scaled for its rounding, see `equalization.equalize`."""
        rounds = self.recipe.rounding != "nearest" and self.recipe.per_channel
        return rounds and self.recipe.weight_bits == 4 and not self.layers

    def check_engine(self, engine: str | None) -> str:
        """Returns the engine that executes the plan, see `choices.check_engine`."""
        name = choices.check_engine(engine, self.recipe)
        if self.layers and name != "ranges":
            raise InvalidArgument(
                f"a plan with rules for layers requires the engine 'ranges'; got {name!r}"
            )
        return name

    def with_rounding(
        self, rounding: str | None, steps: int | None = None
    ) -> "PrecisionPlan":
        """Returns the plan with another rounding, see `Recipe.with_rounding`."""
        recipe = self.recipe.with_rounding(rounding, steps)
        return dataclasses.replace(self, recipe=recipe)

    def storage_words(
        self, storage: str | None = None, prefer: str | None = None
    ) -> tuple[str | None, str | None]:
        """Returns (storage, prefer) for `to_tflite`: the arguments, or else its own."""
        if storage is None and prefer is None and self._has_few_bits:
            return self.storage, self.prefer
        return storage, prefer

    def stored(self, storage: str | None = None, prefer: str | None = None) -> Storage:
        """Returns the `Storage` for the arguments; that of the plan if both are None."""
        bits = {self.recipe.weight_bits, *self._layer_bits}
        is_asked = (storage, prefer) != (None, None)
        words = (storage, prefer) if is_asked else (self.storage, self.prefer)
        chosen = storages.choose(*words)
        # A plan whose layers were edited to 8 bits has no 4-bit weights to store.
        explicit, fewest = is_asked and chosen.is_explicit, 2 if 2 in bits else 4
        return dataclasses.replace(chosen, is_explicit=explicit, fewest_bits=fewest)

    def for_training(self) -> "PrecisionPlan":
        """Returns the plan for quantization-aware training.

        With 4-bit weights or sparse kernels all ranges are learned, as in the recipe
        static_wi4_ai8. Otherwise kernels are rounded to nearest.

        Raises:
            InvalidArgument: the recipe is not for training, or a layer is not int8.
        """
        if not self.recipe.trainable:
            names = [name for name, one in recipes.RECIPES.items() if one.trainable]
            raise InvalidArgument(
                f"quantization-aware training supports {', '.join(names)}; got "
                f"{self.recipe.name}"
            )
        for name, precision in self.precisions.items():
            raise InvalidArgument(
                "quantization-aware training supports plans with 4-bit or 8-bit weights "
                f"and 8-bit activations; {shown(name)} is {precision}, which only "
                "quantize supports"
            )
        recipe = self.recipe
        if self._has_few_bits or self.is_sparse:
            recipe = recipe.replace(
                activation_ranges="learned", weight_ranges="learned"
            )
        if recipe.weight_ranges != "learned":
            # The range would follow the largest weight, and lose another rounding.
            recipe = recipe.with_rounding("nearest")
        return dataclasses.replace(self, recipe=recipe)

    @property
    def _layer_bits(self) -> set[int | None]:
        """The weight bits of the layers that the plan names."""
        return {bits.weight_bits for bits in self.layers.values()}

    @property
    def _has_few_bits(self) -> bool:
        """Whether a layer that the plan names has 2-bit or 4-bit weights."""
        return bool(self._layer_bits & {2, 4})

    @property
    def is_sparse(self) -> bool:
        """Whether zeros of some kernel are not stored."""
        return any(x.sparsity for x in self.layers.values())

    def check_storage(self, storage: Storage) -> None:
        """Raises `InvalidArgument` if it is explicit and no weights have 4 bits or 2."""
        bits = {self.recipe.weight_bits, *self._layer_bits}
        if storage.is_explicit and not bits & {2, 4}:
            raise InvalidArgument(
                "storage and prefer apply to 2-bit and 4-bit weights; those of "
                f"{self.recipe.name} have {self.recipe.weight_bits or 16}"
            )

    def to_json(self) -> str:
        """Returns the plan as JSON with one layer per line; see `from_json`."""
        is_listed = self.recipe == recipes.RECIPES.get(self.recipe.name)
        head = {
            "schema": SCHEMA,
            "version": VERSION,
            "network": self.network,
            "fingerprint": self.fingerprint,
            "storage": self.storage,
            "prefer": self.prefer,
            "recipe": self.recipe.name
            if is_listed
            else dataclasses.asdict(self.recipe),
        }
        if self.storage is None and self.prefer is None:
            del head["storage"], head["prefer"]
        lines = [f" {json.dumps(key)}: {json.dumps(x)}," for key, x in head.items()]
        rows = [
            f"  {json.dumps(name)}: {json.dumps(bits.to_dict())}"
            for name, bits in self.layers.items()
        ]
        body = "{\n" + ",\n".join(rows) + "\n }" if rows else "{}"
        return "\n".join(["{", *lines, f' "layers": {body}', "}"]) + "\n"

    @classmethod
    def of(cls, plan: "str | Recipe | PrecisionPlan") -> "PrecisionPlan":
        """Returns a plan, or the plan of a recipe without rules for layers.

        Raises:
            InvalidArgument: there is no recipe with this name.

        Example:
            >>> PrecisionPlan.of("static_wi4_ai8").recipe.weight_bits
            4
        """
        return plan if isinstance(plan, PrecisionPlan) else cls(recipes.find(plan))

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "the text") -> "PrecisionPlan":
        """Reads a plan from JSON.

        Args:
            text: JSON: an object with `schema` (`"keras_resnets.precision_plan"`),
                `version` (1), `recipe` (a name, or an object of a `Recipe`'s fields) and
                `layers`: an object from the name of a layer to one of `weight_bits` and
                `activation_bits`; optionally `network`, `fingerprint`, `storage` and
                `prefer`.
            source: name of the text, for messages.

        Raises:
            InvalidArgument: anything else: larger than 4 MB, nested deeply, a key that
                is unknown or stands twice, NaN, other types.
        """
        if len(text) > _LARGEST:
            raise InvalidArgument(
                f"{printable(source)} is not a precision plan: it may have at most "
                f"{_LARGEST:,} bytes; it has {len(text):,}"
            )
        content = untrusted.parse_json(
            text,
            source,
            _WHAT,
            object_pairs_hook=_only_once,
            parse_constant=_no_number,
        )
        try:
            return _decoded(content)
        except InvalidArgument as error:
            raise InvalidArgument(
                f"{printable(source)} is not a precision plan: {error}"
            ) from None

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "PrecisionPlan":
        """Reads the plan in a file, see `from_json`."""
        text = untrusted.read_text(path, _WHAT, _LARGEST)
        return cls.from_json(text, str(path))

    def check_network(self, name: str, layers: typing.Any) -> None:
        """Raises `InvalidArgument` if the plan is for another network.

        Args:
            name: name of the network.
            layers: its layers, see `fingerprint`.
        """
        actual = fingerprint(layers)
        if self.fingerprint not in (None, actual):
            raise InvalidArgument(
                f"the plan is of {shown(self.network or 'another network')} "
                f"(fingerprint {shown(self.fingerprint)}), whose layers differ from those "
                f"of {name} ({actual}): search a plan for {name}, or remove the "
                "fingerprint to match layers by their names alone"
            )

    def fitted(self, names: Iterable[str]) -> "PrecisionPlan":
        """Returns the plan with the layer names of a network.

        A classifier without its softmax (`logits=True`) is found by its old name, and a
        BN that is not folded also by the names of its two halves, which earlier
        releases and recipes with one scale per kernel use.

        Args:
            names: names of the layers that can have bits of their own.

        Raises:
            InvalidArgument: a layer of the plan is not among them.
        """
        allowed = tuple(names)
        layers: dict[str, LayerBits] = {}
        for name, bits in self.layers.items():
            layer_name = next((x for x in _written(name) if x in allowed), None)
            if layer_name is None:
                near = nearest(name, allowed, count=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise InvalidArgument(
                    f"layers of a plan must be among {_some(allowed)}; got "
                    f"{shown(name)}{hint}"
                )
            # The finer precision of the two halves.
            both = (bits, layers.get(layer_name, bits))
            layers[layer_name] = max(
                both, key=lambda x: choices.PRECISIONS.index(x.precision)
            )
        return dataclasses.replace(self, layers=layers)


def _written(name: str) -> tuple[str, ...]:
    """Returns the possible names of a plan's layer in a network, the likeliest first."""
    halves = (name.removesuffix("_scale"), name.removesuffix("_offset"))
    return (name, f"{name}_linear", *halves)


def fingerprint(layers: Iterable[typing.Any]) -> str:
    """Returns 16 hex digits that identify a network, whatever its weights.

    Args:
        layers: Keras layers in order; names and shapes of those with weights are used.
    """
    description = [
        [layer.name, [list(variable.shape) for variable in layer.weights]]
        for layer in layers
        if layer.weights
    ]
    return hashlib.sha256(json.dumps(description).encode()).hexdigest()[:16]


def _decoded(content: typing.Any) -> PrecisionPlan:
    """Returns the plan of decoded JSON."""
    _check_keys("the plan", content, _REQUIRED, _OPTIONAL)
    header = (content["schema"], content["version"])
    # True is equal to 1.
    if header != (SCHEMA, VERSION) or type(header[1]) is not int:
        raise InvalidArgument(
            f"schema and version must be {SCHEMA!r} and {VERSION}; got "
            f"{shown(header[0])} and {shown(header[1])}"
        )
    layers = content["layers"]
    if not isinstance(layers, dict):
        raise InvalidArgument(f"layers must be an object; got {shown(layers)}")
    return PrecisionPlan(
        _recipe(content["recipe"]),
        {name: _bits(name, value) for name, value in layers.items()},
        *(content.get(key) for key in _OPTIONAL),
    )


def _recipe(value: typing.Any) -> Recipe:
    """Returns a recipe by name, or from all of its fields."""
    if not isinstance(value, dict):
        return recipes.find(value)
    fields = tuple(field.name for field in dataclasses.fields(Recipe))
    _check_keys("recipe", value, ("name",), fields)
    return Recipe(**value)


def _bits(name: str, value: typing.Any) -> LayerBits:
    layer = f"layer {shown(name)}"
    if not isinstance(value, dict):
        example = json.dumps(LayerBits(4, 8).to_dict())
        raise InvalidArgument(
            f"{layer} must be an object such as {example}; got {shown(value)}"
        )
    _check_keys(layer, value, ("weight_bits", "activation_bits"), ("sparsity",))
    try:
        return LayerBits(**value)
    except InvalidArgument as error:
        raise InvalidArgument(f"{layer}: {error}") from None


def _check_keys(
    what: str,
    value: typing.Any,
    required: tuple[str, ...],
    optional: tuple[str, ...] = (),
) -> None:
    """Raises `InvalidArgument` unless a value is an object with these keys."""
    if not isinstance(value, dict):
        raise InvalidArgument(f"{what} must be an object; got {shown(value)}")
    missing = [key for key in required if key not in value]
    # A misspelt key is more helpful than a missing one.
    if len(missing) < len(required):
        for key in value:
            if key not in (*required, *optional):
                check_choice(f"a key of {what}", key, (*required, *optional))
    if missing:
        raise InvalidArgument(f"{what} lacks {', '.join(missing)}")


def _only_once(pairs: list[tuple[str, typing.Any]]) -> dict[str, typing.Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in content if keys.count(key) > 1)
        raise ValueError(f"the key {shown(twice)} occurs twice")
    return content


def _no_number(text: str) -> typing.NoReturn:
    raise ValueError(f"{text} is not a number")


def _some(names: tuple[str, ...], most: int = 4) -> str:
    """Returns the first few of many names, for messages."""
    more = f", ... ({len(names)})" if len(names) > most else ""
    return ", ".join(names[:most]) + more
