"""A task's options for one call, and how they say which values they allow; imports no framework.

An options class says in the types of its fields what each may be, and `Options` checks it:

    top_k: Count | None = 5          # a whole number from 1, or None
    threshold: Share = 0.5           # a number from 0 to 1
    pool: Literal["mean", "max"] = "mean"
    truncation: bool = False
    window_s: Annotated[float, Range(above=0, unit="seconds")] = 30.0

What depends on several fields is checked in a `__post_init__` of the class's own, which calls that of `Options` first.
"""

from sensorium.tasks.options.checks import (
    Count,
    Natural,
    Positive,
    Range,
    Share,
    check_fields,
    checked,
    lower_case,
)
from sensorium.tasks.options.options import Options

__all__ = ["Count", "Natural", "Options", "Positive", "Range", "Share", "check_fields", "checked", "lower_case"]
