"""Training: recipes of the papers, data, and runs that can be resumed.

>>> from keras_resnets.training import get_recipe
>>> get_recipe("wrn_cifar").milestones
(60, 120, 160)
"""

from keras_resnets import lazy

_IN_MODULE = {
    "Augmentation": ".augmentation",
    "Distiller": ".distillation",
    "RECIPES": ".recipes",
    "Recipe": ".recipes",
    "get_recipe": ".recipes",
    "list_recipes": ".recipes",
    "open_dataset": ".data",
    "train": ".session",
}

__all__ = list(_IN_MODULE)

__getattr__, __dir__ = lazy.attributes(__name__, _IN_MODULE)
