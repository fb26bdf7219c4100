"""What the C library's allocator keeps: pictures and batches come and go, and to ask the system anew costs a lot."""

from __future__ import annotations

import ctypes
import functools
import os

MAPPED_FROM = 32 * 2**20
"""Bytes from which a block is mapped by itself, and given back at once: the most that glibc takes."""

KEPT = 64 * 2**20
"""Bytes at the end of a heap that are not given back: as many as a thread's heap can have."""

_MAPPED_FROM, _KEPT = -3, -1  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD of <malloc.h>


@functools.cache
def keep_memory() -> None:
    """Lets glibc's malloc keep the memory of blocks of some megabytes for the next ones, in this process.

    By itself it gives back most of what decoded pictures and batches took, and the system clears each page anew when it
    is asked for the next. Whoever sets `MALLOC_MMAP_THRESHOLD_`, `MALLOC_TRIM_THRESHOLD_` or malloc's part of
    `GLIBC_TUNABLES` has chosen; where there is another C library nothing changes.
    """
    chosen = "malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if chosen or any(name in os.environ for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")):
        return
    if os.name != "posix":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):  # with another, these numbers may mean something else
        library.mallopt(_MAPPED_FROM, MAPPED_FROM)
        library.mallopt(_KEPT, KEPT)
