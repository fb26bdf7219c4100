"""From the rows of a listing to what a pipeline takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sensorium.jobs.listing import STAMP
from sensorium.jobs.members import MemberFile
from sensorium.jobs.tables import PREFIX
from sensorium.results.surrogates import as_they_were

if TYPE_CHECKING:
    import pyarrow as pa


def raw_inputs(rows: pa.Table, facts: Mapping[str, Any], named: Mapping[str, Any]) -> Iterator[Any]:
    """The raw inputs of a shard, as a pipeline takes them.

    Args:
        rows: of the listing.
        facts: of the listing: what they are.
        named: inputs of the task that are the same for all.
    """
    if facts["kind"] not in ("table", "archives"):
        for raw in as_they_were(rows.column("source").to_pylist()):
            yield {facts["input"]: raw, **named} if named else raw
        return
    names = [name for name in rows.column_names if name.startswith(PREFIX)]
    told = rows.select(["source", STAMP]).to_pylist() if facts["kind"] == "archives" else None
    for i, row in enumerate(rows.select(names).to_pylist()):
        cells = row.values() if told is None else [_opened(value, told[i]) for value in row.values()]
        given = {name.removeprefix(PREFIX): _plain(value) for name, value in zip(row, cells, strict=True)} | dict(named)
        yield next(iter(given.values())) if len(given) == 1 else given


def _opened(value: Any, told: Mapping[str, Any]) -> Any:
    """A member of an archive as a file, else the text in a cell."""
    if not isinstance(value, Mapping):
        return as_they_were([value])[0]
    archive = as_they_were([value["archive"]])[0]
    return MemberFile(archive, value["offset"], value["size"], told[STAMP], as_they_were([told["source"]])[0])


def _plain(value: Any) -> Any:
    """The picture or sound in a cell as `datasets` has it, else the cell."""
    if isinstance(value, Mapping) and value.keys() == {"bytes", "path"}:
        return value["path"] if value["bytes"] is None else value["bytes"]
    return value
