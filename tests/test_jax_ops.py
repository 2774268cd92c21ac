"""The operations for JAX against those that Keras' layers call, where sums are exact."""

import numpy as np
import pytest

jax = pytest.importorskip("jax")
jnp = jax.numpy

from keras_resnets.networks import jax_ops  # noqa: E402

DTYPES = ("float32", "bfloat16")


def reduce_window(x):
    """Maximum pooling as Keras computes it on JAX."""
    return jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID"
    )


def images(*sides):
    """Of few values, so that windows have equal ones; the last with NaN and infinity."""
    rng = np.random.default_rng(1)
    x = rng.integers(-2, 3, (3, *sides, 4)).astype("float32")
    for value in (np.nan, -np.inf, np.inf):
        x[2][rng.random(x[2].shape) < 0.15] = value
    return x


def equal(ours, keras_own):
    assert ours.dtype == keras_own.dtype
    pair = (np.asarray(value, "float32") for value in (ours, keras_own))
    np.testing.assert_array_equal(*pair)


def equal_with_gradients(ours, keras_own, x):
    shape = jax.eval_shape(keras_own, x).shape
    slopes = np.random.default_rng(2).integers(-8, 8, shape)

    @jax.jit
    def all_of_them(x, slopes):
        (y, back), (other, other_back) = (jax.vjp(f, x) for f in (ours, keras_own))
        return (y, *back(slopes)), (other, *other_back(slopes))

    for one, other in zip(*all_of_them(x, jnp.asarray(slopes, x.dtype)), strict=True):
        equal(one, other)


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu_by_output_equals_jax(dtype):
    x = [-np.inf, -1, -1e-30, -0.0, 0.0, 1e-30, 2, np.inf, np.nan]
    equal_with_gradients(jax_ops.relu_by_output, jax.nn.relu, jnp.asarray(x, dtype))


# The edges: one window, even sides, odd ones.
@pytest.mark.costly_but("float32-4-7", "bfloat16-9-6")
@pytest.mark.parametrize("height, width", [(3, 3), (4, 7), (9, 6)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_max_pool_equals_reduce_window(dtype, height, width):
    x = jnp.asarray(images(height, width), dtype)
    equal_with_gradients(jax_ops.max_pool, reduce_window, x)


def test_four_slopes_of_one_input_are_added_in_float32():
    x = jnp.zeros((1, 5, 5, 1), "bfloat16").at[0, 2, 2, 0].set(1)
    slopes = jnp.asarray([[256, 1], [1, 1]], "bfloat16").reshape(1, 2, 2, 1)
    back = jax.jit(lambda x, slopes: jax.vjp(jax_ops.max_pool, x)[1](slopes))
    # bfloat16 has no 257, and rounds 259 to 260.
    assert float(back(x, slopes)[0][0, 2, 2, 0]) == 260


def test_slopes_of_float64_keep_their_precision():
    with jax.enable_x64(True):
        x = jnp.arange(25.0).reshape(1, 5, 5, 1)
        slopes = jnp.full((1, 2, 2, 1), 1 / 3)
        (slope,) = jax.vjp(jax_ops.max_pool, x)[1](slopes)
    assert slope.dtype == "float64"
    assert float(slope[0, 4, 4, 0]) == 1 / 3


@pytest.mark.costly
@pytest.mark.parametrize("name", ["relu_by_output", "max_pool"])
def test_other_transformations_of_jax_work_as_on_keras_own(name):
    ours = getattr(jax_ops, name)
    keras_own = {"relu_by_output": jax.nn.relu, "max_pool": reduce_window}[name]
    x = jnp.asarray(images(5, 6)[:2])

    def cubes(function):
        return lambda values: (function(values) ** 3).sum()

    for one, other in (
        [jax.jvp(f, (x,), (x + 1,))[1] for f in (ours, keras_own)],
        [jax.vmap(f)(x[:, None]) for f in (ours, keras_own)],
        [jax.vmap(jax.grad(cubes(f)))(x[:, None]) for f in (ours, keras_own)],
        [jax.hessian(cubes(f))(x[:1]) for f in (ours, keras_own)],
    ):
        equal(one, other)


def test_the_slope_of_relu_by_output_reads_the_output():
    """Else XLA would fuse the comparison with another addition of both terms."""
    slope = jax.grad(lambda x, y: jax_ops.relu_by_output(x + y).sum())
    x = jnp.ones((8, 8))
    assert "optimization_barrier" in jax.jit(slope).lower(x, x).as_text()
