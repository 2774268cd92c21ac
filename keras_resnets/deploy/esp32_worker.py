"""Run by a Python that has esp-ppq: quantizes an ONNX file, and simulates the result.

    python esp32_worker.py FILE.onnx IMAGES.npz OUTPUTS.npz CHIP

IMAGES.npz has float32 `images` and `ranges` (count, channels, height, width);
OUTPUTS.npz gets `outputs` (count, classes). `model.espdl` and what ESP-PPQ tells of it are
written beside them. The last line that it prints is ESP-PPQ's release.
"""

import importlib.metadata
import pathlib
import sys

import numpy as np

_BITS = 8


def main(path: str, images_path: str, outputs_path: str, chip: str) -> None:
    """Writes the outputs; see above for the arguments."""
    import torch
    from esp_ppq.api import espdl_quantize_onnx
    from esp_ppq.executor import TorchExecutor

    # Threads that wait for each other take minutes on a machine that others use.
    torch.set_num_threads(1)
    with np.load(images_path) as loaded:
        images, ranges = loaded["images"], loaded["ranges"]
    graph = espdl_quantize_onnx(
        path,
        str(pathlib.Path(outputs_path).absolute().with_name("model.espdl")),
        [torch.from_numpy(image[None]) for image in ranges],
        len(ranges),
        [1, *images.shape[1:]],
        target=chip,
        num_of_bits=_BITS,
        error_report=False,
    )
    executor = TorchExecutor(graph=graph, device="cpu")
    outputs = [
        executor.forward(inputs=torch.from_numpy(image[None]))[0].numpy()
        for image in images
    ]
    np.savez(outputs_path, outputs=np.concatenate(outputs).astype("float32"))
    sys.stdout.write("\n" + importlib.metadata.version("esp-ppq"))


if __name__ == "__main__":
    main(*sys.argv[1:])
