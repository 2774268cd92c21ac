"""Files of a search as edits of one file: layers in 4 bits or sparse, and what that saves.

Second-order rounding finds each 4-bit or sparse kernel independently in the int8 network,
in one pass over the layers: the loss of a layer is then known without the others. The
files that are written in the end are rounded again, layer after layer, by their plans.
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable

import numpy as np

from keras_resnets.export.prepare import Ready
from keras_resnets.export.tflite import packing
from keras_resnets.export.tflite import sparse
from keras_resnets.export.tflite.runner import TFLiteRunner
from keras_resnets.quantization.backends import engines
from keras_resnets.quantization.backends import kernel_file
from keras_resnets.quantization.options import Options
from keras_resnets.quantization.qat.layers import KERNELS
from keras_resnets.quantization.rounding.kernels import Alternatives
from keras_resnets.quantization.search import points
from keras_resnets.quantization.search.budget import Move

# What layers became: (name of a layer, kind of a `Move`).
Lowered = tuple[tuple[str, str], ...]


def pairs(moves: Iterable[Move]) -> Lowered:
    """What moves make of layers."""
    return tuple((move.name, move.kind) for move in moves)


def words(lowered: Lowered) -> str:
    """What layers became, for messages."""
    kinds = [kind for _, kind in lowered]
    return points.words_of(kinds.count("int4"), kinds.count("sparse"))


class Edits:
    """One converted file, and its layers in 4 bits or sparse.

    Args:
        ready: a `session.Ready` with a calibration.
        options: of the file, with 8 bits or more in every layer, rounded by the second
            order.
        kinds: of moves to look at, see `budget.Move`.
        sparsity: of sparse kernels.

    Attributes:
        layers: names of those that can have 4 bits or be sparse.
    """

    def __init__(
        self,
        ready: Ready,
        options: Options,
        kinds: Collection[str] = ("int4",),
        sparsity: float = 0.0,
    ) -> None:
        self._options, self._kinds = options, kinds
        others = Alternatives(sparsity if "sparse" in kinds else 0.0)
        self._base = engines.base(ready, options, others)
        graph = self._base.graph
        labels = {name: label for label, name in graph.names.items()}
        names = kernel_file.editable(self._base.content, graph)
        raised = options.plan.fitted(graph.names).precisions
        self._raised = {graph.names[label]: x for label, x in raised.items()}
        # By label: (name of the operator, what it can be, by the kind of a move).
        self._others = {
            labels[names[x.name]]: (names[x.name], others.found[x.name])
            for x in self._base.rounded.layers
            if isinstance(x, KERNELS) and x.name in names and x.name in others.found
        }
        self.layers = tuple(x for x in self._others if x not in raised)

    def file(self, lowered: Lowered) -> bytes:
        """Bytes of the file with some layers in 4 bits or sparse, kept as dense int8."""
        kernels = {}
        for label, kind in lowered:
            name, found = self._others[label]
            kernels[name] = found[kind]
        content, graph = self._base.content, self._base.graph
        content = kernel_file.with_kernels(content, graph, kernels)
        base = engines.Base(self._base.rounded, graph, content)
        return base.file(self._raised)

    def size(self, lowered: Lowered) -> int:
        """Bytes of the file as it is written."""
        content, _ = self._options.file.storage.store(self.file(lowered))
        if self._options.file.packed:
            content = packing.pack(content)
        return len(sparse.store(content) if self._options.file.sparse else content)

    def moves(
        self, images: np.ndarray, threads: int, progress: Callable[..., object]
    ) -> list[Move]:
        """The savings and costs of what makes each layer smaller.

        Args:
            images: float32 (count, height, width, channels) to run.
            threads: of LiteRT.
            progress: called with the layers done, and how many there are.
        """
        whole, before = self.size(()), self._logits((), images, threads)
        moves = []
        for done, name in enumerate(self.layers, 1):
            found = self._others[name][1]
            for kind in (x for x in self._kinds if x in found):
                saved = whole - self.size(((name, kind),))
                if saved > 0:
                    after = self._logits(((name, kind),), images, threads)
                    cost = float(np.square(after - before, dtype="float64").mean())
                    moves.append(Move(name, saved, cost, kind))
            progress(done, len(self.layers))
        return moves

    def _logits(self, lowered: Lowered, images: np.ndarray, threads: int) -> np.ndarray:
        runner = TFLiteRunner(self.file(lowered), threads, logits=True)
        return np.asarray(runner(images), "float64")
