"""Labelled images for training: where they are, in which order, and how they change.

`open_dataset` finds them, `batches` makes of one of their parts what `fit` takes.
"""

from keras_resnets.images.datasets.sources import open_dataset
from keras_resnets.images.datasets.split import Dataset
from keras_resnets.images.datasets.split import Split
from keras_resnets.training.data.pipeline import batches

__all__ = ["Dataset", "Split", "batches", "open_dataset"]
