"""What native pruning and shrinking cost a network trained on CIFAR-10, and save.

    python benchmarks/pruning.py --data cifar10.npz

The smallest half, and then three quarters, of the weights become zero while the network
is fine-tuned; and it is shrunk to fewer inner channels and fine-tuned. The whole network
teaches them (`Distiller`). Fine-tuning sees training images alone, the figures are those
of all test images. The files of the whole and of the shrunk network take turns for the
latency.

Limits, of ResNet-20 after at most 10 epochs: 50 % within 0.2 points of float, 75 %
within 1.0; at least 30 % fewer multiply-adds within 1.0 and 1.2 times as fast.
"""

import tempfile

import common
import fine_tuning

# Points of top-1 that may be lost, epochs and rate of the fine-tuning.
SPARSE = {0.5: (0.2, 8, 0.005), 0.75: (1.0, 8, 0.01)}
SHRUNK = (1.0, 10, 0.02)
# Channels in fours, as XNNPACK takes them: 16, 32, 64 inner ones to 12, 20, 40.
FRACTION, MULTIPLE = 0.4, 4
BEGUN = 0.4


def tuned(subject, make, epochs, rate, callbacks=()):
    """`make` of the float network, taught by it in the precision that is fast here."""
    from keras_resnets.training import devices

    teacher, model = (subject.create(devices.safe_precision()) for _ in range(2))
    model = make(model)
    subject.train(model, epochs, rate, callbacks, teacher)
    found = make(subject.copy())
    found.set_weights(model.get_weights())
    return found


def top1(subject, model):
    from keras_resnets.images import evaluation

    return evaluation.evaluate(model, subject.test, 500).top1


def sparse(subject, share):
    """The network with a share of zeros."""
    from keras_resnets import pruning

    _, epochs, rate = SPARSE[share]
    end = int(BEGUN * epochs * subject.steps)
    schedule = pruning.PolynomialSchedule(sparsity=share, end=end)
    return tuned(subject, lambda model: model, epochs, rate, [pruning.Prune(schedule)])


def shrunk(subject):
    """The network with fewer inner channels."""
    from keras_resnets import pruning

    def make(model):
        return pruning.shrink(model, FRACTION, MULTIPLE)

    return tuned(subject, make, *SHRUNK[1:])


def main():
    parser = common.parser(__doc__)
    fine_tuning.add_arguments(parser)
    parser.add_argument("--network", metavar="NAME[=WEIGHTS]", default="resnet20")
    arguments = parser.parse_args()
    common.quiet_tensorflow()
    from keras_resnets.system.quiet import native_logs_hidden

    with native_logs_hidden(), tempfile.TemporaryDirectory() as folder:
        subject = fine_tuning.Subject(arguments.network, arguments.data, folder)
        rows, figures = measure(subject)
    headers = ("", "top-1, %", "zeros", "M multiply-adds", "gzip, kB", "", "limit", "")
    common.show((subject.name, *headers[1:]), rows)
    common.write(arguments.json, figures)


def measure(subject):
    """Rows of the table, and figures by what was done."""
    found = {"float": figures_of(subject, subject.model)}
    rows = [row("float", found["float"])]

    def note(name, model, limit):
        found[name] = figures_of(subject, model)
        lost = 100 * (found["float"]["top1"] - found[name]["top1"])
        cells = common.target(lost, limit, at_most=True, unit="points lost")
        rows.append(row(name, found[name], cells))
        print(rows[-1], flush=True)

    for share, (limit, *_) in SPARSE.items():
        note(f"{share:.0%} zeros", sparse(subject, share), limit)
    small = shrunk(subject)
    note("shrunk", small, SHRUNK[0])
    fewer = 100 * (1 - found["shrunk"]["macs"] / found["float"]["macs"])
    found["faster"] = faster(subject, small)
    rows.append(row("", None, common.target(fewer, 30, False, "% fewer")))
    rows.append(row("", None, common.target(found["faster"], 1.2, at_most=False)))
    return rows, found


def figures_of(subject, model):
    from keras_resnets import pruning

    report = pruning.pruning_report(model)
    return {
        "top1": top1(subject, model),
        "sparsity": report.sparsity,
        "macs": report.macs,
        "gzip": report.gzip_size,
    }


def row(name, figures, cells=("", "", "")):
    if figures is None:
        return (name, "", "", "", "", *cells)
    return (
        name,
        f"{100 * figures['top1']:.2f}",
        f"{figures['sparsity']:.0%}",
        f"{figures['macs'] / 1e6:.1f}",
        f"{figures['gzip'] / 1e3:.0f}",
        *cells,
    )


def faster(subject, small):
    """Latency of the whole network's file over that of the shrunk one's."""
    from keras_resnets.export.compare import benchmark

    paths = [subject.exported("whole", subject.model), subject.exported("small", small)]
    first, second = benchmark.benchmark(paths, runs=400)
    return first.median / second.median


if __name__ == "__main__":
    main()
