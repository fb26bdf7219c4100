"""What a search of folders passed over, so that nothing is left out unsaid."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

_KINDS_TOLD = 8
_MEDIA = (
    "3gp aac ac3 amr ape arw avi cr2 cr3 dcm dng dsf exr hdr heic heif hif ico j2k jp2 jxl m4a m4v mid mka mkv mov mp4 "
    "nef orf pef psd raf rw2 srw svg tga webm wma wv"
)
"""Pictures, sounds and films by their names: counted even where there is only one."""


class Skipped:
    """Counts the files that are left out for the ends of their names."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._names: dict[str, str] = {}

    def add(self, name: str) -> None:
        """Takes the name of a file."""
        suffix = Path(name).suffix.lower()
        self._counts[suffix] += 1
        self._names.setdefault(suffix, name)

    def told(self) -> str:
        """Such as `6 .heic, 1 .cr2, notes.docx`; the most frequent first, "" where nothing was skipped."""
        kinds = self._counts.most_common()
        parts = [self._of(suffix, count) for suffix, count in kinds[:_KINDS_TOLD]]
        rest = sum(count for _, count in kinds[_KINDS_TOLD:])
        return ", ".join([*parts, f"and {rest} more"] if rest else parts)

    def _of(self, suffix: str, count: int) -> str:
        if count == 1 and suffix.removeprefix(".") not in _MEDIA.split():
            return self._names[suffix]
        return f"{count} {suffix or 'without a suffix'}"
