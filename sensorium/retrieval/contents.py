"""What an index's files hold, checked against each other: their digests say only that nobody changed one unawares.

Whoever may write an index may write its digests, too. So what is read is checked as any input is: no memory is taken
for a number that a file only claims, and what does not fit together is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sensorium.errors import IndexFileError
from sensorium.retrieval.array_files import read_array
from sensorium.retrieval.passage_table import FIXED, PassageTable

_BLOCK = 16_384  # vectors that are looked at together

_FACTS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "kind": ("a text", lambda value: isinstance(value, str)),
    "dimension": ("a whole number from 1", lambda value: _is_whole(value, least=1)),
    "similarity": ('"dot" or "cosine"', lambda value: value in ("dot", "cosine")),
    "next_id": ("a whole number from 0", lambda value: _is_whole(value, least=0)),
    "encoder": ("null, or what is known of an encoder", lambda value: value is None or _is_encoder(value)),
}


def check_facts(facts: Mapping[str, Any], folder: Path) -> None:
    """Refuses an `index.json` whose entries are not of the kinds that an index has.

    Raises:
        IndexFileError: an entry is missing, or is something else.
    """
    for name, (expected, fits) in _FACTS.items():
        if name not in facts or not fits(facts[name]):
            got = repr(facts[name])[:100] if name in facts else "nothing"
            raise IndexFileError(
                f"{folder}: index.json should hold {expected} as {name!r}, got {got}. Build the index again."
            )


def open_passages(paths: Mapping[str, Path], folder: Path) -> tuple[NDArray[Any], PassageTable]:
    """Which passages are not deleted, and the passages, without a look at their vectors.

    Raises:
        IndexFileError: the files are missing, or are none of an index.
    """
    try:
        table = PassageTable.open(paths["passages"])
        _check_columns(table)
        alive = read_array(paths["alive"])
        if alive.dtype != np.bool_ or alive.shape != (len(table),):
            raise ValueError(f"which of {len(table)} passages are deleted is expected, got {alive.dtype} {alive.shape}")
    except (OSError, ValueError, KeyError, MemoryError, pa.ArrowException) as error:
        raise IndexFileError(f"the index in {folder} cannot be read: {error}. Build it again.") from error
    return alive, table


def check_together(facts: Mapping[str, Any], table: PassageTable, vectors: tuple[int, ...], *, whole: bool) -> None:
    """Refuses files that are not of one index.

    Args:
        facts: checked.
        table: the passages.
        vectors: how many there are, and their dimension.
        whole: whether to look at all of the passages' columns, which reads them.

    Raises:
        ValueError: they do not suit each other.
    """
    count = len(table)
    if vectors != (count, facts["dimension"]):
        raise ValueError(f"{count} passages of {facts['dimension']} dimensions are expected, got vectors {vectors}")
    if whole:
        table.table.validate(full=True)
        if table.table["id"].null_count:
            raise ValueError("passages without an id")


def _check_columns(table: PassageTable) -> None:
    """Refuses a table whose columns are not those of passages; their names have to be texts, too."""
    schema = table.table.schema
    kinds = {name: schema.field(i).type for i, name in enumerate(schema.names)}
    fixed = kinds.get("id") in (pa.int64(), pa.string()) and all(
        kinds.get(name) == kind for name, kind in FIXED.items()
    )
    if not fixed or len(kinds) < len(schema.names):
        raise ValueError(f"the columns of passages are expected, each once, got {str(schema)[:200]!r}")


def check_vectors(vectors: NDArray[Any], *, whole: bool) -> None:
    """Refuses vectors that an exact search cannot compare.

    Args:
        vectors: `(N, D)`.
        whole: whether to look at each of them, which reads them.

    Raises:
        ValueError: they are not float32, or not finite.
    """
    if vectors.dtype != np.float32:
        raise ValueError(f"vectors are expected in float32, got {vectors.dtype}")
    for first in range(0, len(vectors) if whole else 0, _BLOCK):
        if not np.isfinite(vectors[first : first + _BLOCK]).all():
            raise ValueError(f"finite vectors are expected, got others from row {first} on")


def _is_whole(value: Any, *, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**63


def _is_encoder(value: Any) -> bool:
    if not isinstance(value, Mapping) or not isinstance(value.get("spec"), Mapping):
        return False
    return isinstance(value.get("fingerprint"), str) and value.get("modality") in ("text", "image", "audio")
