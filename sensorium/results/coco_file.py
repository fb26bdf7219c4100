"""A COCO file of a whole run: pictures, what was found on them, and the classes; written as results come."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import IO, Any, Literal, Self

from sensorium.errors import InputError
from sensorium.results.exporting import coco
from sensorium.results.exporting.categories import Categories, Given
from sensorium.results.object_rows import ObjectRows
from sensorium.results.saving import written_whole


class CocoFile:
    """Writes a file that pycocotools, CVAT, FiftyOne and others load, one picture at a time.

    Memory stays the same however many there are: annotations go to the file as they come. It becomes the file of its
    name when the block ends, whole; where an error ends it, what was there before stays.

        with CocoFile("found.coco.json") as file:
            for result in detect.stream(paths):
                file.add(result)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        categories: Given | None = None,
        shapes: Literal["boxes", "rle", "polygons"] | None = None,
        tolerance_px: float | None = None,
    ) -> None:
        """Takes the place where to write.

        Args:
            path: the file.
            categories: all classes, as for `to_coco`; None for those that the results have, with their own numbers, or
                numbers in the order in which they come where they have none.
            shapes: as for `to_coco`.
            tolerance_px: as for `to_coco`.

        Raises:
            ValueError: categories of another form.
        """
        self._path, self._shapes, self._tolerance = path, shapes, tolerance_px
        self._categories = Categories(categories, numbering=True)
        self._opened = ExitStack()
        self._file: IO[str] | None = None
        self._images: IO[str]
        self._taken: set[int] = set()  # numbers of pictures that the caller gave
        self._images_before, self._next_id = 0, 1

    def __enter__(self) -> Self:
        """Opens the file under its passing name.

        Raises:
            OSError: it cannot be written.
        """
        part = self._opened.enter_context(written_whole(self._path))
        self._file = self._opened.enter_context(part.open("w", encoding="utf-8", newline="\n"))
        self._images = self._opened.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n"))
        self._file.write('{"info": {"description": "written by Sensorium"},\n"annotations": [')
        return self

    def add(
        self,
        result: ObjectRows,
        name: str | None = None,
        *,
        size: tuple[int, int] | None = None,
        image_id: int | None = None,
    ) -> int:
        """Writes a picture and what was found on it.

        Args:
            result: `Detections`, `Segments` or `Masks`.
            name: the picture's `file_name`; None for the result's `source`.
            size: its (height, width), px; needed only where the result does not know it.
            image_id: its number; None for the next, from 1.

        Returns:
            The picture's number.

        Raises:
            ValueError: the name or the size is not known, a number comes twice, or as `to_coco` raises.
            TypeError: another kind of result.
        """
        if self._file is None:
            raise ValueError("a CocoFile is written within its block: with CocoFile(path) as file: …")
        if not isinstance(result, ObjectRows):
            raise TypeError(f"a COCO file has Detections, Segments and Masks, got {type(result).__name__}")
        name = result.source if name is None else name
        if name is None:
            raise ValueError("this result's picture has no path: name it, file.add(result, 'a.jpg')")
        found = result._found()
        height, width = found.sized(size)
        number = self._number(image_id)
        rows = coco.as_annotations(
            found,
            self._categories,
            image_id=number,
            first_id=self._next_id,
            shapes=self._shapes,
            tolerance_px=self._tolerance,
        )
        image = {"id": number, "file_name": str(name), "height": height, "width": width}
        self._images.write((",\n" if self._images.tell() else "\n") + _line(image))
        for row in rows:
            self._file.write((",\n" if self._next_id > 1 else "\n") + _line(row))
            self._next_id += 1
        self._images_before += 1
        return number

    def _number(self, given: int | None) -> int:
        if (given is None) == bool(self._taken) and self._images_before:
            raise ValueError("either all pictures of a file are given an image_id, or none is")
        if given is None:
            return self._images_before + 1
        if given in self._taken:
            raise ValueError(f"image_id {given} is that of another picture of this file")
        self._taken.add(given)
        return given

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Ends the file and gives it its name, unless an error ended the block."""
        try:
            if kind is None:
                self._end()
        except BaseException as failed:
            self._opened.__exit__(type(failed), failed, failed.__traceback__)
            raise
        finally:
            self._file = None
        self._opened.__exit__(kind, error, at)

    def _end(self) -> None:
        assert self._file is not None
        self._file.write('\n],\n"images": [')
        self._images.seek(0)
        while piece := self._images.read(2**20):
            self._file.write(piece)
        rows = ",\n".join(map(_line, self._categories.rows()))
        self._file.write(f'\n],\n"categories": [\n{rows}\n]}}\n')


def write_coco(
    path: str | os.PathLike[str],
    results: Iterable[Any],
    *,
    names: Iterable[str] | None = None,
    sizes: Iterable[tuple[int, int]] | None = None,
    categories: Given | None = None,
    shapes: Literal["boxes", "rle", "polygons"] | None = None,
    tolerance_px: float | None = None,
) -> None:
    """Writes a COCO file of the results of a call or a stream, as they come.

    Args:
        path: the file, written whole or not at all.
        results: `Detections`, `Segments` or `Masks`. An `InputError`, or None for an input that was skipped, has no
            picture in the file.
        names: the `file_name` of each result's picture, in their order, those that failed included; None for the
            results' sources.
        sizes: the (height, width) of each; None for those that the results know.
        categories: as for `CocoFile`.
        shapes: as for `CocoFile`.
        tolerance_px: as for `CocoFile`.

    Raises:
        ValueError: there are fewer names or sizes than results; or as `CocoFile.add` raises.
        OSError: the file cannot be written.
    """
    beside_names, beside_sizes = (None if given is None else iter(given) for given in (names, sizes))
    with CocoFile(path, categories=categories, shapes=shapes, tolerance_px=tolerance_px) as file:
        for outcome in results:
            name, size = _next_of(beside_names, "names"), _next_of(beside_sizes, "sizes")
            if outcome is not None and not isinstance(outcome, InputError):
                file.add(outcome, name, size=size)


def _next_of(values: Iterator[Any] | None, what: str) -> Any:
    """What goes with the next result; None where nothing is given."""
    if values is None:
        return None
    try:
        return next(values)
    except StopIteration:
        raise ValueError(f"{what} has one for each result, and there are more results") from None


def _line(row: dict[str, Any]) -> str:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False).encode().decode()
    except UnicodeEncodeError:  # a file name that is not UTF-8, whose bytes JSON keeps as escapes
        return json.dumps(row, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"a score or a box is not finite, which no file holds: {row!s:.200}") from error
