"""What depends on the processor."""

import platform


def is_x86() -> bool:
    """Returns whether this is a 64-bit x86 processor."""
    return platform.machine().lower() in ("x86_64", "amd64")
