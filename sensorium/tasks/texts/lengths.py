"""How long a sequence a model can take, of which tokens, and whether it may be padded."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from sensorium.errors import OptionError
from sensorium.processors.padding import Padding
from sensorium.processors.text import TextProcessor
from sensorium.processors.windows import OVERLAP

PADDING_CHANGES = frozenset(
    ["big_bird", "bigbird_pegasus", "canine", "convbert", "fnet", "funnel", "led", "longformer", "mobilebert", "mra",
     "nystromformer", "reformer", "yoso"]
)  # fmt: skip
"""Model types whose tokens attend to padding, or depend on the length of the row: these are never padded."""


def takes_padding(model: nn.Module) -> bool:
    """Whether the rows of a batch may be padded without changing what a model of Transformers makes of them."""
    masked = "attention_mask" in inspect.signature(model.forward).parameters
    return masked and getattr(getattr(model, "config", None), "model_type", None) not in PADDING_CHANGES


_POSITIONS = frozenset(
    [
        "char_position_embeddings",
        "embed_positions",
        "position_embedding",
        "position_embeddings",
        "positions_embed",
        "wpe",
    ]
)
"""What Transformers' models of texts call their tables of positions."""


def most_positions(model: nn.Module) -> int | None:
    """How many positions the model has in its table, or None where it encodes them in another way.

    Of an encoder and a decoder that read the same text it is what both have.
    """
    tables = (m for name, m in model.named_modules() if name.rpartition(".")[2] in _POSITIONS)
    return min((_rows_from_first(table) for table in tables if isinstance(table, nn.Embedding)), default=None)


def _rows_from_first(table: nn.Embedding) -> int:
    """The rows for a text's tokens: RoBERTa counts from the position after its padding's, BART from an offset."""
    before = 0 if table.padding_idx is None else table.padding_idx + 1
    return table.num_embeddings - max(before, getattr(table, "offset", 0))


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
