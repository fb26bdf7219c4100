"""Inputs as users have them together: folders, globs, columns and rows of tables."""

from __future__ import annotations

import glob
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.processors.folders import FileSearch, is_film, media_kind
from sensorium.tasks.base import Task


def spread(task: Task, inputs: Any) -> Any:
    """What is several inputs in one object, as a list; anything else as it is.

    A folder or a glob stands for its pictures, sounds or films, where the task takes such; columns and tables for what
    `as_list` makes of them.
    """
    if isinstance(inputs, str | os.PathLike):
        return _files(task, os.fspath(inputs)) or inputs
    return as_list(inputs)


def as_list(values: Any) -> Any:
    """The values of a column, the rows of a table; anything else as it is.

    Columns are a pandas or polars Series, an Arrow array, and a NumPy array of texts or objects; tables are those of
    pandas, polars and Arrow. None of these libraries is needed here.
    """
    if isinstance(values, np.ndarray):
        return values.tolist() if values.ndim == 1 and values.dtype.kind in "OUST" else values
    if hasattr(values, "columns") and hasattr(values, "shape"):
        if hasattr(values, "iloc"):
            return values.to_dict("records")
        for method in ("to_dicts", "to_pylist"):
            if callable(getattr(values, method, None)):
                return getattr(values, method)()
        return values
    for method in ("to_list", "to_pylist"):
        if hasattr(values, "__array__") and callable(getattr(values, method, None)):
            return getattr(values, method)()
    return values


def of_row(task: Task, raw: Any) -> Any:
    """The input in a row of a table, `{"image": …, "label": …}`: what stands under its name; its neighbours stay there.

    Where the row has options of its own that the task reads, `{"image": …, "candidate_labels": […]}`, it is these two.
    Tasks with several or optional inputs read their rows themselves, and refuse a name that they do not know.
    """
    if len(task.inputs) > 1 or task.optional_inputs or not isinstance(raw, Mapping):
        return raw
    (name,) = task.inputs
    if name in raw:
        own = {option: raw[option] for option in task.own_options if raw.get(option) is not None}
        return {name: raw[name], **own} if own else raw[name]
    if media_kind(name) in ("image", "video") and raw.keys() == {"bytes", "path"}:  # of `datasets`, not decoded
        return raw["path"] if raw["bytes"] is None else raw["bytes"]
    if media_kind(name) == "image":
        raise InputError(
            f"expected the picture under {name!r}, got {', '.join(map(repr, raw)) or 'no key'}", code="unsupported-type"
        )
    return raw


def _files(task: Task, path: Any) -> list[str] | None:
    """The files of a folder or a glob, None for what is neither; tells what a folder holds besides."""
    kind = media_kind(task.inputs[0])
    if kind is None or len(task.inputs) > 1 or not isinstance(path, str) or len(path) > _LONGEST:
        return None
    if not os.path.isdir(path) and (not glob.has_magic(path) or os.path.exists(path)):  # noqa: PTH110, PTH112
        return None
    if kind == "video" and is_film(path):
        return None
    search = FileSearch(kind)
    found = list(search.expand(path))
    if skipped := search.skipped.told():
        warnings.warn(f"{path}: skipped {skipped}", UserWarning, stacklevel=_callers_level())
    if found == [path] and os.path.isdir(path):  # noqa: PTH112
        raise InputError(
            f"{path}: expected a folder with files of the kind {kind!r}, found none. Check the path, or pass the files "
            "themselves",
            code="is-a-directory",
            source=path,
        )
    return None if found == [path] else found


def _callers_level() -> int:
    """The `stacklevel` at which a warning points to the line outside of this package that called it."""
    package, level = f"{Path(__file__).parents[1]}{os.sep}", 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        frame, level = frame.f_back, level + 1
    return level


_LONGEST = 4096  # characters of a path; a picture in base64 has more
