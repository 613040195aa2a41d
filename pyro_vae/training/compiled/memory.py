"""Memory that one step frees, kept for the next one."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from functools import cache

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt, in glibc's malloc.h
_KEPT = 1 << 30  # bytes
_LARGEST = 1 << 25  # bytes: what glibc allows


@cache
def keep_freed_memory() -> None:
    """Ask the C library to keep up to a GiB that is freed, in this process, from now on.

    glibc gives large blocks back to the system as soon as they are free. A step whose intermediate
    results are some megabytes each, as with many particles, would get them anew every time, page by
    page. Where there is no glibc nothing happens.
    """
    with suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(_TRIM_THRESHOLD, _KEPT)
        library.mallopt(_MMAP_THRESHOLD, _LARGEST)
