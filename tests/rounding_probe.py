"""Run by test_rounding.py under each backend: writes what a layer is rounded to."""

import sys

import numpy as np
from quantized import rounding_problem

from keras_resnets.quantization.rounding import second_order


def main():
    found = second_order.solve(rounding_problem(2, 100, 40))
    np.savez(sys.argv[1], integers=found.integers, steps=found.steps)


if __name__ == "__main__":
    main()
