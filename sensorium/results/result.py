"""What every task's result can do without writing it itself."""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from sensorium.results.saving import suffix_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

_SHOWN = 200
"""Characters of a result's JSON that a line shows."""


@runtime_checkable
class Result(Protocol):
    """All that the command line and the report use of a result.

    A class that derives from it writes `to_dict` and has an `index`; what else it can do better than by default, it
    writes, too.

    Attributes:
        index: the position of its input among the call's inputs, from 0.
    """

    __slots__ = ()

    index: int

    @abstractmethod
    def to_dict(self) -> Any:
        """The result in the schema of Transformers' pipeline for the task: dicts, lists, str and float only."""

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
        """Writes the result to a file; by default `to_dict()` as `.json`, UTF-8.

        Raises:
            ValueError: the result cannot be saved in the format of the path's suffix.
        """
        suffix_of(path, (".json",), what=f"a result of the kind {type(self).__name__}")
        Path(path).write_text(json.dumps(self.to_dict(), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """The arrays that a NumPy archive of many results stacks; by default there are none.

        Returns:
            Arrays by their names in the archive, which has an `index` and `sources` of its own; of one shape for all
            results of a call, or they cannot be stacked.
        """
        return {}
