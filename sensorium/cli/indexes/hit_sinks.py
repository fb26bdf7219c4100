"""What a search found, on standard output: one line per hit, or one table per query where that is a terminal."""

from __future__ import annotations

import textwrap
from typing import Any

from sensorium.cli.sinks import Sink, above_progress
from sensorium.cli.telling import printable, say
from sensorium.errors import InputError

SHOWN = 240
"""Characters of a passage that a terminal shows."""


class HitLines(Sink):
    """One line per hit: query, score, id, source and how the passage begins, separated by tabs."""

    def add(self, source: str, outcome: Any) -> None:
        """Prints the lines; that nothing was found goes to standard error."""
        if isinstance(outcome, InputError):
            return
        if not len(outcome):
            say(f"nothing found: {source}")
            return
        for hit, line in zip(outcome, outcome.lines(), strict=True):
            score, _, text = line.partition("  ")
            parts = (source, score, str(hit["id"]), hit["source"] or "", text)
            print("\t".join(printable(part) for part in parts), flush=True)


class HitTables(Sink):
    """A query, and under it its hits with title, source and text."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)

    def add(self, source: str, outcome: Any) -> None:
        """Prints the table."""
        from rich.table import Table
        from rich.text import Text

        if isinstance(outcome, InputError):
            return
        table = Table.grid(padding=(0, 2))
        for hit in outcome:
            name = Text(printable(hit["title"] or hit["source"] or str(hit["id"])), style="cyan")
            if hit["title"] and hit["source"]:
                name.append(printable(f"  {hit['source']}"), style="dim")
            text = textwrap.shorten(hit["text"] or "", SHOWN, placeholder=" …")
            table.add_row("", f"{hit['score']:.4f}", Text("\n").join([name, Text(printable(text))] if text else [name]))
        with above_progress():
            self._console.print(Text(printable(source), style="bold"))
            self._console.print(table if len(outcome) else Text("  nothing found"))
