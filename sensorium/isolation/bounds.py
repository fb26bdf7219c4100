"""The bounds that a process which reads hostile files sets itself."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

OUT_OF_MEMORY = 12  # exit status

WATCHED_S = 0.01
"""How often memory is checked; parsers in Python take a few MB in that time."""


def bound_address_space(max_bytes: int) -> None:
    """Makes allocations fail that would bring this process's address space above a bound; kept on Linux."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, _allowed(max_bytes))


def end_when_full(max_bytes: int) -> None:
    """Ends this process when its memory is nearly full, or makes an allocation fail that would exceed it at once.

    The former because an interpreter that cannot even make a small number loops for ever while it handles that
    (CPython 3.11's `exception_unwind`).
    """
    if sys.platform == "linux":
        soft, _ = _allowed(max_bytes)
        threading.stack_size(2**18)
        threading.Thread(target=_watch, args=(soft - soft // 16,), daemon=True).start()
        bound_address_space(max_bytes)


def address_space() -> int:
    """Bytes of address space that this process has; 0 where that is not told."""
    if sys.platform != "linux":
        return 0
    with open("/proc/self/statm", "rb", buffering=0) as file:  # noqa: PTH123
        return int(file.read(64).split()[0]) * os.sysconf("SC_PAGE_SIZE")


def end_with(parent: int) -> None:
    """Has the kernel end this process as soon as the one that forked it has ended; kept on Linux.

    Args:
        parent: the number of that process.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() != parent:  # it has ended already
            os._exit(0)


def _allowed(max_bytes: int) -> tuple[int, int]:
    """The soft and the hard bound of address space: as asked for, or what this process may have at most."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    return max_bytes if hard == resource.RLIM_INFINITY else min(max_bytes, hard), hard


def _watch(max_bytes: int) -> None:
    page = os.sysconf("SC_PAGE_SIZE")
    with open("/proc/self/statm", "rb", buffering=0) as file:  # noqa: PTH123
        while int(file.read(64).split()[0]) * page < max_bytes:
            file.seek(0)
            time.sleep(WATCHED_S)
    os._exit(OUT_OF_MEMORY)
