"""Exports a variant to TFLite: python export/to_tflite.py --model darknet53

The same as `keras-resnets export tflite`; --help tells the options.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from keras_resnets.cli import entry_point

if __name__ == "__main__":
    entry_point(["export", "tflite", *sys.argv[1:]])
