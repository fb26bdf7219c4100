"""What every task's result can do without writing it itself."""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Protocol, Self, runtime_checkable

import numpy as np

from sensorium.results import columns as typed
from sensorium.results.cells import Cells
from sensorium.results.saving import suffix_of, written_whole
from sensorium.results.surrogates import as_they_were
from sensorium.results.tables import flatten, plain, to_html, to_pandas, to_polars

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

_SHOWN = 200
"""Characters of a result's JSON that a line shows."""


@runtime_checkable
class Result(Protocol):
    """All that people, the command line and the report use of a result.

    A class that derives from it writes `to_dict` and has an `index`; what else it can do better than by default, it
    writes, too.

    Attributes:
        index: the position of its input among the call's inputs, from 0.
        columns: what it is in a table with typed columns, from `sensorium.results.columns`; unless a class names its
            own, one text, its JSON.
    """

    __slots__ = ("_seconds", "_source", "_time_s")

    index: int
    columns: ClassVar[tuple[typed.TypedColumn, ...]] = (typed.WholeJson(),)

    @property
    def source(self) -> str | None:
        """The path or the URL that its input was; None for an input that had none, and for a result made by hand."""
        return getattr(self, "_source", None)

    @property
    def time_s(self) -> float | None:
        """When its input is shown in its film, seconds from the first frame; None for an input that is no frame."""
        return getattr(self, "_time_s", None)

    @property
    def seconds(self) -> float | None:
        """What its input has cost: reading and preparing it, and its share of the batches that it was in.

        It is work, not the time until the result came, in which other inputs were worked on, too. None for a result
        made by hand.
        """
        return getattr(self, "_seconds", None)

    @abstractmethod
    def to_dict(self) -> Any:
        """The result in the schema of Transformers' pipeline for the task: dicts, lists, str and float only."""

    def to_json(self, *, indent: int | None = None) -> str:
        """`to_dict()` as JSON; `indent` is a number of spaces, or None for one line.

        For results inside of something else: `json.dumps(…, default=lambda result: result.to_dict())`, and the same
        with `orjson`.
        """
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=indent)

    def records(self) -> list[dict[str, Any]]:
        """One flat dict for each thing found, of plain Python values, as a table's rows.

        What is a dict within a row has its entries under joined names (`box_xmin`).
        """
        whole = plain(self.to_dict())
        rows = whole if isinstance(whole, list) else [whole]
        return [flatten(row) if isinstance(row, dict) else {"value": row} for row in rows]

    def to_pandas(self) -> Any:
        """The records as a `pandas.DataFrame`; `sensorium.results.to_pandas` takes several results.

        Raises:
            ImportError: pandas is not installed.
        """
        return to_pandas(self)

    def to_polars(self) -> Any:
        """The records as a `polars.DataFrame`; `sensorium.results.to_polars` takes several results.

        Raises:
            ImportError: polars is not installed.
        """
        return to_polars(self)

    def schema(self) -> Any:
        """The `pyarrow.Schema` of its row: the same for all results of a task with the same options and model."""
        return typed.schema(self.columns, self._held())

    def to_row(self) -> dict[str, Any]:
        """The result as one row of the table that `schema()` tells, exactly: lists, dicts and NumPy arrays.

        `pyarrow.Table.from_pylist([result.to_row()], schema=result.schema())` takes it; `sensorium.results.to_table`
        makes a table of several.
        """
        return typed.store(self.columns, self._held())

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Brings back the result that a row was made of.

        Args:
            row: what `table.to_pylist()`, or `to_dict("records")` of pandas, gives of one row. Of further columns
                `source` becomes the result's source, `input_id` its index where it is a whole number; the rest are
                not looked at.

        Raises:
            ValueError: a column is missing, or holds what no result of this kind has, or would take more memory than
                any; or the row is that of an input that failed.
        """
        cells = Cells(row, cls.__name__)
        cells.check()
        number = row.get("input_id")
        index = int(number) if isinstance(number, Integral) else 0
        try:
            with np.errstate(over="raise", invalid="raise"):
                result = cls._made(**typed.load(cls.columns, cells), index=index)
        except (TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
            raise ValueError(
                f"this row is not one of a {cls.__name__}: a column holds something else ({type(error).__name__}: "
                f"{error!s:.200})"
            ) from error
        put_source(result, as_they_were([row.get("source")])[0])
        return result

    def _held(self) -> dict[str, Any]:
        """The values of those attributes that the columns name."""
        return {name: getattr(self, name) for column in self.columns for name in column.attributes}

    @classmethod
    def _made(cls, **held: Any) -> Self:
        """A result of what `_held` gives, and its index."""
        return cls(**held)

    def lines(self) -> list[str]:
        """Short texts for a terminal, one for each thing that was found; by default `to_dict()` as JSON, cut off."""
        text = json.dumps(self.to_dict(), ensure_ascii=False, default=str)
        return [text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"]

    def plot(self, image: Any, /) -> Image.Image:
        """Draws the result on the picture that it was made of, or beside it; by default there is nothing to draw.

        Args:
            image: in any form that the pipeline takes.

        Returns:
            An RGB picture.

        Raises:
            ValueError: this result cannot be drawn.
        """
        raise ValueError(f"a {type(self).__name__} cannot be drawn on a picture; use lines() or to_dict()")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the result to a file, whole or not at all; by default `to_dict()` as `.json`, UTF-8.

        Raises:
            ValueError: the result cannot be saved in the format of the path's suffix.
        """
        suffix_of(path, (".json",), what=f"a result of the kind {type(self).__name__}")
        text = self.to_json(indent=2) + "\n"
        with written_whole(path) as part:
            part.write_text(text, encoding="utf-8")

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """The arrays that a NumPy archive of many results stacks; by default there are none.

        Returns:
            Arrays by their names in the archive, which has an `index` and `sources` of its own; of one shape for all
            results of a call, or they cannot be stacked.
        """
        return {}

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} is read-only by keys; keep what you add beside it: "
            '{"result": result, "name": value}, or write into result.to_dict(), which is yours'
        )

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return to_html(self)


def put_source(result: Result, source: str | None, time_s: float | None = None) -> None:
    """Tells a result, a frozen one, too, which path or URL its input was, and when a frame is shown."""
    object.__setattr__(result, "_source", source)
    object.__setattr__(result, "_time_s", time_s)


def put_seconds(result: Result, seconds: float) -> None:
    """Tells a result, a frozen one, too, what its input has cost."""
    object.__setattr__(result, "_seconds", seconds)
