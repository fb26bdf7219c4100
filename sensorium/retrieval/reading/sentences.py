"""Where words, sentences and paragraphs begin and end, in any script; linear in the text's length."""

# ruff: noqa: RUF001, RUF002 - marks of other scripts are what is looked for here

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST_WORD = 100
"""Characters of a word at most: a longer run without a space counts as several."""

WIDEST_GAP = 400
"""Blank characters within a passage at most: more of them end it."""

# Scripts written without spaces: Thai and Lao, Tibetan, Myanmar, Khmer, kana and bopomofo, and Han.
_UNSPACED = (
    "\u0e01-\u0e5b\u0e81-\u0edf\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff"
    "\u3005-\u3007\u3041-\u30ff\u3105-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U00020000-\U0003ffff"
)
# A character of such a script takes vowel signs, marks and punctuation after it along, but no opening bracket.
_WORD = re.compile(
    rf"[{_UNSPACED}][^\w\s(\[{{「『（【《〈〔“‘]{{0,{LONGEST_WORD - 1}}}|[^\s{_UNSPACED}]{{1,{LONGEST_WORD}}}"
)
_GAP = re.compile(rf"(?<!\s)\s{{{WIDEST_GAP + 1},}}")
_BREAK = re.compile(
    r"(?P<paragraph>\n[^\S\n]*\n)"
    r"|(?P<item>\n)(?=[^\S\n]{0,40}(?:[-*+•]|\d{1,3}[.)])[^\S\n])"
    r"|(?P<stop>[.!?…]{1,8})[\"'”’»)\]*_]{0,8}(?=\s)"
    r"|[؟।॥։።]{1,8}(?=\s)"
    r"|[。！？｡．]{1,8}[」』”’）】》〉)]{0,8}"
)
_OPENING = "\"'“‘«([*_¿¡-"
_INITIALS = re.compile(r"(?:\w\.)*\w")
_LOOK_BACK = 32
_ABBREVIATIONS = frozenset(
    re.findall(
        r"\w+",
        "abb al approx bd bzw ca capt cf ch chap col dept dr ed eds eq eqs est fig figs fr gen gov hon hr jr lt "
        "mlle mm mme mr mrs ms mt nr op para pp prof ref rep rev sec sen sgt sig sr sra st univ viz vol vols vs",
    )
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, or a part of one, as characters of a text.

    Attributes:
        start: the first of them; not blank.
        end: one after the last, which is not blank.
        words: how many it has.
        opens: whether it begins a paragraph.
    """

    start: int
    end: int
    words: int
    opens: bool


def find_words(text: str, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """The words between two characters of a text, as `(start, end)` characters.

    A word is what stands between spaces, as for `str.split`. In scripts written without spaces (Chinese, Japanese,
    Thai, Lao, Khmer, Burmese, Tibetan) each character is one, with the marks and the punctuation after it. A run of
    more than 100 characters counts as several words.
    """
    return [match.span() for match in _WORD.finditer(text, start, len(text) if end is None else end)]


def find_stretches(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """What is left when runs of more than 400 blank characters are taken out."""
    for gap in _GAP.finditer(text, start, end):
        if start < gap.start():
            yield start, gap.start()
        start = gap.end()
    if start < end:
        yield start, end


def find_sentences(text: str, start: int, end: int, *, most_words: int) -> list[Sentence]:
    """The sentences between two characters of a text.

    One of more than `most_words` comes in parts: its lines, and of of a line that is too long, as many words as
    allowed. A sentence ends at `.`, `!`, `?` or `…` where a space follows, and after it something other than a small
    letter; not after initials, common abbreviations, and the number of a list's item. It ends at the full stops of
    other scripts (`。`, `！`, `？`, `؟`, `।`, `։`, `።`), at a blank line, and before a line that begins with a list's
    mark.
    """
    sentences: list[Sentence] = []
    opens = True
    for first, last, closes in _spans(text, start, end):
        words = find_words(text, first, last)
        for line in [words] if len(words) <= most_words else _lines(text, words):
            for i in range(0, len(line), most_words):
                part = line[i : i + most_words]
                sentences.append(Sentence(part[0][0], part[-1][1], len(part), opens))
                opens = False
        opens = closes or (opens and not words)
    return sentences


def _lines(text: str, words: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    line: list[tuple[int, int]] = []
    for word in words:
        if line and "\n" in text[line[-1][1] : word[0]]:
            yield line
            line = []
        line.append(word)
    yield line


def _spans(text: str, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """Stretches between breaks, spaces included, and whether a paragraph ends with each."""
    for match in _BREAK.finditer(text, start, end):
        if match["stop"] and not _ends_sentence(text, start, match, end):
            continue
        yield start, match.end(), match["paragraph"] is not None
        start = match.end()
    yield start, end, True


def _ends_sentence(text: str, start: int, match: re.Match[str], end: int) -> bool:
    position = match.end()
    ahead = text[position : min(end, position + _LOOK_BACK)].lstrip().lstrip(_OPENING)
    if ahead[:1].islower():
        return False
    if match["stop"] != ".":
        return True
    before = text[max(start, match.start() - _LOOK_BACK) : match.start()]
    word = before.split()[-1].lstrip(_OPENING) if before and not before[-1].isspace() else ""
    if word.isdigit():  # "1. First": the number of an item, if nothing but spaces stands before it on the line
        line = before[: -len(word)].rpartition("\n")
        return bool(line[2].strip()) or not (line[1] or len(before) < _LOOK_BACK)
    if word.lower() in _ABBREVIATIONS:
        return False
    return not (_INITIALS.fullmatch(word) and (len(word) > 1 or word.isupper()))
