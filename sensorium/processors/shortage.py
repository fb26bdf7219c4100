"""Whether a library has failed for want of memory, which is no fault of the file that it read."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager

from sensorium.errors import InputError

_SAID = re.compile(r"out of memory|(cannot|can't|could not|failed to|unable to) allocate|insufficient memory", re.I)


@contextmanager
def shortage_mapped(name: str, what: str) -> Iterator[None]:
    """Turns a lack of memory into an InputError, `out-of-memory`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch's is a RuntimeError
        if not is_shortage(error):
            raise
        raise out_of_memory(name, what, error) from error


def is_shortage(error: BaseException, needed: int = 0) -> bool:
    """Whether an error comes from a lack of memory.

    Args:
        error: of a library; some tell it in words, and some as damage.
        needed: bytes that the work takes; if there are not so many, they were missing.
    """
    if isinstance(error, MemoryError) or _SAID.search(str(error)):
        return True
    return needed > 0 and not can_have(needed)


def out_of_memory(name: str, what: str, error: BaseException) -> InputError:
    """`out-of-memory`, for a file that may be as it should.

    Args:
        name: of the input.
        what: is to be decoded.
        error: that was raised.
    """
    return InputError(
        f"{name}: expected memory to decode {what} in, but this process can have no more ({type(error).__name__}: "
        f"{error}). The file may be as it should: free memory, use fewer num_workers, or lower MediaLimits.max_pixels.",
        code="out-of-memory",
        source=name,
    )


def can_have(count: int) -> bool:
    """Whether this process may have so many bytes more."""
    try:
        mmap.mmap(-1, count).close()  # asks for address space, and touches none of it
    except (OSError, ValueError, OverflowError, MemoryError):
        return False
    return True
