"""How long a sequence a model can take, and of which tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from sensorium.errors import OptionError
from sensorium.processors.padding import Padding
from sensorium.processors.text import TextProcessor
from sensorium.processors.windows import OVERLAP


def most_positions(model: nn.Module) -> int | None:
    """How many positions the model has learnt, or None where it encodes them in another way."""
    for name, module in model.named_modules():
        if name.endswith(("position_embeddings", "position_embedding")) and isinstance(module, nn.Embedding):
            # RoBERTa counts from the position after its padding's
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None


def within(padded: Mapping[str, Padding], positions: int | None) -> dict[str, Padding]:
    """What pads the rows of a batch, but none beyond the positions that the model has learnt."""
    limits = {name: [n for n in (padding.max_length, positions) if n is not None] for name, padding in padded.items()}
    return {name: replace(padded[name], max_length=min(some, default=None)) for name, some in limits.items()}


def checked_processor(processor: TextProcessor, model: nn.Module) -> TextProcessor:
    """The processor for this model of texts: it refuses tokens and segments for which the model has no row."""
    return processor.checked(_token_rows(model), _segment_rows(model))


def _token_rows(model: nn.Module) -> int | None:
    for module in model.modules():
        try:
            table: Any = module.get_input_embeddings()  # type: ignore[operator]
        except (AttributeError, NotImplementedError, TypeError):  # no model of Transformers, or one without texts
            continue
        if isinstance(table, nn.Embedding):
            return table.num_embeddings
    return None


def _segment_rows(model: nn.Module) -> int | None:
    tables = (module for name, module in model.named_modules() if name.endswith("token_type_embeddings"))
    return next((table.num_embeddings for table in tables if isinstance(table, nn.Embedding)), None)


@dataclass(frozen=True)
class WindowSize:
    """How long the windows of a long text are, by the options `max_seq_len` and `doc_stride`.

    Attributes:
        usual: tokens of a window, where the model takes that many.
        max_length: how many the tokenizer says that it takes.
        positions: how many positions the model has.
    """

    usual: int
    max_length: int | None
    positions: int | None

    def of(self, options: Any) -> tuple[int, int]:
        """The length of a window, and how much neighbours share, in tokens."""
        limits = [limit for limit in (self.max_length, self.positions) if limit is not None]
        length = min(self.usual, *limits) if options.max_seq_len is None else options.max_seq_len
        return length, min(length // 2, OVERLAP) if options.doc_stride is None else options.doc_stride

    def check(self, options: Any) -> None:
        """Refuses windows that the model cannot take.

        Raises:
            OptionError: they are too long, or share more than they hold.
        """
        length, overlap = self.of(options)
        if self.positions is not None and length > self.positions:
            raise OptionError(f"max_seq_len is at most {self.positions} for this model, got {length}")
        if overlap > length:
            raise OptionError(f"doc_stride is at most max_seq_len, {length}, got {overlap}")
