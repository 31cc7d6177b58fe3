"""How the C library keeps memory that was given back: set once, before there are threads."""

from __future__ import annotations

import ctypes
import sys

# Numbers of <malloc.h> in glibc.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8

#: What is larger, as the bodies of requests are, lies apart and goes back to the system at once.
APART_BYTES = 256 * 1024

#: So much may lie unused at the end of the heap.
SPARE_BYTES = 1024 * 1024


def tighten() -> None:
    """Have one heap for all threads, from which large blocks stay out.

    Left to itself glibc gives each thread a heap of its own, though Python lets one of them allocate at a time, and
    each grows to the largest request that it ever had. Does nothing with another C library.
    """
    if sys.platform != "linux":
        return
    try:
        adjust = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for name, value in ((_ARENA_MAX, 1), (_MMAP_THRESHOLD, APART_BYTES), (_TRIM_THRESHOLD, SPARE_BYTES)):
        adjust(name, value)
