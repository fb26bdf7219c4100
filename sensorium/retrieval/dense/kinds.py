"""Which kind of search an index uses, and making it."""

from __future__ import annotations

import os

import numpy as np
import torch
from numpy.typing import NDArray

from sensorium.errors import OptionError
from sensorium.retrieval.dense import approximate
from sensorium.retrieval.dense.approximate import HNSW_LINKS, Approximate
from sensorium.retrieval.dense.exact import ExactScan

MOST_EXACT = 2_000_000
"""Vectors up to which "auto" is exact on a CPU: two cores take a tenth to a quarter of a second for 768 dimensions."""

MOST_EXACT_GPU = 20_000_000
"""The same on a GPU, where they fit into half of its memory."""

Searcher = ExactScan | Approximate


def check_kind(kind: str, width: int) -> None:
    """Refuses an unknown kind, before any work.

    Raises:
        OptionError: it is unknown here, and to faiss for vectors of that width.
    """
    if not isinstance(kind, str) or not kind:
        raise OptionError(
            'kind is "auto", "exact", "hnsw", "ivfpq" or a factory string of faiss, such as "IVF1024,Flat", '
            f"got {kind!r}"
        )
    if kind not in ("auto", "exact"):
        approximate.check_kind(kind, width)


def choose_kind(kind: str, count: int, width: int, *, deletes: bool, device: torch.device) -> str:
    """The kind that "auto" stands for; any other stands for itself.

    Exact while that is fast enough; then a graph where it fits in half of the memory and nothing is to be
    deleted (a graph keeps what was deleted, and leads through it), and inverted lists of quantized vectors beyond.

    Args:
        kind: as `Index.build` takes it.
        count: how many vectors.
        width: how many dimensions.
        deletes: whether passages will be deleted or replaced.
        device: where an exact search runs.
    """
    if kind != "auto":
        return kind
    if _scans(count, width, device) and count * width * 6 < _memory() / 2:
        return "exact"
    graph = count * (4 * width + 8 * HNSW_LINKS)
    return "hnsw" if graph < _memory() / 2 and not deletes else "ivfpq"


def make_searcher(vectors: NDArray[np.float32], kind: str, device: torch.device) -> Searcher:
    """What searches `(N, D)` vectors.

    Args:
        vectors: float32, finite.
        kind: not "auto".
        device: where an exact search runs.

    Raises:
        OptionError: faiss knows no such kind, or it needs more vectors to learn from.
    """
    return ExactScan(vectors, device=device) if kind == "exact" else Approximate.of(vectors, kind)


def _scans(count: int, width: int, device: torch.device) -> bool:
    """Whether the device scans so many vectors fast enough, and has room for them and for models."""
    if device.type != "cuda":
        return count <= MOST_EXACT
    return count <= MOST_EXACT_GPU and count * width * 2 < torch.cuda.get_device_properties(device).total_memory / 2


def _memory() -> int:
    """Bytes of this machine's memory."""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 16 * 2**30
