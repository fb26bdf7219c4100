"""Second thoughts on a search: a cross-encoder reads each query with its passages."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import InputError, OptionError, UnknownNameError
from sensorium.pipelines.factory import pipeline
from sensorium.pipelines.pipeline import Pipeline
from sensorium.tasks.text_ranking import TextRanking


class Reranker:
    """Orders passages by how well they answer a query, by a model of the task text-ranking.

    It reads query and passage together: slower than a search, and more accurate, so it is for the few dozen best
    passages of one (Nogueira and Cho, "Passage Re-ranking with BERT", 2019). Pairs of all queries of a call share
    batches. As a context manager it ends its threads on leaving.

    Attributes:
        pipeline: what it runs.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        """Takes an existing pipeline.

        Raises:
            OptionError: it is of another task.
        """
        if not isinstance(pipeline.task, TextRanking):
            raise OptionError(f"expected a pipeline of text-ranking, got one of {pipeline.task.name}")
        self.pipeline = pipeline

    @classmethod
    def from_pretrained(cls, model: str | os.PathLike[str] | None = None, **settings: Any) -> Self:
        """Loads a cross-encoder.

        Args:
            model: a Hub id, a local folder, or a loaded module; None for the task's default.
            **settings: the further arguments of `pipeline()`: `device`, `dtype`, `revision`, …

        Raises:
            UnknownNameError: `pipeline()` has no such argument; names the nearest one.
            CheckpointError, OptionError: as `pipeline()` raises them.
        """
        names = [name for name in inspect.signature(pipeline).parameters if name not in ("task", "model")]
        for name in settings:
            if name not in names:
                raise UnknownNameError("argument", name, names)
        return cls(pipeline(TextRanking.name, model, **settings))

    def rerank(
        self, queries: Sequence[str], passages: Sequence[Sequence[str]], *, top_k: int | None = None
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Orders the passages of each of Q queries.

        Args:
            queries: any texts that are not blank.
            passages: those of each query, as many as there are; passages longer than the model takes are cut.
            top_k: how many of a query's to give; None for all.

        Returns:
            For each query `(K,)` int64 positions among its passages, best first (equal ones in their order), and
            `(K,)` float32 scores. Empty for a query without passages.

        Raises:
            InputError: a query or a passage that is not a text, or is blank; `index` is the query's.
            OptionError: other than Q lists of passages, or an invalid top_k.
        """
        if isinstance(queries, (str, bytes)) or isinstance(passages, (str, bytes)):
            raise OptionError("expected a list of queries and a list of the passages of each, got one text")
        if len(queries) != len(passages):
            raise OptionError(f"expected the passages of each of {len(queries)} queries, got those of {len(passages)}")
        asked = [i for i, texts in enumerate(passages) if len(texts)]
        rows = [{"query": queries[i], "text": _listed(passages[i], i)} for i in asked]
        none = (np.empty(0, np.int64), np.empty(0, np.float32))
        rankings = [none] * len(queries)
        for i, outcome in zip(asked, self.pipeline(rows, top_k=top_k, truncation=True, on_error="return"), strict=True):
            if isinstance(outcome, InputError):
                raise InputError(outcome.message, code=outcome.code, source=outcome.source, index=i) from outcome
            rankings[i] = (outcome.order, outcome.scores)
        return rankings

    def close(self) -> None:
        """Ends the pipeline's threads; a later call starts new ones."""
        self.pipeline.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Reranker({self.pipeline!r})"


def _listed(texts: Sequence[str], query: int) -> list[str]:
    if isinstance(texts, (str, bytes)):
        raise InputError(
            "expected a list of passages, got one text; put it in a list", code="unsupported-type", index=query
        )
    return list(texts)
