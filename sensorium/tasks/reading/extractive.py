"""Readers that point to their answers in the passages: by DPR's relevance of a passage, or by spans alone."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.errors import InputError
from sensorium.models.attention_masks import unread_masks
from sensorium.processors.text import TextProcessor
from sensorium.processors.windows import CONTEXT, Window, titled_windows, window_padding, windows
from sensorium.results import CitedAnswers
from sensorium.tasks.base import Batch, Call, Unit
from sensorium.tasks.reading.passages import Asked
from sensorium.tasks.reading.reader import Reader
from sensorium.tasks.texts.lengths import WindowSize, most_positions, takes_padding, within
from sensorium.tasks.texts.spans import separate_spans

SPANS_PER_PASSAGE = 4
"""How many spans to take of a passage; that of Transformers' `decode_best_spans`."""

_TAKES = (
    "top_k",
    "retrieval_weight",
    "num_spans_per_passage",
    "max_answer_len",
    "max_seq_len",
    "doc_stride",
    "align_to_words",
)


@dataclass(frozen=True)
class WindowOrigin:
    """Where a unit stands: the window, and of which question's passage it is."""

    window: Window
    asked: Asked
    passage: int


@dataclass(frozen=True)
class WindowSpans:
    """What a window gives.

    Attributes:
        place: of the window.
        scores: `(K,)` float32, sums of logits, best first.
        firsts: `(K,)` int64, the spans' first tokens, as `Window.tokens` counts.
        lasts: `(K,)` int64, their last ones.
        start: the logarithm of the sum of the exponentials of the logits of all first tokens that may be.
        end: that of all last ones.
        relevance: the logit of the passage; 0 where the model has none.
    """

    place: WindowOrigin
    scores: NDArray[np.float32]
    firsts: NDArray[np.int64]
    lasts: NDArray[np.int64]
    start: float
    end: float
    relevance: float

    def prior(self, weight: float) -> float:
        """What the search says for the passage."""
        scores = self.place.asked.scores
        return 0.0 if not weight or scores is None else weight * scores[self.place.passage]


class ExtractiveReader(Reader):
    """A model that scores each token of a passage as an answer's first and last; passages are the units of a batch.

    Attributes:
        usual_answer: tokens of an answer at most, by default.
        usual_window: tokens of a window, where the model takes that many.
        whole_words: whether answers are widened to whole words, by default.
        judges: whether the model says how relevant a passage is.
    """

    does = "points to its answers in the passages"
    takes = frozenset(_TAKES)
    usual_passages = 20
    usual_answer: ClassVar[int]
    usual_window: ClassVar[int]
    whole_words: ClassVar[bool]
    judges: ClassVar[bool]

    def __init__(self, model: Any, processor: TextProcessor) -> None:
        super().__init__(model, processor)
        takes = set(inspect.signature(model.forward).parameters)
        self._names = takes.intersection(processor.input_names)
        self._further: dict[str, Any] = {"use_cache": False} if "use_cache" in takes else {}
        self.size = WindowSize(self.usual_window, processor.max_length, most_positions(model))
        self.padded = within(window_padding(processor), self.size.positions) if takes_padding(model) else {}

    def check(self, options: Any) -> None:
        """Refuses windows that the model cannot take, besides."""
        super().check(options)
        self.size.check(options)

    def units(self, asked: Asked, options: Any) -> Iterator[Unit]:
        """The windows of each passage with the question; most passages have one."""
        if options.retrieval_weight and asked.scores is None:
            raise InputError("retrieval_weight needs scores with the passages, got none", code="no-scores")
        for number, passage in enumerate(asked.passages):
            for window in self.windows(asked.question, passage, options):
                inputs = {name: tensor for name, tensor in window.inputs.items() if name in self._names}
                yield Unit({**inputs, "roles": window.roles}, meta=WindowOrigin(window, asked, number))

    @abstractmethod
    def windows(self, question: str, passage: dict[str, Any], options: Any) -> Iterator[Window]:
        """The windows of one passage with the question; none for one without tokens."""

    def run(self, batch: Batch, options: Any, call: Call) -> dict[str, Tensor]:
        """`start` and `end`, `(B, L)` logits, maybe `relevance`, `(B,)`, and the tokens' `roles`."""
        inputs = {name: tensor for name, tensor in batch.items() if name != "roles"}
        return {**call(self.compute, inputs), "roles": batch["roles"]}

    def compute(self, inputs: Batch) -> dict[str, Tensor]:
        """From token ids to logits; this is what is compiled."""
        with unread_masks(inputs["input_ids"].device, full=not self.padded):
            output = self.model(**inputs, **self._further, return_dict=True)
        logits = {"start": output.start_logits, "end": output.end_logits}
        relevance = getattr(output, "relevance_logits", None)
        return logits if relevance is None else {**logits, "relevance": relevance}

    def decode(self, outputs: dict[str, Tensor], metas: Sequence[WindowOrigin], options: Any) -> Sequence[WindowSpans]:
        """The best spans of each window of which none lies within another."""
        roles = outputs["roles"]
        start, end = outputs["start"].float(), outputs["end"].float()
        whole = self._whole_words(options)
        spans = separate_spans(
            start,
            end,
            roles,
            most_tokens=self.usual_answer if options.max_answer_len is None else options.max_answer_len,
            top_k=_per_passage(options) * (2 if whole else 1),  # widened to words, two may become one
            join=torch.add,
        )
        masses = [x.masked_fill(roles != CONTEXT, -torch.inf).logsumexp(-1) for x in (start, end)]
        relevance = outputs.get("relevance", torch.zeros_like(masses[0])).float()
        told = torch.stack([*masses, relevance], dim=-1).cpu().tolist()
        parts = []
        for i, place in enumerate(metas):
            (real,) = np.isfinite(spans.scores[i]).nonzero()
            tokens = place.window.tokens(spans.starts[i, real], spans.ends[i, real], whole_words=whole)
            parts.append(WindowSpans(place, spans.scores[i, real], *tokens, *told[i]))
        return parts

    def merge(self, parts: Sequence[WindowSpans], options: Any, index: int) -> CitedAnswers:
        """The best spans of all passages, of which none lies within another of its passage."""
        if not parts:
            return CitedAnswers(index=index)
        asked = parts[0].place.asked
        weight = options.retrieval_weight or 0.0
        chosen: list[tuple[WindowSpans, int]] = []
        taken: dict[int, list[tuple[int, int]]] = {}
        for part, k in self.ranked(parts, weight):
            spans = taken.setdefault(part.place.passage, [])
            span = int(part.firsts[k]), int(part.lasts[k])
            if len(spans) < _per_passage(options) and not any(_nested(span, other) for other in spans):
                spans.append(span)
                chosen.append((part, k))
            if len(chosen) == options.top_k:
                break
        texts = [part.place.window.text(int(part.firsts[k]), int(part.lasts[k])) for part, k in chosen]
        return CitedAnswers(
            [text for text, _, _ in texts],
            [[part.place.passage + 1] for part, _ in chosen],
            asked.passages,
            scores=np.exp([self.log_probability(part, k, parts, weight) for part, k in chosen]),
            span_scores=[part.scores[k] for part, k in chosen],
            relevance_scores=[part.relevance for part, _ in chosen] if self.judges else None,
            starts=[start for _, start, _ in texts],
            ends=[end for _, _, end in texts],
            index=index,
        )

    @abstractmethod
    def ranked(self, parts: Sequence[WindowSpans], weight: float) -> list[tuple[WindowSpans, int]]:
        """The spans of all windows, best first."""

    @abstractmethod
    def log_probability(self, part: WindowSpans, k: int, parts: Sequence[WindowSpans], weight: float) -> float:
        """The logarithm of a span's share among all spans of the question's passages."""

    def _whole_words(self, options: Any) -> bool:
        return self.whole_words if options.align_to_words is None else bool(options.align_to_words)


class DprReader(ExtractiveReader):
    """Transformers' DPRReader, whose answers are ranked as by its tokenizer's `decode_best_spans`.

    Passages by relevance, and the spans of each by the sum of their logits. A score is the passage's share by relevance
    times the span's share in the passage.
    """

    takes = frozenset([*_TAKES, "title_spans"])
    usual_answer = 64
    usual_window = 512
    whole_words = False
    judges = True

    def windows(self, question: str, passage: dict[str, Any], options: Any) -> Iterator[Window]:
        """`[CLS] question [SEP] title [SEP] text`, as DPRReaderTokenizer lays it out."""
        length, _ = self.size.of(options)
        return titled_windows(
            self.processor,
            question,
            passage["title"],
            passage["text"],
            length=length,
            overlap=options.doc_stride,
            search_title=options.title_spans is not False,
        )

    def ranked(self, parts: Sequence[WindowSpans], weight: float) -> list[tuple[WindowSpans, int]]:
        """Windows by relevance, their spans by score."""
        by_relevance = sorted(parts, key=lambda part: part.relevance + part.prior(weight), reverse=True)
        return [(part, k) for part in by_relevance for k in range(len(part.scores))]

    def log_probability(self, part: WindowSpans, k: int, parts: Sequence[WindowSpans], weight: float) -> float:
        """Softmax of relevance over the windows, and of first and last tokens within the window."""
        passages = np.logaddexp.reduce([other.relevance + other.prior(weight) for other in parts])
        within = float(part.scores[k]) - part.start - part.end
        return float(part.relevance + part.prior(weight) - passages + within)


class SpanReader(ExtractiveReader):
    """Any model for extractive question answering; titles are not read.

    Its probabilities of first and last tokens are taken over all passages of a question at once, so that spans of
    different passages can be compared (shared normalisation; Clark & Gardner 2018, "Simple and Effective
    Multi-Paragraph Reading Comprehension"). Most such models were trained on single passages.
    """

    usual_answer = 15
    usual_window = 384
    whole_words = True
    judges = False

    def windows(self, question: str, passage: dict[str, Any], options: Any) -> Iterator[Window]:
        """As `question-answering` lays them out, but for windows that the question fills: these share less."""
        length, _ = self.size.of(options)
        return windows(self.processor, question, passage["text"], length=length, overlap=options.doc_stride)

    def ranked(self, parts: Sequence[WindowSpans], weight: float) -> list[tuple[WindowSpans, int]]:
        """All spans by score."""
        spans = [(part, k) for part in parts for k in range(len(part.scores))]
        return sorted(spans, key=lambda span: span[0].scores[span[1]] + span[0].prior(weight), reverse=True)

    def log_probability(self, part: WindowSpans, k: int, parts: Sequence[WindowSpans], weight: float) -> float:
        """Softmax of first and of last tokens over all windows; half of what the search says goes to each."""
        starts = np.logaddexp.reduce([other.start + other.prior(weight) / 2 for other in parts])
        ends = np.logaddexp.reduce([other.end + other.prior(weight) / 2 for other in parts])
        return float(part.scores[k] + part.prior(weight) - starts - ends)


def _per_passage(options: Any) -> int:
    count: int | None = options.num_spans_per_passage
    return SPANS_PER_PASSAGE if count is None else count


def _nested(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return (a[0] <= b[0] and b[1] <= a[1]) or (b[0] <= a[0] and a[1] <= b[1])
