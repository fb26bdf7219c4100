"""DPR's reader: which of some passages answers a question, and where in it the answer stands."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DPRReader

from training.dense_retrieval.encoders import LONGEST_QUESTION, Shape, load_checkpoint, rate, save_checkpoint
from training.dense_retrieval.negatives import Negatives
from training.dense_retrieval.questions import Question, QuestionMaker
from training.dense_retrieval.tokens import Passages, Vocabulary, padded

SHAPE = Shape(layers=2, hidden=128, intermediate=256, heads=4, longest=96)
LONGEST_ANSWER = 12
"""Pieces of an answer, at most."""


@dataclass(frozen=True)
class ReaderTraining:
    """The options of a run."""

    steps: int = 2000
    batch_size: int = 128
    negatives: int = 2
    lr: float = 2e-3
    seed: int = 0


@dataclass(frozen=True)
class Pages:
    """Rows of ids of questions with passages, `[CLS] question [SEP] title [SEP] definition`.

    Attributes:
        maker: makes the questions.
        vocabulary: cuts texts.
        passages: cut already.
    """

    maker: QuestionMaker
    vocabulary: Vocabulary
    passages: Passages

    def row(self, question: str, place: int) -> tuple[list[int], int]:
        """The ids, and where the definition begins."""
        row, _ = self.passages.row(place)
        front = self.vocabulary.question(question, LONGEST_QUESTION)
        start = len(front) + row.index(front[-1])
        return [*front, *row[1:-1]], start

    def span(self, question: Question, place: int) -> tuple[int, int]:
        """The first and the last piece of the answer in the definition."""
        offsets = self.vocabulary.offsets(self.maker.wordnet.synsets[place].definition)
        inside = [i for i, (start, end) in enumerate(offsets) if start < question.end and end > question.start]
        return inside[0], inside[-1]


def new_reader(embeddings: Tensor, vocabulary: int, shape: Shape = SHAPE) -> DPRReader:
    """A reader with random weights but for its words, which are the encoder's, brought to its width by PCA.

    What a token asks for begins as what it answers to: like words find each other from the start.

    Args:
        embeddings: (V, D) of the encoder.
        vocabulary: V.
        shape: how large it is.
    """
    reader = DPRReader(shape.config(vocabulary))
    bert = reader.span_predictor.encoder.bert_model
    with torch.no_grad():
        centred = embeddings - embeddings.mean(0)
        directions = torch.linalg.svd(centred.T @ centred).U[:, : shape.hidden]
        words = centred @ directions
        bert.embeddings.word_embeddings.weight.copy_(words / words.std() * shape.hidden**-0.5)
        bert.embeddings.position_embeddings.weight.mul_(0.1)
        for layer in bert.encoder.layer:
            layer.attention.self.key.weight.copy_(layer.attention.self.query.weight)
    return reader


def train_reader(
    reader: DPRReader, pages: Pages, train: np.ndarray, negatives: Negatives, options: ReaderTraining, *,
    checkpoint: Path,
) -> Iterator[int]:  # fmt: skip
    """Train in place, going on from the checkpoint if there is one.

    Yields:
        The number of steps taken, whenever the checkpoint has been written.
    """
    optimizer = torch.optim.AdamW(reader.parameters(), lr=options.lr, weight_decay=0.01, betas=(0.9, 0.98))
    step, smooth = load_checkpoint(checkpoint, reader, optimizer), 0.0
    began = saved = time.monotonic()
    reader.train()
    while step < options.steps:
        for group in optimizer.param_groups:
            group["lr"] = options.lr * rate(step, options.steps)
        value = reader_loss(reader, *_batch(pages, train, negatives, options, step))
        value.backward()
        nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        smooth = value.item() if smooth == 0.0 else 0.95 * smooth + 0.05 * value.item()
        if step % 20 == 0:
            print(f"reader step {step} loss {smooth:.3f} {time.monotonic() - began:.0f}s", flush=True)
        if time.monotonic() - saved > 120 or step == options.steps:
            save_checkpoint(checkpoint, reader, optimizer, step)
            saved = time.monotonic()
            yield step


def _batch(
    pages: Pages, train: np.ndarray, negatives: Negatives, options: ReaderTraining, step: int
) -> tuple[list[list[int]], Tensor, Tensor, Tensor]:
    """Rows of each question's right passage, then of as many others; the groups, and the spans of the right ones."""
    rng = np.random.default_rng([options.seed, 6, step])
    chosen = rng.integers(len(train), size=options.batch_size)
    rows: list[list[int]] = []
    starts, ends, groups = [], [], []
    for group, (i, others) in enumerate(zip(chosen, negatives.rows(chosen, options.negatives, rng), strict=True)):
        place = int(train[i])
        question = pages.maker.ask(pages.maker.wordnet.synsets[place], rng)
        row, start = pages.row(question.text, place)
        first, last = (start + at for at in pages.span(question, place))
        if last >= len(row):  # the answer is in what was left out
            continue
        rows += [row, *(pages.row(question.text, other)[0] for other in others)]
        starts.append(first)
        ends.append(last)
        groups += [group] * (1 + len(others))
    return rows, torch.tensor(groups), torch.tensor(starts), torch.tensor(ends)


def reader_loss(reader: DPRReader, rows: list[list[int]], groups: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """Cross-entropy of the right passage among its group, and of the answer's ends in it (Karpukhin et al. 2020, 6.1).

    Args:
        reader: the model.
        rows: (R) ids of questions with passages, the right one first in each group.
        groups: (R) the question of each row, in order.
        starts: (G) the first token of each answer, in the right passage's row.
        ends: (G) the last.
    """
    start, end, relevance = read(reader, rows)
    same = groups.unique(return_inverse=True)[1]
    right = torch.cat([torch.tensor([0]), (same[1:] != same[:-1]).nonzero()[:, 0] + 1])
    places = torch.arange(len(same)) - right[same]
    table = torch.full((len(right), int(places.max()) + 1), -torch.inf)
    table[same, places] = relevance
    first = torch.zeros(len(right), dtype=torch.long)
    return F.cross_entropy(table, first) + F.cross_entropy(start[right], starts) + F.cross_entropy(end[right], ends)


def read(reader: DPRReader, rows: Sequence[Sequence[int]], parts: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Start and end logits, (R, L) float32 with -inf behind a row's end, and relevance, (R)."""
    longest = max(map(len, rows))
    order = np.argsort([len(row) for row in rows], kind="stable")
    found: list[list[Tensor]] = [[], [], []]
    for part in np.array_split(order, min(parts, len(order))):
        inputs = padded([rows[i] for i in part])
        with torch.autocast("cpu", torch.bfloat16):
            out = reader(inputs["input_ids"], inputs["attention_mask"])
        hidden = inputs["attention_mask"] == 0
        for i, logits in enumerate((out.start_logits, out.end_logits)):
            masked = logits.float().masked_fill(hidden, -torch.inf)
            found[i].append(F.pad(masked, (0, longest - masked.shape[1]), value=-torch.inf))
        found[2].append(out.relevance_logits.float())
    back = torch.from_numpy(np.argsort(order, kind="stable"))
    start, end, relevance = (torch.cat(each)[back] for each in found)
    return start, end, relevance


@torch.inference_mode()
def answer(reader: DPRReader, pages: Pages, question: str, places: Sequence[int]) -> tuple[int, str]:
    """The place of the most relevant of some passages, and the best span of its definition."""
    found = [pages.row(question, place) for place in places]
    start, end, relevance = read(reader, [row for row, _ in found], parts=1)
    best = int(relevance.argmax())
    begin = found[best][1]
    scores = start[best, begin:, None] + end[best, None, begin:]
    allowed = torch.ones_like(scores, dtype=torch.bool).triu().tril(LONGEST_ANSWER - 1)
    first, last = divmod(int(scores.masked_fill(~allowed, -torch.inf).argmax()), scores.shape[1])
    text = pages.maker.wordnet.synsets[places[best]].definition
    offsets = pages.vocabulary.offsets(text)
    return places[best], text[offsets[first][0] : offsets[last][1]]
