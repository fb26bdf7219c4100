"""text-ranking: how well texts answer a query, by a model that reads both together."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self

import numpy as np
from torch import Tensor, nn

from sensorium.checkpoints import Checkpoint
from sensorium.checkpoints.config import read_json
from sensorium.checkpoints.sentence_transformers import Stored, read_stored
from sensorium.errors import CheckpointError, InputError, OptionError, TaskMismatchError
from sensorium.models.attention_masks import unread_masks
from sensorium.processors.padding import Padding
from sensorium.processors.text import TextProcessor
from sensorium.results.ranking import Ranking
from sensorium.tasks.base import Batch, Call, Fit, Models, Options, Task, Unit
from sensorium.tasks.loading import load_text_processor, load_transformers
from sensorium.tasks.options import Count, Range
from sensorium.tasks.texts.lengths import checked_processor, most_positions, takes_padding, within
from sensorium.tasks.texts.pairs import encode_pair, pair_padding

ACTIVATIONS = {"Sigmoid": "sigmoid", "Identity": "identity"}
"""The functions of torch.nn that a checkpoint may name, as `activation` names them."""

USUAL = 128
"""Tokens of a pair of the usual size, in which batches are measured."""


@dataclass(frozen=True)
class TextRankingOptions(Options):
    """The options of a call.

    Attributes:
        top_k: how many of a query's texts to give, best first; None for all.
        activation: what makes a score of the model's logit; None for what the checkpoint names, else "sigmoid".
        truncation: whether a pair that is too long is cut, the longer of query and text first; else it is refused.
        max_length: how many tokens a pair has at most; None for as many as the model takes.
    """

    top_k: Annotated[int | None, Range(1, none="all")] = None
    activation: Literal["sigmoid", "identity"] | None = None
    truncation: bool = False
    max_length: Count | None = None


class TextRanking(Task):
    """Scores of texts for a query, as sentence-transformers' CrossEncoder gives them."""

    name = "text-ranking"
    summary = "how well texts answer a query, by a model that reads both together"
    inputs = ("query", "text")
    options = TextRankingOptions
    models = (Models("AutoModelForSequenceClassification", own_code=True, unnamed=False),)
    default = "cross-encoder/ms-marco-MiniLM-L6-v2@c5ee24c"
    processor: TextProcessor

    def __init__(
        self, model: nn.Module, processor: TextProcessor, *, stored: Stored | None = None, activation: str | None = None
    ) -> None:
        """Takes a model with its tokenizer.

        Args:
            model: of Transformers.
            processor: its tokenizer.
            stored: what the checkpoint's sentence-transformers files say of it.
            activation: the class that they name; None to look in the model's config.
        """
        super().__init__(model, checked_processor(processor, model))
        if not getattr(processor.tokenizer, "is_fast", False):
            raise CheckpointError(
                f"{self.name} needs a fast tokenizer, which tells the query's tokens from the text's, got "
                f"{type(processor.tokenizer).__name__}. Pass processor=, with one that has a tokenizer.json."
            )
        stored = stored or Stored()
        self.padded = _padding(processor, model)
        self.activation = _activation(model, activation)
        self.prompt = stored.prompts[stored.default_prompt_name] if stored.default_prompt_name else ""
        limits = [processor.max_length, most_positions(model), stored.settings.get("max_seq_length")]
        self.longest = min((limit for limit in limits if isinstance(limit, int)), default=None)
        self._lower = bool(stored.settings.get("do_lower_case"))
        self._takes = set(inspect.signature(model.forward).parameters)
        self._further: dict[str, Any] = {"use_cache": False} if "use_cache" in self._takes else {}

    @classmethod
    def fits(cls, checkpoint: Checkpoint) -> Fit:
        """Checkpoints saved with a head that gives a sequence one number."""
        return super().fits(checkpoint) if _labels(checkpoint.config) == 1 else None

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads a Transformers model with its tokenizer."""
        from transformers import AutoModelForSequenceClassification

        loaded_processor, stored = load_text_processor(processor, checkpoint), read_stored(checkpoint)
        if len(stored.modules) > 1:
            kinds = ", ".join(module.kind for module in stored.modules)
            raise CheckpointError(
                f"{checkpoint.name!r} lists the modules {kinds} in modules.json, expected a Transformer alone. Use a "
                "checkpoint whose model gives the score, or sentence-transformers itself."
            )
        loaded = load_transformers(AutoModelForSequenceClassification, checkpoint)
        return cls(loaded, loaded_processor, stored=stored, activation=_stored_activation(checkpoint))

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes a loaded Transformers model with its tokenizer."""
        if not hasattr(model, "config"):
            raise TaskMismatchError(f"{cls.name} takes a model of Transformers, got {type(model).__name__}")
        return cls(model, load_text_processor(processor, None))

    def check(self, options: TextRankingOptions) -> None:
        """Refuses lengths that the model cannot take, and a checkpoint's activation that is none of ours."""
        if None not in (options.max_length, self.longest) and options.max_length > self.longest:  # type: ignore[operator]
            raise OptionError(f"max_length is at most {self.longest} for this model, got {options.max_length}")
        if options.activation is None and self.activation not in ACTIVATIONS.values():
            raise OptionError(
                f"the checkpoint names the activation {self.activation!r}, which is not supported; expected "
                f'activation="sigmoid" or activation="identity"'
            )

    def expand(self, inputs: Any) -> list[Any] | None:
        """Several queries with their texts: a list of mappings, or one mapping with a list of queries."""
        if isinstance(inputs, Mapping) and set(self.inputs) <= inputs.keys():
            pairs = self.combine({name: inputs[name] for name in self.inputs})
            return pairs if isinstance(pairs, list) else None
        return list(inputs) if isinstance(inputs, (list, tuple)) else None

    def combine(self, named: Mapping[str, Any]) -> Any:
        """One query with its texts; a list of queries goes side by side with a list of what each has.

        Raises:
            OptionError: query or text is missing, or the lists are of different lengths.
        """
        missing = [name for name in self.inputs if name not in named]
        if missing:
            raise OptionError(f"{self.name} needs the inputs query, text; {', '.join(missing)} missing")
        queries, texts = named["query"], named["text"]
        if not isinstance(queries, (list, tuple)):
            return dict(named)
        if not isinstance(texts, (list, tuple)):
            return [{"query": query, "text": texts} for query in queries]
        if len(queries) != len(texts):
            raise OptionError(
                f"{self.name} takes lists of one length side by side, got the lengths {[len(queries), len(texts)]}; "
                "a query's texts are a list in the list"
            )
        return [{"query": query, "text": text} for query, text in zip(queries, texts, strict=True)]

    def split(self, raw: Any, options: TextRankingOptions) -> Iterator[Unit]:
        """A unit for each text with the query."""
        query, texts, single = _parts(raw)
        query = self.prompt + query
        limit = self.longest if options.max_length is None else options.max_length
        for i, text in enumerate(texts):
            where = "text" if single else f"text {i}"
            pair = encode_pair(
                self.processor,
                (query.lower(), text.lower()) if self._lower else (query, text),
                where=where,
                limit=limit,
                truncation=options.truncation,
            )
            yield Unit({name: tensor for name, tensor in pair.items() if name in self._takes}, meta=(text, single))

    def cost(self, unit: Unit) -> float:
        """A pair costs as many tokens as it has, padding included."""
        length = unit.inputs["input_ids"].shape[-1]
        return (self.padded["input_ids"].length(length) if self.padded else length) / USUAL

    def forward(self, batch: Batch, options: Any, call: Call) -> dict[str, Tensor]:
        """`{"logits": (B,)}` float32."""
        return call(self.compute, batch)  # type: ignore[no-any-return]

    def compute(self, inputs: Batch) -> dict[str, Tensor]:
        """From token ids to logits; this is what is compiled."""
        with unread_masks(inputs["input_ids"].device, full=not self.padded):
            return {"logits": self.model(**inputs, **self._further).logits[:, 0].float()}

    def decode(
        self, outputs: dict[str, Tensor], metas: Sequence[tuple[str, bool]], options: TextRankingOptions
    ) -> Sequence[tuple[float, str, bool]]:
        """A score with its text for each unit."""
        logits = outputs["logits"]
        sigmoid = (options.activation or self.activation) == "sigmoid"
        scores = (logits.sigmoid() if sigmoid else logits).tolist()
        return [(score, *meta) for score, meta in zip(scores, metas, strict=True)]

    def merge(self, parts: Sequence[tuple[float, str, bool]], options: TextRankingOptions, index: int) -> Ranking:
        """The texts, best first; equal scores keep the order in which they were given."""
        scores = np.array([score for score, _, _ in parts], np.float32)
        order = np.argsort(-scores, kind="stable")[: options.top_k]
        texts = [parts[i][1] for i in order.tolist()]
        return Ranking(order, scores[order], texts, single=parts[0][2], index=index)

    def example(self) -> dict[str, str]:
        """A query with a passage of some hundred words, or of as many as the model takes."""
        query, sentence = "Where does the river begin?", "The river begins in the hills. "
        counts = (count for count in (16, 8, 4, 2) if self._holds(query, sentence * count))
        return {"query": query, "text": sentence * next(counts, 1)}

    def _holds(self, query: str, text: str) -> bool:
        return self.longest is None or len(self.processor.encode(self.prompt + query, text)) <= self.longest


def _padding(processor: TextProcessor, model: Any) -> dict[str, Padding]:
    """What pads shorter pairs: the token by which a causal model finds the last one, whose state it scores.

    A model without such a token scores the last of the row, and Transformers refuses batches of it: it takes pairs of
    one length, with an id for padding that no token has.
    """
    config = model.config.get_text_config()
    if config.pad_token_id is None:
        config.pad_token_id = -1
    if config.pad_token_id < 0 or not takes_padding(model):
        return {}
    paddings = within(pair_padding(processor), most_positions(model))
    return {n: replace(p, value=config.pad_token_id) if n == "input_ids" else p for n, p in paddings.items()}


def _labels(config: Mapping[str, Any]) -> int:
    names = config.get("id2label")
    return len(names) if isinstance(names, Mapping) else int(config.get("num_labels") or 2)  # Transformers' own default


def _stored_activation(checkpoint: Checkpoint) -> str | None:
    """The activation that sentence-transformers' own file names, which goes before config.json's."""
    path = (checkpoint.root or checkpoint.folder) / "config_sentence_transformers.json"
    return read_json(path, of=checkpoint.name).get("activation_fn") if path.is_file() else None


def _activation(model: Any, stored: str | None) -> str:
    """The activation that the checkpoint names, in our words or, where it is none of ours, in its own."""
    config = model.config.to_dict()
    kept = config.get("sentence_transformers")
    named = (
        stored
        or (kept.get("activation_fn") if isinstance(kept, Mapping) else None)
        or config.get("sbert_ce_default_activation_function")
        or "torch.nn.Sigmoid"
    )
    module, _, name = str(named).rpartition(".")
    return ACTIVATIONS.get(name, str(named)) if module.startswith("torch.nn") else str(named)


def _parts(raw: Any) -> tuple[str, Sequence[str], bool]:
    """A raw input's query, its texts, and whether there is one that was not in a list."""
    if not isinstance(raw, Mapping):
        raise InputError(
            f'expected a mapping {{"query": …, "text": …}}, got {type(raw).__name__}', code="unsupported-type"
        )
    for name in ("query", "text"):
        if name not in raw:
            asked = name == "text"
            raise InputError(
                f"expected the keys query and text, got {', '.join(map(str, raw))}",
                code="no-text" if asked else "no-query",
            )
    query, text = raw["query"], raw["text"]
    single = not isinstance(text, (list, tuple))
    texts = [text] if single else text
    if not texts:
        raise InputError("expected one text or several for the query, got an empty list", code="no-text")
    names = ["text"] if single else [f"text {i}" for i in range(len(texts))]
    for name, part in zip(["query", *names], [query, *texts], strict=True):
        if not isinstance(part, str):
            raise InputError(f"the {name} is a text (str), got {type(part).__name__}", code="not-text")
        if not part.strip():
            raise InputError(f"the {name} is empty: expected a text that is not blank", code="empty-text")
    return query, texts, single
