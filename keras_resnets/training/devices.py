"""What a training runs on: devices, precision, determinism."""

import contextlib

import keras

from keras_resnets.errors import InvalidArgument


def accelerated():
    """Whether there is a device besides the CPU."""
    return any(not name.startswith("cpu") for name in keras.distribution.list_devices())


def safe_precision():
    """The dtype policy that is fastest where it is safe.

    On an accelerator bfloat16: it has float32's range, and needs no loss scale. On a CPU
    float32: benchmarks/precision.py measures what bfloat16 brings on one.
    """
    return "mixed_bfloat16" if accelerated() else "float32"


@contextlib.contextmanager
def use(devices=None, deterministic=False):
    """Builds and trains on several devices within this context.

    Args:
        devices: how many, or "all"; None for one. On the TensorFlow backend a
            `MirroredStrategy`, on JAX `keras.distribution.DataParallel`.
        deterministic: the same operations give the same numbers each time.

    Raises:
        InvalidArgument: more devices than there are, or a backend that cannot.
    """
    backend = keras.backend.backend()
    if deterministic and backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    if devices is None:
        yield
        return
    found = keras.distribution.list_devices()
    count = _count(devices, found)
    if backend == "tensorflow":
        import tensorflow as tf

        names = [name.replace("cpu", "CPU").replace("gpu", "GPU") for name in found]
        with tf.distribute.MirroredStrategy(names[:count]).scope():
            yield
    elif backend == "jax":
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(
            keras.distribution.DataParallel(devices=found[:count])
        )
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)
    else:
        raise InvalidArgument(
            f"several devices need the tensorflow or jax backend; this is {backend}"
        )


def _count(devices, found):
    if devices == "all":
        return len(found)
    text = str(devices)
    if not text.isdigit() or not 1 <= int(text) <= len(found):
        raise InvalidArgument(
            f"devices must be a number from 1 to {len(found)}, or all; got {devices!r}"
        )
    return int(text)
