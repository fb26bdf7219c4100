"""What the tasks share that search an index: the query is encoded on the engine, and looked up a batch at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
import torch
from torch import nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import OptionError, TaskMismatchError
from sensorium.results import Hits
from sensorium.tasks.base import Batch, Call, Empty, Fit, Loader, Options, Task, Unit
from sensorium.tasks.options import Count, Natural, Positive, Share

Mode = Literal["dense", "lexical", "hybrid"]


@dataclass(frozen=True)
class SearchOptions(Options):
    """The options of a call.

    Attributes:
        top_k: how many hits to give, best first; an index with fewer gives fewer.
        where: which passages may be found: a mapping from columns (title, source, metadata …) to a value, a list of
            values, or comparisons such as {">=": 1808, "<": 1832}; or an expression of `pyarrow.compute`.
        mode: "dense" by vectors, "lexical" by words (BM25), "hybrid" by both, fused by their ranks.
        reranker: a `Reranker`, which reads the query with its best passages again and reorders them.
        lexical_weight: how much the ranking by words counts in "hybrid", where that by vectors counts 1.
        min_score: leaves out hits that score less, on the scale of the mode or the reranker; None for none.
        diversity: how much hits are to differ from those before them, from 0 (not at all) to 1: maximal marginal
            relevance among the best 100 (or `top_k`, if that is more).
        around: how many neighbours on either side come with each hit, as its `"before"` and `"after"`: passages of the
            same source, in the order of its text.
    """

    top_k: Count = 10
    where: Any = None
    mode: Mode = "dense"
    reranker: Any = None
    lexical_weight: Positive = 1.0
    min_score: float | None = None
    diversity: Share = 0.0
    around: Natural = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lexical_weight != 1 and self.mode != "hybrid":
            raise OptionError(f'lexical_weight is for mode="hybrid", got mode="{self.mode}"')

    def further(self) -> dict[str, Any]:
        """All but `top_k`, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "top_k"}


class QueryEncoder(Protocol):
    """What encodes the queries of an index.

    Attributes:
        name: its checkpoint's.
        modality: of what it makes vectors: "text", "image" or "audio".
    """

    name: str
    modality: str

    @property
    def query_task(self) -> Task:
        """The loaded task, on its device."""
        ...

    @property
    def query_options(self) -> Options:
        """Its options."""
        ...


class Searchable(Protocol):
    """What can be searched: an `Index`."""

    @property
    def encoder(self) -> QueryEncoder:
        """What its vectors come from."""
        ...

    def check_search(self, **options: Any) -> None:
        """Refuses a search that it cannot do; by the options of `SearchOptions`."""
        ...

    def search_encoded(self, vectors: Any, texts: Any, k: int, **options: Any) -> Sequence[Hits]:
        """The hits of queries that are encoded."""
        ...


class SearchTask(Task):
    """Finds what an index holds that is nearest to a query; made of an index instead of a checkpoint.

    Attributes:
        modality: of what the index holds.
    """

    inputs = ("query",)
    takes = ("index",)
    options = SearchOptions
    modality: ClassVar[str]

    def __init__(self, index: Searchable) -> None:
        encoder = index.encoder
        if encoder.modality != self.modality:
            fitting = {"text": "retrieval", "image": "image-retrieval", "audio": "audio-retrieval"}[encoder.modality]
            raise OptionError(
                f"the index holds {encoder.modality}; {self.name} is for {self.modality}. Use {fitting!r}"
            )
        self.index, self._encoder, self._options = index, encoder.query_task, encoder.query_options
        super().__init__(self._encoder.model, self._encoder.processor)
        self.padded, self.on_host = self._encoder.padded, self._encoder.on_host

    @classmethod
    def over(cls, index: Any) -> Self:
        """Takes an index.

        Raises:
            OptionError: it is not an index, has no encoder, or holds something else.
        """
        if not hasattr(index, "search_encoded"):
            raise OptionError(f"index is an Index (Index.load(folder) opens one), got {type(index).__name__}")
        return cls(index)

    @classmethod
    def assemble(cls, loader: Loader, model: Any, parts: Mapping[str, Any]) -> Self:
        """Takes the index, whose encoder is already loaded; settings for loading a model are refused."""
        for name in [*(["model"] if model is not None else []), *loader.settings]:
            raise OptionError(
                f"{name} has no meaning for {cls.name}: the index has its encoder. Choose it where the index is "
                "opened: Index.load(folder, encoder=Encoder.from_pretrained(…))"
            )
        return cls.over(parts.get("index"))

    @classmethod
    def fits(cls, checkpoint: Checkpoint) -> Fit:
        """No checkpoint: an index has its own."""
        return None

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Refuses: see `over`."""
        raise TaskMismatchError(f"{cls.name} searches an index, which has its own encoder; pass index=…, and no model")

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Refuses: see `over`."""
        raise TaskMismatchError(f"{cls.name} searches an index, which has its own encoder; pass index=…, and no model")

    def check(self, options: SearchOptions) -> None:
        """Refuses filters, modes and rerankers that do not suit the index."""
        if options.reranker is not None and self.modality != "text":
            raise OptionError(f"a reranker reads texts, and the index holds {self.modality}; leave reranker out")
        self.index.check_search(**options.further())

    def split(self, raw: Any, options: SearchOptions) -> Iterator[Unit]:
        """The units of the query, as its encoder makes them; `meta` is its own, and the query where that is a text."""
        text = raw if isinstance(raw, str) else None
        for unit in self._encoder.split(raw, self._options):
            yield Unit(unit.inputs, meta=(unit.meta, text))

    def bucket(self, unit: Unit) -> Hashable:
        """As the encoder has it."""
        return self._encoder.bucket(Unit(unit.inputs, unit.meta[0]))

    def cost(self, unit: Unit) -> float:
        """As the encoder has it."""
        return self._encoder.cost(Unit(unit.inputs, unit.meta[0]))

    def collate(self, units: Sequence[Unit], empty: Empty = torch.empty) -> Batch:
        """As the encoder has it."""
        return self._encoder.collate([Unit(unit.inputs, unit.meta[0]) for unit in units], empty)

    def forward(self, batch: Batch, options: SearchOptions, call: Call) -> Any:
        """As the encoder has it; nothing where only words are looked for."""
        return {} if options.mode == "lexical" else self._encoder.forward(batch, self._options, call)

    def decode(self, outputs: Any, metas: Sequence[Any], options: SearchOptions) -> Sequence[Any]:
        """One triple per unit: the encoder's part, the query's text, and what is found for the unit alone."""
        texts = [text for _, text in metas]
        if options.mode == "lexical":
            return [(None, text, hits) for text, hits in zip(texts, self._search(None, texts, options), strict=True)]
        parts = self._encoder.decode(outputs, [meta for meta, _ in metas], self._options)
        vectors = np.stack([self._vector([part]) for part in parts])
        return list(zip(parts, texts, self._search(vectors, texts, options), strict=True))

    def merge(self, parts: Sequence[Any], options: SearchOptions, index: int) -> Hits:
        """What was found; a query of several units is searched for by the one vector that its encoder makes of them."""
        hits: Hits
        (_, text, hits), *further = parts
        if further:
            (hits,) = self._search(self._vector([part for part, _, _ in parts])[None], [text], options)
        hits.index = index
        return hits

    @abstractmethod
    def example(self) -> Any:
        """A query of the usual size."""

    def _vector(self, parts: Sequence[Any]) -> Any:
        return np.asarray(self._encoder.merge(parts, self._options, 0).vector, dtype=np.float32)

    def _search(self, vectors: Any, texts: Sequence[str | None], options: SearchOptions) -> Sequence[Hits]:
        return self.index.search_encoded(vectors, texts, options.top_k, **options.further())
