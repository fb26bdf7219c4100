"""The boundary to the libraries that build what a checkpoint's files describe."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sensorium.checkpoints.config import MAX_JSON_BYTES, parse_json
from sensorium.checkpoints.sizes import FILES, MODEL
from sensorium.errors import CheckpointError, SensoriumError

_SHOWN = 3  # entries that a message names


@contextlib.contextmanager
def opening(name: object, folder: Path | None) -> Iterator[None]:
    """Whatever a library raises meanwhile is a `CheckpointError` that names the entries which are likely to blame.

    Libraries raise errors of all kinds for entries that they did not expect. Errors of ours pass, as do warnings and
    what ends a program; a panic of a library in Rust, which is no `Exception`, does not.

    Args:
        name: the checkpoint's.
        folder: where its files are; None where that is not known.

    Raises:
        CheckpointError: something was raised.
    """
    try:
        yield
    except (SensoriumError, Warning):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        raise CheckpointError(_told(name, folder, error)) from error


@contextlib.contextmanager
def panics_told() -> Iterator[None]:
    """Makes a panic of a library in Rust an error like any other, which is handled as that of one input.

    Raises:
        RuntimeError: there was one.
    """
    try:
        yield
    except BaseException as error:
        if not is_panic(error):
            raise
        raise RuntimeError(f"a library gave up ({' '.join(str(error).split())[:300]})") from error


def is_panic(error: BaseException) -> bool:
    """Whether this is what PyO3 makes of a panic in Rust, which derives from BaseException alone."""
    return type(error).__name__ == "PanicException" and type(error).__module__ == "pyo3_runtime"


def _told(name: object, folder: Path | None, error: BaseException) -> str:
    text = " ".join(str(error).split())
    what = f"{type(error).__name__}: {text[:300]}{'…' if len(text) > 300 else ''}"
    named = "" if folder is None else likely_entries(folder, text)
    return (
        f"{name!r} cannot be loaded: its files do not describe what the libraries can build ({what}).{named} Correct "
        "them, or get the checkpoint again from its source."
    )


def likely_entries(folder: Path, text: str = "") -> str:
    """A sentence that names entries of a checkpoint's files which may be to blame; empty where none stands out.

    Args:
        folder: the checkpoint's.
        text: the error's message; entries that it names come first, then those unlike other checkpoints'.
    """
    suspects = _suspects(folder, text)
    return f" Look at {', '.join(suspects[:_SHOWN])}." if suspects else ""


def _suspects(folder: Path, text: str) -> list[str]:
    """Entries that are named in the message, or that are unlike those of other checkpoints; the likeliest first."""
    found: list[tuple[float, str]] = []
    for name in FILES:
        path = folder / name
        if not path.is_file() or path.stat().st_size > MAX_JSON_BYTES:
            continue
        with contextlib.suppress(CheckpointError):
            content = parse_json(path, of=folder.name)
            usual = _usual(content) if name == MODEL else {}
            found += [(rank, f"{entry} in {name}") for rank, entry in _odd(content, usual, text)]
    return [entry for _, entry in sorted(found, key=lambda one: one[0])]


def _odd(content: Any, usual: Any, text: str, above: str = "") -> Iterator[tuple[float, str]]:
    """Entries with a rank from 0, for those that the message names, to 4, for those that are but larger than usual."""
    if not isinstance(content, Mapping):
        return
    for key, value in content.items():
        path = f"{above}{key}"
        known: Any = usual.get(key) if isinstance(usual, Mapping) else None
        shown = f"{path[:80]} = {value!r:.60}"
        if isinstance(value, Mapping) and not key.endswith(("id2label", "label2id")):
            yield from _odd(value, known, text, f"{path}.")
        elif len(key) > 3 and re.search(rf"\b{re.escape(key)}\b", text):
            yield 0, shown
        elif known is not None and value is not None and _kind(known) != _kind(value):
            yield 1, shown
        elif _kind(value) == "number" and (value < 0 or math.isnan(value)):
            yield 2, shown
        elif _kind(value) == _kind(known) == "number" and known > 0 and not 0 < value <= known:
            yield (2 if value == 0 else 3 + min(1.0, known / value)), shown
        elif key in ("id2label", "label2id") and isinstance(value, Mapping):
            yield 5, f"{path[:80]} with {len(value):,} entries"


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    return "list" if isinstance(value, (list, tuple)) else type(value).__name__


def _usual(content: Any) -> Mapping[str, Any]:
    """What a config of this model type holds by default; empty where that is not known."""
    model_type = content.get("model_type") if isinstance(content, Mapping) else None
    with contextlib.suppress(Exception):  # it is for a message alone
        from transformers import CONFIG_MAPPING

        defaults: Mapping[str, Any] = CONFIG_MAPPING[model_type]().to_dict()
        return defaults
    return {}
