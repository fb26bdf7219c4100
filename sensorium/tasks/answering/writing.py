"""Models that write the answer to a question about a picture."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.processors.multimodal import MultimodalProcessor
from sensorium.tasks.answering.kinds import Answering
from sensorium.tasks.base import Batch, Call
from sensorium.tasks.writing.pieces import Streamer
from sensorium.tasks.writing.writer import Writer


class WritingAnswering(Answering):
    """A model that writes its answer."""

    writes = True

    def __init__(self, model: nn.Module, processor: MultimodalProcessor, writer: Writer) -> None:
        super().__init__(model, processor)
        self.writer = writer

    @abstractmethod
    def run(
        self, batch: Batch, options: Any, call: Call, dtype: torch.dtype, *, streamer: Streamer | None = None
    ) -> dict[str, Tensor]:
        """As `Answering.run`; tells a streamer of each token of a batch of one question."""

    def answers(self, outputs: Mapping[str, Tensor], options: Any) -> Sequence[tuple[list[str], Any]]:
        """The written text, without special tokens and outer spaces."""
        return [([self.writer.text_of(ids)], None) for ids in outputs["ids"].cpu().tolist()]
