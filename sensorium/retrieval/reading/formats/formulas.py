"""Raised and lowered characters, and MathML, as plain text: 2² is not 22, and ½ not 12."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from bs4.element import NavigableString, PageElement, Tag

_ORDINALS = frozenset(["st", "nd", "rd", "th", "e", "er", "re", "ème", "o", "a", "os", "as"])
_PLAIN = frozenset(["tm", "sm", "r", "®", "©", "™", "*", "**", "†", "‡", "°", "º", "ª"])
_ONE = re.compile(r"[+\-\u2212±]?(?:(?!_)[\w.,])+[+\-\u2212]?|[^\w\s]")
_BRACKETED = re.compile(r"\[.*\]|\(.*\)")
_TOKEN = re.compile(r"[\w.]+|\([^()]*\)")
_INVISIBLE = str.maketrans({"\u2061": " ", "\u2062": "", "\u2063": ",", "\u2064": "+"})
_DEEPEST = 100  # of a formula; a page made to nest deeper has its words alone


def raised(text: str, before: str, *, is_link: bool) -> str:
    """What stands in `<sup>`, after a character: "^2", or "st" and "[1]" of ordinals and notes."""
    if is_link:
        return text if _BRACKETED.fullmatch(text) else f"[{text}]"
    ordinal = before.isdigit() and text.lower() in _ORDINALS
    if ordinal or text.lower() in _PLAIN or _BRACKETED.fullmatch(text):
        return text
    return f"^{_grouped(text, _ONE)}"


def lowered(text: str, before: str) -> str:
    """What stands in `<sub>`, after a character: "2" of H₂O, else "_i"."""
    return text if before.isalpha() and text.isdigit() else f"_{_grouped(text, _ONE)}"


def formula(math: Tag) -> str:
    """A `<math>` in a line: x^2, (a+b)/2, √(x+1)."""
    return " ".join(_written(math, 0).split())


def _grouped(text: str, one: re.Pattern[str] = _TOKEN) -> str:
    return text if one.fullmatch(text) else f"({text})"


_LAYOUTS: dict[str, Callable[[Sequence[str]], str]] = {
    "msup": lambda p: f"{_grouped(p[0])}^{_grouped(p[1])}",
    "msub": lambda p: f"{_grouped(p[0])}_{_grouped(p[1])}",
    "msubsup": lambda p: f"{_grouped(p[0])}_{_grouped(p[1])}^{_grouped(p[2])}",
    "mfrac": lambda p: f"{_grouped(p[0])}/{_grouped(p[1])}",
    "mroot": lambda p: f"{_grouped(p[1])}√{_grouped(p[0])}",
    "mover": lambda p: p[0] if p[1] in "¯^~→˙¨ˉ‾̂" else f"{p[0]}^{_grouped(p[1])}",
    "munder": lambda p: f"{p[0]}_{_grouped(p[1])} ",
    "munderover": lambda p: f"{p[0]}_{_grouped(p[1])}^{_grouped(p[2])} ",
}
_COUNTS = {"msubsup": 3, "munderover": 3}


def _written(element: PageElement, depth: int) -> str:
    if not isinstance(element, Tag):
        return element.strip().translate(_INVISIBLE) if type(element) is NavigableString else ""
    if element.name in ("annotation", "annotation-xml") or depth > _DEEPEST:
        return ""
    children = [child for child in element.contents if isinstance(child, Tag) or str(child).strip()]
    parts = [_written(child, depth + 1) for child in children]
    if element.name in _LAYOUTS and len(parts) == _COUNTS.get(element.name, 2):
        return _LAYOUTS[element.name](parts)
    if element.name == "msqrt":
        return f"√{_grouped(''.join(parts))}"
    if element.name in ("mtable", "mtr"):
        return ("; " if element.name == "mtable" else ", ").join(parts)
    if element.name == "mfenced":
        return f"({', '.join(parts)})"
    together = ""
    for part in parts:  # "2 sin x", but "2x"
        long = together[-2:].isalpha() and len(together) > 1, part[:2].isalpha() and len(part) > 1
        apart = any(long) and together[-1:].isalnum() and part[:1].isalnum()
        together += f" {part}" if apart else part
    return together
