"""What the runners of all formats share: turns, batches, outputs by name."""

import contextlib
import statistics
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import Protocol

import numpy as np

from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import WeightsError
from keras_resnets.errors import first_line

# Of one output, or of several by name.
Outputs = np.ndarray | dict[str, np.ndarray]


class Runner(Protocol):
    """What runs a file, see `compare.open_runner`."""

    input_shape: tuple[int | None, ...]
    output_names: tuple[str, ...]
    tapped: tuple[str, ...]
    has_logits: bool
    takes_pixels: bool

    def __call__(self, images: np.ndarray) -> Outputs: ...

    def latency(self, image: np.ndarray, runs: int = 10, warmup: int = 2) -> float: ...


@contextlib.contextmanager
def told(path: object, what: str) -> Iterator[None]:
    """Turns whatever a runtime raises into an `InvalidArgument` of one line.

    Every runtime has errors of its own for what it cannot load or run.

    Args:
        path: of the file.
        what: fails, as `cannot be run`.
    """
    try:
        yield
    except ExportError:
        raise
    except Exception as error:
        text = first_line(error)
        if isinstance(error, (InvalidArgument, WeightsError)) and str(path) in text:
            raise InvalidArgument(str(error)) from None
        raise InvalidArgument(f"{path} {what}: {text}") from None


def check_inputs(shapes: Sequence[Sequence[int | None]]) -> None:
    """Raises `InvalidArgument` unless the one input of a file is an image.

    Args:
        shapes: of all its inputs, with the batch.
    """
    if len(shapes) != 1 or len(shapes[0]) != 4:
        found = ", ".join(str(tuple(shape)) for shape in shapes)
        raise InvalidArgument(
            "what is run on images has one input (batch, height, width, channels); this "
            f"has {len(shapes)}: {found}"
        )


class Told:
    """A runner of a file that says in one line what its runtime cannot do.

    Args:
        runner: one of the runners.
        path: of its file.
    """

    def __init__(self, runner: Runner, path: object) -> None:
        self._runner, self._path = runner, path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def __call__(self, images: np.ndarray) -> Any:
        """float32 outputs for `images`.

        Raises:
            InvalidArgument: images of another size than the file's, or what its runtime
                raises.
        """
        own = self._runner.input_shape[1:]
        fits = len(images.shape) == 4 and all(
            have in (None, want)
            for have, want in zip(own, images.shape[1:], strict=True)
        )
        if not fits:
            raise InvalidArgument(
                f"{self._path} takes images of {size_text(own)}; got "
                f"{size_text(images.shape[1:])}"
            )
        with told(self._path, f"fails on images of {size_text(images.shape[1:])}"):
            return self._runner(images)

    def latency(self, image: np.ndarray, runs: int = 10, warmup: int = 2) -> float:
        """Median seconds of one inference; raises as a call does."""
        with told(self._path, f"fails on images of {size_text(image.shape[1:])}"):
            return self._runner.latency(image, runs, warmup)


def size_text(shape: Sequence[int | None]) -> str:
    """`32 x 32 x 3`; an open side is `any`."""
    return " x ".join("any" if side is None else str(side) for side in shape)


def median_seconds(
    call: Callable[[], object], runs: int = 10, warmup: int = 2, limit: float = 5.0
) -> float:
    """Median wall time of `call()`: of as many runs as `limit` seconds allow."""
    seconds: list[float] = []
    begin = time.perf_counter()
    for run in range(warmup + runs):
        start = time.perf_counter()
        call()
        end = time.perf_counter()
        # What takes so long needs no warming up.
        if run >= warmup or end - begin > limit:
            seconds.append(end - start)
        if seconds and end - begin > limit:
            break
    return statistics.median(seconds)


def in_batches(
    run: Callable[[np.ndarray], dict[str, np.ndarray]],
    images: np.ndarray,
    size: int | None,
) -> Outputs:
    """Runs `images` a batch at a time; the last is filled up with the first image.

    Args:
        run: function of a batch that returns its outputs by name.
        images: array (count, ...), at least one.
        size: of a batch; None for all at once.

    Returns:
        float32: the one output as an array, several as a dict.
    """
    count, size = len(images), size or len(images)
    missing = -count % size
    if missing:
        images = np.concatenate([images, np.repeat(images[:1], missing, axis=0)])
    found = [run(images[start : start + size]) for start in range(0, count, size)]
    whole = joined(found)
    return single({name: x[:count].astype("float32") for name, x in whole.items()})


def joined(parts: Sequence[Any]) -> Any:
    """Outputs of one batch after the other as one: arrays, or several by name."""
    if not isinstance(parts[0], dict):
        return np.concatenate(parts)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def single(outputs: dict[str, Any]) -> Any:
    """The one output itself, several as the dict that they are."""
    return next(iter(outputs.values())) if len(outputs) == 1 else outputs


def is_pixel(dtype: Any, scale: float = 0.0, zero_point: int = 0) -> bool:
    """Whether an input of that type and quantization takes pixel values as they are."""
    return np.dtype(dtype) == np.uint8 and scale in (0.0, 1.0) and not zero_point
