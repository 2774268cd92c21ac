"""What a BN that stands alone costs as MUL and ADD, and as a depthwise convolution.

    python benchmarks/depthwise_bn.py --data cifar10.npz [--threads 2]

Pre-activation networks in int8, calibrated on 500 training images: by TensorFlow's
converter as it writes them (MUL, ADD), the same files rewritten
(`export.tflite.depthwise`), and with our ranges, where the network itself has the
operator. Agreement with the float network and RMSE of the logits on `--images` test
images; bytes; latency in LiteRT of files that take turns, one inference each, over that of
the first, by the best time and by the median.

Target: at most 1.0 of the time as MUL and ADD.
"""

import statistics
import tempfile
from unittest import mock

import common
import fine_tuning
import tflite_latency

NETWORKS = (f"wrn_10_3_w8={fine_tuning.PLAIN}", "resnet14v2")
KINDS = {
    "MUL, ADD": "converter",
    "rewritten": "converter",
    "of itself": "ranges",
}


def file_of(subject, kind):
    """The path of one file."""
    from keras_resnets import quantization
    from keras_resnets.export.tflite import depthwise

    path = subject.folder / f"{kind.replace(', ', '_').replace(' ', '_')}.tflite"
    rewrite = depthwise.rewrite if kind != "MUL, ADD" else lambda content: None
    with mock.patch.object(depthwise, "rewrite", rewrite):
        quantization.quantize(
            subject.model,
            path,
            "static_wi8_ai8",
            subject.chosen,
            images=subject.images,
            engine=KINDS[kind],
        )
    return path


def agreement(subject, path, arguments):
    """`accuracy.Figures` on test images."""
    from keras_resnets.images import evaluation
    from keras_resnets.quantization import accuracy

    known = subject.model.preprocessing
    some = evaluation.open_data(arguments.data, known, arguments.images)
    return accuracy.compare(subject.model, path, some)


def measure(name, arguments):
    """Rows of a network."""
    import numpy as np

    from keras_resnets.export.tflite import runner as tflite_runner

    with tempfile.TemporaryDirectory() as folder:
        subject = fine_tuning.Subject(name, arguments.data, folder)
        paths = {kind: file_of(subject, kind) for kind in KINDS}
        image = np.asarray(subject.images[:1])
        calls = {
            kind: tflite_latency.interpreter(
                path.read_bytes(), image, arguments.threads
            )
            for kind, path in paths.items()
        }
        common.interleave(calls, rounds=5)
        times = common.interleave(calls, arguments.rounds)
        first = times["MUL, ADD"]
        found = {}
        for kind, path in paths.items():
            figures = agreement(subject, path, arguments)
            found[kind] = {
                "agreement": figures.agreement,
                "rmse": figures.rmse,
                "bytes": path.stat().st_size,
                "best": min(times[kind]) / min(first),
                "median": statistics.median(times[kind]) / statistics.median(first),
                "operators": tflite_runner.operators(path.read_bytes()),
            }
        return found


def main():
    parser = common.parser(__doc__, rounds=300)
    parser.add_argument("--data", metavar="NPZ", required=True)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--networks", nargs="*", default=NETWORKS)
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    from keras_resnets.system.quiet import native_logs_hidden

    rows, kept = [], {}
    for name in arguments.networks:
        with native_logs_hidden():
            kept[name] = measure(name, arguments)
        for kind, one in kept[name].items():
            rows.append(
                (
                    name,
                    kind,
                    f"{100 * one['agreement']:.2f} %",
                    f"{one['rmse']:.4f}",
                    f"{one['bytes']:,}",
                    *common.target(one["best"], 1.0, at_most=True),
                    f"{one['median']:.3f}",
                )
            )
    headers = ("network", "BN as", "agreement", "RMSE", "bytes", "best time", "")
    common.show((*headers, "", "medians"), rows)
    common.write(arguments.json, kept)


if __name__ == "__main__":
    main()
