"""The bytes of files, also of those that gzip has compressed."""

from __future__ import annotations

import gzip
import zlib

from sensorium.errors import InputError, LimitError
from sensorium.retrieval.reading.formats.limits import DocumentLimits


def read_file(path: str, *, name: str, limits: DocumentLimits) -> bytes:
    """All of a file; of one whose name ends in `.gz` what was compressed.

    Raises:
        LimitError: `too-many-bytes`, once it is no longer compressed.
        InputError: `corrupt`: it was not compressed by gzip, or breaks off.
        OSError: it cannot be read.
    """
    if not path.lower().endswith(".gz"):
        with open(path, "rb") as file:  # noqa: PTH123 - a name that may be no text
            return file.read()
    try:
        with gzip.open(path) as packed:
            data = packed.read(limits.max_bytes + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"{name}: expected a file that gzip has compressed, got {error}. Write or download it again.",
            code="corrupt",
            source=name,
        ) from error
    if len(data) > limits.max_bytes:
        raise LimitError(
            f"{name}: expected at most {limits.max_bytes:,} bytes once it is no longer compressed, got more. Cut the "
            f"file, or raise DocumentLimits.max_bytes if you trust it.",
            code="too-many-bytes",
            source=name,
        )
    return data
