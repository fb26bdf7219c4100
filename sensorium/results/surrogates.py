"""Texts as Arrow takes them, which are UTF-8 and hold no half of a surrogate pair.

Such a half, as the name of a file may have, is stored as U+10FFFF, which is no character, and four hexadecimal digits;
U+10FFFF itself as two of them. All other texts are stored as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_ESCAPE = "\U0010ffff"
_UNSTORABLE = re.compile(f"[\ud800-\udfff{_ESCAPE}]")
_ESCAPED = re.compile(f"{_ESCAPE}([0-9a-f]{{4}}|{_ESCAPE})")


def storable(texts: Iterable[str | None]) -> list[str | None]:
    """Texts as they are stored."""
    found = list(texts)
    if _is_storable("".join(filter(None, found))):
        return found
    return [text and _UNSTORABLE.sub(_escaped, text) for text in found]


def as_they_were(stored: Iterable[Any]) -> list[Any]:
    """The texts that `storable` has made these of; what is none, such as pandas' NaN, is None."""
    texts = [text if isinstance(text, str) else None for text in stored]
    return [_ESCAPED.sub(_unescaped, text) if text and _ESCAPE in text else text for text in texts]


def _is_storable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return _ESCAPE not in text


def _escaped(found: re.Match[str]) -> str:
    return _ESCAPE * 2 if found[0] == _ESCAPE else f"{_ESCAPE}{ord(found[0]):04x}"


def _unescaped(found: re.Match[str]) -> str:
    return _ESCAPE if found[1] == _ESCAPE else chr(int(found[1], 16))
