"""A self-contained HTML page of pictures and what a task made of them.

Nothing is loaded from elsewhere and no script runs: pictures are embedded as small JPEGs, and a content security
policy forbids the rest. Labels, file names and messages are untrusted text and are escaped.
"""

from __future__ import annotations

import base64
import io
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.errors import InputError
from sensorium.results.result import Result

if TYPE_CHECKING:
    from PIL import Image

    from sensorium.processors.media import MediaLimits

SIDE_PX = 320
"""The longest side of an embedded picture."""

LINES = 20
"""How many lines of a result that is not bars are shown."""


@dataclass(frozen=True)
class Bar:
    """A label with its score, and the share in [0, 100] of the row that its bar fills."""

    label: str
    score: float
    percent: float


@dataclass(frozen=True)
class Card:
    """One input as the page shows it; `image` is a data URI, or None."""

    source: str
    image: str | None
    bars: list[Bar]
    text: str
    error: InputError | None


class Report:
    """Gathers results, then writes one HTML page.

    Args:
        title: the page's heading.
        details: facts of the run (the model, the device, …), shown under the heading.
        max_shown: how many inputs are shown; the rest are only counted, so that the page of a long run still opens.
        limits: what a picture may cost to load again for the page.
    """

    def __init__(
        self,
        title: str,
        *,
        details: Mapping[str, str] | None = None,
        max_shown: int = 1000,
        limits: MediaLimits | None = None,
    ) -> None:
        self.title, self.details, self.max_shown, self.limits = title, dict(details or {}), max_shown, limits
        self.inputs = self.failures = 0
        self._cards: list[Card] = []

    def add(self, source: str, outcome: Result | InputError, *, image: Any = None) -> None:
        """Adds one input.

        Args:
            source: its path, URL or name.
            outcome: its result, or the `InputError` that it failed with.
            image: the picture itself as any input may be given (a path, bytes, a PIL image, …); None for none.
        """
        self.inputs += 1
        failed = isinstance(outcome, InputError)
        self.failures += failed
        if len(self._cards) >= self.max_shown:
            return
        if isinstance(outcome, InputError):
            self._cards.append(Card(source, None, [], "", outcome))
            return
        bars = score_bars(outcome)
        loaded = None if image is None else self._load(image)
        if loaded is not None and not bars:
            loaded = _plotted(outcome, loaded)
        uri = None if loaded is None else _data_uri(loaded)
        text = "" if bars else "\n".join(outcome.lines()[:LINES])
        self._cards.append(Card(source, uri, bars, text, None))

    def html(self) -> str:
        """The page."""
        from jinja2 import Environment

        source = resources.files("sensorium").joinpath("report.html.jinja").read_text(encoding="utf-8")
        template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)
        return template.render(report=self, cards=self._cards)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the page, whole or not at all."""
        target = Path(path)
        part = target.with_name(target.name + ".part")
        part.write_text(self.html(), encoding="utf-8", errors="backslashreplace")
        part.replace(target)

    def _load(self, image: Any) -> Image.Image | None:
        """The picture again; None if it has gone since it was processed."""
        from sensorium.processors.media import MediaLimits, load_pil

        try:
            return load_pil(image, limits=self.limits or MediaLimits())
        except InputError:
            return None


def score_bars(result: Result) -> list[Bar]:
    """The bars of a result whose schema is labels with scores; empty for any other.

    A probability fills its share of a row; a score beyond 1 (a logit) is drawn relative to the largest.
    """
    rows = result.to_dict()
    if not isinstance(rows, list) or not all(isinstance(row, dict) and set(row) == {"label", "score"} for row in rows):
        return []
    largest = max([1.0, *(abs(row["score"]) for row in rows if math.isfinite(row["score"]))])
    return [
        Bar(row["label"], row["score"], 100 * max(0.0, row["score"]) / largest if math.isfinite(row["score"]) else 0.0)
        for row in rows
    ]


def _plotted(result: Result, image: Image.Image) -> Image.Image:
    """The picture with the result drawn on it, where that can be drawn."""
    try:
        return result.plot(image)
    except ValueError:  # such as one vector, of which nothing can be shown on a picture
        return image


def _data_uri(image: Image.Image) -> str:
    small = image.convert("RGB")
    small.thumbnail((SIDE_PX, SIDE_PX))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
