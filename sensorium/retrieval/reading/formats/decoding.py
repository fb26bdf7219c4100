"""Bytes → text, by what the bytes or the caller say about their encoding; nothing is guessed."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Literal, get_args

import webencodings

from sensorium.errors import InputError, OptionError

Errors = Literal["strict", "replace"]

_MARKS = (  # UTF-32's before UTF-16's, which it begins with
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DECLARED = {  # where browsers decode by more than Python does under that name
    "gbk": "gb18030",
    "utf-16le": "utf-8",  # a declaration that can be read as ASCII is not in UTF-16
    "utf-16be": "utf-8",
    "x-user-defined": "cp1252",
}
_DATA_URI = re.compile(
    r"(?:\]\(\s*<?|<)?\bdata:[\w.+-]+/[\w.+-]+(?:;[\w.+=-]+)*,[^\s<>()\"'`]*>?(?:\s{1,9}\"[^\"\n]{0,999}\")?\)?",
    re.IGNORECASE,
)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Coding:
    """What the caller says about the encoding of texts.

    Attributes:
        encoding: Python's name of one, or a browser's; None for what a file declares, or else UTF-8.
        errors: "strict", or "replace" to have U+FFFD for what cannot be decoded.
    """

    encoding: str | None = None
    errors: Errors = "strict"

    def __post_init__(self) -> None:
        if self.errors not in get_args(Errors):
            raise OptionError(f"errors is 'strict' or 'replace', got {self.errors!r}")
        try:
            "".encode("utf-8" if self.encoding is None else python_name(self.encoding))
        except (LookupError, TypeError, ValueError) as error:
            raise OptionError(
                f"encoding is the name of a text encoding, Python's or a browser's, got {self.encoding!r}"
            ) from error


def python_name(encoding: str) -> str:
    """What Python calls an encoding, by its own name or by one that browsers know.

    Raises:
        LookupError: it is none, or not of texts.
    """
    try:
        "a".encode(encoding)  # nothing at all would not be looked up
    except UnicodeError:
        pass
    except (LookupError, ValueError):
        return browsers_name(encoding)
    return encoding


def browsers_name(encoding: str) -> str:
    """What Python calls the encoding that browsers take a declaration for, as the WHATWG's standard has it.

    Raises:
        LookupError: browsers know no such encoding, or refuse it, and Python does not know it either.
    """
    known = webencodings.lookup(encoding)
    if known is None:
        "a".encode(encoding)
        return encoding
    if known.name == "replacement":
        raise LookupError(f"browsers refuse {encoding}")
    return str(_DECLARED.get(known.name, known.codec_info.name))


def decode(data: bytes, coding: Coding, *, name: str, declared: str | None = None) -> str:
    """The text of a file: by its byte order mark, which is left out; or by what the caller, or else the file says.

    Args:
        data: all of the file.
        coding: what the caller says.
        name: what to call the file in an error.
        declared: the encoding that the file itself declares.

    Raises:
        InputError: `bad-encoding`; `not-a-document`, where it contains zero bytes, which no text has.
    """
    mark, encoding = next(((mark, coded) for mark, coded in _MARKS if data.startswith(mark)), (b"", None))
    says = ", as its byte order mark says" if mark else ""
    try:
        if encoding is None and coding.encoding is not None:
            encoding = python_name(coding.encoding)
        elif encoding is None and declared is not None:
            encoding, says = declared, ", as it declares"
            encoding = browsers_name(declared)
        text = data[len(mark) :].decode(encoding or "utf-8", coding.errors)
    except (ValueError, LookupError) as error:
        if not mark and b"\0" in data:
            raise _binary(name, data) from error
        raise InputError(
            f"{name}: expected text in {encoding or 'utf-8'}{says}, got {_fault(error)}. If it is text, pass encoding= "
            f"with the right one, such as 'cp1252' or 'utf-16-le', or write the file as UTF-8; errors='replace' reads "
            f"it as far as it can be.",
            code="bad-encoding",
            source=name,
        ) from error
    if "\0" in text:
        raise _binary(name, data)
    return replace_surrogates(text)


def replace_surrogates(text: str) -> str:
    """The text with U+FFFD for halves of surrogate pairs: no characters, but some codecs and PDFs give them."""
    return text if text.isascii() else _LONE_SURROGATE.sub("\ufffd", text)


def blank_data_uris(text: str) -> str:
    """The text with spaces for what `data:` URIs hold, which are files and no words; offsets stay as they are."""
    if "data:" not in text.lower():
        return text
    return _DATA_URI.sub(lambda match: " " * len(match[0]), text)


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
