"""Run by test_preprocessing.py under another backend: python tf_data_probe.py FOLDER"""

import functools
import sys

import keras
import numpy as np
import tensorflow as tf

import keras_resnets
from keras_resnets import Preprocessing

WANTED = (
    Preprocessing("caffe", (20, 24), interpolation="lanczos"),
    Preprocessing("darknet", (24, 36), letterbox=True),
)


def mapped(data, change):
    """The images of a `tf.data.Dataset` after `change`, as NumPy."""
    data = data.map(lambda images, labels: (change(images), labels))
    return np.concatenate([np.asarray(images) for images, _ in data])


def channels_first(wanted, images):
    return wanted.batch(tf.transpose(images, (0, 3, 1, 2)), "channels_first")


def main(folder):
    data = keras.utils.image_dataset_from_directory(
        folder, image_size=(32, 32), batch_size=2, shuffle=False, verbose=False
    )
    raw = mapped(data, lambda images: images)
    np.testing.assert_array_equal(
        mapped(data, keras_resnets.preprocess_input),
        keras_resnets.preprocess_input(raw),
    )
    for wanted in WANTED:
        np.testing.assert_allclose(
            mapped(data, wanted.batch), wanted.batch(raw), atol=2e-4
        )
        first = mapped(data, functools.partial(channels_first, wanted))
        np.testing.assert_array_equal(
            np.moveaxis(first, 1, -1), mapped(data, wanted.batch)
        )


if __name__ == "__main__":
    main(sys.argv[1])
