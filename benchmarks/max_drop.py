"""What `find_mix` makes of a network that was made hard on purpose.

    python benchmarks/max_drop.py --data cifar10.npz --weights resnet20-12fca82f.th

Channels of one layer of a trained network are scaled up by 50 and down again in the
next, by seeds: in float the function is the same, but one scale a tensor is too few.
The mix is chosen by training images, and final files are run on all test images.
"""

import sys

import common

sys.path.insert(0, str(common.ROOT / "tests"))


def one(arguments, recipe, seed, images):
    """A row of the table, and its figures."""
    import hardened
    import keras

    import keras_resnets
    from keras_resnets import quantization
    from keras_resnets.export import signature
    from keras_resnets.export.tflite.runner import TFLiteRunner

    model = keras_resnets.create_model(arguments.network, weights=arguments.weights)
    x, labels = images(model)
    name, channels = "-", ()
    if seed is not None:
        name, channels = hardened.harden_by(model, seed)
    chosen = quantization.choose(arguments.data, model.preprocessing, seed=0)
    held = quantization.hold_out(
        arguments.data, model.preprocessing, chosen, arguments.held_out
    )
    mix = quantization.find_mix(
        model,
        chosen,
        held,
        arguments.max_drop,
        recipe,
        precisions=arguments.precisions.split(","),
    )
    logits = keras.Model(model.inputs, signature.logits_of(model))
    expected = logits.predict(x, batch_size=250, verbose=0)
    found = {
        "recipe": recipe,
        "layer": name,
        "channels": channels,
        "float": share(expected, labels),
        "int8": share(TFLiteRunner(mix.int8_content, 1, True)(x), labels),
    }
    made = TFLiteRunner(mix.content, 1, True)(x)
    found |= {
        "mix": share(made, labels),
        "agreement": float((made.argmax(1) == expected.argmax(1)).mean()),
        "int8_macs": mix.share(),
        "raised": mix.raised,
        "bytes": len(mix.content),
        "conversions": mix.conversions,
        "files": mix.files,
        "held_out": {"int8": mix.int8.top1, "float": mix.float_top1}
        | {"mix": mix.mix.top1, "drop": mix.mix.drop, "error": mix.mix.error},
    }
    return found


def share(logits, labels):
    return float((logits.argmax(axis=1) == labels).mean())


def row(found):
    raised = ", ".join(f"{name} {kind}" for name, kind in found["raised"].items())
    return (
        found["recipe"],
        f"{found['layer']} {found['channels']}",
        *(f"{found[key]:.2%}" for key in ("float", "int8", "mix", "agreement")),
        f"{found['int8_macs']:.1%}",
        raised or "none",
        f"{found['conversions']}/{found['files']}",
    )


HEADERS = (
    "recipe",
    "hard layer and channels",
    "float",
    "int8",
    "mix",
    "agreement",
    "MACs in int8",
    "not in int8",
    "conversions/files run",
)


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--data", required=True, help=".npz file")
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--max-drop", type=float, default=0.2)
    parser.add_argument("--held-out", type=int, default=5000)
    parser.add_argument("--precisions", default="int8,int16,float")
    parser.add_argument("--seeds", default="1,2,3,4", help="which cases; - for none")
    parser.add_argument("--recipe", action="append")
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    import numpy as np

    with np.load(arguments.data) as file:
        pixels, labels = file["x_test"], np.ravel(file["y_test"])

    def images(model):
        return model.preprocessing.normalize(pixels, "channels_last"), labels

    figures = []
    seeds = [None if s == "-" else int(s) for s in arguments.seeds.split(",")]
    for recipe in arguments.recipe or ["static_wi8_ai8_per_tensor"]:
        for seed in seeds:
            figures.append(one(arguments, recipe, seed, images))
            common.show(HEADERS, [row(figures[-1])])
    common.show(HEADERS, [row(found) for found in figures])
    common.write(arguments.json, figures)


if __name__ == "__main__":
    main()
