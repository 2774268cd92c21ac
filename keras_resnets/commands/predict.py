"""`keras-resnets predict` and `keras-resnets evaluate`: what a network says of pictures."""

from keras_resnets.commands import network
from keras_resnets.commands.network import say
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_positive_int
from keras_resnets.quiet import native_logs_hidden


def add_to(commands):
    """Adds both commands to the parser's sub-commands."""
    predict = commands.add_parser(
        "predict", help="show the likeliest classes of photos"
    )
    _add_options(predict)
    predict.add_argument("photos", nargs="+", metavar="PHOTO")
    predict.set_defaults(run=_predict)

    evaluate = commands.add_parser("evaluate", help="measure accuracy on labelled data")
    _add_options(evaluate)
    evaluate.add_argument(
        "--data", required=True, help=".npz file, or folder with a sub-folder a class"
    )
    evaluate.add_argument("--batch-size", type=int, default=64)
    evaluate.add_argument("--count", type=int, help="only the first so many pictures")
    evaluate.set_defaults(run=_evaluate)


def _add_options(parser):
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--weights", required=True, help=network.WEIGHTS)
    network.add_options(parser)


def _predict(arguments):
    with native_logs_hidden():
        from keras_resnets import console
        from keras_resnets import pictures

        model, _, _ = _load(arguments)
        wanted = model.preprocessing
        photos = [pictures.load_picture(path, wanted) for path in arguments.photos]
        for path, photo in zip(arguments.photos, photos, strict=True):
            outputs = model.predict_on_batch(photo[None])[0]
            say(console.likeliest(outputs, path, model.labels))


def _evaluate(arguments):
    check_positive_int("--batch-size", arguments.batch_size)
    if arguments.count is not None:
        check_positive_int("--count", arguments.count)
    with native_logs_hidden():
        from keras_resnets import evaluation
        from keras_resnets import labels
        from keras_resnets.progress import ProgressBar

        model, _, _ = _load(arguments)
        names = labels.class_names(model.output_shape[-1], model.labels)
        data = evaluation.open_data(
            arguments.data, model.preprocessing, arguments.count, names
        )
        bar = ProgressBar(len(data.labels), "pictures")
        found = evaluation.evaluate(model, data, arguments.batch_size, bar)
        bar.close()
        say(
            f"{model.name}: {found.count:,} pictures, top-1 {found.top1:.2%}, "
            f"top-5 {found.top5:.2%}"
        )


def _load(arguments):
    """See `network.build`; a single class has no likeliest."""
    network.find(arguments)
    found = network.build(arguments)
    classes = found[0].output_shape[-1]
    if classes < 2:
        raise InvalidArgument(f"there must be at least 2 classes; got {classes}")
    return found
