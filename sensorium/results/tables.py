"""Results as tables: one flat record for each thing found, in pandas, polars, or a notebook."""

from __future__ import annotations

import html
import importlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.results.surrogates import storable

INPUT, ERROR = ("index", "source"), ("error_code", "error_message")
"""Columns that say which input a row is of, and why there is no result of it."""

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_ROWS, _CHARACTERS = 20, 80  # of a table that a notebook shows


def to_records(results: Any) -> list[dict[str, Any]]:
    """The rows of a result or of several in one flat table, of plain Python values.

    Args:
        results: a result, or an iterable of them, such as a call with a list or a stream gives. None, which stands for
            an input that was skipped, has no rows; an `InputError` has one, with `error_code` and `error_message`.

    Returns:
        A dict for each thing found: `index` and `source` of its input, and the entries of the result's record, those of
        dicts within it under joined names (`box_xmin`). An entry that is called as one of these four is `result_…`. All
        have the same keys; None stands where there is nothing.
    """
    several: Iterable[Any] = [results] if _is_one(results) else results
    assert isinstance(several, Iterable)
    rows = [row for each in several if each is not None for row in rows_of(each)]
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]


def rows_of(outcome: Any) -> list[dict[str, Any]]:
    """The rows of one input in a table: those of its result, or the one of its error."""
    known = dict(zip(INPUT, (getattr(outcome, name, None) for name in INPUT), strict=True))
    if isinstance(outcome, InputError):
        return [known | dict(zip(ERROR, (outcome.code, outcome.message), strict=True))]
    if not hasattr(outcome, "records"):
        raise TypeError(f"results of a pipeline are expected, got {type(outcome).__name__}")
    taken = INPUT + ERROR
    return [
        known | {f"result_{name}" if name in taken else name: value for name, value in record.items()}
        for record in outcome.records()
    ]


def to_pandas(results: Any) -> Any:
    """A `pandas.DataFrame` of the records of a result, or of several; see `to_records`.

    Raises:
        ImportError: pandas is not installed.
    """
    return _library("pandas").DataFrame(to_records(results))


def to_polars(results: Any) -> Any:
    """A `polars.DataFrame` of the records of a result, or of several; see `to_records`.

    Raises:
        ImportError: polars is not installed.
    """
    return _library("polars").DataFrame(to_records(results), infer_schema_length=None)


def to_table(results: Any) -> Any:
    """A `pyarrow.Table` with one row a result, its values exact and in typed columns; see `Result.schema`.

    Args:
        results: a result, or an iterable of them, of one task with the same options and model. None, which stands for
            an input that was skipped, has no row; an `InputError` has one.

    Returns:
        `input_id` and `source` of each input, `status` ("ok" or "failed"), `error_code` and `error_message`, and the
        columns of the results, null where an input failed. `from_row` of the results' class reads a row.

    Raises:
        ValueError: the results are of several types, or of one whose columns differ.
    """
    import pyarrow as pa

    outcomes = [results] if _is_one(results) else [each for each in results if each is not None]
    kinds = {type(each) for each in outcomes if not isinstance(each, InputError)}
    if len(kinds) > 1:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise ValueError(f"a table has results of one type, got {names}; make one of each")
    rows = [_typed_row(each) for each in outcomes]
    typed = next((list(each.schema()) for each in outcomes if not isinstance(each, InputError)), [])
    told = [("input_id", pa.int64()), *((name, pa.string()) for name in ("source", "status", *ERROR))]
    return pa.Table.from_pylist(rows, schema=pa.schema([*pa.schema(told), *typed]))


def to_html(result: Any) -> str:
    """What a notebook shows of a result: a table of its first rows."""
    rows = to_records(result)
    head = html.escape(f"{type(result).__name__}, index={result.index}")
    if result.source is not None:
        head += f", {html.escape(_shown(result.source))}"
    names = [name for name in (rows[0] if rows else ()) if name not in INPUT]
    cells = ["".join(f"<th>{html.escape(name)}</th>" for name in names)]
    cells += ["".join(f"<td>{html.escape(_shown(row[name]))}</td>" for name in names) for row in rows[:_ROWS]]
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    more = f"<p>and {len(rows) - _ROWS} more</p>" if len(rows) > _ROWS else ""
    return f"<div><p>{head}</p><table>{body}</table>{more}</div>"


def flatten(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A row with the entries of the mappings in it under joined names."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        flat |= flatten(value, f"{prefix}{name}_") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def plain(value: Any) -> Any:
    """What JSON knows: numbers of NumPy become Python's, times and the like their text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(entry) for entry in value]
    if value is None or type(value) in (str, int, float, bool):
        return value
    return str(value)


def _typed_row(outcome: Any) -> dict[str, Any]:
    failed = isinstance(outcome, InputError)
    if not failed and not hasattr(outcome, "to_row"):
        raise TypeError(f"results of a pipeline are expected, got {type(outcome).__name__}")
    row: dict[str, Any] = {
        "input_id": outcome.index,
        "source": storable([outcome.source])[0],
        "status": "failed" if failed else "ok",
    }
    if failed:
        return row | dict(zip(ERROR, storable([outcome.code, outcome.message]), strict=True))
    return {**row, **outcome.to_row()}


def _is_one(results: Any) -> bool:
    return results is None or isinstance(results, InputError) or hasattr(results, "to_dict")


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"to_{name} needs {name}, which is not installed: pip install {name}. "
            "sensorium.results.to_records gives the same rows as dicts"
        ) from error


def without_controls(value: Any) -> Any:
    """A text with escapes for what a terminal or a browser acts on; a marked-up one, and all else, is as it is.

    These are control characters but for tabs and ends of line, and those that turn the direction of writing.
    """
    return _CONTROLS.sub(lambda found: _escape(found[0]), value) if type(value) is str else value


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _shown(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else "" if value is None else without_controls(str(value))
    return text if len(text) <= _CHARACTERS else text[: _CHARACTERS - 1] + "…"
