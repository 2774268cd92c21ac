"""Run by test_accelerator_queue.py under KERAS_BACKEND=jax: stacked against alone.

The arguments are names of networks, computed in float64: in float32, sums in another
order move some gradients past the kinks of ReLU. Prints for each the largest relative
difference of outputs, BN statistics and gradients between two networks in a stack and each
alone.
"""

import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import keras
import numpy as np

import keras_resnets

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "benchmarks"))
import stacked

COUNT = 2
jax.config.update("jax_enable_x64", True)


def network(name, seed):
    """A network whose vectors, zero or one when fresh, are random."""
    keras.utils.set_random_seed(seed)
    model = keras_resnets.create_model(
        name, weights=None, classifier_activation=None, dtype="float64"
    )
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if len(variable.shape) == 1:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


def values(variables):
    return [variable.value for variable in variables]


def loss(model, trainable, fixed, images, restore=lambda outputs: outputs):
    outputs, fixed = model.stateless_call(trainable, fixed, images, training=True)
    outputs = restore(outputs)
    return jnp.sum(outputs * jnp.cos(outputs)), (outputs, fixed)


def difference(one, other):
    # The gradient of a bias before a BN is zero, up to rounding.
    scale = jnp.maximum(jnp.max(jnp.abs(one)), 1e-2)
    return float(jnp.max(jnp.abs(one - other)) / scale)


def compare(name):
    models = [network(name, seed) for seed in range(COUNT)]
    wide = stacked.widen(models[0], COUNT)
    trained = [values(model.trainable_variables) for model in models]
    others = [values(model.non_trainable_variables) for model in models]
    trainable, fixed = (
        [jnp.stack(each) for each in zip(*group, strict=True)]
        for group in (trained, others)
    )
    images = np.random.default_rng(9).normal(size=(COUNT, 2, 32, 32, 3))
    images = jnp.asarray(images, "float64")

    def together(trainable):
        return loss(
            wide,
            [stacked.spread(value) for value in trainable],
            [stacked.spread(value) for value in fixed],
            stacked.inputs_of(images),
            lambda outputs: stacked.outputs_of(outputs, COUNT),
        )

    gradient = jax.jit(jax.grad(together, has_aux=True))
    slopes, (outputs, statistics) = gradient(trainable)
    statistics = [stacked.gather(value, COUNT) for value in statistics]
    found = []
    for k, model in enumerate(models):

        def alone(trainable, model=model, k=k):
            return loss(model, trainable, others[k], images[k])

        gradient = jax.jit(jax.grad(alone, has_aux=True))
        own_slopes, (own, own_statistics) = gradient(trained[k])
        found.append(difference(own, outputs[k]))
        stacks = (*statistics, *slopes)
        for one, many in zip((*own_statistics, *own_slopes), stacks, strict=True):
            found.append(difference(one, many[k]))
    return max(found)


def main(names):
    sys.stdout.write(json.dumps({name: compare(name) for name in names}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
