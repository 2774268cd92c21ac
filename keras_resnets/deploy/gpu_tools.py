"""Where LiteRT's accelerator finds a GPU: a Vulkan driver, or Chromium's SwiftShader."""

import os
import pathlib

from keras_resnets.errors import shown

_VARIABLE = "VK_ICD_FILENAMES"
# A GPU in software, with the Vulkan loader beside it.
_SWIFTSHADER = tuple(
    pathlib.Path(folder, "vk_swiftshader_icd.json")
    for folder in (
        "/usr/lib/chromium",
        "/usr/lib/chromium-browser",
        "/opt/google/chrome",
    )
)


def environment(scratch: str | os.PathLike[str]) -> dict[str, str]:
    """Variables of a process that uses the accelerator: a driver that is named comes first.

    Args:
        scratch: a folder of its own.
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
    """What lacks to run the accelerator, and what to do; None where all is there."""
    drivers = os.environ.get(_VARIABLE)
    if drivers and not any(map(os.path.isfile, drivers.split(os.pathsep))):
        return (
            f"LiteRT's GPU accelerator: {_VARIABLE} must name a Vulkan driver's .json; got "
            f"{shown(drivers)}, which is no file"
        )
    if drivers or any(path.is_file() for path in _SWIFTSHADER):
        return None
    return (
        "LiteRT's GPU accelerator, which needs a Vulkan driver: name its .json in "
        f"{_VARIABLE}, or apt install chromium, whose SwiftShader is taken"
    )
