"""Integer TFLite files, run on integers that fill the range of their input."""

import numpy as np

from keras_resnets.export.tflite import runner as tflite_runner


def integers(content, batch=None, built_in=False):
    """What a file makes of integers that fill the range of its input."""
    litert = tflite_runner.litert()
    kernels = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    options = {"experimental_op_resolver_type": kernels} if built_in else {}
    interpreter = litert.Interpreter(model_content=content, num_threads=2, **options)
    given = interpreter.get_input_details()[0]
    if batch:
        shape = (batch, *given["shape"][1:])
        interpreter.resize_tensor_input(given["index"], shape)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]
    limits = np.iinfo(given["dtype"])
    rng = np.random.default_rng(5)
    values = rng.integers(limits.min, limits.max, given["shape"], endpoint=True)
    interpreter.set_tensor(given["index"], values.astype(given["dtype"]))
    interpreter.invoke()
    outputs = interpreter.get_output_details()
    return [interpreter.get_tensor(one["index"]).copy() for one in outputs]


def check_close(found, expected):
    """Within one step in 99.9 % of the values, in XNNPACK."""
    for one, other in zip(found, expected, strict=True):
        steps = np.abs(one.astype(int) - other)
        assert (steps <= 1).mean() >= 0.999 and steps.max() <= 2
