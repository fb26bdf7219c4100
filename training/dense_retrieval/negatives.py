"""Hard negatives: passages that BM25 takes for a question's, and that are not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from sensorium.retrieval.lexical.bm25 import LexicalIndex
from training.dense_retrieval.questions import QuestionMaker


@dataclass(frozen=True)
class Negatives:
    """Wrong passages for each training synset.

    Attributes:
        places: (N, K) int32 into all passages, for each training synset in turn; all are themselves of training
            synsets, since a passage that is only ever wrong would be pushed away from all questions. -1 where there
            are none left.
    """

    places: np.ndarray

    def draw(self, chosen: np.ndarray, count: int, rng: np.random.Generator) -> list[int]:
        """`count` random ones for each of the chosen training synsets, fewer if it has fewer, in one list."""
        return [place for row in self.rows(chosen, count, rng) for place in row]

    def rows(self, chosen: np.ndarray, count: int, rng: np.random.Generator) -> list[list[int]]:
        """The same, a list for each."""
        columns = rng.random((len(chosen), self.places.shape[1])).argsort(1)[:, :count]
        found = np.take_along_axis(self.places[chosen], columns, 1)
        return [row[row >= 0].tolist() for row in found]


def lexical_negatives(
    maker: QuestionMaker, index: LexicalIndex, train: np.ndarray, *, seed: int, count: int, path: Path
) -> Negatives:
    """The best passages of BM25 for one question about each training synset, its own left out; kept in a file.

    Args:
        maker: makes the questions.
        index: of all passages.
        train: (N) places of the training synsets.
        seed: of the questions.
        count: passages a synset.
        path: where they are kept.
    """
    if path.exists():
        return Negatives(np.load(path))
    rng = np.random.default_rng([seed, 4])
    places = np.full((len(train), count), -1, np.int32)
    allowed = np.zeros(len(maker.wordnet.synsets), bool)
    allowed[train] = True
    for start in tqdm(range(0, len(train), 256), unit="batch", mininterval=10):
        part = train[start : start + 256]
        questions = [maker.ask(maker.wordnet.synsets[i], rng).text for i in part]
        _, rows = index.search(questions, k=count + 1, allowed=allowed)
        for i, (own, row) in enumerate(zip(part, rows, strict=True), start):
            others = row[(row != own) & (row >= 0)][:count]
            places[i, : len(others)] = others
    np.save(path.with_suffix(".new.npy"), places)
    path.with_suffix(".new.npy").replace(path)
    return Negatives(places)
