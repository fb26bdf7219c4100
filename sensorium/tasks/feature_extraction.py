"""feature-extraction: a text as vectors, for search, comparison and heads of your own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import InputError, OptionError, UnknownNameError
from sensorium.models.attention_masks import unread_masks
from sensorium.processors.padding import Padding
from sensorium.processors.text import Encoded, TextProcessor
from sensorium.results import Embedding
from sensorium.tasks.base import Batch, Call, Fit, Options, Task, Unit
from sensorium.tasks.embedding.pooling import pool
from sensorium.tasks.embedding.text_models import TextModel, fit_of, load_text_model, wrap_text_model
from sensorium.tasks.loading import load_text_processor
from sensorium.tasks.texts.lengths import checked_processor

Pool = Literal["none", "cls", "mean", "max", "own"]

USUAL = 128
"""Tokens of a text of the usual size, in which batches are measured."""


@dataclass(frozen=True)
class FeatureExtractionOptions(Options):
    """The options of a call.

    Attributes:
        pool: "none" gives the last hidden state, one vector per token; "cls" its first token, "mean" and "max" pool
            them all; "own" gives what the checkpoint was trained to give: sentence-transformers' pooling and what
            follows, DPR's output, or the vector that CLIP, SigLIP and CLAP compare with pictures and sounds.
        normalize: divides each vector by its Euclidean norm; None to do so where the checkpoint does, with "own" only.
        prompt: a text that is put before each input; None for the checkpoint's default prompt, if "own" has one.
        prompt_name: the name of one of the checkpoint's prompts, instead of its text.
        truncation: False refuses a text that is too long for the model; True leaves out its end, as the tokenizer does.
        return_tensors: "np" gives NumPy arrays, "pt" torch tensors; both on the CPU.
    """

    pool: Pool = "none"
    normalize: bool | None = None
    prompt: str | None = None
    prompt_name: str | None = None
    truncation: bool = False
    return_tensors: Literal["np", "pt"] = "np"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prompt is not None and self.prompt_name is not None:
            raise OptionError("prompt, a text, and prompt_name, one of the checkpoint's, were both given; pass one")


@dataclass(frozen=True, slots=True)
class TextMeta:
    """What is known about a unit besides its tokens.

    Attributes:
        tokens: how many it has.
        left_out: how many were cut off.
    """

    tokens: int
    left_out: int


class FeatureExtraction(Task):
    """Hidden states and embeddings of texts."""

    name = "feature-extraction"
    summary = "a text as vectors, for search, comparison and heads of your own"
    inputs = ("text",)
    options = FeatureExtractionOptions
    default = "sentence-transformers/all-MiniLM-L6-v2@c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
    model: TextModel
    processor: TextProcessor

    def __init__(self, model: TextModel, processor: TextProcessor) -> None:
        settings = model.stored.settings
        if settings.get("do_lower_case"):
            processor.lower_case()
        super().__init__(model, checked_processor(processor, model.text_part))
        self._takes = model.takes & {"input_ids", "token_type_ids"}
        self._masked = model.fixed_length is None and "attention_mask" in model.takes
        stated = settings.get("max_seq_length")
        self.longest = _smallest(processor.max_length, model.positions)
        self.longest_own = _smallest(stated if isinstance(stated, int) else processor.max_length, model.positions)
        fillings = {"attention_mask": 0.0, "counted": 0.0} | {n: p.value for n, p in processor.padding.items()}
        # on the right, whatever the tokenizer says, so that no token's position depends on its neighbours in the batch
        self.padded = (
            {n: Padding(v, max_length=self.longest) for n, v in fillings.items()} if model.takes_padding else {}
        )

    @classmethod
    def fits(cls, checkpoint: Checkpoint) -> Fit:
        """Models that read texts alone, and those that compare texts with pictures or sounds."""
        return fit_of(checkpoint)

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads a Transformers model without its head, with its tokenizer."""
        loaded_processor = load_text_processor(processor, checkpoint)
        return cls(load_text_model(checkpoint), loaded_processor)

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes a loaded Transformers model with its tokenizer."""
        return cls(wrap_text_model(model), load_text_processor(processor, None))

    def check(self, options: FeatureExtractionOptions) -> None:
        """Refuses a pooling or a prompt that the checkpoint does not have."""
        if options.pool == "own" and not self.model.has_own:
            raise OptionError(
                'this checkpoint has no pooling of its own; use pool="mean", "cls" or "max", as it was trained'
            )
        prompts = self.model.stored.prompts
        if options.prompt_name is not None and options.prompt_name not in prompts:
            raise UnknownNameError("prompt", options.prompt_name, prompts)

    def expand(self, inputs: Any) -> list[Any] | None:
        """A list or a tuple is several texts."""
        return list(inputs) if isinstance(inputs, (list, tuple)) else None

    def split(self, raw: Any, options: FeatureExtractionOptions) -> Iterable[Unit]:
        """The text's tokens, in one unit."""
        if not isinstance(raw, str):
            raise InputError(f"expected a text (str), got {type(raw).__name__}", code="not-text")
        prompt = self.prompt_of(options)
        encoded = self.processor.encode(prompt + raw)
        return [self.unit(encoded, options, prompt=prompt)]

    def prompt_of(self, options: FeatureExtractionOptions) -> str:
        """What is put before each text."""
        stored = self.model.stored
        if options.prompt is not None:
            return options.prompt
        name = options.prompt_name
        if name is None and options.pool == "own":
            name = stored.default_prompt_name
        return "" if name is None else stored.prompts[name]

    def limit_of(self, options: FeatureExtractionOptions) -> int | None:
        """How many tokens a text may have: what the model takes, or in "own" what the checkpoint was made for."""
        return self.longest_own if options.pool == "own" else self.longest

    def unit(self, encoded: Encoded, options: FeatureExtractionOptions, *, prompt: str = "") -> Unit:
        """Tokens as a unit.

        Raises:
            InputError: `text-too-long`, or `empty-text` where there is not even a special token.
        """
        limit, length = self.limit_of(options), len(encoded)
        special = self.processor.tokenizer.all_special_ids
        if not length:
            raise InputError("the text has no tokens: expected one with words", code="empty-text")
        if limit is not None and length > limit:
            if not options.truncation:
                raise InputError(
                    f"the text has {length} tokens, expected {limit} at most. Split it, or pass truncation=True to "
                    "leave out its end",
                    code="text-too-long",
                )
            encoded = encoded.cut(limit, side=self.processor.tokenizer.truncation_side, special=special)
        tokens = len(encoded)
        inputs = {name: tensor for name, tensor in encoded.tensors().items() if name in self._takes}
        inputs["attention_mask"] = torch.ones(tokens, dtype=torch.int64)
        if options.pool == "own" and prompt and not self.model.include_prompt:
            inputs["counted"] = self._without_prompt(prompt, tokens)
        if self.model.fixed_length is not None:
            inputs = {name: self._filled(name, row, self.model.fixed_length) for name, row in inputs.items()}
            tokens = self.model.fixed_length
        return Unit(inputs, meta=TextMeta(tokens, length - len(encoded)))

    def cost(self, unit: Unit) -> float:
        """A text costs as many tokens as it has, padding included."""
        length = unit.inputs["input_ids"].shape[-1]
        return (self.padded["input_ids"].length(length) if self.padded else length) / USUAL

    def forward(self, batch: Batch, options: FeatureExtractionOptions, call: Call) -> Tensor:
        """`(B, L, D)` hidden states, or `(B, D)` float32 vectors."""
        if options.pool == "own":
            vectors: Tensor = call(self.compute_own, batch)
            return vectors
        hidden: Tensor = call(self.compute, batch)
        return hidden if options.pool == "none" else pool(hidden, batch["attention_mask"], options.pool)

    def compute(self, batch: Batch) -> Tensor:
        """From token ids to the last hidden state; this is what is compiled."""
        with unread_masks(batch["input_ids"].device, full=not self.padded):
            return self.model.states(self._inputs(batch))

    def compute_own(self, batch: Batch) -> Tensor:
        """From token ids to the checkpoint's own vectors; this is what is compiled."""
        with unread_masks(batch["input_ids"].device, full=not self.padded):
            return self.model.vectors(self._inputs(batch), batch.get("counted", batch["attention_mask"]))

    def decode(self, outputs: Tensor, metas: Sequence[TextMeta], options: FeatureExtractionOptions) -> Sequence[Tensor]:
        """One float32 tensor per text, on the CPU: `(D,)`, or `(L, D)` of its own tokens alone."""
        vectors = outputs.float()
        if options.normalize or (options.normalize is None and options.pool == "own" and self.model.unit):
            vectors = F.normalize(vectors, dim=-1)
        rows = vectors.cpu()
        return [row[: meta.tokens] if options.pool == "none" else row for row, meta in zip(rows, metas, strict=True)]

    def merge(self, parts: Sequence[Tensor], options: FeatureExtractionOptions, index: int) -> Embedding:
        """The text's embedding, which owns its memory."""
        (vector,) = parts
        return Embedding(vector.clone() if options.return_tensors == "pt" else vector.numpy().copy(), index=index)

    def example(self) -> str:
        """A text of some hundred words, or as many as the model takes."""
        sentences = 7 if self.longest is None else max(1, min(7, self.longest // 64))
        return "The river begins in the hills and runs past the mill to the sea. " * sentences

    def _inputs(self, batch: Batch) -> Batch:
        names = self._takes | ({"attention_mask"} if self._masked else set())
        return {name: tensor for name, tensor in batch.items() if name in names}

    def _without_prompt(self, prompt: str, tokens: int) -> Tensor:
        """Which tokens count where the prompt's do not; nor do the special ones before it."""
        encoded = self.processor.encode(prompt)
        ends_special = bool(encoded.ids) and encoded.ids[-1] in self.processor.tokenizer.all_special_ids
        counted = torch.ones(tokens, dtype=torch.int64)
        counted[: min(len(encoded) - ends_special, tokens - 1)] = 0
        return counted

    def _filled(self, name: str, row: Tensor, length: int) -> Tensor:
        """A row of the one length that the model takes; it sees the padding, which counts and goes on its side."""
        value = 1.0 if name in ("attention_mask", "counted") else self.processor.padding[name].value
        gap = length - len(row)
        return F.pad(row, (gap, 0) if self.processor.tokenizer.padding_side == "left" else (0, gap), value=value)


def _smallest(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)
