"""Rounding of kernels: to nearest, second-order (GPTQ), or learned (AdaRound)."""
