"""What OneFormer reads beside a picture: a text that tells it the subtask."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from sensorium.errors import CheckpointError
from sensorium.models.on_device import kept
from sensorium.processors.text import TextProcessor
from sensorium.tasks.segmentation.families import Subtask


class SubtaskTexts:
    """The tokens of "the task is semantic" and its like, with zeros up to the length that the model reads.

    Args:
        processor: the checkpoint's tokenizer.
        length: how many tokens the model reads.

    Raises:
        CheckpointError: a text makes more tokens.
    """

    def __init__(self, processor: TextProcessor, length: int) -> None:
        self._ids: dict[Subtask, tuple[int, ...]] = {}
        for subtask in get_args(Subtask):
            ids = processor.encode(f"the task is {subtask}").ids
            if len(ids) > length:
                raise CheckpointError(
                    f"the text that tells the model its task makes {len(ids)} tokens, and it reads {length}; its "
                    "tokenizer is another model's. Pass processor=, with its own."
                )
            self._ids[subtask] = (*ids, *[0] * (length - len(ids)))

    def tokens(self, subtask: Subtask, device: torch.device) -> Tensor:
        """`(length,)` int64 on the device, copied there once."""
        return kept(self._ids[subtask], device)
