"""The ResNet family for Keras 3: build, analyse, export.

>>> import keras_resnets
>>> model = keras_resnets.ResNeXt50(weights=None)
>>> model.count_params()
25097128
"""

from keras_resnets.system import interrupts as _interrupts
from keras_resnets.system import streams as _streams

if _interrupts.is_command():
    _streams.occupy()
    # Importing takes long enough to be interrupted by Ctrl-C.
    _interrupts.begin()

from keras_resnets import lazy as _lazy
from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import WeightsError
from keras_resnets.images.labels import decode_predictions
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.images.preprocessing import preprocess_input
from keras_resnets.models import *  # noqa: F403
from keras_resnets.models import __all__ as _model_functions
from keras_resnets.models.creation import create_model
from keras_resnets.models.registry import get_architecture
from keras_resnets.models.registry import list_models
from keras_resnets.models.registry import list_weights
from keras_resnets.models.registry import model_info
from keras_resnets.models.registry import weights_info
from keras_resnets.networks.architecture import Architecture
from keras_resnets.networks.registration import register as _register
from keras_resnets.version import __version__

# Keras is imported with the first of these or the first model, so that the command
# answers at once where it needs no Keras.
_IN_MODULE = {
    "analyze": ".graph.analysis",
    "endpoints": ".graph.features",
    "explain": ".graph.heatmaps",
    "feature_extractor": ".graph.features",
    "heatmap_model": ".graph.heatmaps",
    "replace_head": ".graph.features",
}

# Subpackages, imported on access: none of them loads Keras by itself.
_ROOMS = (
    "deploy",
    "export",
    "images",
    "pruning",
    "quantization",
    "tfmot",
    "training",
    "weights",
)

__all__ = [
    "Architecture",
    "ExportError",
    "InvalidArgument",
    "Preprocessing",
    "WeightsError",
    "__version__",
    "create_model",
    "decode_predictions",
    "get_architecture",
    "list_models",
    "list_weights",
    "model_info",
    "preprocess_input",
    "weights_info",
    *_IN_MODULE,
    *_model_functions,
]

# So that keras.saving finds the layers of saved files.
_register()

__getattr__, __dir__ = _lazy.attributes(__name__, _IN_MODULE, _ROOMS)
