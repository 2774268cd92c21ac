"""What TensorFlow's converter says of a network that it does not convert."""

import re

import keras

from keras_resnets.export import prepare

# Where the converter says which operator stands in its way, and its scope.
_REFUSED = re.compile(
    r"""error: loc\(.*?"([^"@]*)@[^"]*"\].*?'tf\.(\w+)' op is neither"""
)


def reason(error: Exception, model: keras.Model) -> str:
    """What of the converter's pages says what is wrong, on one line."""
    refused = _REFUSED.findall(str(error))
    if refused:
        found = [prepare.at_layer(model, name, scope) for scope, name in refused]
        return f"no operator of TFLite does what {', '.join(found)} does"[:300]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [repr(error)])[0][:300]
