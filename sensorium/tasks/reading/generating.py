"""Readers that write their answer: any causal, sequence-to-sequence or chat model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from sensorium.errors import InputError, OptionError
from sensorium.models.attention_masks import unread_masks
from sensorium.processors.padding import Padding
from sensorium.processors.text import TextProcessor
from sensorium.results import CitedAnswers
from sensorium.tasks.base import Batch, Call, Unit
from sensorium.tasks.reading.passages import Asked
from sensorium.tasks.reading.prompts import PROMPT, REFUSAL, cited, filled_prompt, refuses, without_thoughts
from sensorium.tasks.reading.reader import Reader
from sensorium.tasks.texts.lengths import takes_padding, within
from sensorium.tasks.writing.keeping import seeded
from sensorium.tasks.writing.options import GenerationOptions, check_sampling, check_streaming
from sensorium.tasks.writing.pieces import Streamer
from sensorium.tasks.writing.writer import DEFAULTS, Writer, rows_in

_ONE_LINE = {**DEFAULTS, "stop_strings": ["\n"]}
"""A model that merely continues the text would ask itself the next question."""


@dataclass(frozen=True)
class Written:
    """What was written of one question: the text, and the passages that stood in the prompt."""

    text: str
    passages: tuple[dict[str, Any], ...]


class GeneratingReader(Reader):
    """Writes an answer that cites its passages, or refuses where they do not hold it.

    A model whose tokenizer has a chat template is asked through it; another causal model continues the prompt, up to
    the end of the line. Passages that leave no room for the answer are left out, the last ones first.
    """

    does = "writes its answer"
    takes = frozenset(["prompt", "refusal", "stream", *(field.name for field in fields(GenerationOptions))])
    usual_passages = 5

    def __init__(self, model: Any, processor: TextProcessor) -> None:
        super().__init__(model, processor)
        self.encodes = bool(model.config.is_encoder_decoder)
        self.chats = bool(getattr(processor.tokenizer, "chat_template", None)) and not self.encodes
        self.writer = Writer(model, processor)
        self.padded = self._paddings() if takes_padding(model) else {}

    def _paddings(self) -> dict[str, Padding]:
        paddings = {name: self.processor.prompt_padding[name] for name in ("input_ids", "attention_mask")}
        if not self.encodes:
            return paddings
        return within({n: replace(padding, side="right") for n, padding in paddings.items()}, self.positions)

    @property
    def positions(self) -> int | None:
        """How many positions the model has, or None where it encodes them in another way."""
        positions: int | None = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return positions

    def check(self, options: Any) -> None:
        """Refuses what would have no effect, and answers that leave no room for a prompt."""
        super().check(options)
        check_sampling(options, self.model.generation_config)
        check_streaming(options, self.model.generation_config)
        asked = options.given().get("max_new_tokens", 0)
        if self.positions is not None and asked >= self.positions:
            raise OptionError(f"max_new_tokens is less than {self.positions} for this model, got {asked}")

    def units(self, asked: Asked, options: Any) -> Iterator[Unit]:
        """One prompt with as many of the passages as fit; none where there are none."""
        if not asked.passages:
            return
        room = self._room(options)
        count, ids = self._fitting(asked, options, room)
        if count == 0:
            alone = len(self._encode(asked, 0, options))
            unfit = room is not None and alone > room
            raise InputError(
                f"the first passage does not fit: this model takes {room} tokens beside its answer, and the prompt "
                f"has {alone} without a passage. Cut the passage, ask a shorter question or lower max_new_tokens=",
                code="question-too-long" if unfit else "passage-too-long",
            )
        tokens = torch.tensor(ids, dtype=torch.int64)
        inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
        yield Unit(inputs, meta=asked.passages[:count])

    def run(self, batch: Batch, options: Any, call: Call, *, streamer: Streamer | None = None) -> dict[str, Tensor]:
        """`ids`, `(B, new tokens)`, and the writer's `largest`; tells a streamer of each token of a batch of one."""
        settings = self._settings(options, streamer)

        def write(rows: Sequence[int] | None, length: int) -> Tensor:
            part = slice(None, length) if self.encodes else slice(-length, None)
            prompts = {name: rows_in(tensor, rows)[:, part] for name, tensor in batch.items()}
            ids: Tensor = self.model.generate(**prompts, **settings)
            return ids[:, 1 if self.encodes else length :]

        device = batch["input_ids"].device
        with seeded(options.seed, device), unread_masks(device):
            return self.writer.outputs(self.writer.in_batches(batch["attention_mask"], settings, write), settings)

    def decode(self, outputs: dict[str, Tensor], metas: Sequence[Any], options: Any) -> Sequence[Written]:
        """The text of each prompt's answer."""
        texts = [self.writer.text_of(ids) for ids in outputs["ids"].cpu().tolist()]
        return [Written(text, passages) for text, passages in zip(texts, metas, strict=True)]

    def merge(self, parts: Sequence[Written], options: Any, index: int) -> CitedAnswers:
        """The one answer with its citations, or none."""
        if not parts:
            return CitedAnswers(index=index)
        written = parts[0]
        text = without_thoughts(written.text)
        if self._settings(options)["generation_config"].stop_strings == _ONE_LINE["stop_strings"]:
            text = text.partition("\n")[0].strip()
        if refuses(text, _refusal(options)):
            return CitedAnswers(passages=written.passages, refused=True, index=index)
        return CitedAnswers([text], [cited(text, len(written.passages))], written.passages, index=index)

    def _settings(self, options: Any, streamer: Streamer | None = None) -> dict[str, Any]:
        goes_on = not self.encodes and not self.chats
        defaults: Mapping[str, Any] = _ONE_LINE if goes_on else DEFAULTS
        filling = self.writer.filling
        return self.writer.settings(options, defaults=defaults, streamer=streamer, pad_token_id=filling)

    def _room(self, options: Any) -> int | None:
        """How many tokens a prompt may have."""
        limits = [limit for limit in (self.positions, self.processor.max_length) if limit is not None]
        capacity = min(limits, default=None)
        config = self._settings(options)["generation_config"]
        if self.encodes:
            return capacity
        if config.max_new_tokens is not None:
            return None if capacity is None else capacity - config.max_new_tokens
        return int(min(config.max_length, *limits)) - 1  # which counts the prompt

    def _fitting(self, asked: Asked, options: Any, room: int | None) -> tuple[int, list[int]]:
        """The largest number of passages whose prompt fits, and its tokens."""
        ids = self._encode(asked, len(asked.passages), options)
        if room is None or len(ids) <= room:
            return len(asked.passages), ids
        fits, too_many, best_ids = 0, len(asked.passages), ids
        while too_many - fits > 1:
            middle = (fits + too_many) // 2
            ids = self._encode(asked, middle, options)
            if len(ids) <= room:
                fits, best_ids = middle, ids
            else:
                too_many = middle
        return fits, best_ids

    def _encode(self, asked: Asked, count: int, options: Any) -> list[int]:
        prompt = PROMPT if options.prompt is None else options.prompt
        text = filled_prompt(prompt, asked.question, asked.passages[:count], _refusal(options))
        if self.chats:  # a template has the special tokens in it
            return self.processor.encode(self.processor.chat(text), special_tokens=False).ids
        return self.processor.encode(text).ids


def _refusal(options: Any) -> str:
    return REFUSAL if options.refusal is None else str(options.refusal)
