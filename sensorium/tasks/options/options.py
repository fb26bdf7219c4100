"""Options: what a task is told for one call."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from sensorium.errors import UnknownNameError
from sensorium.tasks.options.checks import check_fields


@dataclass(frozen=True)
class Options:
    """A task's options for one call; each task that has any subclasses it, with their types and defaults."""

    def __post_init__(self) -> None:
        """Checks each field against its type; a subclass with its own check calls this first.

        Raises:
            OptionError: an invalid value.
        """
        check_fields(self)

    @classmethod
    def parse(cls, keywords: Mapping[str, Any]) -> Self:
        """Builds the options from a call's keywords.

        Raises:
            UnknownNameError: a keyword is not an option of the task; names the nearest one.
            OptionError: an invalid value.
        """
        names = [f.name for f in dataclasses.fields(cls)]
        for name in keywords:
            if name not in names:
                raise UnknownNameError("option", name, names)
        return cls(**keywords)
