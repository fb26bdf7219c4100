"""Files and folders → documents: plain text, reStructuredText, Markdown, HTML, PDF, Word and manual pages."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, overload

from sensorium.errors import InputError, LimitError, OptionError
from sensorium.retrieval.reading.finding import SUFFIXES, Paths, display_name, find_documents, kind_of, unreadable
from sensorium.retrieval.reading.formats.decoding import Coding, Errors
from sensorium.retrieval.reading.formats.files import read_file
from sensorium.retrieval.reading.formats.isolation import IsolatedParser
from sensorium.retrieval.reading.formats.limits import DEFAULT_LIMITS, DocumentLimits
from sensorium.retrieval.reading.formats.text import read_rst, read_text
from sensorium.retrieval.reading.passages import Document

__all__ = ["DEFAULT_LIMITS", "SUFFIXES", "DocumentLimits", "OnError", "find_documents", "read_documents"]

OnError = Literal["raise", "skip", "return"]

_ROWS = (".jsonl", ".ndjson", ".tsv", ".gz")  # for read_passages


@overload
def read_documents(
    paths: Paths,
    *,
    on_error: Literal["raise", "skip"] = "raise",
    limits: DocumentLimits = ...,
    encoding: str | None = ...,
    errors: Errors = ...,
    exclude: str | Sequence[str] = ...,
) -> Iterator[Document]: ...


@overload
def read_documents(
    paths: Paths,
    *,
    on_error: OnError,
    limits: DocumentLimits = ...,
    encoding: str | None = ...,
    errors: Errors = ...,
    exclude: str | Sequence[str] = ...,
) -> Iterator[Document | InputError]: ...


def read_documents(
    paths: Paths,
    *,
    on_error: OnError = "raise",
    limits: DocumentLimits = DEFAULT_LIMITS,
    encoding: str | None = None,
    errors: Errors = "strict",
    exclude: str | Sequence[str] = (),
) -> Iterator[Document | InputError]:
    """Read files, and all that is in folders, one document per file, lazily and in order.

    Args:
        paths: one path or several, of files and folders. `find_documents` says which files of a folder are read.
        on_error: what becomes of a file that cannot be read. "raise" ends there, "skip" leaves it out, "return" puts
            its error in its place.
        limits: what one file may cost.
        encoding: of text, Markdown and HTML files, by Python's name or a browser's ("windows-1252", "x-sjis"); it
            overrides what an HTML page declares, but no byte order mark. None for UTF-8, or what the page declares. No
            encoding is guessed.
        errors: "strict" refuses a file with bytes that its encoding does not have; "replace" reads U+FFFD for them.
        exclude: patterns of files and folders that are left out, as in `find_documents`.

    Returns:
        Documents whose `source` is their path. The text is the file's own, but for HTML and PDF, where it is what was
        extracted (see docs/documents.md).

    Raises:
        OptionError: an unknown `on_error`, `encoding` or `errors`, at the call.
        InputError: while it is read, where `on_error` is "raise"; `index` is the file's position among all, `source`
            its path, and `code` one of `missing-file`, `unreadable-file`, `empty-file`, `unknown-format`,
            `no-documents`, `unsupported-type`, `not-a-document`, `bad-encoding`, `empty-text`, `corrupt`, `encrypted`,
            `no-text`, `missing-library`.
        LimitError: an InputError; `too-many-bytes`, `too-many-pages`, `too-many-characters`, `parsing-timeout`,
            `too-much-memory`.
    """
    check_on_error(on_error)
    coding = Coding(encoding, errors)
    return _read_all(find_documents(paths, exclude=exclude), on_error, limits, coding)


def check_on_error(on_error: object) -> None:
    """Refuses an unknown `on_error`.

    Raises:
        OptionError: the message lists the known ones.
    """
    if on_error not in ("raise", "skip", "return"):
        raise OptionError(f"on_error is 'raise', 'skip' or 'return', got {on_error!r}")


def check_file(path: str, *, name: str, max_bytes: int | None, advice: str) -> None:
    """Refuses what is not a regular file, an empty one, or one of more than `max_bytes` bytes.

    Raises:
        InputError: `missing-file`, `unreadable-file`, `empty-file`.
        LimitError: `too-many-bytes`.
    """
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError) as error:
        raise _unopened(path, name, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise unreadable(name, "a folder, pipe, socket or device")
    if status.st_size == 0:
        raise InputError(
            f"{name}: expected a file with a text, got 0 bytes. Check how it was written or downloaded.",
            code="empty-file",
            source=name,
        )
    if max_bytes is not None and status.st_size > max_bytes:
        raise LimitError(
            f"{name}: expected at most {max_bytes:,} bytes, got {status.st_size:,}. {advice}",
            code="too-many-bytes",
            source=name,
        )


def _read_all(
    paths: Iterator[str | InputError], on_error: OnError, limits: DocumentLimits, coding: Coding
) -> Iterator[Document | InputError]:
    with contextlib.closing(IsolatedParser(limits)) as parser:
        for index, path in enumerate(paths):
            outcome: Document | InputError
            try:
                outcome = path if isinstance(path, InputError) else _read(path, parser, limits, coding)
            except InputError as error:
                outcome = error
            if isinstance(outcome, InputError):
                outcome.index = index
                if on_error == "raise":
                    raise outcome
                if on_error == "skip":
                    continue
            yield outcome


def _read(path: str, parser: IsolatedParser, limits: DocumentLimits, coding: Coding) -> Document:
    name = display_name(path)
    kind = kind_of(path)
    check_file(
        path,
        name=name,
        max_bytes=limits.max_bytes if kind else None,
        advice="Cut the file, or raise DocumentLimits.max_bytes if you trust it.",
    )
    if kind is None:
        rows = " Rows of passages are read by read_passages." if Path(path).suffix.lower() in _ROWS else ""
        raise InputError(
            f"{name}: expected a file whose name ends in {', '.join(SUFFIXES)}, or a manual's section such as .1, "
            f"got {Path(name).suffix or 'a name without a suffix'!r}. Rename or convert it.{rows}",
            code="unknown-format",
            source=name,
        )
    if kind in ("text", "reStructuredText"):
        try:
            data = read_file(path, name=name, limits=limits)
        except OSError as error:
            raise _unopened(path, name, error) from error
        read = read_text if kind == "text" else read_rst
        document = read(data, name=name, coding=coding)
    else:
        document = parser.read(path, kind=kind, name=name, coding=coding)
    if not document.text[document.start :].strip():
        raise InputError(
            f"{name}: expected a document with words, got none. Leave it out, or check how it was written.",
            code="empty-text",
            source=name,
        )
    return document


def _unopened(path: str, name: str, error: Exception) -> InputError:
    if isinstance(error, OSError) and error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
        return unreadable(name, error)
    tried = os.path.abspath(path) if len(path) < 1000 else f"a name of {len(path):,} characters"  # noqa: PTH100
    return InputError(
        f"{name[:1000]}: expected a file or folder, found none at {tried!r}. Check the path.",
        code="missing-file",
        source=name[:1000],
    )
