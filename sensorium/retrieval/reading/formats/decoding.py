"""Bytes → text, by what the bytes or the caller say about their encoding; nothing is guessed."""

from __future__ import annotations

import codecs
import re

from sensorium.errors import InputError

_MARKS = (  # UTF-32's before UTF-16's, which it begins with
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def decode(data: bytes, *, encoding: str, name: str, declared: bool = False) -> str:
    """The text of a file: by its byte order mark, which is left out, or else by `encoding`.

    Args:
        data: all of the file.
        encoding: Python's name of it, such as "utf-8".
        name: what to call the file in an error.
        declared: whether the file itself says that this is its encoding.

    Raises:
        InputError: `bad-encoding`; `not-a-document`, where it contains zero bytes, which no text has.
    """
    mark, marked = next(((mark, coded) for mark, coded in _MARKS if data.startswith(mark)), (b"", None))
    try:
        text = data[len(mark) :].decode(marked or encoding)
    except (UnicodeError, LookupError) as error:
        if marked is None and b"\0" in data:
            raise _binary(name, data) from error
        says = ", as its byte order mark says" if marked else ", as it declares" if declared else ""
        advice = "" if says else "pass encoding= with the right one, such as 'cp1252' or 'utf-16-le', or "
        raise InputError(
            f"{name}: expected text in {marked or encoding}{says}, got {_fault(error)}. If it is text, {advice}write "
            f"the file as UTF-8.",
            code="bad-encoding",
            source=name,
        ) from error
    if "\0" in text:
        raise _binary(name, data)
    return replace_surrogates(text)


def replace_surrogates(text: str) -> str:
    """The text with U+FFFD for halves of surrogate pairs: no characters, but some codecs and PDFs give them."""
    return text if text.isascii() else _LONE_SURROGATE.sub("\ufffd", text)


def _binary(name: str, data: bytes) -> InputError:
    return InputError(
        f"{name}: expected text, got a file with zero bytes, which begins with {data[:8]!r}. Give it the suffix of its "
        f"real format; "
        f"if it is UTF-16 or UTF-32 without a byte order mark, pass encoding='utf-16-le' or the like.",
        code="not-a-document",
        source=name,
    )


def _fault(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"bytes {error.object[error.start : error.start + 4]!r} at {error.start:,}"
    return str(error)
