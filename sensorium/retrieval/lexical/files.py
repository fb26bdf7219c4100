"""How a lexical index scores, and its files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import IndexFileError
from sensorium.retrieval.array_files import read_array
from sensorium.tasks.options import Range, Share, check_fields

Method = Literal["lucene", "robertson", "atire"]
METHODS = get_args(Method)

SETTINGS, TERMS, SCORES, ROWS, STARTS = (
    f"lexical-{name}" for name in ("settings", "terms", "scores", "rows", "starts")
)
FILES = {SETTINGS: ".json", TERMS: ".json", SCORES: ".npy", ROWS: ".npy", STARTS: ".npy"}
"""The suffixes of an index's files, by their keys."""

FORMAT = 1
"""Raised when older files can no longer be read, or `search_terms` gives other terms."""


@dataclass(frozen=True)
class LexicalSettings:
    """How a `LexicalIndex` scores.

    Attributes:
        k1: how much repetitions of a term count, from 0 (not at all).
        b: how much long texts are penalised, in [0, 1].
        method: the variant of BM25.
        stopwords: terms that count neither in texts nor in queries.
    """

    k1: Annotated[float, Range(0)] = 1.5
    b: Share = 0.75
    method: Method = "lucene"
    stopwords: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("k1", "b"):
            object.__setattr__(self, name, float(getattr(self, name)))


def postings(data: NDArray[Any], rows: NDArray[Any], starts: NDArray[Any], texts: int) -> dict[str, Any]:
    """What bm25s keeps of texts: of each term the rows that hold it, with what it adds to their scores."""
    return {"data": data, "indices": rows, "indptr": starts, "num_docs": texts}


def writers(
    settings: LexicalSettings, terms: list[str], scores: Mapping[str, Any]
) -> dict[str, tuple[str, Callable[[Path], None]]]:
    """What is to be stored: by the files' keys a suffix, and what writes the file to a given path."""
    header = {"format": FORMAT, "texts": int(scores["num_docs"]), **asdict(settings)}
    entries: dict[str, Callable[[Path], None]] = {
        SETTINGS: partial(_write_json, header),
        TERMS: partial(_write_json, terms),
        SCORES: partial(_write_array, scores["data"]),
        ROWS: partial(_write_array, scores["indices"]),
        STARTS: partial(_write_array, scores["indptr"]),
    }
    return {key: (FILES[key], write) for key, write in entries.items()}


def read_files(paths: Mapping[str, Path], *, mmap: bool) -> tuple[LexicalSettings, list[str], dict[str, Any]]:
    """Settings, terms and postings from the files that `writers` wrote.

    Raises:
        IndexFileError: a file is missing, broken, or does not belong to the others.
    """
    try:
        header, terms = (json.loads(paths[key].read_text(encoding="utf-8")) for key in (SETTINGS, TERMS))
        data, rows, starts = (_read_array(paths[key], mmap=mmap) for key in (SCORES, ROWS, STARTS))
        if header["format"] != FORMAT:
            raise ValueError(f"format {FORMAT} is expected, got {header['format']!r}")
        _check_terms(header["stopwords"])
        _check_terms(terms)
        settings = LexicalSettings(header["k1"], header["b"], header["method"], tuple(header["stopwords"]))
        scores = postings(data, rows, starts, header["texts"])
        _check_postings(scores, len(terms))
    except (OSError, EOFError, MemoryError, ValueError, KeyError, TypeError, RecursionError) as error:
        where = str(paths[SETTINGS].parent) if SETTINGS in paths else "no folder"
        raise IndexFileError(
            f"expected the lexical index that was saved in {where!r}, but it cannot be used: "
            f"{type(error).__name__}: {error}. Build it again."
        ) from error
    return settings, terms, scores


def _write_json(value: Any, path: Path) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_array(values: NDArray[Any], path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, values, allow_pickle=False)


def _read_array(path: Path, *, mmap: bool) -> NDArray[Any]:
    return np.asarray(read_array(path, mmap=mmap))


def _check_terms(terms: Any) -> None:
    if not isinstance(terms, list) or not all(isinstance(term, str) for term in terms) or len(set(terms)) < len(terms):
        raise ValueError("expected a list of different terms")


def _check_postings(scores: dict[str, Any], terms: int) -> None:
    """Refuses arrays that bm25s would read out of bounds, or that come from different indexes."""
    data, rows, starts, texts = (scores[key] for key in ("data", "indices", "indptr", "num_docs"))
    if not isinstance(texts, int) or isinstance(texts, bool) or texts < 0:
        raise ValueError(f"a number of texts is expected, got {texts!r}")
    if starts.shape != (terms + 1,):
        raise ValueError(f"{STARTS} is expected to cover {terms} terms, got {starts.shape}")
    kinds = {SCORES: (data, np.float32), ROWS: (rows, np.int32), STARTS: (starts, np.int64)}
    for name, (values, kind) in kinds.items():
        if values.dtype != kind or values.ndim != 1:
            raise ValueError(f"{name} holds {np.dtype(kind).name} numbers, got {values.dtype} {values.shape}")
    if starts[0] != 0 or starts[-1] != len(rows) or len(rows) != len(data) or (np.diff(starts) < 0).any():
        raise ValueError(f"{SCORES}, {ROWS} and {STARTS} do not belong together")
    if len(rows) and not 0 <= rows.min() <= rows.max() < texts:
        raise ValueError(f"{ROWS} names texts beyond the {texts} that there are")
    if not np.isfinite(data).all():
        raise ValueError(f"{SCORES} holds numbers that are not finite")
