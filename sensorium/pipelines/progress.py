"""A progress bar beside a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sensorium.errors import InputError


def with_progress(run: Iterator[tuple[int, Any]], name: str, total: int | None) -> Iterator[tuple[int, Any]]:
    """Yields what the run does, and shows how far it is, and how many inputs have failed, on standard error."""
    from tqdm.auto import tqdm

    failed = 0
    with tqdm(total=total, desc=name, unit="input") as bar:
        for index, outcome in run:
            bar.update()
            if isinstance(outcome, InputError):
                failed += 1
                bar.set_postfix(failed=failed)
            yield index, outcome
