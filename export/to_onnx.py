"""Exports a variant to ONNX: python export/to_onnx.py --model resnext50

The same as `keras-resnets export onnx`; --help tells the options.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from keras_resnets.cli import entry_point

if __name__ == "__main__":
    entry_point(["export", "onnx", *sys.argv[1:]])
