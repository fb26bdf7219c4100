"""The made-up task of the engine's tests, with inputs that can be written on a command line."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sensorium.errors import InputError
from tests.pipelines.made_up import WindowOptions, WindowScoring


@dataclass(frozen=True)
class TextWindowOptions(WindowOptions):
    """The options of a call.

    Attributes:
        scale: what each sum is multiplied by.
        length: how long a window is; it may be
            no less than 1.
    """


class TextWindows(WindowScoring):
    """Scores of series that are given as JSON."""

    name = "text-windows"
    options = TextWindowOptions

    @classmethod
    def fits(cls, checkpoint):
        return "native" if checkpoint.config.get("model_type") == "windows" else None

    def split(self, raw, options):
        try:
            series = json.loads(raw["series"])
        except ValueError as error:
            raise InputError(f"a JSON list is expected, got {raw['series']!r}", code="not-json") from error
        return super().split({**raw, "series": series, "question": int(raw["question"])}, options)
