"""The reason why TensorFlow's converter refused a network."""

import re

import keras

from keras_resnets.export import prepare

# The line in which the converter names an unsupported operator and its scope.
_REFUSED = re.compile(
    r"""error: loc\(.*?"([^"@]*)@[^"]*"\].*?'tf\.(\w+)' op is neither"""
)


def reason(error: Exception, model: keras.Model) -> str:
    """Returns the cause from the converter's long message, on one line."""
    refused = _REFUSED.findall(str(error))
    if refused:
        names = [prepare.at_layer(model, name, scope) for scope, name in refused]
        return f"no operator of TFLite does what {', '.join(names)} does"[:300]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [repr(error)])[0][:300]
