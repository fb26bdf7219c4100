"""Search: documents to passages, passages to vectors, and what is nearest to a query.

The names below come when they are first used; importing this loads neither torch nor faiss.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sensorium.retrieval.encoding.encoder import Encoder
    from sensorium.retrieval.index import Index
    from sensorium.retrieval.lexical.bm25 import LexicalIndex
    from sensorium.retrieval.rank_fusion import reciprocal_rank_fusion
    from sensorium.retrieval.reading.documents import read_documents
    from sensorium.retrieval.reading.formats.limits import DocumentLimits
    from sensorium.retrieval.reading.passage_files import read_passages
    from sensorium.retrieval.reading.passages import Document, Passage
    from sensorium.retrieval.reading.splitting import Splitting, split
    from sensorium.retrieval.reranking import Reranker

__all__ = [
    "Document",
    "DocumentLimits",
    "Encoder",
    "Index",
    "LexicalIndex",
    "Passage",
    "Reranker",
    "Splitting",
    "read_documents",
    "read_passages",
    "reciprocal_rank_fusion",
    "split",
]

_HOMES = {
    "Document": "reading.passages",
    "DocumentLimits": "reading.formats.limits",
    "Encoder": "encoding.encoder",
    "Index": "index",
    "LexicalIndex": "lexical.bm25",
    "Passage": "reading.passages",
    "Reranker": "reranking",
    "Splitting": "reading.splitting",
    "read_documents": "reading.documents",
    "read_passages": "reading.passage_files",
    "reciprocal_rank_fusion": "rank_fusion",
    "split": "reading.splitting",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sensorium.retrieval' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"sensorium.retrieval.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
