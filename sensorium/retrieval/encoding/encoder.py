"""Encoder: passages and queries to vectors, by the model or the two models that were trained for it."""

from __future__ import annotations

import hashlib
import os
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from functools import cached_property
from itertools import islice
from typing import Any, Literal, Self, overload

import numpy as np
import torch
from numpy.typing import NDArray

from sensorium.checkpoints import Checkpoint, resolve
from sensorium.checkpoints.opening import opening
from sensorium.errors import CheckpointError, InputError, OptionError
from sensorium.pipelines.placement import resolve_device, resolve_dtype
from sensorium.pipelines.remaking import OneProcess
from sensorium.pipelines.settings import Settings
from sensorium.processors.limits import MediaLimits
from sensorium.processors.several import refuse_one
from sensorium.retrieval.encoding.families import refuse_question_encoder
from sensorium.retrieval.encoding.sides import (
    Encoded,
    Loaded,
    Pool,
    Side,
    Similarity,
    files_of,
    load_sides,
    query_checkpoint,
)
from sensorium.retrieval.rows import CHUNK, Modality


class Encoder:
    """Passages and queries to vectors that are compared by their inner product.

    A model of sentence-transformers, E5, BGE and their like encodes both, with the prompts that it was trained with; of
    DPR's two models each encodes its own. CLIP and SigLIP put texts and pictures into one space, CLAP texts and sounds.

    It is deterministic: the same passages give the same bytes again on the same machine with the same settings, batch
    by batch, since batches are made of tokens and never of time. `compile="auto"` is the exception. May be used from
    several threads.

    Attributes:
        name: of the model of passages, as it was given.
        dimension: of the vectors.
        modality: what passages are: "text", "image" or "audio".
        similarity: what vectors are to be compared with; those of "cosine" have unit length.
        query_task: encodes one query, on the device; its result is an `Embedding`.
        query_options: what `query_task` is to be called with.
        device: where the models lie.
        settings: how they were loaded.
    """

    def __init__(self, loaded: Loaded) -> None:
        passages, queries = self._passages, self._queries = loaded.passages, loaded.queries
        self.name = passages.checkpoint.name
        self.similarity: Similarity = loaded.similarity
        self.modality: Modality = loaded.modality
        self.query_task, self.query_options = loaded.query_task, queries.options
        self.device, self.settings = passages.engine.runtime.device, loaded.settings
        self._told: set[str] = set()
        self._lock, self._process = threading.Lock(), OneProcess("encoder")
        widths = {side.width() for side in (passages, queries)}
        if len(widths) > 1:
            raise CheckpointError(
                f"{passages.checkpoint.name!r} and {queries.checkpoint.name!r} give vectors of different dimensions, "
                f"{sorted(widths)}: they were not trained together. Name the right one with query_model=."
            )
        (self.dimension,) = widths
        self._process.use()  # by measuring them

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike[str],
        *,
        query_model: str | os.PathLike[str] | None = None,
        query_prompt: str | None = None,
        passage_prompt: str | None = None,
        pool: Pool = "own",
        similarity: Similarity | None = None,
        device: str | int | torch.device | None = None,
        dtype: str | torch.dtype = "auto",
        compile: bool | Literal["auto", "max-autotune", "cudagraphs"] = False,
        batch_size: int | Literal["auto"] = "auto",
        num_workers: int | Literal["auto"] = "auto",
        limits: MediaLimits | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | None = None,
        local_files_only: bool = False,
        use_safetensors: bool = True,
        trust_remote_code: bool = False,
        attn_implementation: str | None = None,
        progress: bool = False,
    ) -> Self:
        """Loads an encoder.

        Args:
            model: a Hub id, a local folder or `starter/…`; of DPR the context encoder.
            query_model: what encodes queries, if that is another model; of DPR it is found by its name.
            query_prompt: what goes before each query; None for the one that the checkpoint, or else its family, was
                trained with.
            passage_prompt: the same for passages.
            pool: how a model without a pooling of its own makes one vector of its tokens'.
            similarity: "dot" or "cosine"; None for what the checkpoint says, or else "cosine", and "dot" for DPR.
            device: as in `pipeline()`.
            dtype: as in `pipeline()`.
            compile: as in `pipeline()`; "auto" decides by time, so that bytes may differ from run to run.
            batch_size: passages per batch; "auto" packs as many tokens as suit the device, so more short passages than
                long ones.
            num_workers: threads that prepare passages, or "auto" for one per core.
            limits: what a medium may cost.
            revision: of `model`, on the Hub.
            token: as in `pipeline()`.
            cache_dir: as in `pipeline()`.
            local_files_only: makes no request to the Hub.
            use_safetensors: False also allows pickled weights of the model, read with torch's safe unpickler.
            trust_remote_code: True lets the checkpoint's own Python code run.
            attn_implementation: passed to Transformers.
            progress: as in `pipeline()`.

        Raises:
            CheckpointError: it cannot be used as an encoder, or its other half cannot be found.
            OptionError: an argument with an invalid value.
        """
        given = dict(locals())  # before anything else is named here
        settings = Settings.of(**{name: given[name] for name in Settings.names() if name in given})
        target = resolve_device(device)
        access = settings.access_for(target, resolve_dtype(dtype, target))
        checkpoint = resolve(model, access)
        refuse_question_encoder(checkpoint)
        other = query_checkpoint(checkpoint, query_model, access)
        prompts = (query_prompt, passage_prompt)
        with opening(checkpoint.name, checkpoint.folder):
            return cls(load_sides(checkpoint, other, settings, prompts=prompts, pool=pool, similarity=similarity))

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], **access: Any) -> Self:
        """Loads the encoder that `spec()` described.

        Args:
            spec: what `spec()` gave.
            **access: arguments of `from_pretrained` that say how to find and where to run it.

        Raises:
            CheckpointError: the checkpoint no longer exists, or the spec is of another version.
        """
        if spec.get("version") != 1:
            raise CheckpointError(f"expected an encoder's spec of version 1, got {spec!r:.200}. Update Sensorium.")
        names = {name: spec[name] for name in ("query_prompt", "passage_prompt", "pool", "similarity")}
        return cls.from_pretrained(spec["model"], query_model=spec["query_model"], **names, **access)

    def spec(self) -> dict[str, Any]:
        """What `from_spec` needs: names with revisions (folders by their absolute path), prompts, pooling; for JSON."""
        options: Any = self._passages.options
        one_model = self._passages.checkpoint is self._queries.checkpoint
        return {
            "version": 1,
            "model": _full_name(self._passages.checkpoint),
            "query_model": None if one_model else _full_name(self._queries.checkpoint),
            "query_prompt": self._queries.prompt,
            "passage_prompt": self._passages.prompt,
            "pool": options.pool,
            "similarity": self.similarity,
        }

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of weights, tokenizers, pooling, prompts and similarity, in hex; the same wherever the files lie."""
        digest = hashlib.sha256()
        for side in dict.fromkeys([self._passages.checkpoint, self._queries.checkpoint]):
            for name, path in sorted(files_of(side).items()):
                with path.open("rb") as file:
                    digest.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        facts = {name: value for name, value in self.spec().items() if "model" not in name}
        digest.update(repr(sorted(facts.items())).encode())
        return digest.hexdigest()

    @overload
    def encode(
        self, passages: Iterable[Any], *, progress: bool = ..., on_error: Literal["raise"] = ...
    ) -> NDArray[np.float32]: ...
    @overload
    def encode(
        self, passages: Iterable[Any], *, progress: bool = ..., on_error: Literal["return"]
    ) -> tuple[NDArray[np.float32], list[InputError]]: ...
    def encode(
        self, passages: Iterable[Any], *, progress: bool = False, on_error: Literal["raise", "return"] = "raise"
    ) -> Any:
        """Vectors of passages.

        Args:
            passages: texts or pairs `(title, text)`; for an encoder of media what a pipeline takes of that kind, or
                `{"image": …}`, `{"audio": …}` or `{"text": …}`. DPR reads a pair as two segments; other models read
                the title, a line break and the text. What is too long is cut, with one warning.
            progress: shows a progress bar on standard error.
            on_error: "raise" ends the call at the first passage that cannot be encoded; "return" gives it a row of NaN.

        Returns:
            `(N, D)` float32, in the order of the passages; under "return" also the list of the `InputError`s, each with
            its `index`.

        Raises:
            InputError: the first passage that cannot be encoded, under "raise".
            ClosedError: this process was forked from one that had the encoder already.
        """
        return self._encode(self._passages, passages, "passages", progress, on_error)

    @overload
    def encode_queries(
        self, queries: Iterable[Any], *, progress: bool = ..., on_error: Literal["raise"] = ...
    ) -> NDArray[np.float32]: ...
    @overload
    def encode_queries(
        self, queries: Iterable[Any], *, progress: bool = ..., on_error: Literal["return"]
    ) -> tuple[NDArray[np.float32], list[InputError]]: ...
    def encode_queries(
        self, queries: Iterable[Any], *, progress: bool = False, on_error: Literal["raise", "return"] = "raise"
    ) -> Any:
        """Vectors of queries, `(Q, D)` float32; as `encode`, with the queries' model and prompt."""
        return self._encode(self._queries, queries, "queries", progress, on_error)

    def encode_batches(self, passages: Sequence[Any]) -> Iterator[list[Encoded]]:
        """Encodes passages, `CHUNK` of them at most, and gives each batch as soon as it is done.

        Args:
            passages: as `encode` takes them.

        Yields:
            For each passage of a batch its place among them, its `(D,)` float32 vector or the InputError that it failed
            with, and whether its end was cut off. The longest come first.
        """
        self._process.use()
        yield from self._passages.run(passages)

    def encode_in_order(self, passages: Iterable[Any], *, total: int) -> Iterator[Any]:
        """Encodes passages in the order in which they come, which decides the batches.

        Args:
            passages: as `encode` takes them; `encode_batches` puts the longest first.
            total: how many there are.

        Yields:
            For each its `(D,)` float32 vector and whether its end was cut off, or the InputError that it failed with.
        """
        self._process.use()
        return (outcome for _, outcome, _ in self._passages.in_order(passages, total=total))

    @property
    def checkpoint(self) -> Checkpoint:
        """Where the model of passages came from."""
        return self._passages.checkpoint

    @property
    def limit(self) -> int | None:
        """How many tokens it reads of a passage, those that it adds included; None for any number."""
        return self._passages.limit

    def count_tokens(self, passages: Sequence[Any]) -> list[int]:
        """How many tokens passages have, with their titles, prompt and the model's own, before any is cut off.

        Args:
            passages: texts, or pairs `(title, text)`.

        Raises:
            OptionError: the encoder's passages are no texts.
            InputError: one that cannot be encoded.
        """
        if self.modality != "text":
            raise OptionError(f"tokens are those of texts, and {self.name!r} encodes {self.modality}")
        self._process.use()
        task = self._passages.engine.task
        metas = ([unit.meta for unit in task.split(passage, self._passages.options)] for passage in passages)
        return [sum(meta.tokens + meta.left_out for meta in units) for units in metas]

    def warn_of_cut(self, cut: int, done: int) -> None:
        """Warns that some passages were longer than the model was made for.

        Args:
            cut: how many.
            done: of how many.
        """
        if cut:
            self._warn(self._passages, "passages", cut, done)

    def close(self) -> None:
        """Ends the threads; a later call starts new ones."""
        for side in (self._passages, self._queries):
            side.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"Encoder({self.name!r}, dimension={self.dimension}, modality={self.modality!r}, "
            f"similarity={self.similarity!r}, device={str(self.device)!r})"
        )

    def _encode(self, side: Side, items: Iterable[Any], noun: str, progress: bool, on_error: str) -> Any:
        if on_error not in ("raise", "return"):
            raise OptionError(f'on_error is "raise" or "return", got {on_error!r}')
        refuse_one(items, noun)
        self._process.use()
        vectors: list[NDArray[np.float32]] = []
        errors: list[InputError] = []
        done = cut = 0
        with _bar(items, noun, progress) as bar:
            iterator = iter(items)
            while chunk := list(islice(iterator, CHUNK)):
                rows, failed = np.full((len(chunk), self.dimension), np.nan, np.float32), []
                for batch in side.run(chunk):
                    for place, outcome, was_cut in batch:
                        if isinstance(outcome, InputError):
                            outcome.index = done + place
                            failed.append(outcome)
                        else:
                            rows[place] = outcome
                            cut += was_cut
                    bar.update(len(batch))
                failed.sort(key=lambda error: error.index or 0)
                if failed and on_error == "raise":
                    raise failed[0]
                vectors.append(rows)
                errors += failed
                done += len(chunk)
        if cut:
            with self._lock:
                new = noun not in self._told
                self._told.add(noun)
            if new:
                self._warn(side, noun, cut, done)
        joined = np.concatenate(vectors) if vectors else np.empty((0, self.dimension), np.float32)
        return joined if on_error == "raise" else (joined, errors)

    def _warn(self, side: Side, noun: str, cut: int, done: int) -> None:
        warnings.warn(
            f"{cut:,} of {done:,} {noun} are longer than the {side.limit} tokens that {side.checkpoint.name!r} was "
            f"made for: their ends were left out. Split {noun} into smaller ones so that all of the text counts.",
            UserWarning,
            stacklevel=5,
        )


def _bar(items: Iterable[Any], noun: str, progress: bool) -> Any:
    from tqdm.auto import tqdm

    total = len(items) if isinstance(items, Sized) else None
    return tqdm(total=total, desc=f"encoding {noun}", unit="", disable=not progress)


def _full_name(checkpoint: Checkpoint) -> str:
    if checkpoint.repo_id is not None:
        return f"{checkpoint.repo_id}@{checkpoint.revision}" if checkpoint.revision else checkpoint.repo_id
    if checkpoint.name.startswith("starter/"):
        return checkpoint.name
    return str((checkpoint.root or checkpoint.folder).absolute())
