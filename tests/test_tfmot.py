"""tensorflow-model-optimization: rebuilt networks are equal, and what it learns comes back.

Starting its process takes seconds, so most tests share one.
"""

import importlib.util

import pytest

# Importing it would turn this process to legacy Keras.
if importlib.util.find_spec("tensorflow_model_optimization") is None:
    pytest.skip("the extra compress is not installed", allow_module_level=True)
# Each with something that no other has.
REBUILT = (
    "basic_original",
    "basic_full_preact",
    "stride_in_1x1",
    "shortcut_a_both",
    "shortcut_d",
    "grouped",
    "dilated_grouped",
    "darknet",
    "darknet_plain",
    "dead_projection",
    "keras_v2",
)
