"""What every reader returns."""

import collections.abc


class Checkpoint(collections.abc.Mapping):
    """Tensors by name, in the file's order; each is made when it is asked for.

    Args:
        path: the file.
        format: `"safetensors"`, `"torch"`, `"darknet"` or `"keras"`.
        makers: name -> function that returns a NumPy array. Floating point of 16 or 64
            bits comes as float32.
    """

    def __init__(self, path, format, makers):
        self.path = path
        self.format = format
        self._makers = dict(makers)

    def __getitem__(self, name):
        return self._makers[name]()

    def __iter__(self):
        return iter(self._makers)

    def __len__(self):
        return len(self._makers)
