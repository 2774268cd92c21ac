"""JAX operations for `layers` whose gradients move fewer bytes than Keras' own.

Forward and reverse derivatives of every order and `jax.vmap` work as for `jax.nn.relu`
and `jax.lax.reduce_window`.
"""

import typing

import jax
import jax.numpy as jnp
import numpy as np

# Arrays of JAX, also those that it traces.
Array = typing.Any


@jax.custom_jvp
def relu_by_output(x: Array) -> Array:
    """Computes max(x, 0); its gradient compares the output with 0 instead of x."""
    return jnp.maximum(x, 0)


@relu_by_output.defjvp
def _relu_slope(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    out, (tangent,) = relu_by_output(*primals), tangents
    # Without the barrier XLA compares x, and if x is a sum, adds its terms once more.
    kept = jax.lax.optimization_barrier(jax.lax.stop_gradient(out))
    return out, jnp.where(kept > 0, tangent, jnp.zeros((), tangent.dtype))


def max_pool(x: Array) -> Array:
    """Computes the maxima of 3x3 windows at stride 2, unpadded.

    Its gradient reads for each output which of the nine inputs was chosen, one byte.
    That of `jax.lax.reduce_window` reads the inputs again and scatters.

    Args:
        x: (N, H, W, C), H and W at least 3.

    Returns:
        (N, (H - 1) // 2, (W - 1) // 2, C).
    """
    return _pool(x)[0]


@jax.custom_jvp
def _pool(x: Array) -> tuple[Array, Array]:
    """The maxima, and as int8 the place of each in its window, from 0 to 8."""
    first, *others = _windows(x)
    best = chosen = first
    where = jnp.zeros(first.shape, "int8")
    for place, part in enumerate(others, 1):
        # As in XLA: the first of equal values, and what follows a NaN.
        moves = ~(chosen >= part)
        chosen, where = jnp.where(moves, part, chosen), jnp.where(moves, place, where)
        best = jnp.maximum(best, part)
    return best, where.astype("int8")


@_pool.defjvp
def _pool_slope(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    best, where = _pool(*primals)
    (tangent,) = tangents
    # At least in float32: the transpose of this sum adds up to four values of an input.
    parts = _windows(tangent.astype(jnp.promote_types(tangent.dtype, "float32")))
    moved: Array = sum(jnp.where(where == n, part, 0.0) for n, part in enumerate(parts))
    no_slope = np.zeros(where.shape, jax.dtypes.float0)
    return (best, where), (moved.astype(tangent.dtype), no_slope)


def _windows(x: Array) -> list[Array]:
    """The nine inputs of every window, each as an array of the output's shape."""
    images, height, width, channels = x.shape
    rows, columns = (height - 1) // 2, (width - 1) // 2
    x = jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    # Even and odd rows and columns apart: a window has two even ones, the second of
    # which is the first of the next window, and an odd one between them.
    x = x.reshape(images, rows + 1, 2, columns + 1, 2, channels)
    return [
        x[:, i // 2 : i // 2 + rows, i % 2, j // 2 : j // 2 + columns, j % 2]
        for i in range(3)
        for j in range(3)
    ]
