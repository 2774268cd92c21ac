"""Common parts of the runners of all formats: timing, batches, named outputs."""

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

# One output, or several by name.
Outputs = np.ndarray | dict[str, np.ndarray]
# Seconds after which no further run is timed.
_LIMIT = 5.0


class Runner(Protocol):
    """Runs a file, see `compare.open_runner`."""

    input_shape: tuple[int | None, ...]
    output_names: tuple[str, ...]
    tapped: tuple[str, ...]
    has_logits: bool
    takes_pixels: bool

    def __call__(self, images: np.ndarray) -> Outputs: ...

    def latency(self, image: np.ndarray, runs: int = 10, warmup: int = 2) -> float: ...


@contextlib.contextmanager
def errors_reported(path: object, what: str) -> Iterator[None]:
    """Turns any error of a runtime into an `InvalidArgument` of one line.

    Every runtime raises its own errors for a file that it cannot load or run.

    Args:
        path: the file.
        what: the failure, such as `cannot be run`.
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
    """Raises `InvalidArgument` unless a file has one input, an image.

    Args:
        shapes: the shapes of all its inputs, with the batch.
    """
    if len(shapes) != 1 or len(shapes[0]) != 4:
        shapes_text = ", ".join(str(tuple(shape)) for shape in shapes)
        raise InvalidArgument(
            "a file that is run on images must have one input (batch, height, width, "
            f"channels); got {len(shapes)}: {shapes_text}"
        )


class ReportingRunner:
    """A runner of a file that reports the errors of its runtime in one line.

    Args:
        runner: one of the runners.
        path: its file.
    """

    def __init__(self, runner: Runner, path: object) -> None:
        self._runner, self._path = runner, path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def __call__(self, images: np.ndarray) -> Any:
        """Returns float32 outputs for `images`.

        Raises:
            InvalidArgument: images of another size than the file's, or an error of its
                runtime.
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
        with errors_reported(
            self._path, f"fails on images of {size_text(images.shape[1:])}"
        ):
            return self._runner(images)

    def latency(self, image: np.ndarray, runs: int = 10, warmup: int = 2) -> float:
        """Returns the median seconds of one inference; raises as a call does."""
        with errors_reported(
            self._path, f"fails on images of {size_text(image.shape[1:])}"
        ):
            return self._runner.latency(image, runs, warmup)


def size_text(shape: Sequence[int | None]) -> str:
    """Formats a shape: `32 x 32 x 3`; an open side is `any`."""
    return " x ".join("any" if side is None else str(side) for side in shape)


def median_seconds(call: Callable[[], object], runs: int, warmup: int) -> float:
    """Returns the median wall time of `call()` over as many runs as `_LIMIT` allows."""
    seconds: list[float] = []
    begin = time.perf_counter()
    for run in range(warmup + runs):
        start = time.perf_counter()
        call()
        end = time.perf_counter()
        # Such a slow call needs no warmup.
        if run >= warmup or end - begin > _LIMIT:
            seconds.append(end - start)
        if seconds and end - begin > _LIMIT:
            break
    return statistics.median(seconds)


def in_batches(
    run: Callable[[np.ndarray], dict[str, np.ndarray]],
    images: np.ndarray,
    size: int | None,
) -> Outputs:
    """Runs `images` batch by batch; the last batch is filled up with the first image.

    Args:
        run: function of a batch that returns its outputs by name.
        images: array (count, ...), at least one.
        size: images per batch; None for all at once.

    Returns:
        float32: a single output as an array, several as a dict.
    """
    count, size = len(images), size or len(images)
    missing = -count % size
    if missing:
        images = np.concatenate([images, np.repeat(images[:1], missing, axis=0)])
    batches = [run(images[start : start + size]) for start in range(0, count, size)]
    whole = joined(batches)
    return single({name: x[:count].astype("float32") for name, x in whole.items()})


def joined(parts: Sequence[Any]) -> Any:
    """Concatenates the outputs of batches: arrays, or dicts of them."""
    if not isinstance(parts[0], dict):
        return np.concatenate(parts)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def single(outputs: dict[str, Any]) -> Any:
    """Returns a single output itself, several as the dict."""
    return next(iter(outputs.values())) if len(outputs) == 1 else outputs


def is_pixel(dtype: Any, scale: float = 0.0, zero_point: int = 0) -> bool:
    """Whether an input of that type and quantization takes raw pixel values."""
    return np.dtype(dtype) == np.uint8 and scale in (0.0, 1.0) and not zero_point
