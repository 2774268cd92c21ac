"""Exports a variant to a file of Keras: python export/to_keras.py --model resnet50

The same as `keras-resnets export keras`; --help tells the options.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from keras_resnets.cli import entry_point

if __name__ == "__main__":
    entry_point(["export", "keras", *sys.argv[1:]])
