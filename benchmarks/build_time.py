"""Time to build a network.

    python benchmarks/build_time.py

ResNet50() against keras.applications.ResNet50(weights=None), taking turns, the
session cleared before each; and the time per residual block of resnet1001v2 (333
blocks) against that of resnet164v2 (54), which tells whether building is linear in
the depth. The best of each counts.

Targets: at most 1.3 times keras.applications, and at most 1.5 times per block.
"""

import gc

import common

BLOCKS = {"resnet164v2": 54, "resnet1001v2": 333}


def contestants():
    import keras

    import keras_resnets

    return {
        "ResNet50": keras_resnets.ResNet50,
        "keras.applications.ResNet50": lambda: keras.applications.ResNet50(
            weights=None
        ),
    }, {name: lambda name=name: keras_resnets.create_model(name) for name in BLOCKS}


def best_builds(makers, rounds):
    """Best seconds of each, every turn in a cleared session."""
    import keras

    times = {name: [] for name in makers}
    for _ in range(rounds):
        for name, make in makers.items():
            keras.backend.clear_session()
            gc.collect()
            times[name].append(common.seconds(make))
    return {name: min(found) for name, found in times.items()}


def main():
    parser = common.parser(__doc__, rounds=7)
    parser.add_argument("--deep-rounds", type=int, default=3)
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    nets, deep = contestants()
    found = best_builds(nets, arguments.rounds)
    found |= best_builds(deep, arguments.deep_rounds)
    blocks = {name: 1e3 * found[name] / count for name, count in BLOCKS.items()}
    common.show(
        ("network", "seconds", "ms a block"),
        [
            (
                name,
                f"{seconds:.2f}",
                f"{blocks[name]:.1f}" if name in blocks else "",
            )
            for name, seconds in found.items()
        ],
    )
    against = found["ResNet50"] / found["keras.applications.ResNet50"]
    growth = blocks["resnet1001v2"] / blocks["resnet164v2"]
    common.show(
        ("build time", "ratio", "target", ""),
        [
            (
                "ResNet50 / keras.applications",
                *common.target(against, 1.3, at_most=True),
            ),
            (
                "a block of resnet1001v2 / resnet164v2",
                *common.target(growth, 1.5, at_most=True),
            ),
        ],
    )
    common.write(
        arguments.json,
        {"seconds": found, "against_keras": against, "per_block": growth},
    )


if __name__ == "__main__":
    main()
