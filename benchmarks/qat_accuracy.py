r"""What training with quantization wins over quantizing afterwards, for one network.

    python benchmarks/qat_accuracy.py --data cifar10.npz
    python benchmarks/qat_accuracy.py --data cifar10.npz --harden 0 \
        --recipe static_wi8_ai8_per_tensor
    python benchmarks/qat_accuracy.py --data cifar10.npz \
        --network resnet20=resnet20-12fca82f.th

Top-1 on all test images of the float network, of its file quantized after training, of
a float network fine-tuned in the same way (the control), and of the network trained with
quantization, in Keras and as a file. The float network teaches both (`Distiller`).

`--harden SEED` first scales a few channels of one layer up by 50 and down again in the
next, by that seed: the same function, for which one scale a tensor is too few.
"""

import sys
import tempfile

import common
import fine_tuning

sys.path.insert(0, str(common.ROOT / "tests"))


def measure(subject, arguments):
    """Top-1 by what was done."""
    from keras_resnets.errors import ExportError
    from keras_resnets.images import evaluation

    def of(model):
        return evaluation.evaluate(model, subject.test, 500).top1

    found = {"float": of(subject.model)}
    try:
        after = subject.figures(subject.quantized("after", arguments.recipe)).file_top1
    except ExportError as error:
        print(error)
        after = None
    found["quantized after training"] = after
    control = subject.trained(None, arguments.epochs, arguments.rate)
    found["float, fine-tuned (control)"] = of(control)
    aware = subject.trained(arguments.recipe, arguments.epochs, arguments.rate)
    found["trained with quantization"] = of(aware)
    found["its file"] = subject.figures(subject.file_of("aware", aware)).file_top1
    return found


def main():
    parser = common.parser(__doc__)
    fine_tuning.add_arguments(parser, epochs=2)
    parser.add_argument("--network", metavar="NAME[=WEIGHTS]", default="resnet20")
    parser.add_argument("--recipe", default="static_wi4_ai8")
    parser.add_argument("--harden", metavar="SEED", type=int)
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    import hardened

    from keras_resnets.system.quiet import native_logs_hidden

    with native_logs_hidden(), tempfile.TemporaryDirectory() as folder:
        subject = fine_tuning.Subject(
            arguments.network, arguments.data, folder, arguments.images
        )
        if arguments.harden is not None:
            name, channels = hardened.harden_by(subject.model, arguments.harden)
            print(f"{name}, channels {channels} times 50")
        found = measure(subject, arguments)
    title = f"{subject.name}, {arguments.recipe}, epochs: {arguments.epochs}"
    rows = [
        (name, "refused" if share is None else f"{100 * share:.2f}")
        for name, share in found.items()
    ]
    common.show((title, "top-1, %"), rows)
    common.write(arguments.json, found)


if __name__ == "__main__":
    main()
