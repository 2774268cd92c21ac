"""`keras-resnets predict` and `keras-resnets evaluate`: what a network says of images.

The network is a variant with weights, or an exported file.
"""

from keras_resnets.commands import subject
from keras_resnets.commands.network import say
from keras_resnets.errors import check_positive_int
from keras_resnets.quiet import native_logs_hidden


def add_to(commands):
    """Adds both commands to the parser's sub-commands."""
    predict = commands.add_parser(
        "predict", help="show the likeliest classes of photos"
    )
    subject.add_options(predict)
    predict.add_argument("photos", nargs="+", metavar="PHOTO")
    predict.set_defaults(run=_predict)

    evaluate = commands.add_parser("evaluate", help="measure accuracy on labelled data")
    subject.add_options(evaluate)
    evaluate.add_argument(
        "--data", required=True, help=".npz file, or folder with a sub-folder a class"
    )
    evaluate.add_argument("--batch-size", type=int, default=64)
    evaluate.add_argument("--count", type=int, help="only the first so many pictures")
    evaluate.set_defaults(run=_evaluate)


def _predict(arguments):
    with native_logs_hidden():
        from keras_resnets import console
        from keras_resnets import pictures

        model = subject.open_subject(arguments)
        wanted = model.preprocessing
        photos = [pictures.load_picture(path, wanted) for path in arguments.photos]
        for path, photo in zip(arguments.photos, photos, strict=True):
            outputs = _probabilities(model, photo[None])[0]
            say(console.likeliest(outputs, path, model.labels))


def _probabilities(model, images):
    """Of a `keras.Model`, which ends in a softmax here, or of a `FileClassifier`."""
    judge = getattr(model, "probabilities", model.predict_on_batch)
    return judge(images)


def _evaluate(arguments):
    check_positive_int("--batch-size", arguments.batch_size)
    if arguments.count is not None:
        check_positive_int("--count", arguments.count)
    with native_logs_hidden():
        from keras_resnets import evaluation
        from keras_resnets import labels
        from keras_resnets.progress import ProgressBar

        model = subject.open_subject(arguments)
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
