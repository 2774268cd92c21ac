"""The ResNet family for Keras 3: build, analyse, export.

>>> import keras_resnets
>>> model = keras_resnets.ResNeXt50(weights=None)
>>> model.count_params()
25097128
"""

from keras_resnets.analysis import analyze
from keras_resnets.architecture import Architecture
from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import WeightsError
from keras_resnets.features import endpoints
from keras_resnets.features import feature_extractor
from keras_resnets.features import replace_head
from keras_resnets.models import *  # noqa: F403
from keras_resnets.models import __all__ as _model_functions
from keras_resnets.preprocessing import preprocess_input
from keras_resnets.registry import create_model
from keras_resnets.registry import get_architecture
from keras_resnets.registry import list_models
from keras_resnets.registry import model_info
from keras_resnets.version import __version__

__all__ = [
    "Architecture",
    "ExportError",
    "InvalidArgument",
    "WeightsError",
    "__version__",
    "analyze",
    "create_model",
    "endpoints",
    "feature_extractor",
    "get_architecture",
    "list_models",
    "model_info",
    "preprocess_input",
    "replace_head",
    *_model_functions,
]
