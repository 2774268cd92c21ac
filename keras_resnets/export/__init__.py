"""Export: prepare, convert, run, compare. Nothing is written that was not run."""

from keras_resnets import lazy
from keras_resnets.export import formats

# Imported when it is asked for: what reads a file, or runs one in a process of its own,
# needs no Keras.
_IN_MODULE = {
    "ExportReport": ".session",
    "load_keras": ".keras.runner",
    "open_runner": ".compare.open_runner",
    **{form.exporter: f".{form.name}" for form in formats.FORMATS.values()},
}

__all__ = list(_IN_MODULE)

__getattr__, __dir__ = lazy.attributes(__name__, _IN_MODULE)
