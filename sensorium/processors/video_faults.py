"""The errors that readers of films share, and how PyAV's become them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sensorium.errors import InputError
from sensorium.processors.shortage import can_have, is_shortage, out_of_memory

_ENOUGH = 2**28  # bytes with which any film can be decoded, a frame at a time


def pyav(name: str) -> Any:
    """The library that decodes films.

    Raises:
        InputError: `missing-library`.
    """
    try:
        import av
    except ImportError as error:
        raise InputError(
            f"{name}: films are read with PyAV, which is not installed. Install it: pip install 'sensorium[video]'.",
            code="missing-library",
            source=name,
        ) from error
    return av


def cut_off(name: str) -> InputError:
    """`truncated`."""
    message = f"{name}: expected a whole film, but it ends too early. Fetch or write it again, or convert what is left."
    return InputError(message, code="truncated", source=name)


def corrupt(name: str, reason: object) -> InputError:
    """`corrupt`, with the decoder's reason."""
    message = f"{name}: expected a film, but its data cannot be decoded ({reason}). Fetch it again, or convert it."
    return InputError(message, code="corrupt", source=name)


def no_frames(name: str) -> InputError:
    """`zero-sized`."""
    message = f"{name}: expected a film of at least one frame, got none. Check how it was recorded or cut."
    return InputError(message, code="zero-sized", source=name)


def without_times(name: str) -> InputError:
    """`missing-rate`."""
    return InputError(
        f"{name}: expected a film that says when its frames are shown, got pictures. Pass the film itself, or rate= to "
        "frames(), or leave out what counts in seconds.",
        code="missing-rate",
        source=name,
    )


@contextmanager
def faults_mapped(name: str) -> Iterator[None]:
    """Turns what PyAV raises into an InputError."""
    av = pyav(name)
    try:
        yield
    except InputError:
        raise
    except (av.error.FFmpegError, MemoryError, RuntimeError, ValueError, OSError) as error:
        if isinstance(error, av.error.EOFError):  # before there was anything to decode
            raise no_frames(name) from error
        if is_shortage(error) and not can_have(_ENOUGH):  # FFmpeg says so of sizes that no film has, too
            raise out_of_memory(name, "a film", error) from error
        if isinstance(error, OSError) and not isinstance(error, av.error.FFmpegError):
            raise InputError(
                f"{name}: expected a file that can be read to its end, got {error}.",
                code="unreadable-file",
                source=name,
            ) from error
        raise corrupt(name, getattr(error, "strerror", None) or error) from error
