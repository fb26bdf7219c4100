"""`sensorium index info` and `sensorium index delete`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

from sensorium.cli.indexes.settings import ReportSettings
from sensorium.cli.process import input_lines
from sensorium.cli.telling import printable, say
from sensorium.errors import OptionError
from sensorium.retrieval import Index
from sensorium.retrieval.contents import check_facts, open_passages
from sensorium.retrieval.lexical.files import FILES
from sensorium.retrieval.storage import read_folder


def show(folder: str, *, verify: bool, report: ReportSettings) -> None:
    """Prints what an index is, as lines or as one JSON document.

    Raises:
        IndexFileError: there is no index, or it is not as it was written.
    """
    facts = read_facts(Path(folder), verify=verify)
    if report.json:
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    for name, value in facts.items():
        typer.echo(f"{name:<16} {printable(_shown(value))}")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return ", ".join(value) if isinstance(value, list) else str(value or "none")


def read_facts(folder: Path, *, verify: bool) -> dict[str, Any]:
    """What there is to know of an index without opening its encoder."""
    facts, paths = read_folder(folder, verify=verify)
    check_facts(facts, folder)
    alive, passages = open_passages(paths, folder)
    table = passages.table
    encoder = facts["encoder"] or {"spec": {}, "fingerprint": None}
    return {
        "passages": int(alive.sum()),
        "deleted": int((~alive).sum()),
        "kind": facts["kind"],
        "dimension": facts["dimension"],
        "similarity": facts["similarity"],
        "lexical": set(FILES) <= set(paths),
        "encoder": encoder["spec"].get("model"),
        "query_model": encoder["spec"].get("query_model"),
        "query_prompt": encoder["spec"].get("query_prompt"),
        "passage_prompt": encoder["spec"].get("passage_prompt"),
        "fingerprint": encoder["fingerprint"],
        "ids": "numbers" if str(table.schema.field("id").type) == "int64" else "texts",
        "columns": [printable(name) for name in table.column_names],
        "bytes": sum(path.stat().st_size for path in paths.values()),
    }


def delete(folder: str, words: Iterable[str], *, where: Any, report: ReportSettings) -> None:
    """Deletes passages by their ids, or all that a filter lets through, and saves the index.

    Raises:
        OptionError: an id that no passage has, or a filter that none meets; nothing is deleted then.
        UnknownNameError: a filter names no column.
        IndexFileError: there is no index, or it is not as it was written.
    """
    index = Index.load(folder)
    ids: list[Any] = list(_lines(words))
    if bool(ids) == (where is not None):
        raise OptionError("expected ids to delete, or --where with a filter, one of the two")
    if where is not None:
        ids = _filtered(Path(folder), where)
    elif index.ids.dtype.kind != "U":
        ids = [_number(text) for text in ids]
    count = index.delete(ids)
    index.save(folder)
    say(f"deleted from {folder}: {count} passages; {len(index)} are left")
    if report.json:
        typer.echo(json.dumps({"index": printable(folder), "deleted": count, "passages": len(index)}, indent=2))


def _filtered(folder: Path, where: Any) -> list[Any]:
    """The ids of all passages that a filter lets through and that are not deleted."""
    _, paths = read_folder(folder, verify=False)
    alive, table = open_passages(paths, folder)
    ids: list[Any] = table.ids[table.where(where) & alive].tolist()
    if not ids:
        raise OptionError(f"no passage meets --where {json.dumps(where, ensure_ascii=False)}")
    return ids


def _lines(words: Iterable[str]) -> Iterator[str]:
    for word in words:
        yield from (os.fsdecode(line) for line in input_lines() if line) if word == "-" else (word,)


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise OptionError(f"the ids of this index are whole numbers, got {text!r}") from None
