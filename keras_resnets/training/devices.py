"""What a training runs on: devices, machines, precision, determinism."""

import contextlib
import os
import pathlib
import typing
from collections.abc import Iterator

import keras

from keras_resnets.errors import InvalidArgument

# What Linux calls such instructions of x86; those of ARM were not measured.
_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16"})


def listed() -> list[str]:
    """The names of the devices that this process sees, such as `["cpu:0"]`.

    On PyTorch these are the processors of the kind that Keras computes on:
    `keras.distribution` knows nothing of that backend.
    """
    if keras.backend.backend() != "torch":
        return keras.distribution.list_devices()
    import torch

    kind = keras.ops.zeros(()).device.type
    counts = {"cuda": torch.cuda.device_count, "xpu": torch.xpu.device_count}
    count = counts[kind]() if kind in counts else 1
    return [f"{kind}:{index}" for index in range(count)]


def accelerated() -> bool:
    """Whether there is a device besides the CPU."""
    return any(not name.startswith("cpu") for name in listed())


def safe_precision() -> str:
    """The dtype policy that is fastest where it is safe.

    bfloat16 has float32's range and needs no loss scale: it is chosen on accelerators,
    and on CPUs that multiply in it, under TensorFlow, where benchmarks/precision.py
    found it faster; float32 elsewhere.
    """
    is_tensorflow = keras.backend.backend() == "tensorflow"
    fast = accelerated() or (is_tensorflow and multiplies_bfloat16())
    return "mixed_bfloat16" if fast else "float32"


def jit_compile() -> bool | str:
    """What `compile` takes: XLA makes TensorFlow on a CPU slower, and fuses elsewhere."""
    return "auto" if accelerated() else keras.backend.backend() == "jax"


def multiplies_bfloat16(description: str = "/proc/cpuinfo") -> bool:
    """Whether the processor has instructions for products of bfloat16.

    Args:
        description: file in which Linux lists what the processor can; without one the
            answer is no.
    """
    try:
        text = pathlib.Path(description).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return not _BFLOAT16.isdisjoint(text.split())


def part() -> tuple[int, int]:
    """(index, number): which of how many processes this one is, of a joint training."""
    if keras.backend.backend() != "jax":
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def wait_for_all() -> None:
    """Waits until every process of a joint training has come so far."""
    if part()[1] > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices("keras_resnets")


def replicas() -> int:
    """On how many devices a batch is spread, of all processes."""
    backend = keras.backend.backend()
    if backend == "jax":
        distribution = keras.distribution.distribution()
        return distribution.device_mesh.devices.size if distribution else 1
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.distribute.get_strategy().num_replicas_in_sync
    return 1


def connect(coordinator: str, processes: int, process: int) -> None:
    """Joins the processes of a training on several machines; before anything is built.

    Args:
        coordinator: host:port of process 0, which all can reach.
        processes: how many, >= 1.
        process: which this one is, from 0.

    Raises:
        InvalidArgument: another backend than JAX, or numbers that are not allowed.
    """
    backend = keras.backend.backend()
    if backend != "jax":
        raise InvalidArgument(
            "several machines need KERAS_BACKEND=jax (Keras 3 does not fit under "
            f"MultiWorkerMirroredStrategy); this is {backend}"
        )
    if not isinstance(process, int) or not 0 <= process < processes:
        raise InvalidArgument(
            f"process must be a number from 0 to {processes - 1}; got {process!r}"
        )
    keras.distribution.initialize(coordinator, processes, process)


@contextlib.contextmanager
def use(devices: typing.Any = None, deterministic: bool = False) -> Iterator[None]:
    """Builds and trains on several devices within this context.

    Args:
        devices: how many, or "all"; None for one. On the TensorFlow backend a
            `MirroredStrategy`, on JAX `keras.distribution.DataParallel`. With several
            processes always all of them.
        deterministic: the same operations give the same numbers each time.

    Raises:
        InvalidArgument: more devices than there are, or a backend that cannot.
    """
    backend = keras.backend.backend()
    if deterministic and backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    if deterministic and backend == "torch":
        import torch

        # cuBLAS asks for it, once, when it starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    if part()[1] > 1:
        devices = "all"
    if devices is None:
        yield
        return
    found = listed()
    count = _count(devices, found)
    if backend == "tensorflow":
        import tensorflow as tf

        names = [name.replace("cpu", "CPU").replace("gpu", "GPU") for name in found]
        with tf.distribute.MirroredStrategy(names[:count]).scope():
            yield
    elif backend == "jax":
        before = keras.distribution.distribution()
        # Each process feeds its own share of the images.
        keras.distribution.set_distribution(
            keras.distribution.DataParallel(
                devices=found[:count], auto_shard_dataset=False
            )
        )
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)
    else:
        raise InvalidArgument(
            f"several devices need the tensorflow or jax backend; this is {backend}"
        )


def _count(devices: typing.Any, found: typing.Any) -> int:
    if devices == "all":
        return len(found)
    text = str(devices)
    if not text.isdigit() or not 1 <= int(text) <= len(found):
        raise InvalidArgument(
            f"devices must be a number from 1 to {len(found)}, or all; got {devices!r}"
        )
    return int(text)
