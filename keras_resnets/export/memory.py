"""Memory that a step of an export has freed, for the next."""

import ctypes
import sys


def release():
    """Gives what was freed back to the system, which glibc would rather keep.

    Converters leave hundreds of megabytes of small pieces behind, and what runs next
    takes its memory from elsewhere.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    # Other C libraries than glibc have none.
    if trim is not None:
        trim(0)
