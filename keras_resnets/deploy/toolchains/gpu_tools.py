"""Vulkan drivers for LiteRT's GPU accelerator: a GPU's, or Chromium's SwiftShader."""

import os
import pathlib

from keras_resnets.errors import shown

_VARIABLE = "VK_ICD_FILENAMES"
# SwiftShader emulates a GPU; the Vulkan loader is in the same folder.
_SWIFTSHADER = tuple(
    pathlib.Path(folder, "vk_swiftshader_icd.json")
    for folder in (
        "/usr/lib/chromium",
        "/usr/lib/chromium-browser",
        "/opt/google/chrome",
    )
)


def environment(scratch: str | os.PathLike[str]) -> dict[str, str]:
    """Returns the environment variables of a process that uses the accelerator.

    A driver that the environment already names is preferred to SwiftShader.

    Args:
        scratch: an empty folder for the process.
    """
    if os.environ.get(_VARIABLE):
        return {"XDG_RUNTIME_DIR": os.environ.get("XDG_RUNTIME_DIR", str(scratch))}
    driver = next(path for path in _SWIFTSHADER if path.is_file())
    paths = [str(driver.parent), os.environ.get("LD_LIBRARY_PATH", "")]
    return {
        _VARIABLE: str(driver),
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, paths)),
        "XDG_RUNTIME_DIR": str(scratch),
    }


def missing(_: str) -> str | None:
    """Returns what is missing to run the accelerator and how to install it, or None."""
    drivers = os.environ.get(_VARIABLE)
    if drivers and not any(map(os.path.isfile, drivers.split(os.pathsep))):
        return (
            f"LiteRT's GPU accelerator: {_VARIABLE} must name a Vulkan driver's .json; got "
            f"{shown(drivers)}, which does not exist"
        )
    if drivers or any(path.is_file() for path in _SWIFTSHADER):
        return None
    return (
        "LiteRT's GPU accelerator, which requires a Vulkan driver: set "
        f"{_VARIABLE} to its .json file, or apt install chromium (which has SwiftShader)"
    )
