"""What the kinds of models that answer questions about pictures have in common, and those that choose an answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sensorium.errors import InputError
from sensorium.models.on_device import brought
from sensorium.processors.multimodal import FittedImage, MultimodalProcessor, truncated
from sensorium.processors.padding import Padding
from sensorium.tasks.base import Batch, Call
from sensorium.tasks.texts.lengths import checked_processor, within

IMAGE, KEY = "picture", "picture_key"
"""Names in a batch, of what stays on the CPU: each question's row of its picture, and each picture's key."""


class Answering(ABC):
    """One kind of model: how it reads, runs and answers.

    A batch holds `(B, length)` tensors of the questions, and those of the pictures that they are about, each once.

    Attributes:
        writes: whether it writes answers token by token, or chooses among known ones.
        templated: whether a template lays out the question, so that it must not be cut.
        text: the tokenizer, which refuses tokens that the model does not know.
        padded: as `Task.padded`; these are the question's tensors; all others of a unit are the picture's.
    """

    writes: ClassVar[bool]
    templated: ClassVar[bool] = False

    def __init__(self, model: nn.Module, processor: MultimodalProcessor) -> None:
        self.model: Any = model
        self.processor = processor
        self.text = checked_processor(processor.text, self.text_part)
        self.padded: Mapping[str, Padding] = within(processor.text.padding, self.positions)

    @property
    def text_part(self) -> nn.Module:
        """The module that reads questions."""
        part: nn.Module = self.model
        return part

    @property
    def max_length(self) -> int | None:
        """How many tokens a question may have; None where the model does not say."""
        limits = [self.positions, self.processor.text.max_length]
        return min((limit for limit in limits if limit is not None), default=None)

    @property
    def positions(self) -> int | None:
        """How many positions the model has for a question's tokens."""
        positions: int | None = getattr(self.model.config, "max_position_embeddings", None)
        return positions

    def read(self, question: str, image: FittedImage, *, truncation: bool) -> dict[str, Tensor]:
        """A question's tensors, `(length,)` each.

        Raises:
            InputError: `question-too-long`, unless `truncation` cuts it; `token-out-of-range`.
        """
        encoded = self.text.encode(question)
        if self.max_length is not None and len(encoded) > self.max_length:
            if not truncation:
                raise InputError(
                    f"the question has {len(encoded)} tokens, and this model takes {self.max_length}; ask a shorter "
                    f"one, or "
                    "pass truncation=True to cut it",
                    code="question-too-long",
                )
            encoded = truncated(encoded, self.max_length, side=self.processor.text.tokenizer.truncation_side)
        return {name: tensor for name, tensor in encoded.tensors().items() if name in self.padded}

    @abstractmethod
    def run(self, batch: Batch, options: Any, call: Call, dtype: torch.dtype) -> dict[str, Tensor]:
        """Runs the model.

        Args:
            batch: on the device.
            options: the call's.
            call: runs what is worth compiling.
            dtype: the model's.

        Returns:
            `logits`, `(B, number of answers)`, or `ids`, `(B, new tokens)`.
        """

    def check(self, options: Any) -> None:  # noqa: B027 - most take what the task's options allow
        """Refuses options that this model cannot serve.

        Raises:
            OptionError: such an option.
        """

    @abstractmethod
    def answers(self, outputs: Mapping[str, Tensor], options: Any) -> Sequence[tuple[list[str], Any]]:
        """For each question its answers, and their scores (None where it writes)."""


class Choosing(Answering):
    """A model that scores each of the answers it knows independently: sigmoid, as in Transformers' pipeline.

    Args:
        model: the model.
        processor: its processor.
        labels: the answers in the order of the logits.
    """

    writes = False

    def __init__(self, model: nn.Module, processor: MultimodalProcessor, labels: Mapping[int, str]) -> None:
        super().__init__(model, processor)
        self.labels = [labels[i] for i in range(len(labels))]

    def answers(self, outputs: Mapping[str, Tensor], options: Any) -> Sequence[tuple[list[str], Any]]:
        """The best `top_k` answers with scores in float32, best first."""
        scores, ids = outputs["logits"].float().sigmoid().sort(dim=-1, descending=True, stable=True)
        count = options.top_k or scores.shape[-1]
        scores, ids = brought([scores[:, :count], ids[:, :count]])
        rows = zip(scores.numpy(), ids.tolist(), strict=True)
        return [([self.labels[i] for i in chosen], score) for score, chosen in rows]


def keys_of(batch: Mapping[str, Tensor]) -> list[tuple[int, ...]]:
    """The keys of a batch's pictures."""
    return [tuple(key) for key in batch[KEY].tolist()]


def rows_of(encodings: Sequence[Tensor], batch: Mapping[str, Tensor]) -> Tensor:
    """The encoding of each question's picture, out of those of the batch's pictures, which are of one shape."""
    return torch.stack([encodings[row] for row in batch[IMAGE].tolist()])
