"""Options: what a task is told for one call."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from sensorium.errors import UnknownNameError


@dataclass(frozen=True)
class Options:
    """A task's options for one call; each task that has any subclasses it, with their defaults."""

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Self:
        """Builds the options from a call's keywords.

        Raises:
            UnknownNameError: a keyword is no option of the task; names the nearest one.
            OptionError: a value that the option cannot have.
        """
        known = [f.name for f in dataclasses.fields(cls)]
        for name in given:
            if name not in known:
                raise UnknownNameError("option", name, known)
        return cls(**given)
