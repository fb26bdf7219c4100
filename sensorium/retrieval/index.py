"""Index: passages or media with their vectors, searched by meaning, by words, or by both."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray

from sensorium.errors import OptionError
from sensorium.pipelines.placement import resolve_device
from sensorium.retrieval.building import EncodedPassages, OnError, check_run, encode_passages, paired
from sensorium.retrieval.dense.kinds import check_kind, choose_kind
from sensorium.retrieval.dense.vectors import unit_rows
from sensorium.retrieval.encoding.encoder import Encoder
from sensorium.retrieval.encoding.sides import Similarity
from sensorium.retrieval.index_encoder import opened
from sensorium.retrieval.refreshing import Changes, Refreshed, Refreshing
from sensorium.retrieval.rows import RowIntake, check_unique
from sensorium.retrieval.searched_index import SearchedIndex
from sensorium.retrieval.state import IndexState
from sensorium.retrieval.storage import Opened


class Index(SearchedIndex):
    """Passages (or pictures, or sounds) and their vectors; made by `build`, `from_vectors` or `load`.

    May be searched from several threads, also while passages are added or deleted.

    Attributes:
        kind: "exact", "hnsw", "ivfpq" or a factory string of faiss.
        dimension: of a vector.
        similarity: "dot" for inner products, "cosine" for those of unit vectors.
        splitting: how its documents were cut, as `Splitting.to_dict()` gives it, where that was noted; saved with it.
    """

    @classmethod
    def build(
        cls,
        passages: Iterable[Any],
        encoder: str | os.PathLike[str] | Encoder,
        *,
        kind: str = "auto",
        lexical: bool = False,
        deletes: bool = False,
        on_error: OnError = "raise",
        resume: str | os.PathLike[str] | None = None,
        device: str | int | torch.device | None = None,
        progress: bool = False,
        workers: int | Literal["auto"] | None = None,
        **run: Any,
    ) -> Self:
        """Encodes passages and makes them searchable.

        Args:
            passages: `Passage`s, texts, pairs `(title, text)`, or mappings with "text"; for an encoder of media
                whatever a pipeline takes of that kind, or mappings with "image" or "audio", and metadata.
            encoder: a name or folder of what `Encoder.from_pretrained` takes, or an `Encoder`.
            kind: "exact", "hnsw", "ivfpq", any factory string of faiss, or "auto": by size, memory and `deletes`.
            lexical: whether to index the words, too, for `mode="lexical"` and `"hybrid"`.
            deletes: whether passages will be deleted or replaced often, which graphs (HNSW) are bad at.
            on_error: "raise" ends the build at the first passage that cannot be encoded; "skip" leaves them out and
                warns of their number at the end; a function is called with each error instead, which has its `index`.
            resume: a folder that keeps what was encoded, so that a build that was interrupted goes on where it
                stopped, and gives the same index. It is not removed.
            device: where an exact search and the encoder run; None for the best there is.
            progress: shows a progress bar on standard error.
            workers: processes that encode, as a job in the folder that `resume` names, or one that passes; "auto" is
                one for each CUDA device, or one. None encodes in this process.
            **run: further arguments of `Job.run`, such as `timeout_s`, with which a job is made, too.

        Raises:
            InputError: a passage that cannot be encoded (with its `index`), ids that come twice, or no passages.
            OptionError: an argument with an invalid value.
            UnknownNameError: an argument that `Job.run` does not have.
            JobError: as `Job.run` raises it.
        """
        job = None if workers is None and not run else {**run, **({} if workers is None else {"workers": workers})}
        check_run(job or {})
        target = resolve_device(device)
        loaded = opened(encoder, device)
        check_kind(kind, loaded.dimension)
        _check_words(lexical, loaded)
        encoded = encode_passages(
            passages, loaded, RowIntake(loaded.modality), on_error=on_error, resume=resume, progress=progress, run=job
        )
        kind = choose_kind(kind, *encoded.vectors.shape, deletes=deletes, device=target)
        return cls._of(encoded, kind, loaded.similarity, lexical=lexical, encoder=loaded, device=target)

    @classmethod
    def from_vectors(
        cls,
        vectors: Any,
        *,
        passages: Iterable[Any] | None = None,
        kind: str = "auto",
        similarity: Similarity = "dot",
        lexical: bool = False,
        deletes: bool = False,
        encoder: str | os.PathLike[str] | Encoder | None = None,
        device: str | int | torch.device | None = None,
    ) -> Self:
        """Makes existing vectors searchable.

        Args:
            vectors: `(N, D)`, an array or tensor of numbers; float32, also memory-mapped, is not copied.
            passages: N passages as `build` takes them; None for rows that have only numbers.
            kind: as in `build`.
            similarity: "cosine" divides vectors and queries by their norms.
            lexical: as in `build`.
            deletes: as in `build`.
            encoder: what encodes queries that are not vectors; None where all queries are vectors.
            device: as in `build`.

        Raises:
            InputError: vectors of another shape, or with values that are not finite; ids that come twice.
            OptionError: an argument with an invalid value.
        """
        target = resolve_device(device)
        if similarity not in ("dot", "cosine"):
            raise OptionError(f'similarity is "dot" or "cosine", got {similarity!r}')
        loaded = None if encoder is None else opened(encoder, device)
        _check_words(lexical, loaded)
        intake = RowIntake("text" if loaded is None else loaded.modality)
        encoded = paired(passages, vectors, None if loaded is None else loaded.dimension, intake)
        check_kind(kind, encoded.vectors.shape[1])
        if similarity == "cosine":
            encoded = replace(encoded, vectors=unit_rows(encoded.vectors))
        kind = choose_kind(kind, *encoded.vectors.shape, deletes=deletes, device=target)
        return cls._of(encoded, kind, similarity, lexical=lexical, encoder=loaded, device=target)

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        *,
        encoder: str | os.PathLike[str] | Encoder | None = None,
        verify: bool = True,
        device: str | int | torch.device | None = None,
    ) -> Self:
        """Opens what `save` wrote; vectors and passages stay on disk until they are looked at.

        Args:
            folder: the index's.
            encoder: instead of finding the encoder that it was built with by its name.
            verify: whether to compare the files with their digests, which reads them once.
            device: as in `build`.

        Raises:
            IndexFileError: there is no index, or it is not as it was written.
            OptionError: a different encoder from the one that the index was built with.
        """
        target = resolve_device(device)
        facts, state = IndexState.read(Path(folder), verify=verify, device=target)
        index = cls(
            state,
            kind=facts["kind"],
            dimension=facts["dimension"],
            similarity=facts["similarity"],
            next_id=facts["next_id"],
            encoder=facts["encoder"],
            device=target,
        )
        index._opened = Opened(Path(folder).absolute(), facts["digest"])
        index.splitting = facts.get("splitting")
        if encoder is not None:
            index._encoder.replace(opened(encoder, device))
        return index

    @classmethod
    def _of(
        cls,
        encoded: EncodedPassages,
        kind: str,
        similarity: Similarity,
        *,
        lexical: bool,
        encoder: Encoder | None,
        device: torch.device,
    ) -> Self:
        state = IndexState.of(encoded, kind, words=lexical, device=device)
        ids, width = state.table.ids, encoded.vectors.shape[1]
        following = 0 if ids.dtype.kind == "U" else int(ids.max()) + 1
        index = cls(
            state, kind=kind, dimension=width, similarity=similarity, next_id=following, encoder=encoder, device=device
        )
        index._process.use()  # by building it
        return index

    def add(
        self,
        passages: Iterable[Any] | None = None,
        *,
        vectors: Any = None,
        on_error: OnError = "raise",
        resume: str | os.PathLike[str] | None = None,
        progress: bool = False,
    ) -> NDArray[Any]:
        """Adds passages, or vectors, or passages with their vectors; many at once cost far less than one by one.

        Args:
            passages: as `build` takes them; None for vectors alone.
            vectors: `(M, D)`; None to have the passages encoded.
            on_error: as in `build`; for passages that are to be encoded.
            resume: as in `build`; for passages that are to be encoded.
            progress: shows a progress bar on standard error.

        Returns:
            `(M,)`, their ids.

        Raises:
            InputError: as `build` and `from_vectors`; nothing is added then.
            OptionError: an argument with an invalid value, or without meaning for vectors.
        """
        self._process.use()
        if vectors is None:
            if passages is None:
                raise OptionError("add needs passages, vectors=…, or both")
            encoded = encode_passages(
                passages, self.encoder, self._intake(), on_error=on_error, resume=resume, progress=progress
            )
        else:
            if on_error != "raise" or resume is not None:
                raise OptionError("on_error= and resume= are for passages that are to be encoded, not for vectors=")
            encoded = paired(passages, vectors, self.dimension, self._intake())
            if self.similarity == "cosine":
                encoded = replace(encoded, vectors=unit_rows(encoded.vectors))
        with self._lock:
            state = self._state
            known_ids = state.table.ids
            added = encoded.table.numbered(first=self._next_id)
            check_unique(added.ids, existing=known_ids[state.alive])
            self._state = state.grown(added, encoded.vectors, self._device)
            if known_ids.dtype.kind != "U":
                self._next_id = max(self._next_id, int(added.ids.max()) + 1)
        return added.ids

    def refresh(
        self,
        passages: Iterable[Any],
        *,
        where: Any = None,
        on_error: OnError = "raise",
        resume: str | os.PathLike[str] | None = None,
        progress: bool = False,
    ) -> Refreshed:
        """Makes the passages of the index those that are given, and encodes only those that are new.

        Passages are compared by what they say. Those that are as they were stay; those that stand elsewhere now, or
        have other metadata, keep id and vector; those that are no longer given are deleted.

        Args:
            passages: as `build` takes them, of texts; none, to delete all.
            where: which passages of the index they stand for, as in `search`; None for all. Others stay as they are.
            on_error: as in `build`.
            resume: as in `build`.
            progress: shows a progress bar on standard error.

        Raises:
            InputError: as `add`; the index stays as it was then.
            OptionError: an argument with an invalid value, or an index of media, whose content cannot be compared.
        """
        self._process.use()
        if self._encoder.modality != "text":
            raise OptionError("refresh compares texts; delete pictures and sounds, and add them again")
        refreshing = Refreshing(list(passages), self.encoder, on_error=on_error, resume=resume, progress=progress)
        state = self._state
        changes = self._compared(refreshing, state, where)  # encodes what is new, while others may go on
        with self._lock:
            if self._state is not state:
                state = self._state
                changes = self._compared(refreshing, state, where)
            self._state = changes.made(state, refreshing.types, next_id=self._next_id, device=self._device)
            ids = self._state.table.ids
            if ids.dtype.kind != "U" and changes.rows:
                self._next_id = max(self._next_id, int(ids.max()) + 1)
        return changes.counts

    def delete(self, ids: Sequence[Any] | NDArray[Any]) -> int:
        """Deletes the passages with these ids; an exact index frees their space when it is saved.

        Returns:
            How many were deleted.

        Raises:
            OptionError: an id that no passage has; nothing is deleted then.
        """
        self._process.use()
        with self._lock:
            state = self._state
            alive = state.alive.copy()
            rows = state.rows_of(ids)
            alive[rows] = False
            self._state = replace(state, alive=alive)
        return len(np.unique(rows))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the index; if it is interrupted, the folder still holds what it held before.

        Args:
            folder: a new one, or that of an index, which is replaced.

        Raises:
            IndexFileError: the folder holds something else; or this index was opened from it and somebody has changed
                it since.
            OSError: it could not be written to disk.
        """
        self._process.use()
        with self._lock:
            state = self._state.compacted(self._device)
            facts = {
                "kind": self.kind,
                "dimension": self.dimension,
                "similarity": self.similarity,
                "next_id": self._next_id,
                "encoder": self._encoder.facts(),
                "splitting": self.splitting,
            }
            self._opened = state.write(Path(folder), facts, opened=self._opened)
            self._state = state

    def _compared(self, refreshing: Refreshing, state: IndexState, where: Any) -> Changes:
        scope = state.alive if where is None else state.alive & state.table.where(where)
        return refreshing.changes(state, scope, self._intake(state, state.alive & ~scope))

    def _intake(self, state: IndexState | None = None, alive: NDArray[np.bool_] | None = None) -> RowIntake:
        """Checks passages against those that there are, before they are encoded.

        Args:
            state: of the index; None for the present one.
            alive: `(N,)` bool, the passages whose ids are taken; None for all that are not deleted.
        """
        now = self._state if state is None else state
        living = now.alive if alive is None else alive

        def taken(passage_id: Any) -> bool:
            _, rows = now.table.find(np.array([passage_id]))
            return bool(living[rows].any())

        texts = now.table.ids.dtype.kind == "U"
        return RowIntake(self._encoder.modality, texts=texts, taken=taken, stored=now.table.table)


def _check_words(lexical: bool, encoder: Encoder | None) -> None:
    if lexical and encoder is not None and encoder.modality != "text":
        raise OptionError(f"lexical=True is for texts; {encoder.name!r} is of {encoder.modality}")
