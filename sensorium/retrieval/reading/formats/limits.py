"""What a document may cost before it is refused."""

from __future__ import annotations

from dataclasses import dataclass

from sensorium.errors import OptionError


@dataclass(frozen=True)
class DocumentLimits:
    """The bounds that every file has to keep.

    Attributes:
        max_bytes: of one file, also once it is no longer compressed.
        max_pages: of one PDF.
        max_characters: of the text that comes out of one PDF, which may be much more than its bytes.
        timeout_s: wall clock for parsing one file that is not plain text, in seconds.
        max_memory_bytes: address space of the process that parses those; kept on Linux.

    Raises:
        OptionError: a bound that is not positive.
    """

    max_bytes: int = 100 * 2**20
    max_pages: int = 5_000
    max_characters: int = 50_000_000
    timeout_s: float = 60.0
    max_memory_bytes: int = 2 * 2**30

    def __post_init__(self) -> None:
        for field in ("max_bytes", "max_pages", "max_characters", "timeout_s", "max_memory_bytes"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise OptionError(f"DocumentLimits.{field} has to be a number above 0, got {value!r}.")


DEFAULT_LIMITS = DocumentLimits()
