"""Lexical search: BM25 over words, by bm25s."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import InputError, OptionError, UnknownNameError
from sensorium.retrieval.lexical.files import FILES, LexicalSettings, Method, postings, read_files, writers
from sensorium.retrieval.lexical.words import search_terms
from sensorium.tasks.options import Count, checked

__all__ = ["FILES", "LexicalIndex"]

LANGUAGES = {
    "da": "DANISH", "de": "GERMAN", "en": "EN", "es": "SPANISH", "fr": "FRENCH", "it": "ITALIAN", "ko": "KOREAN",
    "nl": "DUTCH", "no": "NORWEGIAN", "pt": "PORTUGUESE", "ru": "RUSSIAN", "sv": "SWEDISH", "tr": "TURKISH",
    "zh": "CHINESE",
}  # fmt: skip
"""The lists of stopwords that bm25s has, by the language's code."""


class LexicalIndex:
    """Ranks texts by the words that they share with a query.

    Of a query's terms t, those that are in no text or are stopwords left out and repeated ones counted again, the score
    of a text of length l (in terms; L on average) that holds t f times is

        Σ idf(t) · f / (f + k1 · (1 - b + b · l / L)),   idf(t) = ln(1 + (N - n + 0.5) / (n + 0.5))

    with "lucene" (the factor k1 + 1 of the textbook, which changes no order, is left out as in Lucene 8), n of N texts
    holding t. "robertson" has idf = ln(max(1, (N - n + 0.5) / (n + 0.5))), "atire" idf = ln(N / n) and that factor.
    Sources: Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009); Kamphuis et al., "Which BM25 Do You
    Mean?" (ECIR 2020); the scores are bm25s's (Lù, 2024). `words.search_terms` says what a term is.

    Attributes:
        settings: how it scores.
    """

    def __init__(self, settings: LexicalSettings, terms: dict[str, int], bm25: Any) -> None:
        self.settings = settings
        self._terms, self._bm25 = terms, bm25

    @classmethod
    def build(
        cls,
        texts: Iterable[str],
        *,
        k1: float = 1.5,
        b: float = 0.75,
        method: Method = "lucene",
        stopwords: str | Iterable[str] | None = None,
    ) -> Self:
        """Counts the terms of texts.

        Args:
            texts: read once; row i of a search's result is the i-th of them. A text without terms is never found.
            k1: how much repetitions of a term count, from 0 (not at all).
            b: how much long texts are penalised, in [0, 1].
            method: the variant of BM25, as the class says.
            stopwords: words to leave out: None for none, a language of bm25s's lists ("en", "de", …), or words.

        Raises:
            InputError: `not-text`, something among the texts that is not a str; `no-documents`, no texts at all.
            OptionError: an argument with an invalid value.
            UnknownNameError: a language without a list of stopwords.
        """
        settings = LexicalSettings(k1, b, method, _stopwords(stopwords))
        index = cls._of(_checked(texts), settings)
        if not len(index):
            raise InputError("expected texts to index, got none", code="no-documents")
        return index

    @classmethod
    def of_passages(cls, texts: Iterable[str]) -> Self:
        """As `build`, with its defaults, of the texts of an index; there may be none, after all were deleted."""
        return cls._of(texts, LexicalSettings())

    @classmethod
    def _of(cls, texts: Iterable[str], settings: LexicalSettings) -> Self:
        terms: dict[str, int] = {}
        rows = [_count(text, terms, frozenset(settings.stopwords)) for text in texts]
        bm25 = _blank(settings)
        if terms:
            bm25.index((rows, terms), create_empty_token=False, show_progress=False)
            bm25.scores["indptr"] = bm25.scores["indptr"].astype(np.int64, copy=False)  # int32 in bm25s before 0.3
        else:  # bm25s takes no empty vocabulary
            none = np.empty(0, np.float32)
            bm25.scores = postings(none, none.astype(np.int32), np.zeros(1, np.int64), len(rows))
        return cls(settings, terms, bm25)

    def __len__(self) -> int:
        return int(self._bm25.scores["num_docs"])

    def __repr__(self) -> str:
        return f"LexicalIndex({len(self)} texts, {len(self._terms)} terms, {self.settings.method})"

    def search(
        self, queries: Sequence[str], k: int, *, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The texts that score best for each of Q queries.

        Args:
            queries: any texts; one without a known term finds nothing.
            k: how many to give, from 1.
            allowed: `(N,)` bool, which texts may be found; None for all. Scores do not depend on it.

        Returns:
            `(Q, k)` float32 scores, best first, and `(Q, k)` int64 rows. Equal scores go by row, the lower first. Only
            texts that score above 0 are found; places beyond them hold -inf and -1.

        Raises:
            InputError: `not-text`, a query that is not a str.
            OptionError: an invalid k or `allowed`.
        """
        k = checked("k", k, Count)
        if allowed is not None and (np.shape(allowed) != (len(self),) or np.asarray(allowed).dtype != np.bool_):
            got = f"{np.asarray(allowed).dtype} {np.shape(allowed)}"
            raise OptionError(f"allowed is a bool for each text, ({len(self)},), got {got}")
        asked = list(_checked(queries))
        scores = np.full((len(asked), k), -np.inf, np.float32)
        rows = np.full((len(asked), k), -1, np.int64)
        stopwords = frozenset(self.settings.stopwords)
        for i, query in enumerate(asked):
            term_ids = [self._terms[t] for t in search_terms(query) if t in self._terms and t not in stopwords]
            if not term_ids:
                continue
            text_scores = self._bm25.get_scores_from_ids(term_ids)
            best = _best(text_scores, text_scores > 0 if allowed is None else (text_scores > 0) & allowed, k)
            scores[i, : len(best)], rows[i, : len(best)] = text_scores[best], best
        return scores, rows

    def save(self, folder: str | PathLike[str]) -> list[str]:
        """Writes the index into a folder, which is made if need be; equal indexes write equal bytes, and no pickle.

        Returns:
            The names of the files.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        for key, (suffix, write) in self.files().items():
            write(target / f"{key}{suffix}")
        return [f"{key}{suffix}" for key, suffix in FILES.items()]

    @classmethod
    def load(cls, folder: str | PathLike[str], *, mmap: bool = True) -> Self:
        """Reads what `save` wrote.

        Args:
            folder: where it lies.
            mmap: whether scores and rows stay on disk until they are looked at.

        Raises:
            IndexFileError: a file is missing, broken, or does not belong to the others.
        """
        return cls.from_files({key: Path(folder, f"{key}{suffix}") for key, suffix in FILES.items()}, mmap=mmap)

    def files(self) -> dict[str, tuple[str, Callable[[Path], None]]]:
        """What is to be stored: by the files' keys a suffix, and what writes the file to a given path."""
        return writers(self.settings, list(self._terms), self._bm25.scores)

    @classmethod
    def from_files(cls, paths: Mapping[str, Path], *, mmap: bool = True) -> Self:
        """Reads what the writers of `files` wrote.

        Args:
            paths: where the file of each key lies.
            mmap: whether scores and rows stay on disk until they are looked at.

        Raises:
            IndexFileError: a file is missing, broken, or does not belong to the others.
        """
        settings, terms, scores = read_files(paths, mmap=mmap)
        bm25 = _blank(settings)
        bm25.scores = scores
        return cls(settings, {term: i for i, term in enumerate(terms)}, bm25)


def _stopwords(source: str | Iterable[str] | None) -> tuple[str, ...]:
    if source is None:
        return ()
    if isinstance(source, str):
        from bm25s import stopwords as lists

        if source not in LANGUAGES:
            raise UnknownNameError("language of stopwords", source, LANGUAGES, "A list of words is taken, too.")
        source = getattr(lists, f"STOPWORDS_{LANGUAGES[source]}")
    words = list(source)
    wrong = [word for word in words if not isinstance(word, str)]
    if wrong:
        raise OptionError(f"stopwords are words (str), got {wrong[0]!r} among them")
    terms = [search_terms(word) for word in words]
    return tuple(sorted({term[0] for term in terms if len(term) == 1}))  # "don't" is two terms, and never met as one


def _checked(texts: Iterable[str]) -> Iterable[str]:
    if isinstance(texts, (str, bytes)):
        raise InputError(f"expected several texts, got one {type(texts).__name__}; put it in a list", code="not-text")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"expected a text (str), got {type(text).__name__}", code="not-text", index=i)
        yield text


def _count(text: str, terms: dict[str, int], stopwords: frozenset[str]) -> array[int]:
    """The numbers of a text's terms, four bytes each; new terms are numbered."""
    words = search_terms(text)
    kept = [term for term in words if term not in stopwords] if stopwords else words
    return array("i", [terms.setdefault(term, len(terms)) for term in kept])


def _blank(settings: LexicalSettings) -> Any:
    from bm25s import BM25

    bm25 = BM25(k1=settings.k1, b=settings.b, method=settings.method)
    bm25.nonoccurrence_array = None  # what these methods have; set by index() alone
    return bm25


def _best(scores: NDArray[np.float32], kept: NDArray[np.bool_], k: int) -> NDArray[np.int64]:
    """The rows of the k best scores that are kept, best first, equal ones in their order."""
    (rows,) = kept.nonzero()
    if len(rows) > k:
        cutoff = np.partition(scores[rows], len(rows) - k)[len(rows) - k]
        above, level = rows[scores[rows] > cutoff], rows[scores[rows] == cutoff]
        rows = np.sort(np.concatenate([above, level[: k - len(above)]]))
    return rows[np.argsort(-scores[rows], kind="stable")]
