"""Lines of printed pages → their text: without what runs over the pages, and with hyphenated words put together."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from statistics import median
from typing import Any

EDGE = 3
"""Lines at the top and at the bottom of a page among which heads, feet and page numbers stand."""

PAGES = 3
"""Pages over which a line has to run, or all pages, if there are only two."""

SLACK = 3.0
"""Points by which lines of one height may differ."""

HYPHEN = "\x02"
"""Stands for a hyphen at the end of a line."""

_NUMBER = re.compile(r"\d{1,5}|\b[ivxlc]{1,8}\b")
_LETTER = re.compile(r"[^\W\d_]")
_PAGE_TAIL = re.compile(r"\W*(?:\w{1,5}\s+)?\d*\W*")  # nothing, or how many pages there are
_ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}
_PARTED = re.compile(rf"((?:\w+-)*)(\w+){HYPHEN}\n?(\w+)")
_PAGE_END = re.compile(rf"(\w){HYPHEN}\n$|([^\W\d_])-\n$")
_PAGE_START = re.compile(r"\w\S*\s?")
_LINE_END = re.compile(r"(?<=\w)-\n(?=\w)")
_HYPHENATED = re.compile(r"\b(?=(\w+-\w+))")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a page.

    Attributes:
        text: what it says.
        height: of its base line above the page's bottom, in points.
    """

    text: str
    height: float


def without_running_heads(pages: Sequence[Sequence[Line]]) -> list[list[str]]:
    """The lines of each page that are its own.

    A line at the top or bottom of a page is left out if it stands at the same height on other pages with the same
    words, or with a number at its begin or end that goes up by one from page to page: on 3 pages at least, or on both
    of two, each at most two pages further. So does an outermost line, set apart from the next, that shares its first or
    last words with its like on such a page, as heads do that name chapter and section. No page becomes blank for lines
    that are not outermost, and where no page would have a line left, nothing is left out.
    """
    full = sum(bool(lines) for lines in pages)
    running = _running(pages, max(2, min(PAGES, full))) if full > 1 else set()
    kept = [lines[_own(number, len(lines), running)] for number, lines in enumerate(pages)]
    return [[line.text for line in lines] for lines in (kept if any(kept) else pages)]


def _own(number: int, count: int, running: set[tuple[int, int]]) -> slice:
    """Which lines are left of a page."""
    for most in (EDGE, 1):
        first, last = 0, count
        while first < min(most, last) and (number, first) in running:
            first += 1
        while last > max(first, count - most) and (number, last - 1) in running:
            last -= 1
        if first < last:
            break
    return slice(first, last)


def join_hyphens(pages: Sequence[Sequence[str]]) -> list[str]:
    """The text of each page, ending with a line's end; a word that a page's end parts is the former page's.

    A hyphen at the end of a line goes, unless the document says otherwise: the word has further hyphens, is written
    with this one elsewhere and not without, is made of two words of the document, or goes on with a capital or a digit.
    """
    texts = ["\n".join(lines) + "\n" if lines else "" for lines in pages]
    for one, other in pairwise([number for number, text in enumerate(texts) if text]):
        parted, rest = _PAGE_END.search(texts[one]), _PAGE_START.match(texts[other])
        if parted and rest and (parted[1] or rest[0][0].islower()):
            texts[one] = f"{texts[one][: parted.end(1 if parted[1] else 2)]}{HYPHEN}{rest[0].rstrip()}\n"
            texts[other] = texts[other][rest.end() :]
    whole = "\n".join(_PARTED.sub(" ", text) for text in texts)
    hyphenated, words = Counter(_HYPHENATED.findall(whole)), Counter(_WORD.findall(whole))

    def joined(match: re.Match[str]) -> str:
        chain, before, after = match.groups()
        name = before.isupper() and after[:2].isupper()
        compound = min(len(before), len(after)) >= 4 and min(words[before], words[after]) >= 2
        kept = chain or not (after[0].islower() or name) or hyphenated[f"{before}-{after}"] > words[before + after]
        kept = kept or (compound and not words[before + after])
        return f"{chain}{before}{'-' if kept else ''}{after}"

    return [_LINE_END.sub("-", _PARTED.sub(joined, text).replace(HYPHEN, "-")) for text in texts]


def _running(pages: Sequence[Sequence[Line]], least: int) -> set[tuple[int, int]]:
    """The lines, as page and place, that run over at least so many pages."""
    edges = [(number, place) for number, lines in enumerate(pages) for place in _edges(len(lines))]
    counted = _counting(edges, pages, least)
    alike: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for number, place in edges:
        for words in _without_page_number(pages[number][place].text, number, counted):
            alike[words].append((number, place))
    running = set()
    for places in alike.values():
        for level in _of_one_height(places, pages):
            running |= _over_pages(level, least)
    outer = [(n, place) for n, place in edges if (n, place) not in running and _stands_apart(pages[n], place)]
    for level in _of_one_height(outer, pages):
        running |= _over_pages(_of_neighbours(level, pages, counted), least)
    return running


def _over_pages(places: Iterable[tuple[int, int]], least: int) -> set[tuple[int, int]]:
    """Those of some places that follow each other from page to page, or every other page, for long enough."""
    running: set[tuple[int, int]] = set()
    run: list[tuple[int, int]] = []
    for at in [*sorted(places), (math.inf, 0)]:
        if run and at[0] - run[-1][0] > 2:
            if len({number for number, _ in run}) >= least:
                running |= set(run)
            run = []
        run.append(at)  # type: ignore[arg-type]
    return running


def _stands_apart(lines: Sequence[Line], place: int) -> bool:
    """Whether it is an outermost line, and further from the next than lines of that page usually are."""
    if place not in (0, len(lines) - 1) or len(lines) < 3:
        return False
    gaps = [abs(one.height - other.height) for one, other in pairwise(lines)]
    return gaps[0 if place == 0 else -1] > 1.3 * median(gaps)


def _edges(count: int) -> Iterator[int]:
    yield from (place for place in range(count) if place < EDGE or place >= count - EDGE)


def _counting(edges: Iterable[tuple[int, int]], pages: Sequence[Sequence[Line]], least: int) -> dict[int, int]:
    """By page, how much its printed number exceeds its place; as most pages have it whose numbers would do so."""
    met: dict[int, set[int]] = defaultdict(set)
    for number, place in edges:
        for written in _NUMBER.findall(pages[number][place].text):
            met[_value(written) - number].add(number)
    known = sorted((len(numbers), offset) for offset, numbers in met.items() if len(numbers) >= least)
    return {number: offset for _, offset in known for number in met[offset]}  # the largest last


def _without_page_number(text: str, number: int, counted: Mapping[int, int]) -> set[str]:
    """A line with a mark for the number of its page; one for each that it may be, as in "4 of 4"."""
    found = [
        match.span()
        for match in _NUMBER.finditer(text)
        if _value(match[0]) - number == counted.get(number)
        and (not _LETTER.search(text, 0, match.start()) or _PAGE_TAIL.fullmatch(text, match.end()))
    ]
    return {" ".join(f"{text[:start]}#{text[end:]}".split()) for start, end in found} or {" ".join(text.split())}


def _value(written: str) -> int:
    """A number in digits, or a small Roman one."""
    if written.isdecimal():
        return int(written)
    values = [_ROMAN[letter] for letter in written]
    return sum(-one if one < other else one for one, other in pairwise([*values, 0]))


def _of_one_height(places: Sequence[tuple[int, int]], pages: Sequence[Sequence[Line]]) -> Iterator[list[Any]]:
    """Lines in groups of one height."""
    group: list[tuple[int, int]] = []
    for number, place in sorted(places, key=lambda each: pages[each[0]][each[1]].height):
        if group and pages[number][place].height - pages[group[-1][0]][group[-1][1]].height > SLACK:
            yield group
            group = []
        group.append((number, place))
    if group:
        yield group


def _of_neighbours(
    level: Sequence[tuple[int, int]], pages: Sequence[Sequence[Line]], counted: Mapping[int, int]
) -> set[tuple[int, int]]:
    """Those lines of one height whose first or last words are those of such a line one or two pages further."""
    words = {at: min(_without_page_number(pages[at[0]][at[1]].text, at[0], counted)).split() for at in level}
    by_page = defaultdict(list)
    for at in level:
        by_page[at[0]].append(at)
    named = set()
    for at in level:
        for other in (other for step in (1, 2) for other in by_page[at[0] + step]):
            if any(_much_alike(words[at][::way], words[other][::way]) for way in (1, -1)):
                named |= {at, other}
    return named


def _much_alike(words: Sequence[str], others: Sequence[str]) -> bool:
    """Whether they begin with the same words: two at least that have a letter, and a third of the longer line."""
    same = [word for word, _ in takewhile(lambda pair: pair[0] == pair[1], zip(words, others, strict=False))]
    named = [word for word in same if any(map(str.isalpha, word))]
    return len(named) >= 2 and len("".join(named)) >= 8 and 3 * len(same) >= max(len(words), len(others))
