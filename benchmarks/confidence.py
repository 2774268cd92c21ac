"""How sure the shipped networks are, before and after a temperature.

    python benchmarks/confidence.py --data cifar10.npz [--networks resnet20,...]

ECE of 15 bins on all test images of CIFAR-10. The networks were trained on all 50,000
training images, so that none are held out: `training images` shows what a temperature that
is fitted on 5,000 of those does. `two halves` is the honest figure that the data allow: the
test images are dealt into two halves at random, and each half is judged by the temperature
that the other gave, so that no image is judged by one that saw it; mean of five deals.
"""

import json

import common

common.quiet_tensorflow()

SEEDS = range(5)
FITTED_ON = 5000


def shipped():
    """The networks in the package, but for the older ones."""
    folder = common.ROOT / "keras_resnets" / "weights" / "trained"
    names = sorted(path.stem for path in folder.glob("*.safetensors"))
    return [name for name in names if not name.endswith("_plain")]


def measure(name, data):
    """A row of the table."""
    import keras
    import numpy as np

    import keras_resnets
    from keras_resnets.graph import outputs
    from keras_resnets.images import confidence

    model = keras_resnets.create_model(name, weights="cifar10")
    judge = keras.Model(model.input, outputs.logits_of(model))

    def logits(images):
        images = model.preprocessing.normalize(images, "channels_last")
        return judge.predict(images, batch_size=250, verbose=0)

    labels, trained = data["y_test"].ravel(), data["y_train"].ravel()[:FITTED_ON]
    test, train = logits(data["x_test"]), logits(data["x_train"][:FITTED_ON])

    def error(probabilities):
        return confidence.expected_calibration_error(probabilities, labels)

    halves = [error(confidence.cross_fitted(test, labels, seed=seed)) for seed in SEEDS]
    wrong = confidence.fit_temperature(train, trained)
    return {
        "network": name,
        "before": error(confidence.softmax(test)),
        "on_training_images": error(confidence.softmax(test, wrong)),
        "two_halves": float(np.mean(halves)),
        "worst_of_five": max(halves),
        "temperature": confidence.fit_temperature(test, labels),
    }


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--data", required=True, help="cifar10.npz")
    parser.add_argument("--networks", help="names, by commas; default: all shipped")
    asked = parser.parse_args()
    import numpy as np

    with np.load(asked.data) as opened:
        data = {name: opened[name] for name in opened.files}
    names = asked.networks.split(",") if asked.networks else shipped()
    print("| network | ECE | training images | two halves | worst deal | temperature |")
    print("|---|---|---|---|---|---|")
    rows = []
    for name in names:
        row = measure(name, data)
        rows.append(row)
        figures = [f"{value:.4f}" for value in list(row.values())[1:-1]]
        print(
            f"| {name} | {' | '.join(figures)} | {row['temperature']:.2f} |", flush=True
        )
    if asked.json:
        with open(asked.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
