"""How the kernels of a network are rounded: to the nearest integers, or to better ones."""
