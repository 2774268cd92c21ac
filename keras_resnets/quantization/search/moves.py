"""Files of a search as edits of one file: layers in 4 bits, and what that saves.

Second-order rounding rounds each 4-bit kernel independently in the int8 network, in one
pass over the layers: the loss of a layer is then known without the others. The files that
are written in the end are rounded again, layer after layer, by their plans.
"""

from collections.abc import Callable
from collections.abc import Collection

import numpy as np

from keras_resnets.export.prepare import Ready
from keras_resnets.export.tflite import packing
from keras_resnets.export.tflite.runner import TFLiteRunner
from keras_resnets.quantization.backends import engines
from keras_resnets.quantization.backends import kernel_file
from keras_resnets.quantization.choices import Options
from keras_resnets.quantization.plan import PrecisionPlan
from keras_resnets.quantization.qat.layers import KERNELS
from keras_resnets.quantization.rounding.kernels import Rounded
from keras_resnets.quantization.search.budget import Move


class Edits:
    """One converted file, and its layers in 4 bits.

    Args:
        ready: a `session.Ready` with a calibration.
        plan: 8 bits or more in every layer, rounded by the second order.
        options: of the file.

    Attributes:
        layers: names of those that can have 4 bits.
    """

    def __init__(self, ready: Ready, plan: PrecisionPlan, options: Options) -> None:
        self._options = options
        coarser: dict[str, Rounded] = {}
        self._base = engines.base(ready, plan, options, coarser)
        graph = self._base.graph
        labels = {name: label for label, name in graph.names.items()}
        names = kernel_file.editable(self._base.content, graph)
        raised = plan.fitted(graph.names).precisions
        self._raised = {graph.names[label]: x for label, x in raised.items()}
        # By label: (name of the operator, what 4 bits are for it).
        self._coarser = {
            labels[names[x.name]]: (names[x.name], coarser[x.name])
            for x in self._base.rounded.layers
            if isinstance(x, KERNELS) and x.name in names and x.name in coarser
        }
        self.layers = tuple(x for x in self._coarser if x not in raised)

    def file(self, lowered: Collection[str]) -> bytes:
        """Bytes of the file with some layers in 4 bits, kept as int8."""
        kernels = dict(self._coarser[label] for label in lowered)
        content, graph = self._base.content, self._base.graph
        content = kernel_file.with_kernels(content, graph, kernels)
        base = engines.Base(self._base.rounded, graph, content)
        return base.file(self._raised)

    def size(self, lowered: Collection[str]) -> int:
        """Bytes of the file as it is written."""
        content, _ = self._options.storage.store(self.file(lowered))
        return len(packing.pack(content) if self._options.packed else content)

    def moves(
        self, images: np.ndarray, threads: int, progress: Callable[..., object]
    ) -> list[Move]:
        """The savings and costs of 4 bits for each layer that they shrink.

        Args:
            images: float32 (count, height, width, channels) to run.
            threads: of LiteRT.
            progress: called with the layers done, and how many there are.
        """
        whole, before = self.size(()), self._logits((), images, threads)
        moves = []
        for done, name in enumerate(self.layers, 1):
            saved = whole - self.size((name,))
            if saved > 0:
                after = self._logits((name,), images, threads)
                cost = float(np.square(after - before, dtype="float64").mean())
                moves.append(Move(name, saved, cost))
            progress(done, len(self.layers))
        return moves

    def _logits(
        self, lowered: Collection[str], images: np.ndarray, threads: int
    ) -> np.ndarray:
        runner = TFLiteRunner(self.file(lowered), threads, logits=True)
        return np.asarray(runner(images), "float64")
