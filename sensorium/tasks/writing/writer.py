"""Writing with a Transformers model: what `generate()` is told, batches of prompts, and the text that comes out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sensorium.models.on_device import sent
from sensorium.processors.text import TextProcessor
from sensorium.tasks.writing.options import filled
from sensorium.tasks.writing.pieces import Streamer
from sensorium.tasks.writing.watching import ScoreWatch

DEFAULTS: Mapping[str, Any] = {"max_new_tokens": 256}
"""Those of Transformers' pipeline, where neither the call nor the checkpoint says otherwise."""

Write = Callable[[Sequence[int] | None, int], Tensor]
"""Writes some rows of a batch, or all of them, of a length."""

_LOOK_BACK = (
    "repetition_penalty",
    "no_repeat_ngram_size",
    "encoder_repetition_penalty",
    "encoder_no_repeat_ngram_size",
    "bad_words_ids",
    "sequence_bias",
)
"""Settings of `generate()` that depend on the tokens of the prompt."""


class Writer:
    """Knows how a model's text begins, ends and is read.

    Args:
        model: a model of Transformers that has a `generation_config`.
        text: its tokenizer.
        ends: the tokens that end a text; None for those of the generation config.
        held_words: how many words at the end of a streamed text may still change with the next token.
    """

    def __init__(
        self, model: Any, text: TextProcessor, *, ends: frozenset[int] | None = None, held_words: int = 1
    ) -> None:
        self.model, self.text = model, text
        self.held_words = held_words
        self._ends = ends

    @property
    def ends(self) -> frozenset[int]:
        """The tokens that end a text."""
        if self._ends is not None:
            return self._ends
        end_ids = self.model.generation_config.eos_token_id
        return frozenset([] if end_ids is None else [end_ids] if isinstance(end_ids, int) else end_ids)

    @property
    def filling(self) -> int:
        """The token that pads shorter texts."""
        pad: int | None = self.text.tokenizer.pad_token_id
        return min(self.ends, default=0) if pad is None else pad

    def settings(
        self,
        options: Any,
        *,
        defaults: Mapping[str, Any] = DEFAULTS,
        streamer: Streamer | None = None,
        **further: Any,
    ) -> dict[str, Any]:
        """What `generate()` is told for a call: a config, and what does not fit into one.

        Args:
            options: the call's `GenerationOptions`.
            defaults: what holds where neither the call nor the checkpoint says otherwise.
            streamer: is told of each token; for a batch of one.
            **further: the model's own entries of the config.
        """
        config = copy.deepcopy(self.model.generation_config)
        config.update(**{**further, **filled(options.given(), config, defaults)})
        settings: dict[str, Any] = {"generation_config": config, "logits_processor": [ScoreWatch()]}
        if config.stop_strings:
            settings["tokenizer"] = self.text.tokenizer
        return settings if streamer is None else settings | streamer.settings()

    @staticmethod
    def outputs(ids: Tensor, settings: Mapping[str, Any]) -> dict[str, Tensor]:
        """What a batch gives: the `ids` written, and `largest`, which is finite if all of their scores were."""
        return {"ids": ids, "largest": settings["logits_processor"][0].largest}

    def in_batches(self, mask: Tensor, settings: Mapping[str, Any], write: Write) -> Tensor:
        """Writes a batch as a whole or, where the text may depend on padding, prompts of one length at a time.

        Some settings depend on the tokens before: for them `generate()` mistakes the padding of shorter prompts for
        tokens that were already written, often the very token that ends a text.

        Args:
            mask: `(B, L)`, which of the prompts' tokens are not padding.
            settings: what `settings` gave.
            write: given the rows to write, or None for all, and their length, gives `(b, new tokens)`.

        Returns:
            `(B, new tokens)`.
        """
        if not self._looks_back(settings):
            return write(None, mask.shape[1])
        lengths: list[int] = mask.sum(1).tolist()
        written: dict[int, Tensor] = {}
        for length in sorted(set(lengths)):
            rows = [row for row, each in enumerate(lengths) if each == length]
            written.update(zip(rows, write(rows, length), strict=True))
        in_order = [written[row] for row in range(len(mask))]
        return pad_sequence(in_order, batch_first=True, padding_value=self.filling)

    def _looks_back(self, settings: Mapping[str, Any]) -> bool:
        config = settings.get("generation_config", self.model.generation_config)
        values = {name: settings.get(name, getattr(config, name, None)) for name in _LOOK_BACK}
        return any(value and not (name.endswith("_penalty") and value == 1) for name, value in values.items())

    def text_of(self, ids: Sequence[int]) -> str:
        """The text of written tokens, up to the first that ends it, without special tokens and outer spaces."""
        ends = self.ends
        length = next((i for i, token in enumerate(ids) if token in ends), len(ids))
        return self.text.decode(list(ids[:length])).strip()


def rows_in(tensor: Tensor, rows: Sequence[int] | None) -> Tensor:
    """Some rows of a tensor; None for all of them."""
    return tensor if rows is None else tensor.index_select(0, sent(rows, tensor.device))
