"""Times exported files in turns: python export/benchmark.py A.tflite B.onnx

The same as `keras-resnets benchmark`; --help tells the options.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from keras_resnets.cli import entry_point

if __name__ == "__main__":
    entry_point(["benchmark", *sys.argv[1:]])
