"""How a tokenizer's pattern repeats, in the syntax of Oniguruma: what repeats may take a time without bounds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

_BOUNDS = re.compile(r"\{(\d*)(,?)(\d*)\}[+?]?")
_TOKEN = re.compile(  # what begins with a bracket that nothing closes comes first: it would be looked for at each other
    r"""\[(?=(?:\\.|[^\]\\])*+\Z).*
    | \\[pPxuokgQ]\{[^}]*\} | \\. | \[(?:\\.|\[:\^?\w+:\]|\[(?:\\.|[^\]\\])*\]|[^\]\\])*\]?
    | \((?:\?(?:[a-zA-Z-]*[:)]|[=!>]|<[=!]|<\w+>)?)? | [*+?][+?]? | \{\d*+,?\d*+\}[+?]? | .""",
    re.VERBOSE | re.DOTALL,
)


class Repeats(NamedTuple):
    """How the parts of a pattern repeat.

    Attributes:
        nested: whether a repeat without an end holds another.
        row: how many of them stand one after another, at most, in one alternative.
        times: how often repeats with an end, one in another, have a part be matched, at most.
    """

    nested: bool
    row: int
    times: int


@dataclass
class _Group:
    """Repeats without an end in the alternative of a group that is read, and the most of any of them."""

    row: int = 0
    most: int = 0
    times: int = 1

    def add(self, count: int) -> None:
        self.row += count
        self.most = max(self.most, self.row)


def repeats(pattern: str) -> Repeats:
    """Looks for repeats.

    Args:
        pattern: in the syntax of Oniguruma.
    """
    groups = [_Group()]
    closed: _Group | None = None  # the group that has just ended
    nested = False
    times = 1  # of what has just ended
    for token in _TOKEN.finditer(pattern):
        text = token.group()
        if text[0] == "(":
            groups.append(_Group())
        elif text == ")" and len(groups) > 1:
            closed = groups.pop()
            groups[-1].add(closed.most)
            times = closed.times
            groups[-1].times = max(groups[-1].times, times)
            continue
        elif text == "|":
            groups[-1].row = 0
        elif _endless(text):
            nested = nested or (closed is not None and closed.most > 0)
            groups[-1].add(1)
        if text[0] == "{" and len(text) > 1:  # another may follow on it
            times *= max(1, _bound(text))
            groups[-1].times = max(groups[-1].times, times)
        elif text[0] not in "*+?":
            times = 1
        closed = None
    return Repeats(nested, max(group.most for group in groups), max(group.times for group in groups))


def _endless(text: str) -> bool:
    """Whether a part of a pattern is a repeat that may go on for very long."""
    if text[0] in "*+":
        return True
    bounds = _BOUNDS.fullmatch(text)
    return bounds is not None and (bool(bounds[2] and not bounds[3]) or _bound(text) > 100)


def _bound(text: str) -> int:
    """How often a repeat such as `{2,3}` matches, at most, or at least where it has no end."""
    bounds = _BOUNDS.fullmatch(text)
    digits = (bounds[3] or bounds[1]) if bounds else ""
    return int(digits[:10]) if digits else 0
