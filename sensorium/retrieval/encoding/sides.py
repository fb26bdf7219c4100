"""Loading encoders: which task encodes passages and which queries, with their options, on an engine each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from sensorium.checkpoints import Checkpoint, LoadOptions, resolve
from sensorium.checkpoints.sentence_transformers import module_file, read_stored
from sensorium.errors import CheckpointError, InputError, OptionError, TaskMismatchError
from sensorium.pipelines.engine import Engine
from sensorium.pipelines.placement import resolve_device
from sensorium.pipelines.settings import Settings
from sensorium.processors.limits import MediaLimits
from sensorium.processors.text import VOCABULARIES
from sensorium.retrieval.encoding.families import prompts_of, question_encoder_of
from sensorium.retrieval.encoding.passage_embedding import PassageEmbedding
from sensorium.retrieval.encoding.shared_space import SharedPassages, SharedSpace
from sensorium.retrieval.encoding.worded_texts import WordedTexts
from sensorium.retrieval.rows import Modality
from sensorium.tasks.base import Task
from sensorium.tasks.embedding.text_models import DPR, fit_of
from sensorium.tasks.feature_extraction import FeatureExtractionOptions

Similarity = Literal["dot", "cosine"]
Pool = Literal["own", "cls", "mean", "max"]

Encoded = tuple[int, Any, bool]
"""An item's place, its `(D,)` float32 vector or the InputError that it failed with, and whether its end was cut off."""


@dataclass(frozen=True)
class Side:
    """What encodes passages, or queries.

    Attributes:
        checkpoint: where the model came from.
        engine: with a task whose results are `(vector, tokens left out, whether a batch ends with it)`.
        options: of that task.
        prompt: what goes before each text.
        limit: how many tokens a text has at most; None for any number.
    """

    checkpoint: Checkpoint
    engine: Engine
    options: Any
    prompt: str
    limit: int | None

    def width(self) -> int:
        """The dimension of the vectors."""
        ((_, (vector, _, _)),) = self.engine.run(["a"], self.options, total=1)
        return len(vector)

    def run(self, items: Sequence[Any]) -> Iterator[list[Encoded]]:
        """Encodes a chunk, long texts first, so that batches hold texts of like lengths.

        Yields:
            What became of the items of a batch, and of those before it that have failed.
        """
        order = long_first(items)
        batch: list[Encoded] = []
        for at, outcome, ends in self.in_order((items[i] for i in order), total=len(items)):
            if isinstance(outcome, InputError):
                outcome.index = order[at]
                batch.append((order[at], outcome, False))
                continue
            vector, cut = outcome
            batch.append((order[at], vector, cut))
            if ends:
                yield batch
                batch = []
        if batch:
            yield batch

    def in_order(self, items: Iterable[Any], *, total: int) -> Iterator[tuple[int, Any, bool]]:
        """Encodes items in the order in which they come.

        Yields:
            The place of each, its vector and whether its end was cut off, or its InputError, and whether a batch ends
            with it.
        """
        for at, outcome in self.engine.run(items, self.options, total=total):
            if isinstance(outcome, InputError):
                yield at, outcome, False
            else:
                vector, left_out, ends = outcome
                yield at, (vector, left_out > 0), ends


@dataclass(frozen=True)
class Loaded:
    """What an encoder is made of."""

    passages: Side
    queries: Side
    query_task: Task
    modality: Modality
    similarity: Similarity
    settings: Settings


def load_sides(
    checkpoint: Checkpoint,
    other: Checkpoint | None,
    settings: Settings,
    *,
    prompts: tuple[str | None, str | None],
    pool: Pool,
    similarity: Similarity | None,
) -> Loaded:
    """Loads the models of an encoder.

    Args:
        checkpoint: of what encodes passages.
        other: of what encodes queries; None for the same.
        settings: how they run.
        prompts: of queries and of passages; None for what is known.
        pool: how tokens' vectors become one.
        similarity: None for what is known.

    Raises:
        CheckpointError: one of them cannot be used so.
        OptionError: an unknown similarity.
    """
    if SharedSpace.fits(checkpoint) is not None:
        if other is not None or pool != "own":
            raise OptionError(f"{checkpoint.name!r} encodes both sides in its own way; leave query_model and pool out")
        return _load_shared(checkpoint, settings, prompts, similarity)
    passages = _load(checkpoint, pool)
    queries = passages if other is None else _load(other, pool)
    trained_with = prompts_of(checkpoint, passages.model.stored)
    of_queries, of_passages = (trained_with[i] if prompt is None else prompt for i, prompt in enumerate(prompts))
    similarity = _known(similarity or _similarity(checkpoint, passages.model.stored.similarity))
    options = FeatureExtractionOptions(pool=pool, normalize=True if similarity == "cosine" else None, truncation=True)
    engine = _engine(passages, settings)
    reading = Side(checkpoint, engine, replace(options, prompt=of_passages), of_passages, passages.limit_of(options))
    asking = replace(reading, options=replace(options, prompt=of_queries), prompt=of_queries)
    if other is not None:
        limit = queries.limit_of(options)
        asking = replace(asking, checkpoint=other, engine=_engine(queries, settings), limit=limit)
    query_task = WordedTexts(queries.model, queries.processor)
    return Loaded(reading, asking, query_task, "text", similarity, settings)


def query_checkpoint(
    checkpoint: Checkpoint, query_model: str | os.PathLike[str] | None, access: LoadOptions
) -> Checkpoint | None:
    """The checkpoint of what encodes queries, if that is another one: the one given, or DPR's by its name.

    Raises:
        CheckpointError: DPR's cannot be found, or another one was given.
    """
    is_dpr = "DPRContextEncoder" in checkpoint.architectures
    if query_model is None and not is_dpr:
        return None
    other = resolve(
        question_encoder_of(checkpoint) if query_model is None else query_model, replace(access, revision=None)
    )
    if is_dpr and "DPRQuestionEncoder" not in other.architectures:
        raise CheckpointError(
            f"{checkpoint.name!r} encodes DPR's passages, and its queries need a DPRQuestionEncoder, got "
            f"{other.name!r} ({', '.join(other.architectures) or other.model_type}). Name the one trained with it."
        )
    return other


def files_of(checkpoint: Checkpoint) -> dict[str, Path]:
    """The files that decide what vectors are, by name."""
    names = {"config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", *VOCABULARIES,
             "preprocessor_config.json", "processor_config.json", "sentence_bert_config.json"}  # fmt: skip
    files = {path.name: path for path in checkpoint.folder.iterdir() if path.name in names}
    files |= {path.name: path for path in checkpoint.weights()}
    for module in read_stored(checkpoint).modules[1:]:
        for name in ("config.json", "model.safetensors"):
            path = module_file(checkpoint, module, name)
            if path is not None:
                files[f"{module.path}/{name}"] = path
    return files


def _load(checkpoint: Checkpoint, pool: str) -> PassageEmbedding:
    if fit_of(checkpoint) is None:
        raise TaskMismatchError(
            f"{checkpoint.name!r} ({', '.join(checkpoint.architectures) or checkpoint.model_type}) makes no vectors "
            "of texts; expected a model of text, or of text with pictures or sounds."
        )
    task = PassageEmbedding.load(checkpoint)
    if pool == "own" and not task.model.has_own:
        raise CheckpointError(
            f"{checkpoint.name!r} does not say how its tokens' vectors become one: it has no pooling of its own, as "
            'sentence-transformers\' folders and DPR\'s encoders have. Pass pool=, "mean" or "cls", as it was trained.'
        )
    return task


def _load_shared(
    checkpoint: Checkpoint,
    settings: Settings,
    prompts: tuple[str | None, str | None],
    similarity: Similarity | None,
) -> Loaded:
    """A model of texts with pictures or sounds; one task takes both, of queries and of passages."""
    task = SharedPassages.load(checkpoint)
    kind = task.medium.kind
    options = FeatureExtractionOptions(pool="own", truncation=True, prompt=prompts[1] or "")
    limit = task.texts.limit_of(options)
    reading = Side(checkpoint, _engine(task, settings), options, options.prompt or "", limit)
    asking = replace(reading, options=replace(options, prompt=prompts[0] or ""), prompt=prompts[0] or "")
    query_task = SharedSpace(task.model, task.processor, task.medium)
    query_task.limits = task.limits
    return Loaded(reading, asking, query_task, kind, _known(similarity or "cosine"), settings)


def _engine(task: Task, settings: Settings) -> Engine:
    """An engine for a loaded task, whose batches depend on nothing but its inputs."""
    task.runtime.place(resolve_device(settings.device), task.dtype)
    task.limits = settings.limits or MediaLimits()
    return Engine(task, replace(settings, steady=True))


def _known(similarity: Any) -> Similarity:
    if similarity not in ("dot", "cosine"):
        raise OptionError(f'similarity is "dot" or "cosine", got {similarity!r}')
    return "dot" if similarity == "dot" else "cosine"


def _similarity(checkpoint: Checkpoint, stated: str | None) -> Similarity:
    if stated in ("dot", "cosine"):
        return "dot" if stated == "dot" else "cosine"
    if stated is not None:
        raise CheckpointError(
            f"{checkpoint.name!r} is compared by {stated!r}, which is neither dot nor cosine. Pass "
            "similarity=, if one of them will do."
        )
    return "dot" if DPR.keys() & set(checkpoint.architectures) else "cosine"


def long_first(items: Sequence[Any]) -> list[int]:
    """The places of items in the order in which they are encoded."""
    return sorted(range(len(items)), key=lambda i: -_size(items[i]))


def _size(item: Any) -> int:
    """About how long a text is; media are all of one size."""
    if isinstance(item, str):
        return len(item)
    return sum(len(part) for part in item if isinstance(part, str)) if isinstance(item, tuple) else 0
