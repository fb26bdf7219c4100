"""Where an input comes from, and when in a film it is shown: its result tells."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from sensorium.processors import urls
from sensorium.tasks.base import Task

_MEDIA = ("image", "audio", "video")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def origin_of(raw: Any, task: Task) -> str | None:
    """The path or URL that a raw input is, without a password in it; None for one that has none, such as an array.

    A text is a path only where the task's first input is a picture or a sound, and else the input itself.

    Args:
        raw: the input; of several by name the first, of the result of another task that result's input.
        task: says what its inputs are.
    """
    if isinstance(raw, Mapping):
        named = raw.get(task.inputs[0], raw.get("path"))  # a sound as datasets have it knows its file
        return origin_of(named, task)
    if isinstance(raw, os.PathLike):
        return os.fsdecode(raw)
    if not isinstance(raw, str):
        source = getattr(raw, "source", None)
        return source if isinstance(source, str) else None
    named_so = task.inputs[0].startswith(_MEDIA) or getattr(task, "modality", "text") in _MEDIA
    if not named_so or raw[:5].lower() == "data:":
        return None
    return urls.public_url(raw) if _SCHEME.match(raw) else raw


def moment_of(raw: Any, task: Task) -> float | None:
    """When a raw input is shown, seconds from the first frame of its film; None for what is no frame of one.

    Args:
        raw: the input; of several by name the first, of the result of another task that result's input.
        task: says what its inputs are.
    """
    if isinstance(raw, Mapping):
        return moment_of(raw.get(task.inputs[0]), task)
    moment = getattr(raw, "time_s", None)
    return moment if isinstance(moment, float) else None
