"""A self-contained HTML page of pictures and what a task made of them.

Nothing is loaded from elsewhere: pictures are embedded as small JPEGs, one script of a few lines filters what is shown,
and a content security policy forbids the rest. Labels, file names and messages are untrusted text and are escaped.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from sensorium.errors import InputError
from sensorium.results.result import Result
from sensorium.results.saving import written_whole
from sensorium.results.tables import without_controls

if TYPE_CHECKING:
    from PIL import Image

    from sensorium.processors.media import MediaLimits

SIDE_PX = 200
"""The longest side of an embedded picture."""

_TEMPLATE, _SCRIPT = "report.html.jinja", "report.js"

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
        max_shown: how many failures, and how many results, are shown; the rest are only counted, so that the page of a
            long run still opens.
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
        self.inputs = 0
        self.codes: Counter[str] = Counter()
        self._failed: list[Card] = []
        self._done: list[Card] = []

    @property
    def failures(self) -> int:
        """How many inputs failed."""
        return self.codes.total()

    def add(self, source: str, outcome: Result | InputError, *, image: Any = None) -> None:
        """Adds one input.

        Args:
            source: its path, URL or name.
            outcome: its result, or the `InputError` that it failed with.
            image: the picture itself as any input may be given (a path, bytes, a PIL image, …); None for none.
        """
        self.inputs += 1
        if isinstance(outcome, InputError):
            self.codes[outcome.code] += 1
            if len(self._failed) < self.max_shown:
                self._failed.append(Card(source, None, [], "", outcome))
            return
        if len(self._done) >= self.max_shown:
            return
        bars = score_bars(outcome)
        loaded = None if image is None else self._load(image)
        if loaded is not None and not bars:
            loaded = _plotted(outcome, loaded)
        uri = None if loaded is None else data_uri(loaded)
        text = "" if bars else "\n".join(outcome.lines()[:LINES])
        self._done.append(Card(source, uri, bars, text, None))

    def html(self) -> str:
        """The page."""
        return "".join(self._pieces())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the page, whole or not at all."""
        with written_whole(path) as part, part.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(self._pieces())

    def _pieces(self) -> Iterator[str]:
        """The page, in pieces: failures first, then results, each in the order of the inputs."""
        cards = [*self._failed, *self._done]
        script = _read(_SCRIPT)
        yield from page(_TEMPLATE, self.title, self.details, script=script, report=self, cards=cards)

    def _load(self, image: Any) -> Image.Image | None:
        """The picture again; None if it has gone since it was processed."""
        from sensorium.processors.media import MediaLimits, load_pil

        try:
            return load_pil(image, limits=self.limits or MediaLimits())
        except InputError:
            return None


def page(template: str, title: str, details: Mapping[str, str], *, script: str = "", **values: Any) -> Iterator[str]:
    """A page in the house's style, in pieces.

    Args:
        template: a file of the package that fills the blocks of `page.html.jinja`; all that it shows is escaped.
        title: its heading.
        details: facts, shown under the heading.
        script: the one script that it may run; unless given none may.
        **values: what the template shows.
    """
    from jinja2 import Environment, FunctionLoader

    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    pages = Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_read),
        finalize=without_controls,
    )
    told = {"title": title, "details": details, "script": script, "script_hash": f"sha256-{digest}"}
    yield from pages.get_template(template).generate(told, **values)


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


def data_uri(image: Image.Image) -> str:
    """A picture as a small JPEG that stands in the page itself."""
    small = image.convert("RGB")
    small.thumbnail((SIDE_PX, SIDE_PX))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=75, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _plotted(result: Result, image: Image.Image) -> Image.Image:
    """The picture with the result drawn on it, where that can be drawn."""
    try:
        return result.plot(image)
    except ValueError:  # such as one vector, of which nothing can be shown on a picture
        return image


def _read(name: str) -> str:
    return resources.files("sensorium").joinpath(name).read_text(encoding="utf-8")
