"""tensorflow-model-optimization for Keras 3 networks, in a process with Keras 2."""

from keras_resnets import lazy

_IN_MODULE = {
    "Tuning": ".bridge",
    "rebuilt_apart": ".bridge",
    "tfmot_cluster": ".bridge",
    "tfmot_prune": ".bridge",
    "tfmot_quantize_aware": ".bridge",
}

__all__ = list(_IN_MODULE)

__getattr__, __dir__ = lazy.attributes(__name__, _IN_MODULE)
