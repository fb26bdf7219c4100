"""Two texts in one sequence, cut as Transformers' `truncation="longest_first"` cuts them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.errors import InputError
from sensorium.processors.padding import Padding
from sensorium.processors.text import TextProcessor


def encode_pair(
    processor: TextProcessor, pair: tuple[str, str], *, where: str, limit: int | None, truncation: bool
) -> dict[str, Tensor]:
    """The model's inputs for a query and a text.

    Args:
        processor: the checkpoint's, with a fast tokenizer.
        pair: the query and the text.
        where: what the text is called, for errors.
        limit: how many tokens the model takes, special ones included; None for any number.
        truncation: whether to cut what is longer.

    Returns:
        `(length,)` int64 by name.

    Raises:
        InputError: `not-text`; `empty-text`, where a text has no tokens; `text-too-long`, where it does not fit, or
            cutting it would leave nothing of the other.
    """
    encoded = processor.encode(*pair)
    which = np.array([-1 if i is None else i for i in encoded.sequence_ids])
    lengths = [int((which == i).sum()) for i in (0, 1)]
    for name, length in zip(("query", where), lengths, strict=True):
        if not length:
            raise InputError(f"the {name} has no words: expected a text that is not blank", code="empty-text")
    kept = np.ones(len(which), bool)
    if limit is not None and len(which) > limit:
        room = limit - len(which) + sum(lengths)
        _check_room(len(which), limit, room, where, truncation)
        backwards = processor.tokenizer.truncation_side == "left"
        for i, length in enumerate(longest_first(lengths[0], lengths[1], room)):
            (at,) = (which == i).nonzero()
            kept[at[: len(at) - length] if backwards else at[length:]] = False
    values: dict[str, NDArray[np.int64]] = {
        "input_ids": np.array(encoded.ids, np.int64),
        "token_type_ids": np.array(encoded.type_ids, np.int64),
        "attention_mask": np.ones(len(which), np.int64),
    }
    return {name: torch.from_numpy(values[name][kept]) for name in processor.input_names}


def pair_padding(processor: TextProcessor) -> dict[str, Padding]:
    """What pads shorter pairs of a batch, for `Task.padded`.

    A model that is not told what is padding takes pairs of one length alone.
    """
    return processor.padding if "attention_mask" in processor.input_names else {}


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of each of two texts are kept where `room` is less than both have.

    The longer one gives way until they are even, then both do, as in the `tokenizers` library; if the room is
    odd, the longer one has the larger half, or the second if they are equally long.
    """
    shorter, longer = sorted((first, second))
    if shorter + max(shorter, room - shorter) <= room:
        longer = max(shorter, room - shorter)
    else:
        shorter = room // 2
        longer = room - shorter
    return (longer, shorter) if first > second else (shorter, longer)


def _check_room(length: int, limit: int, room: int, where: str, truncation: bool) -> None:
    if not truncation:
        raise InputError(
            f"the query and the {where} have {length} tokens together, expected {limit} at most. Split the text, "
            "or pass truncation=True to cut what is too long",
            code="text-too-long",
        )
    if room < 2:
        raise InputError(
            f"{limit} tokens leave {max(0, room)} to the query and the {where} beside the special ones; raise "
            "max_length=",
            code="text-too-long",
        )
