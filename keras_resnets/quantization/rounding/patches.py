"""Windows (patches) of the input of a convolution, by which its kernel multiplies."""

import dataclasses

import keras
import numpy as np


@dataclasses.dataclass(frozen=True)
class Windows:
    """The geometry of the windows of a layer.

    Attributes:
        kernel, strides, dilation: (height, width) each.
        same: whether the input is zero-padded, as by padding `"same"`.
        groups: number of channel groups.
    """

    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    same: bool = False
    groups: int = 1

    @classmethod
    def of(cls, layer: keras.layers.Layer) -> "Windows":
        """Returns the windows of a layer; those of a dense layer have size 1."""
        if not isinstance(layer, keras.layers.Conv2D):
            return cls()
        return cls(
            tuple(layer.kernel_size),
            tuple(layer.strides),
            tuple(layer.dilation_rate),
            layer.padding == "same",
            layer.groups,
        )

    def places(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Returns the number of windows (down, across) for (height, width, channels)."""
        if self.same:
            down, across = (
                -(-n // s) for n, s in zip(shape, self.strides, strict=False)
            )
            return down, across
        down, across = (
            (n - d * (k - 1) - 1) // s + 1
            for n, k, s, d in zip(
                shape, self.kernel, self.strides, self.dilation, strict=False
            )
        )
        return down, across

    def before(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Returns the zero rows and columns before an input (height, width, channels)."""
        if not self.same:
            return 0, 0
        top, left = (
            max((places - 1) * s + d * (k - 1) + 1 - n, 0) // 2
            for n, places, k, s, d in zip(
                shape,
                self.places(shape),
                self.kernel,
                self.strides,
                self.dilation,
                strict=False,
            )
        )
        return top, left

    def rows(self, values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Extracts windows as rows of a matrix.

        Args:
            values: float32 (count, height, width, channels); (..., channels) for a
                dense layer.
            chosen: indices of the windows, ordered by image, row and column.

        Returns:
            float32 (groups, len(chosen), inputs); the inputs are in the order of a
            kernel, (height, width, group channels).
        """
        if values.ndim != 4:
            return values.reshape(1, -1, values.shape[-1])[:, chosen]
        _, height, width, channels = values.shape
        down, across = self.places(values.shape[1:])
        image, place = np.divmod(chosen, down * across)
        row, column = np.divmod(place, across)
        top, left = self.before(values.shape[1:])
        windows = np.zeros((len(chosen), *self.kernel, channels), "float32")
        for y in range(self.kernel[0]):
            for x in range(self.kernel[1]):
                at_y = row * self.strides[0] + y * self.dilation[0] - top
                at_x = column * self.strides[1] + x * self.dilation[1] - left
                inside = (0 <= at_y) & (at_y < height) & (0 <= at_x) & (at_x < width)
                windows[inside, y, x] = values[
                    image[inside], at_y[inside], at_x[inside]
                ]
        parts = windows.reshape(len(chosen), -1, self.groups, channels // self.groups)
        return parts.transpose(2, 0, 1, 3).reshape(self.groups, len(chosen), -1)

    def count(self, shape: tuple[int, ...]) -> int:
        """Returns the number of windows in an array of values."""
        if len(shape) != 4:
            return int(np.prod(shape[:-1]))
        down, across = self.places(shape[1:])
        return shape[0] * down * across
