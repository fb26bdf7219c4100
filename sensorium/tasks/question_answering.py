"""question-answering: which words of a text answer a question."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import InputError, TaskMismatchError
from sensorium.models.attention_masks import unread_masks
from sensorium.processors.text import TextProcessor
from sensorium.processors.windows import Window, window_padding, windows
from sensorium.results import Answers
from sensorium.tasks.base import Batch, Call, Models, Options, Task, Unit
from sensorium.tasks.loading import check_fast, load_text_processor, load_transformers
from sensorium.tasks.options import Count, Natural
from sensorium.tasks.texts.lengths import WindowSize, checked_processor, most_positions, takes_padding, within
from sensorium.tasks.texts.spans import best_spans, probabilities

WINDOW = 384
"""Tokens of a window, where the model takes that many."""


@dataclass(frozen=True)
class QuestionAnsweringOptions(Options):
    """The options of a call.

    Attributes:
        top_k: how many answers to give, best first. A context with fewer spans gives fewer.
        doc_stride: how many of the context's tokens neighbouring windows share; None for 128, or half a window where
            that is less.
        max_answer_len: how many tokens an answer has at most.
        max_seq_len: how many tokens a window has, the question and special tokens included; None for 384, or as many as
            the model takes.
        max_question_len: how many tokens of the question are kept; None for all.
        handle_impossible_answer: whether "" may be among the answers, with the score of there being none.
        align_to_words: whether an answer is widened to whole words.
    """

    top_k: Count = 1
    doc_stride: Natural | None = None
    max_answer_len: Count = 15
    max_seq_len: Count | None = None
    max_question_len: Count | None = None
    handle_impossible_answer: bool = False
    align_to_words: bool = True


@dataclass(frozen=True)
class _WindowAnswers:
    """What a window gives: `(K,)` scores, best first, with their characters; the score of no answer; the text."""

    scores: NDArray[np.float32]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    nothing: float
    text: str


class QuestionAnswering(Task):
    """Answers that stand in a context, as the pipeline of this name gave them up to Transformers 4.57."""

    name = "question-answering"
    summary = "which words of a text answer a question"
    inputs = ("question", "context")
    options = QuestionAnsweringOptions
    models = (
        # models of documents score tokens, too, but see pages, not texts
        Models("AutoModelForQuestionAnswering", without="AutoModelForDocumentQuestionAnswering", own_code=True),
    )
    default = "distilbert/distilbert-base-cased-distilled-squad@564e9b5"
    processor: TextProcessor

    def __init__(self, model: nn.Module, processor: TextProcessor) -> None:
        super().__init__(model, checked_processor(processor, model))
        check_fast(processor, self.name)
        self._size = WindowSize(WINDOW, processor.max_length, most_positions(model))
        self.padded = within(window_padding(processor), self._size.positions) if takes_padding(model) else {}
        self._takes = set(inspect.signature(model.forward).parameters)
        self._further: dict[str, Any] = {"use_cache": False} if "use_cache" in self._takes else {}

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads a Transformers model with its tokenizer."""
        from transformers import AutoModelForQuestionAnswering

        loaded_processor = load_text_processor(processor, checkpoint)
        return cls(load_transformers(AutoModelForQuestionAnswering, checkpoint), loaded_processor)

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes a loaded Transformers model with its tokenizer."""
        if not hasattr(model, "config"):
            raise TaskMismatchError(f"{cls.name} takes a model of Transformers, got {type(model).__name__}")
        return cls(model, load_text_processor(processor, None))

    def check(self, options: QuestionAnsweringOptions) -> None:
        """Refuses windows that the model cannot take."""
        self._size.check(options)

    def expand(self, inputs: Any) -> list[Any] | None:
        """Several pairs: a list of them, or one mapping with lists."""
        if isinstance(inputs, Mapping) and set(self.inputs) <= inputs.keys():
            pairs = self.combine({name: inputs[name] for name in self.inputs})
            return pairs if isinstance(pairs, list) else None
        return list(inputs) if isinstance(inputs, (list, tuple)) else None

    def split(self, raw: Any, options: QuestionAnsweringOptions) -> Iterator[Unit]:
        """The windows of the question with its context."""
        question, context = (_text(raw, name) for name in self.inputs)
        length, overlap = self._size.of(options)
        laid_out = windows(
            self.processor,
            question,
            context,
            length=length,
            overlap=overlap,
            question_length=options.max_question_len,
        )
        for window in laid_out:
            inputs = {name: tensor for name, tensor in window.inputs.items() if name in self._takes}
            yield Unit({**inputs, "roles": window.roles}, meta=window)

    def forward(self, batch: Batch, options: Any, call: Call) -> dict[str, Tensor]:
        """`start` and `end`, `(B, L)` logits, with the tokens' `roles`."""
        roles = batch["roles"]
        inputs = {name: tensor for name, tensor in batch.items() if name != "roles"}
        return {**call(self.compute, inputs), "roles": roles}

    def compute(self, inputs: Batch) -> dict[str, Tensor]:
        """From token ids to logits; this is what is compiled."""
        with unread_masks(inputs["input_ids"].device, full=not self.padded):
            output = self.model(**inputs, **self._further)
        return {"start": output.start_logits, "end": output.end_logits}

    def decode(
        self, outputs: dict[str, Tensor], metas: Sequence[Window], options: QuestionAnsweringOptions
    ) -> Sequence[_WindowAnswers]:
        """The best spans of each window, with their characters."""
        roles = outputs["roles"]
        start, end = (probabilities(outputs[name], roles) for name in ("start", "end"))
        # several spans of tokens become one answer where they are widened to words: 4.57's allowance for that
        wanted = 2 * options.top_k + 10 if options.align_to_words else options.top_k
        spans = best_spans(start, end, roles, most_tokens=options.max_answer_len, top_k=wanted)
        parts = []
        for i, window in enumerate(metas):
            (real,) = np.isfinite(spans.scores[i]).nonzero()
            starts, ends = window.characters(
                spans.starts[i, real], spans.ends[i, real], whole_words=options.align_to_words
            )
            parts.append(
                _WindowAnswers(spans.scores[i, real], starts, ends, float(spans.nothing[i]), window.context.text)
            )
        return parts

    def merge(self, parts: Sequence[_WindowAnswers], options: QuestionAnsweringOptions, index: int) -> Answers:
        """The best answers of all windows; answers that differ only in case are merged, and their scores added."""
        answers: dict[str, tuple[float, int, int, str]] = {}
        for part in parts:
            rows = zip(part.scores.tolist(), part.starts.tolist(), part.ends.tolist(), strict=True)
            for score, start, end in rows:
                answer = part.text[start:end]
                before = answers.get(answer.lower())
                row = (score, start, end, answer) if before is None else (before[0] + score, *before[1:])
                answers[answer.lower()] = row
        rows_ = list(answers.values())
        if options.handle_impossible_answer:
            rows_.append((min(part.nothing for part in parts), 0, 0, ""))
        best = sorted(rows_, key=lambda row: row[0], reverse=True)[: options.top_k]
        scores, starts, ends = ([row[i] for row in best] for i in range(3))
        return Answers([row[3] for row in best], scores, starts, ends, single=True, index=index)

    def example(self) -> dict[str, str]:
        """A question with a context of some 300 words."""
        return {"question": "Where does the river begin?", "context": "The river begins in the hills. " * 50}


def _text(raw: Any, name: str) -> str:
    """One of a raw input's two texts."""
    if not isinstance(raw, Mapping):
        raise InputError(
            f'expected a mapping {{"question": …, "context": …}}, got {type(raw).__name__}', code="unsupported-type"
        )
    if name not in raw:
        asked = name == "context"
        raise InputError(
            f"expected the keys question and context, got {', '.join(map(str, raw))}",
            code="no-context" if asked else "no-question",
        )
    text = raw[name]
    if not isinstance(text, str):
        raise InputError(f"the {name} is a text (str), got {type(text).__name__}", code="not-text")
    if not text.strip():
        raise InputError(f"the {name} is empty: expected a text that is not blank", code="empty-text")
    return text
