"""Writes preprocessing.npz: what torchvision and the darknet program make of photos.

    python tests/data/make_preprocessing.py PHOTO_FOLDER

Needs torchvision, and the program `darknet` (Debian has it). Darknet prints no pixels;
but a network of one linear activation has its input for "probabilities", which it
prints to four digits.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional

BOX = 48
# (crop, shorter side before it, interpolation)
CROPS = ((224, 256, "bilinear"), (224, 232, "bilinear"), (224, 235, "bicubic"))
CFG = """[net]
batch=1
height={0}
width={0}
channels=3

[activation]
activation=linear
"""


def torchvision_crops(folder):
    found = {}
    for index, path in enumerate(sorted(folder.glob("*.jpg"))):
        photo = Image.open(path).convert("RGB")
        tensor = torch.from_numpy(np.array(photo)).permute(2, 0, 1).float()
        for size, side, mode in CROPS:
            key = f"{path.name}/{size}/{side}/{mode}"
            crop = np.asarray(cropped(photo, size, side, mode))
            found[f"torchvision/file/{key}"] = crop[::4, ::4]
            if index < 3:
                crop = cropped(tensor, size, side, mode).clamp(0, 255)
                crop = crop.permute(1, 2, 0).numpy()[::8, ::8]
                found[f"torchvision/batch/{key}"] = crop.astype("float16")
    return found


def cropped(picture, size, side, mode):
    resized = functional.resize(
        picture, [side], InterpolationMode(mode), antialias=True
    )
    return functional.center_crop(resized, [size, size])


def darknet_box(picture, folder):
    """uint16 (BOX, BOX, 3): the input times 10,000."""
    numbers = BOX * BOX * 3
    (folder / "names").write_text("".join(f"{index}\n" for index in range(numbers)))
    (folder / "data").write_text(
        f"classes={numbers}\nlabels=names\nnames=names\ntop={numbers}\n"
    )
    (folder / "cfg").write_text(CFG.format(BOX))
    (folder / "weights").write_bytes(np.array([0, 2, 5, 0, 0], "<i4").tobytes())
    picture.save(folder / "photo.png")
    words = "darknet classifier predict data cfg weights photo.png".split()
    shown = subprocess.run(words, cwd=folder, capture_output=True, text=True).stdout
    pairs = [line.split("%: ") for line in shown.splitlines() if "%: " in line]
    values = {int(index): round(float(percent) * 100) for percent, index in pairs}
    pixels = np.array([values[index] for index in range(numbers)], "uint16")
    return pixels.reshape(3, BOX, BOX).transpose(1, 2, 0)


if __name__ == "__main__":
    photos = pathlib.Path(sys.argv[1])
    results = torchvision_crops(photos)
    wide = Image.open(photos / "dog.jpg").convert("RGB")
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        results["darknet/wide"] = darknet_box(wide, work)
        results["darknet/tall"] = darknet_box(wide.crop((100, 50, 400, 560)), work)
    target = pathlib.Path(__file__).with_name("preprocessing.npz")
    np.savez_compressed(target, **results)
    print(target, target.stat().st_size)
