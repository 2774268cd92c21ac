"""Magnitude pruning: sets the smallest weights to zero, at once or during training."""

import collections
import dataclasses
import gzip
import typing
from collections.abc import Sequence

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_positive_int
from keras_resnets.errors import check_range
from keras_resnets.errors import check_type
from keras_resnets.errors import check_whole
from keras_resnets.graph import anatomy
from keras_resnets.graph.analysis import analyze
from keras_resnets.graph.nodes import layers_of
from keras_resnets.pruning.patterns import check_prunable
from keras_resnets.pruning.patterns import check_sparsity
from keras_resnets.pruning.patterns import mask_of
from keras_resnets.pruning.patterns import prunable
from keras_resnets.quantization.qat.layers import fitted


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolynomialSchedule:
    """The sparsity at each step (Zhu and Gupta 2017, arXiv:1710.01878).

    Attributes:
        sparsity: final share of zeros, in (0, 1).
        start: share at `begin`.
        begin, end: steps (batches) between which it rises to `sparsity`.
        power: exponent of the polynomial: 3 rises fast, then slowly.
        every: steps between updates of the masks.

    Raises:
        InvalidArgument: a value that is not allowed.

    Example:
        >>> round(PolynomialSchedule(sparsity=0.8, end=100)(50), 3)
        0.7
    """

    sparsity: float
    start: float = 0.0
    begin: int = 0
    end: int = 1000
    power: float = 3.0
    every: int = 50

    def __post_init__(self) -> None:
        check_sparsity(self.sparsity)
        check_range("start", self.start, 0, self.sparsity)
        check_range("power", self.power, 0, float("inf"))
        check_positive_int("every", self.every)
        check_whole("begin", self.begin)
        check_whole("end", self.end)
        if self.begin >= self.end:
            raise InvalidArgument(
                f"begin must be less than end; got {self.begin} and {self.end}"
            )

    def __call__(self, step: int) -> float:
        """Returns the share of zeros at a step."""
        done = np.clip((step - self.begin) / (self.end - self.begin), 0, 1)
        left = (1 - done) ** self.power
        return float(self.sparsity + (self.start - self.sparsity) * left)


def _check_backend() -> None:
    if keras.backend.backend() == "jax":
        raise InvalidArgument(
            "pruning while fitting changes weights between batches, which Keras on JAX "
            "does not see: use KERAS_BACKEND=tensorflow"
        )


class Prune(keras.callbacks.Callback):
    """Prunes a network while `fit` trains it.

    The masks are updated every `schedule.every` steps, by magnitude in each layer, and
    applied after every step in between, so that zeros persist through the fine-tuning of
    a float or a quantization-aware model (rounding keeps zero). Of a
    `training.distillation.Distiller` the student is pruned.

    Args:
        schedule: a `PolynomialSchedule`.
        pattern: see `patterns.mask_of`; `"2:4"` and `"vw-2:4"` have a sparsity of one
            half from the first step on.

    Raises:
        InvalidArgument: an unknown pattern, a sparsity that it cannot have, or a network
            without a layer to prune.

    Example:
        >>> callback = Prune(PolynomialSchedule(sparsity=0.5, end=100))
        >>> callback.pattern
        'unstructured'
    """

    def __init__(
        self, schedule: PolynomialSchedule, pattern: str = "unstructured"
    ) -> None:
        super().__init__()
        check_type("schedule", schedule, PolynomialSchedule, "a PolynomialSchedule")
        check_sparsity(schedule.sparsity, pattern)
        self.schedule = schedule
        self.pattern = pattern
        self._step = 0
        self._masks: dict[int, typing.Any] = {}

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        _check_backend()
        self._layers = check_prunable(fitted(self.model), self.pattern)
        self._apply()

    def on_train_batch_end(
        self, batch: int, logs: dict[str, float] | None = None
    ) -> None:
        self._step += 1
        self._apply()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self._choose()
        self._apply()

    def _apply(self) -> None:
        schedule = self.schedule
        last = self._step == schedule.end
        if self._step >= schedule.begin and self._step <= schedule.end:
            if last or (self._step - schedule.begin) % schedule.every == 0:
                self._choose()
        for layer in self._layers:
            mask = self._masks.get(id(layer))
            if mask is not None:
                layer.kernel.assign(layer.kernel * mask)

    def _choose(self) -> None:
        share = self.schedule(self._step)
        for layer in self._layers:
            kernel = keras.ops.convert_to_numpy(layer.kernel)
            mask = mask_of(kernel, share, self.pattern)
            self._masks[id(layer)] = keras.ops.convert_to_tensor(mask)


class KeepZeros(keras.callbacks.Callback):
    """Keeps the zeros of the kernels during training.

    Use it to fine-tune a pruned float network. A model of `quantize_aware` keeps the
    zeros of its float network without it.

    Example:
        >>> KeepZeros().on_train_end()
    """

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        _check_backend()
        self._masks = []
        layers = prunable(fitted(self.model))
        anatomy.check_no_lora(layers, "KeepZeros")
        for layer in layers:
            kernel = keras.ops.convert_to_numpy(layer.kernel)
            if (kernel == 0).any():
                mask = keras.ops.convert_to_tensor((kernel != 0).astype("float32"))
                self._masks.append((layer, mask))

    def on_train_batch_end(
        self, batch: int, logs: dict[str, float] | None = None
    ) -> None:
        for layer, mask in self._masks:
            layer.kernel.assign(layer.kernel * mask)


def prune(
    model: keras.Model,
    sparsity: float,
    pattern: str = "unstructured",
    input_shape: Sequence[int] | None = None,
) -> typing.Any:
    """Sets the smallest weights of `model` to zero at once, in place.

    Args:
        model: a built `keras.Model`.
        sparsity: share of zeros in each pruned layer, in (0, 1).
        pattern: see `patterns.mask_of`.
        input_shape: (height, width, channels) if the model leaves them open.

    Returns:
        A `PruningReport`.

    Raises:
        InvalidArgument: a value that is not allowed, a model that `analyze` does not
            take, or no layer to prune; the model is not modified.

    Example:
        >>> import keras_resnets
        >>> round(prune(keras_resnets.create_model("resnet8"), 0.5).sparsity, 2)
        0.5
    """
    check_sparsity(sparsity, pattern)
    # First, so that a model without a report is not modified.
    analyze(model, input_shape)
    for layer in check_prunable(model, pattern):
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        layer.kernel.assign(kernel * mask_of(kernel, sparsity, pattern))
    return pruning_report(model, input_shape)


@dataclasses.dataclass(frozen=True)
class PruningReport:
    """The sparsity of a network.

    Attributes:
        layers: (name, weights, share of zeros) of every kernel, in order; in a nested
            model the name is `model/layer`.
        sparsity: share of zeros among the kernels that have some.
        zeros: share of zeros among all kernels.
        parameters: parameters of the model.
        macs: multiply-adds for one image, those with zero weights included.
        live_macs: multiply-adds without those with zero weights.
        size: bytes of all weights as float32.
        gzip_size: the same, compressed.
    """

    layers: tuple[tuple[str, int, float], ...]
    sparsity: float
    zeros: float
    parameters: int
    macs: int
    live_macs: int
    size: int
    gzip_size: int

    def vanished(self, before: typing.Any) -> tuple[str, ...]:
        """Returns the kernels of an earlier report that have no effect any more, in order.

        Args:
            before: the `PruningReport` of the original network.

        Returns:
            Names of kernels that are gone, and of those that now hold only zeros.
        """
        left = {name for name, _, zeros in self.layers if zeros < 1}
        alive = [name for name, _, zeros in before.layers if zeros < 1]
        return tuple(name for name in alive if name not in left)


def pruning_report(
    model: keras.Model, input_shape: Sequence[int] | None = None
) -> PruningReport:
    """Returns a `PruningReport` of `model`.

    Args:
        model: a functional or Sequential `keras.Model`.
        input_shape: (height, width, channels) if the model leaves them open.

    Example:
        >>> import keras_resnets
        >>> report = pruning_report(keras_resnets.create_model("resnet8"))
        >>> report.parameters, report.macs == report.live_macs
        (78666, True)
    """
    analysis = analyze(model, input_shape)
    macs: collections.Counter[str] = collections.Counter()
    for layer in analysis.layers:
        macs[layer.name] += layer.macs or 0
    rows, live, kernels = [], float(analysis.macs), _kernels(model)
    for name, kernel, paths in kernels:
        share = float((kernel == 0).mean())
        rows.append((name, kernel.size, share))
        live -= share * sum(macs[path] for path in paths)
    pruned = [kernel for _, kernel, _ in kernels if (kernel == 0).any()]
    content = b"".join(
        keras.ops.convert_to_numpy(weight).astype("float32").tobytes()
        for weight in model.weights
    )
    return PruningReport(
        layers=tuple(rows),
        sparsity=_share_of_zeros(pruned),
        zeros=_share_of_zeros([kernel for _, kernel, _ in kernels]),
        parameters=model.count_params(),
        macs=analysis.macs,
        live_macs=round(live),
        size=len(content),
        gzip_size=len(gzip.compress(content, 6, mtime=0)),
    )


def _kernels(model: keras.Model) -> list[tuple[str, np.ndarray, tuple[str, ...]]]:
    """(name, values, paths of its layer) of every kernel of `model`, in order."""
    kernels = []
    for layer, paths in layers_of(model):
        own = [w for w in layer._trainable_variables + layer._non_trainable_variables]
        own = [w for w in own if w.name.endswith("kernel") and len(w.shape) > 1]
        for weight in own:
            name = paths[0] if len(own) == 1 else f"{paths[0]}/{weight.name}"
            # The MACs of a layer count once, however many kernels it has.
            counted = paths if weight is own[0] else ()
            values = keras.ops.convert_to_numpy(weight)
            kernels.append((name, values, counted))
    return kernels


def _share_of_zeros(kernels: list[np.ndarray]) -> float:
    total = sum(kernel.size for kernel in kernels)
    return sum(int((kernel == 0).sum()) for kernel in kernels) / total if total else 0.0
