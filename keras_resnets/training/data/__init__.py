"""Training data: sources of labelled images, their order, and their augmentation.

`open_dataset` opens a data set; `batches` returns the batches of one part for `fit`.
"""

from keras_resnets.images.datasets.sources import open_dataset
from keras_resnets.images.datasets.split import Dataset
from keras_resnets.images.datasets.split import Split
from keras_resnets.training.data.pipeline import batches

__all__ = ["Dataset", "Split", "batches", "open_dataset"]
