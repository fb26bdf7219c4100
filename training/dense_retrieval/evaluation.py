"""How many questions find their passage among the first k, by our encoders, by BM25 and by MiniLM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DPRReader

from sensorium.retrieval.encoding.encoder import Encoder
from sensorium.retrieval.lexical.bm25 import LexicalIndex
from sensorium.retrieval.measuring import exact_match, f1_score
from training.dense_retrieval.encoders import LONGEST_QUESTION, BiEncoder, encode, encode_passages
from training.dense_retrieval.questions import Question, QuestionMaker
from training.dense_retrieval.reader import Pages, answer
from training.dense_retrieval.tokens import Passages, Vocabulary

CUTS = (1, 20, 100)


@dataclass(frozen=True)
class Accuracy:
    """The shares of questions, in [0, 1], whose own passage is among the first 1, 20 and 100 of all passages."""

    top_1: float
    top_20: float
    top_100: float

    @classmethod
    def of(cls, rows: np.ndarray, right: np.ndarray) -> Accuracy:
        """Of `(Q, 100)` places of passages, best first, and the `(Q,)` right ones."""
        found = rows == right[:, None]
        return cls(*(float(found[:, :k].any(1).mean()) for k in CUTS))


def ask_all(maker: QuestionMaker, places: Sequence[int], *, seed: int, part: int) -> list[Question]:
    """One question about each synset; the same ones for the same seed and part."""
    rng = np.random.default_rng([seed, part])
    return [maker.ask(maker.wordnet.synsets[place], rng) for place in places]


def nearest(questions: Tensor, passages: Tensor, k: int = CUTS[-1]) -> np.ndarray:
    """The `(Q, k)` places of the passages with the greatest inner products, greatest first."""
    return torch.cat([(part @ passages.T).topk(k).indices for part in questions.split(256)]).numpy()


def found_by_ours(
    model: BiEncoder, vocabulary: Vocabulary, passages: Passages, questions: Sequence[Question]
) -> np.ndarray:
    """The first 100 of our encoders, `(Q, 100)`."""
    asked = encode(model.question, [vocabulary.question(each.text, LONGEST_QUESTION) for each in questions])
    return nearest(asked, encode_passages(model.passage, passages))


def found_by_bm25(texts: Sequence[str], questions: Sequence[Question], **settings: float) -> np.ndarray:
    """The first 100 of BM25 with some settings of `LexicalIndex.build`, `(Q, 100)`."""
    return LexicalIndex.build(texts, **settings).search([each.text for each in questions], k=CUTS[-1])[1]


def found_by_encoder(
    encoder: Encoder, passages: Sequence[Any], questions: Sequence[Question], cache: Path
) -> np.ndarray:
    """The first 100 of any encoder, `(Q, 100)`; vectors of passages are kept in a file."""
    if not cache.exists():
        np.save(cache, encoder.encode(passages))
    vectors = torch.from_numpy(np.load(cache))
    return nearest(torch.from_numpy(encoder.encode_queries([each.text for each in questions])), vectors)


@dataclass(frozen=True)
class Reading:
    """What a reader makes of the passages found, in [0, 1].

    Attributes:
        top_1: the share of questions whose own passage it takes for the most relevant.
        exact: the share of answers that are the right one, as SQuAD counts it.
        f1: the mean share of words in common.
    """

    top_1: float
    exact: float
    f1: float


def read_all(
    reader: DPRReader, pages: Pages, questions: Sequence[Question], right: np.ndarray, found: np.ndarray
) -> Reading:
    """Reads the passages found for each question, `(Q, P)`."""
    reader.eval()
    synsets = pages.maker.wordnet.synsets
    read = [answer(reader, pages, q.text, row.tolist()) for q, row in zip(questions, found, strict=True)]
    wanted = [[synsets[i].definition[q.start : q.end]] for q, i in zip(questions, right, strict=True)]
    texts = [text for _, text in read]
    top_1 = float(np.mean([best == own for (best, _), own in zip(read, right, strict=True)]))
    return Reading(top_1, exact_match(texts, wanted), f1_score(texts, wanted))
