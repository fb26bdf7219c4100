"""Tasks over very many inputs, in folders that survive whatever stops them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sensorium.jobs.job import Job
    from sensorium.jobs.reporting import JobReport

__all__ = ["Job", "JobReport"]

_HOMES = {"Job": "job", "JobReport": "reporting"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sensorium.jobs' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"sensorium.jobs.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
