"""What counts as a word: for lexical search, and for finding an answer in a passage."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

_FOLDED = re.compile("[\u0300-\u036f\u00ad\u200c\u200d]")
"""Accents of European scripts, the soft hyphen and the joiners: what a query may lack, and a text may have."""

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Myanmar, Khmer
    "\u3005\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\U00020000-\U000323af"
)
"""Scripts that put no spaces between words, and Hangul, which writes particles on to them."""

_RUNS = re.compile(f"[{_UNSPACED}]+|[^{_UNSPACED}]+")
_HAS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_ASCII_WORDS = re.compile("[a-z0-9]+")
_ASCII_TOKENS = re.compile("[A-Za-z0-9]+|[!-~]")


def search_terms(text: str) -> list[str]:
    """The terms by which lexical search knows a text, in order, repeated as often as they occur.

    A term is a run of letters, digits and combining marks, folded: compatible characters are one (Unicode's NFKC),
    case does not count (`str.casefold`), nor do accents of European scripts (U+0300–U+036F), soft hyphens and joiners.
    So "Café", "CAFE" and "cafe\u0301" are one term; "state-of-the-art" is four, "read_csv" two. There is no stemming.
    Scripts without spaces (Han, kana, Thai, Lao, Khmer, Myanmar) and Hangul give each character and each pair of
    neighbours, so that any word in them is found: "東京都" gives 東, 京, 都, 東京, 京都.
    """
    if text.isascii():
        return _ASCII_WORDS.findall(text.lower())
    terms: list[str] = []
    for word in _words().findall(_fold(text).replace("_", " ")):
        if word.isascii() or not _HAS_UNSPACED.search(word):
            terms.append(word)
            continue
        for run in _RUNS.findall(word):
            terms += _grams(run) if _HAS_UNSPACED.match(run) else [run]
    return terms


def answer_tokens(text: str) -> list[str]:
    """The tokens by which an answer is looked for in a passage, as DPR's SimpleTokenizer makes them, uncased.

    Runs of letters, digits and combining marks (Unicode's categories L, N, M), and every other character alone that is
    neither a separator nor a control (Z, C), in lower case, of the text in Unicode's NFD. Source: `SimpleTokenizer`
    and `_normalize` of `dpr/utils/tokenizers.py` and `dpr/data/qa_validation.py` (Karpukhin et al., 2020), which come
    from DrQA (Chen et al., 2017).
    """
    if text.isascii():
        return _ASCII_TOKENS.findall(text.lower())
    tokens = _tokens().findall(unicodedata.normalize("NFD", text))
    return [t.lower() for t in tokens if len(t) > 1 or unicodedata.category(t)[0] not in "ZC"]


def _fold(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return unicodedata.normalize("NFKC", _FOLDED.sub("", decomposed))


def _grams(run: str) -> list[str]:
    return [*run, *(run[i : i + 2] for i in range(len(run) - 1))]


@cache
def _words() -> re.Pattern[str]:
    return re.compile(rf"[\w{_marks()}]+")


@cache
def _tokens() -> re.Pattern[str]:
    return re.compile(rf"(?:(?!_)[\w{_marks()}])+|\S")


@cache
def _marks() -> str:
    """The combining marks, for a character class: Python's word characters are letters, digits and _ alone."""
    planes = (*range(0x20000), *range(0xE0000, 0xE1000))  # there are none in the others
    return "".join(chr(i) for i in planes if unicodedata.category(chr(i)).startswith("M"))
