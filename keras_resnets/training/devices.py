"""Devices, machines, precision and determinism of a training."""

import contextlib
import os
import pathlib
import typing
from collections.abc import Iterator

import keras

from keras_resnets.errors import InvalidArgument

# Linux' names of bfloat16 instructions of x86; those of ARM were not measured.
_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16"})
# The backends with gradients.
BACKENDS = ("tensorflow", "jax", "torch")


def listed() -> list[str]:
    """Returns the names of the devices of this process, such as `["cpu:0"]`.

    On PyTorch these are the devices of the kind that Keras computes on, since
    `keras.distribution` does not support that backend.
    """
    if keras.backend.backend() != "torch":
        return keras.distribution.list_devices()
    import torch

    kind = keras.ops.zeros(()).device.type
    counts = {"cuda": torch.cuda.device_count, "xpu": torch.xpu.device_count}
    count = counts[kind]() if kind in counts else 1
    return [f"{kind}:{index}" for index in range(count)]


def check_backend() -> None:
    """Raises `InvalidArgument` for a backend that only predicts: NumPy and OpenVINO."""
    if keras.backend.backend() not in BACKENDS:
        raise InvalidArgument(
            "training requires the TensorFlow, JAX or PyTorch backend "
            f"(KERAS_BACKEND={'|'.join(BACKENDS)}); got {keras.backend.backend()!r}"
        )


def accelerated() -> bool:
    """Whether there is a device besides the CPU."""
    return any(not name.startswith("cpu") for name in listed())


def safe_precision() -> str:
    """Returns the fastest safe dtype policy.

    bfloat16 has float32's range and needs no loss scale: it is chosen on accelerators,
    and under TensorFlow on CPUs with bfloat16 products, for which benchmarks/precision.py
    found it faster; otherwise float32.
    """
    is_tensorflow = keras.backend.backend() == "tensorflow"
    fast = accelerated() or (is_tensorflow and multiplies_bfloat16())
    return "mixed_bfloat16" if fast else "float32"


def jit_compile() -> bool | str:
    """Returns `jit_compile` for `compile`: XLA makes only TensorFlow on a CPU slower."""
    return "auto" if accelerated() else keras.backend.backend() == "jax"


def multiplies_bfloat16(description: str = "/proc/cpuinfo") -> bool:
    """Whether the processor has instructions for products of bfloat16.

    Args:
        description: file in which Linux lists the processor's features; False without
            it.
    """
    try:
        text = pathlib.Path(description).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return not _BFLOAT16.isdisjoint(text.split())


def part() -> tuple[int, int]:
    """Returns (rank, world size) of this process in a joint training."""
    if keras.backend.backend() != "jax":
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def wait_for_all() -> None:
    """Waits until every process of a joint training has reached this point."""
    if part()[1] > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices("keras_resnets")


def replicas() -> int:
    """Returns the number of devices of all processes that share a batch."""
    backend = keras.backend.backend()
    if backend == "jax":
        distribution = keras.distribution.distribution()
        return distribution.device_mesh.devices.size if distribution else 1
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.distribute.get_strategy().num_replicas_in_sync
    return 1


def connect(coordinator: str, processes: int, process: int) -> None:
    """Joins the processes of a training on several machines, before anything is built.

    Args:
        coordinator: host:port of process 0, reachable from all machines.
        processes: the number of processes, >= 1.
        process: the rank of this one, from 0.

    Raises:
        InvalidArgument: a backend other than JAX, or numbers that are not allowed.
    """
    backend = keras.backend.backend()
    if backend != "jax":
        raise InvalidArgument(
            "training on several machines requires KERAS_BACKEND=jax (Keras 3 does not "
            f"support MultiWorkerMirroredStrategy); got {backend}"
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
        devices: their number, or "all"; None for one. On the TensorFlow backend a
            `MirroredStrategy`, on JAX `keras.distribution.DataParallel`. With several
            processes always all of them.
        deterministic: whether the same operations give the same numbers each time.

    Raises:
        InvalidArgument: more devices than available, or an unsupported backend.
    """
    backend = keras.backend.backend()
    if deterministic and backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    if deterministic and backend == "torch":
        import torch

        # cuBLAS reads it once, when it starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    if part()[1] > 1:
        devices = "all"
    if devices is None:
        yield
        return
    available = listed()
    count = _count(devices, available)
    if backend == "tensorflow":
        import tensorflow as tf

        names = [name.replace("cpu", "CPU").replace("gpu", "GPU") for name in available]
        with tf.distribute.MirroredStrategy(names[:count]).scope():
            yield
    elif backend == "jax":
        before = keras.distribution.distribution()
        # Each process feeds its own share of the images.
        keras.distribution.set_distribution(
            keras.distribution.DataParallel(
                devices=available[:count], auto_shard_dataset=False
            )
        )
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)
    else:
        raise InvalidArgument(
            "training on several devices requires the tensorflow or jax backend; got "
            f"{backend}"
        )


def _count(devices: typing.Any, available: typing.Any) -> int:
    if devices == "all":
        return len(available)
    text = str(devices)
    if not text.isdigit() or not 1 <= int(text) <= len(available):
        raise InvalidArgument(
            f"devices must be a number from 1 to {len(available)}, or all; got {devices!r}"
        )
    return int(text)
