"""The errors that readers of sound files share."""

from __future__ import annotations

from sensorium.errors import InputError

MAX_SECTIONS = 10_000
"""Sounds that a file may be put together from."""


def cut_off(name: str) -> InputError:
    """`truncated`."""
    message = f"{name}: expected a whole sound, but it ends too early. Fetch or write it again."
    return InputError(message, code="truncated", source=name)


def corrupt(name: str, error: BaseException | str) -> InputError:
    """`corrupt`, with the decoder's reason."""
    reason = str(getattr(error, "error_string", error)).rstrip(".")
    message = f"{name}: expected a sound, but its data cannot be decoded ({reason}). Fetch it again, or convert it."
    return InputError(message, code="corrupt", source=name)


def check_sections(count: int, name: str) -> None:
    """Refuses, while they are found, more sounds in one file than there may be: each takes more memory than bytes.

    Raises:
        InputError: `corrupt`.
    """
    if count > MAX_SECTIONS:
        raise corrupt(name, f"it is put together from more than {MAX_SECTIONS:,} sounds")


def silent(name: str) -> InputError:
    """`zero-sized`."""
    message = f"{name}: expected at least one sample, got none. Check how it was recorded or cut."
    return InputError(message, code="zero-sized", source=name)
